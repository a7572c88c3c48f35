"""The wheel, built from the checkout and installed into an environment that holds nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import uv

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900


@dataclass(frozen=True)
class Installation:
    """An environment with rewardbench installed, and a cache of its own.

    Attributes:
        bin: folder of the environment's commands.
        wheel: what was installed.
        cache: where the embedded benchmark is drawn.
    """

    bin: Path
    wheel: Path
    cache: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a fresh shell in which this environment is active."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "REWARDBENCH_", "VIRTUAL_ENV", "COV_", "PYTEST_", "TOX_"))
        }
        path = os.pathsep.join([str(self.bin), kept.get("PATH", "")])
        return {**kept, "PATH": path, "REWARDBENCH_CACHE": str(self.cache)}

    def start(self, *words: str, folder: Path, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start ``rewardbench WORDS`` in a folder, in a process group of its own."""
        return subprocess.Popen(
            ["rewardbench", *words],
            cwd=folder,
            env={**self.variables, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            executable=str(self.bin / "rewardbench"),
        )

    def run(
        self, *words: str, folder: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``rewardbench WORDS`` in a folder to its end."""
        process = self.start(*words, folder=folder, variables=variables)
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(["rewardbench", *words], process.returncode, out, err)

    def python(self, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python in a folder."""
        return subprocess.run(
            [str(self.bin / "python"), *words],
            cwd=folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def pip(self, command: str, *words: str, folder: Path, check: bool = True) -> str:
        """Run ``uv pip COMMAND WORDS`` on the environment; what it said."""
        return run_uv("pip", command, "--python", str(self.bin / "python"), *words, folder=folder, check=check)


def run_uv(*words: str, folder: Path, check: bool = True) -> str:
    """Run uv, whose environments share one copy of each package: pip would write PyTorch's gigabytes anew."""
    ended = subprocess.run(
        [uv.find_uv_bin(), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert ended.returncode == 0 or not check, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel, built from the checkout, in a new environment that holds it and what it needs."""
    home = tmp_path_factory.mktemp("installed")
    run_uv("build", "--wheel", "--out-dir", str(home / "dist"), str(ROOT), folder=home)
    (wheel,) = (home / "dist").glob("*.whl")
    run_uv("venv", "--python", sys.executable, str(home / "venv"), folder=home)
    found = Installation(home / "venv" / ("Scripts" if os.name == "nt" else "bin"), wheel, home / "cache")
    found.pip("install", str(wheel), folder=home)
    return found


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty folder to run in."""
    folder = tmp_path / "empty folder"
    folder.mkdir()
    return folder
