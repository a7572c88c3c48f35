"""Joining finished runs, and what a comparison says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rewardbench.comparing import compare_runs, record
from rewardbench.comparing.record import Comparison, json_schema
from rewardbench.errors import InputError
from rewardbench.metrics.calibration import calibrate
from rewardbench.metrics.generators import compare_generators
from rewardbench.metrics.paired import holm, paired_test
from rewardbench.results import read_result

from .conftest import MakeRun, labels_and_quality, scores

FAST = {"n_permutations": 999, "n_bootstrap": 100}
GOOD, FAIR, POOR = scores(0.3, 1), scores(1.0, 2), scores(5.0, 3)


def by_pair(found: Comparison, label: str = "VQ", rule: str = "crossfit") -> dict[tuple[str, str], object]:
    (one,) = [c for c in found.comparisons if (c.label, c.rule) == (label, rule)]
    return {(pair.model_a, pair.model_b): pair for pair in one.pairs}


def test_accuracies_are_those_of_the_runs_own_results(make_run: MakeRun) -> None:
    one = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR})
    two = make_run("two", {("fair", "VQ", "q"): FAIR})
    found = compare_runs([one, two], **FAST)
    known = {m.plugin: m for folder in (one, two) for m in read_result(folder / "result.json").metrics}
    for comparison in found.comparisons:
        for place in comparison.standings:
            metric = known[place.model]
            own = metric.accuracy_with_ties.crossfit if comparison.rule == "crossfit" else metric.accuracy_without_ties
            assert place.value == pytest.approx(own.value, abs=1e-12)
            assert place.ci95 == pytest.approx(own.ci95, abs=1e-12)
    assert [place.model for place in found.comparisons[0].standings] == ["good", "fair", "poor"]


def test_an_accuracy_has_the_interval_of_its_run_where_prompts_hold_nothing_but_ties(make_run: MakeRun) -> None:
    human = labels_and_quality()[0].copy()
    human[:18] = 0  # three prompts of six pairs
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR}, human=human)
    found = {one.rule: one for one in compare_runs([folder], n_permutations=999, n_bootstrap=100).comparisons}
    for metric in read_result(folder / "result.json").metrics:
        own = {"crossfit": metric.accuracy_with_ties.crossfit, "without-ties": metric.accuracy_without_ties}
        for rule, accuracy in own.items():
            (place,) = [place for place in found[rule].standings if place.model == metric.plugin]
            assert (place.value, place.ci95) == (
                pytest.approx(accuracy.value, abs=1e-12),
                pytest.approx(accuracy.ci95, abs=1e-12),
            )
    assert (found["crossfit"].n_clusters, found["without-ties"].n_clusters) == (20, 17)
    assert found["without-ties"].n == int((human != 0).sum())


def test_ties_of_people_are_not_left_out_of_the_rule_without_ties_but_no_part_of_it(make_run: MakeRun) -> None:
    human = labels_and_quality()[0]
    decided, silent = human != 0, POOR.copy()
    silent[:30] = np.nan
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("fair", "VQ", "q"): FAIR, ("silent", "VQ", "q"): silent})
    pairs = by_pair(compare_runs([folder], rules=("without-ties",), **FAST), rule="without-ties")
    assert 0 < decided.sum() < decided.size
    assert (pairs["good", "fair"].n, pairs["good", "fair"].n_left_out) == (decided.sum(), 0)
    assert (pairs["good", "silent"].n, pairs["good", "silent"].n_left_out) == (decided[30:].sum(), decided[:30].sum())


def test_too_few_permutations_for_the_family_are_told_with_the_number_that_would_do(make_run: MakeRun) -> None:
    # 11 models are 55 comparisons; 55 / (R + 1) <= .05 from R = 1,099. A model that is worse by far has p = 1 / (R + 1)
    # against the ten that are right everywhere.
    right, wrong = labels_and_quality()[0].astype(float), -labels_and_quality()[0].astype(float)
    models = {(f"m{k:02d}", "VQ", "q"): right + 0.01 * k * np.sign(right) for k in range(10)} | {
        ("bad", "VQ", "q"): wrong
    }
    folder = make_run("one", models)
    few = compare_runs([folder], rules=("without-ties",), n_permutations=1098, n_bootstrap=0)
    (warning,) = few.warnings
    assert "without-ties: with 1,098 permutations no drawn p can stay at or below 0.05 among 55 comparisons" in warning
    assert "give --permutations 1099 or more" in warning
    tested = by_pair(few, rule="without-ties")
    assert {test.p for test in tested.values()} == {1.0, 1 / 1099}
    assert min(test.p_holm for test in tested.values()) > 0.05
    enough = compare_runs([folder], rules=("without-ties",), n_permutations=1099, n_bootstrap=0)
    assert enough.warnings == []
    assert min(test.p_holm for test in by_pair(enough, rule="without-ties").values()) <= 0.05


def test_the_shipped_schema_is_the_one_in_force() -> None:
    shipped = Path(record.__file__).with_name("comparison.schema.json")
    assert json.loads(shipped.read_text()) == json_schema()


def test_pairs_of_models_hold_the_paired_test_of_their_fixed_outcomes(make_run: MakeRun) -> None:
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR})
    human, _, prompts, _ = labels_and_quality()
    table = pq.read_table(folder / "pairs.parquet").to_pylist()
    right = {
        plugin: [float(row["predicted"] == row["human"]) for row in table if row["plugin"] == plugin]
        for plugin in ("good", "poor")
    }
    expected = paired_test(right["good"], right["poor"], prompts, **FAST)
    found = by_pair(compare_runs([folder], **FAST))["good", "poor"]
    for name in ("n", "difference", "ci95", "p", "effect_size", "clusters_needed", "only_a", "only_b"):
        assert getattr(found, name) == getattr(expected, name), name
    decided = human != 0
    sign = [np.where(decided, np.sign(margin) == human, np.nan) for margin in (GOOD, POOR)]
    strict = by_pair(compare_runs([folder], **FAST), rule="without-ties")["good", "poor"]
    assert strict.n == int(decided.sum())
    assert strict.p == paired_test(*sign, prompts, **FAST).p


def test_holm_s_family_is_all_labels_and_pairs_of_one_rule(make_run: MakeRun) -> None:
    models = {"good": GOOD, "fair": FAIR, "poor": POOR}
    folder = make_run("one", {(name, label, "q"): m for name, m in models.items() for label in ("VQ", "MQ")})
    found = compare_runs([folder], **FAST)
    for rule in ("crossfit", "without-ties"):
        pairs = [pair for one in found.comparisons if one.rule == rule for pair in one.pairs]
        assert len(pairs) == 6
        assert [pair.p_holm for pair in pairs] == holm([pair.p for pair in pairs]).tolist()


def test_neither_the_order_of_pairs_nor_of_runs_matters(make_run: MakeRun) -> None:
    order = np.random.default_rng(0).permutation(GOOD.size)
    one = make_run("one", {("good", "VQ", "q"): GOOD})
    two = make_run("two", {("poor", "VQ", "q"): POOR})
    shuffled = make_run("shuffled/two", {("poor", "VQ", "q"): POOR}, order=order)
    first, second = compare_runs([one, two], **FAST), compare_runs([shuffled, one], **FAST)
    assert first.comparisons == second.comparisons
    key = {(c.model, c.label): c for c in first.calibration}
    for other in second.calibration:
        same = key[other.model, other.label]
        assert other.log_loss == pytest.approx(same.log_loss, abs=1e-12)


def test_the_same_runs_and_settings_give_the_same_bytes(make_run: MakeRun) -> None:
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR}, slices=True)
    texts = {compare_runs([folder], **FAST, generator_columns=("model_a", "model_b")).to_json() for _ in range(2)}
    assert len(texts) == 1
    text = texts.pop()
    assert Comparison.model_validate_json(text).to_json() == text
    assert json.loads(text)["schema"] == "rewardbench.comparison/1"
    assert "NaN" not in text
    assert json_schema()["$id"] == "rewardbench.comparison/1"


def test_pairs_that_a_model_abstained_from_are_left_out_and_counted(make_run: MakeRun) -> None:
    silent = FAIR.copy()
    silent[:30] = np.nan
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("silent", "VQ", "q"): silent, ("poor", "VQ", "q"): POOR})
    found = compare_runs([folder], rules=("crossfit",), **FAST)
    pairs = by_pair(found)
    assert {names: (pair.n, pair.n_left_out) for names, pair in pairs.items()} == {
        ("good", "silent"): (90, 30),
        ("good", "poor"): (120, 0),
        ("silent", "poor"): (90, 30),
    }
    assert found.comparisons[0].n == 90
    assert [c.n_abstained for c in found.contenders] == [0, 30, 0]
    assert "ranked on the 90 of 120 pairs that every model answered" in found.warnings[0]


def test_models_without_a_common_pair_are_not_ranked(make_run: MakeRun) -> None:
    first, second = GOOD.copy(), POOR.copy()
    first[:60], second[60:] = np.nan, np.nan
    found = compare_runs([make_run("one", {("a", "VQ", "q"): first, ("b", "VQ", "q"): second})], **FAST)
    assert {place.rank for place in found.comparisons[0].standings} == {None}
    assert (found.comparisons[0].pairs[0].p, found.comparisons[0].pairs[0].p_holm) == (None, None)
    assert "nothing is ranked" in found.warnings[0]
    assert "NaN" not in found.to_json()


def test_models_are_named_as_briefly_as_tells_them_apart(make_run: MakeRun) -> None:
    one = make_run("one", {("scores", "VQ", "x"): GOOD, ("scores", "VQ", "y"): POOR})
    two = make_run("two", {("scores", "VQ", "x"): FAIR})
    other = make_run("other", {("clip", "VQ", "x"): FAIR})
    assert [c.model for c in compare_runs([one], **FAST).contenders] == ["scores/x", "scores/y"]
    assert [c.model for c in compare_runs([two, other], **FAST).contenders] == ["scores", "clip"]
    three = [c.model for c in compare_runs([one, two], **FAST).contenders]
    assert three == ["scores/x [one]", "scores/y [one]", "scores/x [two]"]


def test_calibration_is_that_of_the_margins(make_run: MakeRun) -> None:
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR})
    human, _, prompts, _ = labels_and_quality()
    expected = calibrate(human, GOOD, groups=prompts, n_bootstrap=100)
    found = compare_runs([folder], **FAST).calibration[0]
    assert (found.log_loss, found.brier, found.scale) == (expected.log_loss, expected.brier, expected.fit.scale)
    assert found.decided.reference == expected.decided.reference


def test_generators_are_read_from_the_pairs_from_slices_or_from_the_unchanged_benchmark_file(
    make_run: MakeRun, tmp_path: Path
) -> None:
    import hashlib

    human, _, prompts, sides = labels_and_quality()
    lines = ["model_a,model_b", *(f"{a},{b}" for a, b in sides)]
    source = tmp_path / "pairs.csv"
    source.write_text("\n".join(lines) + "\n")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    margins = {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR}
    sliced = make_run("sliced", margins, slices=True)
    named = make_run("named", margins, named=True)
    filed = make_run("filed", margins, benchmark={"source": str(source), "sha256": digest})
    columns = ("model_a", "model_b")
    found = [compare_runs([folder], **FAST, generator_columns=columns).generators for folder in (sliced, filed, named)]
    assert found[0] == found[1] == found[2]
    first, second = ([side[k] for side in sides] for k in (0, 1))
    expected = compare_generators(first, second, human, GOOD, groups=prompts, **FAST)
    assert found[0][0].soft_pairwise_accuracy == expected.soft_pairwise_accuracy
    assert [s.generator for s in found[0][0].by_people] == ["cog", "gen", "pika", "show"]
    source.write_text(source.read_text() + "cog,gen\n")
    said = "names none in 'model_a' and 'model_b', and "
    with pytest.raises(InputError, match=f"{said}.*pairs.csv has changed since the run; name other columns"):
        compare_runs([filed], **FAST, generator_columns=columns)
    source.unlink()
    with pytest.raises(InputError, match=f"{said}the pairs file of drawn is no longer where the run found it"):
        compare_runs([filed], **FAST, generator_columns=columns)
    folder = make_run("folder", margins, benchmark={"source": str(tmp_path)})
    with pytest.raises(InputError, match=f"{said}drawn is read from a folder, not from a pairs file"):
        compare_runs([folder], **FAST, generator_columns=columns)


def refused(*folders: Path, **options: object) -> str:
    with pytest.raises(InputError) as error:
        compare_runs(folders, **{**FAST, **options})  # type: ignore[arg-type]
    return str(error.value)


def test_runs_that_cannot_be_compared_are_refused_in_a_sentence(make_run: MakeRun, tmp_path: Path) -> None:
    margins = {("good", "VQ", "q"): GOOD}
    one = make_run("one", margins)
    assert "the run" in refused(one, one)
    assert "is given twice" in refused(one, one / "result.json")
    assert "same benchmark" in refused(one, make_run("v2", margins, benchmark={"version": "2"}))
    assert "same benchmark" in refused(one, make_run("sha", margins, benchmark={"sha256": "cd" * 32}))
    assert "same --cluster" in refused(one, make_run("group", margins, cluster="group"))
    assert "(120 and 50); run both on all pairs" in refused(one, make_run("short", margins, keep=50))
    assert "disagree about people's answers" in refused(one, make_run("h", margins, human=-labels_and_quality()[0]))
    assert "name one for the comparison with --seed" in refused(one, make_run("seed", margins, seed=3))
    assert "no label is answered by two scores" in refused(one, make_run("mq", {("good", "MQ", "q"): GOOD}))
    assert "only 'good' answers the label 'VQ'" in refused(one, labels=("VQ",))
    assert "no run has the label 'VR'; did you mean 'VQ'?" in refused(one, labels=("VR",))
    assert "rule 'oracle' is unknown" in refused(one, rules=("oracle",))
    assert "draw at least 999" in refused(one, n_permutations=10)
    assert "does not exist" in refused(one, tmp_path / "nowhere")


def test_a_seed_given_settles_runs_with_different_seeds(make_run: MakeRun) -> None:
    one = make_run("one", {("good", "VQ", "q"): GOOD})
    two = make_run("two", {("poor", "VQ", "q"): POOR}, seed=3)
    assert compare_runs([one, two], seed=0, **FAST).settings.seed == 0


def test_damaged_tables_are_refused_in_a_sentence(make_run: MakeRun) -> None:
    one = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR})
    path = one / "pairs.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1).cast(table.schema), path)
    assert "has no pair of label 'VQ'" in refused(one)
    import pyarrow as pa

    pq.write_table(pa.concat_tables([table, table]), path)
    assert "twice; it is damaged" in refused(one)
    pq.write_table(table.drop(["margin"]), path)
    assert "has no column 'margin'" in refused(one)
    path.write_bytes(b"PAR1")
    assert "cannot be read" in refused(one)
    path.unlink()
    assert "name its whole folder" in refused(one)
