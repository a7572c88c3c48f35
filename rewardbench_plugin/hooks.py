"""Every extension point of rewardbench.

A plugin package names a module in the entry-point group ``rewardbench``; functions of that module marked with
:data:`hookimpl` are called by the host. Registration hooks return *manifests*: plain data that names classes as
``"module:Class"`` strings, so that listing plugins imports nothing heavy. All arguments are keyword arguments, and an
implementation may take fewer than the specification offers.

    from rewardbench_plugin import RewardManifest, hookimpl

    @hookimpl
    def rewardbench_rewards():
        return [RewardManifest(name="brightness", version="1.0", target="my_package.model:Brightness",
                               summary="mean pixel value")]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Mapping, Optional, TypeVar

PROJECT = "rewardbench"
F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from rewardbench_plugin.clip import Clip

    def hookimpl(function: F) -> F: ...
    def hookspec(function: F) -> F: ...
else:
    try:
        import pluggy
    except ImportError:  # an isolated worker has no pluggy; it calls no hooks

        def hookimpl(function):
            return function

        hookspec = hookimpl
    else:
        hookimpl = pluggy.HookimplMarker(PROJECT)
        hookspec = pluggy.HookspecMarker(PROJECT)


@dataclass(frozen=True)
class Manifest:
    """A named thing and the class or function that makes it, as ``"module:attribute"``."""

    name: str
    target: str
    summary: str = ""


@dataclass(frozen=True)
class RewardManifest(Manifest):
    """A reward model.

    ``presets`` maps preset name to target; ``target`` is used where no preset is asked for and ``default_preset``
    is None. The same name and version registered twice is one plugin; another version is an error naming both.
    """

    version: str = "0"
    presets: Mapping[str, str] = field(default_factory=dict)
    default_preset: Optional[str] = None


@dataclass(frozen=True)
class BenchmarkManifest(Manifest):
    """A benchmark; ``target`` is a function ``load(name, variant=None, data_dir=None, progress=None)``.

    It returns the path of a pairs file, or a ``rewardbench.Benchmark``. ``labels_by`` says who decided the labels:
    ``people``, or ``construction`` where the answers are known because the clips were made that way.
    """

    version: str = "0"
    labels_by: str = "people"
    variants: Mapping[str, str] = field(default_factory=dict)


@hookspec
def rewardbench_rewards() -> Iterable[RewardManifest]:
    """Reward models this package offers."""
    return []


@hookspec
def rewardbench_latent_rewards() -> Iterable[Manifest]:
    """Differentiable rewards on latents."""
    return []


@hookspec
def rewardbench_benchmarks() -> Iterable[BenchmarkManifest]:
    """Benchmarks this package offers."""
    return []


@hookspec
def rewardbench_engines() -> Iterable[Manifest]:
    """Scoring engines (where batches run)."""
    return []


@hookspec
def rewardbench_reporters() -> Iterable[Manifest]:
    """Reporters: functions ``render(result, folder)`` that write a view of a result."""
    return []


@hookspec
def rewardbench_generators() -> Iterable[Manifest]:
    """Video generator families."""
    return []


@hookspec
def rewardbench_run_start(plugin: str, benchmark: str, n_clips: int) -> None:
    """A run begins; ``n_clips`` clips are planned."""


@hookspec
def rewardbench_item_scored(plugin: str, clip: Clip, scores: Mapping[str, float]) -> None:
    """One clip was scored and its scores are durable."""


@hookspec
def rewardbench_item_failed(plugin: str, clip: Clip, error: str) -> None:
    """One clip could not be scored; ``error`` is the sentence that is reported."""


@hookspec
def rewardbench_run_end(result: Any) -> None:
    """The run ended; ``result`` is the :class:`rewardbench.results.Result`."""


REGISTRATION_HOOKS: List[str] = [
    "rewardbench_rewards",
    "rewardbench_latent_rewards",
    "rewardbench_benchmarks",
    "rewardbench_engines",
    "rewardbench_reporters",
    "rewardbench_generators",
]
