"""Checks of a benchmark: it loads, its clips are there, its labels can be answered, and it stays what it is."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rewardbench.benchmark import Benchmark, load_benchmark
from rewardbench.conformance.checks import CheckList, Fault, NotChecked
from rewardbench.conformance.probe import ask
from rewardbench.conformance.registered import Registered
from rewardbench.errors import InputError
from rewardbench_plugin.hooks import BenchmarkManifest

CHECKS = CheckList()
ENOUGH = 8
"""Decided pairs from which "always the same side" is no chance: below 1 % for fair sides."""


@dataclass
class BenchmarkSubject:
    registered: Registered
    found: Benchmark | None = None

    @property
    def benchmark(self) -> Benchmark:
        assert self.found is not None, "it was loaded"
        return self.found


@CHECKS.add("benchmark-card", "The manifest says what the benchmark is, its version, and who decided its labels.")
def _card(subject: BenchmarkSubject) -> str:
    manifest = subject.registered.manifest
    assert isinstance(manifest, BenchmarkManifest)
    lacking = [] if manifest.summary.strip() else ["summary"]
    lacking += [] if manifest.version not in ("", "0") else ["version"]
    lacking += [] if manifest.labels_by in ("people", "construction") else ["labels_by (people or construction)"]
    if lacking:
        raise Fault(f"the manifest lacks {', '.join(lacking)}", "state it in BenchmarkManifest")
    return f"version {manifest.version}, labels by {manifest.labels_by}"


@CHECKS.add(
    "benchmark-loads",
    "Its function load(name, variant, progress) gives a pairs file or a Benchmark, or says why not (InputError).",
)
def _loads(subject: BenchmarkSubject) -> str:
    manifest = subject.registered.manifest
    advice = "see BenchmarkManifest in rewardbench_plugin/hooks.py, and docs/file-formats.md for pairs files"
    module, _, attribute = manifest.target.partition(":")
    try:
        getattr(importlib.import_module(module), attribute)(name=manifest.name, variant=None, progress=None)
    except InputError as error:
        raise NotChecked(f"not at hand: {error}") from None
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {error}", advice) from None
    try:
        subject.found = load_benchmark(manifest.name)
    except Exception as error:
        raise Fault(str(error), advice) from None
    found = subject.found
    return f"{len(found.comparisons)} pairs, {len(found.clips)} clips, labels {', '.join(found.labels)}"


@CHECKS.add("benchmark-clips", "Every pair names clips that are there.", needs=["benchmark-loads"])
def _clips(subject: BenchmarkSubject) -> str:
    found = subject.benchmark
    advice = "paths are relative to the pairs file; bring every clip when the benchmark is loaded"
    if not found.has_clips:
        return "it names no clips: ids, labels and scores only"
    for comparison in found.comparisons:
        for clip_id in (comparison.clip_a, comparison.clip_b):
            if clip_id not in found.clips:
                raise Fault(f"pair {comparison.pair_id} names the unknown clip {clip_id}", advice)
    absent = [c.video for c in found.clips.values() if "://" not in c.video and not Path(c.video).is_file()]
    if absent:
        raise Fault(f"{len(absent)} of {len(found.clips)} files are not there, first {absent[0]}", advice)
    return f"{len(found.clips)} files are there"


@CHECKS.add(
    "benchmark-labels", "Every label is A, B or tie, and decided in at least one pair.", needs=["benchmark-loads"]
)
def _labels(subject: BenchmarkSubject) -> str:
    found = subject.benchmark
    counts = {label: Counter(c.labels[label] for c in found.comparisons if label in c.labels) for label in found.labels}
    advice = "a Label is +1 (A), -1 (B) or 0 (tie); leave undecided pairs out of Comparison.labels"
    if not counts:
        raise Fault("it has no label", advice)
    for label, values in counts.items():
        strange = set(values) - {1, 0, -1}
        if strange:
            raise Fault(f"label {label} has the value {min(strange, key=str)!r}", advice)
        if not values:
            raise Fault(f"label {label} is decided in no pair", advice)
    return "; ".join(f"{label}: {v[1]} A, {v[0]} tie, {v[-1]} B" for label, v in counts.items())


@CHECKS.add("benchmark-sides", "The better clip is not always on the same side.", needs=["benchmark-labels"])
def _sides(subject: BenchmarkSubject) -> str:
    found = subject.benchmark
    for label in found.labels:
        sides = Counter(c.labels.get(label) for c in found.comparisons)
        decided = sides[1] + sides[-1]
        if decided >= ENOUGH and 0 in (sides[1], sides[-1]):
            side = "A" if sides[1] else "B"
            raise Fault(
                f"label {label}: {side} is better in all {decided} decided pairs",
                "shuffle sides with a fixed seed: otherwise a judge that prefers a place is right everywhere",
            )
    return "both sides occur, or too few pairs are decided to tell"


@CHECKS.add(
    "benchmark-stable",
    "Loaded again in another process it has the same hash and the same pair ids, each once.",
    needs=["benchmark-loads"],
)
def _stable(subject: BenchmarkSubject) -> str:
    found = subject.benchmark
    ids = [c.pair_id for c in found.comparisons]
    advice = "sort before writing, seed what is drawn, and give each pair an id of its own"
    twice = [pair for pair, n in Counter(ids).items() if n > 1]
    if twice:
        raise Fault(f"pair id {twice[0]} stands {Counter(ids)[twice[0]]} times", advice)
    again = ask({"benchmark": subject.registered.manifest.name})
    if "error" in again:
        raise Fault(f"in another process: {again['error']}", advice)
    if again["pairs"] != ids or again["sha256"] != found.sha256:
        raise Fault(f"hash {found.sha256[:16]} here, {again['sha256'][:16]} there", advice)
    return f"hash {found.sha256[:16]}"
