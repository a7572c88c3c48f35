"""The server: nothing without the token, nothing but the listed clips, ranges as browsers ask for them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.labelling.pairs import read_label_pairs
from rewardbench.labelling.room import Room
from rewardbench.labelling.server import HOST, MAX_BODY, LabelServer, byte_range
from rewardbench.labelling.settings import open_settings


@pytest.fixture
def server(clips: Path, tmp_path: Path) -> Iterator[LabelServer]:
    (tmp_path / "secret.txt").write_text("secret")
    out = tmp_path / "out"
    room = Room(read_label_pairs(clips), out, open_settings(out))
    opened = LabelServer(room)
    thread = threading.Thread(target=opened.serve_forever, args=(0.01,))
    thread.start()
    yield opened
    opened.shutdown()
    thread.join()
    opened.server_close()
    room.close()


def send(
    server: LabelServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named = {"Content-Type": "application/json", "Content-Length": str(len(body))} | named
    for name, value in named.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def post(server: LabelServer, what: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer, content = send(server, "POST", f"/{server.token}/{what}", json.dumps(body).encode())
    return answer.status, json.loads(content)


def test_the_page_has_its_rules_and_asks_nothing_of_the_network(server: LabelServer) -> None:
    answer, content = send(server, "GET", f"/{server.token}/")
    assert answer.status == 200
    assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    assert b"http://" not in content
    assert b"https://" not in content
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/{token}", "/wrong/", "//", "/{token}x/", "/wrong/state", "*", "/%00/"])
def test_without_the_token_there_is_nothing(server: LabelServer, path: str) -> None:
    path = path.format(token=server.token)
    assert send(server, "GET", path)[0].status == 404
    assert send(server, "POST", path, b'{"rater": "Ann"}')[0].status == 404


def test_under_another_host_name_there_is_nothing(server: LabelServer) -> None:
    path = f"/{server.token}/"
    assert send(server, "GET", path, Host="evil.example")[0].status == 404
    assert send(server, "GET", path, Host=f"localhost:{server.server_port}")[0].status == 200


@pytest.mark.parametrize(
    "name",
    ["", "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "/etc/passwd", "wan/fox.mp4", "clips/wan/fox.mp4",
     "....//secret.txt", "..\\secret.txt", "0000000000000000"],
)  # fmt: skip
def test_no_name_leads_to_a_file_that_is_not_listed(server: LabelServer, name: str) -> None:
    for path in (f"/{server.token}/clip/{name}", f"/{server.token}/{name or 'x'}"):
        answer, content = send(server, "GET", path)
        assert answer.status == 404
        assert b"secret" not in content


def test_clips_are_served_whole_and_in_parts(server: LabelServer, clips: Path) -> None:
    _, state = post(server, "state", rater="Ann")
    everything = {path.read_bytes() for path in clips.glob("*/*.mp4")}
    for name in state["question"]["clips"]:
        path = f"/{server.token}/clip/{name}"
        answer, whole = send(server, "GET", path)
        assert (answer.status, answer.getheader("Accept-Ranges")) == (200, "bytes")
        assert whole in everything
        n = len(whole)
        for header, part in [("bytes=0-9", whole[:10]), ("bytes=5-", whole[5:]), ("bytes=-7", whole[-7:]),
                             ("bytes=3-999999", whole[3:]), (f"bytes={n - 1}-{n - 1}", whole[-1:])]:  # fmt: skip
            answer, content = send(server, "GET", path, Range=header)
            assert (answer.status, content) == (206, part)
            first = n - len(part) if header != "bytes=0-9" else 0
            assert answer.getheader("Content-Range") == f"bytes {first}-{first + len(part) - 1}/{n}"
        answer, _ = send(server, "GET", path, Range=f"bytes={n}-")
        assert (answer.status, answer.getheader("Content-Range")) == (416, f"bytes */{n}")
        answer, content = send(server, "HEAD", path)
        assert (answer.status, answer.getheader("Content-Length"), content) == (200, str(n), b"")


@given(st.text(max_size=20), st.integers(0, 50))
def test_any_range_lies_in_the_file_or_is_refused(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        try:
            part = byte_range(text, size)
        except ValueError:
            continue
        assert part is None or 0 <= part[0] <= part[1] < size


def test_nothing_the_page_is_told_names_a_system_or_a_file(server: LabelServer) -> None:
    _, state = post(server, "state", rater="Ann")
    text = json.dumps(state)
    assert not any(word in text for word in ("wan", "ltx", "mp4", "clips/", "|"))


def test_a_question_is_answered_once(server: LabelServer) -> None:
    status, state = post(server, "answer", rater="Ann", number=0, choice="first")
    assert (status, state["number"]) == (200, 1)
    status, value = post(server, "answer", rater="Ann", number=0, choice="second")  # the same key in another tab
    assert (status, value["state"]["number"]) == (409, 1)
    status, state = post(server, "answer", rater="Ann", number=1, choice="tie", seconds=1e400)
    assert (status, state["question"]) == (200, None)
    status, state = post(server, "undo", rater="Ann", number=2)
    assert (status, state["number"]) == (200, 1)
    assert post(server, "state", rater="Bob")[1]["number"] == 0


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[" * 10_000, {}, 400),
        (b"[]", {}, 400),
        (b'{"rater": 3}', {}, 400),
        (b'{"rater": "Ann", "number": true}', {}, 400),
        (b'{"rater": "Ann", "number": 0, "choice": "both"}', {}, 400),
        (b'{"rater": "", "number": 0, "choice": "tie"}', {}, 400),
        (b'{"rater": "a\\u0000b", "number": 0, "choice": "tie"}', {}, 400),
        (b'{"rater": "\\ud800", "number": 0, "choice": "tie"}', {}, 400),
        (b"x" * (MAX_BODY + 1), {}, 413),
        (b"{}", {"Content_Length": "9" * 5000}, 413),
        (b"{}", {"Content_Length": "-1"}, 411),
        (b"{}", {"Content_Type": "text/plain"}, 415),
    ],
)
def test_a_bad_request_is_refused_and_writes_nothing(
    server: LabelServer, tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer, _ = send(server, "POST", f"/{server.token}/answer", body, **headers)
    assert answer.status == status
    assert all(path.read_text().count("\n") == 1 for path in (tmp_path / "out").glob("raters/*"))


def test_a_taken_port_is_one_sentence(server: LabelServer) -> None:
    with pytest.raises(InputError, match="is taken; choose another with --port"):
        LabelServer(server.room, server.server_port)
