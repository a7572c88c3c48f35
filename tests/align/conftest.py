"""A generator of a few thousand weights, clips it made, and pairs of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from rewardbench.align import judging
from rewardbench.align.adapters import attach
from rewardbench.align.families.toy import ToyFamily
from rewardbench.align.judging import Judge
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.pairs import PairSet, best_against_worst, every_clip
from rewardbench.align.presets import recipe_for
from rewardbench.align.prompts import Prompt, write_table
from rewardbench.align.recipe import Recipe, check_recipe
from rewardbench.align.samples import sample_clips
from rewardbench.align.sampling import SamplingChoice, SamplingSettings
from rewardbench.align.settings import AlignSettings
from rewardbench.align.toy.checkpoint import Toy
from rewardbench.align.toy.codec import BLOCK, BlockCodec
from rewardbench.align.toy.network import ToyTransformer
from rewardbench.align.training import Trainer

WORDS = ("a", "girl", "waves", "runs", "red")
CHANNELS = 8


def write_tiny_toy(folder: Path, prediction: str = "flow") -> Path:
    """A toy checkpoint with random weights: 8 channels, 4 frames of 32x32 pixels, two blocks of width 32."""
    torch.manual_seed(7)
    network = ToyTransformer(
        channels=CHANNELS, grid=(2, 4, 4), vocabulary=len(WORDS) + 2, width=32, depth=2, heads=2, prediction=prediction
    )
    with torch.no_grad():  # the last layers start at 0; a network that says nothing would prove nothing
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    basis, _ = torch.linalg.qr(torch.randn(BLOCK, CHANNELS))
    Toy(network, BlockCodec(torch.zeros(BLOCK), basis, torch.full((CHANNELS,), 2.0)), WORDS).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_toy(tmp_path_factory.mktemp("toy") / "flow")


@pytest.fixture(scope="session")
def tiny_toy_v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_toy(tmp_path_factory.mktemp("toy") / "v", "v")


def load_toy(folder: Path) -> ToyFamily:
    return ToyFamily.load(str(folder), device="cpu", dtype=torch.float32, clip=None, options={})


@pytest.fixture(scope="session")
def toy_prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    prompts = []
    for i in range(6):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(path)
        prompts.append(Prompt(f"p{i}", ["a girl waves", "a red girl runs"][i % 2], str(path)))
    return prompts


@pytest.fixture
def prompt_table(tmp_path: Path, toy_prompts: list[Prompt]) -> Path:
    """A prompt table whose captions differ, its images beside it."""
    rows = []
    (tmp_path / "images").mkdir()
    for i, p in enumerate(toy_prompts):
        copy = tmp_path / "images" / Path(p.image).name
        copy.write_bytes(Path(p.image).read_bytes())
        rows.append({"prompt": f"{p.text} {i}", "image": f"images/{copy.name}"})
    write_table(tmp_path / "prompts.csv", rows)
    return tmp_path / "prompts.csv"


@pytest.fixture(scope="session")
def toy_samples(tmp_path_factory: pytest.TempPathFactory, tiny_toy: Path, toy_prompts: list[Prompt]):
    family = load_toy(tiny_toy)
    return sample_clips(
        family,
        toy_prompts,
        tmp_path_factory.mktemp("samples") / "base",
        per_prompt=3,
        settings=SamplingSettings(steps=2, batch_size=5),
        seed=0,
        generator="tiny",
        identity={},
    )


@pytest.fixture(scope="session")
def toy_rewards(toy_samples) -> dict[str, float]:
    """Rewards in [0, 1] that follow from nothing but the clip's place."""
    rng = np.random.default_rng(3)
    return {s.clip_id: float(rng.random()) for s in toy_samples}


@pytest.fixture(scope="session")
def toy_pairs(toy_samples, toy_rewards) -> PairSet:
    return best_against_worst(toy_samples, toy_rewards, "judge", losers=2)


@pytest.fixture
def make_trainer(tmp_path: Path, tiny_toy: Path, toy_samples, toy_pairs: PairSet, toy_rewards):
    """A trainer in a folder of its own, on a fresh network: ``make_trainer(folder="a", beta=10.0, …)``."""

    def make(folder: str = "run", *, source: Path | None = None, save_every: int = 100, **changes) -> Trainer:
        settings = {
            "algorithm": "dpo",
            "batch_size": 4,
            "steps": 6,
            "lora_rank": 4,
            "lora_alpha": 8,
            "learning_rate": 1e-2,
            "beta": 50.0,
        }
        recipe = replace(Recipe(), **(settings | changes))
        check_recipe(recipe)
        AcceleratorState._reset_state()  # which remembers the precision of the trainer before
        family = load_toy(source or tiny_toy)
        attach(family, recipe)
        pairs = toy_pairs if recipe.algorithm != "flow-rwr" else every_clip(toy_samples, toy_rewards, "judge")
        from rewardbench.align.objective import pair_weights

        weights = pair_weights(pairs.pairs, recipe, (0.0, 1.0))
        cache = LatentCache(tmp_path / f"cache-{recipe.algorithm}", family, list(pairs.clips.values()), seed=0)
        cache.fill()
        cache.open()
        return Trainer(
            family, recipe, pairs.pairs, weights, cache, tmp_path / folder, save_every=save_every, log_every=1
        )

    return make


SMALL = {"steps": 4, "batch_size": 4, "lora_rank": 4, "lora_alpha": 4, "beta": 50.0, "samples_per_prompt": 3}


@pytest.fixture
def judge(monkeypatch):
    """In the place of the scoring engine: the `random` plugin's score is the clip's mean brightness, or what is set."""
    calls: list[int] = []

    def rows(settings, progress=None):
        from rewardbench.align.families.base import ClipShape
        from rewardbench.align.latent_cache import read_clip

        calls.append(len(settings.clips))
        rows.devices.append(settings.device)
        found = []
        for clip in settings.clips:
            value = rows.rule(clip, read_clip(clip.video, ClipShape(4, 32, 32, 8.0)).mean() / 255.0)
            error = "the clip is bad" if value is None else None
            scores = dict.fromkeys(settings.dimensions, None if value is None or math.isnan(value) else value)
            found.append({"video": clip.video, "scores": {} if error else scores, "raw": {}, "error": error})
        return found

    rows.rule = lambda clip, brightness: float(brightness)
    rows.calls, rows.devices = calls, []
    monkeypatch.setattr(judging, "score_clips", rows)
    return rows


@pytest.fixture
def interrupted_after(monkeypatch):
    """``with interrupted_after(n):`` the training inside ends by Ctrl-C after n steps; it has to."""

    @contextlib.contextmanager
    def stopping(steps: int, trainer: type = Trainer) -> Iterator[None]:
        plain, left = trainer.train_step, [steps]

        def step(self):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return plain(self)

        with monkeypatch.context() as patch:
            patch.setattr(trainer, "train_step", step)
            with pytest.raises(KeyboardInterrupt):
                yield

    return stopping


@pytest.fixture
def settings(tmp_path: Path, tiny_toy: Path, prompt_table: Path):
    def make(out: str = "run", algorithm: str = "gapo", changes: dict | None = None, **given) -> AlignSettings:
        plain = {
            "recipe": recipe_for(algorithm, None, SMALL | (changes or {})),
            "judge": Judge("random", {"overall": 1.0}),
            "out": tmp_path / out,
            "model": str(tiny_toy),
            "prompts": prompt_table,
            "sampling": SamplingChoice(steps=2, batch_size=8),
            "evaluations": 2,
            "watch_count": 2,
            "save_every": 2,
            "log_every": 1,
            "device": "cpu",
        }
        return AlignSettings(**(plain | given))

    return make
