"""Frames of single clips through a process that can be killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from rewardbench.errors import ClipError
from rewardbench.scoring.decoder import Decoder
from rewardbench.video import read_frames
from rewardbench_plugin import FrameSpec, Sampling

SPEC = FrameSpec(sampling=Sampling("count", 3))


def test_same_frames_as_in_process(tiny_clips: list[Path]) -> None:
    with Decoder() as decoder:
        for clip in tiny_clips[:2]:
            np.testing.assert_array_equal(decoder.read(clip, SPEC), read_frames(clip, [SPEC])[SPEC].rgb)


def test_a_clip_that_cannot_be_read_does_not_end_it(tiny_clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 100)
    with Decoder() as decoder:
        with pytest.raises(ClipError, match=r"junk\.mp4"):
            decoder.read(tmp_path / "junk.mp4", SPEC)
        assert decoder.read(tiny_clips[0], SPEC).shape == (3, 32, 48, 3)


def test_a_decoder_that_died_is_started_again(tiny_clips: list[Path]) -> None:
    with Decoder() as decoder:
        decoder.read(tiny_clips[0], SPEC)
        assert decoder._worker is not None
        os.kill(decoder._worker._process.pid, signal.SIGKILL)
        with pytest.raises(ClipError, match="SIGKILL"):
            decoder.read(tiny_clips[0], SPEC)
        assert decoder.read(tiny_clips[0], SPEC).shape == (3, 32, 48, 3)


def test_a_clip_that_takes_too_long_is_given_up(tiny_clips: list[Path]) -> None:
    with Decoder() as decoder:
        decoder.read(tiny_clips[0], SPEC)
        assert decoder._worker is not None
        os.kill(decoder._worker._process.pid, signal.SIGSTOP)
        decoder._timeout = 0.3
        with pytest.raises(ClipError, match=r"no answer within 0\.3 s"):
            decoder.read(tiny_clips[0], SPEC)
