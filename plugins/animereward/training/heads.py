"""Train the rating heads on cached features, and the agreement curves of text-video; write the weights file."""

from __future__ import annotations

import argparse
import itertools
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import Sample, read_recognisers
from numpy.typing import NDArray
from rewardbench_animereward.captions import STATED, VALUES
from rewardbench_animereward.mini import RECOGNISERS
from rewardbench_animereward.networks import classify, log_softmax, regress
from rewardbench_animereward.scorers import ACTIVITY, REGRESSED, identity_features, read
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

from rewardbench.synth.recipes import MIN_GAP, MOTION_TIE, SEED_TIES

Floats = NDArray[np.float32]
HIDDEN, SECOND = 48, 16


@dataclass(frozen=True)
class Seen(Sample):
    """A sample with what the recognisers see in it: ``facts``, fact -> log-probabilities (frames, values)."""

    facts: dict[str, Floats] = field(default_factory=dict)


def load(folder: Path, recognisers: Path) -> list[Seen]:
    """The cached clips, looked at with the trained recognisers."""
    weights = read_recognisers(recognisers)
    out = []
    for path in sorted(folder.glob("clips-????.pickle")):
        for sample in pickle.loads(path.read_bytes()):
            facts = {}
            if sample.crops is not None:
                seen = read(sample.crops, weights)
                sample.features["character"].update(identity_features(seen))
                facts = dict(seen.facts)
            out.append(Seen(**vars(sample), facts=facts))
    return out


def pairs(samples: list[Seen], dimension: str) -> NDArray[np.float32]:
    """Pairs with a known answer, float32 (P, 3): rows of A and B, and +1 (A is better), -1 or 0 (a tie).

    The rule is that of ``recipes.verdict``: at most one of the clips is lowered in the dimension, or both by the same
    treatment and draws.
    """
    rows: dict[int, list[int]] = {}
    for i, sample in enumerate(samples):
        if dimension in sample.levels:
            rows.setdefault(sample.base, []).append(i)
    out = []
    for members in rows.values():
        for i, j in itertools.combinations(members, 2):
            answer = verdict(samples[i], samples[j], dimension)
            if answer is not None:
                out.append((i, j, answer))
    return np.array(out, np.float32).reshape(-1, 3)


def verdict(a: Sample, b: Sample, dimension: str) -> int | None:
    gap = a.levels[dimension] - b.levels[dimension]
    if dimension == "motion":
        return 0 if abs(gap) <= MOTION_TIE else (None if abs(gap) < MIN_GAP["motion"] else int(np.sign(gap)))
    lowered = [s.levels[dimension] < 1.0 for s in (a, b)]
    if all(lowered):
        if a.treatment != b.treatment or (a.seed != b.seed and a.treatment not in SEED_TIES):
            return None
        if gap == 0:
            return 0
    elif not any(lowered):
        return 0
    return None if abs(gap) < MIN_GAP[dimension] else int(np.sign(gap))


class Head(nn.Module):
    """Two tanh layers and a sigmoid; see ``networks.regress``."""

    def __init__(self, features: int, generator: torch.Generator, outputs: int = 1) -> None:
        super().__init__()
        sizes = ((features, HIDDEN), (HIDDEN, SECOND), (SECOND, outputs))
        self.w = nn.ParameterList(torch.randn(s, generator=generator) / s[0] ** 0.5 for s in sizes)
        self.b = nn.ParameterList(torch.zeros(s[1]) for s in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N,), or (N, K) of a classifier."""
        x = torch.tanh(x @ self.w[0] + self.b[0])
        x = torch.tanh(x @ self.w[1] + self.b[1])
        out = x @ self.w[2] + self.b[2]
        return out[:, 0] if out.shape[1] == 1 else out

    def export(self, member: int) -> dict[str, Floats]:
        named = {f"{member}.w{i}": self.w[i] for i in range(3)} | {f"{member}.b{i}": self.b[i] for i in range(3)}
        return {k: v.detach().numpy() for k, v in named.items()}


def train_member(x: Floats, level: Floats, known_pairs: Floats, seed: int, steps: int) -> Head:
    """One ensemble member: the levels are regressed, decided pairs kept apart and ties together."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = Head(x.shape[1], generator)
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps, pct_start=0.15)
    features, target = torch.from_numpy(x), torch.from_numpy(level)
    known = np.flatnonzero(~np.isnan(level))
    decided, ties = known_pairs[known_pairs[:, 2] != 0], known_pairs[known_pairs[:, 2] == 0]

    def rows(indices: NDArray[Any]) -> torch.Tensor:
        picked = features[torch.from_numpy(indices.astype(np.int64))]
        noisy = picked + 0.05 * torch.randn(picked.shape, generator=generator)
        dropped = torch.rand(picked.shape, generator=generator) < 0.05
        return torch.where(dropped, torch.zeros(()), noisy)

    for _ in range(steps):
        batch = rng.choice(known, 192)
        loss = functional.mse_loss(torch.sigmoid(head(rows(batch))), target[torch.from_numpy(batch)])
        if len(decided):
            p = decided[rng.integers(len(decided), size=128)]
            gap = torch.sigmoid(head(rows(p[:, 0]))) - torch.sigmoid(head(rows(p[:, 1])))
            loss = loss + 0.10 * functional.softplus(-12.0 * torch.from_numpy(p[:, 2]) * gap).mean()
        if len(ties):
            p = ties[rng.integers(len(ties), size=128)]
            gap = torch.sigmoid(head(rows(p[:, 0]))) - torch.sigmoid(head(rows(p[:, 1])))
            loss = loss + 1.0 * (gap**2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head


def table(samples: list[Seen], dimension: str) -> tuple[tuple[str, ...], Floats, Floats]:
    """(feature names, features (N, F), levels (N,), NaN where unknown)."""
    names = tuple(sorted(samples[0].features[dimension]))
    x = np.array([[s.features[dimension][n] for n in names] for s in samples], np.float32)
    return names, x, np.array([s.levels.get(dimension, np.nan) for s in samples], np.float32)


def train_dimension(
    samples: list[Seen], dimension: str, members: int, steps: int, held_out: NDArray[np.bool_]
) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """(feature names, tensors); rows of ``held_out`` take no part."""
    names, x, level = table(samples, dimension)
    level = np.where(held_out, np.nan, level).astype(np.float32)
    used = ~np.isnan(level)
    varied = np.array([s.varied for s in samples])
    level = np.where(varied, np.nan, level).astype(np.float32)  # their pairs are known, their levels are not
    mean = x[used].mean(axis=0)
    scale = x[used].std(axis=0) + 1e-2
    standard = np.clip((x - mean) / scale, -4, 4).astype(np.float32)
    found = pairs(samples, dimension)
    if len(found):
        found = found[~held_out[found[:, 0].astype(int)] & ~held_out[found[:, 1].astype(int)]]
    tensors: dict[str, Floats] = {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}
    for m in range(members):
        tensors.update(train_member(standard, level, found, m, steps).export(m))
    return names, tensors


def train_activity(
    samples: list[Seen], fact: str, members: int, steps: int, held_out: NDArray[np.bool_]
) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """Classifiers of what the person or the camera does; clips in which it cannot be seen take no part.

    Every sample gets what members that never saw its scene say of it, for the agreement curves: those fitted to the
    members' own training scenes would trust them too much.
    """
    names, x, _ = table(samples, "activity")
    if fact == "camera":  # its own motion says it all; with the body's, the few scenes would be learnt by heart
        kept = [i for i, name in enumerate(names) if name.startswith("camera_")]
        names, x = tuple(names[i] for i in kept), x[:, kept]
    hidden = {"freeze": 0.5, "amplitude": 0.5, "stutter": 0.7}
    visible = np.array([s.severity <= hidden.get(s.treatment, 1.0) for s in samples])
    target = np.array([VALUES[fact].index(getattr(s.scene, fact)) for s in samples])
    fold = np.array([s.base % 3 for s in samples])
    right = np.zeros(len(samples), bool)
    for k in range(3):
        rows = np.flatnonzero(visible & ~held_out & (fold != k))
        tensors = classifiers(x, target, rows, len(VALUES[fact]), 1, steps // 2)
        for i in np.flatnonzero(fold == k):
            log_p = classify(tensors, x[i])
            samples[i].facts[fact] = log_p[None]
            right[i] = log_p.argmax() == target[i]
    print(
        fact, "recognised in other scenes", round(float(right[visible].mean()), 3), "of", int(visible.sum()), flush=True
    )
    return names, classifiers(x, target, np.flatnonzero(visible & ~held_out), len(VALUES[fact]), members, steps)


def classifiers(
    x: Floats, target: NDArray[np.int64], rows: NDArray[np.int64], values: int, members: int, steps: int
) -> dict[str, Floats]:
    """Tensors of ``members`` classifiers trained on ``rows``; see ``networks.classify``."""
    mean, scale = x[rows].mean(axis=0), x[rows].std(axis=0) + 1e-2
    standard = torch.from_numpy(np.clip((x - mean) / scale, -4, 4).astype(np.float32))
    labels = torch.from_numpy(target)
    tensors: dict[str, Floats] = {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}
    for m in range(members):
        generator, rng = torch.Generator().manual_seed(m), np.random.default_rng(m)
        head = Head(x.shape[1], generator, values)
        optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps, pct_start=0.15)
        for _ in range(steps):
            batch = torch.from_numpy(rng.choice(rows, 192))
            noisy = standard[batch] + 0.2 * torch.randn((len(batch), x.shape[1]), generator=generator)
            loss = functional.cross_entropy(head(noisy), labels[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        tensors.update(head.export(m))
    return tensors


def rate(tensors: dict[str, Floats], x: Floats) -> Floats:
    return np.array([regress(tensors, row) for row in x], np.float32)


def report(samples: list[Seen], dimension: str, scores: Floats, rows: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracy without and with ties (best threshold), majority floor and accuracy per treatment."""
    found = pairs(samples, dimension)
    found = found[rows[found[:, 0].astype(int)] & rows[found[:, 1].astype(int)]]
    if not (found[:, 2] != 0).any():
        return {"n": len(found)}
    a, b, answer = found[:, 0].astype(int), found[:, 1].astype(int), found[:, 2]
    margin = scores[a] - scores[b]
    decided = answer != 0
    right = np.sign(margin) == answer
    candidates = np.quantile(np.abs(margin), np.linspace(0, 1, 201))
    with_ties = max(float(np.where(np.abs(margin) <= c, answer == 0, right).mean()) for c in candidates)
    out = {
        "n": len(found),
        "ties": round(float((~decided).mean()), 3),
        "without": round(float(right[decided].mean()), 3),
        "with": round(with_ties, 3),
        "floor": round(max(float((answer == k).mean()) for k in (-1, 0, 1)), 3),
        "tie_gap": round(float(np.abs(margin[~decided]).mean()), 4),
    }
    worse = np.where(answer > 0, b, a)
    for name in sorted({samples[i].treatment for i in worse[decided]}):
        of = decided & np.array([samples[i].treatment == name for i in worse])
        out[name] = round(float(right[of].mean()), 3)
    return out


def gap(sample: Seen, fact: str, index: int) -> float:
    """Log-probability of one value of a fact minus that of the best other value."""
    log_p = log_softmax(sample.facts[fact].mean(axis=0))
    return float(log_p[index] - np.delete(log_p, index).max())


def agreement(samples: list[Seen], held_out: NDArray[np.bool_]) -> dict[str, Floats]:
    """(slope, offset) per fact of the logistic curve from the gap of the stated value to whether the fact holds."""
    rng = np.random.default_rng(0)
    out = {}
    for fact in STATED:
        gaps, holds, rows = [], [], []
        for i, sample in enumerate(samples):
            if "text_video" not in sample.levels:
                continue
            true = VALUES[fact].index(getattr(sample.scene, fact))
            wrong = int(rng.choice([k for k in range(len(VALUES[fact])) if k != true]))
            for index in (true, wrong):
                gaps.append(gap(sample, fact, index))
                holds.append(float(index == true))
                rows.append(bool(held_out[i]))
        x, y, out_rows = torch.tensor(gaps), torch.tensor(holds), torch.tensor(rows)
        curve = torch.tensor([1.0, 0.0], requires_grad=True)
        optimiser = torch.optim.LBFGS([curve], max_iter=100)

        def closure(
            x: torch.Tensor = x[~out_rows], y: torch.Tensor = y[~out_rows], curve: torch.Tensor = curve,
            optimiser: torch.optim.Optimizer = optimiser,
        ) -> torch.Tensor:  # fmt: skip
            optimiser.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(curve[0] * x + curve[1], y) + 1e-3 * curve[0] ** 2
            loss.backward()
            return loss

        optimiser.step(closure)
        out[fact] = curve.detach().numpy().astype(np.float32)
        right = ((x > 0).float() == y)[out_rows if out_rows.any() else ~out_rows]
        print("agree", fact, out[fact].round(3), "right", round(float(right.float().mean()), 3))
    return out


def text_ratings(samples: list[Seen], curves: dict[str, Floats]) -> Floats:
    """Mean agreement of the base scene's facts, as ``mini`` rates text-video."""
    clean = {s.base: s.scene for s in samples if s.treatment == "none"}
    out = []
    for sample in samples:
        agreed = []
        for fact, (slope, offset) in curves.items():
            index = VALUES[fact].index(getattr(clean[sample.base], fact))
            agreed.append(1 / (1 + np.exp(-np.clip(slope * gap(sample, fact, index) + offset, -30, 30))))
        out.append(float(np.mean(agreed)))
    return np.array(out, np.float32)


def train_text(
    samples: list[Seen],
    options: argparse.Namespace,
    held_out: NDArray[np.bool_],
    tensors: dict[str, Floats],
    metadata: dict[str, str],
) -> None:
    """Add the activity's classifiers and the agreement curves to the tensors."""
    whole = np.array([bool(s.facts) for s in samples])
    samples, held_out = [s for s in samples if s.facts], held_out[whole]
    for fact in ACTIVITY:
        names, found = train_activity(samples, fact, options.members, options.steps, held_out)
        metadata[f"features.{fact}"] = json.dumps(names)
        tensors.update({f"{fact}.{k}": v for k, v in found.items()})
    curves = agreement(samples, held_out)
    tensors.update({f"agree.{k}": v for k, v in curves.items()})
    if "text_video" in samples[0].levels:
        rows = held_out if options.check else np.ones(len(samples), bool)
        print("text_video", report(samples, "text_video", text_ratings(samples, curves), rows), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--recognisers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the weights file, .safetensors")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument(
        "--dimension", action="append", choices=("text_video", *REGRESSED), help="only these; see --base"
    )
    parser.add_argument("--base", type=Path, help="weights file that the dimensions not trained are taken from")
    parser.add_argument("--check", action="store_true", help="hold out a fifth of the scenes, print, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    samples = load(options.clips, options.recognisers)
    print(len(samples), "clips of", len({s.base for s in samples}), "scenes")
    held_out = np.array([options.check and s.base % 5 == 0 for s in samples])
    tensors: dict[str, Floats] = {}
    metadata: dict[str, str] = {"format": "rewardbench-animereward-mini/1"}
    chosen = options.dimension or ("text_video", *REGRESSED)
    if options.base is not None:
        with safe_open(str(options.base), framework="numpy") as file:
            parts = set(REGRESSED) - set(chosen) | ({"agree", *ACTIVITY} if "text_video" not in chosen else set())
            for dimension in parts:
                if dimension != "agree":
                    metadata[f"features.{dimension}"] = file.metadata()[f"features.{dimension}"]
                kept = [k for k in list(file.keys()) if k.startswith(f"{dimension}.")]
                tensors.update({k: file.get_tensor(k) for k in kept})
    for dimension in (d for d in chosen if d in REGRESSED):
        usable = np.array([dimension in s.features for s in samples])
        asked = [s for s, use in zip(samples, usable, strict=True) if use]
        names, found = train_dimension(asked, dimension, options.members, options.steps, held_out[usable])
        metadata[f"features.{dimension}"] = json.dumps(names)
        tensors.update({f"{dimension}.{k}": v for k, v in found.items()})
        scores = rate(found, table(asked, dimension)[1])
        rows = held_out[usable] if options.check else np.ones(len(asked), bool)
        print(dimension, report(asked, dimension, scores, rows), flush=True)
    if "text_video" in chosen:
        train_text(samples, options, held_out, tensors, metadata)
    if options.check:
        return
    for name in RECOGNISERS:
        values = np.load(options.recognisers / f"recogniser-{name}.npz")  # all must be trained by now
        tensors.update({f"{name}.{k}": values[k] for k in values.files})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    stored = {k: np.ascontiguousarray(v, np.float16 if ".weight" in k else np.float32) for k, v in tensors.items()}
    save_file(stored, options.out, metadata)
    print(options.out, options.out.stat().st_size, "bytes", sum(v.size for v in stored.values()), "numbers")


if __name__ == "__main__":
    main()
