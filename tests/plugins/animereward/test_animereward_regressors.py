"""Text-video and image-video against the reference's saved numbers, and against wrong ways to host them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardbench_animereward.frames import SQUASHED, key_image
from rewardbench_animereward.regressors import ImageVideoScorer, TextVideoScorer, resize_positions
from rewardbench_animereward.wordpiece import WordPiece
from safetensors.torch import load_file

from rewardbench.video import read_frames
from rewardbench_plugin import Clip, Frames

TOLERANCE, FROM_MP4 = 1e-5, 2e-4
IMAGE, TEXT = "img_video/checkpoint_06.pth", "text_video/checkpoint_05.pth"


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden" / "blip"


@pytest.fixture(scope="module")
def bert(golden: Path) -> Path:
    return golden / "weights" / "bert-base-uncased"


@pytest.fixture(scope="module")
def runs(golden: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((golden / "expected.json").read_text())["runs"]
    return found


@pytest.fixture(scope="module")
def saved(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "intermediate.safetensors")


@pytest.fixture(scope="module")
def image_video(golden: Path) -> ImageVideoScorer:
    return loaded(ImageVideoScorer(golden / IMAGE))


@pytest.fixture(scope="module")
def text_video(golden: Path, bert: Path) -> TextVideoScorer:
    return loaded(TextVideoScorer(golden / TEXT, bert))


@pytest.fixture(scope="module")
def decoded(runs, shared: Path) -> list[Frames]:
    return [read_frames(shared / "golden" / "videos" / run["video"], [SQUASHED])[SQUASHED] for run in runs]


def loaded(scorer: Any) -> Any:
    scorer.load("cpu", "float32")
    return scorer


def clip_of(run: dict[str, Any], golden: Path, **changes: Any) -> Clip:
    return Clip("c", run["video"], **{"prompt": run["prompt"], "image": str(golden / run["key_image"]), **changes})


def rgb(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(0, 2, 3, 1).numpy()


@pytest.mark.shared
def test_saved_tensors_give_the_saved_scores(image_video, text_video, golden, runs, saved) -> None:
    frames, picture = rgb(saved["0/frames24_resized_uint8"]), rgb(saved["0/key_image_resized_uint8"])
    run, clip = runs[0], clip_of(runs[0], golden)
    assert image_video.score(clip, {"frames": frames, "image": picture}).value == pytest.approx(
        run["img_video"], abs=TOLERANCE
    )
    words = {
        f"text_video/{name}": np.array([run[name]], dtype=np.int64) for name in ("input_ids", "attention_mask")
    } | {"text_video/tokens": np.array(16)}
    assert text_video.score(clip, {"frames": frames, **words}).value == pytest.approx(run["text_video"], abs=TOLERANCE)
    with torch.no_grad():
        tokens = text_video._class_tokens(frames)
        np.testing.assert_allclose(tokens.numpy(), saved["0/text_video_frame_cls"].numpy(), atol=2e-5)
        np.testing.assert_allclose(text_video._other(words)[0].numpy(), saved["0/text_cls"].numpy(), atol=2e-5)
        key = image_video._other({"image": picture})[0]
        np.testing.assert_allclose(key.numpy(), saved["0/key_image_cls_img_video"].numpy(), atol=2e-5)


@pytest.mark.shared
def test_every_clip_gives_the_saved_scores(image_video, text_video, golden, runs, decoded) -> None:
    coarse = loaded(ImageVideoScorer(golden / "img_video_grid10" / "checkpoint.pth"))
    for run, frames in zip(runs, decoded, strict=True):
        assert frames.indices.tolist() == run["frame_indices"]
        clip = clip_of(run, golden)
        for scorer, name in ((image_video, "img_video"), (text_video, "text_video"), (coarse, "img_video_grid10")):
            value = scorer.score(clip, scorer.prepare(clip, frames)).value
            assert value == pytest.approx(run[name], abs=FROM_MP4), name


@pytest.mark.shared
def test_words_become_the_saved_tokens_and_thirty_of_them_are_read(bert, runs) -> None:
    words = WordPiece(bert)
    for run in runs:
        ids, mask, total = words.encode(run["prompt"])
        assert ids[0].tolist() == run["input_ids"]
        assert mask[0].tolist() == run["attention_mask"]
        assert (total > 30) == (sum(run["attention_mask"]) == 30 and run["tokens"][-1] == "[SEP]")
    long = " ".join([runs[0]["prompt"]] * 700)
    assert len(long.split()) > 5000
    ids, mask, total = words.encode(long)
    assert ids.shape == (1, 30)
    assert mask.sum() == 30
    assert total > 5000


@pytest.mark.shared
def test_a_cut_prompt_is_said_and_what_was_cut_plays_no_part(text_video, golden, runs, decoded) -> None:
    run, frames = runs[2], decoded[2]
    one, other = clip_of(run, golden), clip_of(run, golden, prompt=run["prompt"] + " A horse appears.")
    ratings = [text_video.score(clip, text_video.prepare(clip, frames)) for clip in (one, other)]
    assert ratings[0].value == ratings[1].value == pytest.approx(run["text_video"], abs=FROM_MP4)
    assert ratings[0].note.startswith("the prompt was cut to 30 of its ")


@pytest.mark.shared
def test_the_saved_numbers_tell_another_first_token(text_video, golden, runs, decoded) -> None:
    """BLIP elsewhere replaces [CLS] by [ENC]; here it stays."""
    clip = clip_of(runs[0], golden)
    data = text_video.prepare(clip, decoded[0])
    data["text_video/input_ids"] = data["text_video/input_ids"].copy()
    data["text_video/input_ids"][0, 0] = 301
    assert abs(text_video.score(clip, data).value - runs[0]["text_video"]) > 10 * FROM_MP4


@pytest.mark.shared
@pytest.mark.parametrize("trap", ["token types", "heads of the configuration class", "swapped projections", "padding"])
def test_the_saved_numbers_tell_wrong_text_hosts_apart(trap: str, golden, bert, runs, decoded) -> None:
    wrong = loaded(TextVideoScorer(golden / TEXT, bert))
    clip = clip_of(runs[0], golden)
    data = wrong.prepare(clip, decoded[0])
    encoder = wrong._model.text_encoder
    assert not any("token_type" in name for name in encoder.state_dict())
    if trap == "token types":
        torch.manual_seed(0)
        with torch.no_grad():
            encoder.embeddings.word_embeddings.weight += 0.02 * torch.randn(128)
    elif trap == "heads of the configuration class":
        for layer in encoder.encoder.layer:
            own = layer.attention.self
            assert own.num_attention_heads == 2
            own.num_attention_heads, own.attention_head_size = 8, 16
    elif trap == "swapped projections":
        wrong._model.img_proj, wrong._model.img_key_proj = wrong._model.img_key_proj, wrong._model.img_proj
    else:
        data["text_video/attention_mask"] = np.ones_like(data["text_video/attention_mask"])
    assert abs(wrong.score(clip, data).value - runs[0]["text_video"]) > FROM_MP4


@pytest.mark.shared
def test_the_saved_numbers_tell_a_key_image_that_is_cropped(image_video, golden, runs, decoded) -> None:
    from PIL import Image

    for run, frames in zip(runs, decoded, strict=True):
        clip = clip_of(run, golden)
        data = image_video.prepare(clip, frames)
        picture = Image.open(clip.image).convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        data["image"] = np.asarray(square)[None]
        if abs(image_video.score(clip, data).value - run["img_video"]) > FROM_MP4:
            return
    pytest.fail("no golden item tells a cropped key image from a squashed one")


@pytest.mark.shared
def test_the_order_of_frames_plays_no_part(image_video, golden, runs, decoded) -> None:
    clip = clip_of(runs[1], golden)
    data = image_video.prepare(clip, decoded[1])
    backwards = {**data, "frames": data["frames"][::-1]}
    assert image_video.score(clip, backwards).value == pytest.approx(image_video.score(clip, data).value, abs=1e-6)


@pytest.mark.shared
def test_each_regressor_reads_only_its_own_other(image_video, text_video, golden, runs, decoded) -> None:
    run, frames = runs[0], decoded[0]
    plain, bare = clip_of(run, golden), clip_of(run, golden, image=None)
    assert text_video.score(bare, text_video.prepare(bare, frames)).value == pytest.approx(
        run["text_video"], abs=FROM_MP4
    )
    rating = image_video.score(bare, image_video.prepare(bare, frames))
    assert np.isnan(rating.value)
    assert rating.note == "the clip has no first-frame image"
    for empty in (None, "", "  \n"):
        silent = clip_of(run, golden, prompt=empty)
        rating = text_video.score(silent, text_video.prepare(silent, frames))
        assert np.isnan(rating.value)
        assert rating.note == "the clip has no prompt"
        value = image_video.score(silent, image_video.prepare(silent, frames)).value
        assert value == image_video.score(plain, image_video.prepare(plain, frames)).value


@pytest.mark.shared
def test_a_special_token_in_a_prompt_is_refused(text_video, golden, runs, decoded) -> None:
    clip = clip_of(runs[0], golden, prompt="a girl [SEP] a boy")
    with pytest.raises(ValueError, match=r"the prompt contains \[SEP\]"):
        text_video.prepare(clip, decoded[0])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (TEXT, "head_diff.weight", "1 missing: head_diff.weight"),
        (IMAGE, "visual_encoder.blocks.1.mlp.fc2.bias", "1 missing: visual_encoder.blocks.1.mlp.fc2.bias"),
        (TEXT, "text_encoder.encoder.layer.2.output.dense.bias", "1 missing: text_encoder.encoder.layer.2.output"),
        (TEXT, ("text_encoder.embeddings.token_type_embeddings.weight", (2, 128)), "1 unexpected: text_encoder.embed"),
        (IMAGE, "head_diff.bias", "1 missing: head_diff.bias"),
        (IMAGE, ("head_diff.weight", (1, 200)), r"head_diff.weight \(1, 200\) instead of \(1, 256\)"),
        (IMAGE, ("visual_encoder.norm.bias", (64,)), r"visual_encoder.norm.bias \(64,\) instead of \(128,\)"),
        (IMAGE, ("visual_encoder.pos_embed", (1, 120, 128)), "120 position embeddings, which is not a square grid"),
    ],
)
def test_a_faulty_checkpoint_is_refused(name: str, change: Any, sentence: str, golden, bert, tmp_path: Path) -> None:
    file = torch.load(golden / name, weights_only=True)
    if isinstance(change, str):
        del file["model"][change]
    else:
        file["model"][change[0]] = torch.zeros(change[1])
    torch.save(file, tmp_path / "faulty.pth")
    scorer = (
        TextVideoScorer(tmp_path / "faulty.pth", bert) if name == TEXT else ImageVideoScorer(tmp_path / "faulty.pth")
    )
    with pytest.raises(ValueError, match=sentence):
        scorer.load("cpu", "float32")


@pytest.mark.shared
def test_what_shapes_do_not_tell_is_read_beside_the_checkpoint(golden, bert, tmp_path: Path) -> None:
    """An ``arch.json`` comes first, then the vocabulary's ``config.json``, then heads of 64 channels."""
    for name in (TEXT, IMAGE):
        (tmp_path / Path(name).parent).mkdir()
        (tmp_path / name).write_bytes((golden / name).read_bytes())
    words = tmp_path / "words"
    words.mkdir()
    (words / "vocab.txt").write_bytes((bert / "vocab.txt").read_bytes())

    def heads() -> tuple[int, int]:
        made = loaded(TextVideoScorer(tmp_path / TEXT, words))._model
        own = made.text_encoder.encoder.layer[0].attention.self.num_attention_heads
        return made.visual_encoder.blocks[0].attn.num_heads, own

    assert heads() == (2, 2)
    (words / "config.json").write_text('{"num_attention_heads": 8, "layer_norm_eps": 0.5}')
    assert heads() == (2, 8)
    norm = loaded(TextVideoScorer(tmp_path / TEXT, words))._model.text_encoder.embeddings.LayerNorm
    assert norm.eps == 0.5
    (tmp_path / "bert.json").write_text('{"num_attention_heads": 16}')
    (tmp_path / "arch.json").write_text('{"vision_heads": 4, "bert_config": "bert.json"}')
    assert heads() == (4, 16)
    (tmp_path / "text_video" / "arch.json").write_text('{"vision_heads": 1, "text_heads": 4}')
    assert heads() == (1, 4)
    (tmp_path / "text_video" / "arch.json").write_text("[]")
    with pytest.raises(ValueError, match=r"arch\.json is not a JSON object"):
        heads()


@pytest.mark.shared
def test_each_regressor_refuses_the_other_s_checkpoint(golden, bert) -> None:
    with pytest.raises(ValueError, match="unexpected: text_encoder"):
        ImageVideoScorer(golden / TEXT).load("cpu", "float32")
    with pytest.raises(ValueError, match=r"has no text_encoder\.embeddings"):
        TextVideoScorer(golden / IMAGE, bert).load("cpu", "float32")


@pytest.mark.shared
def test_another_vocabulary_is_refused(golden, bert, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text((bert / "vocab.txt").read_text() + "extra\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has 303 tokens with the two that BLIP adds, .* has 302"):
        TextVideoScorer(golden / TEXT, tmp_path).load("cpu", "float32")
    with pytest.raises(ValueError, match=r"has no vocab\.txt"):
        WordPiece(tmp_path / "nowhere")
    (tmp_path / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not a BERT vocabulary: it lacks \[PAD\]"):
        WordPiece(tmp_path)


@pytest.mark.shared
def test_half_a_file_is_refused_in_one_sentence(golden, tmp_path: Path) -> None:
    data = (golden / IMAGE).read_bytes()
    (tmp_path / "half.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"half\.pth cannot be read as plain tensors: it is half downloaded"):
        ImageVideoScorer(tmp_path / "half.pth").load("cpu", "float32")


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.75."""
    x, a = np.abs(x), -0.75
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def test_position_embeddings_are_resized_bicubically_and_the_class_token_stays() -> None:
    table = np.random.default_rng(0).normal(size=(1, 101, 2)).astype(np.float32)
    wide = resize_positions(torch.from_numpy(table), 14, Path("c.pth")).numpy()
    weights = np.zeros((14, 10))
    for i in range(14):
        centre = (i + 0.5) * 10 / 14 - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            weights[i, np.clip(tap, 0, 9)] += cubic(np.array(centre - tap))
    expected = np.einsum("ia,jb,abc->ijc", weights, weights, table[0, 1:].reshape(10, 10, 2))
    np.testing.assert_allclose(wide[0, 1:].reshape(14, 14, 2), expected, atol=1e-5)
    assert np.array_equal(wide[:, 0], table[:, 0])


def test_an_unreadable_first_frame_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match=r"first-frame image .*broken\.png cannot be read"):
        key_image(str(tmp_path / "broken.png"))
