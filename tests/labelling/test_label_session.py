"""Answers survive whatever happens, mean what was seen, and are asked once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.labelling.pairs import LabelPair, read_label_pairs
from rewardbench.labelling.session import Session, rater_file, rater_name, read_answers
from rewardbench.labelling.settings import Settings, open_settings
from rewardbench.labelling.trials import combined, label_of, questions


def made(n: int) -> list[LabelPair]:
    return [LabelPair(f"p{i}", "", f"a{i}", f"b{i}", Path(f"a{i}"), Path(f"b{i}")) for i in range(n)]


def opened(folder: Path, pairs: list[LabelPair], rater: str = "Ann", how: Settings = Settings()) -> Session:  # noqa: B008
    return Session(folder, rater, how, questions(pairs, rater, how))


@given(
    seed=st.integers(0, 1000),
    rater=st.text(min_size=1, max_size=8),
    truth=st.lists(st.sampled_from([1, 0, -1]), min_size=1, max_size=12),
    both=st.booleans(),
)
def test_who_picks_the_better_clip_by_sight_gets_the_truth_whatever_sides_were_drawn(
    seed: int, rater: str, truth: list[int], both: bool
) -> None:
    pairs = made(len(truth))
    worth = {f"a{i}": t for i, t in enumerate(truth)} | {f"b{i}": -t for i, t in enumerate(truth)}
    found: dict[str, list[int | None]] = {}
    for q in questions(pairs, rater, Settings(both_orders=both, seed=seed)):
        shown = [q.pair.name_b, q.pair.name_a] if q.swapped else [q.pair.name_a, q.pair.name_b]
        first, second = (worth[name] for name in shown)
        choice = "tie" if first == second else "first" if first > second else "second"
        found.setdefault(q.pair.pair_id, []).append(label_of(choice, q.swapped))
    assert {k: combined(v) for k, v in found.items()} == {f"p{i}": t for i, t in enumerate(truth)}
    assert all(len(v) == (2 if both else 1) for v in found.values())


def test_both_orders_show_each_pair_both_ways_and_the_second_round_after_the_first() -> None:
    asked = questions(made(30), "Ann", Settings(("motion", "appeal"), both_orders=True))
    assert [q.round for q in asked] == [1] * 60 + [2] * 60
    ways = {(q.pair.pair_id, q.round): q.swapped for q in asked}
    assert all(ways[f"p{i}", 1] != ways[f"p{i}", 2] for i in range(30))
    assert len({q.key for q in asked}) == 120
    assert all(
        a.pair is b.pair and (a.dimension, b.dimension) == ("motion", "appeal")
        for a, b in zip(asked[::2], asked[1::2], strict=True)
    )


def test_sides_are_drawn_evenly_and_another_rater_sees_other_sides_in_another_order() -> None:
    pairs = made(2000)
    ann, bob = (questions(pairs, rater, Settings()) for rater in ("Ann", "Bob"))
    assert 880 <= sum(q.swapped for q in ann) <= 1120  # 1000 +- 5.4 standard deviations
    of_bob = {q.pair.pair_id: q.swapped for q in bob}
    assert 880 <= sum(q.swapped != of_bob[q.pair.pair_id] for q in ann) <= 1120
    assert [q.key for q in ann] != [q.key for q in bob]
    assert ann == questions(pairs, "Ann", Settings())


def test_pairs_added_later_change_nothing_for_the_others() -> None:
    before = questions(made(10), "Ann", Settings())
    after = [q for q in questions(made(20), "Ann", Settings()) if int(q.pair.pair_id[1:]) < 10]
    assert before == after


@pytest.mark.parametrize(
    ("labels", "one"), [([1, 1], 1), ([1, -1], 0), ([1, 0], 0), ([None, -1], -1), ([None, None], None), ([0], 0)]
)
def test_two_orders_make_the_label_both_give_else_a_tie(labels: list[int | None], one: int | None) -> None:
    assert combined(labels) == one


@settings(max_examples=20, deadline=None)
@given(
    cut=st.integers(0, 100_000), steps=st.lists(st.sampled_from(["first", "second", "tie", "skip", "undo"]), max_size=8)
)
def test_a_file_cut_anywhere_resumes_with_the_answers_whose_lines_are_whole(
    cut: int, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, pairs = tmp_path_factory.mktemp("cut"), made(8)
    session = opened(folder, pairs)
    stack: list[str] = []
    sizes, stacks = [session.path.stat().st_size], [[]]
    for step in steps:
        if step == "undo":
            assert session.undo() == bool(stack)
            stack = stack[:-1]
        else:
            session.answer(step)
            stack = [*stack, step]
        sizes.append(session.path.stat().st_size)
        stacks.append(stack)
    session.close()
    data = session.path.read_bytes()
    kept = cut % (len(data) + 1)
    session.path.write_bytes(data[:kept])
    again = opened(folder, pairs)
    standing = [s for size, s in zip(sizes, stacks, strict=True) if size <= kept]
    assert [one.choice for one in again.answers] == (standing[-1] if standing else [])
    again.answer("tie")
    again.close()
    assert [one.choice for one in read_answers(again.path)[1]] == [*(standing[-1] if standing else []), "tie"]


def test_an_answer_records_what_stood_where(tmp_path: Path) -> None:
    session = opened(tmp_path, made(5))
    question = session.pending[0]
    session.answer("first", 1.234)
    session.close()
    header, line = session.path.read_text().splitlines()
    assert json.loads(header)["seed"] == 0
    kept = json.loads(line)["answer"]
    assert kept["swapped"] == question.swapped
    assert (kept["pair_id"], kept["video_a"], kept["choice"], kept["seconds"]) == (
        question.pair.pair_id, question.pair.name_a, "first", 1.23,
    )  # fmt: skip


def test_an_answer_to_a_pair_whose_clips_changed_is_asked_again(tmp_path: Path) -> None:
    session = opened(tmp_path, made(1))
    session.answer("first")
    session.close()
    changed = [LabelPair("p0", "", "a0", "other", Path("a0"), Path("other"))]
    again = opened(tmp_path, changed)
    assert again.answers == []
    again.answer("second")
    assert again.undo()
    assert not again.undo()
    again.close()
    back = opened(tmp_path, made(1))
    assert [one.choice for one in back.answers] == ["first"]
    back.close()


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    session = opened(tmp_path, made(2))
    session.answer("tie")
    session.close()
    lines = session.path.read_text().splitlines()
    session.path.write_text("\n".join([lines[0], lines[1][:30], lines[1]]) + "\n")
    with pytest.raises(InputError, match="line 2 is not an answer"):
        opened(tmp_path, made(2))


def test_two_processes_cannot_write_one_raters_file(tmp_path: Path) -> None:
    session = opened(tmp_path, made(2))
    with pytest.raises(InputError, match="in use by another process"):
        opened(tmp_path, made(2))
    session.close()


@given(st.text(max_size=80))
def test_a_raters_file_lies_in_its_folder_whatever_the_name(name: str) -> None:
    try:
        kept = rater_name(name)
    except InputError:
        return
    path = rater_file(Path("/x"), kept)
    assert path.parent == Path("/x/raters")
    assert "/" not in path.name
    assert not path.name.startswith(".")
    assert len(path.name.encode()) <= 240


def test_a_folder_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    begun = open_settings(tmp_path / "o", dimensions=["motion"], both_orders=True, seed=3)
    assert open_settings(tmp_path / "o") == begun
    assert open_settings(tmp_path / "o", seed=3) == begun
    with pytest.raises(InputError, match="begun with another --seed"):
        open_settings(tmp_path / "o", seed=4)
    with pytest.raises(InputError, match="--dimension"):
        open_settings(tmp_path / "p", dimensions=["a b"])
    assert not (tmp_path / "p").exists()


def test_pairs_of_a_real_folder_can_be_answered(clips: Path, tmp_path: Path) -> None:
    session = opened(tmp_path, read_label_pairs(clips))
    assert session.total == 2
    session.answer("tie")
    session.answer("first")
    assert session.pending == []
    with pytest.raises(InputError, match="every question"):
        session.answer("tie")
    session.close()
