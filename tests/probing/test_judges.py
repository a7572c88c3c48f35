"""Judges are probed by pairs of a treated clip and its working copy, in both orders."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardbench.probing.probes import probe
from rewardbench.probing.settings import ProbeOptions
from rewardbench_plugin import Clip

BIAS = 0.3


@pytest.fixture
def judge(install_plugin: Callable[..., str]) -> None:
    install_plugin("sharper", runpy.run_path(str(Path(__file__).with_name("plugin.py")))["JUDGE"])


def test_a_judge_prefers_what_it_prefers_and_its_bias_for_the_first_clip_is_found(
    judge, write_clips: Callable[..., list[Clip]], tmp_path: Path
) -> None:
    only = ("blur", "noise", "container", "order", "prompts", "batch_size")
    options = {"bias": str(BIAS)}
    outcome = probe(
        ProbeOptions(write_clips(12), "sharper", only, True, out=tmp_path / "out", options=options, workers=1)
    )
    record = outcome.record
    assert record.is_judge
    cells = {c.treatment: c for c in record.cells if c.level != "0.5"}
    # p(treated) - p(working copy) is .2 - .8 or .8 - .2 whatever the order; the bias cancels
    assert cells["blur"].effect == pytest.approx(-0.6)
    assert cells["blur"].verdict == "as expected"
    assert cells["noise"].effect == pytest.approx(0.6)
    assert cells["noise"].verdict == "wrong way"
    assert cells["container"].n_equal == cells["container"].n == 12
    # first shown: .8 + .15 - (.2 - .15) against .2 + .15 - (.8 - .15), half their difference over a pair is the bias
    assert cells["order_of_pair"].effect == pytest.approx(BIAS)
    assert cells["order_of_pair"].verdict == "moves"
    left = {one.treatment: one.reason for one in record.left_out}
    assert "no pair" in left["prompt_swap"]
    assert left["batch_size"] == "not asked of judges"
    assert (outcome.folder / "report.html").exists()
