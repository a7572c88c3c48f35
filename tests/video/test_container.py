"""What headers and packets say: ``probe``, ``content_hash``, the frame rate rule."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.errors import ClipError
from rewardbench.video import ClipInfo, content_hash, probe
from rewardbench.video.container import frame_rate, scan_packets


def test_probe_reports_the_header(odd_clips) -> None:
    assert probe(odd_clips["plain mp4"].path) == ClipInfo("mp4/mov", "h264", 96, 64, 48, 24.0, 2.0)
    assert probe(odd_clips["rotated 90"].path) == ClipInfo("mp4/mov", "h264", 96, 64, 48, 24.0, 2.0)
    assert probe(odd_clips["over-reported mp4"].path).frames == 60
    webm = probe(odd_clips["VP9 webm"].path)
    assert (webm.container, webm.codec, webm.frames, webm.fps) == ("mkv/webm", "vp9", None, 24.0)
    assert webm.duration == pytest.approx(2.0, abs=0.05)
    gif = probe(odd_clips["gif"].path)
    assert (gif.container, gif.codec, gif.fps) == ("gif", "gif", 25.0)
    assert probe(odd_clips["MPEG-TS"].path).container == "ts"
    assert probe(odd_clips["AVI with B-frames"].path).container == "avi"


def test_packets_show_what_indexes_hide(odd_clips) -> None:
    assert scan_packets(odd_clips["plain mp4"].path).leading == 0
    assert scan_packets(odd_clips["open gop"].path).leading > 0
    cut = scan_packets(odd_clips["edit list, single GOP"].path)
    assert (cut.shown, cut.discarded, cut.declared) == (28, 20, 48)
    assert scan_packets(odd_clips["truncated mp4"].path).corrupt > 0


def test_content_hash_is_sha256_of_the_bytes(odd_clips, tmp_path) -> None:
    path = odd_clips["plain mp4"].path
    assert content_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    for bad in (tmp_path, tmp_path / "missing.mp4"):
        with pytest.raises(ClipError, match=bad.name):
            content_hash(bad)


@given(st.integers(2, 200), st.floats(1, 120), st.floats(0, 1e4))
def test_the_headers_rate_stands_where_times_agree(count, rate, start) -> None:
    pts = start + np.arange(count) / rate
    assert frame_rate(pts, rate) == rate
    assert frame_rate(np.round(pts, 6), None) == pytest.approx(rate, rel=1e-3)


@given(st.integers(3, 200), st.floats(1, 120), st.sampled_from([0.25, 0.5, 2.0, 10.0]))
def test_a_wrong_header_rate_gives_way_to_the_times(count, rate, factor) -> None:
    assert frame_rate(np.arange(count) / rate, rate * factor) == pytest.approx(rate)


def test_rate_of_too_few_frames() -> None:
    assert frame_rate(np.array([3.0]), 24.0) == 24.0
    assert frame_rate(np.array([3.0]), None) == 0.0
    assert frame_rate(np.array([np.nan, np.nan]), 12.0) == 12.0


def test_importing_the_module_imports_nothing_heavy() -> None:
    heavy = ("av", "torch", "torchvision", "decord", "torchcodec", "PIL", "scipy")
    code = f"import sys, rewardbench.video; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_reading_and_resizing_need_no_torch(odd_clips) -> None:
    code = (
        "import sys\nfrom rewardbench.video import read_frames\nfrom rewardbench_plugin import FrameSpec, Size\n"
        "spec = FrameSpec(size=Size(height=8, width=8), filter='bicubic-antialias')\n"
        f"read_frames({str(odd_clips['plain mp4'].path)!r}, [spec])\n"
        "print([m for m in ('torch', 'decord', 'torchcodec') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
