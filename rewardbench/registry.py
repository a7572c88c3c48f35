"""Finds plugins and benchmarks. Listing imports only what registers manifests, nothing heavy.

A plugin is a module named in the entry-point group ``rewardbench``. ``REWARDBENCH_PLUGINS`` (entry-point names,
comma separated; empty: none) chooses which entry points load.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from rewardbench.errors import InputError, PluginError, RewardbenchError
from rewardbench_plugin import hooks
from rewardbench_plugin.hooks import PROJECT, BenchmarkManifest, Manifest, RewardManifest

if TYPE_CHECKING:
    from rewardbench_plugin.reward import RewardModel


@dataclass(frozen=True)
class PluginFailure:
    """An entry point that could not be used, and why."""

    name: str
    source: str
    reason: str


@dataclass
class Registry:
    """What is installed. ``sources`` names the distribution that registered each reward or benchmark."""

    manager: pluggy.PluginManager
    rewards: dict[str, RewardManifest] = field(default_factory=dict)
    benchmarks: dict[str, BenchmarkManifest] = field(default_factory=dict)
    failures: list[PluginFailure] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint like ``; did you mean 'clip'?``, or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def _selected() -> set[str] | None:
    chosen = os.environ.get("REWARDBENCH_PLUGINS")
    return None if chosen is None else {name.strip() for name in chosen.split(",") if name.strip()}


@lru_cache(maxsize=1)
def load_registry() -> Registry:
    """Load every chosen entry point once per process.

    An entry point that fails to import is recorded in ``failures``.

    Raises:
        PluginError: if a plugin implements a hook that does not exist (a typing error would otherwise pass silently).
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hooks)
    registry = Registry(manager)
    chosen = _selected()
    owners: dict[str, str] = {}
    entries = sorted(metadata.entry_points(group=PROJECT), key=lambda entry: (entry.name, entry.value))
    for name in sorted((chosen or set()) - {entry.name for entry in entries}):
        registry.failures.append(PluginFailure(name, "REWARDBENCH_PLUGINS", "no entry point of that name"))
    for entry in entries:
        if chosen is not None and entry.name not in chosen:
            continue
        source = entry.dist.name if entry.dist is not None else "unknown"
        try:
            module = entry.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            registry.failures.append(PluginFailure(entry.name, source, reason))
            continue
        if manager.is_registered(module):
            continue
        _refuse_unknown_hooks(module, entry.name, source)
        key = f"{entry.name} ({source})"
        try:
            manager.register(module, key)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {key}: {' '.join(str(error).split())}") from None
        owners[key] = source
    for key, source in owners.items():
        _collect(registry, manager.get_plugin(key), key, source)
    return registry


def _refuse_unknown_hooks(module: Any, name: str, source: str) -> None:
    known = {hook for hook in vars(hooks) if hook.startswith(f"{PROJECT}_")}
    for attribute, value in vars(module).items():
        if attribute.startswith(f"{PROJECT}_") and attribute not in known and hasattr(value, f"{PROJECT}_impl"):
            raise PluginError(
                f"plugin {name} ({source}) implements the unknown hook {attribute}{nearest(attribute, known)} "
                f"(REWARDBENCH_PLUGINS can leave it out)"
            )


def _collect(registry: Registry, module: Any, key: str, source: str) -> None:
    """Take the manifests of one module."""
    for hook, store in (("rewardbench_rewards", registry.rewards), ("rewardbench_benchmarks", registry.benchmarks)):
        implementation = getattr(module, hook, None)
        if implementation is None:
            continue
        try:
            manifests = list(implementation())
        except Exception as error:
            registry.failures.append(PluginFailure(key, source, f"{hook} raised {type(error).__name__}: {error}"))
            continue
        for manifest in manifests:
            _add(registry, store, manifest, key, source)


def _add(registry: Registry, store: Any, manifest: Manifest, key: str, source: str) -> None:
    expected = RewardManifest if store is registry.rewards else BenchmarkManifest
    if not isinstance(manifest, expected):
        reason = f"registers a {type(manifest).__name__} where a {expected.__name__} belongs"
        registry.failures.append(PluginFailure(key, source, reason))
        return
    known = store.get(manifest.name)
    if known is None:
        store[manifest.name] = manifest
        registry.sources[manifest.name] = source
    elif known.version != manifest.version:
        reason = (
            f"{manifest.name!r} is registered twice: version {known.version} by {registry.sources[manifest.name]} and "
            f"version {manifest.version} by {source}; uninstall one, or choose with REWARDBENCH_PLUGINS"
        )
        registry.conflicts[manifest.name] = reason
        registry.failures.append(PluginFailure(key, source, reason))


class Listeners:
    """The life-cycle hooks of a run. What a listener gets wrong is said once per hook and costs nothing else."""

    def __init__(self, manager: pluggy.PluginManager, warn: Callable[[str], None]) -> None:
        self._hook = manager.hook
        self._warn = warn
        self._broken: set[str] = set()

    def tell(self, hook: str, **event: Any) -> None:
        """Call ``hook`` of every plugin that listens."""
        try:
            getattr(self._hook, hook)(**event)
        except Exception as error:
            if hook not in self._broken:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self._warn(f"warning: a plugin's {hook} failed ({reason}); the run goes on")
            self._broken.add(hook)


def find_reward(name: str) -> RewardManifest:
    """The manifest of a reward plugin.

    Raises:
        PluginError: if it is unknown (with the nearest name), failed to import, or stands twice.
    """
    registry = load_registry()
    if name in registry.conflicts:
        raise PluginError(registry.conflicts[name])
    if name in registry.rewards:
        return registry.rewards[name]
    for failure in registry.failures:
        if failure.name == name or failure.name.startswith(f"{name} ("):
            raise PluginError(f"plugin {name} ({failure.source}) cannot be used: {failure.reason}")
    raise PluginError(f"unknown plugin {name!r}{nearest(name, registry.rewards)}")


def find_benchmark(name: str) -> BenchmarkManifest:
    """The manifest of a registered benchmark.

    Raises:
        InputError: if it is unknown (with the nearest name).
    """
    registry = load_registry()
    if name in registry.conflicts:
        raise PluginError(registry.conflicts[name])
    if name not in registry.benchmarks:
        raise InputError(f"unknown benchmark {name!r}{nearest(name, registry.benchmarks)}")
    return registry.benchmarks[name]


@dataclass(frozen=True)
class RewardChoice:
    """A reward model as the user chose it: what a worker process needs to build the same object."""

    name: str
    preset: str | None
    target: str
    weights: Mapping[str, str]
    options: Mapping[str, str]
    dimensions: tuple[str, ...] | None
    seed: int

    @property
    def label(self) -> str:
        return self.name if self.preset is None else f"{self.name}:{self.preset}"

    def configure_arguments(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "weights": dict(self.weights),
            "options": dict(self.options),
            "dimensions": None if self.dimensions is None else list(self.dimensions),
            "seed": self.seed,
        }


def choose_reward(
    spec: str,
    *,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    dimensions: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[RewardChoice, RewardModel]:
    """Resolve ``NAME[:PRESET]`` to a configured model that is not loaded yet.

    Raises:
        PluginError: unknown plugin or preset, or a class that breaks the plugin API.
        InputError: options, weights or dimensions the plugin does not take.
    """
    name, preset, target = resolve_spec(spec)
    model = instantiate(name, target)
    _check_choices(model, name, weights or {}, options or {})
    choice = RewardChoice(name, preset, target, dict(weights or {}), dict(options or {}), None, seed)
    try:
        model.configure(preset=preset, weights=choice.weights, options=choice.options, dimensions=None, seed=seed)
        if dimensions:
            wanted = resolve_dimensions(model.card.dimension_names, dimensions, name)
            choice = RewardChoice(name, preset, target, choice.weights, choice.options, wanted, seed)
            model.configure(preset=preset, weights=choice.weights, options=choice.options, dimensions=wanted, seed=seed)
    except ValueError as error:
        raise InputError(f"plugin {name!r}: {error}") from None
    except RewardbenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"plugin {name!r} failed to take its settings ({reason})") from error
    return choice, model


def resolve_spec(spec: str) -> tuple[str, str | None, str]:
    """Name, preset and target that ``NAME[:PRESET]`` stands for.

    Raises:
        PluginError: unknown plugin or preset, with the nearest name.
    """
    name, colon, preset_text = spec.partition(":")
    manifest = find_reward(name)
    preset = preset_text if colon else manifest.default_preset
    if preset is None:
        return name, None, manifest.target
    if preset not in manifest.presets:
        raise PluginError(f"plugin {name!r} has no preset {preset!r}{nearest(preset, manifest.presets)}")
    return name, preset, manifest.presets[preset]


def instantiate(name: str, target: str) -> RewardModel:
    """The plugin's model, not configured yet.

    Raises:
        PluginError: if its class cannot be made or breaks the plugin API.
    """
    from rewardbench_plugin.card import RewardCard
    from rewardbench_plugin.reward import RewardModel

    module, _, attribute = target.partition(":")
    try:
        model = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"plugin {name!r} cannot be loaded from {target}: {reason}") from error
    if not isinstance(model, RewardModel) or not isinstance(getattr(model, "card", None), RewardCard):
        raise PluginError(f"plugin {name!r}: {target} must be a RewardModel with a RewardCard as its card")
    return model


def _check_choices(model: RewardModel, name: str, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
    for option in options:
        if option not in model.option_names:
            hint = nearest(option, model.option_names) or "; it takes no options"
            raise InputError(f"plugin {name!r} has no option {option!r}{hint}")
    for part in weights:
        if part and part not in model.card.weights_parts:
            hint = nearest(part, model.card.weights_parts) or "; it takes no weights parts"
            raise InputError(f"plugin {name!r} has no weights part {part!r}{hint}")


def resolve_dimensions(known: Sequence[str], wanted: Sequence[str], name: str) -> tuple[str, ...]:
    """Canonical dimension names in card order; aliases of papers and files are understood."""
    from rewardbench.aliases import canonical

    found = set()
    for dimension in wanted:
        match = canonical(dimension, known)
        if match not in known:
            raise InputError(f"plugin {name!r} has no dimension {dimension!r}{nearest(dimension, known)}")
        found.add(match)
    return tuple(d for d in known if d in found)
