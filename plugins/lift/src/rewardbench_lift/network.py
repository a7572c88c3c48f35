"""VILA-1.5 put together from transformers' SigLIP and Llama: frames and token ids in, an answer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_lift.layout import PARTS, apply_adapter, read_base, read_json
from rewardbench_lift.prompts import IMAGE_ID, common_prefix
from rewardbench_plugin.checkpoints import load_strict

PROJECTOR = "mlp_downsample"


def merge_neighbours(features: Any) -> Any:
    """2 x 2 neighbouring patches as one, (N, side², C) to (N, ceil(side / 2)², 4 C); odd sides are filled with zeros.

    Patches come row by row and leave column by column: the published block turns the grid over and does not turn it
    back. Of the four, the upper row comes first, and in it the left one.
    """
    import torch

    count, patches, width = features.shape
    side = int(patches**0.5)
    if side * side != patches:
        raise ValueError(f"{patches} patches are no square; is mm_vision_select_feature of the base model right?")
    grid = torch.nn.functional.pad(features.view(count, side, side, width), (0, 0, 0, side % 2, 0, side % 2))
    half = (side + 1) // 2
    blocks = grid.view(count, half, 2, half, 2, width).permute(0, 3, 1, 2, 4, 5)
    return blocks.reshape(count, half * half, 4 * width)


def build_projector(vision_width: int, text_width: int) -> Any:
    """The layers behind :func:`merge_neighbours`, named as published (``layers.1``, ``layers.2``, ``layers.4``)."""
    from torch import nn

    class Projector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Identity(),
                nn.LayerNorm(4 * vision_width),
                nn.Linear(4 * vision_width, text_width),
                nn.GELU(),
                nn.Linear(text_width, text_width),
            )

        def forward(self, features: Any) -> Any:
            return self.layers(merge_neighbours(features))

    return Projector()


class Vila:
    """A VILA-1.5 with a SigLIP tower, the 2 x 2 projector and a Llama.

    Attributes:
        longest: most tokens and patches of a conversation.
    """

    def __init__(self, config: Mapping[str, Any], vision: Any, projector: Any, llm: Any) -> None:
        import torch

        self._torch = torch
        self._vision, self._projector, self._llm = vision.eval(), projector.eval(), llm.eval()
        self._layer = int(config.get("mm_vision_select_layer") or -2)
        self._feature = config.get("mm_vision_select_feature") or "patch"
        if self._feature not in ("patch", "cls_patch"):
            raise ValueError(f"mm_vision_select_feature={self._feature!r} of the base model is not known")
        self.longest = int(
            getattr(llm.config, "tokenizer_model_max_length", None) or llm.config.max_position_embeddings
        )

    def see(self, pixels: Any) -> Any:
        """Features (T, P, E) of normalised frames (T, 3, S, S), E wide as the language model."""
        with self._torch.inference_mode():
            states = self._vision(pixel_values=pixels, output_hidden_states=True).hidden_states[self._layer]
            return self._projector(states if self._feature == "cls_patch" else states[:, 1:])

    def answer(
        self,
        features: Any,
        questions: Sequence[Sequence[int]],
        choose: Callable[[int, Any], int],
        is_finished: Callable[[list[int]], bool],
        most: int,
    ) -> list[list[int]]:
        """Answer token ids to each question about the same frames; what the questions begin with is computed once.

        Args:
            features: of the frames, from :meth:`see`.
            questions: token ids with :data:`IMAGE_ID` where a frame goes.
            choose: question number and logits (V,), float32, to the next token.
            is_finished: whether an answer's tokens are enough.
            most: tokens of an answer at most.
        """
        from transformers import DynamicCache

        with self._torch.inference_mode():
            shared = common_prefix(questions)
            cache = DynamicCache(config=self._llm.config)
            self._llm(inputs_embeds=self._embed(questions[0][:shared], features), past_key_values=cache, use_cache=True)
            known = cache.get_seq_length()
            answers = []
            for number, ids in enumerate(questions):
                seen = sum(token == IMAGE_ID for token in ids[:shared])
                embedded = self._embed(ids[shared:], features[seen:])
                tokens: list[int] = []
                while len(tokens) < most:
                    logits = self._llm(inputs_embeds=embedded, past_key_values=cache, use_cache=True, logits_to_keep=1)
                    tokens.append(choose(number, logits.logits[0, -1].float()))
                    if is_finished(tokens):
                        break
                    embedded = self._embed(tokens[-1:], features)
                cache.crop(known - cache.get_seq_length())  # a negative number is taken off the end
                answers.append(tokens)
            return answers

    def length(self, ids: Sequence[int], features: Any) -> int:
        """Tokens and patches that a conversation takes."""
        return sum(features.shape[1] if token == IMAGE_ID else 1 for token in ids)

    def _embed(self, ids: Sequence[int], features: Any) -> Any:
        """Embeddings (1, L, E); the frames' features in their order where :data:`IMAGE_ID` stands."""
        table, rows, pieces = self._llm.get_input_embeddings().weight, iter(features), []
        for is_frame, run in groupby(ids, key=IMAGE_ID.__eq__):
            tokens = list(run)
            pieces += (
                [next(rows) for _ in tokens] if is_frame else [table[self._torch.tensor(tokens, device=table.device)]]
            )
        return self._torch.cat(pieces)[None]


def load_vila(base: Path, adapter: Path, device: str, dtype: Any) -> Vila:
    """A VILA folder with a LoRA folder merged into it.

    Raises:
        ValueError: where the base model is of another make, or a folder is not whole.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel
    from transformers.initialization import no_init_weights

    config = check_base(base)
    vision_config = SiglipVisionConfig.from_dict(read_json(base / "vision_tower" / "config.json"))
    text_config = LlamaConfig.from_pretrained(str(base / "llm"))
    state = read_base(base)
    apply_adapter(adapter, state)
    with torch.device(device), no_init_weights():
        vision = SiglipVisionModel._from_config(vision_config, dtype=dtype)
        llm = LlamaForCausalLM._from_config(text_config, dtype=dtype)
        projector = build_projector(vision_config.hidden_size, text_config.hidden_size).to(dtype)
    for part, module in (("llm", llm), ("vision_tower", vision), ("mm_projector", projector)):
        prefix = PARTS[part]
        own = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
        if part == "vision_tower" and not any(name.startswith("vision_model.") for name in module.state_dict()):
            own = {name.removeprefix("vision_model."): tensor for name, tensor in own.items()}
        load_strict(module, own, base / part)
    return Vila(config, vision, projector, llm)


def check_base(base: Path) -> Mapping[str, Any]:
    """The configuration of a base model that this plugin can put together.

    Raises:
        ValueError: naming what is of another make.
    """
    config = read_json(base / "config.json")
    tower = read_json(base / "vision_tower" / "config.json").get("model_type")
    if tower != "siglip_vision_model":
        raise ValueError(
            f"{base} sees with {tower!r}, not with SigLIP; the 40b critic's InternViT tower is not supported"
        )
    kind = read_json(base / "mm_projector" / "config.json").get("mm_projector_type")
    if kind != PROJECTOR:
        raise ValueError(f"{base} has a projector of type {kind!r}, not {PROJECTOR!r}")
    language = read_json(base / "llm" / "config.json").get("model_type")
    if language != "llama":
        raise ValueError(f"{base} speaks with a {language!r} model, not with 'llama'")
    if config.get("image_aspect_ratio") == "pad" or config.get("s2"):
        raise ValueError(f"{base} pads or tiles its frames, which LiFT-Critic does not")
    if config.get("mm_use_im_start_end"):
        raise ValueError(
            f"{base} frames images in tokens of their own (mm_use_im_start_end), which LiFT-Critic does not"
        )
    return config


def normalise(frames: np.ndarray, preprocessor: Mapping[str, Any], device: str, dtype: Any) -> Any:
    """Frames uint8 (T, S, S, 3) as SigLIP's own preprocessor scales them, (T, 3, S, S)."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float()
    mean = torch.tensor(preprocessor.get("image_mean", [0.5] * 3), device=device)[:, None, None]
    std = torch.tensor(preprocessor.get("image_std", [0.5] * 3), device=device)[:, None, None]
    return ((pixels * float(preprocessor.get("rescale_factor", 1 / 255)) - mean) / std).to(dtype)
