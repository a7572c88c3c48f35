"""One file over HTTP: continued where it stopped, and in place only when it is the right one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rewardbench.errors import InputError
from rewardbench.fetching.download import ATTEMPTS, UnreachableError, download, raw_url

DATA = bytes(range(256)) * 64
SHA = hashlib.sha256(DATA).hexdigest()


def test_a_file_arrives(place, tmp_path: Path) -> None:
    place.files["f.txt"] = DATA
    download(f"{place.url}/f.txt", tmp_path / "new" / "f.txt", sha256=SHA)
    assert (tmp_path / "new" / "f.txt").read_bytes() == DATA
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["f.txt"]


def test_an_interrupted_download_goes_on_with_a_range(place, tmp_path: Path) -> None:
    """Two breaks leave 1/2 and 3/4; each request asks for what is missing only."""
    place.files["f.txt"] = DATA
    place.breaks["f.txt"] = 2
    download(f"{place.url}/f.txt", tmp_path / "f.txt", sha256=SHA)
    assert (tmp_path / "f.txt").read_bytes() == DATA
    assert place.asked("f.txt") == [None, f"bytes={len(DATA) // 2}-", f"bytes={len(DATA) * 3 // 4}-"]


def test_a_later_call_goes_on_too(place, tmp_path: Path) -> None:
    place.files["f.txt"] = DATA
    place.breaks["f.txt"] = ATTEMPTS
    with pytest.raises(UnreachableError, match="breaks off .*the same command goes on where it stopped"):
        download(f"{place.url}/f.txt", tmp_path / "f.txt", sha256=SHA)
    assert not (tmp_path / "f.txt").exists()
    there = (tmp_path / "f.txt.partial").stat().st_size
    assert 0 < there < len(DATA)
    place.requests.clear()
    download(f"{place.url}/f.txt", tmp_path / "f.txt", sha256=SHA)
    assert place.asked("f.txt") == [f"bytes={there}-"]
    assert (tmp_path / "f.txt").read_bytes() == DATA


def test_a_server_without_ranges_sends_everything_again(place, tmp_path: Path) -> None:
    place.files["f.txt"], place.ranges = DATA, False
    place.breaks["f.txt"] = 1
    download(f"{place.url}/f.txt", tmp_path / "f.txt", sha256=SHA)
    assert (tmp_path / "f.txt").read_bytes() == DATA


@pytest.mark.parametrize("left", [b"the beginning of another file", DATA + b"and more", DATA])
def test_what_was_left_of_another_file_does_not_survive(place, tmp_path: Path, left: bytes) -> None:
    place.files["f.txt"] = DATA
    (tmp_path / "f.txt.partial").write_bytes(left)
    download(f"{place.url}/f.txt", tmp_path / "f.txt", sha256=SHA)
    assert (tmp_path / "f.txt").read_bytes() == DATA


def test_a_wrong_checksum_is_refused_and_nothing_is_left(place, tmp_path: Path) -> None:
    place.files["f.txt"] = DATA[:-1] + b"!"
    with pytest.raises(InputError, match="is not the published file: its SHA-256 is .*nothing was kept of it"):
        download(f"{place.url}/f.txt", tmp_path / "f.txt", sha256=SHA)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_too_large_is_refused(place, tmp_path: Path) -> None:
    place.files["f.txt"] = DATA
    with pytest.raises(InputError, match="more than the 1,000 bytes expected"):
        download(f"{place.url}/f.txt", tmp_path / "f.txt", most=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_said_at_once_and_a_busy_server_is_asked_again(place, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the server answers 404"):
        download(f"{place.url}/absent.txt", tmp_path / "f.txt")
    assert len(place.requests) == 1
    place.status = 503
    with pytest.raises(UnreachableError, match="the server answers 503"):
        download(f"{place.url}/f.txt", tmp_path / "f.txt")
    assert len(place.requests) == 1 + ATTEMPTS


def test_no_connection(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="http://127.0.0.1:9/f.txt cannot be reached"):
        download("http://127.0.0.1:9/f.txt", tmp_path / "f.txt")


def test_addresses() -> None:
    raw = "https://raw.githubusercontent.com/o/r/0123abc/a/b.py"
    assert raw_url(raw) == raw
    assert raw_url("https://github.com/o/r/blob/0123abc/a/b.py") == raw
    for other in ("file:///etc/hosts", "ftp://x/y", "/etc/hosts"):
        with pytest.raises(InputError, match="not an address rewardbench fetches from"):
            raw_url(other)
