"""Weights by content: equal contents are equal, any change is another, and nothing stale is remembered."""

from __future__ import annotations

import hashlib
import os

import pytest

from rewardbench_plugin import digests
from rewardbench_plugin.digests import hash_path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_is_its_sha256(tmp_path) -> None:
    (tmp_path / "a.bin").write_bytes(b"weights")
    assert hash_path(str(tmp_path / "a.bin")) == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("change", ["rename", "content", "add", "move"])
def test_a_folder_is_its_names_and_contents(tmp_path, change) -> None:
    folder = tmp_path / "w"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"1")
    (folder / "inner" / "b").write_bytes(b"2")
    before = hash_path(str(folder))
    assert hash_path(str(folder)) == before
    if change == "rename":
        (folder / "a").rename(folder / "c")
    elif change == "content":
        (folder / "a").write_bytes(b"3")
    elif change == "add":
        (folder / "c").write_bytes(b"")
    else:
        (folder / "inner" / "b").rename(folder / "b")
    assert hash_path(str(folder)) != before


def test_a_large_file_is_read_once_and_again_when_it_changes(tmp_path, monkeypatch, cache) -> None:
    monkeypatch.setattr(digests, "REMEMBERED_SIZE", 4)
    file = tmp_path / "large"
    file.write_bytes(b"first")
    assert hash_path(str(file)) == hashlib.sha256(b"first").hexdigest()
    (note,) = (cache / "digests").iterdir()
    note.write_text("0" * 64)  # what is remembered is what is answered
    assert hash_path(str(file)) == "0" * 64
    file.write_bytes(b"other")
    facts = file.stat()
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert hash_path(str(file)) == hashlib.sha256(b"other").hexdigest()


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(digests, "REMEMBERED_SIZE", 4)
    (tmp_path / "blocked").write_text("a file where a folder should be")
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "blocked"))
    (tmp_path / "large").write_bytes(b"first")
    assert hash_path(str(tmp_path / "large")) == hashlib.sha256(b"first").hexdigest()


def test_nothing_there_is_said(tmp_path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        hash_path(str(tmp_path / "gone"))


def test_notes_of_download_tools_are_no_part_of_the_weights(tmp_path) -> None:
    folder = tmp_path / ".weights"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    before = hash_path(str(folder))
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "a.metadata").write_text("1763700000.0")
    (folder / ".fetched.json").write_text("{}")
    assert hash_path(str(folder)) == before
