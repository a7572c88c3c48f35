"""Runs uv, which installs the environments of isolated plugins."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rewardbench.errors import PluginError
from rewardbench.scoring.progress import Progress

TAIL = 400
"""Characters of uv's last words that an error quotes."""
_SHOWN = re.compile(r"^(Resolved|Prepared|Installed|Using CPython|Downloading .*\((\d{3,}\.\d+MiB|.*GiB)\))")
_GLYPHS = re.compile("[×│╰─▶├┬]+")


class Uv:
    """Runs uv, keeps what it says in a log, and shows the steps."""

    def __init__(self, plugin: str, log: Path, stream: TextIO, progress: Progress) -> None:
        self._plugin = plugin
        self._log = log
        self._stream = stream
        self._progress = progress
        self._uv = find_uv()

    def run(self, *words: str) -> list[str]:
        """Lines that uv printed.

        Raises:
            PluginError: if it failed.
        """
        lines, code = self._start([self._uv, *words], _uv_variables())
        if code != 0:
            raise PluginError(
                f"the environment of plugin {self._plugin!r} could not be built: {_tail(lines)}; "
                f"the whole message is in {self._log}"
            )
        return lines

    def check(self, python: Path, packages: Path, module: str) -> None:
        """See whether the worker's loop and the plugin's module can be imported there.

        Raises:
            PluginError: if not.
        """
        variables = {**_uv_variables(), "PYTHONPATH": str(packages), "PYTHONNOUSERSITE": "1"}
        statement = f"import rewardbench_plugin.worker, importlib; importlib.import_module({module!r})"
        lines, code = self._start([str(python), "-c", statement], variables, packages)
        if code != 0:
            raise PluginError(
                f"the environment of plugin {self._plugin!r} was installed, but {module} cannot be imported there: "
                f"{_tail(lines[-1:])}; the whole message is in {self._log}"
            )

    def _start(
        self, words: Sequence[str], variables: Mapping[str, str], folder: Path | None = None
    ) -> tuple[list[str], int]:
        print("$", " ".join(words), file=self._stream, flush=True)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            cwd=folder or self._log.parent,  # a project in the user's folder must not steer uv
            text=True,
            errors="replace",
            start_new_session=True,
        )
        lines = []
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                print(lines[-1], file=self._stream, flush=True)
                if _SHOWN.match(lines[-1].strip()):
                    self._progress.message(f"{self._plugin}: {lines[-1].strip()}")
                elif lines[-1].strip().startswith(("Downloaded", "Built")):
                    self._progress.advance(1)
            return lines, process.wait()
        finally:
            process.stdout.close()
            if process.poll() is None:  # we are interrupted
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def find_uv() -> str:
    """The uv of this installation, else the one on the path.

    Raises:
        PluginError: if there is none.
    """
    with contextlib.suppress(ImportError, FileNotFoundError):
        import uv

        return str(uv.find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise PluginError("uv, which builds the environments of isolated plugins, is not here; pip install uv")
    return found


def _uv_variables() -> dict[str, str]:
    """The user's settings of uv (index, offline, cache) without the environment this process lives in."""
    ours = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "UV_PROJECT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _tail(lines: Sequence[str]) -> str:
    """The error at the end of a message as one line, without the drawing around it."""
    starts = [i for i, line in enumerate(lines) if line.lstrip().startswith(("error:", "×"))]
    text = " ".join(_GLYPHS.sub(" ", " ".join(lines[starts[-1] if starts else 0 :])).split())
    return text if len(text) <= TAIL else f"… {text[-TAIL:]}"
