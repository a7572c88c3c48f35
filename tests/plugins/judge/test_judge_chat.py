"""The judges with a real (tiny) model: folders, tokens, greedy decoding, and the whole way through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rewardbench_judge.chat import Footage, Question, VideoChat

import rewardbench
from rewardbench.cli import main
from rewardbench.runs import RunSettings, run_benchmark

RATING = "Answer 1: 6\nAnswer 2: 7\nAnswer 3: 8\nAnswer 4: 9\nAnswer 5: 10"


def footage(n: int = 4, height: int = 56, width: int = 84, interval: float = 0.5) -> Footage:
    rng = np.random.default_rng(0)
    return Footage(rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8), 3 + interval * np.arange(n))


def question() -> Question:
    return Question((np.full((56, 56, 3), 90, np.uint8), footage(), "What is this?"))


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_the_model_says_its_text(talking_model, kind: str) -> None:
    chat = VideoChat(str(talking_model(RATING, kind)), "cpu", "float32", 16)
    assert chat(question()) == RATING


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_decoding_is_greedy_whatever_the_folder_says(talking_model, kind: str) -> None:
    """Against a loop of arg max over whole forward passes, with sampling and a repetition penalty in the folder."""
    import torch

    folder = talking_model(None, kind)
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 5.0, "top_k": 50, "repetition_penalty": 3.0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    chat = VideoChat(str(folder), "cpu", "float32", 8)
    inputs = chat._inputs(question())
    ids, types = inputs["input_ids"], inputs["mm_token_type_ids"]
    length = ids.shape[1]
    with torch.inference_mode():
        while ids.shape[1] < length + 8:
            rest = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask", "mm_token_type_ids")}
            logits = chat._model(input_ids=ids, mm_token_type_ids=types, attention_mask=torch.ones_like(ids), **rest)
            ids = torch.cat([ids, logits.logits[:, -1].argmax(-1, keepdim=True)], dim=1)
            types = torch.nn.functional.pad(types, (0, 1))
            if ids[0, -1] == chat._settings.eos_token_id:
                break
    expected = chat._processor.tokenizer.decode(ids[0, length:], skip_special_tokens=True)
    assert chat(question()) == expected == chat(question())


def test_frames_are_neither_sampled_again_nor_resized_and_keep_their_times(talking_model) -> None:
    chat = VideoChat(str(talking_model(None, "qwen2_5_vl")), "cpu", "float32", 1)
    inputs = chat._inputs(Question((footage(6, 56, 84, interval=0.25), "?")))
    assert inputs["video_grid_thw"].tolist() == [[3, 4, 6]], "two frames a step, 14 pixels a patch"
    assert float(inputs["second_per_grid_ts"][0]) == pytest.approx(0.5), "two frames of a quarter second"
    ids = chat._model.config
    assert int((inputs["input_ids"] == ids.video_token_id).sum()) == 3 * 4 * 6 // 4
    both = chat._inputs(question())
    assert int((both["input_ids"] == ids.image_token_id).sum()) == 4
    assert both["video_grid_thw"].tolist() == [[2, 4, 6]]
    first = (both["input_ids"][0] == ids.image_token_id).nonzero()[0]
    assert first < (both["input_ids"][0] == ids.video_token_id).nonzero()[0], "the picture comes before the clip"


def test_control_tokens_and_long_questions_are_refused(talking_model) -> None:
    chat = VideoChat(str(talking_model(RATING)), "cpu", "float32", 16)
    with pytest.raises(ValueError, match=r"control token '<\|im_end\|>'"):
        chat(Question((footage(), "?"), "a cat<|im_end|>"))
    with pytest.raises(ValueError, match=r"tokens long and the model has room for 4096"):
        chat(Question((footage(), "word " * 5000)))


def test_other_folders_are_refused_in_a_sentence(talking_model, tmp_path: Path) -> None:
    def load(folder: Path) -> None:
        VideoChat(str(folder), "cpu", "float32", 16)

    with pytest.raises(ValueError, match="has no readable config.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="holds a 'gpt2' model, which is not a vision-language model"):
        load(tmp_path)
    good = talking_model(RATING)
    half = tmp_path / "half"
    shutil.copytree(good, half)
    weights = (half / "model.safetensors").read_bytes()
    (half / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="cannot be loaded as a qwen2_vl model"):
        load(half)
    untuned = tmp_path / "untuned"
    shutil.copytree(good, untuned)
    for name in ("chat_template.json", "chat_template.jinja"):
        (untuned / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="has no chat template; name a chat-tuned model"):
        load(untuned)


def test_too_little_gpu_memory_is_said_before_loading(talking_model, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 80 << 30))
    with pytest.raises(ValueError, match="needs 2.0 GiB of GPU memory, 1.0 GiB are free; name a smaller model"):
        VideoChat(str(talking_model(RATING)), "cuda", "bfloat16", 16)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_key_too_few_or_too_many_is_an_error(talking_model, tmp_path: Path, change: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "changed"
    shutil.copytree(talking_model(RATING), folder)
    state = load_file(folder / "model.safetensors")
    name = next(key for key in state if key.endswith("mlp.gate_proj.weight"))
    if change == "missing":
        del state[name]
    else:
        state[name.replace("gate_proj", "gate_too")] = state[name].clone()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=rf"1 {change} keys: .*gate_"):
        VideoChat(str(folder), "cpu", "float32", 16)


@pytest.mark.system
def test_the_command_scores_clips(talking_model, tiny_clips: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", str(tiny_clips[0]), "--prompt", "a grey field", "--plugin", "judge"]
    words += ["--weights", str(talking_model(RATING)), "--device", "cpu", "--dtype", "float32", "--format", "json"]
    assert main([*words, "--option", "max_frames=4", "--workers", "1"]) == 0
    (scored,) = json.loads(capsys.readouterr().out)
    assert scored["scores"] == dict.fromkeys(
        ("visual_alignment", "text_alignment", "motion_quality", "human_quality", "overall"), 80
    )


def test_an_answer_nobody_can_read_is_a_missing_score_not_a_zero(talking_model, tiny_clips: list[Path]) -> None:
    model = rewardbench.load_reward(
        "judge", weights=talking_model("It is very good."), device="cpu", dtype="float32", dimensions=["motion_quality"]
    )
    assert np.isnan(model.score([rewardbench.Clip("a", str(tiny_clips[0]))])).all()
    model.close()


@pytest.mark.system
def test_a_judge_that_always_takes_the_first_is_shown_to_do_so(
    talking_model, tiny_clips: list[Path], tmp_path: Path
) -> None:
    for clip in tiny_clips:
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    file = tmp_path / "pairs.csv"
    file.write_text("prompt,video_a,video_b,label_x\np,clip0.mp4,clip4.mp4,B\nq,clip5.mp4,clip1.mp4,A\n")
    settings = RunSettings(
        ("judge:pair",),
        (str(file),),
        out=tmp_path / "out",
        bootstrap=10,
        weights={"": str(talking_model("Verdict: 1"))},
        options={"max_frames": "4"},
        device="cpu",
        dtype="float32",
        workers=1,
    )
    (outcome,) = run_benchmark(settings)
    (metric,) = outcome.result.metrics
    position = metric.position_consistency
    assert position is not None
    assert (position.consistency, position.favours_first, position.favours_second, position.n) == (0, 1, 0, 2)
    assert metric.n_abstained == 0
    assert metric.accuracy_with_ties.native is not None
    assert metric.accuracy_with_ties.native.value == 0, "both orders together say tie, and people decided"
