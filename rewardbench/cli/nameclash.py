"""Another project owns the distribution name ``rewardbench``; this module says so when it is installed beside ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rewardbench.cli import output
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

OURS = "rewardbench-video"
FOREIGN = "rewardbench"


def check() -> None:
    """Warn on standard error if the other distribution is installed.

    Both install an import package and a command called ``rewardbench``.

    Raises:
        InputError: if the other distribution's files have replaced ours.
    """
    if not _records_are_there():
        return
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        foreign = distribution(FOREIGN)
    except PackageNotFoundError:
        return
    named = f"the distribution 'rewardbench' {foreign.version} (another project, not {OURS})"
    if _owns_our_package(foreign):
        raise InputError(
            f"{named} has replaced files of {OURS}: run `pip uninstall -y {FOREIGN} {OURS}` "
            f"and install {OURS} again, or give each its own environment"
        )
    output.error_line(
        f"rewardbench: warning: {named} is installed in this environment, and both own the import package and the "
        "command `rewardbench`: give each its own environment"
    )


def _records_are_there() -> bool:
    """Whether a folder of the import path holds records named after the distribution.

    A look at the names alone: importing ``importlib.metadata`` takes a third of the time that ``--help`` takes.
    """
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # not a folder, or not ours to read
            continue
        if any(name.lower().startswith((f"{FOREIGN}-", f"{FOREIGN}.egg-info")) for name in names):
            return True
    return False


def _owns_our_package(foreign: Distribution) -> bool:
    """Whether the ``rewardbench/__init__.py`` that is running is the one the other distribution recorded."""
    import base64
    import hashlib

    import rewardbench

    running = Path(rewardbench.__file__ or "")
    for file in foreign.files or ():
        if file.as_posix() != "rewardbench/__init__.py" or file.hash is None:
            continue
        installed = Path(str(foreign.locate_file(file)))
        if not installed.exists() or not running.exists() or not installed.samefile(running):
            continue
        digest = hashlib.new(file.hash.mode, running.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value:
            return True
    return False
