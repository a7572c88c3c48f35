"""How ``KEY=VALUE`` and ``[PART=]PATH`` are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.cli.app import main
from rewardbench.cli.options import read_options, read_weights, split_pairs
from rewardbench.errors import InputError

keys = st.text(st.characters(exclude_characters="=", exclude_categories=("Cs",)), min_size=1)
values = st.text(min_size=1)


@given(st.lists(st.tuples(keys, values)))
def test_pairs_are_split_at_the_first_equals_sign(pairs: list[tuple[str, str]]) -> None:
    assert split_pairs("--map", [f"{key}={value}" for key, value in pairs], "LABEL=SCORE") == tuple(pairs)


@given(st.dictionaries(keys, values))
def test_options_become_a_table(table: dict[str, str]) -> None:
    assert read_options([f"{key}={value}" for key, value in table.items()]) == table


@pytest.mark.parametrize("text", ["VQ", "=appeal", "VQ=", "="])
def test_other_forms_are_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=r"--map .* is not of the form LABEL=SCORE"):
        split_pairs("--map", [text], "LABEL=SCORE")


def test_one_label_may_be_held_against_two_scores() -> None:
    assert split_pairs("--map", ["VQ=a", "VQ=b"], "LABEL=SCORE") == (("VQ", "a"), ("VQ", "b"))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["model.pt"], {"": "model.pt"}),
        (["vision=a.pt", "text=b/c.pt"], {"vision": "a.pt", "text": "b/c.pt"}),
        (["./lr=3e-4/model.pt"], {"": "./lr=3e-4/model.pt"}),
        (["vision=runs/lr=3e-4.pt"], {"vision": "runs/lr=3e-4.pt"}),
        (["all.pt", "head=h.pt"], {"": "all.pt", "head": "h.pt"}),
        (None, {}),
    ],
)
def test_weights_are_a_path_or_a_part_s_path(texts: list[str] | None, expected: dict[str, str]) -> None:
    assert read_weights(texts) == expected


def test_an_existing_file_is_a_path_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "step=100.pt").touch()
    monkeypatch.chdir(tmp_path)
    assert read_weights(["step=100.pt"]) == {"": "step=100.pt"}


@pytest.mark.parametrize("texts", [["a.pt", "b.pt"], ["head=a.pt", "head=b.pt"], ["head="]])
def test_weights_given_twice_or_empty_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--weights"):
        read_weights(texts)


def test_trusting_remote_code_is_an_option_of_the_plugin() -> None:
    assert read_options(["fps=2"], trust_remote_code=True) == {"fps": "2", "trust_remote_code": "true"}
    assert read_options(None) == {}


def test_a_plugin_without_remote_code_refuses_the_trust(capsys, tmp_path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert main(["score", str(tmp_path / "a.mp4"), "--plugin", "random", "--trust-remote-code"]) == 2
    assert "trust_remote_code" in capsys.readouterr().err
