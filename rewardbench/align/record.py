"""``result.json`` of an alignment: what was done, what changed, and what it was done with."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rewardbench
from rewardbench.align.generator import device_of, dtype_of
from rewardbench.align.judging import judge_record
from rewardbench.align.losses import effective_beta
from rewardbench.align.monitors import AlarmRule, findings, watch_rows
from rewardbench.align.objective import loss_elements
from rewardbench.align.processes import on_main
from rewardbench.align.training import read_log
from rewardbench.align.watching import failed_clips, readings

if TYPE_CHECKING:
    from rewardbench.align.alignment import Alignment
    from rewardbench.align.looks import Look
    from rewardbench.align.pairs import PairSet

SCHEMA = "rewardbench.align/1"
_PACKAGES = ("torch", "diffusers", "peft", "accelerate", "transformers")


def write_result(
    run: Alignment,
    base: Look,
    aligned: Look,
    *,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write and return it; every process has to ask, as judges are asked for looks that they have not seen.

    Args:
        run: the alignment that ended.
        base, aligned: of the evaluation prompts, in the same order.
        extra: further entries (guidance).
    """
    s, recipe = run.settings, run.recipe
    elements = loss_elements(run.family, recipe)
    beta = None
    if recipe.compares:
        found = effective_beta(recipe.beta, scale=recipe.scale, reduction=recipe.reduction, elements=elements)
        beta = {**asdict(found), "elements": elements}
    changes, alarm = run.looks.changes(base, aligned), run.looks.alarm()
    looks = readings(run.out, s)
    rounds = [run.out / f"round-{n + 1}" for n in range(recipe.rounds)]
    pairs = [json.loads(path.read_text(encoding="utf-8")) for path in map(_facts_path, rounds) if path.exists()]
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "algorithm": recipe.algorithm,
        "preset": s.preset,
        "recipe": recipe.as_dict(),
        "effective_beta": beta,
        "generator": {"model": s.model, "network_sha256": run.network_digest, **run.family.describe()},
        "sampling": asdict(run.sampling),
        "optimised": s.judge.label,
        "held_out": [judge.plugin for judge in s.held_out],
        "judges": [judge_record(judge) for judge in (s.judge, *s.held_out)],
        "prompts": {
            "learned_on": len(run.prompts) if s.pairs is None else max(p["prompts"] for p in pairs),
            "compared_on": len(run.evaluation),
        },
        "pairs": pairs,
        "training": [read_log(folder / "train") for folder in rounds],
        "changes": changes,
        "failed": failed_clips(run.out, s),
        "alarm": None if alarm is None else alarm.as_dict(),
        "findings": sorted({found for look in looks for found in findings(look, AlarmRule())}),
        "watched": watch_rows(looks, AlarmRule()),
        "clips": [
            {
                "prompt_id": b.prompt.prompt_id,
                "prompt": b.prompt.text,
                "image": os.path.relpath(b.prompt.image, run.out) if b.prompt.image else None,
                "base": os.path.relpath(b.video, run.out),
                "aligned": os.path.relpath(a.video, run.out),
            }
            for b, a in zip(base.samples, aligned.samples, strict=True)
        ],
        **(extra or {}),
        "provenance": {
            "rewardbench": rewardbench.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
            "device": _device_name(device_of(s.device)),
            "dtype": str(dtype_of(s)).removeprefix("torch."),
            "processes": run.process.num_processes,
            "command": s.command,
        },
    }
    on_main(run.process, lambda: _write(result, run.out / "result.json"))
    return result


def _write(result: Mapping[str, Any], path: Path) -> None:
    partial = path.with_name(f".{path.stem}.partial")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, path)


def pair_facts(pairs: PairSet) -> dict[str, Any]:
    """What a round learned from: ``n`` pairs of a winner and a loser (None of single clips) and their ``gaps``, how
    many ``prompts`` and ``clips``, who decided (``source``), and what is to be ``said`` of them."""
    decided = [p for p in pairs.pairs if p.lose]
    gaps = [p.reward_win - r for p in decided for r in p.reward_lose]
    return {
        "n": sum(len(p.lose) for p in decided) if decided else None,
        "gaps": [gap for gap in gaps if math.isfinite(gap)],
        "prompts": len({(p.prompt.text, p.prompt.image) for p in pairs.pairs}),
        "clips": len({clip for p in pairs.pairs for clip in (p.win, *p.lose)}),
        "source": pairs.judge,
        "said": [*pairs.left_out, *([pairs.off_policy] if pairs.off_policy else [])],
    }


def write_pair_facts(facts: Mapping[str, Any], folder: Path) -> None:
    """Write :func:`pair_facts` of a round beside its ``folder``."""
    _write(facts, _facts_path(folder))


def _facts_path(folder: Path) -> Path:
    return folder.parent / f"{folder.name}-pairs.json"


def _device_name(device: str) -> str:
    """With the GPU's own name: ``cuda (NVIDIA H100 80GB HBM3)``."""
    import torch

    if torch.device(device).type != "cuda":
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
