"""Everything a name stands for, examined: entry points, then each thing they register with the checks of its kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.conformance import (
    awkward,
    benchmarks,
    engines,
    generators,
    isolation,
    judges,
    recorded,
    reporters,
    rewards,
    scores,
)
from rewardbench.conformance.checks import FAILED, PASSED, SKIPPED, Check, Examination, Finding, run_checks
from rewardbench.conformance.clips import Clips, make_clips
from rewardbench.conformance.package import CHECKS as PACKAGE
from rewardbench.conformance.registered import EntryPoint, Registered, find_entry_points
from rewardbench.conformance.rewards import Candidate
from rewardbench.conformance.session import Limits, Sessions
from rewardbench.conformance.subject import RewardSubject
from rewardbench.doctor.references import Reference
from rewardbench.errors import InputError
from rewardbench.jobs import DTYPES
from rewardbench.registry import load_registry, nearest, resolve_spec
from rewardbench.scoring.plan import Job
from rewardbench.scoring.progress import Progress, Silent

# Cheap before expensive, and what starts the model anew at the end: each such check loads it once more.
_REWARD_ORDER = (
    *("prepare", "loads", "transport", "answers", "dtype", "range", "probabilities", "nan-policy"),
    *("repeats-itself", "closes", "second-process", "batch-invariance", "order-invariance", "both-orders"),
    *("name-independent", "image-declared", "missing-inputs"),
    *("one-frame", "odd-size", "long-clip", "corrupt-clip", "unicode-path"),
    *("recorded-scores", "isolated-worker", "seed-in-fingerprint", "dimension-subset"),
)


def reward_checks(*, is_judge: bool) -> list[Check]:
    """Checks of a loaded reward model, in order."""
    kind = judges.CHECKS if is_judge else scores.MODEL_ONLY
    lists = (rewards.SUBJECT, kind, scores.CHECKS, awkward.CHECKS, isolation.CHECKS, recorded.CHECKS)
    known = {check.name: check for checks in lists for check in checks.checks}
    return [known[name] for name in _REWARD_ORDER if name in known]


def all_checks() -> dict[str, list[Check]]:
    """Every check by kind of subject, in the order they run."""
    return {
        "package": PACKAGE.checks,
        "reward": [*rewards.CANDIDATE.checks, *reward_checks(is_judge=False)],
        "judge": [*rewards.CANDIDATE.checks, *reward_checks(is_judge=True)],
        "benchmark": benchmarks.CHECKS.checks,
        "reporter": reporters.CHECKS.checks,
        "engine": engines.CHECKS.checks,
        "generator": generators.FAMILY.checks,
        "latent reward": generators.LATENT_REWARD.checks,
    }


@dataclass
class Request:
    """What the thing named is given, and how it is run; see :func:`examine`."""

    name: str
    weights: Mapping[str, str]
    options: Mapping[str, str]
    seed: int
    limits: Limits

    @property
    def plain(self) -> str:
        """The name without a preset."""
        return self.name.partition(":")[0]


@dataclass
class Outcome:
    """Findings, and what can be recorded: package and scores of each sound reward model."""

    found: Examination
    references: list[tuple[str, Reference]] = field(default_factory=list)


@dataclass
class _Kit:
    """One examination under way."""

    request: Request
    entries: list[EntryPoint]
    folder: Path
    clips: Clips
    progress: Progress
    outcome: Outcome

    def run(self, checks: list[Check], subject: object, named: str) -> list[Finding]:
        return run_checks(checks, subject, named, lambda check: self.progress.advance())

    def is_meant(self, offer: Registered) -> bool:
        """Whether weights and options are for this one: it is named, or the only one of its kind."""
        every = [other for entry in self.entries for other in entry.offers]
        named = [other for other in every if other.manifest.name == self.request.plain and other.kind == offer.kind]
        return offer in (named or every) and sum(o.kind == offer.kind for o in (named or every)) == 1


def examine(
    name: str,
    *,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    seed: int = 0,
    limits: Limits | None = None,
    clips: Clips | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Examine everything that ``name`` stands for.

    Args:
        name: a registered name (``NAME:PRESET`` for a reward model), an entry point, or a distribution.
        weights, options, seed: for the thing of that name (a generator takes its checkpoint as ``weights[""]``).
        clips: made before; None: made now in a temporary folder.

    Raises:
        InputError: nothing is called so, or weights, options, precision or seed cannot be used.
        PluginError: there is no such preset.
    """
    request = Request(name, dict(weights or {}), dict(options or {}), seed, limits or Limits())
    if request.limits.dtype not in (None, *DTYPES):
        raise InputError(f"unknown precision --dtype {request.limits.dtype}{nearest(request.limits.dtype, DTYPES)}")
    if seed < 0:
        raise InputError(f"--seed {seed} is negative; give 0 or more")
    entries = find_entry_points(request.plain)
    if ":" in name:
        resolve_spec(name)
    progress = progress or Silent()
    outcome = Outcome(Examination(name))
    with tempfile.TemporaryDirectory(prefix="rewardbench-check-") as folder:
        progress.start_phase(f"checking {name}", None)
        kit = _Kit(request, entries, Path(folder), clips or make_clips(Path(folder)), progress, outcome)
        for entry in entries:
            outcome.found.findings += kit.run(PACKAGE.checks, entry, f"package {entry.distribution or entry.name}")
            for offer in entry.offers:
                outcome.found.findings += _EXAMINERS[offer.kind](kit, offer)
        progress.end_phase()
    return outcome


def _reward(kit: _Kit, offer: Registered) -> list[Finding]:
    request, is_meant = kit.request, kit.is_meant(offer)
    candidate = Candidate(
        registered=offer,
        spec=request.name if offer.manifest.name == request.plain else offer.manifest.name,
        weights=dict(request.weights) if is_meant else {},
        options=dict(request.options) if is_meant else {},
        seed=request.seed,
        limits=request.limits,
        is_meant=is_meant,
    )
    findings = kit.run(rewards.CANDIDATE.checks, candidate, offer.named)
    job = candidate.job
    checks = reward_checks(is_judge=job is not None and job.is_judge)
    if job is None:
        reason = "says nothing before settings passes"
        return findings + [Finding(offer.named, check.name, SKIPPED, check.wants, reason) for check in checks]
    return findings + _loaded(kit, offer, candidate.spec, job, checks)


def _loaded(kit: _Kit, offer: Registered, spec: str, job: Job, checks: list[Check]) -> list[Finding]:
    folder = Path(tempfile.mkdtemp(prefix="model-", dir=kit.folder))
    sessions = Sessions(job, kit.request.limits, folder, kit.progress)
    subject = RewardSubject(offer, spec, job, sessions, kit.clips)
    try:
        findings = kit.run(checks, subject, offer.named)
        sound = all(f.status != FAILED for f in findings if f.check != "recorded-scores")
        if sound and any(f.check == "second-process" and f.status == PASSED for f in findings):
            kit.outcome.references.append((offer.package, recorded.reference_of(subject)))
    finally:
        sessions.close()
    return findings


def _benchmark(kit: _Kit, offer: Registered) -> list[Finding]:
    return kit.run(benchmarks.CHECKS.checks, benchmarks.BenchmarkSubject(offer), offer.named)


def _reporter(kit: _Kit, offer: Registered) -> list[Finding]:
    _require_random(offer)
    folder = Path(tempfile.mkdtemp(prefix="runs-", dir=kit.folder))
    return kit.run(reporters.CHECKS.checks, reporters.ReporterSubject(offer, kit.clips, folder), offer.named)


def _engine(kit: _Kit, offer: Registered) -> list[Finding]:
    _require_random(offer)
    return kit.run(engines.CHECKS.checks, engines.EngineSubject(offer, kit.clips), offer.named)


def _require_random(offer: Registered) -> None:
    if "random" not in load_registry().rewards:
        raise InputError(f"{offer.named} is checked with the plugin random; name it in REWARDBENCH_PLUGINS too")


def _generator(kit: _Kit, offer: Registered) -> list[Finding]:
    is_meant = kit.is_meant(offer)
    source = kit.request.weights.get("", "") if is_meant else ""
    options = kit.request.options if is_meant else {}
    return kit.run(generators.FAMILY.checks, generators.GeneratorSubject(offer, source, options), offer.named)


def _latent_reward(kit: _Kit, offer: Registered) -> list[Finding]:
    return kit.run(generators.LATENT_REWARD.checks, offer, offer.named)


_EXAMINERS: dict[str, Callable[[_Kit, Registered], list[Finding]]] = {
    "reward": _reward,
    "latent reward": _latent_reward,
    "benchmark": _benchmark,
    "engine": _engine,
    "reporter": _reporter,
    "generator": _generator,
}
