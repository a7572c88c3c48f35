"""Check that a plugin's package stands on its own in a worker."""

from __future__ import annotations

from rewardbench.conformance.checks import CheckList, Fault
from rewardbench.conformance.session import Refused
from rewardbench.conformance.subject import RewardSubject
from rewardbench.errors import PluginError

CHECKS = CheckList()


@CHECKS.add(
    "isolated-worker",
    "In an isolated worker, which finds a copy of its package and no others of this process, it gives the same scores.",
    needs=["second-process"],
)
def _isolated(subject: RewardSubject) -> str:
    advice = (
        "let the package import itself and what its requirements name, and find its files beside its modules "
        "(Path(__file__)); the distribution's metadata is not there"
    )
    subject.drop()
    try:
        with subject.sessions.start_alone() as model:
            again = model.ask(subject.asked)
    except (Refused, PluginError) as refusal:
        raise Fault(f"there: {refusal}", advice) from None
    worst, where = subject.compare(subject.ordinary.values, again.values, subject.asked)
    if worst > subject.tolerance:
        raise Fault(f"here and there, {where}", advice)
    where = "the plugin's own environment" if subject.sessions.own_environment else "a copy of the package"
    return f"{where}: largest difference {worst:.2g}"
