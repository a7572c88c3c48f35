"""The captions mini understands are those of the drawn world's grammar, fact by fact, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewardbench_animereward.captions import STATED, VALUES, understand

from rewardbench.synth import scene as world
from rewardbench.synth.caption import FACTS, caption, facts_of, mismatch, parse_caption
from rewardbench.synth.palette import EYE_COLOURS, HAIR_COLOURS, OUTFIT_COLOURS
from rewardbench.synth.scene import Scene


def test_the_vocabulary_is_that_of_the_world():
    assert VALUES["hair_colour"] == tuple(HAIR_COLOURS)
    assert VALUES["eye_colour"] == tuple(EYE_COLOURS)
    assert VALUES["outfit_colour"] == tuple(OUTFIT_COLOURS)
    for fact, values in (("person", world.PEOPLE), ("accessory", world.ACCESSORIES)):
        assert VALUES[fact] == values
    assert {fact: VALUES[fact] for fact in STATED} == FACTS


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), camera=st.booleans(), wrong=st.integers(0, 7))
def test_every_caption_is_understood_as_the_world_means_it(seed, camera, wrong):
    rng = np.random.default_rng(seed)
    drawn = Scene.sample(rng)
    text = mismatch(drawn, rng, wrong) if wrong else caption(drawn, rng, camera=camera)
    meant = parse_caption(text)
    assert meant is not None
    expected = {"person": meant.person, **{f: getattr(meant, f) for f in STATED if getattr(meant, f) is not None}}
    assert understand(text) == expected
    assert understand("  " + text.upper().replace(" ", "  ")) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "A horse gallops over a field.",
        "In this video, a young woman with a ponytail waves at the camera.",
        "A girl with long blue hair and green eyes, wearing a red dress, waves her hand.",  # no place
        "A girl with long blue hair and green eyes, wearing a red dress, waves her hand in a forest at the seaside.",
        "A girl with long blue hair and green eyes, wearing a red dress, waves her hand in a forest with a dragon.",
        "A girl with long turquoise hair and green eyes, wearing a red dress, waves her hand in a forest.",
        "A girl and a boy with long blue hair and green eyes, wearing a red dress, waves her hand in a forest.",
    ],
)
def test_any_other_text_is_not_understood(text):
    assert understand(text) is None


def test_facts_of_a_scene_come_back():
    drawn = Scene(7, hair_style="braid", hair_colour="orange", outfit="armor", action="shake", camera="zoom in")
    facts = understand(caption(drawn))
    assert facts is not None
    assert {f: facts[f] for f in STATED} == {f: getattr(facts_of(drawn), f) for f in STATED}
