"""The alignment papers' tables in miniature: the toy generator, the drawn world, the judge `animereward:mini`.

    python perf/miniature.py --work FOLDER [--rows NAME …] [--seeds 0 1 2] [--markdown]

Every row is one alignment (``FOLDER/seed-S/NAME``), compared with the generator it started from on 128 prompts from the
same noise. Base clips and their scores are made once per seed and linked into every row. A row that is finished is not
made again; the command goes on where it stopped, and ``--rows`` makes (or, with its folder removed, repeats) any row.
Results of the finished rows go to ``perf/results/miniature.json``; ``--markdown`` prints the tables of
docs/miniature.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rewardbench.align.alignment import align
from rewardbench.align.judging import Judge
from rewardbench.align.presets import recipe_for
from rewardbench.align.prompts import write_table
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.settings import AlignSettings
from rewardbench.align.toy.drawn import FPS, drawn_prompt
from rewardbench.tables import read_table
from rewardbench.video import write_video

RESULTS = Path(__file__).with_name("results") / "miniature.json"
SIX = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")
HELD_OUT = ("outfit_colour", "flicker", "flow_amplitude", "sharpness")
EQUAL = dict.fromkeys(SIX, 1.0)
GENERAL = dict.fromkeys(("smoothness", "motion", "appeal", "text_video"), 1.0)
"""What a judge of general video quality has of the six (VideoScore: visual quality, temporal consistency, dynamic
degree, text alignment): nothing on the first frame, nothing on the character."""
TEXT = {"text_video": 1.0}
PROMPTS, EVALUATION, STEPS, SAMPLING_STEPS, SEEDS = 96, 128, 100, 12, (0, 1, 2)
DRAWS = 2000


def weighted(*values: float) -> dict[str, float]:
    """Weights in the paper's order; dimensions of weight 0 are not asked for."""
    return {name: w for name, w in zip(SIX, values, strict=True) if w > 0}


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    algorithm: str
    changes: dict[str, object] = field(default_factory=dict)
    mix: dict[str, float] = field(default_factory=lambda: EQUAL)
    real: bool = False


FALLING = {"beta_schedule": "(1-t)^2"}
REAL = {"losers": 3, "reference": "ema", "ema_decay": 0.9, "ema_every": 10}
ROWS: dict[str, Row] = {
    "sft": Row("sft"),
    "dpo": Row("dpo"),
    "gapo": Row("gapo"),
    "general-judge": Row("gapo", mix=GENERAL),
    "weights-0-0-1-1-1-1": Row("gapo", mix=weighted(0, 0, 1, 1, 1, 1)),
    "weights-3-5-3-3-3-3": Row("gapo", mix=weighted(3, 5, 3, 3, 3, 3)),
    "weights-3-3-6-4-4-4": Row("gapo", mix=weighted(3, 3, 6, 4, 4, 4)),
    "flow-rwr": Row("flow-rwr"),
    "flow-dpo-falling": Row("flow-dpo", FALLING),
    "text-sft": Row("sft", mix=TEXT),
    "text-flow-rwr": Row("flow-rwr", mix=TEXT),
    "text-flow-dpo-falling": Row("flow-dpo", FALLING, TEXT),
    "text-flow-dpo": Row("flow-dpo", mix=TEXT),
    **{f"beta-{b}": Row("flow-dpo", {"beta": float(b)}) for b in (200, 10000)},
    **{f"beta-{b}-falling": Row("flow-dpo", {"beta": float(b), **FALLING}) for b in (200, 10000)},
    "guided-0-0-1": Row("flow-nrg", mix={"text_video": 1.0}),
    "guided-.1-.1-.8": Row("flow-nrg", mix={"appeal": 0.1, "motion": 0.1, "text_video": 0.8}),
    "guided-.5-.5-0": Row("flow-nrg", mix={"appeal": 0.5, "motion": 0.5}),
    "guided-motion": Row("flow-nrg", mix={"motion": 1.0}),
    "guided-motion-clean": Row("flow-nrg", {"latent_clean": True}, {"motion": 1.0}),
    "real-sft": Row("sft", real=True),
    "realdpo-1": Row("realdpo", REAL, real=True),
    "realdpo-2": Row("realdpo", {**REAL, "rounds": 2}, real=True),
}
TABLES: dict[str, tuple[str, ...]] = {
    "Losses (GAPO paper, Table 3)": ("sft", "dpo", "gapo"),
    "Judges (GAPO paper, Table 4)": ("general-judge", "gapo"),
    "Weights of the six dimensions (GAPO paper, Table 5)": (
        "weights-0-0-1-1-1-1",
        "weights-3-5-3-3-3-3",
        "weights-3-3-6-4-4-4",
        "gapo",
    ),
    "Algorithms, all dimensions (Flow paper, Table 3)": ("sft", "flow-rwr", "flow-dpo-falling", "dpo"),
    "Algorithms, text alone (Flow paper, Table 4)": (
        "text-sft",
        "text-flow-rwr",
        "text-flow-dpo-falling",
        "text-flow-dpo",
    ),
    "Beta (Flow paper, Fig. 6)": (
        "beta-200",
        "dpo",
        "beta-10000",
        "beta-200-falling",
        "flow-dpo-falling",
        "beta-10000-falling",
    ),
    "Guidance weights (Flow paper, Table 5)": ("guided-0-0-1", "guided-.1-.1-.8", "guided-.5-.5-0"),
    "Noisy against clean latent reward (Flow paper, App. E)": ("guided-motion", "guided-motion-clean"),
    "Real winners (RealDPO)": ("real-sft", "realdpo-1", "realdpo-2"),
}


def settings(name: str, seed: int, work: Path, device: str) -> AlignSettings:
    row = ROWS[name]
    changes = {"seed": seed, "steps": STEPS, **row.changes}
    if row.algorithm == "flow-nrg":
        changes = {"steps": 400, "learning_rate": 1e-3, "guidance_scale": 100.0, "seed": seed, **row.changes}
    return AlignSettings(
        recipe=recipe_for(row.algorithm, None, changes),
        judge=Judge("animereward", row.mix),
        held_out=(Judge("drawn-rules", {"outfit_colour": 1.0}),),
        out=work / f"seed-{seed}" / name,
        prompt_count=PROMPTS,
        evaluation_count=EVALUATION,
        sampling=SamplingChoice(steps=SAMPLING_STEPS, batch_size=16),
        winners=real_clips(work) if row.real else None,
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


SHARED = ("prompts", "round-1/base", "round-1/base.csv", "round-1/scores.csv", "evaluate/base", "evaluate/base.csv",
          "evaluate/base-scores-0.csv", "evaluate/base-scores-1.csv")  # fmt: skip


def share(source: Path, target: Path) -> None:
    """Link what does not depend on the row: prompts, base clips and their scores."""
    for name in SHARED:
        a, b = source / name, target / name
        if not a.exists() or b.exists():
            continue
        b.parent.mkdir(parents=True, exist_ok=True)
        if a.is_dir():
            shutil.copytree(a, b, copy_function=os.link)
        else:
            os.link(a, b)


def make(name: str, seed: int, work: Path, device: str) -> None:
    """One row, from what other finished rows of its seed have already made."""
    given = settings(name, seed, work, device)
    if (given.out / "result.json").exists():
        return
    for other in sorted((work / f"seed-{seed}").glob("*/result.json")):
        share(other.parent, given.out)
        break
    result = align(given)
    change = result["changes"][given.judge.label]
    print(f"seed {seed} {name}: {change['base']:.4f} -> {change['aligned']:.4f}", file=sys.stderr, flush=True)


def differences(work: Path, name: str, seed: int) -> dict[str, np.ndarray] | None:
    """Differences by dimension and prompt of a finished row; None where it is not finished."""
    out = work / f"seed-{seed}" / name
    if not (out / "result.json").exists():
        return None
    found: dict[str, np.ndarray] = {}
    for number, dimensions in ((0, SIX), (1, HELD_OUT)):
        tables = [read_table(out / "evaluate" / f"{side}-scores-{number}.csv")[1] for side in ("base", "aligned")]
        for d in dimensions:
            before, after = (np.array([float(r[d] or "nan") for r in rows]) for rows in tables)
            found[d] = after - before
            found[f"{d}:base"] = before
    found["mean of six"] = np.mean([found[d] for d in SIX], axis=0)
    found["mean of six:base"] = np.mean([found[f"{d}:base"] for d in SIX], axis=0)
    return found


def summary(work: Path, seeds: tuple[int, ...]) -> dict[str, object]:
    """Every row over its finished seeds: means over prompts and seeds, intervals by bootstrap over prompts (a prompt's
    differences are averaged over seeds first), and the mean of every seed."""
    rng = np.random.default_rng(0)
    rows: dict[str, object] = {}
    for name in ROWS:
        by_seed = {s: d for s in seeds if (d := differences(work, name, s)) is not None}
        if not by_seed:
            continue
        entry: dict[str, object] = {"seeds": sorted(by_seed)}
        for d in ("mean of six", *SIX, *HELD_OUT):
            per_prompt = np.nanmean([found[d] for found in by_seed.values()], axis=0)
            won = np.nanmean([np.where(f[d] > 0, 1.0, np.where(f[d] == 0, 0.5, 0.0)) for f in by_seed.values()], axis=0)
            kept = np.isfinite(per_prompt)
            drawn = rng.integers(kept.sum(), size=(DRAWS, kept.sum()))
            low, high = np.percentile(per_prompt[kept][drawn].mean(1), [2.5, 97.5])
            entry[d] = {
                "difference": float(per_prompt[kept].mean()),
                "ci95": [float(low), float(high)],
                "win_rate": float(won[kept].mean()),
                "by_seed": {s: float(np.nanmean(f[d])) for s, f in by_seed.items()},
                "base": float(np.nanmean([f[f"{d}:base"] for f in by_seed.values()])),
                "prompts": int(kept.sum()),
            }
        rows[name] = entry
    return {
        "settings": {
            "prompts": PROMPTS,
            "evaluation_prompts": EVALUATION,
            "steps": STEPS,
            "sampling_steps": SAMPLING_STEPS,
            "samples_per_prompt": 4,
        },
        "rows": rows,
    }


def markdown(found: dict[str, object]) -> str:
    """The tables: differences from base, times 100, with 95 % intervals; held-out judges last."""
    rows: dict = found["rows"]  # type: ignore[assignment]
    lines: list[str] = []
    columns = ("mean of six", *SIX, *HELD_OUT)
    for title, names in TABLES.items():
        lines += [
            f"### {title}",
            "",
            "| row | seeds | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for name in names:
            entry = rows.get(name)
            if entry is None:
                lines.append(f"| {name} | 0 | " + " | ".join("not made yet" for _ in columns) + " |")
                continue
            cells = []
            for d in columns:
                low, high = (100 * x for x in entry[d]["ci95"])
                cells.append(f"{100 * entry[d]['difference']:+.2f} [{low:+.2f}, {high:+.2f}]")
            lines.append(f"| {name} | {len(entry['seeds'])} | " + " | ".join(cells) + " |")
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
    names = list(ROWS) if given.rows is None else given.rows
    for seed in given.seeds:
        for name in names:
            make(name, seed, given.work, given.device)
    found = summary(given.work, SEEDS)
    RESULTS.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if given.markdown:
        print(markdown(found))


if __name__ == "__main__":
    main()
