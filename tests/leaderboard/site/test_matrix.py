"""The probe matrix: the strongest level of each treatment on each dimension."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard.site.matrix import Cell, probe_view, read_probes
from rewardbench.probing.record import ProbeCell, ProbeRecord


def cell(
    treatment: str, level: str, dimension: str, effect: float | None, verdict: str | None = None
) -> dict[str, Any]:
    numbers = dict.fromkeys(ProbeCell.model_fields)
    names = {"family": "degradation", "treatment": treatment, "level": level, "dimension": dimension}
    return {**numbers, **names, "effect": effect, "verdict": verdict, "n": 9, "n_abstained": 0, "n_equal": 0}


@pytest.fixture
def probe() -> ProbeRecord:
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
                cell("blur", "weak", "VQ", -0.5, "as expected"),
                cell("blur", "strong", "VQ", -2.5, "as expected"),
                cell("blur", "weak", "MQ", None),
                cell("noise", "weak", "MQ", 0.1),
            ],
            "responses": [],
            "settings": settings,
            "provenance": {"rewardbench": "0.1.0", "python": "3.11"},
        }
    )


def test_each_cell_is_the_level_with_the_largest_effect_either_way(probe: ProbeRecord) -> None:
    view = probe_view(probe)
    assert view.dimensions == ("VQ", "MQ")
    blur, noise = view.rows
    assert blur.cells == (Cell(-2.5, "strong", "as expected", 9), None)
    assert noise.cells == (None, Cell(0.1, "weak", "open", 9))


def test_probes_are_found_by_name_and_a_bad_one_is_refused(probe: ProbeRecord, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.probe.json").write_text(probe.to_json())
    (tmp_path / "result.json").write_text("{}")
    assert [view.model for view in read_probes(tmp_path)] == ["m"]
    assert read_probes(tmp_path / "none") == []
    (tmp_path / "probe.json").write_text(json.dumps({"schema": "rewardbench.probe/9"}))
    with pytest.raises(InputError, match="rewardbench.probe/9"):
        read_probes(tmp_path)
