"""The ``rewardbench`` command: one file per command, no logic that a user of the library would miss."""

from rewardbench.cli.app import main

__all__ = ["main"]
