"""Train the rating heads on cached features, and the agreement curves of text-video; write the weights file."""

from __future__ import annotations

import argparse
import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import Sample
from numpy.typing import NDArray
from rewardbench_animereward.captions import STATED, VALUES
from rewardbench_animereward.mini import RECOGNISERS
from rewardbench_animereward.scorers import REGRESSED
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

from rewardbench.synth.recipes import MIN_GAP, MOTION_TIE, SEED_TIES

Floats = NDArray[np.float32]
HIDDEN, SECOND = 48, 16


def load(folder: Path) -> list[Sample]:
    return [s for p in sorted(folder.glob("clips-????.pickle")) for s in pickle.loads(p.read_bytes())]


def pairs(samples: list[Sample], dimension: str) -> NDArray[np.float32]:
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

    def __init__(self, features: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = ((features, HIDDEN), (HIDDEN, SECOND), (SECOND, 1))
        self.w = nn.ParameterList(torch.randn(s, generator=generator) / s[0] ** 0.5 for s in sizes)
        self.b = nn.ParameterList(torch.zeros(s[1]) for s in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N,)."""
        x = torch.tanh(x @ self.w[0] + self.b[0])
        x = torch.tanh(x @ self.w[1] + self.b[1])
        return (x @ self.w[2] + self.b[2])[:, 0]


def train_member(x: Floats, level: Floats, base: NDArray[np.int64], known_pairs: Floats, seed: int, steps: int) -> Head:
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
        loss = F.mse_loss(torch.sigmoid(head(rows(batch))), target[torch.from_numpy(batch)])
        if len(decided):
            p = decided[rng.integers(len(decided), size=128)]
            gap = torch.sigmoid(head(rows(p[:, 0]))) - torch.sigmoid(head(rows(p[:, 1])))
            loss = loss + 0.10 * F.softplus(-12.0 * torch.from_numpy(p[:, 2]) * gap).mean()
        if len(ties):
            p = ties[rng.integers(len(ties), size=128)]
            gap = torch.sigmoid(head(rows(p[:, 0]))) - torch.sigmoid(head(rows(p[:, 1])))
            loss = loss + 1.0 * (gap**2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head


def table(samples: list[Sample], dimension: str) -> tuple[tuple[str, ...], Floats, Floats]:
    """(feature names, features (N, F), levels (N,), NaN where unknown)."""
    names = tuple(sorted(samples[0].features[dimension]))
    x = np.array([[s.features[dimension][n] for n in names] for s in samples], np.float32)
    return names, x, np.array([s.levels.get(dimension, np.nan) for s in samples], np.float32)


def train_dimension(
    samples: list[Sample], dimension: str, members: int, steps: int, held_out: NDArray[np.bool_] | None = None
) -> tuple[tuple[str, ...], dict[str, Floats]]:
    """(feature names, tensors); rows of ``held_out`` take no part."""
    names, x, level = table(samples, dimension)
    if held_out is not None:
        level = np.where(held_out, np.nan, level).astype(np.float32)
    used = ~np.isnan(level)
    mean = x[used].mean(axis=0)
    scale = x[used].std(axis=0) + 1e-2
    standard = np.clip((x - mean) / scale, -4, 4).astype(np.float32)
    found = pairs(samples, dimension)
    if held_out is not None and len(found):
        found = found[~held_out[found[:, 0].astype(int)] & ~held_out[found[:, 1].astype(int)]]
    base = np.array([s.base for s in samples])
    tensors: dict[str, Floats] = {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}
    for m in range(members):
        head = train_member(standard, level, base, found, m, steps)
        for i in range(3):
            tensors[f"{m}.w{i}"] = head.w[i].detach().numpy()
            tensors[f"{m}.b{i}"] = head.b[i].detach().numpy()
    return names, tensors


def rate(tensors: dict[str, Floats], x: Floats) -> Floats:
    from rewardbench_animereward.networks import regress

    return np.array([regress(tensors, row) for row in x], np.float32)


def report(samples: list[Sample], dimension: str, scores: Floats, rows: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracy without and with ties (best threshold), majority floor and accuracy per treatment over pairs of ``rows``."""
    found = pairs(samples, dimension)
    found = found[rows[found[:, 0].astype(int)] & rows[found[:, 1].astype(int)]]
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


def agreement(samples: list[Sample]) -> dict[str, Floats]:
    """(slope, offset) per fact of the logistic curve over the gap between the stated value and the best other one."""
    rng = np.random.default_rng(0)
    out = {}
    for fact in STATED:
        usable = [s for s in samples if fact in s.facts and "text_video" in s.levels]
        if not usable:
            continue
        gaps, holds = [], []
        for s in usable:
            log_p = s.facts[fact].mean(axis=0)
            log_p = log_p - np.log(np.exp(log_p).sum())
            true = VALUES[fact].index(getattr(s.scene, fact))
            for index in (true, int(rng.choice([k for k in range(len(VALUES[fact])) if k != true]))):
                gaps.append(log_p[index] - np.delete(log_p, index).max())
                holds.append(float(index == true))
        x, y = torch.tensor(gaps), torch.tensor(holds)
        slope, offset = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)
        optimiser = torch.optim.LBFGS([slope, offset], max_iter=100)

        def closure(
            x: torch.Tensor = x, y: torch.Tensor = y, slope: torch.Tensor = slope, offset: torch.Tensor = offset
        ) -> torch.Tensor:
            optimiser.zero_grad()
            loss = F.binary_cross_entropy_with_logits(slope * x + offset, y) + 1e-3 * slope**2
            loss.backward()
            return loss

        optimiser.step(closure)
        out[fact] = np.array([slope.item(), offset.item()], np.float32)
        print("agree", fact, out[fact], "right", round(float(((x > 0).float() == y).float().mean()), 3))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--recognisers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the weights file, .safetensors")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--dimension", action="append", choices=REGRESSED)
    parser.add_argument("--check", action="store_true", help="hold out a fifth of the scenes, print, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    samples = load(options.clips)
    print(len(samples), "clips of", len({s.base for s in samples}), "scenes")
    held_out = np.array([s.base % 5 == 0 for s in samples]) if options.check else None
    tensors: dict[str, Floats] = {}
    metadata: dict[str, str] = {"format": "rewardbench-animereward-mini/1"}
    for dimension in options.dimension or REGRESSED:
        names, found = train_dimension(samples, dimension, options.members, options.steps, held_out)
        metadata[f"features.{dimension}"] = json.dumps(names)
        tensors.update({f"{dimension}.{k}": v for k, v in found.items()})
        scores = rate(found, table(samples, dimension)[1])
        rows = held_out if held_out is not None else np.ones(len(samples), bool)
        print(dimension, report(samples, dimension, scores, rows), flush=True)
    tensors.update({f"agree.{k}": v for k, v in agreement(samples).items()})
    if options.check:
        return
    for name in RECOGNISERS:
        values = np.load(options.recognisers / f"recogniser-{name}.npz")
        tensors.update({f"{name}.{k}": values[k] for k in values.files})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    stored = {k: np.ascontiguousarray(v, np.float16 if ".weight" in k else np.float32) for k, v in tensors.items()}
    save_file(stored, options.out, metadata)
    print(options.out, options.out.stat().st_size, "bytes", sum(v.size for v in stored.values()), "numbers")


if __name__ == "__main__":
    main()
