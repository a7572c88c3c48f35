"""Fetching the files of a card from a server on this machine, and from a hub played by the same server."""

from __future__ import annotations

import hashlib
import io
import logging
import time
import zipfile
from pathlib import Path

import pytest

from rewardbench.catalogue.card import BenchmarkCard, CardFile, HubSource, Licence
from rewardbench.catalogue.fetching import fetch_benchmark, fetch_card
from rewardbench.catalogue.folders import data_folder
from rewardbench.errors import InputError
from rewardbench.fetching import hub

DATA = b'[{"a": 1}]' * 100


def file(place, path: str, part: str = "labels", data: bytes = DATA, *, known: bool = True) -> CardFile:
    place.files[path] = data
    digest = hashlib.sha256(data).hexdigest() if known else ""
    return CardFile(path=path, part=part, sha256=digest, bytes=len(data) if known else 0, url=f"{place.url}/{path}")


def card(*files: CardFile, **changes: object) -> BenchmarkCard:
    facts = {
        "name": "small",
        "title": "t",
        "summary": "s",
        "citation": "c",
        "url": "u",
        "licence": Licence(labels="MIT"),
    }
    return BenchmarkCard.model_validate({**facts, "files": files, **changes})


def test_labels_come_and_clips_only_where_they_are_asked_for(place, tmp_path: Path) -> None:
    small = card(file(place, "l.json"), file(place, "deep/s.json", "scores"), file(place, "v.mp4", "media", b"clip"))
    found = fetch_card(small, tmp_path / "b")
    assert found.parts == ("labels", "scores")
    assert found.files == 2
    assert found.remaining == ("not fetched: media; add --media",)
    assert sorted(p.name for p in (tmp_path / "b").rglob("*") if p.is_file()) == ["l.json", "s.json"]
    assert fetch_card(small, tmp_path / "b", media=True).files == 3
    assert (tmp_path / "b" / "v.mp4").read_bytes() == b"clip"


def test_what_is_there_is_not_asked_for_again_and_what_is_wrong_is_replaced(place, tmp_path: Path) -> None:
    small = card(file(place, "l.json"), file(place, "m.json"))
    fetch_card(small, tmp_path)
    place.requests.clear()
    (tmp_path / "m.json").write_bytes(b"x" * len(DATA))
    fetch_card(small, tmp_path)
    assert [path for path, _ in place.requests] == ["/m.json"]
    assert (tmp_path / "m.json").read_bytes() == DATA


def test_an_interrupted_file_goes_on_where_it_stopped(place, tmp_path: Path) -> None:
    small = card(file(place, "l.json"))
    place.breaks["l.json"] = 1
    fetch_card(small, tmp_path)
    assert place.asked("l.json") == [None, f"bytes={len(DATA) // 2}-"]


def test_another_file_than_the_published_one_is_refused(place, tmp_path: Path) -> None:
    small = card(file(place, "l.json"))
    place.files["l.json"] = b"y" * len(DATA)
    with pytest.raises(InputError, match="is not the published file"):
        fetch_card(small, tmp_path)
    assert not (tmp_path / "l.json").exists()


def test_files_without_a_known_checksum_are_said(place, tmp_path: Path) -> None:
    found = fetch_card(card(file(place, "l.json", known=False)), tmp_path)
    assert found.remaining == ("1 files have no known checksum and were taken as they came",)


def test_offline_one_sentence_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardbench.fetching.download.PAUSE", 0.0)
    gone = CardFile(path="l.json", part="labels", sha256="0" * 64, bytes=3, url="http://127.0.0.1:9/l.json")
    with pytest.raises(InputError) as error:
        fetch_card(card(gone), tmp_path / "b")
    said = str(error.value)
    assert "cannot be reached" in said
    assert f"put by hand http://127.0.0.1:9/l.json as {tmp_path / 'b' / 'l.json'}" in said
    assert "--data-dir DIR" in said
    assert "\n" not in said


def test_parts_are_known_by_name_and_a_card_without_files_says_who_to_ask(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no part 'lables'; did you mean 'labels'"):
        fetch_card(card(CardFile(path="x", part="labels", sha256="", bytes=0, url="u")), tmp_path, parts=["lables"])
    with pytest.raises(InputError, match="cannot be fetched: ask the authors; put it into"):
        fetch_card(card(by_hand="ask the authors"), tmp_path)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/") + ".mp4", data)
    return buffer.getvalue()


def test_a_short_commit_is_completed_from_the_history(place, tmp_path: Path) -> None:
    """The real hub client against a server that speaks its protocol; archives are unpacked."""
    commit = "1234567890abcdef1234567890abcdef12345678"
    place.repositories["o/d"] = {"pairs.csv": b"a,b\n" * 10, "videos.zip": zipped(videos__x=b"clip x", y=b"clip y")}
    hub = (
        HubSource(repo="o/d", revision=commit[:7], part="labels", patterns=("pairs.csv",)),
        HubSource(repo="o/d", revision=commit[:7], patterns=("videos.zip",), unpack=("videos.zip",), size="1 kB"),
    )
    small = card(hub=hub)
    found = fetch_card(small, tmp_path)
    assert found.commits == {"o/d": commit}
    assert found.remaining == ("not fetched: media (1 kB); add --media",)
    assert (tmp_path / "pairs.csv").read_bytes() == b"a,b\n" * 10
    assert not (tmp_path / "videos.zip").exists()
    fetch_card(small, tmp_path, media=True)
    assert (tmp_path / "videos" / "x.mp4").read_bytes() == b"clip x"
    assert (tmp_path / "y.mp4").read_bytes() == b"clip y"


def test_a_commit_that_is_gone_is_said(place, tmp_path: Path) -> None:
    place.repositories["o/d"] = {"pairs.csv": b"a,b\n"}
    with pytest.raises(InputError, match="o/d has 0 commits that begin with abcdef1; its card is out of date"):
        fetch_card(card(hub=(HubSource(repo="o/d", revision="abcdef1", part="labels"),)), tmp_path)


def test_a_branch_is_said_to_be_no_pin(place, tmp_path: Path) -> None:
    place.repositories["o/d"] = {"pairs.csv": b"a,b\n"}
    told: list[str] = []
    fetch_card(card(hub=(HubSource(repo="o/d", part="labels"),)), tmp_path, tell=told.append)
    assert any("'main' of o/d can change" in line for line in told)


def test_a_local_folder_is_used_as_it_is_and_found_again(place, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "TA_hard.csv").write_text("prompt,prompt_zh\nhello,你好\n", encoding="utf-8")
    found = fetch_benchmark("ta-hard", data_dir=mine)
    assert found.folder == mine
    assert place.requests == []
    assert data_folder("ta-hard") == mine


def test_a_hub_whose_name_is_unknown_is_one_sentence_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub's client would retry for half a minute and tell of each try; `.invalid` never resolves (RFC 2606)."""
    from rewardbench.cli import main

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    started = time.monotonic()
    assert main(["benchmarks", "fetch", "videogen-rewardbench", "--data-dir", str(tmp_path)]) == 2
    assert time.monotonic() - started < 10
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(
        "rewardbench: error: https://hub.invalid/datasets/KlingTeam/VideoGen-RewardBench/tree/89761f4"
    )
    assert "cannot be reached (hub.invalid: " in line
    assert f"into {tmp_path}" in line


def test_the_hub_s_client_tells_of_no_retry(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with hub.quiet():
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
    assert logger.level == before
    assert caplog.records == []
