"""Scores of clips without labels: what is kept between commands, and what two commands at once do to each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rewardbench.cache import cache_folder
from rewardbench.clip_scores import ScoreSettings, score_clips_in_session, unfinished_store
from rewardbench.jobs import make_job
from rewardbench.locks import try_lock
from rewardbench.scoring.store import Score
from rewardbench.video import write_video
from rewardbench_plugin.clip import Clip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    write_video(tmp_path / "a.mp4", frames, 8)
    return [Clip("a", str(tmp_path / "a.mp4"), "a prompt")]


def random_job():
    return make_job("random", {}, {}, None, None, 0)


def stop_after(job, clips: list[Clip], score: Score) -> None:
    """A command that has kept one score when it is interrupted."""
    with unfinished_store(job, clips) as store:
        store.put_scores([score])
        raise KeyboardInterrupt


def kept() -> list[str]:
    return sorted(path.name for path in (cache_folder() / "unfinished").glob("*.sqlite"))


def test_a_stopped_command_leaves_its_scores_and_a_finished_one_nothing(clips) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_after(random_job(), clips, Score("key", 0.5, 0.5, ""))
    assert len(kept()) == 1
    with unfinished_store(random_job(), clips) as store:
        assert store.score("key") is not None
    assert kept() == []


def test_two_equal_commands_at_once_do_not_pull_the_file_from_under_each_other(clips) -> None:
    with unfinished_store(random_job(), clips) as first:
        with unfinished_store(random_job(), clips) as second:
            second.put_scores([Score("second", 0.5, 0.5, "")])
        assert len(kept()) == 1  # the one that ended first removed nothing
        first.put_scores([Score("first", 0.5, 0.5, "")])
        assert first.score("first") is not None
        assert first.score("second") is None
    assert kept() == []


def test_without_resuming_nothing_left_behind_is_taken(clips) -> None:
    settings = ScoreSettings(clips, "random", device="cpu")
    rows, _ = score_clips_in_session(settings)
    job = random_job()
    content = hashlib.sha256(Path(clips[0].video).read_bytes()).hexdigest()
    key = job.score_key("overall", content, clips[0], "")
    with pytest.raises(KeyboardInterrupt):
        stop_after(job, clips, Score(key, 0.123, 0.123, ""))
    anew, session = score_clips_in_session(settings, resume=False)
    assert anew == rows
    assert session is not None
    assert len(kept()) == 1


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "a") as first, open(tmp_path / "lock", "a") as second:
        assert try_lock(first)
        assert not try_lock(second)
        first.close()
        assert try_lock(second)
