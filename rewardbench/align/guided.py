"""Flow-NRG as a run: the generator stays as it is; a latent reward, trained on its scored clips, guides sampling.

The latent reward learns every dimension of its judge. Which of them guide, and how much each weighs, is said by the mix
of the run that samples: another run may weigh the same head otherwise (``latent_reward`` of its settings).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardbench.align.alignment import Alignment
from rewardbench.align.disk import writing
from rewardbench.align.families.base import Condition
from rewardbench.align.guidance import guided_velocity
from rewardbench.align.hooks import latent_reward_class
from rewardbench.align.judging import reward_of
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.latent_reward import (
    LatentPair,
    LatentRewardModel,
    check_weights,
    decided_pairs,
    latent_pairs,
    reward_gradient,
)
from rewardbench.align.latent_training import LatentRewardTrainer
from rewardbench.align.noise import Time
from rewardbench.align.prompts import write_table
from rewardbench.align.record import write_pair_facts, write_result
from rewardbench.align.samples import Sample
from rewardbench.align.sampling import VelocityHook
from rewardbench.align.training import read_log
from rewardbench.errors import InputError
from rewardbench.video import content_hash

HEAD = "latent-reward.safetensors"


class GuidedAlignment(Alignment):
    """As :class:`Alignment`; ``weights/`` holds the latent reward."""

    def run(self, stage: str | None = None) -> dict[str, Any]:
        if self.process.num_processes > 1:
            raise InputError("flow-nrg trains a small head and runs in one process")
        self.family.transformer.requires_grad_(False).eval()
        return super().run(stage)

    def _prepare_to_learn(self, stage: str | None) -> None:
        """The generator stays as it is; a latent reward that is named has to be there."""
        if self.settings.latent_reward is not None:
            self._hook()

    def _refuse_what_has_not_learned(self, stage: str | None) -> None:
        if self.settings.latent_reward is None or stage == "report":
            super()._refuse_what_has_not_learned(stage)
        else:  # sampling with it is all there is to do
            self._hook()

    def _learn(self, stage: str | None) -> None:
        if (self.out / "weights" / HEAD).exists() or self.settings.latent_reward is not None:
            return
        folder = self.out / "round-1"
        folder.mkdir(exist_ok=True)
        samples = self._sample_round(folder, 0)
        if stage == "sample":
            return
        scores = self.clips.score(samples, self.settings.judge, self.facts, folder / "scores.csv")
        if stage == "score":
            return
        pairs = self._latent_pairs(folder, samples, scores)
        if stage == "pair":
            return
        cache = LatentCache(folder / "cache", self.family, samples, self.recipe.seed)
        cache.fill(begin=partial(self.clips.begin, "encoding"), advance=self.progress.advance)
        if stage == "encode":
            self.family.release_encoders()
            return
        cache.open()
        self._train_head(folder / "train", pairs, cache)

    def _latent_pairs(
        self, folder: Path, samples: Sequence[Sample], scores: Mapping[str, Mapping[str, float]]
    ) -> list[LatentPair]:
        """Pairs of all of the judge's dimensions, written beside ``folder``.

        Raises:
            InputError: none of them decides a dimension that is weighed.
        """
        judge = self.settings.judge
        rewards = {d: {c: sign * v for c, v in scores[d].items()} for d, sign in self.facts.dimensions.items()}
        pairs = latent_pairs(samples, rewards, min_gap=self.settings.min_gap)
        counts = decided_pairs(pairs)
        weighed = [d for d, w in judge.mix.items() if w > 0]
        silent = [d for d in weighed if not counts.get(d)]
        if len(silent) == len(weighed):
            names = ", ".join(weighed)
            raise InputError(
                f"no prompt gives a pair: its clips score equal, or not at all, by {judge.plugin}'s {names}"
            )
        said = [
            f"no pair decides {dimension}: the latent reward cannot learn it, and guidance will not follow it"
            for dimension in silent
        ]
        for sentence in said:
            self.progress.message(sentence)
        mixed = reward_of(judge, self.facts, {d: dict(values) for d, values in scores.items()})
        rows = pair_rows(pairs, samples, rewards, mixed, folder.parent)
        write_table(folder.parent / f"{folder.name}-pairs.csv", [{**row, "judge": judge.label} for row in rows])
        facts = {
            "n": len(pairs),
            "gaps": [float(row["gap"]) for row in rows if row["gap"]],
            "prompts": len({p.prompt_id for p in pairs}),
            "clips": len({clip for p in pairs for clip in (p.first, p.second)}),
            "source": judge.label,
            "said": said,
        }
        write_pair_facts(facts, folder)
        return pairs

    def _train_head(self, folder: Path, pairs: Sequence[LatentPair], cache: LatentCache) -> None:
        r = self.recipe
        torch.manual_seed(r.seed)
        model = LatentRewardModel(
            self.family,
            list(self.facts.dimensions),
            depth=r.latent_depth,
            width=r.latent_width,
            sees_time=not r.latent_clean,
        ).to(next(self.family.transformer.parameters()).device)
        self.family.release_encoders()
        trainer = LatentRewardTrainer(
            model, pairs, cache, r, folder, save_every=self.settings.save_every, log_every=self.settings.log_every
        )
        begin = partial(self.clips.begin, "training the latent reward")
        self._drop_broken_states(folder)
        trainer.train(r.steps, begin=begin, advance=self.progress.advance)
        counts = ", ".join(f"{n} of {d}" for d, n in model.pairs.items())
        last = read_log(folder)[-1]["pairwise_accuracy"]
        self.progress.message(f"latent reward: {len(pairs)} pairs ({counts}), accuracy of its last batches {last:.3f}")
        with writing(self.out / "weights"):
            (self.out / "weights").mkdir(exist_ok=True)
            model.save(self.out / "weights" / HEAD)

    # ------------------------------------------------------------------ base against guided

    def evaluate(self) -> dict[str, Any]:
        hook, facts = self._hook()
        self._say_who_is_held_out_no_longer()
        base = self.looks.of_untrained(self.evaluation)
        guided = self.looks.of_aligned(self.evaluation, hook, self._guided_by())
        return write_result(self, base, guided, extra={"guidance": facts})

    def _head(self) -> Path | None:
        """File of the latent reward that guides; None where it is one that another package registers."""
        given = self.settings.latent_reward
        if given is None:
            return self.out / "weights" / HEAD
        return Path(given) if Path(given).is_file() else None

    def _guided_by(self) -> dict[str, object]:
        """What guided clips depend on: the latent reward (its file's SHA-256, or its registered name) and how it
        guides."""
        r, head = self.recipe, self._head()
        return {
            "latent_reward": self.settings.latent_reward if head is None else content_hash(head),
            "guidance_weights": dict(self.settings.judge.mix),
            "guidance_scale": r.guidance_scale,
            "guidance_clamp": r.guidance_clamp,
            "guidance_norm_cap": r.guidance_norm_cap,
        }

    def _hook(self) -> tuple[VelocityHook, dict[str, Any]]:
        """What guides, and what is recorded of it.

        Raises:
            InputError: there is no latent reward yet, it cannot be read, or has no dimension of a weight.
        """
        r, weights, head = self.recipe, self.settings.judge.mix, self._head()
        facts: dict[str, Any] = {
            "scale": r.guidance_scale,
            "clamp": r.guidance_clamp,
            "norm_cap": r.guidance_norm_cap,
            "weights": dict(weights),
            "latent_reward": self.settings.latent_reward or HEAD,
        }
        if head is None:
            ask = _third_party(str(self.settings.latent_reward), weights)
        elif not head.exists():
            raise InputError(f"{self.out} holds no latent reward yet; run the stages before evaluate")
        else:
            model = LatentRewardModel.load(head, self.family).to(next(self.family.transformer.parameters()).device)
            model.requires_grad_(False)
            check_weights(f"the latent reward {head}", model.dimensions, weights)
            facts |= {"sha256": content_hash(head), "pairs": dict(model.pairs)}

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


def pair_rows(
    pairs: Sequence[LatentPair],
    samples: Sequence[Sample],
    rewards: Mapping[str, Mapping[str, float]],
    mixed: Mapping[str, float],
    folder: Path,
) -> list[dict[str, str]]:
    """Rows of a pairs file in ``folder``: one label a dimension, empty where a clip has no score. A is the better of
    the two by the mixed reward, and the gap is their difference in it.

    Args:
        pairs, samples: what is learned from.
        rewards: dimension to clip id to reward, higher is better; NaN where unknown.
        mixed: of the run's weights, by clip id.
        folder: that videos and images are named from.
    """
    clips = {s.clip_id: s for s in samples}
    rows = []
    for pair in pairs:
        sides, turn = (pair.first, pair.second), 1
        if mixed[pair.second] > mixed[pair.first]:
            sides, turn = sides[::-1], -1
        a, b = (clips[i] for i in sides)
        labels = {
            f"label_{d}": "" if math.isnan(values[a.clip_id] + values[b.clip_id]) else _LABELS[turn * pair.labels[d]]
            for d, values in rewards.items()
        }
        numbers = {f"reward_{side}": mixed[s.clip_id] for side, s in (("a", a), ("b", b))}
        numbers["gap"] = numbers["reward_a"] - numbers["reward_b"]
        rows.append(
            {
                "pair_id": f"{a.clip_id}-against-{b.clip_id}",
                "prompt": a.prompt.text,
                "video_a": os.path.relpath(a.video, folder),
                "video_b": os.path.relpath(b.video, folder),
                "image": os.path.relpath(a.prompt.image, folder) if a.prompt.image else "",
                "model_a": a.generator,
                "model_b": b.generator,
                **labels,
                **{name: "" if math.isnan(v) else repr(v) for name, v in numbers.items()},
            }
        )
    return rows


_LABELS = {1: "A", 0: "tie", -1: "B"}


def _third_party(name: str, weights: Mapping[str, float]) -> Any:
    """A latent reward of another package, as ``ask(x_t, time, condition)``."""
    reward = latent_reward_class(name)()
    names = reward.card.dimension_names
    check_weights(f"the latent reward {name}", names, weights)

    def ask(x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().float().requires_grad_()
            values = reward.reward(x, time.t, condition)
            total = sum(w * values[:, names.index(d)].sum() for d, w in weights.items())
            (gradient,) = torch.autograd.grad(total, x)
        return gradient

    return ask
