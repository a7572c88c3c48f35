"""A process of its own that registers a plugin's module and says what that imported.

``python -m rewardbench.conformance.probe FILE`` reads a request from FILE (JSON) and writes its answer there.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SECONDS = 300.0


def ask(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request in a new process of this Python, with this process's path and another working folder.

    ``{"module": M}`` registers: ``modules`` maps each top-level module that was imported to whether any of it is
    compiled. ``{"reward": {"spec", "weights", "options", "dimensions", "seed"}}`` gives the ``fingerprint``,
    ``{"benchmark": N}`` its ``sha256`` and ``pairs`` (ids). ``error`` stands alone where it failed.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "rewardbench.conformance.probe", str(file)],
                env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {SECONDS:g} s"}
        answer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if "error" in answer or ended.returncode == 0:
            return answer
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        return {"error": lines[-1] if lines else f"the process ended with status {ended.returncode}"}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`ask` gives, computed here."""
    if "module" in request:
        return {"modules": _imported_by(request["module"])}
    if "reward" in request:
        from rewardbench.registry import choose_reward

        asked = dict(request["reward"])
        _, model = choose_reward(asked.pop("spec"), **asked)
        return {"fingerprint": model.fingerprint()}
    from rewardbench.benchmark import load_benchmark

    found = load_benchmark(request["benchmark"])
    return {"sha256": found.sha256, "pairs": [c.pair_id for c in found.comparisons]}


def _imported_by(module: str) -> dict[str, bool]:
    import pluggy  # noqa: F401 (the host has it anyway)

    from rewardbench_plugin.hooks import REGISTRATION_HOOKS

    before = set(sys.modules)
    imported = importlib.import_module(module)
    for hook in REGISTRATION_HOOKS:
        if hasattr(imported, hook):
            list(getattr(imported, hook)())
    found: dict[str, bool] = {}
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        top = name.partition(".")[0]
        found[top] = found.get(top, False) or file.endswith((".so", ".pyd"))
    return found


def main() -> None:
    file = Path(sys.argv[1])
    request = json.loads(file.read_text(encoding="utf-8"))
    try:
        text = json.dumps(answer(request))
    except Exception as error:
        text = json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
