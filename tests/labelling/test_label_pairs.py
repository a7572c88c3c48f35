"""What is paired with what, from each kind of source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rewardbench.errors import InputError
from rewardbench.labelling.pairs import read_label_pairs


def test_a_folder_pairs_clips_of_one_stem_from_every_two_systems(
    tmp_path: Path, make_clips: Callable[..., Path]
) -> None:
    folder = make_clips(tmp_path / "c", ("x", "y", "z"), tuple(f"s{i}" for i in range(20)))
    (folder / "x" / "alone.mp4").write_bytes(b"1")
    pairs = read_label_pairs(folder)
    assert len(pairs) == 20 * 3
    assert len({p.pair_id for p in pairs}) == 60
    for p in pairs:
        assert p.columns["model_a"] != p.columns["model_b"]
        assert p.name_a == f"{p.columns['model_a']}/{p.columns['item']}.mp4"
        assert p.video_b == folder / p.columns["model_b"] / f"{p.columns['item']}.mp4"
        assert p.prompt == f"a {p.columns['item']} runs"
    first = sum(p.columns["model_a"] < p.columns["model_b"] for p in pairs)
    assert 15 <= first <= 45  # the sides of the table are drawn: no system is always A


def test_a_pairs_file_is_taken_as_it_is_and_its_labels_are_unread(clips: Path) -> None:
    table = clips / "pairs.csv"
    table.write_text(
        "pair_id,prompt,video_a,video_b,model_a,model_b,label_motion,style\n"
        "p1,a fox,wan/fox.mp4,ltx/fox.mp4,wan,ltx,A,anime\n"
    )
    (pair,) = read_label_pairs(table)
    assert (pair.pair_id, pair.name_a, pair.name_b) == ("p1", "wan/fox.mp4", "ltx/fox.mp4")
    assert pair.columns == {"model_a": "wan", "model_b": "ltx", "style": "anime"}


def test_a_clips_table_pairs_different_models_of_one_prompt(clips: Path) -> None:
    table = clips / "clips.csv"
    rows = ["wan/fox.mp4,p,wan", "wan/cat.mp4,p,wan", "ltx/fox.mp4,p,ltx", "ltx/cat.mp4,other,ltx"]
    table.write_text("video,prompt,model\n" + "\n".join(rows) + "\n")
    found = {frozenset((p.name_a, p.name_b)) for p in read_label_pairs(table)}
    assert found == {frozenset(("wan/fox.mp4", "ltx/fox.mp4")), frozenset(("wan/cat.mp4", "ltx/fox.mp4"))}


def test_a_limit_draws_the_same_pairs_for_the_same_seed(tmp_path: Path, make_clips: Callable[..., Path]) -> None:
    folder = make_clips(tmp_path / "c", stems=tuple(f"s{i:02d}" for i in range(40)))
    everything = [p.pair_id for p in read_label_pairs(folder)]
    drawn = [p.pair_id for p in read_label_pairs(folder, limit=10, seed=1)]
    assert len(drawn) == 10
    assert drawn == [one for one in everything if one in drawn]
    assert drawn == [p.pair_id for p in read_label_pairs(folder, limit=10, seed=1)]
    assert drawn != [p.pair_id for p in read_label_pairs(folder, limit=10, seed=2)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prompt\nx\n", "neither video_a and video_b"),
        ("prompt,video_a,video_b\nx,../a.mp4,wan/fox.mp4\n", "leads out of the folder"),
        ("prompt,video_a,video_b\nx,wan/none.mp4,wan/fox.mp4\n", "does not exist"),
        ("prompt,video_a,video_b\nx,https://e.org/a.mp4,wan/fox.mp4\n", "only local clips"),
        ("pair_id,prompt,video_a,video_b\n1,x,wan/cat.mp4,wan/fox.mp4\n1,x,wan/cat.mp4,wan/fox.mp4\n", "stands twice"),
        ("prompt,video_a,video_b\n", "no two clips"),
        ("video\nwan/fox.mp4\n", "has no prompt"),
    ],
)
def test_a_source_that_cannot_be_labelled_is_refused_in_one_sentence(clips: Path, text: str, sentence: str) -> None:
    table = clips / "t.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_label_pairs(table)


def test_a_folder_without_systems_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"1")
    with pytest.raises(InputError, match="no two subfolders"):
        read_label_pairs(tmp_path)
