"""Finding and verifying what belongs to a published model."""

from __future__ import annotations

import hashlib

import pytest

from rewardbench_plugin.assets import Template, find_base, find_part, read_template

TEXT = "\nRate {text_prompt}  \n"
TEMPLATE = Template("rate.txt", hashlib.sha256(TEXT.encode()).hexdigest(), "https://example.org/rate.py", "RATE")


def test_a_template_is_read_from_either_folder_byte_for_byte(tmp_path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "rate.txt").write_bytes(TEXT.encode())
    assert read_template(tmp_path, TEMPLATE) == TEXT
    assert read_template(tmp_path / "templates", TEMPLATE) == TEXT


def test_one_other_byte_is_refused(tmp_path) -> None:
    (tmp_path / "rate.txt").write_bytes(TEXT.replace("  \n", " \n").encode())
    with pytest.raises(ValueError, match=r"rate\.txt is not the published template: its SHA-256 is"):
        read_template(tmp_path, TEMPLATE)


def test_line_ends_are_bytes_too(tmp_path) -> None:
    (tmp_path / "rate.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    with pytest.raises(ValueError, match="not the published template"):
        read_template(tmp_path, TEMPLATE)


def test_a_missing_template_names_where_it_is_published(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"templates/rate\.txt is missing; it is published at https://example"):
        read_template(tmp_path, TEMPLATE)


def test_a_part_is_where_the_user_says_or_inside_the_folder(tmp_path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "own").mkdir()
    weights = {"": str(tmp_path)}
    assert find_part("p", weights, "base", "inner", "its base") == tmp_path / "inner"
    assert find_part("p", {**weights, "base": str(tmp_path / "own")}, "base", "inner", "its base") == tmp_path / "own"


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "p needs its base: add --weights DIR"),
        ({"": "WHERE"}, "p needs its base: WHERE/inner is not there"),
        ({"base": "WHERE/gone"}, "--weights base=WHERE/gone does not exist"),
    ],
)
def test_a_part_that_is_not_there(tmp_path, weights, words) -> None:
    given = {part: path.replace("WHERE", str(tmp_path)) for part, path in weights.items()}
    with pytest.raises(ValueError, match="p needs its base|does not exist") as caught:
        find_part("p", given, "base", "inner", "its base")
    assert words.replace("WHERE", str(tmp_path)) in str(caught.value)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("checkpoint/base_model", "base_model"),
        ("base_model", "base_model"),
        ("Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"),
        ("Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"),
    ],
)
def test_a_base_is_looked_for_in_the_folder_then_in_its_parent(tmp_path, place, name) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / place).mkdir(parents=True)
    assert find_base(name, tmp_path / "checkpoint", None) == tmp_path / place


def test_the_folder_comes_before_its_parent_and_the_user_before_both(tmp_path) -> None:
    for place in ("checkpoint/base", "base", "mine"):
        (tmp_path / place).mkdir(parents=True)
    assert find_base("base", tmp_path / "checkpoint", None) == tmp_path / "checkpoint" / "base"
    assert find_base("base", tmp_path / "checkpoint", str(tmp_path / "mine")) == tmp_path / "mine"


def test_a_base_nobody_has(tmp_path) -> None:
    with pytest.raises(ValueError, match="the base model 'org/base' that .* names is neither in it nor in its parent"):
        find_base("org/base", tmp_path, None)
    with pytest.raises(ValueError, match="is not a folder"):
        find_base("org/base", tmp_path, str(tmp_path / "gone"))
