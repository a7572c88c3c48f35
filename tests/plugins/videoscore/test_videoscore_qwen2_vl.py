"""The Qwen2-VL variant on tiny random models, by closed forms and against Mantis' published class."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardbench_videoscore.card import TEMPLATE, video_size
from rewardbench_videoscore.model import VideoScoreQwen2VL
from rewardbench_videoscore.qwen2_vl import Qwen2VLInputs, Qwen2VLRegressor, build_network, patches
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from rewardbench.errors import InputError
from rewardbench.registry import choose_reward
from rewardbench_plugin import Clip, Frames, Item

STRUCTURE = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
LABELS = tuple(f"<|LABEL_{i}|>" for i in range(1, 6))
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BUDGET = (28 * 28, 28 * 28 * 12)
ANSWER = "one <|LABEL_1|> two <|LABEL_2|> three <|LABEL_3|> four <|LABEL_4|> five <|LABEL_5|>."

Write = Callable[..., Path]


def settings(**changes: Any) -> dict[str, Any]:
    """A flat config.json as `transformers` 4.45 wrote it."""
    return {
        "model_type": "qwen2_vl",
        "vocab_size": 256 + len(STRUCTURE) + len(LABELS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
        "video_token_id": 256 + STRUCTURE.index("<|video_pad|>"),
        "image_token_id": 256,
        "num_labels": 5,
        "vision_config": {
            "model_type": "qwen2_vl",
            "depth": 2,
            "embed_dim": 32,
            "num_heads": 2,
            "hidden_size": 32,
            "mlp_ratio": 2,
            "in_chans": 3,
            "spatial_patch_size": 14,
        },
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(flat=False, **settings)``: a checkpoint folder; ``flat`` switches off what the text layers add."""

    def make(*, flat: bool = False, preprocessor: dict[str, Any] | None = None, **changes: Any) -> Path:
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        config = settings(**changes)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT}))
        saved = preprocessor or {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 100}
        (folder / "preprocessor_config.json").write_text(json.dumps(saved))
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in STRUCTURE + LABELS])
        tokenizer.save(str(folder / "tokenizer.json"))
        labels = 5 if changes.get("score_type") == "special_token" else 0
        torch.manual_seed(7)
        network = build_network(config, 5, labels, torch.float32)
        state = {}
        for name, value in network.state_dict().items():
            state[name] = torch.randn_like(value) * 0.3
            if "norm" in name or "ln_q" in name:
                state[name] = state[name] * 0.3 + (0 if name.endswith("bias") else 1)
            if flat and name.startswith("model.layers") and ("o_proj" in name or "down_proj" in name):
                state[name] = torch.zeros_like(value)
        save_file(state, folder / "model.safetensors")
        return folder

    return make


def loaded(folder: Path) -> Qwen2VLRegressor:
    regressor = Qwen2VLRegressor(folder, *BUDGET)
    regressor.load("cpu", "float32")
    return regressor


def normed(state: dict[str, torch.Tensor], token: int) -> np.ndarray:
    """The final norm of a token's embedding, where the layers in between add nothing."""
    row = state["model.embed_tokens.weight"][token].double().numpy()
    return row / np.sqrt((row**2).mean() + 1e-6) * state["model.norm.weight"].double().numpy()


def test_the_head_reads_the_last_token_with_its_bias(write: Write, picture) -> None:
    folder = write(flat=True)
    regressor, state = loaded(folder), load_file(folder / "model.safetensors")
    prepared = regressor.prepare(picture(1, 4, 56, 84), "a fox")
    weight, bias = (state[f"score.{name}"].double().numpy() for name in ("weight", "bias"))
    expected = weight @ normed(state, int(prepared["input_ids"][-1])) + bias
    np.testing.assert_allclose(regressor.logits(prepared), expected, atol=1e-5)


def test_the_head_reads_the_token_before_the_first_pad_token(write: Write, picture) -> None:
    pad = 65
    folder = write(flat=True, pad_token_id=pad)
    regressor, state = loaded(folder), load_file(folder / "model.safetensors")
    prepared = regressor.prepare(picture(1, 4, 56, 84), "a fox")
    places = np.flatnonzero(prepared["input_ids"] == pad)
    scored = prepared["input_ids"][places[0] - 1 if len(places) else -1]
    longer = {**prepared, "input_ids": np.append(prepared["input_ids"], [pad, 1, 2])}
    weight, bias = (state[f"score.{name}"].double().numpy() for name in ("weight", "bias"))
    np.testing.assert_allclose(regressor.logits(longer), weight @ normed(state, int(scored)) + bias, atol=1e-5)


def test_label_heads_read_their_own_tokens(write: Write, picture) -> None:
    ids = [256 + len(STRUCTURE) + i for i in range(5)]
    folder = write(flat=True, score_type="special_token", label_special_token_ids=ids)
    with pytest.raises(ValueError, match="scored at label tokens.*answer.txt"):
        loaded(folder)
    (folder / "templates").mkdir()
    (folder / "templates" / "answer.txt").write_text(ANSWER)
    regressor, state = loaded(folder), load_file(folder / "model.safetensors")
    prepared = regressor.prepare(picture(2, 4, 56, 84), "a fox")
    expected = [
        float(state[f"score.{i}.weight"][0].double().numpy() @ normed(state, token)) + float(state[f"score.{i}.bias"])
        for i, token in enumerate(ids)
    ]
    assert regressor.outputs == 5
    np.testing.assert_allclose(regressor.logits(prepared), expected, atol=1e-5)
    twice = {**prepared, "input_ids": np.append(prepared["input_ids"], ids[2])}
    with pytest.raises(ValueError, match="stands 2 times in the text"):
        regressor.logits(twice)


def test_the_body_is_qwen2_vl_with_one_dimensional_positions(write: Write, picture) -> None:
    """`transformers`' whole model and image processor on the same clip; its own 3-D positions give other scores."""
    from transformers import Qwen2VLConfig, Qwen2VLModel, Qwen2VLVideoProcessor

    folder = write()
    regressor, state = loaded(folder), load_file(folder / "model.safetensors")
    prepared = regressor.prepare(picture(3, 6, 84, 112), "a fox")
    assert prepared["frames"].shape == (6, 84, 112, 3)
    whole = Qwen2VLModel(Qwen2VLConfig.from_dict(settings())).eval()
    renamed = {k.replace("model.", "language_model.", 1): v for k, v in state.items() if not k.startswith("score.")}
    whole.load_state_dict(renamed)
    clip = torch.from_numpy(prepared["frames"]).permute(0, 3, 1, 2)
    inputs = Qwen2VLVideoProcessor(do_resize=False)([clip], return_tensors="pt")
    grid = inputs["video_grid_thw"]
    assert grid.tolist() == [[3, 6, 8]]
    ids = torch.from_numpy(prepared["input_ids"])[None]
    arguments = {"input_ids": ids, "pixel_values_videos": inputs["pixel_values_videos"], "video_grid_thw": grid}
    scores = {}
    with torch.no_grad():
        for name, positions in {
            "1-D": torch.arange(ids.shape[1]).expand(3, 1, -1),
            "3-D": whole.get_rope_index(
                ids, video_grid_thw=grid, mm_token_type_ids=2 * (ids == settings()["video_token_id"]).int()
            )[0],
        }.items():
            hidden = whole(**arguments, position_ids=positions).last_hidden_state[0, -1]
            scores[name] = (state["score.weight"] @ hidden + state["score.bias"]).numpy()
    logits = regressor.logits(prepared)
    np.testing.assert_allclose(logits, scores["1-D"], atol=1e-5)
    assert np.abs(logits - scores["3-D"]).max() > 1e-3


REFERENCE: dict[str, tuple[dict[str, Any], list[float]]] = {
    "last token": ({}, [-0.5414025, 0.5891381, -0.5964363, -0.2772573, -1.0570254]),
    "pad inside": ({"pad_token_id": 5}, [-1.5073551, 0.5423304, -0.6080748, 1.4532264, 0.13278]),
    "label tokens": (
        {"score_type": "special_token", "label_special_token_ids": [262, 263, 264, 265, 266]},
        [0.5690137, 0.0742384, -1.8478957, -0.052793, 0.4986315],
    ),
}
"""What Mantis' own class gives (`transformers` 4.45.2 and its image processor, eager attention, float32), for weights,
token ids and frames drawn as in the test."""


@pytest.mark.parametrize("case", REFERENCE)
def test_scores_are_those_of_the_published_class(case: str, write: Write) -> None:
    changes, expected = REFERENCE[case]
    folder = write(**changes)
    (folder / "templates").mkdir()
    (folder / "templates" / "answer.txt").write_text(ANSWER)
    state = {}
    for name, value in load_file(folder / "model.safetensors").items():
        drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(value.shape))
        around = 1 if ("norm" in name or "ln_q" in name) and name.endswith("weight") else 0
        state[name] = torch.from_numpy((0.15 * drawn if value.ndim > 1 else 0.1 * drawn + around).astype(np.float32))
    save_file(state, folder / "model.safetensors")
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (4, 56, 84, 3), dtype=np.uint8)
    ids = [1, 2, *rng.integers(8, 250, 20), *[261] * 12, *rng.integers(8, 250, 9), 262, 5, 263, 264, 9, 265, 266, 3]
    logits = loaded(folder).logits({"input_ids": np.array(ids), "frames": frames})
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_patches_are_channel_frame_row_column_in_blocks_of_two_by_two() -> None:
    pixels = torch.arange(2 * 3 * 28 * 56).reshape(2, 3, 28, 56)
    rows = patches(pixels)
    assert rows.shape == (8, 3 * 2 * 14 * 14)
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]
    for row, (down, across) in zip(rows, order, strict=True):
        window = pixels[:, :, 14 * down : 14 * down + 14, 14 * across : 14 * across + 14]
        assert torch.equal(row, window.permute(1, 0, 2, 3).flatten())


def test_frames_are_resized_as_tensors_then_by_pillow_to_the_saved_budget(write: Write, picture) -> None:
    from PIL import Image
    from torchvision.transforms.functional import InterpolationMode, resize

    folder = write(preprocessor={"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 6})
    rgb = picture(4, 3, 150, 200)
    frames = Qwen2VLInputs(folder, *BUDGET).resized(rgb)
    clip = torch.from_numpy(np.concatenate([rgb, rgb[-1:]])).permute(0, 3, 1, 2)  # an even number of frames
    first = resize(clip, [84, 112], InterpolationMode.BICUBIC, antialias=True).permute(0, 2, 3, 1).numpy()
    second = np.stack([np.asarray(Image.fromarray(f).resize((56, 56), Image.Resampling.BICUBIC)) for f in first])
    assert video_size(4, *BUDGET).target(150, 200) == (84, 112)
    assert np.array_equal(frames, second)


def test_the_pixel_budget_of_a_frame_shrinks_with_their_number() -> None:
    low, high = 128 * 28 * 28, 768 * 28 * 28
    assert video_size(16, low, high).target(720, 1280) == (560, 1008)
    assert video_size(64, low, high).max_pixels == high
    assert video_size(128, low, high).max_pixels == high // 2
    assert video_size(768, low, high).max_pixels == int(1.05 * low)
    for frames in (2, 65, 100, 300):
        height, width = video_size(frames, low, high).target(1080, 1920)
        assert height % 28 == width % 28 == 0
        assert frames / 2 * height * width / 784 <= max(24_576, frames / 2 * 1.05 * 128)


def test_the_plugin_scores_through_the_preset(write: Write, picture, tmp_path: Path, monkeypatch) -> None:
    import hashlib
    from dataclasses import replace

    text = "rate {text_prompt} now\n"
    mine = replace(TEMPLATE, sha256=hashlib.sha256(text.encode()).hexdigest())
    monkeypatch.setattr("rewardbench_videoscore.card.TEMPLATE", mine)
    folder = write()
    (folder / "templates").mkdir()
    (folder / "templates" / "regression.txt").write_text(text)
    options = {"min_pixels": str(BUDGET[0]), "max_pixels": str(BUDGET[1]), "fps": "4"}
    _, model = choose_reward("videoscore:qwen2-vl", weights={"": str(folder)}, options=options)
    assert isinstance(model, VideoScoreQwen2VL)
    (spec,) = model.card.frame_specs()
    assert spec.sampling.indices(48, 16.0).tolist() == np.round(np.linspace(0, 47, 12)).tolist()
    model.load("cpu", "float32", model.weights, model.options)
    rgb = picture(5, 4, 84, 84)
    clip = Clip("a", "a.mp4", "a {fox}")
    sampled = {spec: Frames(rgb, np.arange(4), np.arange(4) / 4, 4.0, 4, 84, 84)}
    item = Item(clip, model.prepare(clip, sampled))
    scores = model.score([item])
    expected = loaded(folder).logits(loaded(folder).prepare(rgb, "rate a {fox} now\n"))
    np.testing.assert_allclose(scores.raw[0, :5], expected, atol=1e-6)
    assert scores.values[0, :5].tolist() == [round(value, 3) for value in expected]
    assert scores.values[0, 5] == pytest.approx(scores.values[0, :5].mean())
    model.close()


def test_what_does_not_fit_is_one_sentence(write: Write, picture) -> None:
    folder = write()
    with pytest.raises(InputError, match=r"add its preset: videoscore:qwen2-vl"):
        choose_reward("videoscore:v1", weights={"": str(folder)})
    with pytest.raises(InputError, match="min_pixels=9000 is above max_pixels=8000"):
        choose_reward("videoscore:qwen2-vl", options={"min_pixels": "9000", "max_pixels": "8000"})
    regressor = loaded(folder)
    with pytest.raises(ValueError, match=r"the prompt contains '<\|video_pad\|>', a special token"):
        regressor.prepare(picture(1, 2, 56, 56), "a <|video_pad|> fox")
    with pytest.raises(ValueError, match="the prompt is too long: with 2 frames .* 4096 positions"):
        regressor.prepare(picture(1, 2, 56, 56), "word " * 5000)
    (folder / "chat_template.json").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        Qwen2VLRegressor(folder, *BUDGET).prepare(picture(1, 2, 56, 56), "a fox")
