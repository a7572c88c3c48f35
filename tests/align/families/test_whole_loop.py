"""``align()`` from prompts to a report on tiny pipelines of every family, judged by a plugin that really runs.

A pipeline's folder is written by diffusers, with random weights. Folder, prompts and judge are enough: clips are
sampled, scored, paired and learned from, and the plain pipeline makes with what was written what the trained network
makes in memory.
"""

from __future__ import annotations

import json
import math
import runpy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from rewardbench.align import alignment
from rewardbench.align.alignment import align
from rewardbench.align.families import VideoFamily
from rewardbench.align.families.base import ClipShape
from rewardbench.align.judging import Judge
from rewardbench.align.presets import recipe_for
from rewardbench.align.prompts import write_table
from rewardbench.align.samples import conditions, read_samples
from rewardbench.align.sampling import SamplingChoice, sample, seed_of
from rewardbench.align.settings import AlignSettings
from rewardbench.cli.app import main
from rewardbench.tables import read_table
from rewardbench.video import probe

pytestmark = pytest.mark.system

TINY, TINY_LTX, TINY_HUNYUAN = (
    runpy.run_path(str(Path(__file__).with_name(f"{name}.py"))) for name in ("tiny", "tiny_ltx", "tiny_hunyuanvideo")
)
PROMPTS = ("a cat runs over the snow", "a dog runs slowly", "a red ball", "the dog runs over a ball")
STEPS, PER_PROMPT, TRAINING_STEPS = 2, 2, 2
RECIPE: dict[str, Any] = {
    "steps": TRAINING_STEPS,
    "batch_size": 2,
    "samples_per_prompt": PER_PROMPT,
    "lora_rank": 4,
    "lora_alpha": 6,  # not the rank: a loader that takes one for the other shows
    "learning_rate": 1e-2,
}
TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}
"""Of the families' own round trips."""


@dataclass(frozen=True)
class Case:
    """One pipeline and how it is trained.

    Attributes:
        write: writes the pipeline's folder.
        clip: size of its clips.
        image: it makes video from images.
        recipe: what differs from ``RECIPE``.
    """

    write: Callable[[Path], Path]
    clip: ClipShape
    image: bool = False
    recipe: dict[str, Any] = field(default_factory=dict)

    @property
    def optimised(self) -> str:
        """A rule that applies: sharpness is measured against the first-frame image."""
        return "sharpness" if self.image else "flicker"

    @property
    def unscored(self) -> set[str]:
        """Rules that abstain: no caption states the colour of an outfit."""
        return {"outfit_colour"} if self.image else {"outfit_colour", "sharpness"}


def cogvideox(kind: str, version: str) -> Case:
    write = partial(TINY["tiny_cogvideox"], kind=kind, version=version)
    return Case(write, ClipShape(9, 32, 48, 16.0 if version == "1.5" else 8.0), image=kind == "i2v")


def wan21(kind: str, **recipe: Any) -> Case:
    write = partial(TINY["tiny_wan"], kind=kind)
    return Case(write, ClipShape(9, 32, 48, 16.0), image=kind == "i2v", recipe=recipe)


def ltx_video(kind: str) -> Case:
    write = partial(TINY_LTX["save_tiny_ltx"], image=kind == "i2v")
    return Case(write, ClipShape(9, 32, 32, 24.0), image=kind == "i2v")


def hunyuan(kind: str | None) -> Case:
    write = partial(TINY_HUNYUAN["save_tiny_hunyuanvideo"], kind=kind)
    return Case(write, ClipShape(9, 32, 48, 24.0), image=kind is not None)


CASES = {
    "cogvideox t2v": cogvideox("t2v", "2b"),
    "cogvideox i2v": cogvideox("i2v", "1.5"),
    "wan t2v": wan21("t2v"),
    "wan i2v": wan21("i2v"),
    "wan t2v full": wan21("t2v", tuning="full", reference="frozen_copy"),
    "wan i2v late": wan21("i2v", lora_from=1),
    "ltx t2v": ltx_video("t2v"),
    "ltx i2v": ltx_video("i2v"),
    "hunyuanvideo t2v": hunyuan(None),
    "hunyuanvideo i2v": hunyuan("token_replace"),
}


class Run:
    """A case's folder, prompts and settings in ``folder``, and the generators that ``align`` loads."""

    def __init__(self, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REWARDBENCH_CACHE", str(folder / "cache"))
        self.case, self.out, self.model = case, folder / "run", case.write(folder / "pipeline")
        self.learn = write_prompts(folder / "learn.csv", PROMPTS[:2], images=case.image)
        self.compare = write_prompts(folder / "compare.csv", PROMPTS[2:], images=case.image)
        self.loaded: list[VideoFamily] = []
        load = alignment.load_generator

        def keep(settings: AlignSettings) -> VideoFamily:
            self.loaded.append(load(settings))
            return self.loaded[-1]

        monkeypatch.setattr(alignment, "load_generator", keep)

    @property
    def settings(self) -> AlignSettings:
        return AlignSettings(
            recipe=recipe_for("gapo", None, RECIPE | self.case.recipe),
            judge=Judge("drawn-rules", {self.case.optimised: 1.0}),
            out=self.out,
            model=str(self.model),
            prompts=self.learn,
            evaluation_prompts=self.compare,
            sampling=SamplingChoice(steps=STEPS),
            evaluations=1,
            device="cpu",
            clip=self.case.clip,
        )

    @property
    def full(self) -> bool:
        return self.settings.recipe.tuning == "full"

    def pipeline(self, transformer: Any = None) -> Any:
        """The folder's pipeline, as it was before it learned; or with another network."""
        pipeline = DiffusionPipeline.from_pretrained(self.model)
        pipeline.set_progress_bar_config(disable=True)
        if transformer is not None:  # Wan's passes over one that from_pretrained is handed
            pipeline.transformer = transformer
        return pipeline

    def aligned_pipeline(self) -> Any:
        """As a user loads it: nothing of ours takes part."""
        pipeline = self.pipeline()
        if self.full:
            pipeline.transformer = type(pipeline.transformer).from_pretrained(self.out / "weights" / "transformer")
        else:
            pipeline.load_lora_weights(self.out / "weights")
        return pipeline

    def make(self, pipeline: Any) -> torch.Tensor:
        """A clip of the pipeline, (1, F, C, H, W), with its own sampler and its usual guidance."""
        arguments: dict[str, Any] = {"image": Image.open(self.compare.with_name("2.png"))} if self.case.image else {}
        clip = self.case.clip
        return pipeline(
            prompt=PROMPTS[2],
            height=clip.height,
            width=clip.width,
            num_frames=clip.frames,
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
            **arguments,
        ).frames


def write_prompts(table: Path, texts: tuple[str, ...], *, images: bool) -> Path:
    """A table of prompts; images are noise, not of any clip's size, and sharper than what random weights make."""
    rows = []
    for text in texts:
        row = {"prompt": text}
        if images:
            number = PROMPTS.index(text)
            pixels = np.random.default_rng(number).integers(0, 256, (50, 80, 3)).astype(np.uint8)
            row["image"] = f"{number}.png"
            Image.fromarray(pixels).save(table.with_name(row["image"]))
        rows.append(row)
    write_table(table, rows)
    return table


@pytest.mark.parametrize("name", CASES)
def test_whole_loop_ends_in_weights_that_the_plain_pipeline_computes_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(CASES[name], tmp_path, monkeypatch)
    result = align(run.settings)
    trained = run.loaded[0]
    assert_every_stage_did_its_work(run, trained)
    assert_changes_are_those_of_the_scores(run, result)
    assert_weights_learned(run, trained)
    assert_plain_pipeline_makes_the_same(run, trained)
    assert_report_shows_the_run(run, result)
    assert_card_loads_the_weights(run, trained, monkeypatch)
    assert_nothing_is_made_twice(run, result)
    assert_evaluation_alone_reads_the_weights(run, result)


def assert_every_stage_did_its_work(run: Run, trained: VideoFamily) -> None:
    clip = run.case.clip
    assert trained.clip == clip
    assert trained.needs_image == run.case.image
    sampled = read_samples(run.out / "round-1" / "base")
    assert len(sampled) == 2 * PER_PROMPT
    for s in [*sampled, *(s for side in ("base", "aligned") for s in read_samples(run.out / "evaluate" / side))]:
        info = probe(s.video)
        assert (info.frames, info.height, info.width, info.fps) == (clip.frames, clip.height, clip.width, clip.fps)
        assert s.latents is not None
        latent = load_file(s.latents)[s.clip_id]
        assert tuple(latent.shape) == trained.latent_shape
        assert bool(latent.isfinite().all())
        assert (s.prompt.image is not None) == run.case.image
    _, scores = read_table(run.out / "round-1" / "scores.csv")
    rewards = {row["clip_id"]: float(row[run.case.optimised]) for row in scores}
    assert rewards.keys() == {s.clip_id for s in sampled}
    _, pairs = read_table(run.out / "round-1-pairs.csv")
    assert pairs
    for row in pairs:
        won, lost = (rewards[Path(row[side]).stem] for side in ("video_a", "video_b"))
        assert won > lost
        assert float(row["gap"]) == won - lost
    log = [json.loads(line) for line in (run.out / "round-1" / "train" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == TRAINING_STEPS
    assert all(math.isfinite(line["loss"]) for line in log)


def assert_changes_are_those_of_the_scores(run: Run, result: dict[str, Any]) -> None:
    assert result == json.loads((run.out / "result.json").read_text())
    assert result["optimised"] == f"drawn-rules:{run.case.optimised}"
    changes = {key.removeprefix("drawn-rules:"): change for key, change in result["changes"].items()}
    assert {rule for rule, change in changes.items() if change is None} == run.case.unscored
    for rule, change in changes.items():
        if change is None:
            continue
        base, aligned = (
            np.array([float(row[rule]) for row in read_table(run.out / "evaluate" / f"{side}-scores.csv")[1]])
            for side in ("base", "aligned")
        )
        assert change["n"] == len(base) == 2
        assert change["difference"] == pytest.approx((aligned - base).mean(), abs=1e-12)
        numbers = [change["base"], change["aligned"], *change["difference_ci95"], *change["win_rate_ci95"]]
        assert all(math.isfinite(number) for number in numbers)
        assert 0.0 <= change["win_rate"] <= 1.0


def assert_weights_learned(run: Run, trained: VideoFamily) -> None:
    """Every B of a LoRA has left 0; a network trained whole differs from the folder's wherever it has an effect."""
    if run.full:
        written = load_file(run.out / "weights" / "transformer" / "diffusion_pytorch_model.safetensors")
        before = run.pipeline().transformer.state_dict()
        assert written.keys() == before.keys()
        moved = [key for key in written if not torch.equal(written[key], before[key])]
        assert len(moved) > 0.9 * len(before)
        return
    written = load_file(run.out / "weights" / "pytorch_lora_weights.safetensors")
    second = {key: tensor for key, tensor in written.items() if "lora_B" in key}
    adapted = [n for n, m in trained.transformer.named_modules() if hasattr(m, "lora_B") and len(m.lora_B)]
    assert len(second) == len(adapted) == len(written) // 2
    assert len(second) >= len(trained.adapter_targets)
    assert all(bool(tensor.isfinite().all()) for tensor in written.values())
    assert [key for key, tensor in second.items() if not bool(tensor.any())] == []


def assert_plain_pipeline_makes_the_same(run: Run, trained: VideoFamily) -> None:
    plain = run.aligned_pipeline()
    trained.transformer.eval()
    theirs = run.make(plain)
    mine = run.make(run.pipeline(trained.transformer))
    assert theirs.shape == (1, run.case.clip.frames, 3, run.case.clip.height, run.case.clip.width)
    torch.testing.assert_close(theirs, mine, **TOLERANCE)
    assert not torch.allclose(theirs, run.make(run.pipeline()), atol=1e-3)

    compared = read_samples(run.out / "evaluate" / "aligned")
    seed = seed_of(run.settings.recipe.seed, "evaluate") >> 32
    condition, empty = conditions(trained, [s.prompt for s in compared], seed)
    seeds = [seed_of(seed, "noise", s.prompt.prompt_id, s.number) for s in compared]
    filled = run.settings.sampling.filled(trained)
    again = sample(trained, condition, empty, seeds, filled, network=plain.transformer)
    for row, s in zip(again, compared, strict=True):
        torch.testing.assert_close(row, load_file(str(s.latents))[s.clip_id], rtol=1e-5, atol=1e-5)


def assert_report_shows_the_run(run: Run, result: dict[str, Any]) -> None:
    page = (run.out / "report.html").read_text(encoding="utf-8")
    assert result["optimised"] in page
    assert page.count("data:video/mp4;base64,") == 2 * len(result["clips"]) == 4
    assert all(text in page for text in PROMPTS[2:])


def assert_card_loads_the_weights(run: Run, trained: VideoFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's own lines, run beside the weights and the base model."""
    card = (run.out / "README.md").read_text(encoding="utf-8")
    assert f"pipeline_tag: {'image' if run.case.image else 'text'}-to-video" in card
    assert ("add_k_proj" in card) == (trained.name == "wan" and run.case.image and not run.full)
    lines = card.split("```python\n")[1].split("```")[0]
    beside = run.out.parent / "beside"
    beside.mkdir()
    for name, target in (("weights", run.out / "weights"), (run.model.name, run.model)):
        (beside / name).symlink_to(target)
    monkeypatch.chdir(beside)
    found: dict[str, Any] = {}
    exec(lines, found)
    loaded, kept = (
        {n.replace(".default_0.", ".default.").replace(".base_layer.", "."): p for n, p in network.named_parameters()}
        for network in (found["pipe"].transformer, trained.transformer)
    )
    assert kept.keys() <= loaded.keys()
    for name, parameter in loaded.items():
        if name in kept:
            torch.testing.assert_close(parameter.float(), kept[name], rtol=1e-2, atol=1e-6)
        elif "lora_B" in name:  # diffusers gives Wan's layers for image tokens an adapter that does nothing
            assert not bool(parameter.any()), name


def contents(path: Path) -> dict[str, torch.Tensor]:
    """Its tensors, or its bytes as one: headers of safetensors are in no fixed order."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return {"bytes": torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)}


def assert_nothing_is_made_twice(run: Run, result: dict[str, Any]) -> None:
    kept = [p for p in run.out.rglob("*") if p.suffix in (".mp4", ".safetensors")]
    before = {p: (contents(p), p.stat().st_mtime_ns) for p in kept}
    assert sum(p.suffix == ".mp4" for p in kept) == 2 * PER_PROMPT + 4
    assert align(run.settings) == result
    assert [p for p in run.out.rglob("*") if p.suffix in (".mp4", ".safetensors") and p not in before] == []
    for path, (content, written) in before.items():
        torch.testing.assert_close(contents(path), content, rtol=0.0, atol=0.0)
        assert path.stat().st_mtime_ns == written, path


def assert_evaluation_alone_reads_the_weights(run: Run, result: dict[str, Any]) -> None:
    """A process that has not trained samples the same clips."""
    folder = run.out / "evaluate"
    before = {s.clip_id: load_file(str(s.latents))[s.clip_id] for s in read_samples(folder / "aligned")}
    shutil.rmtree(folder / "aligned")
    for path in folder.glob("aligned*"):
        path.unlink()
    again = align(run.settings, stage="evaluate")
    for s in read_samples(folder / "aligned"):
        torch.testing.assert_close(load_file(str(s.latents))[s.clip_id], before[s.clip_id], rtol=1e-5, atol=1e-5)
    assert again["changes"].keys() == result["changes"].keys()


def test_command_aligns_a_folder_and_the_dry_run_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(CASES["cogvideox t2v"], tmp_path, monkeypatch)
    prompts = write_prompts(tmp_path / "prompts.csv", PROMPTS, images=False)
    line = ["align", "--plugin", "drawn-rules", "--dimension", "flicker", "--algorithm", "gapo", "--device", "cpu"]
    line += ["--model", str(run.model), "--prompts", str(prompts), "--out", str(run.out)]
    line += ["--sampling-steps", str(STEPS), "--evaluations", "1"]
    line += [text for name, value in RECIPE.items() for text in ("--set", f"{name}={value}")]

    assert main([*line, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"generator: {run.model}, clips of 9 frames, 48x32, 288 latent elements each" in said
    assert "to sample: 6 clips of 3 prompts to learn on, 2 clips of 1 prompts to compare on, 2 steps each" in said
    assert "to train: 2 steps of 2 examples, lora, gapo" in said
    assert not run.out.exists()

    assert main([*line, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["prompts"] == {"learned_on": 3, "compared_on": 1}
    assert result["generator"]["model"] == str(run.model)
    assert result["recipe"]["lora_alpha"] == RECIPE["lora_alpha"]
    assert math.isfinite(result["changes"]["drawn-rules:flicker"]["difference"])
    assert (run.out / "report.html").is_file()
    trained = run.make(run.aligned_pipeline())
    assert not torch.allclose(trained, run.make(run.pipeline()), atol=1e-3)
