"""vbench in its real environment (about 6 GB): the package's own numbers, through the public path."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import rewardbench
from rewardbench.clip_scores import ScoreSettings, score_clips
from rewardbench.environments import ensure, recipe_of
from rewardbench.scoring.process import Interpreter
from rewardbench.scoring.progress import Silent
from rewardbench.video import write_video
from rewardbench_plugin import Clip

pytestmark = pytest.mark.system

REFERENCE = Path(__file__).with_name("vbench_reference.py")
FLICKERING = {  # vbench 0.1.5 itself, on the clips of KwaiVGI/VideoAlign
    "example_1_A": 0.9899082744822782,
    "example_1_B": 0.9990607809202344,
    "example_2_A": 0.9924651524599861,
    "example_2_B": 0.9798787827585258,
}


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory):
    from rewardbench_vbench.model import CARD

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWARDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("VBENCH_CACHE_DIR", "/nowhere")
        recipe = recipe_of(CARD, "rewardbench_vbench.model:VBench")
        assert recipe is not None
        yield ensure(recipe, Silent())


@pytest.mark.shared
def test_temporal_flickering_is_the_packages_own(interpreter: Interpreter, shared: Path) -> None:
    clips = [Clip(name, str(shared / "data/videoalign/videos" / f"{name}.mp4")) for name in FLICKERING]
    rows = score_clips(ScoreSettings(clips, "vbench", dimensions=("temporal_flickering",)), Silent())
    assert [row["error"] for row in rows] == [None] * 4
    assert [row["scores"]["temporal_flickering"] for row in rows] == pytest.approx(list(FLICKERING.values()), abs=1e-12)


def test_every_dimension_with_weights_is_the_packages_own(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, folder, out = tmp_path / "weights", tmp_path / "clips", tmp_path / "scores.json"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        still = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        frames = np.stack([np.roll(still, 3 * number * step, axis=1) for step in range(5 + number)])
        write_video(folder / f"clip{number}.mp4", frames, 8.0)
    write_video(tmp_path / "one.mp4", frames[:1], 8.0)
    _reference(interpreter, "weights", weights)
    _reference(interpreter, "scores", weights, folder, out)
    expected = json.loads(out.read_text())

    clips = [Clip(path.name, str(path)) for path in sorted(folder.iterdir())]
    everything = [*clips, Clip("one", str(tmp_path / "one.mp4"))]
    settings = ScoreSettings(everything, "vbench", weights={"": str(weights)}, device="cpu")
    *rows, alone = score_clips(settings, Silent())
    for clip, row in zip(clips, rows, strict=True):
        assert row["error"] is None
        assert row["scores"].pop("appearance_style") is None, "it abstains without a prompt of VBench's own"
        assert row["scores"] == expected[clip.clip_id]
    assert alone["error"] is None
    numbers = {name for name, value in alone["scores"].items() if value is not None}
    assert numbers == {"dynamic_degree", "aesthetic_quality", "imaging_quality"}, "one frame has no succession"

    monkeypatch.chdir(folder)
    model = rewardbench.load_reward("vbench", weights=weights, dimensions=["aesthetic_quality"], device="cpu")
    assert model.score([Clip("c", "clip1.mp4")]).tolist() == [[expected["clip1.mp4"]["aesthetic_quality"]]]
    model.close()


def _reference(interpreter: Interpreter, *words: object) -> None:
    command = [str(interpreter.python), str(REFERENCE), *map(str, words)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert ended.returncode == 0, ended.stderr[-2000:]
