"""anime-probe: the split, the known answers and ties, and the files."""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardbench.errors import InputError
from rewardbench.synth import plan, probe, splits
from rewardbench.synth.caption import facts_of, parse_caption
from rewardbench.synth.degradations import DEGRADATIONS
from rewardbench.synth.hooks import rewardbench_benchmarks
from rewardbench.synth.pairs import Specimen, verdict
from rewardbench.synth.recipes import DIMENSIONS, EFFECTS, SEED_TIES, Recipe, other_style, render
from rewardbench.synth.scene import Scene
from rewardbench.synth.world import draw_first_frame

SMALL = {"frames": 8, "height": 64, "width": 64}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def planned() -> dict[str, tuple[list[plan.Cluster], list[Specimen], list[plan.Pair]]]:
    result = {}
    for variant in plan.VARIANTS:
        clusters = plan.plan_clusters(variant)
        specimens, pairs = plan.plan_pairs(variant, clusters)
        result[variant] = (clusters, specimens, pairs)
    return result


# --- the split -----------------------------------------------------------------------------------------------------


def test_split_is_disjoint_and_complete() -> None:
    ranges = (splits.TRAIN_SEEDS, splits.PROBE_SEEDS, splits.PROBE_FULL_SEEDS)
    for a, b in itertools.combinations(ranges, 2):
        assert a.stop <= b.start or b.stop <= a.start
    assert not set(splits.TRAIN_STYLES) & set(splits.HELD_OUT_STYLES)
    assert not set(splits.TRAIN_ENCODINGS) & set(splits.HELD_OUT_ENCODINGS)
    assert not set(splits.TRAIN_DEGRADATIONS) & set(splits.HELD_OUT_DEGRADATIONS)
    assert set(splits.TRAIN_DEGRADATIONS) | set(splits.HELD_OUT_DEGRADATIONS) == set(EFFECTS) - {"none", "replay"}
    assert len(splits.HELD_OUT_DEGRADATIONS) >= 3
    for dimension in DIMENSIONS:
        trained = [t for t in splits.TRAIN_DEGRADATIONS if dimension in EFFECTS[t].lowers]
        assert len(trained) >= (1 if dimension in ("text_video", "character") else 2), dimension


@pytest.mark.parametrize(("variant", "seeds"), [("", splits.PROBE_SEEDS), ("full", splits.PROBE_FULL_SEEDS)])
def test_probe_uses_held_out_material_only(planned, variant: str, seeds: range) -> None:
    clusters = planned[variant][0]
    for cluster in clusters:
        assert cluster.base.seed in seeds
        assert all(r.seed in seeds for r in cluster.recipes if r.severity > 0)
        assert cluster.encoding in splits.HELD_OUT_ENCODINGS
        if variant == "full":
            assert cluster.base.style in splits.HELD_OUT_STYLES
            for recipe in cluster.recipes:
                assert recipe.treatment != "restyle" or other_style(recipe.base.style, recipe.seed) in (
                    splits.HELD_OUT_STYLES
                )
    used = {r.treatment for c in clusters for r in c.recipes}
    assert set(splits.HELD_OUT_DEGRADATIONS) <= used


# --- known answers -------------------------------------------------------------------------------------------------


def test_effects_agree_with_the_degradations_themselves() -> None:
    for name, info in DEGRADATIONS.items():
        effect = EFFECTS[name]
        assert set(effect.lowers) <= set(info.affects), name
        assert not set(effect.neutral) & set(info.affects), name
    for name, effect in EFFECTS.items():
        assert set(effect.lowers) | set(effect.neutral) <= set(DIMENSIONS)
        assert not set(effect.lowers) & set(effect.neutral) - {"motion"}, name


@pytest.mark.parametrize("variant", ["", "full"])
def test_enough_pairs_a_third_of_them_ties_and_sides_balanced(planned, variant: str) -> None:
    _, specimens, pairs = planned[variant]
    for dimension in DIMENSIONS:
        answers = Counter(p.labels[dimension] for p in pairs if dimension in p.labels)
        assert answers.total() >= (300 if variant == "full" else 30)
        assert 0.30 <= answers["tie"] / answers.total() <= 0.35
        decided = answers["A"] + answers["B"]
        assert abs(answers["A"] - answers["B"]) <= max(4, 0.08 * decided), (dimension, answers)
        ties = {frozenset((p.a.treatment, p.b.treatment)) for p in pairs if p.labels.get(dimension) == "tie"}
        assert len(ties) >= 4, "ties come from several neutral treatments"
    assert len(specimens) == (1080 if variant == "full" else 120)


@pytest.mark.parametrize("variant", ["", "full"])
def test_labels_follow_from_levels(planned, variant: str) -> None:
    for pair in planned[variant][2]:
        assert pair.a.cluster == pair.b.cluster
        assert pair.a.prompt == pair.b.prompt
        assert pair.a.image == pair.b.image
        assert pair.a.video != pair.b.video
        for dimension, answer in pair.labels.items():
            difference = pair.a.levels[dimension] - pair.b.levels[dimension]
            gap = 0.10 if dimension == "motion" else 0.25
            if answer == "tie":
                assert abs(difference) <= (0.02 if dimension == "motion" else 0.0)
                lowered = [s for s in (pair.a, pair.b) if dimension in EFFECTS[s.treatment].lowers]
                if lowered:  # then both carry the same fault in the same measure
                    assert len(lowered) == 2
                    assert pair.a.treatment == pair.b.treatment in SEED_TIES
                    assert pair.a.severity == pair.b.severity
                    assert pair.a.seed != pair.b.seed
            else:
                assert abs(difference) >= gap - 1e-9
                assert answer == ("A" if difference > 0 else "B")


def test_verdict_turns_around_with_the_sides(planned) -> None:
    turned = {"A": "B", "B": "A", "tie": "tie", None: None}
    specimens = planned[""][1][:20]
    for a, b in itertools.combinations(specimens, 2):
        for dimension in DIMENSIONS:
            assert verdict(dimension, b, a) == turned[verdict(dimension, a, b)]


def test_faults_of_different_kinds_are_not_compared() -> None:
    common = {"cluster": "s", "prompt": "", "image": "", "seed": 1}
    blur = Specimen("a.mp4", treatment="blur", severity=0.3, levels={"appeal": 0.7}, **common)
    noise = Specimen("b.mp4", treatment="noise", severity=0.9, levels={"appeal": 0.1}, **common)
    assert verdict("appeal", blur, noise) is None
    assert verdict("smoothness", blur, noise) is None
    elsewhere = replace(blur, video="c.mp4", cluster="other", severity=0.9, levels={"appeal": 0.1})
    assert verdict("appeal", blur, elsewhere) is None
    assert verdict("appeal", blur, replace(elsewhere, cluster="s")) == "A"


def test_prompts_state_the_base_scene(planned) -> None:
    for variant in plan.VARIANTS:
        clusters = planned[variant][0]
        assert len({c.prompt for c in clusters}) == len(clusters)
        for cluster in clusters:
            assert parse_caption(cluster.prompt) == facts_of(cluster.base)


# --- clips ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Scene:
    rng = np.random.default_rng(4)
    return replace(Scene.sample(rng, actions=("dance",), cameras=("static",)), background="forest", style="classic")


@pytest.mark.parametrize("treatment", sorted(set(EFFECTS) - {"none"}))
def test_every_treatment_changes_the_clip_and_grows(base: Scene, treatment: str) -> None:
    clean = render(Recipe(base), **SMALL).astype(int)
    severities = (0.0, 0.0) if treatment == "replay" else (0.375, 0.875)
    clips = [render(Recipe(base, treatment, s, 3), **SMALL) for s in severities]
    again = render(Recipe(base, treatment, severities[1], 3), **SMALL)
    assert np.array_equal(clips[1], again)
    if treatment == "frame_drop":
        assert len(clips[1]) < len(clips[0]) < len(clean)
        return
    change = [np.abs(clip.astype(int) - clean).mean() for clip in clips]
    assert change[1] > 0.1
    if treatment not in ("replay", "amplitude"):
        assert change[1] >= change[0]


@pytest.mark.parametrize("treatment", ["none", "stutter", "freeze", "restyle", "style_drift", "identity_change"])
def test_first_frame_is_untouched_where_image_video_needs_it(base: Scene, treatment: str) -> None:
    clip = render(Recipe(base, treatment, 0.0 if treatment == "none" else 0.8, 5), **SMALL)
    image = draw_first_frame(base, **SMALL)
    assert np.array_equal(clip[0], image)


def test_rendering_gives_a_fresh_array(base: Scene) -> None:
    clip = render(Recipe(base), **SMALL)
    clip[:] = 0
    assert render(Recipe(base), **SMALL).any()


def test_wrong_facts_show_in_the_levels(base: Scene) -> None:
    few, many = (Recipe(base, "wrong_facts", n / 8, 9) for n in (2, 6))
    assert few.levels()["text_video"] == pytest.approx(0.75)
    assert many.levels()["text_video"] == pytest.approx(0.25)
    assert many.levels()["image_video"] <= few.levels()["image_video"]
    assert "motion" not in few.levels()


def test_freezing_scales_the_motion_level(base: Scene) -> None:
    levels = [Recipe(base, "freeze", s, 1).levels()["motion"] for s in (0.0, 0.5, 1.0)]
    assert levels[0] == Recipe(base).levels()["motion"] > levels[1] > levels[2] == 0.0


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clusters of small clips instead of twelve of full size."""
    monkeypatch.setitem(plan.VARIANTS, "", replace(plan.VARIANTS[""], clusters=3))
    drawn = render

    def small(recipe: Recipe) -> np.ndarray:
        return drawn(recipe, **SMALL)

    monkeypatch.setattr(probe, "render", small)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_files_have_the_layout_of_the_formats_page(tiny: None, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    pairs = probe.write_probe(tmp_path / "set", workers=1, progress=lambda *state: seen.append(state))
    assert seen[0] == ("drawing", 0, 30)
    assert seen[-1] == ("drawing", 30, 30)
    clips = {row["video"]: row for row in read(tmp_path / "set" / "clips.csv")}
    assert len(clips) == 30
    rows = read(pairs)
    assert len({row["pair_id"] for row in rows}) == len(rows)
    for row in rows:
        for column in ("video_a", "video_b", "image"):
            assert (pairs.parent / row[column]).is_file()
        for side in "ab":
            assert clips[row[f"video_{side}"]]["prompt"] == row["prompt"]
            assert clips[row[f"video_{side}"]]["severity"] == row[f"severity_{side}"]
        labels = {d: row.get(f"label_{d}", "") for d in DIMENSIONS}
        assert row["dimension"].split() == [d for d in DIMENSIONS if labels[d]]
        assert set(labels.values()) <= {"A", "B", "tie", ""}
        for dimension, answer in labels.items():
            if answer in ("A", "B"):
                a, b = (float(clips[row[f"video_{side}"]][f"level_{dimension}"]) for side in "ab")
                assert (a > b) == (answer == "A")
        assert {"degradation", "style", "background", "motion"} <= set(row)


def test_benchmark_reader_reads_the_set(tiny: None, tmp_path: Path) -> None:
    from rewardbench.benchmark import read_pairs
    from rewardbench.video import read_frames
    from rewardbench_plugin import FrameSpec, Sampling

    path = probe.write_probe(tmp_path, workers=1)
    benchmark = read_pairs(path, name="anime-probe")
    assert set(benchmark.labels) == set(DIMENSIONS)
    clip = next(iter(benchmark.clips.values()))
    spec = FrameSpec(sampling=Sampling("all"))
    frames = read_frames(clip.video, [spec])[spec].rgb
    cluster = next(c for c in plan.plan_clusters("") if c.prompt == clip.prompt)
    index = int(Path(clip.video).stem.split("-")[1])
    drawn = render(cluster.recipes[index], **SMALL).astype(int)
    luma = (frames - drawn) @ np.array([0.299, 0.587, 0.114])  # chroma is halved in size, which tiny pictures show
    assert np.abs(luma).mean() < 3  # near-lossless


def test_interrupted_writing_goes_on_where_it_was(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()
    drawn = probe.render

    def dies(recipe: Recipe) -> np.ndarray:
        if next(count) == 7:
            raise KeyboardInterrupt
        return drawn(recipe)

    monkeypatch.setattr(probe, "render", dies)
    with pytest.raises(KeyboardInterrupt):
        probe.write_probe(tmp_path, workers=1)
    assert not (tmp_path / "pairs.csv").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "videos").iterdir()}
    assert len(before) == 7
    probe.write_probe(tmp_path, workers=1)
    assert next(count) == 8 + 23  # seven were kept, the eighth was begun again
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())


def test_load_writes_once_and_finds_the_set_again(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probe, "usable_cpus", lambda: 1)
    path = probe.load()
    assert path == tmp_path / "cache" / "anime-probe" / f"{plan.PROBE_VERSION}-default" / "pairs.csv"
    assert [p.name for p in path.parent.parent.iterdir() if not p.name.startswith(".lock")] == [path.parent.name]

    def never(*args: object) -> None:
        raise AssertionError("drawn twice")

    monkeypatch.setattr(probe, "render", never)
    assert probe.load() == path


def test_half_a_set_makes_way(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "usable_cpus", lambda: 1)
    folder = tmp_path / f"{plan.PROBE_VERSION}-default"
    folder.mkdir()
    (folder / "clips.csv").write_text("half")
    path = probe.load(data_dir=tmp_path)
    assert path.parent == folder
    assert (folder / "clips.csv").read_text() != "half"


def test_unknown_variant_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown variant 'huge' of benchmark anime-probe; use one of anime-probe, anim"
    ):
        probe.load(variant="huge", data_dir=tmp_path)


def test_unwritable_cache_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write anime-probe to .*file.*REWARDBENCH_CACHE"):
        probe.load(data_dir=tmp_path / "file" / "below")


@pytest.mark.system
def test_drawing_processes_share_the_work(tmp_path: Path) -> None:
    """Each worker writes its own clusters, the same bytes as any other process would."""
    names = []
    for part in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", _TWO_CLUSTERS, str(tmp_path), part],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        names.append(done.stdout.split())
    assert [n[:4] for n in names[0]] == ["s000"] * 10
    assert [n[:4] for n in names[1]] == ["s001"] * 10
    files = {p.name: p.read_bytes() for p in (tmp_path / "videos").iterdir()}
    assert len(files) == 20
    subprocess.run(
        [sys.executable, "-c", _TWO_CLUSTERS, str(tmp_path / "again"), "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "5"},
        capture_output=True,
        check=True,
    )
    for path in (tmp_path / "again" / "videos").iterdir():
        assert path.read_bytes() == files[path.name]


_TWO_CLUSTERS = """
import sys
from dataclasses import replace
from pathlib import Path
from rewardbench.synth import plan, probe, probe_worker
folder = Path(sys.argv[1])
(folder / "videos").mkdir(parents=True, exist_ok=True)
(folder / "images").mkdir(exist_ok=True)
plan.VARIANTS[""] = replace(plan.VARIANTS[""], clusters=2)
drawn = probe.render
probe.render = lambda recipe: drawn(recipe, frames=6, height=64, width=64)
probe_worker.main(str(folder), "default", sys.argv[2], "2")
"""


def test_manifest_names_the_version_that_is_written() -> None:
    (manifest,) = rewardbench_benchmarks()
    assert manifest.name == "anime-probe"
    assert manifest.version == plan.PROBE_VERSION
    assert set(manifest.variants) == set(plan.VARIANTS)


def test_a_version_of_the_benchmark_is_one_set_of_drawings() -> None:
    """A drawn set stays in the cache under its version, and results name the version: another drawing is another one.

    The digest stands for version 1 itself. Where it moves, ``PROBE_VERSION`` has to move with it.
    """
    digest = hashlib.sha256()
    for cluster in plan.plan_clusters(""):
        digest.update(cluster.prompt.encode())
        digest.update(render(cluster.recipes[0], frames=1).tobytes())
        for recipe in cluster.recipes:
            digest.update(repr(recipe).encode())
    assert plan.PROBE_VERSION == "1"
    assert digest.hexdigest() == "e6c23286434d96a31fa12af0c7a2fd63a556b9947fa0a2000ef95b7efcaf240b"
