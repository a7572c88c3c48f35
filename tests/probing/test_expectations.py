"""What is expected of whom: the names of known models, and the table of what should do what."""

from __future__ import annotations

import pytest

from rewardbench.errors import InputError
from rewardbench.probing.expectations import MEANINGS, check_meanings, expected, meaning
from rewardbench.probing.treatments import FAMILIES, TREATMENTS, choose
from rewardbench.synth.degradations import DEGRADATIONS


@pytest.mark.parametrize(
    ("dimension", "means"),
    [
        ("appeal", "appeal"),
        ("VQ", "appeal"),
        ("visual_quality", "appeal"),
        ("Visual Quality", "appeal"),
        ("MQ", "smoothness"),
        ("TA", "text_video"),
        ("text-video_consist", "text_video"),
        ("dynamic_degree", "motion"),
        ("Overall", "overall"),
        ("factual_consistency", None),
        ("beauty", None),
    ],
)
def test_names_of_known_models_have_a_meaning_and_others_none(dimension: str, means: str | None) -> None:
    assert meaning(dimension) == means


def test_a_meaning_that_is_given_goes_first() -> None:
    assert meaning("VQ", {"VQ": "motion"}) == "motion"
    with pytest.raises(InputError, match="no such dimension"):
        check_meanings({"a": "motion"}, ("b",))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_what_a_fault_affects_by_construction_should_fall(name: str) -> None:
    for means in DEGRADATIONS[name].affects:
        assert expected(name, "1", means, uses_image=True) in ("fall", None)
    fallen = [m for m in MEANINGS if expected(name, "1", m, uses_image=True) == "fall"]
    assert set(fallen) - {"overall"} <= set(DEGRADATIONS[name].affects)
    assert "overall" in fallen


def test_a_prompt_swap_should_move_the_text_alone() -> None:
    found = {m: expected("prompt_swap", "another clip's", m, uses_image=True) for m in MEANINGS}
    assert {m for m, what in found.items() if what == "fall"} == {"text_video", "overall"}
    assert {m for m, what in found.items() if what == "still"} == set(MEANINGS) - {"text_video", "overall"}


def test_an_image_swap_expects_nothing_of_a_model_that_sees_no_image() -> None:
    assert expected("image_swap", "another clip's", "overall", uses_image=True) == "fall"
    assert expected("image_swap", "another clip's", "overall", uses_image=False) is None


def test_shuffled_frames_should_be_noticed_as_motion_and_not_as_pictures() -> None:
    said = {m: expected("shuffled", "shuffled", m, uses_image=False) for m in MEANINGS}
    assert (said["smoothness"], said["motion"], said["appeal"]) == ("fall", "move", "still")
    assert expected("reversed", "reversed", "smoothness", uses_image=False) == "still"


def test_an_unknown_dimension_expects_nothing_but_of_what_no_score_may_notice() -> None:
    moved = {t.name for t in TREATMENTS if any(expected(t.name, level, None, uses_image=True) for level in t.levels)}
    assert moved == {
        "working_copy", "container", "repeat", "batch_size", "batch_position", "seed", "order_of_pair"
    }  # fmt: skip


def test_stronger_encoding_has_an_expectation_only_while_it_cannot_be_seen() -> None:
    assert expected("reencode", "crf 18", "appeal", uses_image=False) == "still"
    assert expected("reencode", "crf 28", "appeal", uses_image=False) is None
    assert expected("resolution", "1/2", "appeal", uses_image=False) is None
    assert expected("resolution", "1/2", "motion", uses_image=False) == "still"


def test_families_and_single_treatments_can_be_chosen() -> None:
    assert {t.family for t in choose([], quick=False)} == set(FAMILIES)
    assert [t.name for t in choose(["blur", "prompts"], quick=False)] == ["blur", "prompt_swap"]
    with pytest.raises(InputError, match="--only blurr is no family of probes"):
        choose(["blurr"], quick=False)


def test_quick_keeps_the_highest_dose_and_what_was_named() -> None:
    quick = {t.name: t.levels for t in choose([], quick=True)}
    assert quick["blur"] == ("0.5", "1")
    assert "repeat" not in quick
    assert choose(["repeat"], quick=True)[0].levels == ("again",)
    assert all(levels for levels in quick.values())


def test_names_are_unique_and_doses_ascend() -> None:
    assert len({t.name for t in TREATMENTS}) == len(TREATMENTS)
    for treatment in TREATMENTS:
        if treatment.has_doses:
            doses = [float(level) for level in treatment.levels]
            assert doses == sorted(doses)
            assert doses[-1] == 1.0
            assert treatment.quick[-1] == treatment.levels[-1]
