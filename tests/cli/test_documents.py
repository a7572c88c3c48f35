"""The documents name files, commands, options and functions that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import rewardbench
from rewardbench.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert blocks(text, "sh")[:2] == [
        "pip install . && rewardbench run --plugin animereward\n",
        "pip install tox && tox\n",
    ]
    before = text.partition("pip install tox && tox")[0]
    assert len(before.splitlines()) < 10


def test_ci_runs_the_second_command_as_the_readme_has_it() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == "pip install tox && tox"


@named
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def commands_in(text: str) -> list[str]:
    """Lines of code blocks that call the command, and inline code that does; a continued line is one line."""
    text = re.sub(r" *\\\n *", " ", text)
    lines = [line.strip() for block in blocks(text, "sh") for line in block.splitlines()]
    lines += [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    lines += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`(rewardbench [^`]+)`(?!`)", text)]
    calls = [part.strip() for line in lines for part in re.split(r"&&|>|\|", line)]
    return [call for call in calls if call.startswith("rewardbench ")]


@named
def test_commands_and_options_exist(document: Path) -> None:
    for call in commands_in(document.read_text(encoding="utf-8")):
        command, rest = find_command(shlex.split(call)[1:])
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {"--help", "-h", "--install-completion", "--show-completion"}
        assert {word for word in rest if word.startswith("--")} <= known, call
        if hasattr(command, "commands"):  # a group: what follows it must be an option, not an unknown command
            assert all(word.startswith("-") or "|" in word for word in rest[:1]), call


@named
def test_functions_exist(document: Path) -> None:
    code = "\n".join(blocks(document.read_text(encoding="utf-8"), "python"))
    for dotted in set(re.findall(r"\brewardbench((?:\.\w+)+)", code)):
        thing: Any = rewardbench
        for name in dotted.split(".")[1:]:
            thing = getattr(thing, name)


def test_a_misspelt_option_in_a_document_would_be_noticed() -> None:
    (call,) = commands_in("    rewardbench run --plugni random\n")
    command, rest = find_command(shlex.split(call)[1:])
    assert "--plugni" in rest
    assert "--plugni" not in {option for parameter in command.params for option in parameter.opts}
