"""Training runs end to end on a tiny model: what is trained, what is written, and how a run goes on."""

import csv
import json

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

import rewardbench
from rewardbench.errors import InputError
from rewardbench.reward_training import training as training_module
from rewardbench.reward_training.examples import Pair, read_examples, split_by_prompt
from rewardbench.reward_training.loop import group_examples
from rewardbench.reward_training.training import distinct_clips, train
from rewardbench_plugin import Clip


def weights(run):
    path = run / json.loads((run / "train_result.json").read_text())["checkpoint"]
    return torch.load(path, weights_only=True)


def validation_clips(settings):
    data = read_examples(settings.data, settings.objective, settings.dimensions)
    return distinct_clips(split_by_prompt(data, settings.validation_share, settings.seed)[1])


class Interrupt(TrainerCallback):
    """Ends the run like a signal would, after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("objective", "reward_token", "head", "language", "rows"),
    [
        ("btt", "special", "per-dimension", "lora", 3),
        ("btt", "special", "shared", "full", 1),
        ("bt", "last", "per-dimension", "lora", 3),
    ],
)
def test_the_checkpoint_loads_back_with_the_scores_of_training(settings, objective, reward_token, head, language, rows):
    chosen = settings(objective=objective, reward_token=reward_token, head=head, language=language)
    result = train(chosen)
    config = json.loads((chosen.out / "model" / "model_config.json").read_text())
    assert config["model_config"]["output_dim"] == rows
    assert config["data_config"]["eval_dim"] == ["VQ", "MQ", "TA"]
    state = weights(chosen.out)
    prefix = "base_model.model." if language == "lora" else ""
    assert state[f"{prefix}rm_head.weight"].shape[0] == rows
    assert (f"{prefix}model.layers.0.self_attn.q_proj.lora_A.default.weight" in state) == (language == "lora")

    loaded = rewardbench.load_reward("videoreward", weights=chosen.out / "model", device="cpu", dtype="float32")
    scores = loaded.score(validation_clips(chosen))
    columns = [loaded.dimensions.index(d) for d in ("VQ", "MQ", "TA")]
    # the scale was measured by the training network on the same clips: normalised, they have mean 0 and deviation 1
    np.testing.assert_allclose(scores[:, columns].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scores[:, columns].std(0), 1, atol=1e-4)
    raw = rewardbench.load_reward(
        "videoreward", weights=chosen.out / "model", device="cpu", dtype="float32", norm="false"
    ).score(validation_clips(chosen))[:, columns]
    stated = np.array([[result["normalisation"][d][k] for d in ("VQ", "MQ", "TA")] for k in ("mean", "std")])
    np.testing.assert_allclose((raw - stated[0]) / stated[1], scores[:, columns], atol=1e-5)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(settings, tmp_path):
    whole = settings(out=tmp_path / "whole", pairs_per_prompt=2)
    train(whole)
    cut = settings(out=tmp_path / "cut", pairs_per_prompt=2)
    for step in (3, 7):  # states are written every 2 steps; 5 steps make an epoch
        with pytest.raises(KeyboardInterrupt):
            train(cut, callbacks=[Interrupt(step)])
        assert not (cut.out / "train_result.json").exists()
    result = train(cut)
    assert result["steps"] == 10
    one, other = weights(whole.out), weights(cut.out)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    assert not (cut.out / "state").exists()


def test_a_half_written_state_is_passed_over(settings):
    chosen = settings()
    with pytest.raises(KeyboardInterrupt):
        train(chosen, callbacks=[Interrupt(5)])
    newest = chosen.out / "state" / "checkpoint-4"
    (newest / "trainer_state.json").unlink()
    assert train(chosen)["steps"] == 10


def test_another_seed_gives_other_weights_and_is_recorded(settings, tmp_path):
    first = train(settings(out=tmp_path / "a"))
    second = train(settings(out=tmp_path / "b", seed=6))
    assert (first["seed"], second["seed"]) == (5, 6)
    assert first["checkpoint_sha256"] != second["checkpoint_sha256"]


def test_lora_leaves_the_language_model_and_all_other_tokens_untouched(settings, tiny_base):
    from safetensors.torch import load_file

    chosen = settings(vision="frozen")
    train(chosen)
    base = load_file(str(tiny_base / "model.safetensors"))
    state = weights(chosen.out)
    n = 0
    for name, value in base.items():
        layer, _, kind = name.rpartition(".")
        ours = f"base_model.model.{name}"
        ours = ours if ours in state else f"base_model.model.{layer}.base_layer.{kind}"
        after = state[ours]
        if name.endswith("embed_tokens.weight"):
            after = after[: len(value)]  # behind these come the special tokens
        assert torch.equal(after, value), name
        n += 1
    assert n > 20
    table = state["base_model.model.model.embed_tokens.weight"]
    assert len(table) == len(base["model.embed_tokens.weight"]) + 3
    low = state["base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight"]
    assert low.abs().max() > 0  # it starts at 0


def test_the_vision_encoder_is_trained_whole(settings, tiny_base):
    from safetensors.torch import load_file

    chosen = settings()
    train(chosen)
    base, state = load_file(str(tiny_base / "model.safetensors")), weights(chosen.out)
    vision = [name for name in base if name.startswith("visual.")]
    assert len(vision) > 10
    same = [name for name in vision if torch.equal(base[name], state[f"base_model.model.{name}"])]
    assert same == []


def test_separate_tokens_are_blind_to_the_prompt_and_the_last_token_is_not(settings, tmp_path):
    moved = {}
    for token in ("special", "last"):
        chosen = settings(reward_token=token, out=tmp_path / token)
        train(chosen)
        loaded = rewardbench.load_reward(
            "videoreward", weights=chosen.out / "model", device="cpu", dtype="float32", dimensions=["VQ", "MQ", "TA"]
        )
        clip = validation_clips(chosen)[0]
        scores = loaded.score([clip, Clip("other", clip.video, "something else, and a longer text")])
        moved[token] = np.abs(scores[1] - scores[0])
    assert moved["special"][:2].max() < 1e-5
    assert moved["special"][2] > 1e-3
    assert moved["last"].min() > 1e-3


def test_animereward_dimensions_from_ratings(settings, pairs_table, tmp_path):
    rows = []
    for n in range(12):
        for side in "ab":
            rows.append({"video": str(pairs_table.parent / f"{n}{side}.mp4"), "prompt": f"a square number {n}",
                         "rating_smoothness": str(1 + (n + (side == "b")) % 5), "rating_text_video": "3"})  # fmt: skip
    path = pairs_table.parent / "ratings.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    chosen = settings(data=path, objective="regression")
    result = train(chosen)
    assert result["dimensions"] == ["smoothness", "text_video"]
    assert result["validation"]["smoothness"]["squared_error"] > 0
    loaded = rewardbench.load_reward("videoreward", weights=chosen.out / "model", device="cpu", dtype="float32")
    assert loaded.dimensions == ("smoothness", "text_video", "overall")
    assert loaded.score(validation_clips(chosen)).shape == (6, 3)


def test_training_learns_what_the_pairs_say(settings):
    """The brighter clip wins every VQ pair: a model that learns at all gets all held-out pairs right."""
    chosen = settings(epochs=8, dimensions=("VQ",), learning_rate=3e-3, validation_share=0.4)
    result = train(chosen)
    assert result["validation"]["VQ"]["accuracy_without_ties"] == 1.0
    log = [json.loads(line) for line in (chosen.out / "train.log").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert result["validation"]["VQ"]["tie_threshold"] == pytest.approx(np.log(23 / 5))


def test_a_finished_run_is_not_repeated_and_another_is_refused(settings):
    chosen = settings()
    result = train(chosen)
    assert train(chosen) == result
    with pytest.raises(InputError, match="holds a run with another learning_rate"):
        train(settings(learning_rate=2e-3))


def test_a_folder_with_other_files_is_refused(settings, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no training run"):
        train(settings(out=tmp_path))


def test_several_processes_are_refused(settings, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process"):
        train(settings())


def test_recomputing_layers_changes_memory_and_not_the_result(settings, tmp_path):
    plain, saving = (
        settings(out=tmp_path / "a", epochs=1),
        settings(out=tmp_path / "b", epochs=1, gradient_checkpointing=True),
    )
    train(plain)
    train(saving)
    one, other = weights(plain.out), weights(saving.out)
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_bfloat16_weights_are_written_and_scored(settings):
    chosen = settings(dtype="bfloat16", epochs=1)
    result = train(chosen)
    state = weights(chosen.out)
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    table = state["base_model.model.model.embed_tokens.weight"]
    assert table.data_ptr() == state["base_model.model.lm_head.weight"].data_ptr()  # tied: written once
    loaded = rewardbench.load_reward(
        "videoreward", weights=chosen.out / "model", device="cpu", dtype="float32", norm="false"
    )
    scores = loaded.score(validation_clips(chosen))[:, :3]
    stated = [result["normalisation"][d]["mean"] for d in ("VQ", "MQ", "TA")]
    np.testing.assert_allclose(scores.mean(0), stated, atol=0.05)


def test_a_prompt_with_a_special_token_is_refused(settings, pairs_table, tmp_path):
    rows = list(csv.DictReader(pairs_table.open()))
    rows[3]["prompt"] = "sneaky <|VQ_reward|>"
    path = pairs_table.parent / "sneaky.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=r"contains the special token <\|VQ_reward\|>"):
        train(settings(data=path))


def test_a_base_of_another_kind_is_refused(settings, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match="is not a model folder"):
        train(settings(base=other))
    (other / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError, match="is a gpt2 model"):
        train(settings(base=other, out=tmp_path / "second"))


def test_pairs_of_a_prompt_are_grouped_in_file_order():
    clips = [Clip(str(n), str(n), prompt) for n, prompt in enumerate("xyxyx")]
    pairs = tuple(Pair(c, c, {"VQ": 1}) for c in clips)
    data = training_module.TrainingData("pairs", ("VQ",), pairs, (), "memory", "")
    groups = [[p.a.video for p in group] for group in group_examples(data, 2)]
    assert groups == [["0", "2"], ["4"], ["1", "3"]]
