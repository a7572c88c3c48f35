"""Published tables computed again from raw files, to the printed digit, each with the rule it needs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rewardbench.reproduction import manifests, reproduce
from rewardbench.reproduction.manifest import Manifest

ROWS = manifests()
FETV = {  # tau-c and rho on the 1,511 clips with an even prompt id, computed elsewhere
    "CLIPScore": (0.1732, 0.2375),
    "CLIPScore-ft": (0.2119, 0.2923),
    "BLIPScore": (0.2278, 0.3116),
    "Otter-VQA": (0.1208, 0.1681),
    "UMTScore": (0.3189, 0.4364),
}


@pytest.fixture
def tables(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    return shared / "data" / "tables"


@pytest.mark.shared
@pytest.mark.parametrize("metric", FETV)
def test_fetv_s_correlations_need_the_mean_of_three_raters_and_the_real_clips(metric: str, tables: Path) -> None:
    found = reproduce(f"{metric.lower()}@fetv", data_dir=tables)
    computed = {cell.name: cell.ours for cell in found.cells if cell.state != "not computed"}
    assert found.n == 1511
    assert [round(computed[name], 4) for name in ("tau_c", "rho")] == list(FETV[metric])
    assert found.exit_code == 0
    published = [cell for cell in found.cells if cell.origin == "paper"]
    assert {cell.state for cell in published} == {"not computed"}  # they pool all prompt ids
    assert all("belongs to the part 'all' of the data; here is 'even'" in cell.why for cell in published)


@pytest.mark.shared
def test_fetv_s_correlations_are_scipy_s_on_the_raw_table(tables: Path) -> None:
    """Independent of the loader and of this project's metrics; other rules do not give the numbers."""
    with open(tables / "fetv_ratings_even.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))

    def of(metric: str, *, raters: range = range(3), real: bool = True, variant: str = "c") -> tuple[float, float]:
        kept = [row for row in rows if real or row["system"] != "ground-truth"]
        x = [float(row[metric]) for row in kept]
        y = np.mean([[int(row[f"alignment_r{r}"]) for r in raters] for row in kept], axis=1)
        return stats.kendalltau(x, y, variant=variant).statistic, stats.spearmanr(x, y).statistic

    for metric, expected in FETV.items():
        assert of(metric) == pytest.approx(expected, abs=5e-5)
        assert of(metric, raters=range(1)) != pytest.approx(expected, abs=5e-4)  # one rater
        assert of(metric, real=False) != pytest.approx(expected, abs=5e-4)  # generated clips only
        assert of(metric, variant="b")[0] != pytest.approx(expected[0], abs=5e-4)  # tau-b


@pytest.mark.shared
@pytest.mark.parametrize(
    ("judge", "published"), [("gpt4o", 48.46), ("gemini-1.5-pro", 46.21), ("llava", 30.4), ("random", 25.16)]
)
def test_genai_v1_judges_need_both_ties_for_an_undivided_tie(judge: str, published: float, tables: Path) -> None:
    found = reproduce(f"{judge}@genai-bench-video-v1", data_dir=tables)
    assert (found.n, found.exit_code, found.state) == (1069, 0, "reproduces")
    with open(tables / "genai_bench_v1_video_votes.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    right = {"leftvote": "A>B", "rightvote": "B>A", "tievote": "A=B=Good", "bothbad_vote": "A=B=Bad"}
    strict = sum(row[judge] == f"[[{right[row['human_vote']]}]]" for row in rows)
    undivided = sum(row[judge] == "[[A=B]]" and row["human_vote"] in ("tievote", "bothbad_vote") for row in rows)
    assert round(100 * (strict + undivided) / len(rows), 2) == published
    assert round(found.cells[0].ours or 0, 2) == published


@pytest.mark.shared
def test_a_judge_whose_verdicts_are_not_at_hand_is_said_to_be_missing(tables: Path) -> None:
    found = reproduce("idefics2@genai-bench-video-v1", data_dir=tables)
    assert (found.exit_code, found.state) == (2, "not run")
    assert "has no verdicts of idefics2" in found.missing[0]


@pytest.mark.shared
@pytest.mark.parametrize("row", ["clip-score@tvge", "x-clip-score@tvge"])
def test_tvge_s_rows_pool_all_clips_and_take_tau_b(row: str, tables: Path) -> None:
    found = reproduce(row, data_dir=tables)
    assert (found.n, found.exit_code) == (2543, 0)
    assert [cell.state for cell in found.cells] == ["equal", "equal"]


@pytest.mark.shared
def test_blip_bleu_s_rho_does_not_follow_from_the_published_file(tables: Path) -> None:
    found = reproduce("blip-bleu@tvge", data_dir=tables)
    assert {cell.name: cell.state for cell in found.cells} == {"rho": "known to differ", "tau_b": "equal"}
    assert found.cells[0].ours == pytest.approx(0.1513, abs=5e-5)
    assert (found.exit_code, found.state) == (1, "does not reproduce, as known")


def totals(manifest: Manifest) -> dict[str, str]:
    return {cell.name: cell.state for cell in reproduce(manifest.id).cells}


@pytest.mark.parametrize("row", [name for name, m in ROWS.items() if m.recipe == "vbench-i2v-totals"])
def test_vbench_i2v_s_totals(row: str) -> None:
    """Nine dimensions where camera motion was measured, eight where not; OSTopB contradicts itself."""
    manifest = ROWS[row]
    assert len(manifest.parameters["dimensions"]) == (8 if row.startswith("animereward") else 9)
    states = totals(manifest)
    if row.startswith("ostopb"):
        assert states == {"total": "known to differ", "i2v": "known to differ", "quality": "equal"}
    else:
        assert set(states.values()) == {"equal"}


def test_vbench_i2v_s_totals_by_hand() -> None:
    """OSTopA from the constants, written out once more."""
    d = {name: float(v) / 100 for name, v in ROWS["ostopa@vbench-i2v"].parameters["dimensions"].items()}
    i2v = (
        0.1 * d["camera_motion"] + (d["i2v_subject"] - 0.1462) / 0.8538 + (d["i2v_background"] - 0.2615) / 0.7385
    ) / 2.1
    quality = (
        (d["subject_consistency"] - 0.1462) / 0.8538
        + (d["background_consistency"] - 0.2615) / 0.7385
        + (d["motion_smoothness"] - 0.7060) / 0.2915
        + 0.5 * d["dynamic_degree"]
        + d["aesthetic_quality"]
        + d["imaging_quality"]
    ) / 5.5
    found = {cell.name: cell.ours for cell in reproduce("ostopa@vbench-i2v").cells}
    assert found["i2v"] == pytest.approx(100 * i2v)
    assert found["quality"] == pytest.approx(100 * quality)
    assert found["total"] == pytest.approx(50 * (i2v + quality))


@pytest.mark.shared
def test_the_inputs_of_vbench_i2v_are_those_of_the_collected_table(shared: Path) -> None:
    with open(shared / "data" / "tables" / "vbench_i2v_step.csv", encoding="utf-8") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    for model, name in (("Step-Video-TI2V (motion=10)", "step-video-ti2v-motion-10"), ("OSTopA", "ostopa")):
        manifest = ROWS[f"{name}@vbench-i2v"]
        for dimension, value in manifest.parameters["dimensions"].items():
            assert float(value) == float(rows[model][dimension])
        for cell in manifest.cells:
            assert float(cell.value) == float(rows[model][f"{cell.name}_published"])
