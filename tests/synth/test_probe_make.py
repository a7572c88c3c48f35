"""`benchmarks make`: a set from one's own clips."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rewardbench.benchmark import read_pairs
from rewardbench.errors import InputError
from rewardbench.synth.make import make_probe
from rewardbench.synth.scene import Scene
from rewardbench.synth.world import draw_clip
from rewardbench.video import read_frames, write_video
from rewardbench_plugin import FrameSpec, Sampling


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two moving clips (one portrait and of odd size) and one that stands still."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for name, size in (("one.mp4", (64, 96)), ("two.mkv", (98, 66))):
        scene = Scene.sample(rng, actions=("run",), cameras=("pan left",))
        write_video(folder / name, draw_clip(scene, frames=30, height=size[0], width=size[1]), 10.0)
    still = draw_clip(Scene.sample(rng), frames=1, height=64, width=64)
    write_video(folder / "still.mp4", np.repeat(still, 12, axis=0), 10.0)
    (folder / "notes.txt").write_text("not a clip")
    return folder


def test_set_has_pairs_and_ties_of_each_dimension(clips: Path, tmp_path: Path) -> None:
    path = make_probe(clips, tmp_path / "set", pairs_per_dimension=9, seconds=1.5)
    benchmark = read_pairs(path)
    assert set(benchmark.labels) == {"smoothness", "motion", "appeal", "image_video"}
    for dimension in benchmark.labels:
        answers = Counter(c.labels[dimension] for c in benchmark.comparisons if dimension in c.labels)
        assert answers.total() == 9
        assert answers[0] == 3
        assert abs(answers[1] - answers[-1]) <= 2
    for comparison in benchmark.comparisons:
        if comparison.row["source"] == "still.mp4":
            assert not {"motion", "smoothness"} & {d for d, a in comparison.labels.items() if a != 0}
    spec = FrameSpec(sampling=Sampling("all"))
    totals = {read_frames(clip.video, [spec])[spec].total for clip in benchmark.clips.values()}
    assert max(totals) == 15  # cut to a second and a half


def test_unreadable_clips_are_counted_and_the_answers_are_not_called_people_s(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("one.mp4", "two.mkv"):
        (folder / name).write_bytes((clips / name).read_bytes())
    (folder / "broken.mp4").write_bytes(b"no video")
    said: list[str] = []
    path = make_probe(folder, tmp_path / "set", pairs_per_dimension=3, seconds=1.0, tell=said.append)
    (sentence,) = said
    assert sentence.startswith("1 clip of 3 left out, which cannot be read; the first: ")
    assert "broken.mp4" in sentence
    assert read_pairs(path).labels_by == "construction"
    text = path.read_text(encoding="utf-8")
    one_of_people = text.replace(",construction", ",", 1)
    (path.parent / "other.csv").write_text(one_of_people, encoding="utf-8")
    assert read_pairs(path.parent / "other.csv").labels_by == "people"


def test_same_seed_gives_the_same_pairs(clips: Path, tmp_path: Path) -> None:
    first, second, other = (
        make_probe(clips, tmp_path / name, pairs_per_dimension=3, seconds=0.5, seed=seed, dimensions=("motion",))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_text_video_needs_prompts_and_uses_them(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"text_video needs .*clips\.csv"):
        make_probe(clips, tmp_path / "none", dimensions=("text_video",))
    folder = tmp_path / "prompted"
    folder.mkdir()
    prompts = {"one.mp4": "a girl runs", "two.mkv": "a boy runs"}
    for name in prompts:
        (folder / name).write_bytes((clips / name).read_bytes())
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("video", "prompt"), *prompts.items()])
    path = make_probe(folder, tmp_path / "out", dimensions=("text_video", "appeal"), pairs_per_dimension=6, seconds=0.5)
    benchmark = read_pairs(path)
    source = {row["video"]: row["source"] for row in csv.DictReader((path.parent / "clips.csv").open(newline=""))}
    decided = [c for c in benchmark.comparisons if c.labels.get("text_video") in (1, -1)]
    assert decided
    for comparison in decided:
        better = comparison.row["video_a" if comparison.labels["text_video"] == 1 else "video_b"]
        worse = comparison.row["video_b" if comparison.labels["text_video"] == 1 else "video_a"]
        assert prompts[source[better]] == comparison.prompt != prompts[source[worse]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": ("beauty",)}, "cannot make pairs of dimension 'beauty'"),
        ({"pairs_per_dimension": 0}, "at least 1"),
        ({"seconds": 0.0}, "seconds above 0"),
    ],
)
def test_bad_options(clips: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_probe(clips, tmp_path / "set", **options)  # type: ignore[arg-type]


def test_bad_folders(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder of clips"):
        make_probe(tmp_path / "absent", tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no clip"):
        make_probe(tmp_path / "empty", tmp_path / "set")
    with pytest.raises(InputError, match="is not empty"):
        make_probe(clips, clips)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"no clip in .* can be read"):
        make_probe(tmp_path / "broken", tmp_path / "set")
