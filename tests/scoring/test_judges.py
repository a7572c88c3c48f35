"""Pairwise judges: both orders are asked, verdicts are turned to the pair's own A and B, and nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardbench.benchmark import read_pairs
from rewardbench.registry import Listeners, choose_reward, load_registry
from rewardbench.runs import RunSettings, run_benchmark
from rewardbench.scoring.local import EngineSettings
from rewardbench.scoring.plan import Job
from rewardbench.scoring.progress import Silent
from rewardbench.scoring.scorer import Pair, Scorer
from rewardbench.scoring.store import ScoreStore
from rewardbench.scoring.table import mean_margins
from rewardbench_plugin import Clip

SOURCE = '''
import numpy as np
from rewardbench_plugin import (
    Dimension, FrameSpec, Judgements, PairwiseJudge, RewardCard, RewardManifest, Sampling, hookimpl)

SPEC = FrameSpec(sampling=Sampling("head", 1))


class Judge(PairwiseJudge):
    """Prefers the brighter clip, with a bias of 0.1 for the clip that is shown first."""

    card = RewardCard(name="toy-judge", version="1.0", dimensions=(Dimension("verdict", -1, 1),),
                      inputs={"verdict": SPEC}, default_score="verdict")
    option_names = ("log", "refuse")

    def prepare(self, clip, frames):
        return {"mean": np.array([frames[SPEC].rgb.mean() / 255])}

    def compare(self, batch):
        with open(self.options["log"], "a") as stream:
            stream.write("".join(f"{a.clip.clip_id}>{b.clip.clip_id}\\n" for a, b in batch))
        p = []
        for a, b in batch:
            wins = 0.5 + 0.5 * (a.data["mean"][0] - b.data["mean"][0]) + 0.1
            p.append([0.8 * wins, 0.2, 0.8 * (1 - wins)])
        refuse = self.options.get("refuse")
        errors = ["no" if f"{a.clip.clip_id}>{b.clip.clip_id}" == refuse else None for a, b in batch]
        return Judgements(np.array(p), text=["I like the first one better [[A>B]]"] * len(batch), errors=errors)


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="toy-judge", version="1.0", target=f"{__name__}:Judge")]
'''


@pytest.fixture
def pairs(tiny_clips: list[Path]) -> list[Pair]:
    clips = [Clip(path.stem, str(path)) for path in tiny_clips]
    return [Pair("up", clips[0], clips[4]), Pair("down", clips[5], clips[1])]


def compare(pairs: list[Pair], store: ScoreStore, **options: str):
    choice, model = choose_reward("toy-judge", options=options)
    listeners = Listeners(load_registry().manager, print)
    scorer = Scorer([Job(choice, model, None)], store, EngineSettings(workers=2), Silent(), listeners)
    scorer.compare_pairs(pairs)
    return list(scorer.verdicts(0, pairs))


def test_both_orders_are_asked_and_turned(install_plugin, pairs, tmp_path) -> None:
    install_plugin("toy-judge", SOURCE)
    log = tmp_path / "asked"
    said = compare(pairs, ScoreStore(None), log=str(log))
    assert [(one.pair_id, one.order) for one in said] == [("up", "AB"), ("up", "BA"), ("down", "AB"), ("down", "BA")]
    assert sorted(log.read_text().split()) == ["clip0>clip4", "clip1>clip5", "clip4>clip0", "clip5>clip1"]
    # Brightness 20 against 140: p(A) - p(B) = 0.8 * (2 * wins - 1), and the bias for the first cancels in the mean.
    difference = 0.8 * (20 - 140) / 255
    first, second = (one.p[0] - one.p[2] for one in said[:2])
    assert first == pytest.approx(difference + 0.16, abs=0.02)
    assert second == pytest.approx(difference - 0.16, abs=0.02)
    margins = mean_margins(said)
    assert margins["up"][0] == pytest.approx(difference, abs=0.02)
    assert margins["down"][0] == pytest.approx(0.8 * (170 - 50) / 255, abs=0.02)


def test_verdicts_are_not_asked_for_twice(install_plugin, pairs, tmp_path) -> None:
    install_plugin("toy-judge", SOURCE)
    log = tmp_path / "asked"
    store = ScoreStore(tmp_path / "s")
    first = compare(pairs, store, log=str(log))
    asked = log.read_text()
    assert compare(pairs, store, log=str(log)) == first
    assert log.read_text() == asked


def test_an_order_that_fails_costs_its_pair_only(install_plugin, pairs, tmp_path) -> None:
    install_plugin("toy-judge", SOURCE)
    said = compare(pairs, ScoreStore(None), log=str(tmp_path / "asked"), refuse="clip4>clip0")
    assert [one.error is not None for one in said] == [False, True, False, False]
    margins = mean_margins(said)
    assert margins["up"][0] != margins["up"][0], "a pair that was judged in one order only abstains"
    assert margins["down"][0] > 0


def test_prose_is_no_recorded_verdict(install_plugin, tiny_clips: list[Path], tmp_path: Path) -> None:
    install_plugin("toy-judge", SOURCE)
    for clip in tiny_clips:
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    file = tmp_path / "pairs.csv"
    file.write_text("prompt,video_a,video_b,label_x\np,clip0.mp4,clip4.mp4,B\nq,clip5.mp4,clip1.mp4,A\n")
    options = {"log": str(tmp_path / "asked")}
    settings = RunSettings(("toy-judge",), (str(file),), out=tmp_path / "out", bootstrap=10, options=options)
    (outcome,) = run_benchmark(settings)
    (metric,) = outcome.result.metrics
    assert metric.accuracy_without_ties.value == 1.0
    assert metric.verdict_accuracy is None
    assert metric.position_consistency is not None
    assert (metric.position_consistency.consistency, metric.position_consistency.n) == (1.0, 2)
    assert read_pairs(file).labels == ("x",)
