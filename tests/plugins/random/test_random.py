"""``random``: uniform, seeded, and blind to everything but content, prompt and seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewardbench_random.model import FIRST_FRAME, Random, uniform
from scipy import stats

from rewardbench.errors import InputError
from rewardbench.registry import choose_reward
from rewardbench_plugin import Clip, Item


def configured(seed: int = 0) -> Random:
    model = Random()
    model.configure(seed=seed)
    return model


def item(content: str | None, prompt: str | None = None, clip_id: str = "a") -> Item:
    metadata = {} if content is None else {"sha256": content}
    return Item(
        Clip(clip_id, f"{clip_id}.mp4", prompt, None, metadata), {"frames0": np.zeros((1, 16, 16, 3), np.uint8)}
    )


def test_scores_are_uniform() -> None:
    contents = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(4000)]
    values = configured().score([item(content) for content in contents]).values[:, 0]
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_seeds_are_independent() -> None:
    contents = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(4000)]
    first, second = ([uniform(content, "p", seed) for content in contents] for seed in (0, 1))
    assert abs(stats.spearmanr(first, second).statistic) < 0.06  # 3.8 standard errors of 1 / sqrt(n - 1)


@given(st.text(), st.none() | st.text(), st.integers(0, 2**32))
def test_values_lie_in_the_declared_range_and_repeat(content: str, prompt: str | None, seed: int) -> None:
    try:
        value = uniform(content, prompt, seed)
    except UnicodeEncodeError:  # lone surrogates cannot stand in a hash or a file
        return
    assert 0 <= value < 1
    assert value == uniform(content, prompt, seed)


def test_the_value_is_the_first_53_bits_of_the_named_hash() -> None:
    digest = hashlib.sha256(b"7\0abc\0prompt a fox").hexdigest()
    assert uniform("abc", "a fox", 7) == int(digest[:16], 16) // 2**11 / 2**53


def test_only_content_prompt_and_seed_count() -> None:
    model = configured()
    same = model.score([item("x", "p", "a"), item("x", "p", "b")]).values[:, 0]
    assert same[0] == same[1]
    others = model.score([item("y", "p"), item("x", "q"), item("x"), item("x", "")]).values[:, 0]
    assert len({*same, *others}) == 5


def test_the_batch_does_not_matter() -> None:
    items = [item(str(i)) for i in range(7)]
    whole = configured().score(items).values
    single = np.concatenate([configured().score([one]).values for one in items])
    np.testing.assert_array_equal(whole, single)


def test_a_clip_without_its_content_hash_is_an_error_of_that_clip_only() -> None:
    scores = configured().score([item("x"), item(None)])
    assert list(scores.errors) == [None, "the clip's content hash (metadata 'sha256') is missing"]
    assert np.isfinite(scores.values[0, 0])
    assert np.isnan(scores.values[1, 0])


def test_the_fingerprint_holds_the_seed() -> None:
    assert configured(0).fingerprint() == configured(0).fingerprint()
    assert configured(0).fingerprint() != configured(1).fingerprint()


def test_the_card_asks_for_one_small_frame_and_answers_every_label() -> None:
    card = configured().card
    assert card.frame_specs() == (FIRST_FRAME,)
    assert FIRST_FRAME.sampling.indices(100, 24.0).tolist() == [0]
    assert card.default_score == "overall"
    assert card.summary
    assert card.training_data == "none"


def test_it_takes_no_options() -> None:
    with pytest.raises(InputError, match="has no option 'model'"):
        choose_reward("random", options={"model": "x"})
