"""Results alone reach standard output, and a reader that goes away is no error."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rewardbench.cli import output


def run_program(program: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )


def test_stray_prints_of_anyone_go_to_standard_error(environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys\n"
        "from rewardbench.cli import output\n"
        "with output.own_stdout() as stdout:\n"
        "    print('from python')\n"
        "    sys.stdout.flush()\n"
        "    os.write(1, b'from C\\n')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"from a child\")'])\n"
        "    output.print_json({'value': 1}, stdout)\n"
        "print('after')\n"
    )
    ended = run_program(program, environment, tmp_path)
    first, after = ended.stdout.rsplit("}\n", 1)
    assert json.loads(first + "}") == {"value": 1}
    assert after == "after\n"
    assert {"from python", "from C", "from a child"} <= set(ended.stderr.splitlines())


def test_a_reader_that_stops_reading_is_no_error(environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from rewardbench.cli import output\n"
        "for i in range(20000):\n"
        "    output.write('a line that fills the pipe ' + str(i))\n"
        "output.flush()\n"
        "sys.exit(3)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 3


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_survives_a_closed_pipe(unbuffered: str, environment: dict[str, str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "rewardbench.cli", "--help"],
        env={**environment, "PYTHONUNBUFFERED": unbuffered},
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")


def test_columns_are_aligned_and_not_padded_at_the_end() -> None:
    stream = io.StringIO()
    output.print_columns([["name", "what"], ["a", "one"], ["longer", "b"]], stream)
    assert stream.getvalue() == "name    what\na       one\nlonger  b\n"


def test_json_has_no_not_a_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        output.print_json({"value": float("nan")}, io.StringIO())
