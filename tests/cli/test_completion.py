"""Shell completion knows commands, plugins and benchmarks."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rewardbench pl", "plugins"),
        ("rewardbench run --plugin ra", "random"),
        ("rewardbench run --plugin animereward:", "animereward:mini"),
        ("rewardbench run --benchmark anime", "anime-probe"),
        ("rewardbench run --format j", "json"),
        ("rewardbench plugins show cl", "clip"),
    ],
)
def test_bash_is_offered_the_matching_names(line: str, expected: str, command) -> None:
    words = line.split()
    ended = command(
        variables={
            "_REWARDBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
    )
    assert expected in ended.stdout.split()


def test_a_script_for_the_shell_is_printed(command) -> None:
    ended = command(variables={"_REWARDBENCH_COMPLETE": "source_bash"})
    assert "_REWARDBENCH_COMPLETE" in ended.stdout
    assert "rewardbench" in ended.stdout
