"""Other shapes: three drawn checkpoints whose expected outputs are those of Mantis' own class.

That class ran under `transformers` 4.45.2 (eager attention, float32, x86). The cases have what the shared data has not:
frames 49 and 58 patches long, where patch positions by multiplication go wrong, a sliding window shorter than the text,
a pad token inside it, and no perceiver width in the configuration. Weights, token ids and frames are drawn from seeds
by name, so that nothing has to be stored.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardbench_videoscore import idefics2
from rewardbench_videoscore.idefics2 import Idefics2Regressor, build_network, read_config

IMAGE, AROUND, LATENTS, FRAMES = 90, 91, 8, 2
CASES: dict[str, dict[str, Any]] = {
    "49 patches": {
        "size": (98, 686),
        "image_size": 980,
        "pad": None,
        "text": {"sliding_window": None, "rms_norm_eps": 3e-4, "num_attention_heads": 6, "hidden_size": 96},
        "logits": [-0.464316, -0.6226853, 0.7655481, 0.3990157, -0.6007239],
    },
    "58 patches, short window": {
        "size": (812, 60),
        "image_size": 448,
        "pad": None,
        "text": {"sliding_window": 9, "rms_norm_eps": 1e-5, "num_attention_heads": 4, "hidden_size": 64},
        "logits": [1.3168594, 1.4817638, 0.2600558, -1.4765639, -1.3067412],
    },
    "pad inside": {
        "size": (50, 75),
        "image_size": 140,
        "pad": 7,
        "text": {"sliding_window": 4096, "rms_norm_eps": 2e-2, "num_attention_heads": 4, "hidden_size": 64},
        "logits": [-0.0077624, -1.502947, 1.38308, -0.2322332, 1.2642838],
    },
}


def configuration(case: dict[str, Any]) -> dict[str, Any]:
    text = {
        "vocab_size": 92,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 80,
        "pad_token_id": 0,
    }
    heads = {"resampler_n_heads": 4, "resampler_head_dim": 12, "num_key_value_heads": 2}
    vision = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 80}
    return {
        "model_type": "idefics2",
        "image_token_id": IMAGE,
        "pad_token_id": case["pad"],
        "text_config": {"model_type": "mistral", **text, **case["text"]},
        "vision_config": {**vision, "patch_size": 14, "image_size": case["image_size"]},
        "perceiver_config": {**heads, "resampler_n_latents": LATENTS, "resampler_depth": 2},
    }


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32, the same for a name and shape everywhere."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        return (0.15 * drawn).astype(np.float32)
    return (0.1 * drawn + (1 if "norm" in name and name.endswith("weight") else 0)).astype(np.float32)


def inputs(case: dict[str, Any]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    frame = [AROUND, *[IMAGE] * LATENTS, AROUND]
    ids = [1, *rng.integers(8, 90, 20), *frame, *rng.integers(8, 90, 3), *frame, 40, 7, 41, 42]
    return {
        "input_ids": np.array(ids, dtype=np.int64),
        "frames": rng.integers(0, 256, (FRAMES, *case["size"], 3), dtype=np.uint8),
    }


def write(folder: Path, case: dict[str, Any]) -> Path:
    import torch
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models

    folder.mkdir()
    config = configuration(case)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_image_splitting": False}))
    words = {f"w{i}": i for i in range(90)} | {"<image>": IMAGE, "<fake_token_around_image>": AROUND}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    with torch.device("meta"):
        names = build_network(read_config(config), 5, torch.float32).state_dict()
    state = {name: weight(name, tuple(value.shape)) for name, value in names.items()}
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_other_shapes_have_the_reference_s_outputs(name: str, tmp_path: Path) -> None:
    regressor = Idefics2Regressor(write(tmp_path / "model", CASES[name]))
    regressor.load("cpu", "float32")
    np.testing.assert_allclose(regressor.logits(inputs(CASES[name])), CASES[name]["logits"], atol=2e-5)


def test_positions_by_multiplication_would_move_these_outputs(tmp_path: Path, monkeypatch) -> None:
    def multiplied(rows: int, columns: int, side: int) -> np.ndarray:
        edges = np.arange(1, side, dtype=np.float32) * np.float32(1 / side)
        row, column = (
            np.searchsorted(edges, np.arange(n, dtype=np.float32) * np.float32(1 / n), side="right")
            for n in (rows, columns)
        )
        return (row[:, None] * side + column).ravel()

    monkeypatch.setattr(idefics2, "patch_positions", multiplied)
    case = CASES["49 patches"]
    regressor = Idefics2Regressor(write(tmp_path / "model", case))
    regressor.load("cpu", "float32")
    assert np.abs(regressor.logits(inputs(case)) - case["logits"]).max() > 1e-3
