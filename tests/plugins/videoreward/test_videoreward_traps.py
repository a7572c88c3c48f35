"""Each known way to get other numbers than VideoAlign: what it would give, and that it is not what we give."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardbench_videoreward.network import Network

pytestmark = pytest.mark.shared
FAR = 100
"""A sprung trap is told by a difference of at least so many tolerances."""


@pytest.fixture(scope="module")
def model(golden):
    return golden.load("full_lora").model


@pytest.fixture(scope="module")
def item(golden, model):
    return golden.saved_item(model, "example_1_A")


@pytest.fixture(scope="module")
def truth(golden) -> np.ndarray:
    return golden.values("full_lora", "single_raw")[0, :3]


def rewards(network: Network, item) -> np.ndarray:
    return network.rewards_of([item.data["frames"]], [item.data["input_ids"]])[0]


def test_positions_are_one_dimensional(golden, model, item, truth) -> None:
    """transformers' own 3-D positions give the difference that the golden data states for them."""
    network, ids = model._network, torch.from_numpy(item.data["input_ids"].astype(np.int64))[None]
    patches, grid = network._patches(item.data["frames"])
    kinds = (ids == network.video_pad).int() * 2
    with torch.inference_mode():
        states = network.backbone(
            input_ids=ids,
            mm_token_type_ids=kinds,
            pixel_values_videos=patches,
            video_grid_thw=torch.tensor([grid]),
        ).last_hidden_state[0]
        sprung = network._pool(states, item.data["input_ids"]).numpy()
    stated = golden.expected["what_true_3d_mrope_would_change"]
    np.testing.assert_allclose(np.abs(sprung - truth), [stated[d] for d in ("VQ", "MQ", "TA")], atol=1e-4)
    np.testing.assert_allclose(rewards(network, item), truth, rtol=0, atol=golden.from_tensors)


def test_scores_are_the_diagonal(golden, model, item, truth) -> None:
    network = model._network
    reversed_tokens = replace(network, rewards=network.rewards[::-1])
    assert np.abs(rewards(reversed_tokens, item) - truth).max() > FAR * golden.from_tensors
    shared_head = replace(network, head=network.head[:1])
    np.testing.assert_allclose(rewards(shared_head, item)[0], truth[0], atol=golden.from_tensors)
    assert np.abs(rewards(shared_head, item)[1:] - truth[1:]).max() > FAR * golden.from_tensors


@pytest.mark.parametrize(("variant", "other"), [("last_token", "mean"), ("mean_token", "last")])
def test_pooling_is_the_checkpoints(golden, variant, other) -> None:
    model = golden.load(variant).model
    item, truth = golden.saved_item(model, "example_2_A"), golden.values(variant, "single_raw")[2, :3]
    np.testing.assert_allclose(rewards(model._network, item), truth, rtol=0, atol=golden.from_tensors)
    assert np.abs(rewards(replace(model._network, pooling=other), item) - truth).max() > FAR * golden.from_tensors


def test_mean_leaves_the_last_token_out(golden) -> None:
    network = (model := golden.load("mean_token").model)._network
    item = golden.saved_item(model, "example_1_A")
    ids = item.data["input_ids"]
    with torch.inference_mode():
        logits = network.hidden_states([item.data["frames"]], [ids])[0] @ network.head.T
    truth = golden.values("mean_token", "single_raw")[0, :3]
    np.testing.assert_allclose(logits[:-1].mean(0), truth, rtol=0, atol=5e-6)
    assert np.abs(logits.mean(0).numpy() - truth).max() > 5e-5


def test_pixels_are_rescaled_once(golden, model, item, truth) -> None:
    network = model._network
    in_grey_levels = replace(
        network, mean=tuple(255 * m for m in network.mean), std=tuple(255 * s for s in network.std)
    )
    assert np.abs(rewards(in_grey_levels, item) - truth).max() > FAR * golden.from_tensors


def test_the_newest_step_is_the_largest_number(golden, truth) -> None:
    """As text, checkpoint-9 would come after checkpoint-10; it holds other weights and no tokenizer."""
    older = golden.load("full_lora", checkpoint_step="9").model
    assert older._checkpoint.path.name == "checkpoint-9"
    found = rewards(older._network, golden.saved_item(older, "example_1_A"))
    assert np.abs(found - truth).max() > FAR * golden.from_tensors
    assert golden.load("full_lora", checkpoint_step="10").model._checkpoint.path.name == "checkpoint-10"


def test_the_embedding_has_the_checkpoints_length(golden, model) -> None:
    """The base model's table is longer; adding the three tokens to the tokenizer makes it shrink."""
    base = json.loads((golden.folder / "base_model" / "config.json").read_text())["vocab_size"]
    tokenizer = next((golden.folder / "full_lora").glob("checkpoint-*/tokenizer/tokenizer.json"))
    told = json.loads(tokenizer.read_text())
    known = {*told["model"]["vocab"].values(), *(token["id"] for token in told["added_tokens"])}
    assert len(known) < base
    assert model._network.backbone.get_input_embeddings().weight.shape[0] == len(known)
    assert golden.load("adapter").model._network.backbone.get_input_embeddings().weight.shape[0] == len(known)
    assert golden.load("last_token").model._network.backbone.get_input_embeddings().weight.shape[0] == base


def test_norm_without_statistics_changes_nothing(golden) -> None:
    assert golden.values("full_plain", "single_norm").tolist() == golden.values("full_plain", "single_raw").tolist()
    model = golden.load("full_plain", norm="true").model
    scores = model.score([golden.saved_item(model, "example_1_A")])
    assert scores.values.tolist() == scores.raw.tolist()


def test_overall_adds_up_after_normalisation(golden) -> None:
    model = golden.load("full_lora", norm="true").model
    values = model.score([golden.saved_item(model, "example_1_A")]).values[0]
    assert values[3] == pytest.approx(values[:3].sum(), abs=1e-12)


def test_padding_never_reaches_a_clip(golden, model) -> None:
    """Right padding alone: a clip scored beside a much longer one keeps its score."""
    short = golden.saved_item(model, "example_3_B")
    frames, ids = short.data["frames"], short.data["input_ids"]
    longer = np.concatenate([ids, np.full(700, ids[-1], np.int32)])
    pair = model._network.rewards_of([frames, frames], [longer, ids])
    np.testing.assert_allclose(pair[1], rewards(model._network, short), rtol=0, atol=5e-6)


def test_visual_and_motion_quality_cannot_see_the_prompt(golden, model, item) -> None:
    clip = replace(golden.clip("example_1_A"), prompt="A completely different sentence about nothing.")
    (spec,) = model.card.frame_specs()
    from rewardbench_plugin import Frames

    rgb = item.data["frames"]
    frames = Frames(rgb, np.arange(10), np.arange(10) / 2, 24.0, 126, 752, 1360)
    other = rewards(model._network, replace(item, data=model.prepare(clip, {spec: frames})))
    same = rewards(model._network, item)
    np.testing.assert_allclose(other[:2], same[:2], rtol=0, atol=5e-6)
    assert abs(other[2] - same[2]) > 1e-3


def test_half_precision_rounds_the_rotary_frequencies(golden) -> None:
    """As casting the whole model does, which is how VideoAlign gets to bfloat16 in training and in scoring."""
    network = golden.load("full_lora", dtype="bfloat16").model._network
    text = network.backbone.language_model.rotary_emb
    exact = 1 / 1_000_000 ** (torch.arange(0, 16, 2) / 16)
    assert text.inv_freq.tolist() == exact.bfloat16().float().tolist()
    x, positions = torch.zeros(1, 3, 8, dtype=torch.bfloat16), torch.tensor([[[0, 7, 1999]]]).expand(3, 1, 3)
    cos, _ = text(x, positions)
    angle = 1999 * exact.bfloat16().float()
    assert cos[0, 2, 0].item() == pytest.approx(torch.cos(angle[0]).item(), abs=4e-3)
    places = torch.tensor([[0, 0], [3, 41]])
    vision, _ = network.backbone.visual.rotary_pos_emb(torch.zeros(2, 16), places)
    frequencies = (1 / 10_000 ** (torch.arange(0, 8, 2) / 8)).bfloat16()
    angles = torch.cat([3 * frequencies, 41 * frequencies])
    assert vision[1].tolist() == torch.cat([angles, angles]).cos().tolist()
    full = golden.load("full_lora").model._network.backbone.language_model.rotary_emb.inv_freq
    np.testing.assert_allclose(full, exact, rtol=1e-6)


def test_half_precision_scores_stay_near(golden, truth) -> None:
    model = golden.load("full_lora", dtype="bfloat16").model
    found = rewards(model._network, golden.saved_item(model, "example_1_A"))
    assert np.abs(found - truth).max() < 0.3


def test_a_stored_tokenizer_is_taken_as_it_is(golden, copied: Callable[[str], Path], edited) -> None:
    """Not rebuilt from vocabulary and merges: the file's own normaliser decides."""
    root = copied("full_lora")
    edited(root / "checkpoint-10" / "tokenizer" / "tokenizer.json", None, normalizer={"type": "Lowercase"})
    model = golden.load(root).model
    found = golden.saved_item(model, "example_1_A").data["input_ids"]
    assert found.tolist() != golden.tensors("example_1_A")["input_ids"][0].tolist()
