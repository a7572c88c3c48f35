"""The whole loop on a tiny generator, with a judge that runs here: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from rewardbench.align import alignment, judging, looks, run_clips
from rewardbench.align.adapters import POLICY, load_adapter
from rewardbench.align.alignment import align
from rewardbench.align.judging import Judge
from rewardbench.align.prompts import write_table
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.training import Trainer, read_log, states
from rewardbench.align.watching import look_steps
from rewardbench.errors import CheckFailed, InputError
from rewardbench.scoring.progress import Silent
from rewardbench.tables import read_table
from tests.align.conftest import SMALL, load_toy, write_tiny_toy


def weights(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(out / "weights" / "pytorch_lora_weights.safetensors")


def test_every_stage_leaves_its_files_and_a_second_run_changes_none(settings, judge) -> None:
    given = settings()
    first = align(given)
    for name in (
        "align.json", "prompts/align.csv", "prompts/evaluate.csv", "round-1/base.csv", "round-1/scores.csv",
        "round-1-pairs.csv", "round-1/cache/cache.json", "round-1/train/log.jsonl", "evaluate/base.csv",
        "evaluate/step-00000002.csv", "evaluate/aligned.csv", "result.json", "report.html", "README.md",
        "weights/pytorch_lora_weights.safetensors",
    ):  # fmt: skip
        assert (given.out / name).is_file(), name
    asked = list(judge.calls)
    before = weights(given.out)
    again = align(given)
    assert again == first
    assert judge.calls == asked  # nothing was scored twice
    assert all(torch.equal(before[k], v) for k, v in weights(given.out).items())


def test_the_comparison_is_on_prompts_that_were_not_learned_on(settings, judge) -> None:
    given = settings()
    result = align(given)
    learned, compared = (
        {row["prompt"] for row in read_table(given.out / "prompts" / f"{name}.csv")[1]}
        for name in ("align", "evaluate")
    )
    assert learned
    assert compared
    assert not learned & compared
    assert result["changes"]["random:overall"]["n"] == len(compared)


def test_changes_are_the_differences_of_the_scores_in_the_files(settings, judge) -> None:
    given = settings()
    result = align(given)
    sides = []
    for name in ("base", "aligned"):
        _, rows = read_table(given.out / "evaluate" / f"{name}-scores.csv")
        sides.append(np.array([float(row["overall"]) for row in rows]))
    change = result["changes"]["random:overall"]
    assert change["difference"] == pytest.approx((sides[1] - sides[0]).mean(), abs=1e-12)
    assert change["win_rate"] == pytest.approx(((sides[1] > sides[0]) + 0.5 * (sides[1] == sides[0])).mean())


def test_written_weights_give_the_trained_generator(settings, judge, tiny_toy, toy_prompts) -> None:
    from rewardbench.align.samples import conditions, read_samples
    from rewardbench.align.sampling import sample, seed_of

    given = settings()
    align(given)
    family = load_toy(tiny_toy)
    load_adapter(family, given.out / "weights", POLICY)
    samples = read_samples(given.out / "evaluate" / "aligned")
    condition, empty = conditions(family, [s.prompt for s in samples], 0)
    seed = seed_of(given.recipe.seed, "evaluate") >> 32
    seeds = [seed_of(seed, "noise", s.prompt.prompt_id, 0) for s in samples]
    found = sample(family, condition, empty, seeds, given.sampling.filled(family))
    from safetensors.torch import load_file

    kept = load_file(samples[0].latents)
    for row, s in enumerate(samples):
        torch.testing.assert_close(found[row], kept[s.clip_id], rtol=1e-5, atol=1e-5)


def test_interrupted_anywhere_it_ends_as_if_it_never_was(settings, judge, monkeypatch) -> None:
    whole, parts = settings("whole"), settings("parts")
    align(whole)

    def stop_in(module, name, after: int) -> None:
        plain, left = getattr(module, name), [after]

        def stopping(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return plain(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, stopping)
            with pytest.raises(KeyboardInterrupt):
                align(parts)

    stop_in(run_clips, "sample_clips", 0)
    stop_in(run_clips, "score_samples", 0)
    stop_in(alignment, "write_pairs", 0)
    stop_in(Trainer, "train_step", 3)
    stop_in(alignment, "write_result", 0)
    align(parts)
    a, b = weights(whole.out), weights(parts.out)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    results = [json.loads((s.out / "result.json").read_text()) for s in (whole, parts)]
    assert results[0]["changes"] == results[1]["changes"]


def test_stages_one_by_one_equal_all_at_once(settings, judge) -> None:
    whole, parts = settings("whole"), settings("parts")
    align(whole)
    for stage in ("sample", "score", "pair", "encode", "train", "evaluate", "report"):
        align(parts, stage=stage)
    assert all(torch.equal(weights(parts.out)[k], v) for k, v in weights(whole.out).items())
    assert (parts.out / "report.html").exists()
    with pytest.raises(InputError, match="no stage 'trian'; there are sample, score"):
        align(parts, stage="trian")


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("sft", {}),
        ("dpo", {"cache_reference": True, "draws_per_pair": 2}),
        ("flow-dpo", {"beta_schedule": "(1-t)^2"}),
        ("flow-rwr", {}),
        ("dpo", {"tuning": "full", "reference": "frozen_copy"}),
        ("dpo", {"rounds": 2}),
        ("flow-nrg", {"latent_depth": 1, "guidance_scale": 5.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["flow", "v"])
def test_every_algorithm_runs_through_on_both_parameterisations(
    settings, judge, tiny_toy_v, algorithm, changes, kind
) -> None:
    if kind == "v" and changes.get("beta_schedule"):
        pytest.skip("one run of it is enough")
    given = settings("run", algorithm, changes, **({"model": str(tiny_toy_v)} if kind == "v" else {}))
    result = align(given)
    change = result["changes"]["random:overall"]
    assert change["n"] > 0
    assert change["base"] != change["aligned"]  # something was learnt, whatever it was
    assert result["algorithm"] == algorithm


def test_real_winners_against_generated_losers(settings, judge, tmp_path, prompt_table) -> None:
    from rewardbench.tables import read_table
    from rewardbench.video import write_video

    _, rows = read_table(prompt_table)
    rng = np.random.default_rng(0)
    table = []
    for i, row in enumerate(rows):
        write_video(tmp_path / f"real-{i}.mp4", rng.integers(0, 256, (8, 40, 48, 3)).astype(np.uint8), 8)
        table.append({"video": f"real-{i}.mp4", "prompt": row["prompt"]})
    write_table(tmp_path / "real.csv", table)
    given = settings("real", "realdpo", {"losers": 2, "rounds": 2, "ema_every": 1}, winners=tmp_path / "real.csv")
    result = align(given)
    assert [r["n"] for r in result["pairs"]] == [10, 10]  # 5 prompts to learn on, 2 losers each, in both rounds
    assert result["changes"]["random:overall"]["n"] == 1
    assert read_log(given.out / "round-2" / "train")


def test_a_pairs_file_is_learned_from_without_sampling(settings, judge) -> None:
    first = settings("first")
    align(first)
    given = settings("second", "dpo", pairs=first.out / "round-1-pairs.csv", label="reward")
    align(given)
    assert not (given.out / "round-1" / "base").exists()
    assert read_log(given.out / "round-1" / "train")[0]["preference_loss"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (lambda clip, b: 0.5, "no prompt gives a pair: all clips scored equal by random:overall for 5 of 5 prompts"),
        (
            lambda clip, b: math.nan,
            "no prompt gives a pair: random:overall scored fewer than two clips of 5 of 5 prompts",
        ),
        (lambda clip, b: None, "random scored none of the 15 clips: the clip is bad"),
    ],
    ids=["equal", "abstains", "fails"],
)
def test_a_judge_that_decides_nothing_ends_in_one_sentence(settings, judge, rule, sentence) -> None:
    judge.rule = rule
    with pytest.raises(InputError, match=sentence):
        align(settings())


def test_clips_of_another_generator_are_said_in_every_file(settings, judge, tmp_path) -> None:
    first = settings("first")
    align(first, stage="pair")
    table = first.out / "round-1-pairs.csv"
    table.write_text(table.read_text().replace(first.model, "another"))
    result = align(settings("second", "dpo", pairs=table))
    (sentence,) = result["pairs"][0]["said"]
    assert sentence.startswith("clips of another teach ")
    for name in ("README.md", "report.html"):
        assert "lips of another teach" in (settings("second").out / name).read_text()


def test_prompts_whose_clips_score_equal_are_left_out_and_said(settings, judge) -> None:
    judge.rule = lambda clip, b: 0.5 if "girl waves" in clip.prompt else float(b)
    said = []

    class Ears:
        def start_phase(self, *_): ...
        def advance(self, *_): ...
        def end_phase(self): ...
        def message(self, text):
            said.append(text)

    align(settings(), Ears())
    assert any("all clips scored equal by random:overall for 3 of 5 prompts" in text for text in said)
    assert any(text.startswith("effective beta: 25 per sample") for text in said)


def test_missing_images_are_named_before_anything_is_sampled(settings, judge, prompt_table) -> None:
    for path in sorted((prompt_table.parent / "images").iterdir())[:2]:
        path.unlink()
    given = settings()
    with pytest.raises(InputError, match="2 of the images are missing"):
        align(given)
    assert not (given.out / "round-1").exists()


def test_a_missing_image_of_several_prompts_is_named_once(settings, judge, tmp_path) -> None:
    write_table(tmp_path / "many.csv", [{"prompt": f"a girl {i}", "image": "gone.png"} for i in range(3)])
    with pytest.raises(InputError, match=r"1 of the images is missing: [^,]*gone.png$"):
        align(settings(prompts=tmp_path / "many.csv"))


def test_the_size_of_the_toys_clips_is_said_as_it_is_typed(settings, judge) -> None:
    from rewardbench.align.families.base import ClipShape

    with pytest.raises(InputError, match=r"one size, --clip 4x32x32@8; leave --clip out"):
        align(settings(clip=ClipShape(5, 32, 32, 8.0)))


def test_the_result_names_the_device_and_dtype_that_auto_stood_for(settings, judge, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = align(settings(device="auto", changes={"steps": 1}))
    assert (result["provenance"]["device"], result["provenance"]["dtype"]) == ("cpu", "float32")
    page = (settings().out / "report.html").read_text()
    assert f"fingerprint {result['judges'][0]['fingerprint']}" in page


def test_prompts_without_images_are_refused_by_an_image_to_video_generator(settings, judge, tmp_path) -> None:
    write_table(tmp_path / "bare.csv", [{"prompt": "a girl"}, {"prompt": "a boy"}])
    with pytest.raises(InputError, match="makes video from images, and 2 of 2 prompts have none"):
        align(settings(prompts=tmp_path / "bare.csv"))


def test_a_lora_of_another_network_is_refused(settings, judge, tmp_path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "lora").mkdir()
    tensors = {f"transformer.other.to_q.lora_{s}.weight": torch.zeros(4, 4) for s in "AB"}
    save_file(tensors, tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    with pytest.raises(InputError, match="does not fit this generator"):
        align(settings(changes={"reference": "frozen_adapter"}, start=tmp_path / "lora"))
    with pytest.raises(InputError, match="has no pytorch_lora_weights"):
        align(settings(changes={"reference": "frozen_adapter"}, start=tmp_path))
    with pytest.raises(InputError, match="without the LoRA it starts from; choose reference frozen_adapter"):
        align(settings(start=tmp_path / "lora"))


def test_a_lora_can_be_started_from_and_be_the_reference(settings, judge) -> None:
    first = settings("first", "sft")
    align(first)
    given = settings("second", "dpo", {"reference": "frozen_adapter"}, start=first.out / "weights")
    align(given)
    assert read_log(given.out / "round-1" / "train")[0]["preference_loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_the_folder_of_another_run_is_refused(settings, judge) -> None:
    align(settings(), stage="sample")
    with pytest.raises(InputError, match=r"holds the files of another run \(different: recipe\.beta 50\.0, now 7\.0\)"):
        align(settings(changes={"beta": 7.0}))


def test_a_refused_prompt_table_or_pairs_file_leaves_the_folder_free(settings, judge, prompt_table, tmp_path) -> None:
    write_table(tmp_path / "bare.csv", [{"prompt": "a girl"}, {"prompt": "a boy"}])
    (tmp_path / "pairs.csv").write_text("video_a,video_b,prompt,label_x\n")
    for wrong in ({"prompts": tmp_path / "bare.csv"}, {"pairs": tmp_path / "pairs.csv"}):
        with pytest.raises(InputError):
            align(settings(**wrong), stage="sample")
        assert not settings().out.exists()
    align(settings(), stage="sample")


def test_a_first_frame_that_changed_is_refused(settings, judge, prompt_table) -> None:
    from PIL import Image

    align(settings(), stage="sample")
    Image.new("RGB", (32, 32), "red").save(prompt_table.parent / "images" / "0.png")
    with pytest.raises(InputError, match="different: first_frames"):
        align(settings(), stage="sample")


def test_a_broken_first_frame_is_named_as_the_user_knows_it_and_can_be_mended(settings, judge, prompt_table) -> None:
    image = prompt_table.parent / "images" / "0.png"
    whole = image.read_bytes()
    image.write_bytes(b"no picture")
    with pytest.raises(InputError, match=f"{image}: is not a readable image"):
        align(settings(), stage="sample")
    image.write_bytes(whole)
    align(settings(), stage="sample")


def test_clips_a_judge_fails_on_are_listed_apart_from_abstentions_and_asked_for_again(
    settings, judge, prompt_table
) -> None:
    many = {"evaluation_prompts": prompt_table, "prompts": prompt_table.with_name("learn.csv")}
    table = prompt_table.read_text()
    many["prompts"].write_text(table.replace("waves", "sits").replace("runs", "sleeps"))
    broken = {"00001-0.mp4": None, "00002-0.mp4": math.nan}
    plain = judge.rule

    def rule(clip, brightness):
        name = Path(clip.video).name
        return broken.get(name, plain(clip, brightness)) if "evaluate" in clip.video else plain(clip, brightness)

    judge.rule = rule
    given = settings(evaluations=1, changes={"steps": 2}, **many)
    result = align(given)
    change = result["changes"]["random:overall"]
    assert (change["n"], change["abstained"], change["failed"]) == (4, 1, 1)
    assert result["failed"] == [
        {"judge": "random", "clips": f"evaluate/{side}", "clip_id": "00001-0", "error": "the clip is bad"}
        for side in ("base", "aligned")
    ]
    del broken["00001-0.mp4"]
    asked = len(judge.calls)
    result = align(given)
    assert judge.calls[asked:] == [1, 1]  # the two clips alone
    change = result["changes"]["random:overall"]
    assert (change["n"], change["abstained"], change["failed"], result["failed"]) == (5, 1, 0, [])


def test_files_that_were_cut_short_are_made_again(settings, judge) -> None:
    whole, given = settings("whole"), settings("cut")
    align(whole)
    align(given)
    train, cache = given.out / "round-1" / "train", given.out / "round-1" / "cache"
    newest = states(train)[-1]
    for path in (newest / "policy.safetensors", newest / "optimizer.bin", cache / "latents-00000.safetensors"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for path in (given.out / "weights").iterdir():
        path.unlink()
    (given.out / "weights").rmdir()
    align(given)
    assert all(torch.equal(weights(given.out)[k], v) for k, v in weights(whole.out).items())


def test_a_damaged_settings_file_is_said(settings, judge) -> None:
    align(settings(), stage="sample")
    (settings().out / "align.json").write_text('{"recipe": ')
    with pytest.raises(InputError, match="align.json is damaged and does not say whose the files"):
        align(settings(), stage="sample")


def test_a_full_disk_is_said_where_a_file_is_written(settings, judge, monkeypatch, tmp_path) -> None:
    from safetensors import SafetensorError

    from rewardbench.align import latent_cache, samples
    from rewardbench.align.disk import writing

    def full(*arguments, **named):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    for module, stage, name in ((samples, "sample", "latents-00000"), (latent_cache, "encode", "latents-00000")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "save_file", full)
            with pytest.raises(InputError, match=rf"{name}.safetensors cannot be written \(.*No space left"):
                align(settings(), stage=stage)
        align(settings(), stage=stage)
    with pytest.raises(InputError, match="x cannot be written .*as on a full disk"), writing(tmp_path / "x"):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
    with pytest.raises(RuntimeError, match="shape"), writing(tmp_path / "x"):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize("device", ["nosuch", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(settings, judge, device) -> None:
    given = settings(device=device)
    with pytest.raises(InputError, match=f"--device {device} cannot be used: .*; name cpu"):
        align(given)
    assert not given.out.exists()


def test_a_folder_that_cannot_be_made_is_refused(settings, judge, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for out in ("file", "file/run", "/proc/nosuch/run"):
        with pytest.raises(InputError, match=f"--out .*{out} cannot be written: "):
            align(settings(out), stage="sample")


def test_prompts_that_are_not_utf_8_are_refused(settings, judge, tmp_path) -> None:
    (tmp_path / "prompts.txt").write_bytes("ein Mädchen\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"prompts.txt cannot be read: .*; save it as UTF-8 text"):
        align(settings(prompts=tmp_path / "prompts.txt"))


def test_a_run_without_its_weights_cannot_be_evaluated(settings, judge) -> None:
    align(settings(), stage="sample")
    with pytest.raises(InputError, match="holds no weights yet"):
        align(settings(), stage="evaluate")


def test_a_diverging_loss_stops_the_run_and_keeps_its_state(settings, judge, monkeypatch) -> None:
    plain = Trainer.train_step

    def poisoned(self):
        if self.step == 3:
            with torch.no_grad():
                next(p for p in self.family.transformer.parameters() if p.requires_grad).fill_(float("nan"))
        return plain(self)

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    given = settings()
    with pytest.raises(CheckFailed, match="not finite at step 4; the last good state is"):
        align(given)
    assert [p.name for p in states(given.out / "round-1" / "train")] == ["step-00000002"]


def test_an_alarm_stops_a_run_that_is_asked_to(settings, judge, monkeypatch) -> None:
    class Fired:
        sentence = "the reward rises while the held-out judge falls"

        def as_dict(self):
            return {"sentence": self.sentence}

    monkeypatch.setattr(looks, "read_so_far", lambda out, settings: Fired())
    with pytest.raises(CheckFailed, match=r"held-out judge falls; the run was stopped at step 2 \(--on-alarm warn"):
        align(settings("stopped", on_alarm="stop"))
    result = align(settings("warned", on_alarm="warn"))
    assert result["alarm"] == {"sentence": Fired.sentence}


def test_dimensions_are_mixed_by_their_weights_and_turned_the_right_way_up() -> None:
    mix = Judge("random", {"a": 3.0, "b": 1.0})
    facts = judging.JudgeFacts({"a": 1.0, "b": -1.0}, None)
    found = judging.reward_of(mix, facts, {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 2.0, "y": math.nan}})
    assert found["x"] == pytest.approx((3 * 1.0 - 1 * 2.0) / 4)
    assert math.isnan(found["y"])


@pytest.mark.parametrize(
    ("mix", "sentence"),
    [({"nice": 1.0}, "no dimension 'nice'"), ({"overall": -1.0}, "not negative"), ({}, "not negative")],
)
def test_impossible_mixes_are_refused(mix, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        judging.facts_of(Judge("random", mix))


def test_another_generators_cache_is_refused(settings, judge, tmp_path) -> None:
    given = settings()
    align(given, stage="encode")
    (given.out / "align.json").unlink()  # as if the folder had been copied into another run
    torch.manual_seed(9)
    other = write_tiny_toy(tmp_path / "other")
    from safetensors.torch import load_file, save_file

    path = other / "codec.safetensors"
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        words = file.metadata()
    save_file({k: v * (2 if k == "scale" else 1) for k, v in load_file(path).items()}, path, metadata=words)
    with pytest.raises(InputError, match="holds clips of another run"):
        align(dataclasses.replace(given, model=str(other)), stage="encode")


def test_flow_rwr_learns_from_every_clip_of_a_pairs_file(settings, judge) -> None:
    first = settings("first", "dpo")
    align(first)
    given = settings("second", "flow-rwr", pairs=first.out / "round-1-pairs.csv")
    messages: list[str] = []

    class Heard(Silent):
        def message(self, text: str) -> None:
            messages.append(text)

    align(given, Heard())
    rows = read_table(first.out / "round-1-pairs.csv")[1]
    clips = {row[side] for row in rows for side in ("video_a", "video_b")}
    assert len(clips) > len(rows)
    assert any(m.startswith(f"weights of {len(clips)} examples") for m in messages)


@pytest.mark.parametrize("reward", ["0.5", "90"])
def test_rewards_that_no_gap_can_be_learned_from_are_refused_before_encoding(settings, judge, reward, tmp_path) -> None:
    first = settings("first", "dpo")
    align(first)
    rows = read_table(first.out / "round-1-pairs.csv")[1]
    for row in rows:
        row |= {"reward_a": reward, "reward_b": reward}
        row |= {side: str(first.out / row[side]) for side in ("video_a", "video_b", "image")}
    write_table(tmp_path / "equal.csv", rows)
    given = settings("second", "gapo", {"gap_range": "plugin"}, pairs=tmp_path / "equal.csv")
    with pytest.raises(InputError, match="the same reward in all|outside"):
        align(given)
    assert not (given.out / "round-1" / "cache").exists()


def test_a_clip_may_stand_in_several_pairs(settings, judge, prompt_table, tmp_path) -> None:
    """A round robin of three clips, as people's preference files have it."""
    first = settings("first")
    align(first, stage="sample")
    videos = sorted((first.out / "round-1" / "base" / "videos").glob("*.mp4"))[:3]
    image = next((tmp_path / "images").iterdir())
    rows = [
        {
            "prompt": "a boy jumps",
            "video_a": str(a),
            "video_b": str(b),
            "image": str(image),
            "model_a": "m",
            "model_b": "m",
            "label_overall": "A",
        }
        for a, b in ((videos[0], videos[1]), (videos[0], videos[2]), (videos[1], videos[2]))
    ]
    write_table(tmp_path / "robin.csv", rows)
    result = align(settings("second", "dpo", pairs=tmp_path / "robin.csv"))
    assert len(result["training"][0]) == SMALL["steps"]


def test_prompts_that_are_learned_on_are_not_compared_on(settings, judge, tmp_path, prompt_table) -> None:
    first = settings("first")
    align(first, stage="pair")
    with pytest.raises(InputError, match="stand in .*round-1-pairs.csv, which is learned from"):
        align(
            settings("second", "dpo", pairs=first.out / "round-1-pairs.csv", prompts=None,
                     evaluation_prompts=prompt_table)
        )  # fmt: skip


def test_pairs_need_no_prompts_to_learn_on(settings, judge, tmp_path, prompt_table) -> None:
    first = settings("first")
    align(first, stage="pair")
    held_out = first.out / "prompts" / "evaluate.csv"
    given = settings("second", "dpo", pairs=first.out / "round-1-pairs.csv", prompts=None, evaluation_prompts=held_out)
    result = align(given)
    assert result["prompts"]["learned_on"] == 5
    (pairs,) = result["pairs"]
    assert (pairs["n"], pairs["prompts"], pairs["clips"]) == (5, 5, 10)
    assert pairs["source"] == "round-1-pairs.csv:reward"
    card, page = ((given.out / name).read_text() for name in ("README.md", "report.html"))
    assert "Prompts: 5 learned on" in card
    assert "round-1-pairs.csv:reward" in card
    assert "round-1-pairs.csv:reward" in page
    assert result["changes"]["random:overall"]["n"] == result["prompts"]["compared_on"] > 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt_count": 2}, "prompt_count"),
        ({"evaluation_count": 1}, "evaluation_count"),
        ({"min_gap": 0.25}, "min_gap"),
        ({"judge": Judge("random", {"overall": 2.0})}, "judge"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_folder_of_other_settings_is_refused(settings, judge, change, named) -> None:
    align(settings(), stage="sample")
    with pytest.raises(InputError, match=f"different: {named}"):
        align(settings(**change), stage="sample")


def test_asking_for_what_is_not_there_claims_no_folder(settings, judge) -> None:
    given = settings("new")
    for stage in ("evaluate", "report"):
        with pytest.raises(InputError, match=f"new holds no run yet; run the stages before {stage}"):
            align(given, stage=stage)
    assert not given.out.exists()


def test_a_pairs_file_that_does_not_exist_is_named(settings, judge, tmp_path, prompt_table) -> None:
    given = settings("run", pairs=tmp_path / "nothere.csv", prompts=None, evaluation_prompts=prompt_table)
    with pytest.raises(InputError, match=r"nothere\.csv does not exist$"):
        align(given)


def test_who_is_held_out_no_longer_is_said(settings, judge) -> None:
    class Told(Silent):
        said: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.said.append(text)

    align(settings(held_out=(Judge("drawn-rules", {"flicker": 1.0}),)))
    align(settings(held_out=()), Told(), stage="evaluate")
    assert "no longer held out, and left out of the result: drawn-rules" in Told.said


def test_a_prompt_table_that_changed_is_refused(settings, judge, prompt_table) -> None:
    align(settings(), stage="sample")
    prompt_table.write_text(prompt_table.read_text().replace("waves", "runs"))
    with pytest.raises(InputError, match="different: prompts"):
        align(settings(), stage="sample")


def test_a_held_out_judge_can_be_added_to_a_finished_run(settings, judge) -> None:
    align(settings())
    asked = len(judge.calls)
    held_out = (Judge("drawn-rules", {"sharpness": 1.0}),)
    result = align(settings(held_out=held_out), stage="evaluate")
    assert result["held_out"] == ["drawn-rules"]
    assert result["changes"]["drawn-rules:sharpness"] is not None
    assert "drawn-rules" in (settings().out / "report.html").read_text()
    assert len(judge.calls) == asked + 3  # base, the look in between and aligned, by the new judge alone


def test_the_optimised_judge_is_not_held_out(settings, judge) -> None:
    with pytest.raises(InputError, match="random is optimised and cannot be held out as well"):
        align(settings(held_out=(Judge("random", {"overall": 1.0}),)))
    with pytest.raises(
        InputError, match="animereward is optimised and cannot be held out as well, whatever the preset"
    ):
        align(settings(judge=Judge("animereward"), held_out=(Judge("animereward:mini"),)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"evaluations": 0}, "evaluations is at least 1"),
        ({"prompt_count": 0}, "prompt_count is at least 1"),
        ({"watch_count": 0}, "watch_count is at least 1"),
        ({"save_every": 0}, "save_every is at least 1"),
        ({"sampling": SamplingChoice(guidance=math.nan)}, "guidance is 0 or a larger finite number, not nan"),
        ({"sampling": SamplingChoice(guidance=-3.0)}, "guidance is 0 or a larger finite number, not -3"),
        ({"sampling": SamplingChoice(steps=0)}, "sampling steps are at least 1"),
        ({"sampling": SamplingChoice(batch_size=0)}, "clips sampled at once are at least 1"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_counts_of_nothing_are_refused(settings, judge, change, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        align(settings(**change))


def test_one_clip_a_prompt_makes_no_pair(settings, judge) -> None:
    with pytest.raises(InputError, match="samples_per_prompt is at least 2"):
        align(settings(changes={"samples_per_prompt": 1}))


@pytest.mark.parametrize("algorithm", ["gapo", "flow-rwr"])
def test_real_winners_have_no_reward_to_weigh_by(settings, judge, tmp_path, algorithm) -> None:
    with pytest.raises(InputError, match="real clips have none; choose dpo or realdpo"):
        align(settings(algorithm=algorithm, winners=tmp_path / "real.csv"))


def test_realdpo_without_real_clips_is_refused_where_the_world_is_not_drawn(settings, judge) -> None:
    with pytest.raises(InputError, match="is not of the drawn world; name real clips with --winners"):
        align(settings(algorithm="realdpo", changes={"samples_per_prompt": 3, "losers": 2}))


def test_sft_on_real_clips_samples_nothing_to_learn_on(settings, judge, tmp_path, prompt_table) -> None:
    first = settings("first")
    align(first, stage="pair")
    rows = read_table(first.out / "round-1-pairs.csv")[1]
    path = tmp_path / "real.csv"
    write_table(path, [{"video": str(first.out / r["video_a"]), "prompt": r["prompt"]} for r in rows])
    given = settings("second", "sft", winners=path)
    result = align(given)
    assert not (given.out / "round-1" / "base").exists()
    assert len(result["training"][0]) == SMALL["steps"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_looks_are_spread_over_the_steps(steps, count) -> None:
    found = look_steps(steps, count)
    assert len(found) == min(steps, count)
    assert found[0] >= 1
    assert found[-1] == steps
    gaps = np.diff([0, *found])
    assert gaps.max() - gaps.min() <= 1


def test_every_round_is_looked_at(settings, judge) -> None:
    given = settings(changes={"rounds": 2}, evaluations=4)
    align(given)
    assert sorted(p.name for p in (given.out / "evaluate").glob("step-*") if p.is_dir()) == [
        f"step-{n:08d}" for n in (1, 2, 3)
    ]


def test_clips_of_no_numbers_are_refused(settings, judge, monkeypatch) -> None:
    from rewardbench.align import samples

    plain = samples.sample

    def diverged(*arguments, **named):
        made = plain(*arguments, **named)
        made[0, 0] = math.nan
        return made

    with monkeypatch.context() as patch:
        patch.setattr(samples, "sample", diverged)
        with pytest.raises(CheckFailed, match=r"2 clips came out as no numbers \(NaN or infinite\), 00001-0 the first"):
            align(settings(), stage="sample")
    align(settings(), stage="sample")


def test_the_second_round_waits_for_the_first_and_starts_from_other_noise(settings, judge) -> None:
    given = settings(changes={"rounds": 2})
    align(given, stage="sample")
    assert not (given.out / "round-2" / "base").exists()
    align(given)
    seeds = [json.loads((given.out / f"round-{n}" / "base" / "samples.json").read_text())["seed"] for n in (1, 2)]
    assert seeds[0] != seeds[1]


def test_a_lora_to_start_from_is_part_of_base(settings, judge) -> None:
    first = settings("first")
    align(first)
    start = first.out / "weights"
    given = settings("second", "dpo", {"reference": "frozen_adapter", "sft_weight": 0.0}, start=start)
    result = align(given)
    assert result["training"][0][0]["loss"] == pytest.approx(math.log(2.0), abs=1e-6)
    from safetensors.torch import load_file

    def latents(out: Path, name: str) -> dict[str, torch.Tensor]:
        (path,) = (out / "evaluate" / name).glob("latents-*.safetensors")
        return load_file(path)

    aligned, base = latents(first.out, "aligned"), latents(given.out, "base")
    assert all(torch.equal(base[name], value) for name, value in aligned.items())


def test_runs_of_two_precisions_in_one_process(settings, judge) -> None:
    align(settings("one", changes={"precision": "bf16"}), stage="train")
    align(settings("two"), stage="train")
    assert states(settings("two").out / "round-1" / "train")


def test_running_out_of_gpu_memory_is_one_sentence(settings, judge, monkeypatch) -> None:
    def full(self, *arguments, **named):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore words.")

    monkeypatch.setattr(Trainer, "train_step", full)
    with pytest.raises(
        InputError, match=r"ran out of memory \(CUDA out of memory. Tried to allocate 2 GiB.\); what is"
    ):
        align(settings())


def test_the_result_says_who_judged_and_scores_of_another_version_are_not_mixed_in(
    settings, judge, monkeypatch
) -> None:
    given = settings()
    result = align(given)
    (record,) = result["judges"]
    expected = judging.judge_record(given.judge)
    assert record == expected
    assert record["label"] == "random"
    assert record["version"] == judging.card_of("random").version
    assert len(record["fingerprint"]) > 8
    beside = given.out / "evaluate" / "aligned-scores.judge.json"
    assert json.loads(beside.read_text()) == record
    monkeypatch.setattr(judging, "judge_record", lambda j: expected | {"version": "9", "fingerprint": "other"})
    with pytest.raises(InputError, match=rf"scored by another random \({record['version']}, now 9\); choose another"):
        align(given)


def test_what_a_dry_run_refuses_does_not_start_on_the_cpu_either(settings, judge, monkeypatch) -> None:
    from rewardbench.align import dryrun

    for module in (alignment, dryrun):
        monkeypatch.setattr(module, "available_to", lambda network: 1000)
    said = []
    with pytest.raises(InputError, match="a step needs .* on cpu and 1000 B are free"):
        said.extend(dryrun.describe_run(settings()))
    assert said[-1].startswith("A step needs")  # the numbers stand before the refusal
    with pytest.raises(InputError, match="a step needs .* on cpu and 1000 B are free"):
        align(settings())
    assert not (settings().out / "round-1").exists()  # before hours of sampling


def test_scores_of_nobody_known_are_made_anew_until_they_are_learned_from(settings, judge) -> None:
    given = settings()
    align(given, stage="score")
    scores = given.out / "round-1" / "scores.csv"
    good, asked = scores.read_bytes(), sum(judge.calls)
    columns, rows = read_table(scores)
    write_table(scores, [row | {columns[1]: "0.125"} for row in rows])
    align(given, stage="score")
    assert scores.read_bytes() != good
    assert sum(judge.calls) == asked
    scores.with_suffix(".judge.json").unlink()
    align(given, stage="encode")
    assert scores.read_bytes() == good
    assert sum(judge.calls) == 2 * asked
    scores.with_suffix(".judge.json").unlink()
    with pytest.raises(InputError, match="nothing says who scored .*scores.csv; choose another --out, or remove it"):
        align(given)


def test_a_dry_run_counts_what_the_run_would_do(settings, judge, prompt_table) -> None:
    from rewardbench.align.dryrun import describe_run

    lines = list(describe_run(settings()))
    assert "to sample: 15 clips of 5 prompts to learn on, 2 clips of 1 prompts to compare on, 2 steps each" in lines
    first = settings("first")
    align(first, stage="pair")
    held_out = first.out / "prompts" / "evaluate.csv"
    given = settings("second", "dpo", pairs=first.out / "round-1-pairs.csv", prompts=None, evaluation_prompts=held_out)
    lines = list(describe_run(given))
    assert f"to learn from: 5 pairs of {given.pairs}, 10 clips to encode" in lines
    assert "to sample: 2 clips of 1 prompts to compare on, 2 steps each" in lines
    lines = list(describe_run(settings(algorithm="flow-nrg", changes={"latent_depth": 1})))
    assert lines[-1].startswith("memory: not estimated for flow-nrg")
    assert "lora" not in "".join(lines[-2:])


def test_what_was_done_before_does_not_count_in_the_rate(settings, judge, interrupted_after) -> None:
    phases: dict[str, list[int]] = {}

    class Ears:
        def start_phase(self, name, total):
            self.now = phases.setdefault(name, [total, 0])

        def advance(self, n=1):
            self.now[1] += n

        def end_phase(self): ...
        def message(self, text): ...

    given = settings(changes={"steps": 6}, evaluations=1)
    with interrupted_after(3):
        align(given, Ears())
    assert phases["sampling (round 1)"] == [15, 15]
    assert phases["encoding"] == [15, 15]
    assert phases["training (round 1) to step 6"] == [6, 3]
    phases.clear()
    align(given, Ears())
    assert phases["training (round 1) to step 6"] == [4, 4]  # from the state of step 2
    assert phases.keys().isdisjoint({"sampling (round 1)", "encoding"})
    assert all(total == done for name, (total, done) in phases.items())


def test_a_run_that_does_not_fit_is_judged_by_what_its_engine_shares(settings, judge, monkeypatch) -> None:
    from types import SimpleNamespace

    from rewardbench.align.sharing import Sharing

    seen = []
    run = alignment.Alignment(settings())
    monkeypatch.setattr(alignment, "estimate", lambda family, recipe, sharing: seen.append(sharing))
    told = {"zero_optimization": {"stage": 3}}
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(deepspeed_config=told))
    engine = SimpleNamespace(distributed_type="DEEPSPEED", num_processes=8, state=state)
    monkeypatch.setattr(alignment, "check_fits", lambda needed, free: None)
    monkeypatch.setattr(alignment, "available_to", lambda network: None)
    run._refuse_what_does_not_fit(engine)
    assert seen == [Sharing(8, "deepspeed", 3)]
