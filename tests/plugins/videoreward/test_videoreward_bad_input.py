"""What cannot be scored gets one sentence that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rewardbench_videoreward.model import VideoReward

from rewardbench.errors import ClipError, InputError, PluginError
from rewardbench.registry import choose_reward
from rewardbench.video import write_video
from rewardbench_plugin import Clip, Frames

pytestmark = pytest.mark.shared


def refused(golden, root: Path, **options: str) -> str:
    with pytest.raises((InputError, PluginError)) as error:
        golden.load(root, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def ready(golden):
    return golden.load("full_lora").model


def prepared(model: VideoReward, prompt: str | None, n: int = 8, height: int = 84, width: int = 168):
    (spec,) = model.card.frame_specs()
    rgb = np.zeros((n, height, width, 3), np.uint8)
    frames = Frames(rgb, np.arange(n), np.arange(n) / 2, 24.0, 60, height, width)
    return model.prepare(Clip("a", "a.mp4", prompt), {spec: frames})


def test_folders_of_other_models(golden, shared, tmp_path: Path) -> None:
    assert "is not a VideoReward folder: it holds no model_config.json" in refused(golden, shared / "golden" / "blip")
    assert "holds no model_config.json" in refused(golden, golden.folder / "base_model")
    assert "is not a folder" in refused(golden, golden.folder / "expected.json")
    (tmp_path / "model_config.json").write_text('{"layers": 12}')
    assert "is not VideoReward's: it has no section data_config" in refused(golden, tmp_path)
    (tmp_path / "model_config.json").write_text("{")
    assert "cannot be read" in refused(golden, tmp_path)


def test_the_base_of_another_checkpoint(golden, copied, edited) -> None:
    root = copied("full_lora")
    config = root.parent / "base_model" / "config.json"
    edited(config, None, hidden_size=128)
    assert "hidden_size 128 instead of 64" in refused(golden, root)
    edited(config, None, hidden_size=64, model_type="qwen2_5_vl")
    assert "is a qwen2_5_vl model; VideoReward's base is a qwen2_vl model" in refused(golden, root)
    edited(config, None, model_type="qwen2_vl", video_token_id=5)
    assert "they do not belong together" in refused(golden, root)


def test_published_heads_are_not_taken_for_other_widths(golden, copied, edited) -> None:
    """Twelve heads and sixteen divide many widths: a wrong count would give other scores, not an error."""
    root = copied("full_lora")
    config = root.parent / "base_model" / "config.json"
    stated = json.loads(config.read_text())
    config.unlink()
    message = refused(golden, root)
    assert "model.pth has other widths than the published model" in message
    assert "add --weights base=PATH" in message
    assert "an arch.json beside the checkpoint with num_attention_heads (hidden_size is 64, the published" in message
    assert "and vision_config.num_heads (embed_dim is" in message
    arch = {"num_attention_heads": stated["num_attention_heads"]}
    (root / "arch.json").write_text(json.dumps(arch))
    message = refused(golden, root)
    assert "vision_config.num_heads" in message
    assert "num_attention_heads" not in message


def test_the_tokenizer_of_another_checkpoint(golden, copied) -> None:
    root = copied("full_lora")
    tokenizer = root / "checkpoint-10" / "tokenizer" / "tokenizer.json"
    shutil.copyfile(root.parent / "base_model" / "tokenizer.json", tokenizer)
    assert "lacks <|VQ_reward|>, <|MQ_reward|>, <|TA_reward|>" in refused(golden, root)
    data = json.loads((golden.folder / "full_lora/checkpoint-10/tokenizer/tokenizer.json").read_text())
    first, *_, last = [token for token in data["added_tokens"] if token["content"].endswith("_reward|>")]
    first["content"], last["content"] = last["content"], first["content"]
    tokenizer.write_text(json.dumps(data))
    assert "has another id" in refused(golden, root)
    tokenizer.write_text(tokenizer.read_text()[:500])
    assert "it may be half downloaded" in refused(golden, root)


@pytest.mark.parametrize("name", ["model.pth", "adapter_model.safetensors", "non_lora_state_dict.pth"])
def test_half_downloaded_weights(golden, copied, name) -> None:
    root = copied("full_lora" if name == "model.pth" else "adapter")
    path = root / "checkpoint-10" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "half downloaded" in refused(golden, root)
    path.write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")
    assert name in refused(golden, root)
    path.unlink()
    message = refused(golden, root)
    assert "is incomplete" in message
    assert name in message


def test_a_newest_step_without_weights_is_not_passed_over(golden, copied) -> None:
    root = copied("full_lora")
    (root / "checkpoint-11").mkdir()
    assert "checkpoint-11 is incomplete: it holds neither model.pth nor" in refused(golden, root)
    for step in ("checkpoint-9", "checkpoint-10", "checkpoint-11"):
        shutil.rmtree(root / step)
    assert "holds no folder checkpoint-<step>" in refused(golden, root)


def test_templates_must_be_the_published_ones(golden, copied, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    message = refused(golden, golden.folder / "full_lora", parts={"templates": str(folder)})
    assert "detailed_special.txt is missing; it is published at https://" in message
    text = (golden.templates / "detailed_special.txt").read_text()
    (folder / "detailed_special.txt").write_text(text.replace("  \n", "\n", 1))
    message = refused(golden, golden.folder / "full_lora", parts={"templates": str(folder)})
    assert "is not the published template: its SHA-256 is" in message
    with pytest.raises(InputError, match="videoreward needs its prompt templates"):
        choose_reward("videoreward", weights={"": str(golden.folder / "full_lora")})


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model_config", {"reward_token": "first", "use_special_tokens": False}, "'first' is not one of special, last"),
        ("model_config", {"use_special_tokens": False}, "reward_token is special, but use_special_tokens is false"),
        ("model_config", {"output_dim": 2}, "output_dim 2 with special tokens must be 1 or 3"),
        (
            "model_config",
            {"output_dim": 1, "reward_token": "last", "use_special_tokens": False},
            "output_dim 1 with reward_token last must be at least 3",
        ),
        ("data_config", {"prompt_template_type": "long"}, "prompt_template_type 'long' is not one of none"),
        ("data_config", {"eval_dim": ["VQ", "XX"]}, "is not made of VQ, MQ, TA"),
        ("inference_config", {"MQ_std": None}, "inference_config must hold the numbers VQ_mean"),
        ("inference_config", {"MQ_std": 0.0}, "holds a mean or standard deviation that cannot be used"),
    ],
)
def test_configurations_that_contradict_themselves(golden, copied, edited, section, values, message) -> None:
    root = copied("full_lora")
    edited(root / "model_config.json", section, **values)
    assert message in refused(golden, root, norm="true")


def test_a_template_without_the_reward_tokens(golden, copied, edited) -> None:
    root = copied("full_lora")
    edited(root / "model_config.json", "data_config", prompt_template_type="detailed")
    with pytest.raises(ValueError, match="does not have every reward token once"):
        prepared(golden.load(root).model, "a fox")


@pytest.mark.parametrize("token", ["<|TA_reward|>", "<|video_pad|>", "<|im_end|>", "<|endoftext|>"])
def test_a_special_token_in_a_prompt(ready, token) -> None:
    with pytest.raises(ValueError, match="the prompt contains the special token"):
        prepared(ready, f"a fox {token} runs")


@pytest.mark.parametrize("prompt", [None, "", "  \n"])
def test_an_empty_prompt(ready, prompt) -> None:
    with pytest.raises(ValueError, match="the clip has no prompt; only VQ and MQ can be scored without one"):
        prepared(ready, prompt)


def test_five_thousand_words_are_read_whole_or_refused(golden, ready) -> None:
    """The published model takes 32,768 tokens; nothing is cut silently."""
    words = " ".join(["the"] * 5000)
    ids = prepared(ready, words)["input_ids"]
    shorter = prepared(ready, " ".join(["the"] * 4999))["input_ids"]
    assert 0 < len(ids) - len(shorter) < 4
    with pytest.raises(ValueError, match=r"tokens \(72 of them the clip\), the model takes 32768: shorten the prompt"):
        prepared(ready, "extraordinarily " * 5000)


def test_clips_with_too_few_frames(golden, ready, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs at least 2"):
        prepared(ready, "a fox", n=1)
    five = tmp_path / "five.mp4"
    write_video(five, np.zeros((5, 112, 168, 3), np.uint8), 8.0)
    clip = Clip("five", str(five), "a fox")
    assert np.isfinite(golden.load("full_lora").score([clip])).all()
    with pytest.raises(ValueError, match="5 frames, an odd number below num_frames"):
        golden.load("full_lora", num_frames="8").score([clip])
    with pytest.raises(ClipError, match=r"has 5 frames at 8 frames a second; windows of 6 need at least 7"):
        golden.load("full_lora", sample_type="multi_pts").score([clip])


def test_frames_the_processor_would_resize_again_and_extreme_shapes(ready) -> None:
    with pytest.raises(ValueError, match="frames of 28x28 pixels lie outside what the base model's processor takes"):
        prepared(ready, "a fox", height=28, width=28)
    with pytest.raises(ValueError, match="sides beyond 1:200 cannot be scored"):
        prepared(ready, "a fox", height=28, width=28 * 201)


def test_too_little_gpu_memory(golden, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 1 << 30))
    _, model = choose_reward("videoreward", weights=golden.parts("full_lora"))
    with pytest.raises(
        ValueError, match=r"VideoReward .* needs 4\.0 GiB of GPU memory, 1\.0 GiB are free; use --dtype"
    ):
        model.load("cuda", "float32", model.weights, model.options)
