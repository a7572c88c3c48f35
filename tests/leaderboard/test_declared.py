"""What may not be chosen for its result: a judge's orders, a model's rule for ties, its range, its scores.

Each bundle here is consistent in itself: its numbers were made again after the change, as a submitter could.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rewardbench.leaderboard import archive
from rewardbench.leaderboard.board import make_board
from rewardbench.leaderboard.folder import bundle_files
from rewardbench.leaderboard.known import known_benchmarks
from rewardbench.leaderboard.verification import Verification, verify_bundle

Restated = Callable[..., Path]
RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"


def committed(name: str) -> Path:
    return next(path for path in bundle_files(RESULTS) if f"--{name}--" in path.name)


def of_another_plugin(members: dict[str, bytes], old: str, name: str, kind: str) -> None:
    """The bundle as if a plugin ``name``, which is not installed here, had made it."""
    manifest, result = (json.loads(members[one]) for one in (archive.MANIFEST, archive.RESULT))
    for row in manifest["evaluation"]["rows"]:
        row["plugin"] = name
    score = manifest["models"][0]["score"]
    manifest["models"] = [{**manifest["models"][0], "name": name, "kind": kind, "score": None}]
    result["plugins"][0].update(label=name, name=name, preset=None)
    result["cost"]["plugins"] = {key.replace(old, name, 1): one for key, one in result["cost"]["plugins"].items()}
    for metric in result["metrics"]:
        metric["plugin"] = name
    for table in (archive.SCORES, archive.COMPARISONS):
        if table in members:
            lines = [json.loads(line) for line in members[table].splitlines()]
            members[table] = b"".join(json.dumps({**line, "plugin": name}).encode() + b"\n" for line in lines)
    assert score is not None
    members[archive.MANIFEST], members[archive.RESULT] = json.dumps(manifest).encode(), json.dumps(result).encode()


def truths(members: dict[str, bytes]) -> dict[str, int]:
    return {(one := json.loads(line))["pair_id"]: one["labels"]["VQ"] for line in members[archive.PAIRS].splitlines()}


def one_hot(said: int) -> list[float]:
    return [float(said == answer) for answer in (1, 0, -1)]


def judged(keep: Callable[[int, int, int], bool]) -> Callable[[dict[str, bytes]], None]:
    """A judge that says tie, A, B in turn, in the other order B, tie, A; of each pair what ``keep`` (truth, said in
    this order, in the other) lets through is in the bundle."""

    def change(members: dict[str, bytes]) -> None:
        of_another_plugin(members, "verdicts", "mine", "judge")
        lines = []
        for number, (pair, truth) in enumerate(truths(members).items()):
            said = {"AB": (0, 1, -1)[number % 3], "BA": (-1, 0, 1)[number % 3]}
            for order, other in (("AB", "BA"), ("BA", "AB")):
                if keep(truth, said[order], said[other]):
                    entry = {"plugin": "mine", "score": "judge", "pair_id": pair, "order": order}
                    lines.append(entry | {"p": one_hot(said[order])})
        members[archive.COMPARISONS] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    return change


def test_a_judge_in_both_orders_is_sound(restated: Restated, verdicts_bundle: Path, known: dict[str, Any]) -> None:
    found = verify_bundle(restated(judged(lambda *_: True), source=verdicts_bundle), known)
    assert found.faults == ()
    position = found.rows[0].metric.position_consistency
    assert position is not None
    assert (position.n, position.consistency) == (40, 0.0), "it never says the same twice, and all pairs show that"


def test_a_judge_may_not_leave_out_the_less_favourable_order(
    restated: Restated, verdicts_bundle: Path, known: dict[str, Any]
) -> None:
    def better(truth: int, said: int, other: int) -> bool:
        return said == truth or other != truth

    path = restated(judged(better), source=verdicts_bundle)
    pairs = truths(archive.unpack(verdicts_bundle)).values()
    ab = sum(not better(truth, (0, 1, -1)[k % 3], (-1, 0, 1)[k % 3]) for k, truth in enumerate(pairs))
    ba = sum(not better(truth, (-1, 0, 1)[k % 3], (0, 1, -1)[k % 3]) for k, truth in enumerate(pairs))
    assert min(ab, ba) > 3
    assert verify_bundle(path, known).faults == tuple(
        f"'mine' 'judge' has no verdict on {n} of 40 pairs in the order {order}: every pair needs a line in both "
        "orders, with an error where it failed"
        for order, n in (("AB", ab), ("BA", ba))
    )


def test_a_model_enters_a_label_with_one_score(restated: Restated, bundle: Path, known: dict[str, Any]) -> None:
    """Of two columns the better one would stand on the board as the model; of recorded tables each is a model."""
    path = restated(lambda members: of_another_plugin(members, "scores", "mine", "model"), source=bundle)
    assert verify_bundle(path, known).faults == (
        "'mine' enters label 'VQ' with 2 scores ('good', 'bad'); a model has one answer to a label, so choose with "
        "--map",
    )


def stated_rule(thresholds: Callable[[str], float]) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        manifest = json.loads(members[archive.MANIFEST])
        for row in manifest["evaluation"]["rows"]:
            row["native_threshold"] = thresholds(row["label"])
        members[archive.MANIFEST] = json.dumps(manifest).encode()

    return change


def test_a_model_has_one_rule_for_ties(restated: Restated) -> None:
    """The best threshold of each label would raise the accuracy by "the model's own rule"."""
    change = stated_rule(lambda label: len(label) / 100)
    found = verify_bundle(restated(change, source=committed("random")), known_benchmarks())
    assert any("'random' 'overall' has several native thresholds" in fault for fault in found.faults)


def test_an_installed_card_decides_the_rule_and_the_range(restated: Restated) -> None:
    path = restated(stated_rule(lambda label: 0.02), source=committed("random"))
    assert verify_bundle(path, known_benchmarks()).faults == (
        "'random' 'overall': the native threshold is stated as 0.02, and its card says None",
    )

    def widen(members: dict[str, bytes]) -> None:
        result = json.loads(members[archive.RESULT])
        result["plugins"][0]["dimensions"][0].update(low=None, high=None)
        members[archive.RESULT] = json.dumps(result).encode()

    assert verify_bundle(restated(widen, source=committed("random")), known_benchmarks()).faults == (
        "'random' 'overall': the range is stated as any to any, and its card says 0.0 to 1.0",
    )

    def unheard_of(members: dict[str, bytes]) -> None:
        result = json.loads(members[archive.RESULT])
        result["plugins"][0]["options"] = {"luck": "good"}
        members[archive.RESULT] = json.dumps(result).encode()

    (fault,) = verify_bundle(restated(unheard_of, source=committed("random")), known_benchmarks()).faults
    assert fault == "'random' has no option 'luck' in version 1.0"


def test_a_preset_that_an_installed_plugin_does_not_have_is_refused(restated: Restated) -> None:
    """Under a preset of one's own invention no card could deny anything."""

    def invented(members: dict[str, bytes]) -> None:
        for name, content in dict(members).items():
            members[name] = content.replace(b'"random"', b'"random:lucky"')
        result = json.loads(members[archive.RESULT])
        result["plugins"][0].update(name="random", preset="lucky")
        members[archive.RESULT] = json.dumps(result).encode()

    found = verify_bundle(restated(invented, source=committed("random")), known_benchmarks())
    assert found.faults == ("'random:lucky' in version 1.0: plugin 'random' has no preset 'lucky'",)


def row_of(found: Verification) -> Any:
    assert found.faults == ()
    return make_board([found]).benchmarks[0].dimensions[0].rows[0]


def test_what_no_card_was_there_for_is_shown_as_stated(restated: Restated) -> None:
    def another_version(members: dict[str, bytes]) -> None:
        stated_rule(lambda label: 0.02)(members)
        result = json.loads(members[archive.RESULT])
        result["plugins"][0]["version"] = "99.0"
        members[archive.RESULT] = json.dumps(result).encode()

    row = row_of(verify_bundle(restated(another_version, source=committed("random")), known_benchmarks()))
    assert (row.native.tie_threshold, row.as_stated) == (0.02, True)
    row = row_of(verify_bundle(committed("random"), known_benchmarks()))
    assert (row.native, row.as_stated) == (None, False)


def test_what_an_installed_plugin_is_decides_whether_it_judges(restated: Restated) -> None:
    """``random`` scores clips; made-up verdicts under its name are none of its."""

    def verdicts(members: dict[str, bytes]) -> None:
        del members[archive.SCORES]
        manifest = json.loads(members[archive.MANIFEST])
        manifest["models"][0]["kind"] = "judge"
        members[archive.MANIFEST] = json.dumps(manifest).encode()
        pairs = [json.loads(line)["pair_id"] for line in members[archive.PAIRS].splitlines()]
        said = {"plugin": "random", "score": "overall", "p": [1.0, 0.0, 0.0]}
        lines = [{**said, "pair_id": pair, "order": order} for pair in pairs for order in ("AB", "BA")]
        members[archive.COMPARISONS] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    found = verify_bundle(restated(verdicts, source=committed("random")), known_benchmarks())
    assert found.faults == ("'random' is no judge, so it has no verdicts in version 1.0",)
