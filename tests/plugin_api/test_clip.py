"""Sampling rules and target sizes against the reference implementations' own numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardbench_plugin.clip import ROUNDING_RULES, SAMPLING_RULES, FrameSpec, Sampling, Size

QWEN = {"min_count": 4, "count": 768, "multiple": 2, "rounding": "half-even"}


@pytest.mark.parametrize(
    ("total", "fps", "count"), [(49, 16, 6), (81, 16, 10), (126, 24, 10), (152, 30, 10), (16, 8, 4), (3, 8, 2)]
)
def test_videoreward_frame_counts(total, fps, count) -> None:
    assert len(Sampling("fps", fps=2.0, **QWEN).indices(total, fps)) == count


@pytest.mark.shared
def test_videoreward_golden_indices(shared) -> None:
    golden = json.loads((shared / "golden" / "videoreward" / "sampling_and_resize.json").read_text())
    for row in golden["smart_nframes_uniform"]:
        total, fps = row["total_frames"], row["video_fps"]
        if "fps" in row:
            found = Sampling("fps", fps=row["fps"], **QWEN).indices(total, fps)
        else:
            asked = round(row["nframes"] / 2) * 2  # a number of frames is rounded to a multiple of 2 by the caller
            found = Sampling("count", count=asked, rounding="half-even").indices(total, fps)
        assert len(found) == row["n"], row
        if row["indices"] is not None:
            assert found.tolist() == row["indices"], row


@pytest.mark.shared
def test_videoreward_golden_sizes(shared) -> None:
    golden = json.loads((shared / "golden" / "videoreward" / "sampling_and_resize.json").read_text())
    for row in golden["smart_resize_factor28_min100352"]:
        size = Size(max_pixels=row["max_pixels"], min_pixels=100_352, multiple=28)
        assert size.target(row["h"], row["w"]) == tuple(row["out"]), row


@pytest.mark.shared
def test_animereward_and_videoscore_golden_indices(shared) -> None:
    golden = json.loads((shared / "golden" / "idefics2" / "sampling.json").read_text())
    rules = {
        "example_16": Sampling("stride", count=16),
        "example_48": Sampling("stride", count=48),
        "anime_24": Sampling("stride", count=24, max_frames=144),
        "benchmark_16": Sampling("count-repeat", count=16),
    }
    for row in golden["table"]:
        for name, rule in rules.items():
            assert rule.indices(row["total_frames"], 24.0).tolist() == row[name], (name, row["total_frames"])


def test_animereward_never_looks_past_frame_144_and_takes_24_frames() -> None:
    rule = Sampling("stride", count=24, max_frames=144)
    for total in range(25, 400):
        indices = rule.indices(total, 24.0)
        assert len(indices) == 24
        assert indices[-1] < 144
    assert rule.indices(24, 24.0).tolist() == list(range(24))


@pytest.mark.parametrize(
    ("size", "frame", "target"),
    [
        (Size(max_pixels=200_704, min_pixels=100_352, multiple=28), (480, 720), (364, 532)),
        (Size(max_pixels=200_704, min_pixels=100_352, multiple=28), (720, 1280), (336, 588)),
        (Size(max_pixels=200_704, min_pixels=100_352, multiple=28), (1080, 1920), (336, 588)),
        (Size(max_pixels=65_536, min_pixels=100_352, multiple=28), (256, 256), (336, 336)),
        (Size(max_pixels=65_536, min_pixels=100_352, multiple=28), (320, 512), (196, 308)),
        (Size(height=224, width=200), (480, 720), (224, 200)),
        (Size(short_side=256), (480, 720), (256, 384)),
        (Size(short_side=256), (720, 480), (384, 256)),
        (Size(long_side=512), (480, 720), (341, 512)),
        (Size(long_side=512), (300, 400), (300, 400)),
        (Size(long_side=4), (1, 400), (1, 4)),
    ],
)
def test_target_sizes(size, frame, target) -> None:
    assert size.target(*frame) == target


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 1000))
def test_short_side_is_torchvisions_rule(height, width, side) -> None:
    """``torchvision.transforms.functional._compute_resized_output_size``: int(side * long / short)."""
    short, long = sorted((height, width))
    expected = max(1, int(side * long / short))
    assert Size(short_side=side).target(height, width) == ((side, expected) if height <= width else (expected, side))


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(784, 10**6), st.sampled_from([1, 14, 28]))
def test_pixel_budget_holds(height, width, budget, multiple) -> None:
    h, w = Size(max_pixels=budget, multiple=multiple).target(height, width)
    assert h % multiple == w % multiple == 0
    assert min(h, w) >= multiple
    assert h * w <= budget or multiple in (h, w)


samplings: st.SearchStrategy[Sampling] = st.builds(
    Sampling,
    rule=st.sampled_from([rule for rule in SAMPLING_RULES if rule != "windows"]),
    count=st.integers(1, 60),
    fps=st.floats(0.1, 60),
    max_frames=st.none() | st.integers(1, 200),
    min_count=st.integers(1, 8),
    multiple=st.integers(1, 4),
    rounding=st.sampled_from(ROUNDING_RULES),
)


@given(samplings, st.integers(1, 500), st.floats(1, 120))
def test_indices_are_ascending_inside_the_pool_and_never_too_many(rule, total, fps) -> None:
    indices = rule.indices(total, fps)
    pool = min(total, rule.max_frames or total)
    assert indices.dtype == np.int64
    assert len(indices) >= 1
    assert indices[0] >= 0
    assert indices[-1] < pool
    gaps = np.diff(indices)
    assert np.all(gaps >= 0 if rule.rule == "count-repeat" else gaps > 0)
    if rule.rule == "count-repeat":
        assert len(indices) == rule.count
    elif rule.rule != "all":
        assert len(indices) <= min(rule.count or pool, pool)
    if rule.rule in ("count", "fps", "count-repeat") and len(indices) > 1:
        assert (indices[0], indices[-1]) == (0, pool - 1)


@given(st.integers(1, 3000), st.floats(1, 120))
def test_windows_are_videoaligns_four_points_of_six_frames(total, fps) -> None:
    """Against torch's own float32 ``linspace`` and rounding, frame by frame."""
    rule = Sampling("windows", count=24, fps=8.0, multiple=6, rounding="half-even")
    thinned = int(total * 8 // fps)
    if thinned < 7:
        with pytest.raises(ValueError, match="at least 7"):
            rule.indices(total, fps)
        return
    grid = torch.linspace(0, total - 1, thinned).round().long().tolist()
    expected = []
    for centre in torch.linspace(3, thinned - 4, 4).round().long().tolist():
        expected += [grid[centre + step] for step in (-3, -2, -1, 0, 1, 2)]
    found = rule.indices(total, fps)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "fields", [{"fps": None}, {"fps": 0.0}, {"fps": 8.0, "multiple": 5}, {"fps": 8.0, "multiple": 6, "count": 20}]
)
def test_windows_that_cannot_be_cut_are_refused(fields) -> None:
    with pytest.raises(ValueError, match="sampling rule 'windows' needs"):
        Sampling("windows", **fields)


def nearest_to_seconds(times: list[float], most: int) -> list[int]:
    """The rule in plain words: for every whole second up to the last time, rounded, the first nearest frame."""
    chosen: list[int] = []
    for second in range(round(max(times)) + 1):
        if len(chosen) < most:
            nearest = min(times, key=lambda time, second=second: abs(time - second))
            chosen.append(times.index(nearest))
    return chosen


@given(
    st.lists(st.floats(0, 40, width=32), min_size=1, max_size=60, unique=True).map(sorted),
    st.integers(1, 30),
)
def test_seconds_take_the_nearest_frame_in_time(times, most) -> None:
    floats = list(np.array(times, np.float32))  # distances in float32, as the published reader gives them
    found = Sampling("seconds", count=most).indices(len(times), 0.0, np.array(times, np.float64))
    assert found.dtype == np.int64
    assert found.tolist() == nearest_to_seconds(floats, most)


@pytest.mark.parametrize(
    ("total", "fps", "expected"),
    [
        (49, 16, [0, 16, 32, 48]),
        (60, 16, [0, 16, 32, 48, 59]),
        (29, 24, [0, 24]),
        (1, 8, [0]),
        (25, 12.5, [0, 13, 24]),  # 0.96 s and 1.04 s are as near to 1 s, but not in float32
        (3, 0.5, [0, 0, 1, 1, 2]),
        (2000, 30, [30 * second for second in range(24)]),
    ],
)
def test_seconds_on_a_regular_grid(total, fps, expected) -> None:
    assert Sampling("seconds", count=24).indices(total, fps).tolist() == expected
    assert Sampling("seconds", count=24).indices(total, fps, np.arange(total) / fps).tolist() == expected


@given(st.integers(1, 300), st.integers(1, 50))
def test_middle_is_centred_and_head_is_first(total, count) -> None:
    middle, head = (
        Sampling("middle", count=count).indices(total, 1.0),
        Sampling("head", count=count).indices(total, 1.0),
    )
    assert len(middle) == len(head) == min(total, count)
    assert np.all(np.diff(middle) == 1)
    assert 0 <= (total - 1 - middle[-1]) - middle[0] <= 1
    assert head[0] == 0


def test_rounding_rules_differ_at_halves() -> None:
    found = {r: Sampling("count", count=5, rounding=r).indices(7, 1.0).tolist() for r in ROUNDING_RULES}
    # positions 0, 1.5, 3, 4.5, 6
    assert found == {"floor": [0, 1, 3, 4, 6], "round": [0, 2, 3, 5, 6], "half-even": [0, 2, 3, 4, 6]}


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Sampling("sometimes"), "unknown sampling rule 'sometimes'; use one of all, count"),
        (lambda: Sampling("count", count=None), "needs count of at least 1"),
        (lambda: Sampling("middle", count=0), "needs count of at least 1"),
        (lambda: Sampling("fps"), "needs fps above 0"),
        (lambda: Sampling("fps", fps=float("nan")), "needs fps above 0"),
        (lambda: Sampling("fps", fps=2.0, count=0), "needs count of at least 1"),
        (lambda: Sampling(rounding="up"), "unknown rounding"),
        (lambda: Sampling(multiple=0), "at least 1"),
        (lambda: Sampling(max_frames=0), "at least 1"),
        (lambda: Sampling().indices(0, 24.0), "without frames"),
        (lambda: Sampling("fps", fps=2.0).indices(10, 0.0), "frame rate"),
        (lambda: Sampling("seconds").indices(10, 0.0), "frame rate"),
        (Size, "exactly one of"),
        (lambda: Size(height=3), "go together"),
        (lambda: Size(short_side=3, long_side=3), "exactly one of"),
        (lambda: FrameSpec(reader="opencv"), "unknown reader 'opencv'; use one of pyav"),
        (lambda: FrameSpec(filter="nearest", size=Size(short_side=3)), "unknown resize filter"),
        (lambda: FrameSpec(filter="pil-box"), "go together"),
        (lambda: FrameSpec(size=Size(short_side=3)), "go together"),
    ],
)
def test_bad_requests_are_refused(build, words) -> None:
    with pytest.raises(ValueError, match=words):
        build()


@given(samplings, st.sampled_from([None, Size(short_side=3), Size(height=2, width=5, center_crop=(1, 2))]))
def test_specs_travel_as_json_and_keep_their_key(rule, size) -> None:
    spec = FrameSpec("decord", rule, size, "none" if size is None else "pil-box")
    there: dict[str, Any] = json.loads(json.dumps(spec.to_json()))
    back = FrameSpec.from_json(there)
    assert back == spec
    assert hash(back) == hash(spec)
    assert back.key() == spec.key()


def test_the_key_tells_specs_apart() -> None:
    specs = [
        FrameSpec(),
        FrameSpec(reader="decord"),
        FrameSpec(sampling=Sampling(count=17)),
        FrameSpec(sampling=Sampling(rounding="round")),
        FrameSpec(size=Size(short_side=9), filter="pil-box"),
        FrameSpec(size=Size(short_side=9), filter="pil-bilinear"),
        FrameSpec(size=Size(short_side=9, center_crop=(9, 9)), filter="pil-box"),
    ]
    assert len({spec.key() for spec in specs}) == len(specs)
