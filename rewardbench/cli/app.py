"""The command's entry point: assembles the commands and turns every ending into an exit code and one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rewardbench.cli import (
    align,
    benchmarks,
    compare,
    doctor,
    environments,
    label,
    leaderboard,
    nameclash,
    output,
    pairs,
    plugins,
    probe,
    report,
    reproduce,
    run,
    score,
    train,
)
from rewardbench.cli.light import keep_texts_as_they_are
from rewardbench.errors import RewardbenchError

PROGRAM = "rewardbench"
COMPLETION_VARIABLE = "_REWARDBENCH_COMPLETE"

EXIT_DONE = 0
EXIT_WRONG_INPUT = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

# typer carries its own copy of click from 0.26 on, so the base of all usage errors is found through typer's public one.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]

# What the operating system refuses about a file is the input's fault, not ours.
_REFUSED_BY_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

app = typer.Typer(
    name=PROGRAM,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure video reward models against human preferences, and align video generators with them.",
    epilog="Exit codes: 0 done; 1 a check found a fault; 2 the command or its input is wrong; 3 finished, but some "
    "clips failed; 70 a bug of rewardbench; 130 interrupted.",
)
app.command("run", short_help="Score the clips of a benchmark and compare with its labels.")(run.run)
app.command("score", short_help="Score video files with one reward model.")(score.score)
app.command("report", short_help="Rebuild result and page of a run from its scores.")(report.report)
app.command("compare", short_help="Paired tests between the models of finished runs.")(compare.compare)
app.command("reproduce", short_help="Compute a published row again: paper, ours, difference.")(reproduce.reproduce)
app.command("train", short_help="Train a reward model on preferences or ratings.")(train.train)
app.command("align", short_help="Make a video generator better by a reward plugin.")(align.align)
app.command("probe", short_help="What a reward model reacts to, and what it should ignore.")(probe.probe)
app.command("label", short_help="Label your own pairs of clips on a local page.")(label.label)
app.command("doctor", short_help="Is this install giving a model's own numbers?")(doctor.doctor)
app.add_typer(plugins.app, name="plugins")
app.add_typer(benchmarks.app, name="benchmarks")
app.add_typer(pairs.app, name="pairs")
app.add_typer(environments.app, name="environments")
app.add_typer(leaderboard.app, name="leaderboard")


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")] = (
        False
    ),
) -> None:
    if version:
        from rewardbench import __version__

        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit(EXIT_DONE)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_DONE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Nothing but the command's own output goes to standard output; every error is one sentence on standard error.

    Args:
        arguments: the words after ``rewardbench``; those of the process if None.
    """
    words, debug = _take_debug(list(sys.argv[1:] if arguments is None else arguments))
    try:
        code = _invoke(words)
        output.flush()
    except KeyboardInterrupt:
        resumes = "; the same command goes on where it stopped" if words[:1] in (["run"], ["align"], ["probe"]) else ""
        output.error_line(f"{PROGRAM}: interrupted{resumes}")
        return EXIT_INTERRUPTED
    except Exception as error:  # the last line of defence: whatever it is becomes one sentence
        if isinstance(error, BrokenPipeError) and output.reader_is_gone():
            return EXIT_DONE
        if debug and not isinstance(error, ClickException):
            _print_traceback()
        sentence, code = _explain(error, debug)
        output.error_line(f"{PROGRAM}: error: {sentence}")
    return code


def _explain(error: Exception, debug: bool) -> tuple[str, int]:
    """One sentence and the exit code for anything that ended a command."""
    text = " ".join(str(error).split())
    if isinstance(error, ClickException):
        format_message = getattr(error, "format_message", None)
        text = " ".join(format_message().split()) if format_message is not None else text
        return f"{text} (see {_help_for(error)})", EXIT_WRONG_INPUT
    if isinstance(error, RewardbenchError):
        return text, error.exit_code
    if isinstance(error, OSError) and error.errno in _REFUSED_BY_SYSTEM:
        where = f" {error.filename}" if error.filename else " a file"
        return f"{where.strip()} cannot be used: {error.strerror}", EXIT_WRONG_INPUT
    hint = "" if debug else "; run the same command with --debug to see where"
    return f"this is a bug of rewardbench ({type(error).__name__}: {text or 'no message'}){hint}", EXIT_BUG


def _invoke(words: list[str]) -> int:
    command = typer.main.get_command(app)
    if COMPLETION_VARIABLE in os.environ:
        command.main(args=words, prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE)
    keep_texts_as_they_are(command)
    nameclash.check()
    try:
        with command.make_context(PROGRAM, words, obj=shlex.join([PROGRAM, *words])) as context:
            code = command.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    return int(code or EXIT_DONE)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """``--debug`` is accepted at any place before ``--``, also where a command does not declare it."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _help_for(usage: Exception) -> str:
    context = getattr(usage, "ctx", None)
    return f"{context.command_path if context is not None else PROGRAM} --help"


def _print_traceback() -> None:
    import traceback

    with contextlib.suppress(BrokenPipeError):
        traceback.print_exc()
