"""The recogniser, its crops and its rule against numbers of the released code, and the ways to miss them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rewardbench_animereward.character import CharacterScorer
from rewardbench_animereward.character.crops import object_crops, query_picture
from rewardbench_animereward.character.gallery import Gallery, read_gallery
from rewardbench_animereward.character.recogniser import Recogniser, identity_probabilities
from safetensors.torch import load_file

pytestmark = pytest.mark.shared


class Unused:
    """Stands for detector and tracker where masks or crops are given."""

    def boxes(self, image: np.ndarray) -> np.ndarray:
        raise AssertionError("the detector is not asked")

    def masks(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        raise AssertionError("the tracker is not asked")


@dataclass
class Golden:
    folder: Path
    expected: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def frames(self, query: str) -> np.ndarray:
        files = sorted((self.folder / "query" / query / "frames").glob("*.jpg"))
        return np.stack([np.asarray(Image.open(file)) for file in files])

    def masks(self, query: str) -> np.ndarray:
        masks: np.ndarray = np.load(self.folder / "query" / query / "masks" / "mask.npy")
        return masks

    def crops(self, query: str, objects: int) -> list[list[np.ndarray]]:
        folder = self.folder / "expected_mask_crop" / query
        return [
            [np.asarray(Image.open(folder / f"object{k}_img{i}.jpg")) for i in range(8)] for k in range(1, objects + 1)
        ]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    folder = shared / "golden" / "character_blip"
    expected = json.loads((folder / "expected.json").read_text())
    return Golden(folder, expected, load_file(folder / "intermediate.safetensors"))


@pytest.fixture(scope="module")
def recogniser(golden: Golden) -> Recogniser:
    return Recogniser(golden.folder / golden.expected["checkpoint"], "cpu")


@pytest.fixture(scope="module")
def gallery(golden: Golden) -> Gallery:
    return read_gallery(golden.folder)


@pytest.fixture(scope="module")
def scorer(golden: Golden) -> CharacterScorer:
    loaded = CharacterScorer(detector=Unused(), tracker=Unused())
    loaded.load({"character": golden.folder, "gallery": golden.folder / "gallery"}, "cpu", "float32")
    return loaded


def pictures(crops: list[list[np.ndarray]]) -> np.ndarray:
    return np.array([[query_picture(crop) for crop in one] for one in crops])


def test_gallery_is_embedded_as_in_the_released_code(golden: Golden, recogniser: Recogniser, gallery: Gallery) -> None:
    assert gallery.names == tuple(golden.expected["gallery_names"])
    difference = (recogniser.embed_gallery(gallery) - golden.tensors["gallery_embeds"]).abs().max()
    assert difference <= golden.expected["tolerance"]["embedding_abs_with_given_crops"]


def test_given_crops_give_the_expected_embeddings_probabilities_and_score(
    golden: Golden, scorer: CharacterScorer, recogniser: Recogniser, gallery: Gallery
) -> None:
    for run in golden.expected["runs"]:
        query, objects = run["query"], len(run["objects"])
        given = pictures(golden.crops(query, objects))
        embedded = recogniser.embed(given.reshape(-1, 224, 224, 3)).reshape(objects, 8, -1)
        assert (embedded - golden.tensors[f"{query}/query_embeds"]).abs().max() <= 5e-5
        assert list(gallery.identities) == run["identities"]
        np.testing.assert_allclose(scorer.probabilities(given), run["identity_probabilities"], atol=1e-5)
        score, note = scorer.score({"crops": given})
        assert score == pytest.approx(run["score"], abs=golden.expected["tolerance"]["score_abs_with_given_crops"])
        assert note == ""


def test_the_input_tensor_is_the_expected_one(golden: Golden, recogniser: Recogniser) -> None:
    from rewardbench_animereward.character.recogniser import MEAN, STD

    for run in golden.expected["runs"]:
        picture = torch.tensor(query_picture(golden.crops(run["query"], 1)[0][0])).permute(2, 0, 1) / 255
        tensor = (picture - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        torch.testing.assert_close(tensor, golden.tensors[f"{run['query']}/object0_frame0_input"], atol=1e-6, rtol=0)


def test_crops_from_frames_and_masks_are_those_that_the_released_code_wrote(golden: Golden) -> None:
    for run in golden.expected["runs"]:
        query = run["query"]
        own = list(object_crops(golden.frames(query), golden.masks(query), frames_are_jpeg=True))
        given = golden.crops(query, len(run["objects"]))
        assert len(own) == len(given)
        for one, other in zip(own, given, strict=True):
            for crop, expected in zip(one, other, strict=True):
                assert crop.shape == expected.shape
                assert np.abs(crop.astype(int) - expected).mean() < 1.0  # 0 with the same JPEG library


def test_frames_and_masks_give_the_expected_score(golden: Golden, scorer: CharacterScorer) -> None:
    for run in golden.expected["runs"]:
        crops = object_crops(golden.frames(run["query"]), golden.masks(run["query"]), frames_are_jpeg=True)
        score, _ = scorer.score({"crops": pictures(list(crops))})
        assert score == pytest.approx(run["score"], abs=golden.expected["tolerance"]["score_abs_with_own_crops"])


def test_frames_that_are_compressed_once_more_stay_near(golden: Golden, scorer: CharacterScorer) -> None:
    for run in golden.expected["runs"]:
        score, _ = scorer.score({"frames": golden.frames(run["query"]), "masks": golden.masks(run["query"])})
        assert score == pytest.approx(run["score"], abs=0.02)


def sprung(golden: Golden, run: dict[str, Any], probabilities: torch.Tensor) -> float:
    """How far a wrong rule is from the released one, in the score."""
    return abs(float(probabilities.max(dim=-1).values.mean()) - float(run["score"]))


def test_trap_normalised_embeddings_miss(golden: Golden, gallery: Gallery) -> None:
    normalize = torch.nn.functional.normalize
    stored = normalize(golden.tensors["gallery_embeds"], dim=-1)
    for run in golden.expected["runs"]:
        query = normalize(golden.tensors[f"{run['query']}/query_embeds"], dim=-1)
        wrong = identity_probabilities(query, stored, gallery.members)
        assert sprung(golden, run, wrong) > 0.1
        value = float(wrong.max(dim=-1).values.mean())
        assert value == pytest.approx(run["score_if_embeddings_were_normalised"], abs=1e-5)


def test_trap_the_best_picture_of_a_name_instead_of_their_mean_misses(golden: Golden, gallery: Gallery) -> None:
    for run in golden.expected["runs"]:
        similarity = golden.tensors[f"{run['query']}/sims"]
        best = torch.stack([similarity[..., m].amax(dim=-1) for m in gallery.members], dim=-1)
        assert sprung(golden, run, best.softmax(dim=-1).mean(dim=1)) > 1e-3


def test_trap_names_told_apart_by_their_case_miss(golden: Golden, gallery: Gallery) -> None:
    names = list(dict.fromkeys(gallery.names))
    by_case = [np.flatnonzero(np.array(gallery.names) == name) for name in names]
    assert len(by_case) > len(gallery.members)
    for run in golden.expected["runs"]:
        query = golden.tensors[f"{run['query']}/query_embeds"]
        wrong = identity_probabilities(query, golden.tensors["gallery_embeds"], by_case)
        assert sprung(golden, run, wrong) > 1e-3


def test_trap_softmax_after_the_mean_over_frames_misses(golden: Golden, gallery: Gallery) -> None:
    for run in golden.expected["runs"]:
        similarity = golden.tensors[f"{run['query']}/sims"]
        grouped = torch.stack([similarity[..., m].mean(dim=-1) for m in gallery.members], dim=-1)
        assert sprung(golden, run, grouped.mean(dim=1).softmax(dim=-1)) > 1e-4


def test_trap_a_bicubic_query_misses(golden: Golden, scorer: CharacterScorer) -> None:
    def wrong(crop: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(crop).resize((224, 224), Image.Resampling.BICUBIC))

    run = golden.expected["runs"][0]
    crops = golden.crops(run["query"], len(run["objects"]))
    score, _ = scorer.score({"crops": np.array([[wrong(crop) for crop in one] for one in crops])})
    assert abs(score - run["score"]) > 1e-4


def test_trap_a_bilinear_gallery_misses(golden: Golden, recogniser: Recogniser, gallery: Gallery) -> None:
    wrong = np.stack(
        [np.asarray(Image.open(p).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)) for p in gallery.paths]
    )
    assert (recogniser.embed(wrong) - golden.tensors["gallery_embeds"]).abs().max() > 1e-3
