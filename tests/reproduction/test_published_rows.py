"""Published tables computed again from raw files, to the printed digit, each with the rule it needs."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rewardbench.reproduction import manifests, reproduce
from rewardbench.reproduction.manifest import Manifest
from rewardbench.reproduction.recipes import genai_v1_judge

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
    assert (found.exit_code, found.state) == (0, "recomputed only")  # no printed number was met
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
def test_genai_v1_judges_come_out_of_the_collected_votes(judge: str, published: float, tables: Path) -> None:
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


@pytest.mark.shared
def test_fetv_s_ratings_without_their_prompts_are_the_same_part_and_other_ratings_are_not(
    tables: Path, tmp_path: Path
) -> None:
    text = (tables / "fetv_ratings_even.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    header = text[0].split(",")
    for name, lines in (("alone", text), ("fewer", text[:1001])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fetv_ratings_even.csv").write_text("".join(lines), encoding="utf-8")
    assert "alignment_r0" in header
    alone = reproduce("umtscore@fetv", data_dir=tmp_path / "alone")
    assert (alone.n, alone.state) == (1511, "recomputed only")
    fewer = reproduce("umtscore@fetv", data_dir=tmp_path / "fewer")
    assert (fewer.n, fewer.state, fewer.exit_code) == (1000, "not compared", 2)
    printed = [cell for cell in fewer.cells if cell.origin == "paper"]
    assert all(cell.ours is not None and cell.difference is None for cell in printed)
    assert "the pairs of fetv at hand are not the published ones" in printed[0].why


HUMAN_VOTES = ("leftvote", "leftvote", "rightvote", "rightvote", "tievote", "tievote", "bothbad_vote", "bothbad_vote")


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (("[[A>B]]", "[[A>>B]]", "[[B>A]]", "[[B>>A]]", "[[A=B=Good]]", "[[A=B]]", "[[A=B=Bad]]", "[[A=B]]"), 8),
        (("[[A=B]]",) * 8, 4),  # an undivided tie is right for both kinds of tie, and for nothing else
        (("[[A>>B]]",) * 8, 2),
        (("[[B>>A]]",) * 8, 2),
        (("[[A=B=Good]]",) * 8, 2),
        (("[[A=B=Bad]]",) * 8, 2),
        ((" [[A>B]]", "[[a>b]]", "B", None, "[[A=B=good]]", "so [[A=B]]", "", "[[A=B ]]"), 0),  # letter by letter
    ],
)
def test_genai_v1_counts_a_strong_vote_and_an_undivided_tie_of_either_kind(
    said: tuple[str | None, ...], right: int, tmp_path: Path
) -> None:
    """Each human vote with the spellings that count for it; the accuracy is counted by hand."""
    records = [
        {"idx": str(i), "prompt": f"p{i}", "human_vote": vote, "model_vote": text}
        for i, (vote, text) in enumerate(zip(HUMAN_VOTES, said, strict=True))
    ]
    path = tmp_path / "results" / "video_generation" / "j" / "pairwise.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(records), encoding="utf-8")
    found = genai_v1_judge(tmp_path, {"judge": "j"})
    assert (found.numbers["accuracy"], found.n) == (100 * right / 8, 8)


def totals(manifest: Manifest) -> dict[str, str]:
    return {cell.name: cell.state for cell in reproduce(manifest.id).cells}


@pytest.mark.parametrize("row", [name for name, m in ROWS.items() if m.recipe == "vbench-i2v-totals"])
def test_vbench_i2v_s_totals(row: str) -> None:
    """Nine dimensions where camera motion was measured, eight where not; OSTopB contradicts itself."""
    manifest = ROWS[row]
    assert len(manifest.parameters["dimensions"]) == (8 if row.startswith("animereward") else 9)
    states = totals(manifest)
    if row.startswith("ostopb"):
        within = "equal within rounding of inputs"
        assert states == {"total": "known to differ", "i2v": "known to differ", "quality": within}
    else:
        for cell in reproduce(manifest.id).cells:
            met = abs(Decimal(cell.ours or 0) - Decimal(cell.paper)) <= Decimal("0.005")
            assert cell.state == ("equal" if met else "equal within rounding of inputs")


def test_a_total_that_only_rounded_inputs_allow_is_not_called_equal() -> None:
    """Step-Video-TI2V prints 95.11 for image-to-video; its own printed dimensions give 95.1037."""
    found = reproduce("step-video-ti2v-motion-10@vbench-i2v")
    states = {cell.name: cell.state for cell in found.cells}
    assert states["total"] == "equal"
    assert states["i2v"] == "equal within rounding of inputs"
    assert (found.state, found.exit_code) == ("reproduces within rounding of inputs", 0)
    assert reproduce("ostopa@vbench-i2v").state == "reproduces"


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
