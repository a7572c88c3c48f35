"""The probe matrix: the strongest level of each treatment on each dimension."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard.site.matrix import Cell, probe_view, read_probes
from rewardbench.probing.record import ProbeRecord


def test_each_cell_is_the_level_with_the_largest_effect_either_way(probe: ProbeRecord) -> None:
    view = probe_view(probe)
    assert view.dimensions == ("VQ", "MQ")
    blur, noise = view.rows
    assert blur.cells == (Cell(-2.5, "strong", "as expected", 9), None)
    assert noise.cells == (None, Cell(0.1, "weak", "", 9))


def test_probes_are_found_by_name_and_a_bad_one_is_refused(probe: ProbeRecord, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.probe.json").write_text(probe.to_json())
    (tmp_path / "result.json").write_text("{}")
    assert [view.model for view in read_probes(tmp_path)] == ["m"]
    assert read_probes(tmp_path / "none") == []
    (tmp_path / "probe.json").write_text(json.dumps({"schema": "rewardbench.probe/9"}))
    with pytest.raises(InputError, match="rewardbench.probe/9"):
        read_probes(tmp_path)
