"""Flow-NRG as a run: the generator stays as it is; a latent reward, trained on its scored clips, guides sampling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardbench.align.alignment import Alignment
from rewardbench.align.comparison import compare
from rewardbench.align.families.base import Condition
from rewardbench.align.guidance import guided_velocity
from rewardbench.align.hooks import latent_reward_class
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.latent_reward import LatentRewardModel, latent_pairs, reward_gradient, train_latent_reward
from rewardbench.align.noise import Time
from rewardbench.align.record import write_result
from rewardbench.align.sampling import VelocityHook
from rewardbench.align.watching import read_so_far
from rewardbench.errors import InputError

HEAD = "latent-reward.safetensors"


class GuidedAlignment(Alignment):
    """As :class:`Alignment`; ``weights/`` holds the latent reward."""

    def run(self, stage: str | None = None) -> dict[str, Any]:
        if self.process.num_processes > 1:
            raise InputError("flow-nrg trains a small head and runs in one process")
        self.family.transformer.requires_grad_(False).eval()
        return super().run(stage)

    def _learn(self, stage: str | None) -> None:
        if (self.out / "weights" / HEAD).exists() or self.settings.latent_reward is not None:
            return
        folder = self.out / "round-1"
        folder.mkdir(exist_ok=True)
        samples = self._sample_round(folder, 0)
        if stage == "sample":
            return
        judge = self.settings.judge
        scores = self._score(samples, judge, self.facts, folder / "scores.csv")
        if stage == "score":
            return
        rewards = {d: {c: self.facts.dimensions[d] * v for c, v in scores[d].items()} for d in judge.mix}
        pairs = latent_pairs(samples, rewards, min_gap=self.settings.min_gap)
        if not pairs:
            raise InputError(f"no prompt gives a pair: all clips scored equal by {judge.label}")
        if stage == "pair":
            return
        cache = LatentCache(folder / "cache", self.family, samples, self.recipe.seed)
        self.progress.start_phase("encoding", len(samples))
        cache.fill(advance=self.progress.advance)
        if stage == "encode":
            return
        cache.open()
        torch.manual_seed(self.recipe.seed)
        model = LatentRewardModel(
            self.family,
            list(judge.mix),
            depth=self.recipe.latent_depth,
            width=self.recipe.latent_width,
            sees_time=not self.recipe.latent_clean,
        ).to(next(self.family.transformer.parameters()).device)
        self.progress.start_phase("training the latent reward", self.recipe.steps)
        lines = train_latent_reward(model, pairs, cache, self.recipe, advance=self.progress.advance)
        self.progress.message(
            f"latent reward: {len(pairs)} pairs, accuracy of its last batches {lines[-1]['accuracy']:.3f}"
        )
        (self.out / "weights").mkdir(exist_ok=True)
        model.save(self.out / "weights" / HEAD)

    def evaluate(self) -> dict[str, Any]:
        hook, facts = self._hook()
        base = self._look(0, self.evaluation, self.out / "evaluate" / "base")
        guided = self._look(self.recipe.steps, self.evaluation, self.out / "evaluate" / "aligned", hook=hook)
        changes = {}
        for name, before in base["scores"].items():
            change = compare(before, guided["scores"][name], seed=self.recipe.seed)
            changes[name] = None if change is None else change.as_dict()
        alarm = read_so_far(self.out, self.settings)
        return write_result(self, changes, base["samples"], guided["samples"], alarm, extra={"guidance": facts})

    def _hook(self) -> tuple[VelocityHook, dict[str, Any]]:
        r, weights = self.recipe, self.settings.judge.mix
        given = self.settings.latent_reward
        facts = {
            "scale": r.guidance_scale,
            "clamp": r.guidance_clamp,
            "norm_cap": r.guidance_norm_cap,
            "weights": dict(weights),
            "latent_reward": given or HEAD,
        }
        if given is not None and not Path(given).exists():
            ask = _third_party(given, weights)
        else:
            path = Path(given) if given is not None else self.out / "weights" / HEAD
            model = LatentRewardModel.load(path, self.family).to(next(self.family.transformer.parameters()).device)
            model.requires_grad_(False)

            def ask(x_t: Tensor, time: Time, condition: Condition) -> Tensor:
                return reward_gradient(model, x_t, time, condition, weights)

        def hook(velocity: Tensor, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
            if bool((time.alpha <= 0).all()):
                return velocity
            gradient = ask(x_t, time, condition)
            return guided_velocity(
                velocity, time, gradient, r.guidance_scale, clamp=r.guidance_clamp, norm_cap=r.guidance_norm_cap
            )

        return hook, facts


def _third_party(name: str, weights: Mapping[str, float]) -> Any:
    """A latent reward of another package, as ``ask(x_t, time, condition)``."""
    reward = latent_reward_class(name)()
    names = reward.card.dimension_names
    unknown = [d for d in weights if d not in names]
    if unknown:
        raise InputError(f"the latent reward {name} has no dimension {unknown[0]!r}; there are {', '.join(names)}")

    def ask(x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().float().requires_grad_()
            values = reward.reward(x, time.t, condition)
            total = sum(w * values[:, names.index(d)].sum() for d, w in weights.items())
            (gradient,) = torch.autograd.grad(total, x)
        return gradient

    return ask
