"""Parsing texts and flags without pydantic."""

from __future__ import annotations

from typing import Any


def keep_texts_as_they_are(command: Any, parent: Any = None) -> None:
    """Put typer's own pass-through in place of its conversion, for every text and flag of a command and its children.

    typer converts options with pydantic from 0.26 on. Texts need no conversion, and importing pydantic took 0.12 s of
    the 0.3 s that ``rewardbench plugins list`` may take. Where a version of typer is built differently nothing is
    replaced: the command is then only slower.
    """
    try:
        from typer._coercion import PassThroughRuntimeParam
    except ImportError:
        return
    context = command.context_class(command, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):  # with the help option, which only a context knows
        described = getattr(parameter, "type_descriptor", None)
        if described is None or described.annotation not in (str, bool) or not hasattr(parameter, "_runtime_param"):
            continue
        try:
            kept = PassThroughRuntimeParam(parameter_info=described.parameter_info, annotation=described.annotation)
        except TypeError:
            return
        parameter._runtime_param = kept
    for child in getattr(command, "commands", {}).values():
        keep_texts_as_they_are(child, context)
