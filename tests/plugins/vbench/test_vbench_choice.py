"""Which dimensions of vbench can be asked for, and what is said where one cannot; nothing is installed for this."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rewardbench_vbench.dimensions import DINO_FOLDER, MEASURES, PUBLISHED
from rewardbench_vbench.measuring import Abstains, link, published_code
from rewardbench_vbench.model import VBench

from rewardbench.environments import recipe_of
from rewardbench.errors import InputError
from rewardbench.jobs import make_job
from rewardbench.registry import choose_reward
from rewardbench_plugin import PATH, Clip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights folder with what two dimensions need."""
    for name in ("raft_model/models/raft-things.pth", "clip_model/ViT-B-32.pt"):
        (tmp_path / "weights" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "weights" / name).write_bytes(name.encode())
    return tmp_path / "weights"


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(tmp_path / "nothing"))


def chosen(**settings) -> VBench:
    return choose_reward("vbench", **settings)[1]  # type: ignore[return-value]


def test_every_dimension_of_the_package_is_on_the_card() -> None:
    standard = {
        *("subject_consistency", "background_consistency", "aesthetic_quality", "imaging_quality", "object_class"),
        *("multiple_objects", "color", "spatial_relationship", "scene", "temporal_style", "overall_consistency"),
        *("human_action", "temporal_flickering", "motion_smoothness", "dynamic_degree", "appearance_style"),
    }
    assert set(VBench.card.dimension_names) == standard | {"i2v_subject", "i2v_background", "camera_motion"}
    assert all(spec is PATH for spec in VBench.card.inputs.values())
    assert all(dimension.higher_is_better for dimension in VBench.card.dimensions)
    assert {file for measure in MEASURES if not measure.barred for file in measure.files} <= set(PUBLISHED)


def test_without_weights_what_needs_none_is_left() -> None:
    assert chosen().dimensions == ("temporal_flickering",)
    assert chosen().weights == {}


def test_without_a_choice_it_is_what_has_its_weights(weights) -> None:
    model = chosen(weights={"": str(weights)})
    names = ("background_consistency", "temporal_flickering", "dynamic_degree", "appearance_style")
    assert model.dimensions == names
    assert sorted(model.weights) == ["clip_model/ViT-B-32.pt", "raft_model/models/raft-things.pth"]


def test_the_packages_own_folder_is_the_default(weights, monkeypatch) -> None:
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(weights))
    assert "dynamic_degree" in chosen().dimensions


def test_only_the_weights_of_what_is_asked_for_count(weights) -> None:
    def fingerprint() -> str:
        return make_job("vbench", {"": str(weights)}, {}, ["dynamic_degree"], None, 0).fingerprint

    before = fingerprint()
    (weights / "clip_model/ViT-B-32.pt").write_bytes(b"others")
    assert fingerprint() == before
    (weights / "raft_model/models/raft-things.pth").write_bytes(b"others")
    assert fingerprint() != before


@pytest.mark.parametrize("measure", [m for m in MEASURES if m.files and not m.barred], ids=lambda measure: measure.name)
def test_missing_weights_are_named_with_their_source(measure, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        chosen(weights={"": str(tmp_path / "empty")}, dimensions=[measure.name])
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert f"dimension {measure.name}: needs " in sentence
    assert str(tmp_path / "empty") in sentence
    for file in measure.files:
        assert f"{file} (published at {PUBLISHED[file]})" in sentence


def test_code_beside_the_weights_is_run_only_where_it_is_trusted(weights) -> None:
    (weights / "dino_model/facebookresearch_dino_main").mkdir(parents=True)
    (weights / "dino_model/dino_vitbase16_pretrain.pth").write_bytes(b"dino")
    chosen_so = {"weights": {"": str(weights)}, "dimensions": ["subject_consistency"]}
    with pytest.raises(InputError, match="dimension subject_consistency: runs the code in .*: add --trust-remote-code"):
        chosen(**chosen_so)
    assert "subject_consistency" not in chosen(weights={"": str(weights)}).dimensions
    trusting = chosen(**chosen_so, options={"trust_remote_code": "true"})
    assert trusting.dimensions == ("subject_consistency",)
    everything = chosen(weights={"": str(weights)}, options={"trust_remote_code": "true"})
    assert {"subject_consistency", "i2v_subject"} <= set(everything.dimensions)


def test_trust_changes_no_score(weights) -> None:
    folder, names = {"": str(weights)}, ["dynamic_degree"]
    trusting = make_job("vbench", folder, {"trust_remote_code": "true"}, names, None, 0)
    assert trusting.fingerprint == make_job("vbench", folder, {}, names, None, 0).fingerprint


def test_other_code_than_the_published_is_refused(weights) -> None:
    (weights / DINO_FOLDER).mkdir(parents=True)
    (weights / DINO_FOLDER / "hubconf.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=r"hubconf\.py is not the file of facebookresearch/dino at 7c446df"):
        published_code(weights)


@pytest.mark.parametrize(
    ("dimension", "reason"), [("color", "detectron2"), ("camera_motion", "lacks the tracking code")]
)
def test_what_no_weights_can_help_says_why(weights, dimension, reason) -> None:
    with pytest.raises(InputError, match=f"dimension {dimension}: cannot be computed here, because .*{reason}"):
        chosen(weights={"": str(weights)}, dimensions=[dimension])


def test_a_weights_folder_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="--weights .*/gone is no folder"):
        chosen(weights={"": str(tmp_path / "gone")})


def test_a_prompt_is_needed_only_where_nothing_works_without(weights) -> None:
    folder = {"": str(weights)}
    assert not chosen(weights=folder).card.needs_prompt
    assert chosen(weights=folder, dimensions=["appearance_style"]).card.needs_prompt
    assert not chosen(weights=folder).card.uses_image


def test_the_host_needs_nothing_of_it() -> None:
    assert "vbench" not in sys.modules
    recipe = recipe_of(VBench.card, "rewardbench_vbench.model:VBench")
    assert recipe is not None
    assert recipe.python == "3.11"
    assert "vbench==0.1.5" in recipe.requires
    assert [source.name for source in recipe.sources] == ["rewardbench_plugin", "rewardbench_vbench"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        (None, "clip-0.mp4"),
        ("a red fox", "clip-0.mp4"),
        ("A person is riding a bike", "A person is riding a bike-0.mp4"),
        ("Close up, a Person is Air/Guitar_x - 3", "A person is air guitar-0.mp4"),
        ("A person is " + "x" * 5000, f"A person is {'x' * 150}-0.mp4"),
        ("A person is " + "狐" * 5000, f"A person is {'狐' * 50}-0.mp4"),
    ],
)
def test_clips_are_lent_to_the_package_under_names_it_reads(tmp_path, prompt, name) -> None:
    (tmp_path / "c.webm").write_bytes(b"frames")
    (tmp_path / "links").mkdir()
    path = Path(link(Clip("c", str(tmp_path / "c.webm"), prompt), tmp_path / "links"))
    assert path.name == name
    assert path.read_bytes() == b"frames"


def test_abstaining_is_no_error_of_the_clip() -> None:
    assert not issubclass(Abstains, ValueError | OSError)
