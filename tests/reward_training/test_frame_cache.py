"""Frames are decoded once, and memory has a limit."""

import numpy as np

import rewardbench.video
from rewardbench.reward_training.frames import FrameCache
from rewardbench.video import write_video
from rewardbench_plugin import FrameSpec, Sampling


def test_the_least_recently_used_clip_makes_way(tmp_path, monkeypatch):
    clips = [str(tmp_path / f"{n}.mp4") for n in range(3)]
    for n, clip in enumerate(clips):
        write_video(clip, np.full((4, 16, 16, 3), 60 * n, np.uint8), 4.0)
    read, decoded = rewardbench.video.read_frames, []
    monkeypatch.setattr(
        rewardbench.video,
        "read_frames",
        lambda path, *more, **named: decoded.append(path) or read(path, *more, **named),
    )
    one = 4 * 16 * 16 * 3
    cache = FrameCache(FrameSpec(sampling=Sampling("all")), limit=2 * one)
    for clip in (clips[0], clips[1], clips[0], clips[2], clips[0], clips[1]):
        assert cache.read(clip).rgb.shape == (4, 16, 16, 3)
    assert decoded == [clips[0], clips[1], clips[2], clips[1]]
