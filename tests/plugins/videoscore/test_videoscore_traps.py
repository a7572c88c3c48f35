"""What silently gives other numbers than the published class; each test fails when its trap is sprung."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import pytest
from rewardbench_videoscore.idefics2 import Idefics2Regressor, counted, patch_positions, pooled_position
from rewardbench_videoscore.model import VideoScore


@pytest.fixture(scope="module")
def saved(shared: Path):
    """Token ids and frames of a saved run: ``saved(model)``."""
    from safetensors.numpy import load_file

    def read(model: str) -> dict[str, np.ndarray]:
        data = load_file(shared / "golden" / "idefics2" / f"intermediate_{model}_example_2_A.safetensors")
        frames = np.ascontiguousarray(data["pixel_values_uint8"][0].transpose(0, 2, 3, 1))
        return {"input_ids": data["input_ids"][0], "frames": frames, "logits": data["logits"][0]}

    return read


def loaded(folder: Path) -> Idefics2Regressor:
    regressor = Idefics2Regressor(folder)
    regressor.load("cpu", "float32")
    return regressor


@pytest.mark.shared
def test_frames_are_resized_by_pillow_not_as_tensors(shared: Path, picture) -> None:
    from PIL import Image
    from transformers import Idefics2ImageProcessor

    folder = shared / "golden" / "idefics2" / "videoscore"
    images = Idefics2Regressor(folder).inputs.images
    rgb = picture(1, 2, 200, 300)
    ours = images.resized(rgb)
    pillow = np.stack([np.asarray(Image.fromarray(f).resize((126, 84), Image.Resampling.BILINEAR)) for f in rgb])
    assert np.array_equal(ours, pillow)
    tensor = Idefics2ImageProcessor.from_pretrained(folder)([list(rgb)], return_tensors="np")["pixel_values"][0]
    trap = np.rint((tensor * 0.5 + 0.5) * 255).transpose(0, 2, 3, 1).astype(int)
    assert trap.shape == ours.shape
    assert (trap != ours).mean() > 1e-3


@pytest.mark.shared
def test_sizes_follow_the_saved_edges(shared: Path) -> None:
    images = Idefics2Regressor(shared / "golden" / "idefics2" / "videoscore").inputs.images
    assert (images.longest, images.shortest) == (126, 42)
    assert images.target(480, 720) == (84, 126)
    assert images.target(720, 480) == (126, 84)
    assert images.target(100, 1000) == (42, 126)  # int(12.6), then up to the shortest edge: no aspect ratio
    assert images.target(30, 60) == (42, 60)
    assert images.target(126, 126) == (126, 126)


@pytest.mark.shared
def test_the_tokenizer_is_the_saved_file_not_a_rebuilt_class(shared: Path) -> None:
    from transformers import AutoTokenizer

    folder = shared / "golden" / "idefics2" / "videoscore"
    tokens = Idefics2Regressor(folder).inputs.tokens
    ids = tokens.encode("a", 2)
    around, image = tokens.tokenizer.require("<fake_token_around_image>"), tokens.tokenizer.require("<image>")
    between = ids[np.flatnonzero(ids == around)[1] + 1 : np.flatnonzero(ids == around)[2]]
    piece = tokens.tokenizer.require("▁")
    assert between.tolist() == [piece, piece]  # the blank between two images is two pieces
    assert (ids == image).sum() == 2 * 8
    rebuilt = AutoTokenizer.from_pretrained(folder)
    frame = "<fake_token_around_image>" + "<image>" * 8 + "<fake_token_around_image>"
    assert len(rebuilt(f"a{frame} {frame} ").input_ids) != len(ids)


@pytest.mark.shared
def test_the_resampler_has_the_text_model_s_epsilon(shared: Path, saved, altered) -> None:
    run = saved("videoscore_eps")
    assert np.abs(loaded(shared / "golden" / "idefics2" / "videoscore_eps").logits(run) - run["logits"]).max() < 2e-5
    config = json.loads((shared / "golden/idefics2/videoscore_eps/config.json").read_text())
    width = {"hidden_size": config["text_config"]["hidden_size"], "rms_norm_eps": 1e-6}
    said = altered("videoscore_eps", {"config.json": {"perceiver_config": {**config["perceiver_config"], **width}}})
    assert np.abs(loaded(said).logits(run) - run["logits"]).max() < 2e-5  # what the file says of it is not used
    sprung = loaded(said)
    for layer in sprung._network.model.connector.perceiver_resampler.layers:
        for norm in (layer.input_latents_norm, layer.input_context_norm, layer.post_attention_layernorm):
            assert norm.variance_epsilon == config["text_config"]["rms_norm_eps"] != 1e-6
            norm.variance_epsilon = 1e-6
    assert np.abs(sprung.logits(run) - run["logits"]).max() > 1e-3


@pytest.mark.shared
def test_a_pad_id_inside_the_text_moves_the_scored_token_before_it(shared: Path, saved, altered) -> None:
    """The text model is causal: what stands after the scored token must not matter, so a whole text followed by a pad
    token and more has the scores of the text alone."""
    run = saved("videoscore")
    ids = run["input_ids"]
    config = json.loads((shared / "golden" / "idefics2" / "videoscore" / "config.json").read_text())
    pad = next(n for n in range(5, config["text_config"]["vocab_size"]) if n not in ids)
    longer = {"input_ids": np.concatenate([ids, [pad], ids[3:9]]), "frames": run["frames"]}
    padded = loaded(altered("videoscore", {"config.json": {"pad_token_id": pad}}))
    np.testing.assert_allclose(padded.logits(longer), run["logits"], atol=2e-5)
    np.testing.assert_allclose(padded.logits(run), run["logits"], atol=2e-5)  # no pad token at all: the last one
    unset = loaded(shared / "golden" / "idefics2" / "videoscore")
    assert np.abs(unset.logits(longer) - run["logits"]).max() > 1e-3  # without a pad id: the last token, whatever it is


def test_the_scored_position() -> None:
    ids = np.array([5, 7, 0, 9, 0])
    assert pooled_position(ids, None) == 4
    assert pooled_position(ids, 0) == 1
    assert pooled_position(ids, 8) == 4
    assert pooled_position(ids, 5) == 4  # before the first token: counted from the end


def test_the_example_sampler_never_reaches_the_last_frame() -> None:
    for count in (16, 48):
        example, benchmark = VideoScore(), VideoScore()
        example.configure(options={"num_frames": str(count)})
        benchmark.configure(options={"num_frames": str(count), "sampling": "benchmark"})
        for total in range(count + 1, 400):
            first, last = (m.card.frame_specs()[0].sampling.indices(total, 8.0) for m in (example, benchmark))
            assert len(first) == len(last) == count
            assert first[-1] < total - 1 == last[-1]
        assert len(example.card.frame_specs()[0].sampling.indices(5, 8.0)) == 5
        assert len(benchmark.card.frame_specs()[0].sampling.indices(5, 8.0)) == count


@pytest.mark.parametrize("side", [5, 10, 27, 70])
def test_patches_take_the_position_their_share_of_the_side_falls_into(side: int) -> None:
    """Exact arithmetic decides all patches but those on an edge, where either neighbour is right."""
    for n in range(1, 100):
        columns = patch_positions(1, n, side)
        assert np.array_equal(patch_positions(n, 1, side), columns * side)
        for patch, found in enumerate(columns):
            exact, on_edge = divmod(patch * side, n)
            assert found == exact or (on_edge == 0 and found == exact - 1), (n, patch)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch counts otherwise on this processor")
def test_counting_is_torch_s_to_the_last_bit() -> None:
    import torch

    for n in range(1, 141):
        step = 1 / torch.tensor(n)
        assert np.array_equal(counted(0.0, 1 - 1e-6, float(step)), torch.arange(0, 1 - 1e-6, step).numpy()), n
        assert np.array_equal(
            counted(1 / (n + 1), 1.0, 1 / (n + 1)), torch.arange(1 / (n + 1), 1.0, 1 / (n + 1)).numpy()
        )
