"""One pass for the video and 29 questions behind it: the same numbers as 29 passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rewardbench_visionreward import qwen2_vl
from rewardbench_visionreward.answers import common_prefix
from rewardbench_visionreward.cogvlm2 import RemoteBackbone
from rewardbench_visionreward.qwen2_vl import INSTRUCTION, ChatBackbone

FAMILY = ("qwen2_vl", "qwen2_5_vl")


def clip(seed: int, count: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def questions(seed: int, count: int = 29) -> list[str]:
    """Random questions of very different lengths; each but the last ends in its newline."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("the yes no is a?! é火"))
    texts = ["Is " + "".join(rng.choice(letters, rng.integers(1, 60))) + "?\n" for _ in range(count)]
    return [*texts[:-1], texts[-1].rstrip("\n")]


@pytest.fixture(scope="module", params=FAMILY)
def backbone(request, chat_model) -> ChatBackbone:
    return ChatBackbone.load(chat_model(request.param), "cpu", "float32")


@pytest.mark.parametrize(("count", "height", "width"), [(1, 32, 48), (3, 24, 24), (6, 40, 32)])
def test_shared_equals_separate(backbone, count, height, width) -> None:
    frames, asked = clip(count, count, height, width), questions(count)
    shared, separate = (backbone.logits(frames, asked, shared=which) for which in (True, False))
    assert shared.shape == (29, shared.shape[1])
    assert float((shared - separate).abs().max()) < 1e-4
    assert float(separate.std(dim=0).max()) > 0.1  # the questions do have answers of their own


def test_separate_is_what_transformers_makes_of_the_conversation(backbone) -> None:
    """The model's own processor and positions, with nothing of ours but the messages."""
    frames, asked = clip(7, 4), questions(7, 3)
    processor, model = backbone._processor, backbone._model
    expected = []
    for question in asked:
        conversation = [
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]},
        ]
        text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        assert question in text
        inputs = processor(
            text=[text],
            videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)],
            do_resize=False,
            do_sample_frames=False,
            video_metadata=[{"fps": 1.0, "total_num_frames": 4, "frames_indices": [0, 1, 2, 3]}],
            return_mm_token_type_ids=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            expected.append(model(**inputs).logits[0, -1].float())
    found = backbone.logits(frames, asked, shared=False)
    assert float((found - torch.stack(expected)).abs().max()) < 1e-5


def test_a_question_is_answered_the_same_among_others(backbone) -> None:
    frames, asked = clip(11, 4), questions(11, 8)
    together = backbone.logits(frames, asked, shared=True)
    turned = backbone.logits(frames, asked[::-1], shared=True).flip(0)
    alone = torch.cat([backbone.logits(frames, [question], shared=True) for question in asked])
    assert float((together - turned).abs().max()) < 1e-4
    assert float((together - alone).abs().max()) < 1e-4


def test_questions_are_packed_into_passes_of_bounded_length(backbone, monkeypatch) -> None:
    frames, asked = clip(13, 3), questions(13)
    once = backbone.logits(frames, asked, shared=True)
    monkeypatch.setattr(qwen2_vl, "MOST_PACKED", 100)
    assert float((backbone.logits(frames, asked, shared=True) - once).abs().max()) < 1e-4


@pytest.mark.parametrize("lengths", [[1], [5, 5, 5], [90, 20, 5, 300, 1, 1], [2048, 2048], [7] * 29])
def test_packs_keep_order_and_bound(lengths) -> None:
    packs = list(qwen2_vl._packs(lengths))
    assert [i for pack in packs for i in pack] == list(range(len(lengths)))
    assert all(len(pack) == 1 or sum(lengths[i] for i in pack) <= 2048 for pack in packs)


def test_the_video_is_encoded_once(backbone) -> None:
    calls = []
    handle = backbone._model.model.visual.register_forward_hook(lambda *_: calls.append(1))
    try:
        backbone.logits(clip(1, 2), questions(1), shared=True)
        assert len(calls) == 1
        backbone.logits(clip(1, 2), questions(1), shared=False)
        assert len(calls) == 1 + 29
    finally:
        handle.remove()


def test_common_prefix_leaves_every_question_a_token() -> None:
    assert common_prefix([[1, 2, 3, 4], [1, 2, 9]]) == 2
    assert common_prefix([[1, 2, 3], [1, 2, 3]]) == 2
    assert common_prefix([[1, 2], [1, 2, 3]]) == 1
    assert common_prefix([[4], [5]]) == 0


def test_code_of_the_weights_shared_equals_its_own_greedy_pass(remote_model) -> None:
    """Against the published script's steps: build, prepare, one whole pass for each question."""
    backbone = RemoteBackbone(remote_model(), "cpu", "float32")
    frames, asked = clip(5, 3, 20, 30), questions(5)
    shared = backbone.logits(frames, asked, shared=True)
    model, tokenizer = backbone._model, backbone._tokenizer
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)
    expected = []
    for question in asked:
        built = model.build_conversation_input_ids(
            tokenizer=tokenizer, query=question, images=[video], history=[], template_version="chat"
        )
        inputs = {name: built[name].unsqueeze(0) for name in ("input_ids", "token_type_ids", "attention_mask")}
        inputs["images"] = [[built["images"][0].float()]]
        with torch.inference_mode():
            prepared = model.prepare_inputs_for_generation(**inputs)
            expected.append(model(**prepared).logits[0, -1])
    assert float((shared - torch.stack(expected)).abs().max()) < 1e-4
    assert float((backbone.logits(frames, asked, shared=False) - torch.stack(expected)).abs().max()) < 1e-5
    assert float(shared.std(dim=0).max()) > 0.1


def test_code_of_the_weights_sees_the_video_once_after_the_first_check(remote_model) -> None:
    backbone = RemoteBackbone(remote_model(), "cpu", "float32")
    for passes in (2, 3, 4):  # the first clip's first question is asked both ways
        backbone.logits(clip(1, 2), questions(1), shared=True)
        assert backbone._model.seen == passes


def test_code_that_cannot_go_on_from_a_cache_is_found_out(remote_model) -> None:
    backbone = RemoteBackbone(remote_model(forgetful=True), "cpu", "float32")
    with pytest.raises(ValueError, match=r"answers otherwise behind a shared prefix .* add --option prefix=separate"):
        backbone.logits(clip(1, 2), questions(1), shared=True)
    assert backbone.logits(clip(1, 2), questions(1), shared=False).shape[0] == 29
