"""Flow-NRG as a run on a tiny generator: what it records, how it goes on, and whose latent reward guides."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from rewardbench.align import guided, judging
from rewardbench.align.alignment import align
from rewardbench.align.guided import HEAD, GuidedAlignment
from rewardbench.align.judging import Judge
from rewardbench.align.latent_reward import LatentRewardModel
from rewardbench.align.latent_training import LatentRewardTrainer
from rewardbench.align.presets import recipe_for
from rewardbench.align.prompts import write_table
from rewardbench.align.samples import conditions
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.settings import AlignSettings
from rewardbench.align.training import read_log, states
from rewardbench.benchmark import load_benchmark
from rewardbench.errors import InputError
from rewardbench.tables import read_table
from rewardbench.video import content_hash
from rewardbench_plugin.card import Dimension
from tests.align.conftest import load_toy

SMALL = {
    "steps": 4, "batch_size": 4, "samples_per_prompt": 3, "learning_rate": 1e-2, "latent_depth": 1,
    "latent_width": 16, "guidance_scale": 5.0,
}  # fmt: skip
DIMENSIONS = (Dimension("a"), Dimension("b", higher_is_better=False), Dimension("c"), Dimension("d"))
"""``a`` is brightness, ``b`` its variation over the clip (less is better), ``c`` always the same, ``d`` not known of a
prompt's first clip."""

Make = Callable[..., AlignSettings]


def scored(settings, progress=None):
    """In the place of the scoring engine."""
    from rewardbench.align.families.base import ClipShape
    from rewardbench.align.latent_cache import read_clip

    rows = []
    for clip in settings.clips:
        frames = read_clip(clip.video, ClipShape(4, 32, 32, 8.0)) / 255.0
        first = clip.metadata["name"].endswith("-0")
        values = {"a": frames.mean(), "b": frames.std(), "c": 0.5, "d": None if first else 1.0 - frames.mean()}
        rows.append({"video": clip.video, "scores": {d: values[d] for d in settings.dimensions}, "error": None})
    return rows


@pytest.fixture(scope="module", autouse=True)
def judge() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "score_clips", scored)
        patch.setattr(judging, "card_of", lambda *_: SimpleNamespace(dimensions=DIMENSIONS))
        yield


@pytest.fixture(scope="module")
def make(tmp_path_factory, tiny_toy: Path, toy_prompts) -> Make:
    folder = tmp_path_factory.mktemp("guided")
    rows = []
    for i, p in enumerate(toy_prompts):
        copy = shutil.copy(p.image, folder)
        rows.append({"prompt": f"{p.text} {i}", "image": Path(copy).name})
    write_table(folder / "prompts.csv", rows)

    def settings(out: Path, mix: dict[str, float] | None = None, changes: dict | None = None, **given) -> AlignSettings:
        plain = {
            "recipe": recipe_for("flow-nrg", None, SMALL | (changes or {})),
            "judge": Judge("random", {"a": 1.0} if mix is None else mix),
            "out": out,
            "model": str(tiny_toy),
            "prompts": folder / "prompts.csv",
            "sampling": SamplingChoice(steps=2, batch_size=8),
            "save_every": 2,
            "log_every": 1,
            "device": "cpu",
        }
        return AlignSettings(**(plain | given))

    return settings


@pytest.fixture(scope="module")
def first(tmp_path_factory, make: Make, judge) -> AlignSettings:
    """A whole run, whose files no test changes."""
    given = make(tmp_path_factory.mktemp("first") / "run")
    align(given)
    return given


@pytest.fixture
def head(first: AlignSettings) -> str:
    return str(first.out / "weights" / HEAD)


def latents(out: Path, side: str) -> dict[str, torch.Tensor]:
    return {k: v for p in sorted((out / "evaluate" / side).glob("*.safetensors")) for k, v in load_file(p).items()}


def result_of(settings: AlignSettings) -> dict:
    return json.loads((settings.out / "result.json").read_text())


def rewards_of(out: Path) -> dict[str, dict[str, float]]:
    """Dimension to clip to reward, higher is better, read off the judge's table."""
    _, rows = read_table(out / "round-1" / "scores.csv")
    signs = {d.name: 1 if d.higher_is_better else -1 for d in DIMENSIONS}
    return {d: {r["clip_id"]: s * float(r[d] or "nan") for r in rows} for d, s in signs.items()}


# ---------------------------------------------------------------------- what a run records


def test_training_leaves_a_log_states_and_curves_in_the_result(first) -> None:
    train = first.out / "round-1" / "train"
    lines = read_log(train)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for line in lines:
        assert {"data", "forward", "backward", "optimiser"} == line["seconds"].keys()
        assert line["learning_rate"] == 1e-2
    assert [p.name for p in states(train)] == ["step-00000002", "step-00000004"]
    assert result_of(first)["training"] == [lines]
    page = (first.out / "report.html").read_text(encoding="utf-8")
    assert "Seconds a step, by phase" in page
    assert "Gradient norm" in page


def test_the_head_learns_every_dimension_of_the_judge(first, head, tiny_toy) -> None:
    model = LatentRewardModel.load(Path(head), load_toy(tiny_toy))
    assert model.dimensions == ("a", "b", "c", "d")


def test_pairs_are_counted_by_dimension_in_the_result(first, head) -> None:
    rewards = rewards_of(first.out)
    clips = sorted(rewards["a"])
    same = [(x, y) for x, y in itertools.combinations(clips, 2) if x.rpartition("-")[0] == y.rpartition("-")[0]]
    expected = {d: sum(v[x] < v[y] or v[x] > v[y] for x, y in same) for d, v in rewards.items()}
    assert expected["c"] == 0
    assert 0 < expected["d"] < expected["a"]
    facts = result_of(first)["guidance"]
    assert facts["pairs"] == expected
    assert facts["sha256"] == content_hash(head)
    assert facts["weights"] == {"a": 1.0}


def test_the_pairs_file_says_which_clip_each_dimension_prefers(tmp_path, make) -> None:
    given = make(tmp_path / "run", {"a": 1.0, "b": 3.0})
    for stage in ("sample", "score", "pair"):
        align(given, stage=stage)
    rewards = rewards_of(given.out)
    benchmark = load_benchmark(given.out / "round-1-pairs.csv")
    assert benchmark.labels == ("a", "b", "c", "d")
    assert len(benchmark.comparisons) == 15  # 5 prompts of 3 clips
    for c in benchmark.comparisons:
        x, y = (Path(benchmark.clips[i].video).stem for i in (c.clip_a, c.clip_b))
        for d, values in rewards.items():
            gap = values[x] - values[y]
            assert c.labels.get(d) == (None if math.isnan(gap) else (gap > 0) - (gap < 0)), d
        mixed = sum(w * (rewards[d][x] - rewards[d][y]) for d, w in (("a", 0.25), ("b", 0.75)))
        assert float(c.row["gap"]) == pytest.approx(mixed, abs=1e-12)
        assert mixed >= 0


def test_interrupted_in_training_it_ends_as_if_it_never_was(first, head, tmp_path, make, interrupted_after) -> None:
    given = make(tmp_path / "parts")
    with interrupted_after(3, LatentRewardTrainer):
        align(given)
    assert not (given.out / "weights").exists()
    align(given, stage="train")
    assert content_hash(given.out / "weights" / HEAD) == content_hash(head)
    strip = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(s.out / "round-1" / "train")]
        for s in (first, given)
    ]
    assert strip[0] == strip[1]


def test_a_second_run_samples_and_trains_nothing(first, monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("it was done already")

    monkeypatch.setattr(LatentRewardTrainer, "train_step", refuse)
    monkeypatch.setattr(guided, "reward_gradient", refuse)
    before = result_of(first)
    assert align(first) == before


# ---------------------------------------------------------------------- weights at inference


def moved(settings: AlignSettings, toy_prompts) -> torch.Tensor:
    """What guidance changes of a velocity."""
    run = GuidedAlignment(settings)
    family = run.family
    condition, _ = conditions(family, toy_prompts[:2], 0)
    generator = torch.Generator().manual_seed(3)
    x, velocity = (torch.randn(2, *family.latent_shape, generator=generator) for _ in range(2))
    hook, _ = run._hook()
    return hook(velocity, x, family.schedule.at(torch.tensor([0.4, 0.6])), condition) - velocity


def test_a_trained_head_guides_by_the_weights_of_the_run(head, tmp_path, make, toy_prompts) -> None:
    mixes = {"a": {"a": 1.0}, "b": {"b": 1.0}, "both": {"d": 0.0, "b": 2.0, "a": 0.5}}
    change = {name: moved(make(tmp_path / name, mix, latent_reward=head), toy_prompts) for name, mix in mixes.items()}
    assert float(change["a"].abs().max()) > 1e-4
    assert float(change["b"].abs().max()) > 1e-4
    torch.testing.assert_close(change["both"], 0.5 * change["a"] + 2.0 * change["b"], rtol=1e-4, atol=1e-6)


def test_a_subset_of_the_heads_dimensions_guides_a_run_that_trains_nothing(first, head, tmp_path, make) -> None:
    given = make(tmp_path / "again", {"b": 3.0}, latent_reward=head)
    result = align(given)
    assert not (given.out / "round-1").exists()
    assert result["guidance"]["weights"] == {"b": 3.0}
    assert result["guidance"]["latent_reward"] == head
    assert result["guidance"]["pairs"] == result_of(first)["guidance"]["pairs"]
    base, mine, theirs = latents(given.out, "base"), latents(given.out, "aligned"), latents(first.out, "aligned")
    assert all(torch.equal(base[k], v) for k, v in latents(first.out, "base").items())
    assert all(not torch.equal(base[k], mine[k]) for k in base)
    assert all(not torch.equal(theirs[k], mine[k]) for k in theirs)


def test_a_dimension_that_the_head_does_not_have_is_refused_before_anything_is_sampled(
    head, tmp_path, make, monkeypatch
) -> None:
    more = (*DIMENSIONS, Dimension("e"))
    monkeypatch.setattr(judging, "card_of", lambda *_: SimpleNamespace(dimensions=more))
    given = make(tmp_path / "run", {"a": 1.0, "e": 1.0}, latent_reward=head)
    with pytest.raises(InputError, match=rf"^the latent reward {head} has no dimension 'e'; there are a, b, c, d$"):
        align(given)
    assert not (given.out / "evaluate").exists()


def test_a_mix_that_no_pair_decides_is_refused_and_a_part_of_it_is_said(tmp_path, make) -> None:
    with pytest.raises(InputError, match="no prompt gives a pair: its clips score equal, .* by random's c$"):
        align(make(tmp_path / "none", {"c": 1.0, "a": 0.0}))
    said: list[str] = []
    ears = SimpleNamespace(
        start_phase=lambda *_: None, advance=lambda *_: None, end_phase=lambda: None, message=said.append
    )
    align(make(tmp_path / "part", {"c": 1.0, "a": 1.0}), ears, stage="pair")
    assert [text for text in said if text.startswith("no pair decides c: ")]


# ---------------------------------------------------------------------- whose clips they are


def copied(settings: AlignSettings, out: Path) -> Path:
    """The folder of a run, as if it were not known whose it is."""
    shutil.copytree(settings.out, out)
    (out / "align.json").unlink()
    return out


def test_clips_guided_by_another_head_are_not_taken_for_this_ones(first, head, tmp_path, make, tiny_toy) -> None:
    model = LatentRewardModel.load(Path(head), load_toy(tiny_toy))
    with torch.no_grad():
        model.read.weight.mul_(2.0)
    other = tmp_path / "other.safetensors"
    model.save(other)
    out = copied(first, tmp_path / "copy")
    with pytest.raises(InputError, match=r"holds clips of another run \(different: latent_reward\)"):
        align(make(out, latent_reward=str(other)), stage="evaluate")


def test_a_latent_reward_that_is_not_there_claims_no_folder(tmp_path, make) -> None:
    given = make(tmp_path / "run", latent_reward="nobody")
    for stage in (None, "sample", "evaluate"):
        with pytest.raises(InputError, match="nobody"):
            align(given, stage=stage)
    assert not given.out.exists()


def test_clips_guided_by_other_weights_are_not_taken_for_these(first, tmp_path, make) -> None:
    out = copied(first, tmp_path / "copy")
    with pytest.raises(InputError, match=r"clips of another run \(different: guidance_weights\.b null, now 1\.0\)"):
        align(make(out, {"a": 1.0, "b": 1.0}), stage="evaluate")


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"guidance_scale": 7.0}, "scale"), ({"guidance_clamp": 1.0}, "clamp"), ({"guidance_norm_cap": 1.0}, "norm_cap")],
    ids=str,
)
def test_clips_guided_otherwise_are_not_taken_for_these(first, tmp_path, make, changes, name) -> None:
    out = copied(first, tmp_path / "copy")
    with pytest.raises(InputError, match=rf"different: guidance_{name}, recipe\.guidance_{name} \S+, now \S+\)"):
        align(make(out, changes=changes), stage="evaluate")


def test_the_same_head_elsewhere_is_the_same_head(first, head, tmp_path, make) -> None:
    """The clips' identity is the file's content, not its place; base clips depend on neither."""
    elsewhere = shutil.copy(head, tmp_path / "elsewhere.safetensors")
    one, two = GuidedAlignment(first), GuidedAlignment(make(tmp_path / "two", latent_reward=str(elsewhere)))
    assert one._guided_by() == two._guided_by()
    assert one._guided_by()["latent_reward"] == content_hash(head)
    base, aligned = (
        json.loads((first.out / "evaluate" / side / "samples.json").read_text(encoding="utf-8"))
        for side in ("base", "aligned")
    )
    assert set(aligned) - set(base) == set(one._guided_by())
    assert base["recipe"] is None


def test_a_registered_latent_reward_guides_and_is_known_by_its_name(tmp_path, make, toy_prompts, monkeypatch) -> None:
    """r = 3·Σx has the gradient 3 everywhere: v - w·t/(1 - t)·3 on a rectified flow."""

    class Brighter:
        card = SimpleNamespace(dimension_names=("x", "a"))

        def reward(self, latents, t, text):
            total = latents.flatten(1).sum(1)
            return torch.stack([100.0 * total, 3.0 * total], 1)

    monkeypatch.setattr(guided, "latent_reward_class", {"brighter": Brighter}.__getitem__)
    given = make(tmp_path / "run", {"a": 1.0}, latent_reward="brighter")
    t = torch.tensor([0.4, 0.6]).reshape(-1, 1, 1, 1, 1)
    expected = -5.0 * 3.0 * t / (1 - t)
    found = moved(given, toy_prompts)
    torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-5, atol=1e-5)
    assert GuidedAlignment(given)._guided_by()["latent_reward"] == "brighter"
    with pytest.raises(InputError, match=r"^the latent reward brighter has no dimension 'b'; there are x, a$"):
        moved(make(tmp_path / "other", {"b": 1.0}, latent_reward="brighter"), toy_prompts)


def test_without_a_latent_reward_nothing_can_be_evaluated(tmp_path, make) -> None:
    given = make(tmp_path / "run")
    align(given, stage="sample")
    with pytest.raises(InputError, match="holds no latent reward yet; run the stages before evaluate"):
        align(given, stage="evaluate")


def test_foreign_pairs_are_refused(first, tmp_path, make) -> None:
    given = dataclasses.replace(make(tmp_path / "run"), pairs=first.out / "round-1-pairs.csv", label="a")
    with pytest.raises(InputError, match="learns from clips that it samples itself; leave --pairs"):
        align(given)
