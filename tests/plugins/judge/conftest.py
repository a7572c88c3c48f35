"""A tiny Qwen2-VL that says what it is told to: real processor, real weights, real ``generate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TalkingModel = Callable[..., Path]


@pytest.fixture(scope="session")
def talking_model(tmp_path_factory: pytest.TempPathFactory) -> TalkingModel:
    """``talking_model(text=None, kind="qwen2_vl") -> folder`` of a model that answers ``text`` to every question.

    The text is one token of the vocabulary. The layers add nothing to the residual stream, so what follows depends on
    the last token only: the end of the question is followed by the text, the text by the end of the message. With
    ``text`` None the weights stay random.
    """
    import torch
    import transformers

    from rewardbench.reward_training.small_base import SmallSize, write_small_base

    size = SmallSize(hidden=64, layers=1, vision_width=64, vision_depth=1, mlp=64, vocabulary=300)

    def make(text: str | None = None, kind: str = "qwen2_vl") -> Path:
        folder = tmp_path_factory.mktemp("talking")
        model = write_small_base(folder, ["Answer 1: 8", "Verdict: 1"], size)
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        if kind == "qwen2_5_vl":
            model = _qwen2_5(model.config)
            settings = folder / "preprocessor_config.json"
            settings.write_text(settings.read_text().replace("Qwen2VLProcessor", "Qwen2_5_VLProcessor"))
            model.save_pretrained(folder)
        if text is None:
            return folder
        tokenizer.add_tokens([text])
        tokenizer.save_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        said, end = tokenizer.convert_tokens_to_ids([text, "<|im_end|>"])
        last = tokenizer("assistant\n").input_ids[-1]
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "language_model.layers" in name and ("o_proj" in name or "down_proj" in name):
                    weight.zero_()
            table = model.get_input_embeddings().weight
            table.zero_()
            table[last, 0] = table[said, 1] = 1.0
            model.config.text_config.tie_word_embeddings = model.config.tie_word_embeddings = False
            model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(table))
            model.lm_head.weight[said, 0] = model.lm_head.weight[end, 1] = 1.0
        model.save_pretrained(folder)
        return folder

    return make


def _qwen2_5(config: Any) -> Any:
    import torch
    import transformers

    vision = config.vision_config
    text = config.text_config.to_dict()
    torch.manual_seed(0)
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config={name: value for name, value in text.items() if name not in ("model_type", "architectures")},
            vision_config={
                "depth": vision.depth,
                "hidden_size": vision.embed_dim,
                "out_hidden_size": config.text_config.hidden_size,
                "intermediate_size": 64,
                "num_heads": vision.num_heads,
                "patch_size": vision.patch_size,
                "fullatt_block_indexes": [0],
            },
            image_token_id=config.image_token_id,
            video_token_id=config.video_token_id,
            vision_start_token_id=config.vision_start_token_id,
            vision_end_token_id=config.vision_end_token_id,
            tie_word_embeddings=True,
        )
    )
