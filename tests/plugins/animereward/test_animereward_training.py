"""The training of mini on a tiny set: only the training side is drawn, draws repeat, and what comes out can be used."""

from __future__ import annotations

import importlib
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardbench.synth.scene import Scene
from rewardbench.synth.splits import (
    HELD_OUT_DEGRADATIONS,
    HELD_OUT_STYLES,
    TRAIN_DEGRADATIONS,
    TRAIN_ENCODINGS,
    TRAIN_SEEDS,
    TRAIN_STYLES,
)
from rewardbench.synth.world import draw_clip

TRAINING = Path(__file__).resolve().parents[3] / "plugins" / "animereward" / "training"


@pytest.fixture(scope="module")
def modules():
    """The training scripts as modules; they find each other by their folder."""
    sys.path.insert(0, str(TRAINING))
    try:
        yield {name: importlib.import_module(name) for name in ("attributes", "recognisers", "clips", "heads")}
    finally:
        sys.path.remove(str(TRAINING))


@pytest.fixture(scope="module")
def recognisers(modules, tmp_path_factory) -> Path:
    """Recognisers after one step each."""
    folder = tmp_path_factory.mktemp("recognisers")
    data = modules["attributes"].draw(0, 30, size=64)
    for name in modules["recognisers"].OUTPUTS:
        model, measured = modules["recognisers"].train(name, data, 1, 0)
        assert all(np.isfinite(v) for v in measured.values())
        np.savez(folder / f"recogniser-{name}.npz", **model.export())
    return folder


def test_the_person_is_where_the_stored_place_says(modules):
    """Another eye colour changes pixels around the stored place of the face, and nowhere else."""
    attributes = modules["attributes"]
    rng = np.random.default_rng(4)
    for _ in range(5):
        scene = replace(Scene.sample(rng, styles=TRAIN_STYLES), eye_colour="blue")
        shape = {"frames": 3, "height": 128, "width": 160, "fps": 1.5}
        blue, red = draw_clip(scene, **shape), draw_clip(replace(scene, eye_colour="red"), **shape)
        for i in range(3):
            changed = np.argwhere((blue[i] != red[i]).any(axis=-1))
            person = attributes.person_at(scene, i / 1.5, 2.0, 128, 160)
            if len(changed) < 4:  # a blink
                continue
            y, x = changed.mean(axis=0)
            assert abs(x - person.x) < 0.7 * person.unit
            assert abs(y - person.y) < 0.7 * person.unit


def test_draws_repeat(modules):
    first, again = (modules["attributes"].draw(7, 2, size=64) for _ in range(2))
    assert all(np.array_equal(first[k], again[k]) for k in first)


@pytest.mark.system
def test_only_the_training_side_is_drawn(modules, recognisers):
    clips = modules["clips"]
    assert not set(clips.TREATMENTS) & set(HELD_OUT_DEGRADATIONS)
    assert set(clips.TREATMENTS) - set(clips.PRIVATE) <= set(TRAIN_DEGRADATIONS)
    found = clips.samples(0, clips.read_recognisers(recognisers), 1)
    assert {s.scene.style for s in found} <= set(TRAIN_STYLES)
    assert not {s.scene.style for s in found} & set(HELD_OUT_STYLES)
    assert all(s.scene.seed in TRAIN_SEEDS for s in found)
    assert {s.encoding for s in found} <= {-1, *(e.crf for e in TRAIN_ENCODINGS)}
    again = clips.samples(0, clips.read_recognisers(recognisers), 1)
    assert [s.features for s in found] == [s.features for s in again]


@pytest.mark.parametrize("name", ["mosaic", "smear", "posterise", "flatten", "chroma_smear"])
def test_private_faults_grow_with_the_severity(modules, name):
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    red, green = 128 + 80 * np.sin(x / 7), 128 + 80 * np.cos(y / 5)
    texture = np.random.default_rng(0).normal(0, 3, (96, 96))
    clip = np.stack([red + texture, green + texture, 255 - red], axis=-1).clip(0, 255).astype(np.uint8)[None]
    losses = [
        np.abs(modules["clips"].private_fault(clip, name, s, seed=1).astype(float) - clip).mean() for s in (0.1, 0.5, 1)
    ]
    assert 0 <= losses[0] < losses[1] < losses[2]


@pytest.mark.system
def test_a_few_steps_give_weights_that_rate_clips(modules, recognisers, tmp_path, monkeypatch):
    from rewardbench_animereward.mini import DIMENSIONS, MiniAnimeReward, read_weights
    from rewardbench_animereward.networks import regress

    clips, heads = modules["clips"], modules["heads"]
    weights = clips.read_recognisers(recognisers)
    folder = tmp_path / "clips"
    folder.mkdir()
    found = clips.samples(1, weights, 1) + clips.samples(2, weights, 1)
    (folder / "clips-0000.pickle").write_bytes(pickle.dumps(found))
    (folder / "clips-2000.pickle").write_bytes(pickle.dumps(clips.appeal_samples(10000, 1)))
    out = tmp_path / "mini.safetensors"
    arguments = ["--clips", folder, "--recognisers", recognisers, "--out", out, "--members", "1", "--steps", "5"]
    monkeypatch.setattr(sys, "argv", ["heads.py", *map(str, arguments)])
    heads.main()
    model = MiniAnimeReward()
    model.configure(weights={"mini": str(out)})
    model.load("cpu", None, model.weights, {})
    tensors, names = read_weights(str(out))
    assert set(names) == {d for d in DIMENSIONS if d != "text_video"} | {"action", "camera"}
    for dimension in ("smoothness", "appeal"):
        part = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{dimension}.")}
        vector = np.array([found[0].features[dimension][n] for n in names[dimension]], np.float32)
        assert 0.0 <= regress(part, vector) <= 1.0
