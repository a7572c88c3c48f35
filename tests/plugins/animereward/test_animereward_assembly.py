"""How six scorers become one model: parts and where they lie, what is loaded when, the mean, and every refusal."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardbench_animereward import residency
from rewardbench_animereward.assembly import DIMENSIONS, overall
from rewardbench_animereward.frames import DECODED, SQUASHED
from rewardbench_animereward.paper import PaperAnimeReward
from rewardbench_animereward.published import PLACES
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_animereward.released import ReleasedAnimeReward
from rewardbench_animereward.residency import Residence, choose, tensor_bytes
from safetensors.torch import save_file

from rewardbench.registry import choose_reward
from rewardbench_plugin import Clip, Frames, Item

FOLDERS = ("smoothness", "appeal", "character", "gallery", "bert")


def layout(root: Path, *parts: str) -> Path:
    """Empty stand-ins of parts at their published places."""
    for part in parts:
        place = root / PLACES[part][0]
        place.parent.mkdir(parents=True, exist_ok=True)
        if part in FOLDERS:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(part.encode())
    return root


def configured(weights: dict[str, str], *dimensions: str, **options: str) -> ReleasedAnimeReward:
    model = ReleasedAnimeReward()
    model.configure(preset="released", weights=weights, options=options, dimensions=dimensions or None)
    return model


@pytest.mark.parametrize("inside", ["reward", "."])
def test_one_folder_suffices_and_only_what_is_read_counts(tmp_path: Path, inside: str) -> None:
    layout(tmp_path / inside, *(part for part in PLACES if PLACES[part] and part != "aesthetic"))
    (tmp_path / "templates").mkdir()
    model = configured({"": str(tmp_path)})
    assert set(model.weights) == {*DIMENSIONS, "gallery", "bert", "templates"}
    assert Path(model.weights["motion"]).name == "testvl-pre76-top187-rec69.pth"
    assert set(configured({"": str(tmp_path)}, "motion").weights) == {"motion", "templates"}
    assert set(configured({"": str(tmp_path)}, "text_video").weights) == {"text_video", "bert"}
    assert set(configured({"": str(tmp_path)}, "image_video").weights) == {"image_video"}
    one = configured({"": str(tmp_path)}, "motion").fingerprint()
    (tmp_path / inside / PLACES["image_video"][0]).write_bytes(b"another")
    assert configured({"": str(tmp_path)}, "motion").fingerprint() == one
    (tmp_path / inside / PLACES["motion"][0]).write_bytes(b"another")
    assert configured({"": str(tmp_path)}, "motion").fingerprint() != one


def test_parts_are_found_by_name_beside_each_other_and_in_a_base(tmp_path: Path) -> None:
    file = tmp_path / "weights" / "text" / "checkpoint_05.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    vocabulary = tmp_path / "weights" / "bert-base-uncased"
    vocabulary.mkdir()
    model = configured({"text_video": str(file.parent)}, "text_video")
    assert model.weights == {"text_video": str(file), "bert": str(vocabulary)}
    (file.parent / "checkpoint_06.pth").write_bytes(b"y")
    with pytest.raises(ValueError, match="holds 2 checkpoints: name the file, --weights text_video=FILE"):
        configured({"text_video": str(file.parent)}, "text_video").fingerprint()
    own, base = tmp_path / "own", layout(tmp_path / "base", "motion")
    (own / "templates").mkdir(parents=True)
    found = configured({"": str(own), "base": str(base)}, "motion").weights
    assert found == {"motion": str(base / PLACES["motion"][0]), "templates": str(own / "templates")}
    nested = configured({"motion": str(file), "templates": str(own)}, "motion")
    assert nested.weights["templates"] == str(own / "templates")


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({}, "animereward needs the motion model .*: add --weights DIR .* or --weights motion=PATH"),
        ({"": "{}"}, r"testvl-pre76-top187-rec69\.pth is not there; put it there, add --weights motion=PATH"),
        ({"": "{}/nowhere"}, "nowhere is not a folder; name a part as --weights PART=PATH"),
        ({"motion": "{}/nowhere.pth"}, r"--weights motion=.*nowhere\.pth does not exist"),
        ({"motion": "{}"}, "animereward needs its prompt templates|holds 0 checkpoints"),
    ],
)
def test_missing_parts_are_named_when_they_are_needed(tmp_path: Path, weights: dict[str, str], sentence: str) -> None:
    model = configured({part: path.format(tmp_path) for part, path in weights.items()}, "motion")
    assert model.card.dimensions  # enough for `plugins show`
    with pytest.raises(ValueError, match=sentence):
        model.fingerprint()
    with pytest.raises(ValueError, match=sentence):
        model.load("cpu", None, model.weights, model.options)


def test_unknown_parts_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="has no weights part 'siglip'; it has smoothness, motion"):
        configured({"siglip": "x"})
    with pytest.raises(ValueError, match="round_digits=two is not a whole number"):
        configured({}, round_digits="two")
    with pytest.raises(ValueError, match="sampling=every is not one of anime, example, benchmark"):
        configured({}, sampling="every")
    with pytest.raises(ValueError, match="max_frames=0 is not a whole number from 1 to 768"):
        configured({}, max_frames="0")
    with pytest.raises(ValueError, match="residency=both is not one of auto, together, one_by_one"):
        configured({}, residency="both")


def test_the_three_presets_are_one_plugin_and_mini_stays_the_default() -> None:
    assert choose_reward("animereward")[1].preset == "mini"
    for preset in ("released", "paper"):
        _, model = choose_reward(f"animereward:{preset}")
        assert model.card.dimension_names == (*DIMENSIONS, "overall")
        assert model.card.deviations
        assert all(len(template.sha256) == 64 for template in model.card.templates)


def test_residency_is_no_part_of_a_score_s_key_but_rounding_is(tmp_path: Path) -> None:
    weights = {"image_video": str(layout(tmp_path, "image_video") / PLACES["image_video"][0])}
    plain = configured(weights, "image_video").fingerprint()
    assert configured(weights, "image_video", residency="one_by_one").fingerprint() == plain
    assert configured(weights, "image_video", round_digits="none").fingerprint() != plain
    paper = PaperAnimeReward()
    paper.configure(preset="paper", weights=weights, dimensions=["image_video"])
    assert paper.fingerprint() != plain


def test_frames_follow_the_released_sampling() -> None:
    inputs = ReleasedAnimeReward.card.inputs
    assert inputs["smoothness"] == inputs["appeal"] == DECODED
    assert inputs["motion"] == inputs["text_video"] == inputs["image_video"] == SQUASHED
    sampling = DECODED.sampling
    assert sampling.indices(200, 24.0).tolist() == list(range(0, 144, 6))
    assert sampling.indices(24, 24.0).tolist() == list(range(24))
    assert all(len(sampling.indices(n, 24.0)) == 24 for n in range(24, 400))
    assert sampling.indices(49, 24.0).tolist() == [math.floor(i * 49 / 24) for i in range(24)]


@pytest.mark.shared
def test_the_regressors_sampling_can_be_chosen_and_the_others_stay(shared: Path, tmp_path: Path) -> None:
    layout(tmp_path, *(part for part in PLACES if PLACES[part] and part != "aesthetic"))
    (tmp_path / "templates").mkdir()
    table = json.loads((shared / "golden" / "idefics2" / "sampling.json").read_text())["table"]
    four = ("smoothness", "appeal", "motion", "text_video")
    for options, column in (
        ({}, "anime_24"),
        ({"sampling": "anime", "max_frames": "24"}, "anime_24"),
        ({"sampling": "example", "max_frames": "16"}, "example_16"),
        ({"sampling": "example", "max_frames": "48"}, "example_48"),
        ({"sampling": "benchmark", "max_frames": "16"}, "benchmark_16"),
    ):
        inputs = configured({"": str(tmp_path)}, *four, **options).card.inputs
        assert inputs["motion"] == inputs["text_video"] == SQUASHED
        assert inputs["smoothness"] == inputs["appeal"]
        for row in table:
            found = inputs["smoothness"].sampling.indices(row["total_frames"], 24.0)
            assert found.tolist() == row[column], (column, row["total_frames"])
    paper = PaperAnimeReward()
    paper.configure(preset="paper", weights={"": str(tmp_path)}, options={"max_frames": "8"}, dimensions=["smoothness"])
    assert paper.card.inputs["smoothness"].sampling.count == 8


@pytest.mark.shared
def test_frames_are_those_of_the_saved_table(shared: Path) -> None:
    table = json.loads((shared / "golden" / "idefics2" / "sampling.json").read_text())["table"]
    assert len(table) > 10
    for row in table:
        assert DECODED.sampling.indices(row["total_frames"], 24.0).tolist() == row["anime_24"]


class Stub(Scorer):
    """A scorer that counts who is loaded at the same time."""

    frames = SQUASHED
    loaded: set[str]

    def __init__(self, dimension: str, value: float, loaded: set[str], seen: list[tuple[str, ...]]) -> None:
        self.dimension, self.value, self.loaded, self.seen = dimension, value, loaded, seen

    def weight_paths(self) -> tuple[Path, ...]:
        return ()

    def prepare(self, clip: Clip, frames: Frames) -> dict[str, np.ndarray]:
        return {}

    def load(self, device: str, dtype: str | None) -> None:
        self.loaded.add(self.dimension)
        self.seen.append(tuple(sorted(self.loaded)))

    def score(self, clip: Clip, data: dict[str, np.ndarray]) -> Rating:
        assert self.dimension in self.loaded
        if clip.prompt == "broken" and self.dimension == "motion":
            raise ValueError("the prompt is broken")
        return Rating(float("nan")) if clip.prompt == "nan" else Rating(self.value * float(clip.clip_id))

    def unload(self) -> None:
        self.loaded.discard(self.dimension)


def stubbed(*dimensions: str, **options: str) -> tuple[ReleasedAnimeReward, list[tuple[str, ...]]]:
    model = configured({}, *dimensions, **options)
    loaded: set[str] = set()
    seen: list[tuple[str, ...]] = []
    model._missing = None
    model._scorers = {d: Stub(d, 0.1 * (i + 1), loaded, seen) for i, d in enumerate(DIMENSIONS) if d in model._wanted}
    model.load("cpu", None, {}, {})
    return model, seen


@pytest.mark.parametrize("choice", ["together", "one_by_one"])
def test_dimensions_are_loaded_as_asked_and_scores_stay_with_their_clips(
    monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    monkeypatch.setattr(residency.gc, "collect", lambda: 0)  # half a second each in a process full of modules
    model, seen = stubbed(residency=choice)
    most = max(len(loaded) for loaded in seen)
    assert most == (6 if choice == "together" else 1)
    batch = [Item(Clip(str(n), "v.mp4"), {}) for n in (3, 1, 2)]
    values = model.score(batch).values
    expected = np.outer([3, 1, 2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.35])
    np.testing.assert_allclose(values, expected, atol=1e-12)
    # one by one: each batch loads all but the one that is still there
    assert len(seen) == (6 if choice == "together" else 6 + 5)
    model.score(batch)
    assert len(seen) == (6 if choice == "together" else 6 + 5 + 5)
    model.close()
    assert model._scorers["motion"].loaded == set()


def test_only_what_is_asked_for_is_loaded() -> None:
    assert stubbed("motion")[1] == [("motion",)]
    assert stubbed("motion", "character")[1][-1] == ("character", "motion")
    assert len(stubbed("overall")[1][-1]) == 6


def test_a_clip_that_fails_in_one_dimension_fails_alone() -> None:
    model, _ = stubbed()
    batch = [Item(Clip("1", "v.mp4", "broken"), {}), Item(Clip("1", "v.mp4"), {}), Item(Clip("1", "v.mp4", "nan"), {})]
    scores = model.score(batch)
    assert scores.errors[0] == "the prompt is broken"
    assert scores.errors[1] is None
    assert scores.errors[2] == "smoothness came out as nan; compute in --dtype float32"
    assert np.isfinite(scores.values[1]).all()


def test_overall_abstains_where_one_of_six_does() -> None:
    ratings = {name: Rating(float(i)) for i, name in enumerate(DIMENSIONS)}
    assert overall(ratings).value == 2.5
    ratings["character"] = Rating.abstain("no character was found")
    rating = overall(ratings)
    assert math.isnan(rating.value)
    assert rating.note == "it is the mean of all six, and there is no character"
    del ratings["motion"]
    assert overall(ratings).note == "it is the mean of all six, and there is no motion, character"


@pytest.mark.parametrize(
    ("free", "choice", "together"),
    [(40, "auto", True), (20, "auto", False), (40, "together", True), (99, "one_by_one", False)],
)
def test_free_memory_decides_and_one_by_one_is_said(
    monkeypatch: pytest.MonkeyPatch, free: int, choice: str, together: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free << 30, 80 << 30))
    needed = {"smoothness": 17 << 30, "appeal": 17 << 30, "motion": 1 << 30}
    found, said = choose(choice, "cuda:0", needed)
    assert found is together
    if choice == "auto" and not together:
        assert said is not None
        assert "need 35.0 GiB of GPU memory together and 20.0 GiB are free: they are loaded one after" in said
    else:
        assert said is None


@pytest.mark.parametrize(
    ("choice", "free", "sentence"),
    [
        ("auto", 12, r"smoothness needs 17\.0 GiB of GPU memory, 12\.0 GiB are free; .* preset mini"),
        ("one_by_one", 12, r"smoothness needs 17\.0 GiB of GPU memory, 12\.0 GiB are free; .* preset mini"),
        ("together", 17, r"smoothness and motion needs 18\.0 GiB .* leave out --option residency=together"),
    ],
)
def test_too_little_memory_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, choice: str, free: int, sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free << 30, 24 << 30))
    with pytest.raises(ValueError, match=sentence):
        choose(choice, "cuda", {"smoothness": 17 << 30, "motion": 1 << 30})


def test_the_choice_reads_the_size_of_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(10, 100), "b": torch.zeros(24)}, tmp_path / "model.safetensors")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "more.pth")
    assert tensor_bytes(tmp_path / "model.safetensors", 2) == 2 * 1024
    assert tensor_bytes(tmp_path, 4) == 4 * 1024 + (tmp_path / "more.pth").stat().st_size
    asked: list[dict[str, int]] = []
    monkeypatch.setattr(residency, "choose", lambda option, device, needed: asked.append(dict(needed)) or (True, None))
    scorers = [Stub("motion", 1.0, set(), []), Stub("appeal", 1.0, set(), [])]
    monkeypatch.setattr(Stub, "weight_paths", lambda self: (tmp_path / "model.safetensors",))
    monkeypatch.setattr(Stub, "preferred", "bfloat16")
    Residence(scorers, "cuda", None, "auto")
    Residence(scorers, "cuda", "float32", "auto")
    assert [call["motion"] - Stub.working_memory for call in asked] == [2 * 1024, 4 * 1024]


def test_the_sentence_on_loading_reaches_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "choose", lambda option, device, needed: (False, "one after the other"))
    assert stubbed("motion", "appeal")[0].load_message == "one after the other"


def test_a_scorer_that_fails_to_load_leaves_nothing_behind() -> None:
    loaded: set[str] = set()
    good, bad = Stub("motion", 1.0, loaded, []), Stub("appeal", 1.0, loaded, [])

    def fail(device: str, dtype: str | None) -> None:
        loaded.add("appeal")
        raise ValueError("half downloaded")

    bad.load = fail  # type: ignore[method-assign]
    model = configured({}, "motion", "appeal")
    model._missing, model._scorers = None, {"motion": good, "appeal": bad}
    with pytest.raises(ValueError, match="half downloaded"):
        model.load("cpu", None, {}, {})
    assert loaded == set()
