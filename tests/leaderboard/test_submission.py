"""A run becomes a bundle: the same one each time, small, and with nothing of the machine in it."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.leaderboard import archive
from rewardbench.leaderboard.submission import (
    _command,
    _merged,
    base_name,
    bundle_name,
    make_bundle,
    read_facts,
    without_paths,
)


def test_the_same_run_gives_the_same_bytes(scores_run: Path) -> None:
    assert make_bundle(scores_run) == make_bundle(scores_run)


def test_no_place_on_this_machine_goes_along(bundle: Path, pairs_file: Path, scores_run: Path) -> None:
    text = b"".join(archive.unpack(bundle).values()).decode()
    for private in (str(pairs_file.parent), str(scores_run), str(Path.home()), socket.gethostname()):
        assert private not in text
    command = json.loads(archive.unpack(bundle)[archive.RESULT])["provenance"]["command"]
    assert command == "rewardbench run --plugin scores --scores votes.csv --out=scores"


def test_a_bundle_is_smaller_than_a_tenth_of_its_folder(bundle: Path, scores_run: Path) -> None:
    folder = sum(path.stat().st_size for path in scores_run.rglob("*") if path.is_file())
    assert bundle.stat().st_size < folder / 10


def test_each_score_of_a_table_is_a_model_of_its_own(bundle: Path) -> None:
    models = json.loads(archive.unpack(bundle)[archive.MANIFEST])["models"]
    assert [(m["name"], m["score"], m["kind"]) for m in models] == [
        ("good", "good", "recorded"),
        ("bad", "bad", "recorded"),
    ]
    assert models[0]["parameters"] == 7
    assert [m["training_data"]["declaration"] for m in models] == ["clean", "unknown"]


def test_facts_about_nobody_or_of_no_kind_are_refused(scores_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="speaks of 'ugly', which is not in this run \\(bad, good\\)"):
        make_bundle(scores_run, facts={"ugly": {}})
    with pytest.raises(InputError, match="good has the unknown fact 'size'"):
        make_bundle(scores_run, facts={"good": {"size": 1}})
    with pytest.raises(InputError, match="training_data of good is clean, overlaps or unknown"):
        make_bundle(scores_run, facts={"good": {"training_data": "mine"}})
    with pytest.raises(InputError, match="'good': parameters: "):
        make_bundle(scores_run, facts={"good": {"parameters": -1}})
    (tmp_path / "facts.json").write_text("[1]")
    with pytest.raises(InputError, match="not an object of objects"):
        read_facts(tmp_path / "facts.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_facts(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"training_data_note": 5}, "--facts: 'good': note: Input should be a valid string"),
        ({"training_data": ["clean"]}, "training_data of good is clean, overlaps or unknown"),
        ({"name": ""}, "'good': name: "),
        ({"citation": "x" * 9000}, "'good': citation: "),
    ],
)
def test_facts_of_another_type_are_one_sentence(scores_run: Path, facts: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_bundle(scores_run, facts={"good": facts})


def test_a_long_name_of_the_submitter_is_one_sentence(scores_run: Path) -> None:
    with pytest.raises(InputError, match="--submitted-by has 513 characters; give at most 512"):
        make_bundle(scores_run, submitted_by="x" * 513)
    assert make_bundle(scores_run, submitted_by="x" * 512)


def test_a_table_with_a_number_that_is_none_is_one_sentence(scores_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(scores_run, tmp_path / "run")
    table = pq.ParquetFile(run / "scores.parquet").read()
    values = table["value"].to_pylist()
    values[0] = float("nan")
    place = table.schema.get_field_index("value")
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(values, pa.float64())), run / "scores.parquet"
    )
    with pytest.raises(InputError, match="has a number that is not finite"):
        make_bundle(run)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        make_bundle(tmp_path)


def test_a_bundles_name_says_what_it_holds(scores_run: Path) -> None:
    name = bundle_name(scores_run, b"content")
    assert name == "votes--scores--ed7002b4.zip", "the digits are those of sha256sum of 'content'"


@settings(deadline=None)
@given(st.permutations(range(12)), st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=4))
def test_merged_order_agrees_with_every_part(truth: list[int], kept: list[list[bool]]) -> None:
    """Parts are taken from one true order; what comes back keeps each of them."""
    orders = [[str(k) for k, keep in zip(truth, mask, strict=True) if keep] for mask in kept]
    ids = list(dict.fromkeys(name for order in orders for name in order))
    found = _merged(ids, orders)
    assert sorted(found) == sorted(ids)
    for order in orders:
        assert [name for name in found if name in order] == order


def test_orders_that_contradict_each_other_have_no_merged_order() -> None:
    assert len(_merged(["a", "b"], [["a", "b"], ["b", "a"]])) < 2


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/me/data/a.csv", "a.csv"),
        ("~/a.csv", "a.csv"),
        ("C:\\Users\\me\\a.csv", "a.csv"),
        ("file:///home/me/a.csv", "a.csv"),
        ("data/a.csv", "data/a.csv"),
        ("owner/name", "owner/name"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_absolute_paths_keep_their_last_part(text: str, kept: str) -> None:
    assert base_name(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot read /home/me/clip.mp4: no such file", "cannot read clip.mp4: no such file"),
        ("'/tmp/x y/clip.mp4' is empty", None),
        ("C:\\Users\\me\\clip.mp4 is empty", "clip.mp4 is empty"),
        ("see https://example.org/a/b for more", "see https://example.org/a/b for more"),
        ("1/2 of clips, and/or more", "1/2 of clips, and/or more"),
        ("file:///home/me/a.mp4 failed", "a.mp4 failed"),
    ],
)
def test_sentences_lose_absolute_paths_only(text: str, kept: str | None) -> None:
    found = without_paths(text)
    assert "/home/me" not in found
    assert "/tmp" not in found
    assert kept is None or found == kept


def test_a_command_loses_places_and_keeps_the_rest() -> None:
    command = "rewardbench run --weights part=/secret/w.pt --weights /secret/v.pt --map a=b --out '/my run/x'"
    assert _command(command) == "rewardbench run --weights part=w.pt --weights v.pt --map a=b --out x"
    assert _command("unbalanced ' /secret/w.pt") == "unbalanced ' w.pt"
