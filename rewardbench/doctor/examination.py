"""The examination: weights, templates, versions, loading, repeatability, reference scores, each with its finding."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardbench.clip_scores import ScoreSettings, score_clips_in_session
from rewardbench.doctor.bundle import altered, bundled_clips
from rewardbench.doctor.references import TOLERANCE, Reference, find_reference
from rewardbench.errors import InputError, PluginError
from rewardbench.jobs import model_jobs
from rewardbench.registry import find_reward
from rewardbench.runfolder import PACKAGES
from rewardbench.scoring.engine import Session
from rewardbench.scoring.plan import Job
from rewardbench.scoring.progress import Progress, Silent
from rewardbench_plugin.assets import read_template
from rewardbench_plugin.digests import hash_path

OK, FAULT, UNKNOWN = "ok", "fault", "unknown"

Scores = dict[str, dict[str, float | None]]
"""Clip name to dimension to score; None: the model abstained."""


@dataclass(frozen=True)
class Finding:
    """One check: ``status`` is ``ok``, ``fault`` or ``unknown`` (could not be checked), ``text`` says what was seen."""

    check: str
    status: str
    text: str


@dataclass
class Examination:
    """All findings, and the scores of the bundled clips. ``reference`` could be recorded from what was found."""

    plugin: str
    findings: list[Finding] = field(default_factory=list)
    scores: Scores = field(default_factory=dict)
    reference: Reference | None = None

    @property
    def has_fault(self) -> bool:
        return any(finding.status == FAULT for finding in self.findings)

    def add(self, check: str, status: str, text: str) -> None:
        self.findings.append(Finding(check, status, text))


def examine(
    plugin: str,
    *,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    dimensions: Sequence[str] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    seed: int = 0,
    reference: Path | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Examine one reward model as it is installed here.

    Args:
        plugin: ``NAME`` or ``NAME:PRESET``.
        reference: file of reference scores; otherwise ``doctor.json`` beside the weights or in the plugin's package.

    Raises:
        InputError, PluginError: an unknown plugin, or a reference file that cannot be used. Everything that is wrong
            with the model itself is a finding.
    """
    found = Examination(plugin)
    find_reward(plugin.partition(":")[0])
    damaged = altered()
    if damaged:
        found.add("bundled clips", FAULT, f"{', '.join(damaged)}: other bytes than released; install rewardbench again")
        return found
    settings = ScoreSettings(
        clips=bundled_clips(),
        plugin=plugin,
        weights=dict(weights or {}),
        options=dict(options or {}),
        dimensions=tuple(dimensions) if dimensions else None,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    try:
        (job,) = model_jobs(
            [plugin],
            weights=settings.weights,
            options=settings.options,
            dimensions=dimensions,
            dtype=dtype,
            seed=seed,
        )
    except (InputError, PluginError) as error:
        found.add("weights", FAULT, str(error))
        return found
    _check_weights(job, found)
    _check_templates(job, found)
    if job.is_judge:
        found.add("scores", UNKNOWN, "a judge of pairs has no scores of single clips; only its set-up was examined")
        return found
    session = _check_scores(settings, found, progress or Silent())
    if session is None:
        return found
    versions = _versions(job, session)
    found.add("versions", OK, ", ".join(f"{name} {version}" for name, version in versions.items()))
    found.reference = Reference(
        plugin=job.label,
        version=job.model.card.version,
        fingerprint=job.fingerprint,
        tolerance=TOLERANCE[_precision(dtype, session)],
        scores=found.scores,
        packages=versions,
        device=session.device,
        dtype=_precision(dtype, session),
    )
    package = job.choice.target.partition(":")[0].partition(".")[0]
    known = find_reference(job.fingerprint, named=reference, weights=job.model.weights, package=package)
    _compare(known, found)
    return found


def _check_weights(job: Job, found: Examination) -> None:
    parts = [f"{part or 'weights'} {hash_path(path)[:12]}" for part, path in job.model.weights.items()]
    found.add("weights", OK, ", ".join(parts) if parts else "none needed")


def _check_templates(job: Job, found: Examination) -> None:
    """Every template of the card that is there must be the published one; whether one is missing shows in loading."""
    folders = [Path(path) for part, path in job.model.weights.items() if part in ("", "templates")]
    seen = []
    for template in job.model.card.templates:
        for folder in folders:
            if any(path.is_file() for path in (folder / "templates" / template.name, folder / template.name)):
                try:
                    read_template(folder, template)
                except (ValueError, OSError) as error:
                    found.add("templates", FAULT, str(error))
                    return
                seen.append(template.name)
    if job.model.card.templates:
        text = f"{', '.join(dict.fromkeys(seen))}: byte for byte as published" if seen else "none found"
        found.add("templates", OK if seen else UNKNOWN, text)


def _versions(job: Job, session: Session) -> dict[str, str]:
    """What computed the scores: the host's packages, or those of the plugin's own environment."""
    found = {"rewardbench-video": importlib.metadata.version("rewardbench-video")}
    if job.model.card.environment == "isolated":
        return {**found, "python": session.python or "?", **session.packages}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _precision(dtype: str | None, session: Session) -> str:
    """The precision asked for; else what models choose by themselves: float32 on the CPU, bfloat16 elsewhere."""
    return dtype or ("float32" if session.device in (None, "cpu") else "bfloat16")


def _check_scores(settings: ScoreSettings, found: Examination, progress: Progress) -> Session | None:
    """Load, score all clips in one batch, then one by one: the numbers must not depend on company."""
    try:
        together, session = score_clips_in_session(settings, progress, resume=False)
    except (InputError, PluginError) as error:
        found.add("loading", FAULT, str(error))
        return None
    failed = [f"{row['video']}: {row['error']}" for row in together if row["error"]]
    if failed:
        found.add("scores", FAULT, failed[0])
        return None
    assert session is not None, "nothing was stored before"
    found.add("loading", OK, "loaded; the plugin found no key missing and none left over")
    found.scores = {str(row["video"]): dict(row["scores"]) for row in together}
    rows, _ = score_clips_in_session(replace(settings, batch_size=1), progress, resume=False)
    alone = {str(row["video"]): dict(row["scores"]) for row in rows}
    worst, where = largest_difference(found.scores, alone)
    limit = TOLERANCE[_precision(settings.dtype, session)]
    text = f"scored in one batch and one by one: largest difference {worst:.2g}{where} (allowed {limit:g})"
    found.add("repeatability", OK if worst <= limit else FAULT, text)
    return session


def _compare(known: tuple[Reference, Path] | None, found: Examination) -> None:
    if known is None:
        found.add(
            "reference scores",
            UNKNOWN,
            "none are known for these weights and options, so nothing says that these are the model's own numbers; "
            "record some where the install is trusted (--record FILE) and compare with --reference FILE",
        )
        return
    reference, place = known
    worst, where = largest_difference(reference.scores, found.scores)
    good = worst <= reference.tolerance
    text = f"largest difference from {place}: {worst:.2g}{where} (allowed {reference.tolerance:g})"
    if not good:
        changed = [
            f"{name} {version} there, {found.reference.packages.get(name, 'none')} here"
            for name, version in reference.packages.items()
            if found.reference is not None and found.reference.packages.get(name) != version
        ]
        text += f"; versions that differ: {', '.join(changed)}" if changed else "; all versions are the same"
    found.add("reference scores", OK if good else FAULT, text)


def largest_difference(
    expected: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]]
) -> tuple[float, str]:
    """Largest |expected - given| / max(1, |expected|), and where, in words.

    A missing clip or dimension, and an abstention on one side only, count as infinite.
    """
    worst, where = 0.0, ""
    for clip, scores in expected.items():
        for dimension, value in scores.items():
            other = given.get(clip, {}).get(dimension)
            if value is None and other is None and dimension in given.get(clip, {}):
                continue
            difference = float("inf") if value is None or other is None else abs(value - other) / max(1.0, abs(value))
            if difference > worst:
                worst, where = difference, f" ({dimension} of {clip})"
    return worst, where
