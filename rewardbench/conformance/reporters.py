"""Checks of a reporter: a function ``render(result, folder)`` that writes a view of a result."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.conformance.checks import CheckList, Fault
from rewardbench.conformance.clips import Clips
from rewardbench.conformance.registered import Registered
from rewardbench.errors import InputError, PluginError
from rewardbench.report.reporters import find_reporter, render_with
from rewardbench.results import Result, read_result

CHECKS = CheckList()
RESULT = "result.json"


@dataclass
class ReporterSubject:
    """``folder`` takes two small runs: of drawn clips, and of clips that cannot be decoded."""

    registered: Registered
    clips: Clips
    folder: Path
    before: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.registered.manifest.name

    def run_folder(self) -> tuple[Result, Path]:
        """A run whose clips were scored."""
        first, second, third = (clip.video for clip in self.clips.ordinary)
        return self._run("scored", [(first, second, "A"), (second, third, "B"), (third, first, "tie")])

    def empty_folder(self) -> tuple[Result, Path]:
        """A run none of whose clips could be scored."""
        bad = self.clips.corrupt.video
        return self._run("failed", [(bad, self.clips.ordinary[0].video, "A"), (bad, bad, "tie")])

    def _run(self, name: str, pairs: list[tuple[str, str, str]]) -> tuple[Result, Path]:
        from rewardbench.runs import run

        out = self.folder / name
        if not out.is_dir():
            table = self.folder / f"{name}.csv"
            for video in {Path(v) for first, second, _ in pairs for v in (first, second)}:
                shutil.copyfile(video, self.folder / video.name)  # clips lie beside or below their table
            rows = [(Path(first).name, Path(second).name, label) for first, second, label in pairs]
            lines = [f"prompt {i},{a},{b},{label}" for i, (a, b, label) in enumerate(rows)]
            table.write_text("\n".join(["prompt,video_a,video_b,label_overall", *lines]) + "\n", encoding="utf-8")
            run("random", str(table), out=out, bootstrap=20, device="cpu", workers=1)
        return read_result(out / RESULT), out


@CHECKS.add("reporter-renders", "render(result, folder) writes at least one file into the run's folder.")
def _renders(subject: ReporterSubject) -> str:
    advice = "the target is a function render(result, folder); write the view into folder"
    try:
        find_reporter(subject.name)
        result, folder = subject.run_folder()
        subject.before = before = digests(folder)
        render_with(subject.name, result, folder)
    except (PluginError, InputError) as error:
        raise Fault(str(error), advice) from None
    subject.written = {name: digest for name, digest in digests(folder).items() if before.get(name) != digest}
    new = [name for name in subject.written if name not in before]
    if not subject.written:
        raise Fault("it wrote nothing into the folder", advice)
    return f"wrote {', '.join(sorted(new or subject.written))}"


@CHECKS.add(
    "reporter-leaves-result",
    "It changes neither the result nor the files that the run wrote.",
    needs=["reporter-renders"],
)
def _leaves(subject: ReporterSubject) -> str:
    advice = "write files of your own names, and work on a copy: result.model_copy(deep=True)"
    result, folder = subject.run_folder()
    kept = result.to_json()
    after = digests(folder)
    touched = sorted(name for name, digest in subject.before.items() if after.get(name) != digest)
    if touched:
        raise Fault(f"it changed {', '.join(touched)} of the run", advice)
    render_with(subject.name, result, folder)
    if result.to_json() != kept:
        raise Fault("it changed the result it was handed", advice)
    return "nothing of the run is changed"


@CHECKS.add(
    "reporter-repeats", "The same result gives the same bytes.", needs=["reporter-renders", "reporter-leaves-result"]
)
def _repeats(subject: ReporterSubject) -> str:
    result, folder = subject.run_folder()
    render_with(subject.name, result, folder)
    after = digests(folder)
    changed = [name for name, digest in subject.written.items() if after.get(name) != digest]
    if changed:
        raise Fault(
            f"{', '.join(changed)} differs when rendered again",
            "take dates and versions from result.provenance, sort what has no order, overwrite instead of appending",
        )
    return "rendered again, byte for byte"


@CHECKS.add(
    "reporter-gaps",
    "A result without numbers (every clip failed) is rendered too.",
    needs=["reporter-renders"],
)
def _gaps(subject: ReporterSubject) -> str:
    result, folder = subject.empty_folder()
    try:
        render_with(subject.name, result, folder)
    except (PluginError, InputError) as error:
        advice = "values of a metric may be None, failures may be many; say so instead of a number"
        raise Fault(str(error), advice) from None
    return f"rendered a result with {len(result.failures)} failures"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 by file name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
