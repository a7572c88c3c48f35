"""Tiny random chat models of the Qwen2-VL family, saved as transformers saves them."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WriteModel = Callable[..., Path]


def build_tokenizer() -> Any:
    """Byte-level BPE that knows letters, ``yes`` and ``no``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("y", "e"), ("ye", "s"), ("n", "o"), ("i", "s"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
    words = [*SPECIAL, *letters, *(first + second for first, second in merges)]
    core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=100_000,
    )


def write_chat_model(folder: Path, kind: str = "qwen2_vl", seed: int = 0) -> Path:
    import torch
    import transformers
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = build_tokenizer()
    ids = dict(zip(SPECIAL, range(len(SPECIAL)), strict=True))
    text = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 6000,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}, "bos_token_id": 0, "eos_token_id": 2,
        "pad_token_id": 0, "use_sliding_window": False,
    }  # fmt: skip
    shared = {
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(seed)
    if kind == "qwen2_vl":
        vision = {"depth": 2, "embed_dim": 16, "num_heads": 2, "hidden_size": 32, "mlp_ratio": 2, "patch_size": 4}
        config = transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **shared)
        model = transformers.Qwen2VLForConditionalGeneration(config)
        processor = transformers.Qwen2VLProcessor
    else:
        vision = {"depth": 2, "hidden_size": 16, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 24,
                  "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]}  # fmt: skip
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **shared)
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
        processor = transformers.Qwen2_5_VLProcessor
    for parameter in model.parameters():  # the initial scale leaves the answers all but independent of the question
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    sizes = {"patch_size": 4, "min_pixels": 64, "max_pixels": 4096}
    processor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def with_checklist(folder: Path, shared: Path) -> Path:
    """The published questions and weights, put where a weights folder has them."""
    shutil.copytree(shared / "assets" / "visionreward" / "templates", folder / "templates")
    shutil.copy(shared / "assets" / "visionreward" / "weight.json", folder / "templates")
    return folder


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> WriteModel:
    """``chat_model("qwen2_vl")``: the folder of a tiny random model, written once."""

    @cache
    def folder(kind: str = "qwen2_vl") -> Path:
        return write_chat_model(tmp_path_factory.mktemp(kind), kind)

    return folder


@pytest.fixture
def chat_folder(chat_model: WriteModel, tmp_path: Path, shared: Path) -> Path:
    """A copy of the tiny Qwen2-VL with the published questions in it, to be spoilt at will."""
    return with_checklist(shutil.copytree(chat_model(), tmp_path / "chat"), shared)


@pytest.fixture(scope="session")
def remote_model(tmp_path_factory: pytest.TempPathFactory) -> WriteModel:
    """``remote_model(forgetful=False)``: the folder of a tiny model with code of its own, written once."""
    write = runpy.run_path(str(Path(__file__).with_name("remote_stub.py")))["write_remote_folder"]

    @cache
    def folder(forgetful: bool = False) -> Path:
        home: Path = write(tmp_path_factory.mktemp("remote") / "stub", build_tokenizer(), forgetful=forgetful)
        return home

    return folder


@pytest.fixture
def remote_folder(remote_model: WriteModel, tmp_path: Path, shared: Path) -> Path:
    """A copy of such a folder with the published questions in it."""
    return with_checklist(shutil.copytree(remote_model(), tmp_path / "remote"), shared)
