"""The caption grammar is inverted exactly, and wrong captions are wrong by the stated amount."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.synth.caption import (
    FACTS,
    CaptionFacts,
    caption,
    fact_error,
    facts_of,
    mismatch,
    parse_caption,
    scene_with,
    wrong_facts,
    wrong_values,
)
from rewardbench.synth.scene import CAMERAS, PEOPLE, Scene

facts_strategy = st.builds(
    CaptionFacts,
    person=st.sampled_from(PEOPLE),
    **{name: st.sampled_from(values) for name, values in FACTS.items() if name != "camera"},
    camera=st.sampled_from((None, *CAMERAS)),
)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=400, deadline=None)
@given(facts=facts_strategy, seed=seeds)
def test_parsing_inverts_the_grammar(facts: CaptionFacts, seed: int) -> None:
    assert parse_caption(caption(facts, np.random.default_rng(seed))) == facts


@settings(max_examples=50, deadline=None)
@given(facts=facts_strategy, seed=seeds)
def test_case_spacing_and_the_full_stop_do_not_matter(facts: CaptionFacts, seed: int) -> None:
    text = caption(facts, np.random.default_rng(seed))
    assert parse_caption("  " + text.upper().replace(" ", "\n ").rstrip(".")) == facts


@settings(max_examples=100, deadline=None)
@given(facts=facts_strategy, seed=seeds, text=st.text(max_size=20))
def test_other_text_is_outside_the_grammar(facts: CaptionFacts, seed: int, text: str) -> None:
    assert parse_caption(text) is None
    assert parse_caption(caption(facts, np.random.default_rng(seed)) + " Masterpiece, best quality.") is None


@pytest.mark.parametrize(
    "text", ["", "a girl walks", "A girl with plaid hair and green eyes, wearing a red kimono, walks."]
)
def test_near_misses_are_outside_the_grammar(text: str) -> None:
    assert parse_caption(text) is None


def test_grammar_is_unambiguous() -> None:
    """Every phrase of a slot belongs to one value, and all templates and synonyms are reached."""
    rng = np.random.default_rng(0)
    scene = Scene.sample(rng)
    texts = {caption(scene, np.random.default_rng(s)) for s in range(600)}
    assert len(texts) > 60
    assert {parse_caption(text) for text in texts} == {facts_of(scene)}


def test_a_scene_has_one_caption_of_its_own() -> None:
    scene = Scene.sample(np.random.default_rng(3))
    assert caption(scene) == caption(scene)
    assert parse_caption(caption(scene)) == facts_of(scene)
    assert parse_caption(caption(scene, camera=False)) == facts_of(scene, camera=False)


@settings(max_examples=150, deadline=None)
@given(facts=facts_strategy, seed=seeds, n=st.integers(0, 7))
def test_exactly_n_facts_are_wrong(facts: CaptionFacts, seed: int, n: int) -> None:
    wrong = wrong_facts(facts, np.random.default_rng(seed), n)
    changed = [name for name, value in asdict(wrong).items() if value != getattr(facts, name)]
    assert len(changed) == n
    assert "person" not in changed
    stated = 7 if facts.camera is None else 8
    assert fact_error(wrong, facts) == pytest.approx(n / stated)
    assert all(getattr(wrong, name) in wrong_values(name, getattr(facts, name)) for name in changed)


@settings(max_examples=60, deadline=None)
@given(facts=facts_strategy, seed=seeds)
def test_more_wrong_facts_contain_fewer(facts: CaptionFacts, seed: int) -> None:
    few, many = (wrong_facts(facts, np.random.default_rng(seed), n) for n in (2, 6))
    for name, value in asdict(few).items():
        if value != getattr(facts, name):
            assert getattr(many, name) == value


def test_mismatch_is_a_caption_of_the_grammar() -> None:
    rng = np.random.default_rng(1)
    for n in range(9):
        scene = Scene.sample(rng)
        stated = parse_caption(mismatch(scene, rng, n))
        assert stated is not None
        assert fact_error(stated, facts_of(scene)) == pytest.approx(n / 8)
    with pytest.raises(ValueError, match="cannot make 9 of 8 facts wrong"):
        mismatch(scene, rng, 9)


def test_every_value_has_plainly_wrong_values() -> None:
    for fact, values in FACTS.items():
        for value in values:
            others = wrong_values(fact, value)
            assert value not in others
            assert len(others) >= 2


@settings(max_examples=40, deadline=None)
@given(facts=facts_strategy, seed=seeds)
def test_a_scene_made_from_facts_has_them(facts: CaptionFacts, seed: int) -> None:
    scene = Scene.sample(np.random.default_rng(seed))
    made = facts_of(scene_with(scene, facts))
    assert made == (replace(facts, camera=scene.camera) if facts.camera is None else facts)
