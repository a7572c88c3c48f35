"""Templates: what a token may see follows from where it stands."""

import pytest

from rewardbench.errors import InputError
from rewardbench.reward_training.prompts import order_dimensions, published_wording, short_wording


def test_dimensions_about_text_come_last_by_any_spelling():
    assert order_dimensions(["TA", "VQ", "MQ"], None) == (("VQ", "MQ", "TA"), 2)
    names = ["text-video_consist", "smoothness", "character"]
    assert order_dimensions(names, None) == (("smoothness", "character", "text-video_consist"), 2)
    assert order_dimensions(["VQ", "MQ"], ["VQ"]) == (("MQ", "VQ"), 1)
    with pytest.raises(InputError, match="--context-dimension TA is not among"):
        order_dimensions(["VQ"], ["TA"])


def test_blind_tokens_stand_before_the_prompt_and_seeing_ones_after_it():
    text = short_wording(("VQ", "MQ", "TA"), 2, "special").template.fill("a red {cat}")
    places = [text.index(t) for t in ("<|VQ_reward|>", "<|MQ_reward|>", "a red {cat}", "<|TA_reward|>")]
    assert places == sorted(places)


def test_the_last_token_has_no_special_tokens():
    wording = short_wording(("VQ", "TA"), 1, "last")
    assert wording.special_tokens == ()
    assert "reward|>" not in wording.template.text


@pytest.mark.shared
def test_published_templates_are_verified_and_checked(shared):
    folder = shared / "assets" / "videoreward"
    wording = published_wording("detailed_special", ("VQ", "MQ", "TA"), "special", folder)
    assert wording.sha256 is None
    assert all(wording.template.text.count(token) == 1 for token in wording.special_tokens)
    with pytest.raises(InputError, match="read with --reward-token special"):
        published_wording("detailed_special", ("VQ", "MQ", "TA"), "last", folder)
    with pytest.raises(InputError, match="use --template short"):
        published_wording("detailed_special", ("VQ", "MQ"), "special", folder)
    with pytest.raises(InputError, match="is not one of short"):
        published_wording("other", ("VQ", "MQ", "TA"), "special", folder)
