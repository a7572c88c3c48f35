"""The list of known benchmarks: the embedded one is true, a board's own is kept and refused with a sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard.known import (
    FILE_NAME,
    admit,
    clips_digest,
    fingerprint,
    known_benchmarks,
    labels_digest,
)


@pytest.mark.parametrize("variant", ["", "full"])
def test_embedded_fingerprints_are_those_of_the_embedded_benchmark(tmp_path: Path, variant: str) -> None:
    """Its tables are written without drawing a clip: labels do not depend on pixels."""
    from rewardbench.benchmark import read_pairs
    from rewardbench.evaluation import clusters_of
    from rewardbench.synth.pairs import write_tables
    from rewardbench.synth.plan import plan_clusters, plan_pairs

    specimens, pairs = plan_pairs(variant, plan_clusters(variant))
    benchmark = read_pairs(write_tables(tmp_path, specimens, pairs))
    known = known_benchmarks()[benchmark.sha256]
    assert known.name == ("anime-probe:full" if variant else "anime-probe")
    assert (known.n_pairs, known.n_clips) == (len(benchmark.comparisons), len(benchmark.clips))
    clusters = clusters_of(benchmark, "prompt", [])
    for label in benchmark.labels:
        pairs = [(c, g) for c, g in zip(benchmark.comparisons, clusters, strict=True) if label in c.labels]
        assert known.labels[label].n == len(pairs)
        assert known.labels[label].sha256 == labels_digest((c.pair_id, c.prompt, g, c.labels[label]) for c, g in pairs)
        assert known.labels[label].clips_sha256 == clips_digest((c.pair_id, c.clip_a, c.clip_b) for c, _ in pairs)


def test_the_digest_is_sha256_over_one_json_list_a_line() -> None:
    text = '["p1", "a \\u00e9", "c", 1]\n["p2", "b", "c", 0]\n'
    assert labels_digest([("p1", "a é", "c", 1), ("p2", "b", "c", 0)]) == hashlib.sha256(text.encode()).hexdigest()
    clips = '["p1", "a.mp4", "b.mp4"]\n'
    assert clips_digest([("p1", "a.mp4", "b.mp4")]) == hashlib.sha256(clips.encode()).hexdigest()


def test_a_digest_knows_ids_prompts_clusters_answers_and_order() -> None:
    first, second = ("p1", "a", "a", 1), ("p2", "b", "b", 0)
    changed = [("p2", "b", "b", 1), ("p2", "b", "c", 0), ("p2", "c", "b", 0), ("x", "b", "b", 0)]
    lists = [[first, second], [second, first], *([first, one] for one in changed)]
    assert len({labels_digest(one) for one in lists}) == 6
    sides = [[("p1", "a", "b")], [("p1", "b", "a")], [("p2", "a", "b")]]
    assert len({clips_digest(one) for one in sides}) == 3


def test_an_admitted_benchmark_is_known_and_replaces_its_earlier_entry(pairs_file: Path, tmp_path: Path) -> None:
    found = fingerprint(str(pairs_file), licence="first")
    admit(tmp_path / "board", found)
    path = admit(tmp_path / "board", found.model_copy(update={"licence": "second"}))
    assert path == tmp_path / "board" / FILE_NAME
    known = known_benchmarks(tmp_path / "board")
    assert known[found.sha256].licence == "second"
    assert len(known) == len(known_benchmarks()) + 1
    assert len(json.loads(path.read_text())["benchmarks"]) == 1


def test_a_board_without_a_list_knows_the_embedded_ones(tmp_path: Path) -> None:
    assert known_benchmarks(tmp_path) == known_benchmarks()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is of a foreign schema \\(None\\)"),
        (
            '{"schema": "rewardbench.known-benchmarks/2", "benchmarks": []}',
            "is of the newer schema .* so update",
        ),
        ('{"schema": "rewardbench.known-benchmarks/1", "benchmarks": [{}]}', "does not follow"),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(InputError, match=sentence):
        known_benchmarks(tmp_path)


def test_a_fingerprint_has_the_labels_that_were_asked_for(pairs_file: Path) -> None:
    found: Any = fingerprint(str(pairs_file), labels=["TA"])
    assert list(found.labels) == ["TA"]
    assert found.labels["TA"].n == 34, "every seventh pair from the fourth has no TA"
    assert found.cluster == "prompt"
    assert found.frames == ""
