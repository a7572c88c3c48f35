"""Checks of an entry point: does its module register, and how much does listing it cost."""

from __future__ import annotations

import sys

from rewardbench.conformance.checks import CheckList, Fault
from rewardbench.conformance.probe import ask
from rewardbench.conformance.registered import EntryPoint

CHECKS = CheckList()
LARGE = frozenset({"datasets", "diffusers", "jax", "keras", "matplotlib", "rich", "sympy", "transformers", "typer"})
"""Large without a compiled part of their own that would be seen."""


@CHECKS.add("registers", "The entry point's module can be imported, and its hooks return manifests of the right kind.")
def _registers(entry: EntryPoint) -> str:
    if entry.failures:
        raise Fault(
            f"entry point {entry.name}: {entry.failures[0]}",
            "see rewardbench_plugin/hooks.py for the hooks and the manifest each returns",
        )
    if not entry.offers:
        raise Fault(
            f"entry point {entry.name} registers nothing",
            "mark functions named as the hooks in rewardbench_plugin/hooks.py with @hookimpl, in the module that the "
            "entry point names",
        )
    return ", ".join(offer.named for offer in entry.offers)


@CHECKS.add(
    "manifest-light",
    "Listing the plugin imports nothing heavy: no compiled library, no framework.",
    needs=["registers"],
)
def _light(entry: EntryPoint) -> str:
    advice = f"import inside the functions that need it; {entry.module} is imported whenever plugins are listed"
    found = ask({"module": entry.module})
    if "error" in found:
        raise Fault(f"{entry.module} in a process of its own: {found['error']}", advice)
    own = {entry.module.partition(".")[0], "rewardbench", "rewardbench_plugin", *sys.stdlib_module_names}
    foreign = {name: compiled for name, compiled in found["modules"].items() if name not in own}
    heavy = sorted(name for name, compiled in foreign.items() if compiled or name in LARGE)
    if heavy:
        raise Fault(f"{entry.module} imports {', '.join(heavy)}", advice)
    return f"imports {', '.join(sorted(foreign))}" if foreign else "imports the standard library and itself"
