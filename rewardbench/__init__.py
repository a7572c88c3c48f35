"""rewardbench: measure video reward models against what people preferred, and align generators with them.

Every public name is loaded on first use, so that ``import rewardbench`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardbench.benchmark import Benchmark, Comparison, load_benchmark, read_pairs  # noqa: F401
    from rewardbench.errors import CheckFailed, ClipError, InputError, PluginError, RewardbenchError  # noqa: F401
    from rewardbench.results import Result, read_result  # noqa: F401
    from rewardbench.rewards import as_reward_fn, load_reward  # noqa: F401
    from rewardbench.runs import run  # noqa: F401

__version__ = "0.1.0"

_MODULES = (
    "aliases",
    "align",
    "benchmark",
    "errors",
    "fetching",
    "metrics",
    "probing",
    "registry",
    "report",
    "results",
    "scoring",
    "synth",
    "video",
)
_HOME = {
    "Benchmark": "benchmark",
    "Comparison": "benchmark",
    "load_benchmark": "benchmark",
    "read_pairs": "benchmark",
    "CheckFailed": "errors",
    "ClipError": "errors",
    "InputError": "errors",
    "PluginError": "errors",
    "RewardbenchError": "errors",
    "Result": "results",
    "read_result": "results",
    "as_reward_fn": "rewards",
    "load_reward": "rewards",
    "run": "runs",
}
_PLUGIN_API = (
    "PATH",
    "BenchmarkManifest",
    "Clip",
    "Dimension",
    "FrameSpec",
    "Frames",
    "Item",
    "Judgements",
    "LatentReward",
    "Manifest",
    "NativeTieRule",
    "PairwiseJudge",
    "RewardCard",
    "RewardManifest",
    "RewardModel",
    "Sampling",
    "Scores",
    "Size",
    "hookimpl",
)

__all__ = ["__version__", *_HOME, *_PLUGIN_API, *_MODULES]  # noqa: PLE0604 (names are made of tables above)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"rewardbench.{_HOME[name]}"), name)
    if name in _PLUGIN_API:
        return getattr(importlib.import_module("rewardbench_plugin"), name)
    if name in _MODULES:
        return importlib.import_module(f"rewardbench.{name}")
    raise AttributeError(f"module 'rewardbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
