"""The table and the agreement, from answers whose numbers are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardbench.benchmark import load_benchmark
from rewardbench.errors import InputError
from rewardbench.labelling.export import export
from rewardbench.labelling.pairs import LabelPair, read_label_pairs
from rewardbench.labelling.session import Session
from rewardbench.labelling.settings import Settings, open_settings
from rewardbench.labelling.trials import questions

CHOICE = {(1, False): "first", (1, True): "second", (-1, False): "second", (-1, True): "first"}


def say(folder: Path, pairs: list[LabelPair], rater: str, labels: dict[str, int | None], how: Settings) -> None:
    """Answer as a rater who wants these labels (None: skip), whatever sides are shown."""
    session = Session(folder, rater, how, questions(pairs, rater, how))
    while session.pending:
        q = session.pending[0]
        want = labels[q.pair.pair_id]
        session.answer("skip" if want is None else "tie" if want == 0 else CHOICE[want, q.swapped])
    session.close()


def four(tmp_path: Path, make_clips: Callable[..., Path]) -> tuple[list[LabelPair], list[str]]:
    pairs = read_label_pairs(make_clips(tmp_path / "c", stems=("a", "b", "c", "d", "e")))
    return pairs, [p.pair_id for p in pairs]


def test_the_table_has_the_majority_and_everybodys_own_labels(tmp_path: Path, make_clips: Callable[..., Path]) -> None:
    pairs, ids = four(tmp_path, make_clips)
    out = tmp_path / "out"
    how = open_settings(out, dimensions=["motion"])
    say(out, pairs, "Ann", dict(zip(ids, [1, 1, -1, 0, None], strict=True)), how)
    say(out, pairs, "Bob", dict(zip(ids, [1, -1, -1, 1, None], strict=True)), how)
    say(out, pairs, "Cid", dict(zip(ids, [1, 1, 1, -1, None], strict=True)), how)
    done = export(pairs, out)
    found = load_benchmark(done.table)
    assert [c.labels.get("motion") for c in found.comparisons] == [1, 1, -1, 0]  # the fifth has no label: left out
    assert [c.row["motion_by_Bob"] for c in found.comparisons] == ["A", "B", "B", "A"]
    assert all(Path(clip.video).is_file() for clip in found.clips.values())
    for comparison, pair in zip(found.comparisons, pairs, strict=False):
        assert Path(found.clips[comparison.clip_a].video).read_bytes() == pair.video_a.read_bytes()
        assert comparison.row["model_a"] == pair.columns["model_a"]
    (figures,) = done.agreement
    assert (figures.n_pairs, figures.n_shared, figures.n_unanimous, figures.n_no_majority) == (4, 4, 1, 1)
    assert figures.labels == {"A": 2, "B": 1, "tie": 1}
    # Ann against Bob and Cid (A, split, split, split -> A, tie, tie, tie): A=A, A!=tie, B!=tie, tie=tie.
    assert figures.raters[0].against_others == pytest.approx(2 / 4)
    assert figures.raters[0].tie_share == pytest.approx(1 / 4)


def test_two_raters_who_agree_have_alpha_one_and_two_who_never_do_less_than_zero(
    tmp_path: Path, make_clips: Callable[..., Path]
) -> None:
    pairs, ids = four(tmp_path, make_clips)
    for name, second, alpha in (("same", [1, -1, 1, -1, 1], 1.0), ("never", [-1, 1, -1, 1, -1], None)):
        out = tmp_path / name
        how = open_settings(out)
        say(out, pairs, "Ann", dict(zip(ids, [1, -1, 1, -1, 1], strict=True)), how)
        say(out, pairs, "Bob", dict(zip(ids, second, strict=True)), how)
        (figures,) = export(pairs, out).agreement
        if alpha is not None:
            assert figures.alpha == alpha
            assert figures.ceiling_with_ties == 1.0
        else:
            # Five pairs, all split, ten values half and half: D_o = 1, D_e = 2*5*5/(10*9) = 5/9, alpha = 1 - 9/5.
            assert figures.alpha == pytest.approx(-0.8)
            assert figures.labels == {"A": 0, "B": 0, "tie": 5}
            assert figures.ceiling_with_ties == 0.0


def test_a_rater_s_tie_is_wrong_on_the_pairs_that_the_others_decided(
    tmp_path: Path, make_clips: Callable[..., Path]
) -> None:
    pairs, ids = four(tmp_path, make_clips)
    out, how = tmp_path / "out", open_settings(tmp_path / "out")
    say(out, pairs, "Ann", dict(zip(ids, [0, 1, -1, 0, 1], strict=True)), how)
    say(out, pairs, "Bob", dict(zip(ids, [1, 1, -1, 0, 0], strict=True)), how)
    ann, bob = export(pairs, out).agreement[0].raters
    assert (ann.against_others, bob.against_others) == (3 / 5, 3 / 5)
    assert ann.against_others_decided == 2 / 3  # Bob decided three; Ann's tie on the first is wrong
    assert bob.against_others_decided == 2 / 3


def test_who_always_takes_the_first_place_is_seen_and_makes_ties_in_both_orders(
    tmp_path: Path, make_clips: Callable[..., Path]
) -> None:
    pairs, _ = four(tmp_path, make_clips)
    out = tmp_path / "out"
    how = open_settings(out, both_orders=True)
    session = Session(out, "Ann", how, questions(pairs, "Ann", how))
    while session.pending:
        session.answer("first")
    session.close()
    (figures,) = export(pairs, out).agreement
    (ann,) = figures.raters
    assert figures.labels == {"A": 0, "B": 0, "tie": 5}
    assert (ann.first_share, ann.n_both_orders, ann.same_in_both_orders) == (1.0, 5, 0.0)
    assert figures.alpha is None
    assert figures.ceiling_with_ties is None


def test_a_pair_that_left_the_source_is_counted_and_not_exported(
    tmp_path: Path, make_clips: Callable[..., Path]
) -> None:
    pairs, ids = four(tmp_path, make_clips)
    out = tmp_path / "out"
    say(out, pairs, "Ann", dict.fromkeys(ids, 1), open_settings(out))
    done = export(pairs[1:], out)
    assert (done.n_pairs, done.n_stale) == (4, 1)


def test_nothing_answered_is_one_sentence(tmp_path: Path, make_clips: Callable[..., Path]) -> None:
    pairs, _ = four(tmp_path, make_clips)
    with pytest.raises(InputError, match="holds no labels yet"):
        export(pairs, tmp_path / "out")
    open_settings(tmp_path / "out")
    with pytest.raises(InputError, match="holds no label for these pairs"):
        export(pairs, tmp_path / "out")


def test_clips_that_lie_in_the_folder_are_not_copied(tmp_path: Path, make_clips: Callable[..., Path]) -> None:
    pairs, ids = four(tmp_path, make_clips)
    say(tmp_path, pairs, "Ann", dict.fromkeys(ids, -1), open_settings(tmp_path))
    found = load_benchmark(export(pairs, tmp_path).table)
    assert {Path(clip.video) for clip in found.clips.values()} == {f for p in pairs for f in (p.video_a, p.video_b)}
    assert not (tmp_path / "clips").exists()


def test_the_agreement_file_is_json_without_nan_and_the_export_repeats_byte_for_byte(
    tmp_path: Path, make_clips: Callable[..., Path]
) -> None:
    pairs, ids = four(tmp_path, make_clips)
    out = tmp_path / "out"
    say(out, pairs, '松本 a,b"', dict.fromkeys(ids, 1), open_settings(out))
    export(pairs, out)
    first = [(out / name).read_bytes() for name in ("labels.csv", "agreement.json")]
    export(pairs, out)
    assert first == [(out / name).read_bytes() for name in ("labels.csv", "agreement.json")]
    numbers = json.loads(first[1], parse_constant=pytest.fail)
    assert numbers["dimensions"][0]["raters"][0]["rater"] == '松本 a,b"'
    assert not math.isnan(numbers["dimensions"][0]["n_pairs"])
    assert [c.row['overall_by_松本 a,b"'] for c in load_benchmark(out / "labels.csv").comparisons] == ["A"] * 5
