"""Environments of their own for plugins that cannot share the host's: built once with uv, then used as they are.

An environment is a folder ``environments/NAME-FINGERPRINT`` in the cache. The fingerprint covers what is installed
(requirements, Python, platform). The packages that are copied into it (the plugin's own and ``rewardbench_plugin``)
lie beside that in ``packages-DIGEST``, so that an edited plugin takes effect at once and installs nothing again.

A folder gets its name when it is complete, and only while its lock is held. So two runs never clash, and a build that
was interrupted leaves nothing that could be mistaken for an environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardbench.cache import cache_folder
from rewardbench.errors import InputError, PluginError
from rewardbench.installer import Uv
from rewardbench.locks import try_lock, wait_for_lock
from rewardbench.scoring.process import Interpreter
from rewardbench.scoring.progress import Progress
from rewardbench_plugin.card import RewardCard

RECORD = "environment.json"
LOG = "build.log"


@dataclass(frozen=True)
class Recipe:
    """What goes into an environment.

    Attributes:
        plugin: its name.
        requires: requirement strings.
        python: what uv is to use: a version, or the path of an interpreter.
        version: the same for the fingerprint (a path says nothing of the version behind it).
        sources: packages (folders) and modules (files) that are copied.
        module: what must be importable in the end.
    """

    plugin: str
    requires: tuple[str, ...]
    python: str
    version: str
    sources: tuple[Path, ...]
    module: str

    @property
    def inputs(self) -> dict[str, Any]:
        """What decides whether an installed environment can be used again."""
        return {
            "requires": sorted(self.requires),
            "python": self.version,
            "platform": f"{sys.platform} {platform.machine()}",
        }

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()
        return environments_folder() / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', self.plugin)}-{digest[:16]}"

    @property
    def packages(self) -> Path:
        """Where the copies for the present content of the sources are (or will be)."""
        return self.folder / f"packages-{_digest(self.sources)[:16]}"


@dataclass(frozen=True)
class Environment:
    """A complete environment on the disk."""

    folder: Path
    plugin: str
    requires: tuple[str, ...]
    python: str
    built: str
    bytes: int

    @property
    def name(self) -> str:
        return self.folder.name


def environments_folder() -> Path:
    return cache_folder() / "environments"


def recipe_of(card: RewardCard, target: str) -> Recipe | None:
    """What a card asks for, None where the plugin shares the host's environment; ``target`` is its ``module:Class``.

    Raises:
        PluginError: where the plugin's own package cannot be copied.
    """
    if card.environment != "isolated":
        return None
    module = target.partition(":")[0]
    own = _source_of(module.partition(".")[0], card.name)
    host = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return Recipe(
        plugin=card.name,
        requires=card.requires,
        python=card.python or sys.executable,
        version=card.python or host,
        sources=(_source_of("rewardbench_plugin", card.name), own),
        module=module,
    )


def ensure(recipe: Recipe, progress: Progress) -> Interpreter:
    """The interpreter of the environment, which is built now if it is not there.

    Raises:
        PluginError: if it cannot be built; the sentence quotes uv and names the log.
    """
    folder, packages = recipe.folder, recipe.packages
    if not _is_complete(folder) or not packages.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _lock(folder.with_name(f"{folder.name}.lock"), recipe, progress):
                _remove_unfinished(folder)
                if not _is_complete(folder):
                    _build(recipe, folder, progress)
                if not packages.is_dir():
                    _copy(recipe.sources, packages)
        except OSError as error:
            where = error.filename or folder
            raise PluginError(
                f"the environment of plugin {recipe.plugin!r} cannot be kept: {where}: {error.strerror or error}; "
                "REWARDBENCH_CACHE names another place"
            ) from None
    return Interpreter(_python(folder), packages)


def installed() -> list[Environment]:
    """Every complete environment, by name."""
    found = []
    for record in sorted(environments_folder().glob(f"*/{RECORD}")):
        folder = record.parent
        if not _is_complete(folder):
            continue
        facts = json.loads(record.read_text(encoding="utf-8"))
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(
            Environment(folder, facts["plugin"], tuple(facts["requires"]), facts["python"], facts["built"], size)
        )
    return found


def remove(name: str) -> list[Path]:
    """Delete the environments of a plugin, or the one of that name, and return what was deleted.

    Raises:
        InputError: if there is none.
    """
    chosen = [one.folder for one in installed() if name in (one.name, one.plugin)]
    if not chosen:
        raise InputError(f"no environment named {name!r} and none of a plugin of that name in {environments_folder()}")
    for folder in chosen:
        doomed = folder.with_name(f"{folder.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)  # gone at once for everybody who looks for it
        shutil.rmtree(doomed)
    return chosen


def packages_of(recipe: Recipe) -> dict[str, str]:
    """What is installed in an environment, package to version; nothing where it was not built."""
    if not _is_complete(recipe.folder):
        return {}
    facts = json.loads((recipe.folder / RECORD).read_text(encoding="utf-8"))
    return dict(line.split("==", 1) for line in facts["packages"])


# -- building --------------------------------------------------------------------------------------------------------


def _build(recipe: Recipe, folder: Path, progress: Progress) -> None:
    """Install into a folder of another name, prove that it works, and give it its name."""
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    log = folder.with_name(f"{folder.name}.log")
    python = _python(partial)
    progress.start_phase(f"building the environment of plugin {recipe.plugin} (once)", None)
    try:
        with open(log, "w", encoding="utf-8") as stream:
            uv = Uv(recipe.plugin, log, stream, progress)
            uv.run("venv", "--relocatable", "--no-project", "--allow-existing", "--python", recipe.python, str(partial))
            uv.run("pip", "install", "--python", str(python), "numpy", *recipe.requires)
            packages = partial / "packages"
            _copy(recipe.sources, packages)
            uv.check(python, packages, recipe.module)
            shutil.rmtree(packages)
            frozen = uv.run("pip", "freeze", "--python", str(python))
        record = {
            "plugin": recipe.plugin,
            **recipe.inputs,
            "built": datetime.now(UTC).isoformat(timespec="seconds"),
            "packages": [line for line in frozen if "==" in line],
        }
        shutil.move(log, partial / LOG)
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if folder.exists():  # its Python is gone: see _is_complete
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        progress.end_phase()


# -- folders ---------------------------------------------------------------------------------------------------------


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _is_complete(folder: Path) -> bool:
    """Whether it was built to the end and the Python it is based on is still there (the link leads somewhere)."""
    return (folder / RECORD).is_file() and _python(folder).exists()


def _remove_unfinished(folder: Path) -> None:
    """What an interrupted build left; the lock is held, so nobody is building."""
    for left in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path, recipe: Recipe, progress: Progress) -> Iterator[None]:
    """Hold the lock of one environment."""
    with open(path, "a", encoding="utf-8") as stream:
        if not try_lock(stream):
            progress.message(f"{recipe.plugin}: waiting for another process that builds its environment")
            wait_for_lock(stream)
        yield


def _source_of(name: str, plugin: str) -> Path:
    """The folder of a package, or the file of a module."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations and spec.origin is not None:
        return Path(spec.origin).parent
    if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
        return Path(spec.origin)
    raise PluginError(f"plugin {plugin!r}: {name} is no plain Python package, so it cannot be copied to an environment")


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    every = (path for path in source.rglob("*") if path.is_file())
    return sorted(path for path in every if "__pycache__" not in path.parts and path.suffix != ".pyc")


def _digest(sources: Sequence[Path]) -> str:
    """SHA-256 (hex) over names and contents."""
    digest = hashlib.sha256()
    for source in sources:
        for path in _files(source):
            digest.update(f"{path.relative_to(source.parent).as_posix()}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()


def _copy(sources: Sequence[Path], into: Path) -> None:
    """Copy packages whole or not at all."""
    partial = Path(tempfile.mkdtemp(prefix=f"{into.name}.partial-", dir=into.parent))
    try:
        for source in sources:
            for path in _files(source):
                copy = partial / path.relative_to(source.parent)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        partial.rename(into)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
