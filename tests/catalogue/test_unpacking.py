"""Archives are unpacked into one folder and nowhere else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rewardbench.catalogue.unpacking import unpack
from rewardbench.errors import InputError


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def test_files_arrive_and_those_that_are_there_stay(tmp_path: Path) -> None:
    made = archive(tmp_path / "a.zip", {"x/1.mp4": b"one", "2.mp4": b"two", "x/": b""})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "2.mp4").write_bytes(b"TWO")  # the right size: an earlier call brought it
    assert unpack(made, tmp_path / "out") == 2
    assert (tmp_path / "out" / "x" / "1.mp4").read_bytes() == b"one"
    assert (tmp_path / "out" / "2.mp4").read_bytes() == b"TWO"
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.mark.parametrize("name", ["../evil.mp4", "/evil.mp4", "a/../../evil.mp4", "a\\..\\evil.mp4", "C:/evil.mp4"])
def test_nothing_leaves_the_folder(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = name  # ZipInfo's own constructor would tidy the name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(info, b"x")
        made.writestr("fine.mp4", b"y")
    with pytest.raises(InputError, match="leads out of"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not list(tmp_path.rglob("*.mp4"))


def test_links_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.mp4")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="has the link 'link.mp4'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_an_archive_that_grows_too_much_is_refused(tmp_path: Path) -> None:
    made = archive(tmp_path / "a.zip", {"zeros.mp4": bytes(8 << 20)})
    with pytest.raises(InputError, match="grows from .* it is not unpacked"):
        unpack(made, tmp_path / "out")


def test_what_is_no_archive_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
