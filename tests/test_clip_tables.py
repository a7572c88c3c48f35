"""Clips named in tables: no name leads out of the folder of its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardbench.clip_tables import locate, read_clip_table
from rewardbench.errors import InputError

HEADER = "pair_id,prompt,video_a,video_b,label_VQ,label_MQ"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_locate_keeps_names_inside(tmp_path: Path) -> None:
    assert locate(tmp_path, "a/../b.mp4", "t") == str(tmp_path / "b.mp4")
    assert locate(tmp_path, f"file://{tmp_path}/c%20d.mp4", "t") == str(tmp_path / "c d.mp4")
    assert locate(tmp_path, "https://example.org/a.mp4", "t") == "https://example.org/a.mp4"
    with pytest.raises(InputError):
        locate(tmp_path, "a/../../b.mp4", "t")


def test_only_a_scheme_and_two_slashes_make_a_uri(tmp_path: Path) -> None:
    assert locate(tmp_path, "scene:1.mp4", "t") == str(tmp_path / "scene:1.mp4")
    assert locate(tmp_path, "hf://org/set/a.mp4", "t") == "hf://org/set/a.mp4"
    assert locate(tmp_path, f"FILE://{tmp_path}/d.mp4", "t") == str(tmp_path / "d.mp4")
    for name in ("scene:/../../b.mp4", "../x://b.mp4", "file:/../../b.mp4", "File:///etc/passwd"):
        with pytest.raises(InputError, match="leads out of the folder"):
            locate(tmp_path, name, "t")


def test_names_that_no_file_can_have_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 3: .* cannot be the name of a file"):
        locate(tmp_path, "a\0b.mp4", "p.csv, row 3")


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside, data = tmp_path / "outside", tmp_path / "data"
    for folder in (outside, data / "real"):
        folder.mkdir(parents=True)
        (folder / "a.mp4").touch()
    (data / "clip.mp4").symlink_to(outside / "a.mp4")
    (data / "clips").symlink_to(outside)
    (data / "inner.mp4").symlink_to(data / "real" / "a.mp4")
    for name in ("clip.mp4", "clips/a.mp4", "clips/missing.mp4"):
        with pytest.raises(InputError, match="is a link that leads out of the folder"):
            locate(data, name, "t")
    assert locate(data, "inner.mp4", "t") == str(data / "inner.mp4")
    (tmp_path / "linked").symlink_to(data)
    assert locate(tmp_path / "linked", "real/a.mp4", "t") == str(tmp_path / "linked" / "real" / "a.mp4")


def test_clip_table(tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "video,prompt,seed", "a.mp4,a cat,1", "a.mp4,a dog,2")
    clips = read_clip_table(file)
    assert [(c.prompt, c.metadata["seed"]) for c in clips] == [("a cat", "1"), ("a dog", "2")]
    assert len({c.clip_id for c in clips}) == 2
    with pytest.raises(InputError, match="no column 'video'"):
        read_clip_table(write(tmp_path / "d.csv", "path", "a.mp4"))
    with pytest.raises(InputError, match="stands twice"):
        read_clip_table(write(tmp_path / "e.csv", "video,clip_id", "a.mp4,1", "b.mp4,1"))


def test_a_snapshot_in_a_hub_cache_may_link_to_its_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--someone--pairs"
    snapshot = repository / "snapshots" / "0123abc" / "data"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "f00").write_bytes(b"clip")
    (snapshot / "a.mp4").symlink_to("../../../blobs/f00")
    assert locate(snapshot, "a.mp4", "t") == str(snapshot / "a.mp4")
    (tmp_path / "secret").write_bytes(b"x")
    (snapshot / "b.mp4").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="link that leads out"):
        locate(snapshot, "b.mp4", "t")
