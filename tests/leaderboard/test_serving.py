"""The server for a local look: this machine only, files of the site only."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard.serving import HOST, open_server


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    site = tmp_path / "site"
    (site / "frames").mkdir(parents=True)
    (site / "index.html").write_text("the page")
    (tmp_path / "secret.txt").write_text("secret")
    server = open_server(site, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_pages_are_served_and_nothing_else(port: int) -> None:
    assert get(port, "/") == (200, "the page")
    for path in ("/frames/", "/../secret.txt", "/%2e%2e/secret.txt", "/none.html"):
        status, text = get(port, path)
        assert status == 404
        assert "secret" not in text.replace("secret.txt", "")


def test_it_listens_on_this_machine_only(port: int) -> None:
    assert HOST == "127.0.0.1"
    with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
        http.client.HTTPConnection("127.0.0.2", port, timeout=2).request("GET", "/")


def test_no_site_and_a_taken_port_are_refused(port: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no site; make it with rewardbench leaderboard build"):
        open_server(tmp_path)
    with pytest.raises(InputError, match=f"port {port} is taken; choose another with --port"):
        open_server(tmp_path / "site", port)
