"""What is said before anything is decoded, and when a clip cannot be prepared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rewardbench.errors import InputError
from rewardbench.scoring.decode_worker import _reason
from rewardbench.scoring.plan import check_inputs
from rewardbench_plugin import Clip, Dimension, RewardCard


def test_an_empty_prompt_is_no_prompt_and_the_option_is_named() -> None:
    card = RewardCard(name="needy", version="1.0", dimensions=(Dimension("x"),), needs_prompt=True)
    job = SimpleNamespace(label="needy", reads_clips=True, model=SimpleNamespace(card=card))
    with pytest.raises(InputError) as caught:
        check_inputs([job], [Clip("a", "a.mp4", "")], "the clips given")
    assert str(caught.value) == (
        "plugin 'needy' needs prompts, and there is none in the clips given: fill the column prompt of the table, or "
        "give video files one with --prompt TEXT"
    )
    check_inputs([job], [Clip("a", "a.mp4", ""), Clip("b", "b.mp4", "a cat")], "the clips given")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("the clip is too\nshort"), "the clip is too short"),
        (RuntimeError("bad"), "RuntimeError: bad"),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"), "UnicodeDecodeError: 'ascii' codec"),
        (ValueError(), "ValueError: "),
    ],
)
def test_a_value_error_is_a_sentence_and_needs_no_class_name(error: Exception, said: str) -> None:
    assert _reason(error).startswith(said)
