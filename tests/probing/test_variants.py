"""Treated copies: what each treatment leaves of the frames, and that copies are made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.probing.record import LeftOut
from rewardbench.probing.sources import Source, clips_of_folder, next_others, other_prompts
from rewardbench.probing.takes import plan_takes
from rewardbench.probing.treatments import BY_NAME, TREATMENTS
from rewardbench.probing.variants import remux, treated
from rewardbench.probing.workshop import make_copies
from rewardbench.scoring.progress import Silent
from rewardbench.video import read_frames, write_video
from rewardbench_plugin import Clip, FrameSpec, Sampling

SPEC = FrameSpec(sampling=Sampling("all", None))
FRAMES = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3)).astype(np.uint8)


def made(treatment: str, level: str, frames: np.ndarray = FRAMES):
    found = treated(frames, 8.0, treatment, level, 0)
    assert found is not None
    return found


def test_frames_are_turned_round_mixed_thinned_and_halved() -> None:
    assert np.array_equal(made("reversed", "reversed").frames[::-1], FRAMES)
    mixed = made("shuffled", "shuffled").frames
    assert sorted(frame.tobytes() for frame in mixed) == sorted(frame.tobytes() for frame in FRAMES)
    assert not np.array_equal(mixed, FRAMES)
    thinned = made("frame_rate", "1/2")
    assert np.array_equal(thinned.frames, FRAMES[::2])
    assert thinned.fps == 4.0
    assert np.array_equal(made("length", "first half").frames, FRAMES[:4])
    assert np.array_equal(made("length", "second half").frames, FRAMES[5:])


def test_speed_keeps_frames_and_size_keeps_rate() -> None:
    faster = made("speed", "2")
    assert np.array_equal(faster.frames, FRAMES)
    assert faster.fps == 16.0
    smaller = made("resolution", "1/2")
    assert smaller.frames.shape == (9, 16, 24, 3)
    assert smaller.fps == 8.0


@pytest.mark.parametrize("treatment", ["reversed", "shuffled", "frame_rate", "length", "speed", "freeze", "stutter"])
def test_a_single_frame_has_no_time_to_change(treatment: str) -> None:
    level = next(t.levels[-1] for t in TREATMENTS if t.name == treatment)
    assert treated(FRAMES[:1], 8.0, treatment, level, 0) is None


def test_a_clip_that_stands_still_is_the_same_backwards() -> None:
    assert treated(np.repeat(FRAMES[:1], 5, axis=0), 8.0, "reversed", "reversed", 0) is None


def test_a_degradation_is_that_of_the_drawn_world() -> None:
    from rewardbench.synth.degradations import degrade

    assert np.array_equal(made("flicker", "0.5").frames, degrade(FRAMES, "flicker", 0.5, 0))


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_another_container_holds_the_same_frames_at_the_same_rate(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / "a.mp4", FRAMES, 8.0)
    remux(tmp_path / "a.mp4", tmp_path / f"b{suffix}")
    remux(tmp_path / "a.mp4", tmp_path / f"c{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()
    before, after = (read_frames(path, [SPEC])[SPEC] for path in (tmp_path / "a.mp4", tmp_path / f"b{suffix}"))
    assert np.array_equal(before.rgb, after.rgb)
    assert after.fps == pytest.approx(before.fps, rel=0.02)


def test_every_level_that_makes_a_file_can_be_made_and_read_and_is_made_once(
    write_clips: Callable[..., list[Clip]], tmp_path: Path
) -> None:
    from rewardbench.probing.takes import file_levels

    (clip,) = write_clips(1)
    levels = file_levels(TREATMENTS)
    copies, failures = make_copies({"sha": clip.video}, levels, seed=0, workers=1, progress=Silent())
    assert failures == {}
    files = copies["sha"].files
    assert set(files) == set(levels)
    assert copies["sha"].failures == {}
    for path in filter(None, files.values()):
        assert read_frames(path, [SPEC])[SPEC].total >= 1
    times = {path: Path(path).stat().st_mtime_ns for path in filter(None, files.values())}
    again, _ = make_copies({"sha": clip.video}, levels, seed=0, workers=1, progress=Silent())
    assert again == copies
    assert times == {path: Path(path).stat().st_mtime_ns for path in times}
    other, _ = make_copies({"sha": clip.video}, levels[:1], seed=1, workers=1, progress=Silent())
    assert other["sha"].reference != copies["sha"].reference


def test_long_and_large_clips_are_cut_and_scaled(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", FRAMES, 8.0)
    small, _ = make_copies(
        {"sha": str(tmp_path / "a.mp4")}, [], seed=0, workers=1, progress=Silent(), short_side=20, most_frames=4
    )
    found = read_frames(small["sha"].reference, [SPEC])[SPEC]
    assert (found.total, found.height, found.width) == (4, 20, 30)
    assert small["sha"].shrunk


def test_a_prompt_is_swapped_with_the_next_other_one() -> None:
    assert other_prompts(["a", "a ", "b", None, "c"]) == ["b", "b", "c", None, "a"]
    assert other_prompts(["a", "a"]) == [None, None]
    assert other_prompts([None]) == [None]


@given(st.lists(st.sampled_from(["x", "y", "z", None]), max_size=8))
def test_a_swap_takes_the_next_content_that_is_another(contents: list[str | None]) -> None:
    found = next_others(contents)
    for i, place in enumerate(found):
        ahead = [(i + step) % len(contents) for step in range(1, len(contents))]
        others = [j for j in ahead if contents[j] is not None and contents[j] != contents[i]]
        assert place == (others[0] if others and contents[i] is not None else None)


def swaps(tmp_path: Path, images: str) -> tuple[list[str], list[LeftOut]]:
    """Images given to clips whose own hold these letters, each in a file of its own; "." is a clip without one."""
    sources = []
    for number, letter in enumerate(images):
        path = tmp_path / f"{number}.png"
        path.write_text(letter)
        clip = Clip(f"{number}.mp4", "", None, None if letter == "." else str(path))
        sources.append(Source(number, str(number), clip, "", 1, False))
    takes, left = plan_takes(
        sources, {}, [BY_NAME["image_swap"]], uses_image=True, is_judge=False, content_of=lambda p: Path(p).read_text()
    )
    return [f"{take.source}{Path(take.clip.image or '').read_text()}" for take in takes if take.clip], left


def test_an_image_is_swapped_with_the_next_of_another_content_whatever_the_files_are_called(tmp_path: Path) -> None:
    assert swaps(tmp_path, "xxxy") == (["0y", "1y", "2y", "3x"], [])
    made, (left,) = swaps(tmp_path, "x.xy")
    assert (made, left.n_clips, left.reason) == (["0y", "2y", "3x"], 1, "without an image of its own")
    made, (left,) = swaps(tmp_path, "xxx")
    assert (made, left.n_clips, left.reason) == ([], 3, "there is no second image to swap with")


def test_a_folder_without_clips_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no clip"):
        clips_of_folder(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        clips_of_folder(tmp_path / "nowhere")
