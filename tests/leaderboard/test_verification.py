"""A bundle is sound as made, and refused with a sentence after any change that would change what a board shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardbench.leaderboard import archive, verification
from rewardbench.leaderboard.bundle import MAX_FAULTS
from rewardbench.leaderboard.verification import verify_bundle, verify_bundles
from rewardbench.results import read_result

Tampered = Callable[..., Path]


def faults(path: Path, known: dict[str, Any]) -> tuple[str, ...]:
    found = verify_bundle(path, known)
    assert not found.sound
    assert found.bundle is None, "nothing of a refused bundle is handed on"
    return found.faults


def test_a_bundle_is_sound_and_gives_the_runs_own_numbers(
    bundle: Path, scores_run: Path, known: dict[str, Any]
) -> None:
    found = verify_bundle(bundle, known)
    assert found.faults == ()
    assert [row.metric for row in found.rows] == read_result(scores_run / "result.json").metrics


def test_a_bundle_of_verdicts_is_sound_and_gives_the_runs_own_numbers(
    verdicts_bundle: Path, verdicts_run: Path, known: dict[str, Any]
) -> None:
    found = verify_bundle(verdicts_bundle, known)
    assert found.faults == ()
    assert [row.metric for row in found.rows] == read_result(verdicts_run / "result.json").metrics
    assert found.rows[0].metric.verdict_accuracy is not None


def test_every_stated_number_is_held_against_the_items(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    """Each number of the first metric is changed by itself, and each time the bundle is refused."""
    members = json.loads(archive.unpack(tampered(lambda m: None))[archive.RESULT])

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if isinstance(value, dict):
            return [p for key, inner in value.items() for p in places(inner, (*path, key))]
        if isinstance(value, list):
            return [p for key, inner in enumerate(value) for p in places(inner, (*path, key))]
        return [path] if isinstance(value, (int, float)) else []

    found = places(members["metrics"][0])
    assert len(found) > 30
    for path in found[::5]:

        def change(result: Any, path: tuple[Any, ...] = path) -> None:
            inner = result["metrics"][0]
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] += 1 if isinstance(inner[path[-1]], int) else 1e-6

        (fault,) = faults(tampered(edit.json(archive.RESULT, change)), known)
        assert "is stated as" in fault
        assert str(path[-1] if isinstance(path[-1], str) else path[-2]) in fault


def drop_pairs(lines: list[Any]) -> list[Any]:
    return lines[:-3]


def flip_label(lines: list[Any]) -> None:
    line = next(line for line in lines if line["labels"].get("VQ"))
    line["labels"]["VQ"] *= -1


def set_score(value: Any) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        lines[0]["values"]["good"] = value

    return change


def twice(lines: list[Any]) -> list[Any]:
    return [*lines, lines[0]]


def drop_first(lines: list[Any]) -> list[Any]:
    return lines[1:]


def merge_clusters(lines: list[Any]) -> None:
    for line in lines:
        line["cluster"] = line["pair_id"]


CHANGES = {
    "a number": (
        archive.RESULT,
        lambda r: r["metrics"][1].update(kendall_tau_b=0.99),
        "kendall_tau_b is stated as 0.99",
    ),
    "pairs left out": (archive.PAIRS, drop_pairs, "label 'VQ' is incomplete: 37 of 40 pairs are there"),
    "a label turned": (archive.PAIRS, flip_label, "label 'VQ': pair ids, prompts, clusters, answers or their order"),
    "a score changed": (archive.SCORES, set_score(99.0), "is stated as"),
    "a pair twice": (archive.PAIRS, twice, "pair 'p000' stands 2 times"),
    "a score twice": (archive.SCORES, twice, "score of 'p000#A by scores' stands 2 times"),
    "a clip without a score": (archive.SCORES, drop_first, "has no score for 1 of 80 clips"),
    "clusters of one's own": (
        archive.PAIRS,
        merge_clusters,
        "label 'VQ': pair ids, prompts, clusters, answers or their order",
    ),
    "a score that is no number": (archive.SCORES, set_score("1"), "score 'good' is '1', not a finite number or null"),
    "a score out of all range": (archive.SCORES, set_score(1e308), "not a finite number or null"),
    "an unknown version": (
        archive.RESULT,
        lambda r: r["benchmark"].update(sha256="0" * 64),
        "is not a version that this board knows",
    ),
    "another name": (archive.RESULT, lambda r: r["benchmark"].update(name="other"), "benchmark.name is 'other' where"),
    "another seed": (
        archive.MANIFEST,
        lambda b: b["evaluation"].update(seed=7),
        "it was evaluated with seed 7 and 1,000 bootstrap draws, where a board takes seed 0",
    ),
    "fewer draws": (archive.MANIFEST, lambda b: b["evaluation"].update(bootstrap=10), "10 bootstrap draws"),
    "another cluster": (
        archive.MANIFEST,
        lambda b: b["evaluation"].update(cluster="kind"),
        "clusters are taken from 'kind', where the board takes them from 'prompt'",
    ),
    "a score turned round": (
        archive.MANIFEST,
        lambda b: b["evaluation"]["rows"][0].update(higher_is_better=False),
        "turns its score round",
    ),
    "a row twice": (
        archive.MANIFEST,
        lambda b: b["evaluation"]["rows"].append(b["evaluation"]["rows"][0]),
        "stands 2 times",
    ),
    "a row without a model": (
        archive.MANIFEST,
        lambda b: b["models"].pop(),
        "has not exactly one entry among the models",
    ),
    "a row without a metric": (archive.RESULT, lambda r: r["metrics"].pop(), "are not those of the rows"),
    "a negative threshold": (
        archive.MANIFEST,
        lambda b: b["evaluation"]["rows"][0].update(native_threshold=-1.0),
        "has a native threshold that is no number from 0 up",
    ),
    "a speed that cannot be": (
        archive.RESULT,
        lambda r: r["cost"]["plugins"]["scores"].update(clips_per_s=1e6),
        "clips_per_s is not n_scored / seconds",
    ),
    "a failure that was none": (
        archive.RESULT,
        lambda r: r["failures"].append({"plugin": "scores", "clip_id": "x", "video": "x", "error": "x"}),
        "result.json lists 1 failures, and the items have 0",
    ),
    "a newer schema": (
        archive.MANIFEST,
        lambda b: b.update(schema="rewardbench.bundle/2"),
        "bundle.json is of the newer schema rewardbench.bundle/2",
    ),
    "an older schema": (
        archive.RESULT,
        lambda r: r.update(schema="rewardbench.result/0"),
        "result.json is of the older schema rewardbench.result/0",
    ),
    "a foreign schema": (
        archive.MANIFEST,
        lambda b: b.update(schema="https://example.org/<script>"),
        "bundle.json is of a foreign schema ('https://example.org/<script>')",
    ),
    "a foreign field": (
        archive.MANIFEST,
        lambda b: b.update(extra=1),
        "bundle.json does not follow rewardbench.bundle/1",
    ),
    "a deep field": (
        archive.RESULT,
        lambda r: r["plugins"][0]["inputs"].update(a=json.loads("[" * 20 + "]" * 20)),
        "result.json nests deeper than 16 levels",
    ),
    "an item of nobody": (
        archive.SCORES,
        lambda lines: [*lines, {"plugin": "ghost", "clip_id": "p000#A", "values": {}}],
        "there are items of 'ghost', which no row names",
    ),
    "a score and an error": (
        archive.SCORES,
        lambda lines: lines[0].update(error="lost"),
        "has both scores and an error",
    ),
    "an order of pairs": (archive.PAIRS, lambda lines: lines[::-1], "answers or their order are not the benchmark's"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_tampered_bundle_is_refused(tampered: Tampered, known: dict[str, Any], edit: Any, name: str) -> None:
    member, change, sentence = CHANGES[name]
    how = edit.lines if member.endswith(".jsonl") else edit.json
    found = faults(tampered(how(member, change)), known)
    assert any(sentence in fault for fault in found), found
    assert all("\n" not in fault and len(fault) < 400 for fault in found)


def test_a_score_outside_the_declared_range_is_refused(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    def narrow(result: Any) -> None:
        dimension = next(d for d in result["plugins"][0]["dimensions"] if d["name"] == "good")
        dimension.update(low=-100.0, high=0.5)
        result["plugins"][0]["version"] = "no version of ours"

    found = faults(tampered(edit.json(archive.RESULT, narrow)), known)
    assert all("is outside the declared range -100 to 0.5" in fault for fault in found)
    scores = [json.loads(line) for line in archive.unpack(tampered(lambda m: None))[archive.SCORES].splitlines()]
    assert len(found) == sum(one["values"]["good"] > 0.5 for one in scores)


def test_a_change_that_leaves_the_hashes_is_found_by_them(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    path = tampered(edit.lines(archive.SCORES, set_score(0.5)), honest_hashes=False)
    (fault,) = faults(path, known)
    assert fault.startswith("scores.jsonl was changed after the bundle was made")


def test_all_faults_are_listed_at_once(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    def spoil(lines: list[Any]) -> list[Any]:
        flip_label(lines)
        return [*lines[:-1], lines[0]]

    found = faults(tampered(edit.lines(archive.PAIRS, spoil)), known)
    assert len(found) >= 2
    assert any("stands 2 times" in fault for fault in found)
    assert any("the benchmark's" in fault for fault in found)


def test_a_flood_of_faults_is_cut_and_counted(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    def spoil(lines: list[Any]) -> None:
        for line in lines:
            line["values"]["good"] = "x"

    found = faults(tampered(edit.lines(archive.SCORES, spoil)), known)
    assert len(found) == MAX_FAULTS + 1
    assert found[-1] == "and more"


def test_the_same_model_twice_is_a_duplicate(bundle: Path, tmp_path: Path, known: dict[str, Any]) -> None:
    copy = tmp_path / "copy.zip"
    copy.write_bytes(bundle.read_bytes())
    first, second = verify_bundles([bundle, copy], known)
    assert first.sound
    assert len(second.faults) == 3
    assert all("stands in" in fault and "already" in fault for fault in second.faults)


def test_a_benchmark_with_other_labels_refuses_the_bundle(bundle: Path, known: dict[str, Any]) -> None:
    (sha, benchmark), *_ = known.items()
    without = benchmark.model_copy(update={"labels": {"VQ": benchmark.labels["VQ"]}})
    assert faults(bundle, {sha: without}) == ("the benchmark has no label 'TA'",)


def test_verdicts_are_held_against_their_margins(
    tampered: Tampered, verdicts_bundle: Path, known: dict[str, Any], edit: Any
) -> None:
    def turn(lines: list[Any]) -> None:
        lines[0]["p"] = lines[0]["p"][::-1]

    path = tampered(edit.lines(archive.COMPARISONS, turn), source=verdicts_bundle)
    assert any("is stated as" in fault for fault in faults(path, known))
    path = tampered(edit.lines(archive.COMPARISONS, lambda lines: lines[1:]), source=verdicts_bundle)
    assert any("has no verdict on 1 of 40 pairs in the order AB" in fault for fault in faults(path, known))
    path = tampered(
        edit.lines(archive.COMPARISONS, lambda lines: lines[0].update(p=[0.5, 0, 0])), source=verdicts_bundle
    )
    assert "p is not three numbers in [0, 1] that sum to 1" in faults(path, known)[0]


def test_verification_is_plain_data(bundle: Path, known: dict[str, Any]) -> None:
    found = verify_bundle(bundle, known)
    assert replace(found) == found
    assert found.source == str(bundle)


OVERFLOWS = 10**400


@pytest.mark.parametrize(
    ("member", "change"),
    [
        (archive.RESULT, lambda r: r["cost"]["plugins"]["scores"].update(n_scored=OVERFLOWS)),
        (archive.RESULT, lambda r: r["cost"]["plugins"]["scores"].update(seconds=OVERFLOWS)),
        (archive.RESULT, lambda r: r["metrics"][0].update(n=OVERFLOWS)),
        (archive.RESULT, lambda r: r["metrics"][0].update(kendall_tau_b=OVERFLOWS)),
        (archive.MANIFEST, lambda b: b["evaluation"]["rows"][0].update(native_threshold=OVERFLOWS)),
        (archive.SCORES, lambda lines: lines[0]["values"].update(good=OVERFLOWS)),
    ],
)
def test_a_number_that_overflows_a_float_is_a_fault_of_its_bundle_only(
    tampered: Tampered, bundle: Path, known: dict[str, Any], edit: Any, member: str, change: Any
) -> None:
    how = edit.lines if member.endswith(".jsonl") else edit.json
    hostile, honest = verify_bundles([tampered(how(member, change)), bundle], known)
    assert "is not below 2^63" in hostile.faults[0]
    assert honest.sound


def test_whatever_goes_wrong_is_a_fault_of_one_bundle(
    bundle: Path, verdicts_bundle: Path, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verification.recompute

    def broken(read: Any) -> Any:
        if read.source == "scores.zip":
            raise ZeroDivisionError("somewhere deep")
        return real(read)

    monkeypatch.setattr(verification, "recompute", broken)
    first, second = verify_bundles([bundle, verdicts_bundle], known)
    assert first.faults == ("it could not be verified: ZeroDivisionError ('somewhere deep')",)
    assert second.sound


def test_seconds_that_are_no_number_are_refused(tampered: Tampered, known: dict[str, Any]) -> None:
    def never(members: dict[str, bytes]) -> None:
        result = json.loads(members[archive.RESULT])
        result["cost"]["plugins"]["scores"]["seconds"] = "SECONDS"
        members[archive.RESULT] = json.dumps(result).replace('"SECONDS"', "1e999").encode()

    assert "the number '1e999' is not finite" in faults(tampered(never), known)[0]


@pytest.mark.parametrize("seconds", [None, 0.0, 5e-324])
def test_without_time_there_is_no_speed(tampered: Tampered, known: dict[str, Any], edit: Any, seconds: Any) -> None:
    def fast(result: Any) -> None:
        result["cost"]["plugins"]["scores"].update(n_scored=80, seconds=seconds, clips_per_s=1e9)
        result["cost"]["clips_per_s"] = 1e9

    assert any("clips_per_s is not" in fault for fault in faults(tampered(edit.json(archive.RESULT, fast)), known))


def test_prompts_and_numbers_of_clips_are_the_benchmarks(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    def deface(lines: list[Any]) -> None:
        for line in lines:
            line["cluster"], line["prompt"] = line["prompt"], "Visit the REAL leaderboard"

    found = faults(tampered(edit.lines(archive.PAIRS, deface)), known)
    assert [fault for fault in found if "prompts" not in fault] == []
    many = edit.json(archive.RESULT, lambda r: r["benchmark"].update(n_clips=10**9))
    assert faults(tampered(many), known) == ("benchmark.n_clips is 1,000,000,000 where this version has 80",)


def test_clips_are_the_benchmarks(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    """Recorded tables have a clip of its own for each pair and side; any other names must be the benchmark's."""
    names = {"A": lambda pair: f"clip-{pair}#B", "B": lambda pair: f"clip-{pair}#A"}

    def rename(members: dict[str, bytes]) -> None:
        edit.lines(
            archive.PAIRS,
            lambda lines: [
                {**one, "clip_a": names["A"](one["pair_id"]), "clip_b": names["B"](one["pair_id"])} for one in lines
            ],
        )(members)
        edit.lines(
            archive.SCORES,
            lambda lines: [
                {**one, "clip_id": names[one["clip_id"][-1]](one["clip_id"].partition("#")[0])} for one in lines
            ],
        )(members)

    found = faults(tampered(rename), known)
    assert "label 'VQ': the clips of its pairs are not the benchmark's" in found


@pytest.mark.parametrize("place", ["clip", "prompt", "model"])
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(
    tampered: Tampered, known: dict[str, Any], edit: Any, place: str
) -> None:
    changes = {
        "clip": edit.lines(archive.SCORES, lambda lines: lines[0].update(clip_id="x\ud800")),
        "prompt": edit.lines(archive.PAIRS, lambda lines: lines[0].update(prompt="x\udfff")),
        "model": edit.json(archive.MANIFEST, lambda b: b["models"][0].update(name="x\ud800")),
    }
    (fault,) = faults(tampered(changes[place]), known)
    assert "has half of a surrogate pair in a text" in fault


def test_kind_follows_from_plugin_and_items(
    tampered: Tampered, verdicts_bundle: Path, known: dict[str, Any], edit: Any
) -> None:
    called = edit.json(archive.MANIFEST, lambda b: b["models"][0].update(kind="model"))
    assert (
        faults(tampered(called), known)[0] == "model 'good' is called model; by its plugin and its items it is recorded"
    )
    whole = edit.json(archive.MANIFEST, lambda b: b.update(models=[{**b["models"][0], "score": None}]))
    assert any("of recorded tables each score is a model" in fault for fault in faults(tampered(whole), known))
    other = edit.json(archive.RESULT, lambda r: r["plugins"][0].update(name="mine"))
    found = faults(tampered(other, source=verdicts_bundle), known)
    assert "'verdicts' is not the label of plugin 'mine' with no preset" in found


def test_recorded_verdicts_stand_in_one_order(
    tampered: Tampered, verdicts_bundle: Path, known: dict[str, Any], edit: Any
) -> None:
    """Of a pair asked in both orders the better one could be kept, and called by either name."""
    turned = edit.lines(archive.COMPARISONS, lambda lines: lines[3].update(order="BA"))
    found = faults(tampered(turned, source=verdicts_bundle), known)
    assert "'verdicts' 'judge' has recorded verdicts in the order BA; they all stand in the order AB" in found


def test_a_table_states_the_rule_of_its_plugin(
    tampered: Tampered, verdicts_bundle: Path, known: dict[str, Any], edit: Any
) -> None:
    """Recorded scores have no rule for ties of their own, recorded verdicts that of the judge's word."""

    def ties(value: float) -> Any:
        def change(manifest: Any) -> None:
            for row in manifest["evaluation"]["rows"]:
                row["native_threshold"] = value

        return edit.json(archive.MANIFEST, change)

    assert "'scores' 'good': the native threshold is stated as 0.3, and its card says None" in faults(
        tampered(ties(0.3)), known
    )
    found = faults(tampered(ties(0.5), source=verdicts_bundle), known)
    assert "'verdicts' 'judge': the native threshold is stated as 0.5, and its card says 0.0" in found


def test_a_changed_bundle_is_refused_before_its_tables_are_read(
    tampered: Tampered, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(members: dict[str, bytes]) -> None:
        members[archive.SCORES] = b"{}\n" * 500_000

    path = tampered(spoil, honest_hashes=False)
    monkeypatch.setattr(archive, "read_lines", lambda *a, **k: pytest.fail("a table was read"))
    (fault,) = faults(path, known)
    assert "scores.jsonl was changed" in fault


def test_a_table_longer_than_the_benchmark_makes_it_is_refused_unread(
    tampered: Tampered, known: dict[str, Any]
) -> None:
    def flood(members: dict[str, bytes]) -> None:
        members[archive.SCORES] = b"{}\n" * 500_000

    assert faults(tampered(flood), known) == ("scores.jsonl has 500,000 lines, more than the 1,080 it may have",)


def test_more_rows_than_a_board_computes_are_refused(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    def many(manifest: Any) -> None:
        manifest["evaluation"]["rows"] *= 200

    (fault,) = faults(tampered(edit.json(archive.MANIFEST, many)), known)
    assert "evaluation.rows: list should have at most 500 items" in fault


def test_more_plugins_than_a_run_has_are_refused(tampered: Tampered, known: dict[str, Any], edit: Any) -> None:
    def many(result: Any) -> None:
        result["plugins"] *= 101

    assert faults(tampered(edit.json(archive.RESULT, many)), known) == (
        "result.json has 101 plugins, more than the 100 it may have",
    )


def test_one_model_on_one_label_by_two_bundles_is_a_duplicate(
    tampered: Tampered, bundle: Path, known: dict[str, Any], edit: Any
) -> None:
    """Under another name of its score it is the same model still, and stands on the label already."""

    def other_name(manifest: Any) -> None:
        manifest["models"][1]["name"] = "good"

    _, second = verify_bundles([bundle, tampered(edit.json(archive.MANIFEST, other_name))], known)
    assert any("'good' on label 'VQ' of 'votes' stands in" in fault for fault in second.faults)
