"""Errors that end a command in one sentence, each with its exit code."""

from __future__ import annotations


class RewardbenchError(Exception):
    """Base of all errors a user can cause or meet; the message is one sentence that names the file or option."""

    exit_code = 2


class InputError(RewardbenchError):
    """The command or its input is wrong."""


class ClipError(RewardbenchError):
    """One clip cannot be read or scored. It costs that clip only and is listed in the result."""


class PluginError(RewardbenchError):
    """A plugin cannot be found, loaded or trusted (wrong shape, dies on load)."""


class CheckFailed(RewardbenchError):  # noqa: N818 (what happened, not what broke)
    """A check found a fault in what it checked."""

    exit_code = 1
