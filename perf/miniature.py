"""The alignment papers' tables in miniature: the toy generator, the drawn world, the judge `animereward:mini`.

    python perf/miniature.py --work FOLDER [--rows NAME …] [--seeds 0 1 2] [--markdown]

Every row is one alignment (``FOLDER/seed-S/NAME``), compared with the generator it started from on 128 prompts from the
same noise. Base clips and their scores are made once per seed and linked into every row. A row that is finished is not
made again; the command goes on where it stopped, and ``--rows`` makes (or, with its folder removed, repeats) any row.
A row that fails is named, the others go on, and the command ends with 1. Results of the finished rows go to
``perf/results/miniature.json`` after every row; ``--markdown`` prints the tables of docs/miniature.md.

A preference loss stands alone in these rows, as in the papers, unless the row's name says ``+sft``: that is the default
recipe of ``rewardbench align``, which mixes SFT on the winners in.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rewardbench.align.alignment import align
from rewardbench.align.judging import Judge
from rewardbench.align.presets import recipe_for
from rewardbench.align.prompts import write_table
from rewardbench.align.samples import claim_folder
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.settings import AlignSettings
from rewardbench.align.toy.drawn import FPS, drawn_prompt
from rewardbench.errors import RewardbenchError
from rewardbench.tables import read_table
from rewardbench.video import write_video

RESULTS = Path(__file__).with_name("results") / "miniature.json"
SIX = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")
HELD_OUT = ("outfit_colour", "flicker", "flow_amplitude", "sharpness")
COLUMNS = ("mean of six", *SIX, *HELD_OUT)
EQUAL = dict.fromkeys(SIX, 1.0)
GENERAL = dict.fromkeys(("smoothness", "motion", "appeal", "text_video"), 1.0)
"""What VideoScore rates too (visual quality, consistency, dynamic degree, text alignment): nothing on the first
frame, nothing on the character. It is `animereward:mini` with four of its six heads, not another model."""
TEXT = {"text_video": 1.0}
UNION = {"appeal": 1.0, "motion": 1.0, "text_video": 1.0}
"""Stand-ins for the Flow paper's VQ, MQ and TA."""
PROMPTS, EVALUATION, STEPS, SAMPLING_STEPS, SEEDS = 96, 128, 100, 12, (0, 1, 2)
DRAWS = 2000


def weighted(*values: float) -> dict[str, float]:
    """Weights in the paper's order; dimensions of weight 0 are not asked for."""
    return {name: w for name, w in zip(SIX, values, strict=True) if w > 0}


def guided(*values: float) -> dict[str, float]:
    """Weights of VQ, MQ, TA; those of weight 0 are left out."""
    return {name: w for name, w in zip(UNION, values, strict=True) if w > 0}


@dataclass(frozen=True)
class Row:
    """One line of a table; ``head`` names the row whose latent reward it is guided by."""

    algorithm: str
    changes: dict[str, object] = field(default_factory=dict)
    mix: dict[str, float] = field(default_factory=lambda: EQUAL)
    real: bool = False
    head: str | None = None


ALONE = {"sft_weight": 0.0, "learning_rate": 1e-4}
"""Half the default recipe's learning rate: at 5e-4 a preference loss alone lowered the reward on the toy."""
FALLING = {**ALONE, "beta_schedule": "(1-t)^2"}
REAL = {"losers": 3, "reference": "ema", "ema_decay": 0.9, "ema_every": 10, "learning_rate": 1e-4}
GUIDED = {"steps": 400, "learning_rate": 1e-3, "guidance_scale": 5.0}
"""Larger scales lower the guided reward on prompts that were learned on; docs/miniature.md has the command."""
ROWS: dict[str, Row] = {
    "sft": Row("sft"),
    "dpo": Row("dpo", ALONE),
    "gapo": Row("gapo", ALONE),
    "dpo+sft": Row("dpo"),
    "gapo+sft": Row("gapo"),
    "general-judge+sft": Row("gapo", mix=GENERAL),
    "weights-0-0-1-1-1-1+sft": Row("gapo", mix=weighted(0, 0, 1, 1, 1, 1)),
    "weights-3-5-3-3-3-3+sft": Row("gapo", mix=weighted(3, 5, 3, 3, 3, 3)),
    "weights-3-3-6-4-4-4+sft": Row("gapo", mix=weighted(3, 3, 6, 4, 4, 4)),
    "flow-rwr": Row("flow-rwr"),
    "flow-dpo-falling": Row("flow-dpo", FALLING),
    "text-sft": Row("sft", mix=TEXT),
    "text-flow-rwr": Row("flow-rwr", mix=TEXT),
    "text-flow-dpo-falling": Row("flow-dpo", FALLING, TEXT),
    "text-flow-dpo": Row("flow-dpo", ALONE, TEXT),
    **{f"beta-{b}": Row("flow-dpo", {**ALONE, "beta": float(b)}) for b in (200, 10000)},
    **{f"beta-{b}-falling": Row("flow-dpo", {**FALLING, "beta": float(b)}) for b in (200, 10000)},
    "real-sft": Row("sft", real=True),
    "realdpo-1": Row("realdpo", REAL, real=True),
    "realdpo-2": Row("realdpo", {**REAL, "rounds": 2}, real=True),
    "guided-1-1-1": Row("flow-nrg", mix=UNION),
    "guided-0-0-1": Row("flow-nrg", mix=guided(0, 0, 1), head="guided-1-1-1"),
    "guided-.1-.1-.8": Row("flow-nrg", mix=guided(0.1, 0.1, 0.8), head="guided-1-1-1"),
    "guided-.1-.1-.6": Row("flow-nrg", mix=guided(0.1, 0.1, 0.6), head="guided-1-1-1"),
    "guided-.5-.5-0": Row("flow-nrg", mix=guided(0.5, 0.5, 0), head="guided-1-1-1"),
    "guided-0-1-0": Row("flow-nrg", mix=guided(0, 1, 0), head="guided-1-1-1"),
    "guided-1-1-1-clean": Row("flow-nrg", {"latent_clean": True}, UNION),
    "guided-0-1-0-clean": Row("flow-nrg", {"latent_clean": True}, guided(0, 1, 0), head="guided-1-1-1-clean"),
}


@dataclass(frozen=True)
class Table:
    """A table of a paper: its rows, and pairs of rows (a, b) of which it says that a does better than b."""

    title: str
    rows: tuple[str, ...]
    contrasts: tuple[tuple[str, str], ...]


TABLES = (
    Table(
        "Losses (GAPO paper, Table 3)",
        ("sft", "dpo", "gapo", "dpo+sft", "gapo+sft"),
        (("gapo", "dpo"), ("gapo", "sft"), ("gapo+sft", "dpo+sft"), ("gapo+sft", "sft")),
    ),
    Table(
        "Judges (GAPO paper, Table 4)",
        ("general-judge+sft", "gapo+sft"),
        (("gapo+sft", "general-judge+sft"),),
    ),
    Table(
        "Weights of the six dimensions (GAPO paper, Table 5)",
        ("weights-0-0-1-1-1-1+sft", "weights-3-5-3-3-3-3+sft", "weights-3-3-6-4-4-4+sft", "gapo+sft"),
        (
            ("gapo+sft", "weights-0-0-1-1-1-1+sft"),
            ("gapo+sft", "weights-3-5-3-3-3-3+sft"),
            ("gapo+sft", "weights-3-3-6-4-4-4+sft"),
        ),
    ),
    Table(
        "Algorithms, all dimensions (Flow paper, Table 3)",
        ("sft", "flow-rwr", "flow-dpo-falling", "dpo"),
        (("dpo", "sft"), ("dpo", "flow-rwr"), ("dpo", "flow-dpo-falling")),
    ),
    Table(
        "Algorithms, text alone (Flow paper, Table 4)",
        ("text-sft", "text-flow-rwr", "text-flow-dpo-falling", "text-flow-dpo"),
        (("text-flow-dpo", "text-sft"), ("text-flow-dpo", "text-flow-rwr"), ("text-flow-dpo", "text-flow-dpo-falling")),
    ),
    Table(
        "Beta (Flow paper, Fig. 6)",
        ("beta-200", "dpo", "beta-10000", "beta-200-falling", "flow-dpo-falling", "beta-10000-falling"),
        (("beta-200", "beta-200-falling"), ("dpo", "flow-dpo-falling"), ("beta-10000", "beta-10000-falling")),
    ),
    Table(
        "Guidance weights (Flow paper, Table 5)",
        ("guided-0-0-1", "guided-.1-.1-.8", "guided-.1-.1-.6", "guided-.5-.5-0"),
        (("guided-0-0-1", "guided-.5-.5-0"),),
    ),
    Table(
        "Noisy against clean latent reward (Flow paper, App. E)",
        ("guided-0-1-0", "guided-0-1-0-clean"),
        (("guided-0-1-0", "guided-0-1-0-clean"),),
    ),
    Table(
        "Real winners (RealDPO)",
        ("real-sft", "realdpo-1", "realdpo-2"),
        (("realdpo-1", "real-sft"), ("realdpo-2", "realdpo-1")),
    ),
)


def settings(name: str, seed: int, work: Path, device: str) -> AlignSettings:
    row = ROWS[name]
    own = GUIDED if row.algorithm == "flow-nrg" else {"steps": STEPS}
    folder = work / f"seed-{seed}"
    return AlignSettings(
        recipe=recipe_for(row.algorithm, None, {"seed": seed, **own, **row.changes}),
        judge=Judge("animereward", row.mix),
        held_out=(Judge("drawn-rules", {"outfit_colour": 1.0}),),
        out=folder / name,
        prompt_count=PROMPTS,
        evaluation_count=EVALUATION,
        sampling=SamplingChoice(steps=SAMPLING_STEPS, batch_size=16),
        winners=real_clips(work) if row.real else None,
        latent_reward=None if row.head is None else str(folder / row.head / "weights" / "latent-reward.safetensors"),
        evaluations=1,
        device=device,
        command=f"python perf/miniature.py --rows {name} --seeds {seed}",
    )


def real_clips(work: Path) -> Path:
    """What the world itself draws for the prompts that are learned on: RealDPO's real clips."""
    table = work / "real" / "real.csv"
    if not table.exists():
        table.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for i in range(PROMPTS):
            prompt = drawn_prompt("align", i)
            write_video(table.parent / f"{i:04d}.mp4", prompt.clip(), FPS, crf=12)
            rows.append({"video": f"{i:04d}.mp4", "prompt": prompt.caption, "prompt_id": f"align-{i:04d}"})
        write_table(table, rows)
    return table


SHARED = (
    *("prompts", "round-1/base", "round-1/base.csv", "round-1/scores.judge.json", "round-1/scores.csv"),
    *("evaluate/base", "evaluate/base.csv", "evaluate/base-scores.judge.json", "evaluate/base-scores.csv"),
    *("evaluate/base-scores-drawn-rules.judge.json", "evaluate/base-scores-drawn-rules.csv"),
)


def share(source: Path, target: Path) -> None:
    """Link what does not depend on the row: prompts, base clips and their scores."""
    for name in SHARED:
        a, b = source / name, target / name
        if not a.exists() or b.exists():
            continue
        b.parent.mkdir(parents=True, exist_ok=True)
        partial = b.with_name(f".{b.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if a.is_dir():
            shutil.copytree(a, partial, copy_function=os.link)
        else:
            partial.unlink(missing_ok=True)
            os.link(a, partial)
        os.replace(partial, b)


def make(name: str, seed: int, work: Path, device: str) -> bool:
    """One row, from what other finished rows of its seed have already made; False where it failed."""
    head = ROWS[name].head
    if head is not None and not make(head, seed, work, device):
        return False
    given = settings(name, seed, work, device)
    if (given.out / "result.json").exists():
        return True
    for other in sorted((work / f"seed-{seed}").glob("*/result.json")):
        share(other.parent, given.out)
    try:
        result = align(given)
    except RewardbenchError as error:
        print(f"seed {seed} {name} failed: {error}", file=sys.stderr, flush=True)
        return False
    change = result["changes"][given.judge.label]
    print(f"seed {seed} {name}: {change['base']:.4f} -> {change['aligned']:.4f}", file=sys.stderr, flush=True)
    return True


Gains = dict[str, np.ndarray]
"""By column: aligned minus base by seed and prompt (S, P); NaN where a clip has no score."""


def gains(work: Path, name: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]] | None:
    """(differences by column and prompt, means of base) of a finished row; None where it is not finished."""
    out = work / f"seed-{seed}" / name
    if not (out / "result.json").exists():
        return None
    found: dict[str, np.ndarray] = {}
    base: dict[str, float] = {}
    for suffix, dimensions in (("", SIX), ("-drawn-rules", HELD_OUT)):
        sides = [read_table(out / "evaluate" / f"{side}-scores{suffix}.csv")[1] for side in ("base", "aligned")]
        before, after = ({row["clip_id"]: row for row in rows} for rows in sides)
        assert before.keys() == after.keys(), f"{out} compares other clips"
        assert len(before) == EVALUATION, f"{out} compares {len(before)} clips"
        for d in dimensions:
            a, b = (np.array([float(side[c][d] or "nan") for c in sorted(side)]) for side in (before, after))
            found[d], base[d] = b - a, float(np.nanmean(a))
    found["mean of six"] = np.mean([found[d] for d in SIX], axis=0)
    base["mean of six"] = float(np.mean([base[d] for d in SIX]))
    return found, base


def estimate(values: np.ndarray, *identity: str) -> dict[str, object]:
    """Mean of (S, P) values with its 95 % interval over seeds *and* prompts: both are drawn anew in every resample, the
    prompts alike for all seeds. With three seeds the spread between them is only roughly known."""
    rng = np.random.default_rng(zlib.crc32("/".join(identity).encode()))
    kept = values[:, np.isfinite(values).any(0)]
    if kept.size == 0:
        return {"value": None, "ci95": None, "by_seed": [], "prompts": 0}
    seeds, prompts = kept.shape
    means = np.nanmean(kept[:, rng.integers(prompts, size=(DRAWS, prompts))], axis=2)
    drawn = np.nanmean(np.take_along_axis(means.T, rng.integers(seeds, size=(DRAWS, seeds)), axis=1), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "value": float(np.nanmean(kept)),
        "ci95": [float(low), float(high)],
        "by_seed": [float(v) for v in np.nanmean(kept, axis=1)],
        "prompts": prompts,
    }


def wins(difference: np.ndarray) -> np.ndarray:
    """1 where it is positive, one half where 0, NaN where unknown."""
    return np.where(np.isnan(difference), np.nan, np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0)))


def summary(work: Path, seeds: tuple[int, ...]) -> dict[str, object]:
    """Every row over its finished seeds, and the contrasts between rows over the seeds that both have."""
    known = {name: {s: g for s in seeds if (g := gains(work, name, s)) is not None} for name in ROWS}
    rows: dict[str, object] = {}
    for name, by_seed in known.items():
        if not by_seed:
            continue
        recipe = json.loads((work / f"seed-{min(by_seed)}" / name / "result.json").read_text(encoding="utf-8"))[
            "recipe"
        ]
        columns = {}
        for c in COLUMNS:
            values = np.stack([found[c] for found, _ in by_seed.values()])
            columns[c] = {
                "base": float(np.mean([base[c] for _, base in by_seed.values()])),
                "difference": estimate(values, name, c),
                "win_rate": estimate(wins(values), name, c, "wins"),
            }
        kept = (
            "algorithm",
            "beta",
            "beta_schedule",
            "sft_weight",
            "learning_rate",
            "steps",
            "rounds",
            "guidance_scale",
        )
        rows[name] = {"seeds": sorted(by_seed), "recipe": {k: recipe[k] for k in kept}, "columns": columns}
    contrasts: dict[str, object] = {}
    for a, b in dict.fromkeys(pair for table in TABLES for pair in table.contrasts):
        both = sorted(known[a].keys() & known[b].keys())
        if both:
            apart = {c: np.stack([known[a][s][0][c] - known[b][s][0][c] for s in both]) for c in COLUMNS}
            columns = {c: {"difference": estimate(v, a, b, c)} for c, v in apart.items()}
            contrasts[f"{a} - {b}"] = {"seeds": both, "columns": columns}
    return {"settings": constants(), "rows": rows, "contrasts": contrasts}


def constants() -> dict[str, object]:
    return {
        "prompts": PROMPTS,
        "evaluation_prompts": EVALUATION,
        "steps": STEPS,
        "sampling_steps": SAMPLING_STEPS,
        "samples_per_prompt": 4,
    }


def markdown(found: dict[str, object]) -> str:
    """The tables: differences from base times 100 with 95 % intervals, a win rate, contrasts; held-out judges last."""
    rows: dict = found["rows"]  # type: ignore[assignment]
    contrasts: dict = found["contrasts"]  # type: ignore[assignment]
    lines: list[str] = []

    def cell(estimate: dict | None, scale: float = 100.0, sign: str = "+") -> str:
        if estimate is None or estimate["value"] is None:
            return "–"
        low, high = (scale * x for x in estimate["ci95"])
        return f"{scale * estimate['value']:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"

    def line(name: str, entry: dict | None) -> str:
        if entry is None:
            return f"| {name} | 0 | " + " | ".join("not made yet" for _ in range(len(COLUMNS) + 1)) + " |"
        columns = entry["columns"]
        won = cell(columns["mean of six"].get("win_rate"), 1.0, "")
        return (
            f"| {name} | {len(entry['seeds'])} | {won} | "
            + " | ".join(cell(columns[c]["difference"]) for c in COLUMNS)
            + " |"
        )

    for table in TABLES:
        lines += [f"### {table.title}", "", "| row | seeds | win rate | " + " | ".join(COLUMNS) + " |"]
        lines += ["|---" * (len(COLUMNS) + 3) + "|"]
        lines += [line(name, rows.get(name)) for name in table.rows]
        lines += [line(f"*{a} − {b}*", contrasts.get(f"{a} - {b}")) for a, b in table.contrasts]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), help="all if left out; none makes only the summary")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    claim_folder(work / "miniature.json", constants(), "rows")
    names = list(ROWS) if given.rows is None else given.rows
    seeds = tuple(sorted({*SEEDS, *given.seeds}))
    failed = []
    for seed in given.seeds:
        for name in names:
            if not make(name, seed, work, given.device):
                failed.append(f"{name} (seed {seed})")
            write_results(summary(work, seeds))
    found = summary(work, seeds)
    write_results(found)
    if given.markdown:
        print(markdown(found))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def write_results(found: dict[str, object]) -> None:
    partial = RESULTS.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(found, indent=1), encoding="utf-8")
    os.replace(partial, RESULTS)


if __name__ == "__main__":
    main()
