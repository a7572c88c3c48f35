"""Runs to make bundles of, made once: recorded scores on 40 pairs, and recorded verdicts on the same.

Nothing heavy is imported here: the browser's tests are also collected where only pytest is installed.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROMPT = '<script>alert("prompt")</script>'
Change = Callable[[dict[str, bytes]], None]


def write_pairs(path: Path, n: int = 40, seed: int = 0) -> Path:
    """Pairs of ten prompts with two labels, two scores per side, and a judge's verdicts."""
    import numpy as np

    rng = np.random.default_rng(seed)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["pair_id", "prompt", "kind", "label_VQ", "label_TA", "good_A", "good_B", "bad_A", "bad_B", "judge"]
        )
        for k in range(n):
            human = rng.choice([1, 0, -1], 2)
            a, b = rng.normal(size=2)
            names = [{1: "A", 0: "tie", -1: "B"}[int(h)] for h in human]
            if k % 7 == 3:
                names[1] = ""  # not every pair has every label
            judge = names[0] if k % 3 else "B"
            writer.writerow(
                [
                    *(f"p{k:03d}", f"{PROMPT} {k // 4}", ("odd", "even")[k % 2], *names),
                    *(round(a + human[0], 3), round(a, 3), round(a, 3), "" if k == 5 else round(b, 3), judge),
                ]
            )
    return path


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("benchmark") / "votes.csv")


@pytest.fixture(scope="session")
def scores_run(pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ``scores``: two models on two labels, sliced."""
    from rewardbench.runs import RunSettings, run_benchmark

    out = tmp_path_factory.mktemp("runs") / "scores"
    settings = RunSettings(
        ("scores",),
        (str(pairs_file),),
        score_map=(("VQ", "good"), ("VQ", "bad"), ("TA", "good")),
        scores=pairs_file,
        out=out,
        slices=("kind",),
        workers=1,
        command=f"rewardbench run --plugin scores --scores {pairs_file} --out={out}",
    )
    run_benchmark(settings)
    return out


@pytest.fixture(scope="session")
def verdicts_run(pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rewardbench.runs import RunSettings, run_benchmark

    out = tmp_path_factory.mktemp("runs") / "verdicts"
    settings = RunSettings(
        ("verdicts",),
        (str(pairs_file),),
        score_map=(("VQ", "judge"), ("TA", "judge")),
        verdicts=pairs_file,
        out=out,
        workers=1,
    )
    run_benchmark(settings)
    return out


@pytest.fixture(scope="session")
def known(pairs_file: Path) -> dict[str, Any]:
    from rewardbench.leaderboard.known import fingerprint

    found = fingerprint(str(pairs_file), licence="CC-BY-4.0")
    return {found.sha256: found}


@pytest.fixture(scope="session")
def bundle(scores_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rewardbench.leaderboard.submission import make_bundle

    path = tmp_path_factory.mktemp("bundles") / "scores.zip"
    path.write_bytes(make_bundle(scores_run, facts={"good": {"training_data": "clean", "parameters": 7}}))
    return path


@pytest.fixture(scope="session")
def verdicts_bundle(verdicts_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rewardbench.leaderboard.submission import make_bundle

    path = tmp_path_factory.mktemp("bundles") / "verdicts.zip"
    path.write_bytes(make_bundle(verdicts_run))
    return path


@pytest.fixture
def tampered(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """``tampered(change)`` is the bundle after ``change(members)``, its hashes made right again unless told not to."""

    def make(change: Change, *, source: Path = bundle, honest_hashes: bool = True) -> Path:
        from rewardbench.leaderboard import archive

        members = archive.unpack(source)
        change(members)
        if honest_hashes:
            manifest = json.loads(members[archive.MANIFEST])
            manifest["files"] = {
                name: hashlib.sha256(content).hexdigest()
                for name, content in members.items()
                if name != archive.MANIFEST
            }
            members[archive.MANIFEST] = json.dumps(manifest).encode()
        path = tmp_path / "tampered.zip"
        path.write_bytes(archive.pack(members))
        return path

    return make


@pytest.fixture
def restated(tampered: Callable[..., Path]) -> Callable[..., Path]:
    """As ``tampered``, and then every stated number is what the changed items give: a lie that is consistent."""

    def make(change: Change, *, source: Path) -> Path:
        from rewardbench.leaderboard import archive
        from rewardbench.leaderboard.bundle import read_bundle
        from rewardbench.leaderboard.recomputing import recompute

        read = read_bundle(tampered(change, source=source))

        def state(members: dict[str, bytes]) -> None:
            change(members)
            result = json.loads(members[archive.RESULT])
            result["metrics"] = [row.metric.model_dump(mode="json") for row in recompute(read)]
            members[archive.RESULT] = json.dumps(result).encode()

        return tampered(state, source=source)

    return make


def edit_json(name: str, change: Callable[[Any], None]) -> Change:
    """A change of one JSON member."""

    def apply(members: dict[str, bytes]) -> None:
        value = json.loads(members[name])
        change(value)
        members[name] = json.dumps(value).encode()

    return apply


def edit_lines(name: str, change: Callable[[list[Any]], Any]) -> Change:
    """A change of one table: ``change`` gets its lines, and may return others."""

    def apply(members: dict[str, bytes]) -> None:
        lines = [json.loads(line) for line in members[name].splitlines()]
        lines = change(lines) or lines
        members[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    return apply


@pytest.fixture(scope="session")
def edit() -> Any:
    class Edit:
        json = staticmethod(edit_json)
        lines = staticmethod(edit_lines)

    return Edit


def probe_cell(
    treatment: str, level: str, dimension: str, effect: float | None, verdict: str | None = None
) -> dict[str, Any]:
    from rewardbench.probing.record import ProbeCell

    numbers = dict.fromkeys(ProbeCell.model_fields)
    names = {"family": "degradation", "treatment": treatment, "level": level, "dimension": dimension}
    return {**numbers, **names, "effect": effect, "verdict": verdict, "n": 9, "n_abstained": 0, "n_equal": 0}


@pytest.fixture(scope="session")
def probe() -> Any:
    """What a probe of a model ``m`` found: two treatments, two dimensions."""
    from rewardbench.probing.record import ProbeRecord

    treatments = [
        {"family": "degradation", "name": name, "levels": ["weak", "strong"], "description": "what is done"}
        for name in ("blur", "noise")
    ]
    settings = {
        **{"only": [], "quick": False, "limit": None, "seed": 0, "short_side": 256, "most_frames": 32, "margin": 0.2},
        **{"alpha": 0.05, "fewest_clips": 5, "bootstrap": 10, "rule": "as documented"},
    }
    clips = {
        "n": 9,
        "n_failed": 0,
        "n_prompts": 9,
        "n_images": 0,
        "n_first_frames": 0,
        "n_shrunk": 0,
        "sha256": "a" * 64,
    }
    return ProbeRecord.model_validate(
        {
            "schema": "rewardbench.probe/1",
            "plugin": {"label": "m", "name": "m", "version": "1", "fingerprint": "f", "dimensions": [{"name": "VQ"}]},
            "dimensions": [{"name": "VQ"}, {"name": "MQ"}],
            "clips": clips,
            "treatments": treatments,
            "cells": [
                probe_cell("blur", "weak", "VQ", -0.5, "as expected"),
                probe_cell("blur", "strong", "VQ", -2.5, "as expected"),
                probe_cell("blur", "weak", "MQ", None),
                probe_cell("noise", "weak", "MQ", 0.1),
            ],
            "responses": [],
            "settings": settings,
            "provenance": {"rewardbench": "0.1.0", "python": "3.11"},
        }
    )
