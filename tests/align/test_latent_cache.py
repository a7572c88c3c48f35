"""Caches: what is read is what was coded, shards fill from anywhere, and another generator's cache is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rewardbench.align.families.base import ClipShape
from rewardbench.align.latent_cache import LatentCache, read_clip
from rewardbench.errors import ClipError, InputError
from rewardbench.video import write_video
from tests.align.conftest import load_toy


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr("rewardbench.align.latent_cache.SHARD", 4)


def test_sampled_latents_are_taken_and_videos_are_coded(tmp_path, tiny_toy, toy_samples) -> None:
    from safetensors.torch import load_file

    family = load_toy(tiny_toy)
    clips = list(toy_samples)[:5]
    clips[4] = dataclasses.replace(clips[4], latents=None)
    cache = LatentCache(tmp_path / "cache", family, clips, seed=0)
    cache.fill()
    cache.open()
    found = cache.latents([c.clip_id for c in clips])
    for row, clip in enumerate(clips[:4]):
        assert torch.equal(found[row], load_file(clip.latents)[clip.clip_id])
    frames = torch.from_numpy(read_clip(clips[4].video, family.clip)).float() / 127.5 - 1.0
    torch.testing.assert_close(found[4], family.encode_video(frames[None])[0])


def test_conditions_are_the_families_own_with_and_without_caption(tmp_path, tiny_toy, toy_samples) -> None:
    family = load_toy(tiny_toy)
    cache = LatentCache(tmp_path / "cache", family, list(toy_samples), seed=0)
    cache.fill()
    cache.open()
    prompt = toy_samples[0].prompt
    found = cache.condition([prompt.prompt_id] * 2, without_text=[False, True])
    assert torch.equal(found["words"][0], family.encode_text([prompt.text])["words"][0])
    assert torch.equal(found["words"][1], torch.zeros_like(found["words"][1]))
    assert torch.equal(found["image"][0], found["image"][1])


def test_shards_can_be_filled_by_several(tmp_path, tiny_toy, toy_samples) -> None:
    family = load_toy(tiny_toy)
    first = LatentCache(tmp_path / "cache", family, list(toy_samples), seed=0)
    first.fill(part=(0, 2))
    with pytest.raises(InputError, match="fill it first"):
        first.open()
    second = LatentCache(tmp_path / "cache", family, list(toy_samples), seed=0)
    second.fill(part=(1, 2))
    second.open()
    assert second.latents([s.clip_id for s in toy_samples]).shape[0] == len(toy_samples)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda family, clips: (family, clips[:-1]), "clips"),
        (lambda family, clips: (_shaped(family), clips), "latent_shape"),
        (lambda family, clips: (_other(family), clips), "generator"),
    ],
)
def test_the_cache_of_another_generator_size_or_clips_is_refused(tmp_path, tiny_toy, toy_samples, change, what) -> None:
    family, clips = load_toy(tiny_toy), list(toy_samples)
    LatentCache(tmp_path / "cache", family, clips, seed=0)
    family, clips = change(family, clips)
    with pytest.raises(InputError, match=rf"latents of another run \(different: .*{what}"):
        LatentCache(tmp_path / "cache", family, clips, seed=0)


def _shaped(family):
    class Other(type(family)):
        latent_shape = (8, 2, 8, 8)

    family.__class__ = Other
    return family


def _other(family):
    class Other(type(family)):
        def fingerprint(self):
            return "another"

    family.__class__ = Other
    return family


def test_a_clip_is_read_at_the_generators_rate_and_size(tmp_path) -> None:
    frames = np.zeros((24, 32, 48, 3), np.uint8)
    frames[:] = (np.arange(24) * 10)[:, None, None, None]
    write_video(tmp_path / "a.mp4", frames, 24, lossless=True)
    found = read_clip(str(tmp_path / "a.mp4"), ClipShape(4, 16, 16, 8.0))
    assert found.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(found[:, 8, 8, 0], [0, 30, 60, 90], atol=2)  # every third frame


def test_a_clip_that_is_too_short_is_named(tmp_path) -> None:
    write_video(tmp_path / "short.mp4", np.zeros((4, 16, 16, 3), np.uint8), 8)
    with pytest.raises(ClipError, match=r"short.mp4: lasts 0.50 s, and the generator's clips last 1.00 s"):
        read_clip(str(tmp_path / "short.mp4"), ClipShape(8, 16, 16, 8.0))
