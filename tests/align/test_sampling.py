"""Sampling: exact on a case with a known flow, the same clip whatever the batch, and resumed folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rewardbench.align.noise import FlowSchedule, scaled_linear_table
from rewardbench.align.samples import read_samples, sample_clips
from rewardbench.align.sampling import SamplingSettings, noise, sample, seed_of
from rewardbench.errors import InputError
from tests.align.conftest import load_toy


class Gaussian:
    """A generator whose data are N(mean, 0): the best velocity is known, and one step is exact."""

    latent_shape = (3,)
    transformer = None

    def __init__(self, schedule, mean: float) -> None:
        self.schedule, self.mean = schedule, mean

    def prepare_latents(self, x, condition):
        return x

    def predict(self, network, x_t, time, condition):
        alpha, sigma = time.alpha[:, None], time.sigma[:, None]
        x0 = torch.full_like(x_t, self.mean)
        eps = (x_t - alpha * x0) / sigma
        return eps - x0 if self.schedule.kind == "flow" else alpha * eps - sigma * x0


@pytest.mark.parametrize("schedule", [FlowSchedule(), FlowSchedule(shift=5.0), scaled_linear_table()], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_true_velocity_leads_to_the_data(schedule, steps) -> None:
    family = Gaussian(schedule, 0.75)
    found = sample(family, {"text": torch.zeros(2, 1)}, {}, [1, 2], SamplingSettings(steps=steps))
    torch.testing.assert_close(found, torch.full((2, 3), 0.75), rtol=1e-4, atol=1e-4)


def test_guidance_goes_beyond_the_captioned_velocity(tiny_toy, toy_prompts) -> None:
    """One step from noise x: x - (u + g·(c - u)); from the two plain results it follows without asking the network."""
    from rewardbench.align.samples import conditions

    family = load_toy(tiny_toy)
    condition, empty = conditions(family, toy_prompts[:2], 0)
    one = {g: sample(family, condition, empty, [5, 6], SamplingSettings(1, g)) for g in (0.0, 1.0, 3.0)}
    torch.testing.assert_close(one[3.0], one[0.0] + 3.0 * (one[1.0] - one[0.0]), rtol=1e-4, atol=1e-5)
    assert float((one[1.0] - one[0.0]).abs().max()) > 1e-3


def test_noise_follows_from_its_own_seed_alone() -> None:
    together = noise((2, 3), [4, 9])
    assert torch.equal(together[1:], noise((2, 3), [9]))
    assert not torch.equal(together[0], together[1])


def test_seeds_depend_on_every_part() -> None:
    assert len({seed_of(1, "a", 2), seed_of(1, "a", 3), seed_of(1, "b", 2), seed_of(2, "a", 2), seed_of(12, "a")}) == 5
    assert seed_of(1, "a", 2) == seed_of(1, "a", 2)


def arguments(folder: Path, **changes):
    given = {
        "per_prompt": 2,
        "settings": SamplingSettings(steps=2, batch_size=3),
        "seed": 0,
        "generator": "tiny",
        "identity": {},
    }
    return {"folder": folder, **given, **changes}


def latents(samples) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for path in sorted({s.latents for s in samples}):
        found.update(load_file(path))
    return found


def test_a_folder_that_was_stopped_goes_on_and_ends_alike(tmp_path, tiny_toy, toy_prompts) -> None:
    family = load_toy(tiny_toy)
    whole = sample_clips(family, toy_prompts, **arguments(tmp_path / "whole"))
    sample_clips(family, toy_prompts, **arguments(tmp_path / "parts"))
    files = sorted((tmp_path / "parts").glob("latents-*"))
    kept = files[0].stat().st_mtime_ns
    for path in files[1:]:
        path.unlink()
    (tmp_path / "parts.csv").unlink()
    again = sample_clips(family, toy_prompts, **arguments(tmp_path / "parts"))
    assert files[0].stat().st_mtime_ns == kept
    a, b = latents(whole), latents(again)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert (tmp_path / "whole.csv").read_text().replace("whole/", "parts/") == (tmp_path / "parts.csv").read_text()


def test_parts_of_several_machines_make_one_folder(tmp_path, tiny_toy, toy_prompts) -> None:
    family = load_toy(tiny_toy)
    sample_clips(family, toy_prompts, **arguments(tmp_path / "a", part=(0, 2)))
    assert not (tmp_path / "a.csv").exists()
    found = sample_clips(family, toy_prompts, **arguments(tmp_path / "a", part=(1, 2)))
    assert (tmp_path / "a.csv").exists()
    whole = sample_clips(family, toy_prompts, **arguments(tmp_path / "b"))
    a, b = latents(found), latents(whole)
    assert all(torch.equal(a[k], b[k]) for k in b)


def test_a_clip_does_not_depend_on_its_batch_but_for_rounding(tmp_path, tiny_toy, toy_prompts) -> None:
    family = load_toy(tiny_toy)
    a = latents(sample_clips(family, toy_prompts, **arguments(tmp_path / "a")))
    b = latents(
        sample_clips(family, toy_prompts, **arguments(tmp_path / "b", settings=SamplingSettings(steps=2, batch_size=1)))
    )
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 1}, "seed"),
        ({"settings": SamplingSettings(steps=3, batch_size=3)}, r"sampling\.steps 2, now 3"),
        ({"identity": {"model": 1}}, "model"),
    ],
)
def test_a_folder_of_other_clips_is_refused(tmp_path, tiny_toy, toy_prompts, changes, what) -> None:
    family = load_toy(tiny_toy)
    sample_clips(family, toy_prompts, **arguments(tmp_path / "a"))
    with pytest.raises(InputError, match=rf"clips of another run \(different: {what}\); choose another --out"):
        sample_clips(family, toy_prompts, **arguments(tmp_path / "a", **changes))


def test_a_finished_folder_reads_back(toy_samples) -> None:
    found = read_samples(Path(toy_samples[0].video).parents[1])
    assert [dataclasses.replace(s, prompt=t.prompt) for s, t in zip(found, toy_samples, strict=True)] == list(
        toy_samples
    )
    assert [s.prompt.text for s in found] == [s.prompt.text for s in toy_samples]
