"""Progress lines: phases, rate and time left."""

from __future__ import annotations

import io

import pytest

from rewardbench.cli.progress import PlainProgress, RichProgress, describe_rate, describe_seconds, phase_callback


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (125, "2 min 5 s"), (3599.7, "1 h 0 min"), (12000, "3 h 20 min")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_rate_and_time_left() -> None:
    assert describe_rate(120, 1000, 10.0) == "120/1,000 (12.0/s, 1 min 13 s left)"
    assert describe_rate(120, None, 10.0) == "120 (12.0/s)"
    assert describe_rate(0, 5, 10.0) == "0/5 (0.0/s)"


def test_plain_lines_at_start_at_most_every_ten_seconds_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, clock)
    progress.start_phase("scoring", 100)
    for _ in range(100):
        clock.now += 0.25
        progress.advance()
    progress.message("kept")
    progress.end_phase()
    assert stream.getvalue().splitlines() == [
        "scoring: 100 …",
        "scoring: 40/100 (4.0/s, 15.0 s left)",
        "scoring: 80/100 (4.0/s, 5.0 s left)",
        "kept",
        "scoring: 100 in 25.0 s (4.0/s)",
    ]


def test_a_new_phase_ends_the_open_one_and_ending_twice_is_silent() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, clock)
    progress.start_phase("drawing", None)
    clock.now = 2.0
    progress.start_phase("scoring", 3)
    progress.end_phase()
    progress.end_phase()
    assert stream.getvalue().splitlines() == ["drawing …", "drawing: 2.0 s", "scoring: 3 …", "scoring: 0.0 s"]


def test_nobody_reading_the_progress_does_not_stop_the_work() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    progress = PlainProgress(Gone())
    progress.start_phase("scoring", 1)
    progress.advance()
    progress.end_phase()
    assert progress._name is None


def test_the_terminal_display_names_phase_count_and_messages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    progress = RichProgress()
    progress.start_phase("scoring", 4)
    progress.advance(3)
    progress.message("clip [b] failed")
    progress.advance(1)
    progress.end_phase()
    progress.message("done")
    written = capsys.readouterr()
    assert written.out == ""
    assert "scoring" in written.err
    assert "4/4" in written.err
    assert "clip [b] failed" in written.err
    assert written.err.endswith("done\n")


def test_counts_become_phases() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, clock)
    callback = phase_callback(progress)
    for name, total in (("drawing", 2), ("writing", 3)):
        for done in range(total + 1):
            callback(name, done, total)
            clock.now += 1.0
    progress.end_phase()
    assert [line for line in stream.getvalue().splitlines() if "in" in line and "/s" in line] == [
        "drawing: 2 in 3.0 s (0.7/s)",
        "writing: 3 in 4.0 s (0.8/s)",
    ]
