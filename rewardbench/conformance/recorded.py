"""Scores on the bundled clips that are kept in the plugin's package, in the doctor's file and format."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import site
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rewardbench.conformance.checks import PASSED, CheckList, Examination, Fault, NotChecked
from rewardbench.conformance.subject import RewardSubject, title
from rewardbench.doctor.bundle import altered
from rewardbench.doctor.references import FILE, Reference, find_reference, read_references
from rewardbench.errors import InputError
from rewardbench.runfolder import PACKAGES

CHECKS = CheckList()


@CHECKS.add(
    "recorded-scores",
    f"The scores of the bundled clips are those recorded in the package's {FILE}.",
    needs=["second-process"],
)
def _recorded(subject: RewardSubject) -> str:
    damaged = altered()
    if damaged:
        raise Fault(f"{', '.join(damaged)} of rewardbench: other bytes than released", "install rewardbench again")
    name = subject.job.choice.name
    command = f"rewardbench plugins check {subject.spec} --record"
    package = subject.registered.package
    try:
        known = find_reference(subject.job.fingerprint, named=None, weights=subject.job.model.weights, package=package)
        place = package_folder(package) / FILE
        kept = read_references(place) if place.is_file() else []
    except InputError as error:
        raise Fault(str(error), f"write it anew: {command}") from None
    if known is None:
        version = subject.job.model.card.version
        stale = [r for r in kept if r.plugin == subject.job.label and r.version != version]
        if stale and not subject.job.choice.weights and not subject.job.choice.options:
            raise Fault(f"{FILE} is of version {stale[0].version}, this is {version}", f"record anew: {command}")
        raise NotChecked(f"nothing is recorded for {name} with these weights and options ({command})")
    reference, place = known
    there = reference.scores
    worst, where = 0.0, ""
    for asked, row in zip(subject.asked, subject.ordinary.values.tolist(), strict=True):
        for column, value in zip(subject.columns, row, strict=True):
            expected = there.get(title(asked), {}).get(column)
            if expected is None and math.isnan(value) and column in there.get(title(asked), {}):
                continue
            off = math.inf
            if expected is not None and not math.isnan(value):
                off = abs(expected - value) / max(1.0, abs(expected))
            if off > worst:
                worst, where = off, f"{column} of {title(asked)}: {expected} recorded, {value:.6g} now"
    if worst > reference.tolerance:
        raise Fault(
            where,
            f"if the change is meant, raise the version, so that its stored scores stay apart, then {command}",
        )
    return f"largest difference from {place.name}: {worst:.2g} (allowed {reference.tolerance:g})"


def reference_of(subject: RewardSubject) -> Reference:
    """What the model gave just now, as a reference."""
    packages = {}
    for name in ("rewardbench-video", *PACKAGES):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    rows = zip(subject.asked, subject.ordinary.values.tolist(), strict=True)
    scores: dict[str, dict[str, float | None]] = {
        title(asked): {c: None if math.isnan(v) else v for c, v in zip(subject.columns, row, strict=True)}
        for asked, row in rows
    }
    return Reference(
        plugin=subject.job.label,
        version=subject.job.model.card.version,
        fingerprint=subject.job.fingerprint,
        tolerance=subject.tolerance,
        scores=scores,
        packages=packages,
        device=subject.device,
        dtype=subject.job.dtype,
    )


def record(reference: Reference, package: str) -> Path:
    """Put a reference into the package's file, in the place of older ones of the same model, and return the file.

    References of other presets, and of the same version with other weights or options, are kept.

    Raises:
        InputError: where the package is an installed copy, or the file cannot be read or written.
    """
    folder = package_folder(package)
    if _is_installed_copy(folder):
        raise InputError(
            f"--record writes into the package's source, but {package} is an installed copy in {folder}; install it "
            "editable (pip install -e FOLDER) and record again"
        )
    place = folder / FILE
    kept = read_references(place) if place.is_file() else []
    kept = [
        r
        for r in kept
        if r.plugin != reference.plugin or (r.version == reference.version and r.fingerprint != reference.fingerprint)
    ]
    found = [one.model_dump() for one in (*kept, reference)]
    partial = place.with_name(f"{FILE}.partial")
    try:
        text = json.dumps(found[0] if len(found) == 1 else found, indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, place)
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror or error}") from None
    return place


def settled(found: Examination, plugins: Sequence[str]) -> None:
    """Say of recorded scores that they are those of now, once they were written."""
    names = {plugin.partition(":")[0] for plugin in plugins}
    for number, finding in enumerate(found.findings):
        if finding.check == "recorded-scores" and finding.subject.removeprefix("reward ") in names:
            found.findings[number] = replace(finding, status=PASSED, seen="recorded now", advice="")


def package_folder(package: str) -> Path:
    """Folder of a package.

    Raises:
        InputError: where it has none: a single module keeps no files.
    """
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise InputError(f"{package} is a single module and has no folder for {FILE}; make it a package")
    return Path(places[0])


def _is_installed_copy(folder: Path) -> bool:
    homes = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")}
    return any(folder.resolve().is_relative_to(Path(home).resolve()) for home in homes)
