"""Which checks a name will meet, known before anything is loaded."""

from __future__ import annotations

from rewardbench.conformance.kit import all_checks
from rewardbench.conformance.registered import find_entry_points
from rewardbench.errors import RewardbenchError
from rewardbench.registry import instantiate, resolve_spec


def planned(name: str) -> list[tuple[str, str]]:
    """(subject, check) of every finding that examining ``name`` gives, in order.

    Raises:
        InputError: if nothing is called so.
    """
    plain = name.partition(":")[0]
    every = all_checks()
    cases = []
    for entry in find_entry_points(plain):
        package = f"package {entry.distribution or entry.name}"
        cases += [(package, check.name) for check in every["package"]]
        for offer in entry.offers:
            kind = offer.kind
            if kind == "reward" and _is_judge(name if offer.manifest.name == plain else offer.manifest.name):
                kind = "judge"
            cases += [(offer.named, check.name) for check in every[kind]]
    return cases


def _is_judge(spec: str) -> bool:
    from rewardbench_plugin.reward import PairwiseJudge

    try:
        name, _, target = resolve_spec(spec)
        return isinstance(instantiate(name, target), PairwiseJudge)
    except RewardbenchError:
        return False  # the checks will say so
