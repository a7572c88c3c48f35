"""Tests for authors of plugins: every promise of the plugin API as a test of its own.

In a package's tests::

    from rewardbench.testing import conformance

    test_conformance = conformance("my-reward")

This module is also a pytest plugin (entry point ``pytest11``). It brings the options ``--rewardbench-weights``,
``--rewardbench-option`` and ``--rewardbench-device`` and one fixture, and imports nothing until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rewardbench.conformance.checks import Examination
    from rewardbench.errors import RewardbenchError

Examine = Callable[[str, Mapping[str, str], Mapping[str, str]], "Examination"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for what a plugin's tests cannot know: where its weights are."""
    group = parser.getgroup("rewardbench", "conformance of rewardbench plugins")
    group.addoption(
        "--rewardbench-weights",
        action="append",
        default=[],
        metavar="[PART=]PATH",
        help="weights of the plugin under test, as in rewardbench run --weights (repeatable)",
    )
    group.addoption(
        "--rewardbench-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the plugin under test, as in rewardbench run --option (repeatable)",
    )
    group.addoption(
        "--rewardbench-device", default="auto", metavar="DEVICE", help="where the plugin under test computes"
    )


@pytest.fixture(scope="session")
def rewardbench_conformance(pytestconfig: pytest.Config) -> Examine:
    """``rewardbench_conformance(name, weights, options)``: the findings on a plugin, examined once a session."""
    from rewardbench.cli.options import read_options, read_weights
    from rewardbench.conformance.kit import examine
    from rewardbench.conformance.session import Limits
    from rewardbench.errors import RewardbenchError

    given_weights = read_weights(pytestconfig.getoption("--rewardbench-weights"))
    given_options = read_options(pytestconfig.getoption("--rewardbench-option"))
    limits = Limits(device=pytestconfig.getoption("--rewardbench-device"))
    done: dict[Any, Examination | RewardbenchError] = {}

    def findings(name: str, weights: Mapping[str, str], options: Mapping[str, str]) -> Examination:
        key = (name, *sorted(weights.items()), "options", *sorted(options.items()))
        if key not in done:
            weights, options = {**weights, **given_weights}, {**options, **given_options}
            try:
                done[key] = examine(name, weights=weights, options=options, limits=limits).found
            except RewardbenchError as error:
                done[key] = error
        found = done[key]
        if isinstance(found, RewardbenchError):
            pytest.fail(str(found), pytrace=False)
        return found

    return findings


def conformance(
    name: str, *, weights: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None
) -> Callable[..., None]:
    """A test for each check of each thing that ``name`` stands for; assign it to a name that begins with ``test_``.

    A check that finds a fault fails with what was seen and what to do; one that has nothing to look at is skipped.

    Args:
        name: as ``rewardbench plugins check`` takes it: a registered name, an entry point, or a distribution.
        weights, options: for the plugin, unless the command line of pytest gives others.

    Raises:
        InputError: if nothing is called so; install the package first (``pip install -e .``).
    """
    from rewardbench.conformance.plan import planned

    cases = planned(name)

    @pytest.mark.parametrize(("subject", "check"), cases, ids=[check for _, check in cases])
    def test_conformance(subject: str, check: str, rewardbench_conformance: Examine) -> None:
        found = rewardbench_conformance(name, weights or {}, options or {})
        finding = next((f for f in found.findings if (f.subject, f.check) == (subject, check)), None)
        if finding is None:
            pytest.skip("says nothing before the package registers")
        if finding.status == "skipped":
            pytest.skip(finding.seen)
        if finding.status == "failed":
            pytest.fail(f"{finding.seen}\nwanted: {finding.wants}\ndo: {finding.advice}", pytrace=False)

    return test_conformance
