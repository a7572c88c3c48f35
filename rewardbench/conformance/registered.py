"""What a package registers: everything of a name, of an entry point, or of a distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardbench.errors import InputError, PluginError
from rewardbench.registry import Registry, load_registry, nearest
from rewardbench_plugin.hooks import REGISTRATION_HOOKS, Manifest

KINDS = {
    "rewardbench_rewards": "reward",
    "rewardbench_latent_rewards": "latent reward",
    "rewardbench_benchmarks": "benchmark",
    "rewardbench_engines": "engine",
    "rewardbench_reporters": "reporter",
    "rewardbench_generators": "generator",
}


@dataclass(frozen=True)
class Registered:
    """One manifest, and who registers it: ``entry`` is the entry point's name, ``module`` what it names."""

    kind: str
    manifest: Manifest
    entry: str
    module: str
    distribution: str

    @property
    def named(self) -> str:
        return f"{self.kind} {self.manifest.name}"

    @property
    def package(self) -> str:
        """Top-level package of the class or function that is registered."""
        return self.manifest.target.partition(":")[0].partition(".")[0]


@dataclass(frozen=True)
class EntryPoint:
    """One entry point: its module, what it registers, and why parts of it could not be used."""

    name: str
    module: str
    distribution: str
    offers: tuple[Registered, ...]
    failures: tuple[str, ...] = ()


def entry_points() -> list[EntryPoint]:
    """Every entry point of the group ``rewardbench``, those that fail included.

    Raises:
        PluginError: where one of them implements a hook that does not exist.
    """
    registry = load_registry()
    found = []
    for key, module in sorted(registry.manager.list_name_plugin()):
        if module is None:
            continue
        name, _, rest = key.partition(" (")
        found.append(_entry_point(registry, name, key, module, rest.removesuffix(")")))
    known = {entry.name for entry in found}
    for failure in registry.failures:
        if failure.name not in known and " (" not in failure.name:
            found.append(EntryPoint(failure.name, "", failure.source, (), (failure.reason,)))
    return found


def _entry_point(registry: Registry, name: str, key: str, module: Any, source: str) -> EntryPoint:
    reasons = [failure.reason for failure in registry.failures if failure.name == key]
    offers = []
    for hook in REGISTRATION_HOOKS:
        implementation = getattr(module, hook, None)
        if implementation is None:
            continue
        try:
            manifests = list(implementation())
        except Exception as error:
            reason = f"{hook} raised {type(error).__name__}: {error}"
            reasons += [] if reason in reasons else [reason]
            continue
        for manifest in manifests:
            if isinstance(manifest, Manifest):
                offers.append(Registered(KINDS[hook], manifest, name, module.__name__, source))
            elif KINDS[hook] not in ("reward", "benchmark"):  # the registry has said so of those two
                reasons.append(f"{hook} registers a {type(manifest).__name__} where a Manifest belongs")
    return EntryPoint(name, module.__name__, source, tuple(offers), tuple(reasons))


def find_entry_points(name: str) -> list[EntryPoint]:
    """The entry points that ``name`` stands for: by what they register, by their own name, or by distribution.

    Of an entry point that is found by what it registers, everything it registers is examined.

    Raises:
        InputError: if nothing is called so (with the nearest name).
    """
    try:
        every = entry_points()
    except PluginError as error:
        if f"plugin {name} (" in str(error):
            return [EntryPoint(name, "", "", (), (str(error),))]
        raise
    found = [
        entry
        for entry in every
        if name in (entry.name, entry.distribution) or name in [offer.manifest.name for offer in entry.offers]
    ]
    if not found:
        known = {offer.manifest.name for entry in every for offer in entry.offers} | {entry.name for entry in every}
        raise InputError(f"nothing is registered as {name!r}{nearest(name, known)}")
    return found
