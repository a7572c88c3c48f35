"""Writes a complete package for a reward model or a judge."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rewardbench.errors import InputError
from rewardbench.registry import load_registry

LICENCES = {
    "Apache-2.0": "Apache-2.0",
    "MIT": "MIT",
    "BSD-3-Clause": "BSD-3-Clause",
    "none": "LicenseRef-Proprietary",
}
"""What ``--licence`` takes, and the SPDX expression that pyproject.toml and the card state."""
SUFFIX = ".in"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class NewPackage:
    """What the templates are filled with: ``__NAME__`` is the plugin, ``__MODULE__`` its Python package."""

    name: str
    is_judge: bool
    licence: str

    @property
    def distribution(self) -> str:
        return f"rewardbench-{self.name}"

    @property
    def words(self) -> dict[str, str]:
        summary = "which of two clips is brighter" if self.is_judge else "brightness and contrast of a clip"
        # Every word stands between underscores, so that no template is changed by accident.
        return {
            "__SUMMARY_SENTENCE__": summary[0].upper() + summary[1:],
            "__SUMMARY__": summary,
            "__DISTRIBUTION__": self.distribution,
            "__MODULE__": self.distribution.replace("-", "_"),
            "__CLASS__": "".join(part.capitalize() for part in self.name.split("-")),
            "__KIND__": "judge" if self.is_judge else "reward model",
            "__SPDX__": LICENCES[self.licence],
            "__YEAR__": str(date.today().year),
            "__NAME__": self.name,
        }


def write_package(
    name: str, folder: Path | None = None, *, is_judge: bool = False, licence: str = "Apache-2.0"
) -> Path:
    """Write a package that installs, runs and passes the conformance checks, and return its folder.

    Args:
        name: of the plugin: small letters, digits and single hyphens.
        folder: the package's own folder; ``rewardbench-NAME`` here if None. It may exist if it is empty.
        licence: one of :data:`LICENCES`.

    Raises:
        InputError: a name that cannot be used or is taken, an unknown licence, a folder that is not empty.
    """
    _check(name, licence)
    package = NewPackage(name, is_judge, licence)
    target = folder if folder is not None else Path(package.distribution)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists and is not an empty folder; name another with --dir")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}") from None
    try:
        templates = resources.files("rewardbench.scaffold") / "templates"
        for kind in ("common", "judge" if is_judge else "reward"):
            _fill(templates / kind, partial, package.words)
        licence_text = (templates / "licences" / f"{licence}.txt").read_text(encoding="utf-8")
        (partial / "LICENSE").write_text(_replaced(licence_text, package.words), encoding="utf-8")
        (partial / "gitignore").rename(partial / ".gitignore")
        partial.chmod(0o777 & ~_umask())
        if target.exists():
            target.rmdir()
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _check(name: str, licence: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name a plugin; use small letters, digits and hyphens, as in my-reward")
    if name.startswith("rewardbench"):
        raise InputError(f"leave rewardbench out of the name {name!r}: the package becomes rewardbench-NAME by itself")
    registry = load_registry()
    if name in registry.rewards:
        source = registry.sources.get(name, "an installed package")
        raise InputError(f"a reward model {name!r} is registered by {source}; take another name, or uninstall it")
    if licence not in LICENCES:
        raise InputError(f"unknown licence {licence!r}; choose one of {', '.join(LICENCES)}")


def _fill(template: Traversable, folder: Path, words: dict[str, str]) -> None:
    for entry in template.iterdir():
        name = _replaced(entry.name, words)
        if entry.is_dir():
            (folder / name).mkdir(exist_ok=True)
            _fill(entry, folder / name, words)
        elif name.endswith(SUFFIX):
            text = _replaced(entry.read_text(encoding="utf-8"), words)
            (folder / name.removesuffix(SUFFIX)).write_text(text, encoding="utf-8")


def _replaced(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
