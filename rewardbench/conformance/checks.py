"""What a check is, and how a list of them is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Fault(Exception):  # noqa: N818 (what was found, not what broke)
    """A check found something wrong: what was seen, and what to do about it."""

    def __init__(self, seen: str, advice: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.advice = advice


class NotChecked(Exception):  # noqa: N818
    """A check has nothing to look at here; the text says why."""


@dataclass(frozen=True)
class Check:
    """One promise.

    Attributes:
        name: as it is printed and named in tests.
        wants: one sentence on what a plugin must do.
        needs: checks that have to pass before this one can say anything.
        examine: looks at a subject and returns what was seen in one sentence; raises :class:`Fault` or
            :class:`NotChecked`.
    """

    name: str
    wants: str
    needs: tuple[str, ...]
    examine: Callable[[Any], str]


@dataclass(frozen=True)
class Finding:
    """What one check found. ``subject`` is what was examined (``reward brightness``), ``advice`` is empty but for
    faults."""

    subject: str
    check: str
    status: str
    wants: str
    seen: str
    advice: str = ""


@dataclass
class Examination:
    """All findings of one call, in the order of the checks."""

    name: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == FAILED]

    def of(self, check: str) -> Finding:
        """The finding of a check; its first, where several subjects have it.

        Raises:
            KeyError: if it was not run.
        """
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)


class CheckList:
    """Checks in the order they are run; a module adds its own with :meth:`add`."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def add(
        self, name: str, wants: str, *, needs: Sequence[str] = ()
    ) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
        """Decorator: the function examines a subject."""

        def keep(examine: Callable[[Any], str]) -> Callable[[Any], str]:
            self.checks.append(Check(name, wants, tuple(needs), examine))
            return examine

        return keep


def run_checks(
    checks: Iterable[Check], subject: Any, named: str, tell: Callable[[str], None] | None = None
) -> list[Finding]:
    """Run checks on one subject. A check whose needs did not pass is skipped: what it saw would prove nothing.

    Args:
        named: the subject in words.
        tell: called with each check's name before it runs.
    """
    findings: list[Finding] = []
    unmet: set[str] = set()
    for check in checks:
        if tell is not None:
            tell(check.name)
        missing = [need for need in check.needs if need in unmet]
        if missing:
            status, seen, advice = SKIPPED, f"says nothing before {missing[0]} passes", ""
        else:
            status, seen, advice = _run(check, subject)
        if status != PASSED:
            unmet.add(check.name)
        findings.append(Finding(named, check.name, status, check.wants, seen, advice))
    return findings


def _run(check: Check, subject: Any) -> tuple[str, str, str]:
    try:
        return PASSED, check.examine(subject), ""
    except Fault as fault:
        return FAILED, fault.seen, fault.advice
    except NotChecked as reason:
        return SKIPPED, str(reason), ""
