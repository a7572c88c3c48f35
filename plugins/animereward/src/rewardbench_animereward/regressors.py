"""Text-video and image-video consistency: a BLIP encoder, two projections and one linear head (Eq. 8 and 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_animereward import published
from rewardbench_animereward.frames import SIDE, SQUASHED, key_image, standardised
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_animereward.wordpiece import WordPiece
from rewardbench_plugin import Clip, Frames
from rewardbench_plugin.checkpoints import load_strict, read_tensors
from rewardbench_plugin.devices import torch_dtype
from rewardbench_plugin.reward import Prepared

HEAD_WIDTH = 64
POSITION_IDS = "text_encoder.embeddings.position_ids"
"""A buffer 0, 1, 2, …, that older checkpoints store; it is no weight."""


class _Regressor(Scorer):
    """sigmoid(head([projected clip, projected other])) in (0, 1), computed in float32 unless told otherwise.

    The clip is the class token of the mean over its frames, so the order of the frames does not matter.
    """

    frames = SQUASHED

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self._model: Any = None

    def weight_paths(self) -> Sequence[Path]:
        return (self.checkpoint,)

    def load(self, device: str, dtype: str | None) -> None:
        state = read_tensors(self.checkpoint)
        self._device, self._dtype = device, torch_dtype(dtype, device, "float32")
        self._model = self._build(state).to(device, self._dtype).eval()

    def _build(self, state: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _other(self, data: Prepared) -> Any:
        """Class token (1, W) of what the clip is held against."""
        raise NotImplementedError

    def score(self, clip: Clip, data: Prepared) -> Rating:
        import torch

        with torch.inference_mode():
            video = self._class_tokens(data["frames"]).float().mean(dim=0, keepdim=True).to(self._dtype)
            both = (self._model.img_proj(video), self._model.img_key_proj(self._other(data)))
            return Rating(float(self._model.head_diff(torch.cat(both, dim=-1)).float().sigmoid()[0, 0]))

    def _class_tokens(self, rgb: np.ndarray) -> Any:
        """(N, W) of uint8 pictures (N, 224, 224, 3)."""
        pixels = standardised(rgb, self._device).to(self._dtype)
        return self._model.visual_encoder.forward_features(pixels)[:, 0]

    def unload(self) -> None:
        self._model = None


class ImageVideoScorer(_Regressor):
    """Does the clip keep the style of its first-frame image? The prompt plays no part."""

    dimension = "image_video"
    needs_image = True

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        found: Prepared = {"frames": frames.rgb}
        if clip.image:
            found["image"] = key_image(clip.image)
        return found

    def score(self, clip: Clip, data: Prepared) -> Rating:
        if "image" not in data:
            return Rating.abstain("the clip has no first-frame image")
        return super().score(clip, data)

    def _build(self, state: dict[str, Any]) -> Any:
        return build(state, self.checkpoint, text=None)

    def _other(self, data: Prepared) -> Any:
        return self._class_tokens(data["image"])


class TextVideoScorer(_Regressor):
    """Does the clip show what the prompt says? Only the first 30 tokens of the prompt are read."""

    dimension = "text_video"
    needs_prompt = True

    def __init__(self, checkpoint: Path, bert: Path) -> None:
        super().__init__(checkpoint)
        self.bert = bert
        self._words: WordPiece | None = None

    @property
    def words(self) -> WordPiece:
        if self._words is None:
            self._words = WordPiece(self.bert)
        return self._words

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        found: Prepared = {"frames": frames.rgb}
        if clip.prompt and clip.prompt.strip():
            ids, mask, total = self.words.encode(clip.prompt)
            found["text_video/input_ids"], found["text_video/attention_mask"] = ids, mask
            found["text_video/tokens"] = np.array(total)
        return found

    def score(self, clip: Clip, data: Prepared) -> Rating:
        if "text_video/input_ids" not in data:
            return Rating.abstain("the clip has no prompt")
        rating = super().score(clip, data)
        total, most = int(data["text_video/tokens"]), data["text_video/input_ids"].shape[1]
        note = f"the prompt was cut to {most} of its {total} tokens" if total > most else ""
        return Rating(rating.value, note=note)

    def _build(self, state: dict[str, Any]) -> Any:
        saved = self.bert / "config.json"
        bert = published.read_json(saved) if saved.is_file() else {}
        arch = published.read_arch(self.checkpoint)
        settings = {**bert, **arch.get("bert", {})}
        if arch.get("text_heads"):
            settings["num_attention_heads"] = arch["text_heads"]
        state.pop(POSITION_IDS, None)
        model = build(state, self.checkpoint, text=settings)
        rows = published.shape(state, "text_encoder.embeddings.word_embeddings.weight", self.checkpoint)[0]
        if rows != self.words.size:
            raise ValueError(
                f"{self.bert} has {self.words.size} tokens with the two that BLIP adds, {self.checkpoint} has {rows}; "
                "name the vocabulary it was trained with, --weights bert=FOLDER"
            )
        return model

    def _other(self, data: Prepared) -> Any:
        import torch

        ids, mask = (
            torch.from_numpy(data[f"text_video/{name}"]).to(self._device) for name in ("input_ids", "attention_mask")
        )
        return self._model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]


def build(state: dict[str, Any], source: Path, text: Mapping[str, Any] | None) -> Any:
    """A module of a BLIP regressor's tensors, sized from their shapes and loaded strictly.

    Args:
        text: BERT's configuration, for what shapes do not tell (heads, activation, epsilon; left out: width / 64,
            GELU, 1e-12), or None for a model without a text encoder.

    Raises:
        ValueError: the tensors are not those of such a model.
    """
    import torch
    from timm.models.vision_transformer import VisionTransformer

    def shape(name: str) -> tuple[int, ...]:
        return published.shape(state, name, source)

    arch = published.read_arch(source)
    side = int(arch.get("image_size") or SIDE)
    if side != SIDE:
        raise ValueError(f"{source} reads images of {side} pixels; AnimeReward's BLIP regressors read {SIDE}")
    width, _, patch, _ = shape("visual_encoder.patch_embed.proj.weight")
    positions = "visual_encoder.pos_embed"
    grid = SIDE // patch
    if shape(positions)[1] != grid * grid + 1:
        state[positions] = resize_positions(state[positions], grid, source)
    model = torch.nn.Module()
    model.visual_encoder = VisionTransformer(
        img_size=SIDE,
        patch_size=patch,
        num_classes=0,
        embed_dim=width,
        depth=published.layers(state, "visual_encoder.blocks"),
        num_heads=int(arch.get("vision_heads") or max(1, width // HEAD_WIDTH)),
        mlp_ratio=shape("visual_encoder.blocks.0.mlp.fc1.weight")[0] / width,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        weight_init="skip",
    )
    if text is not None:
        model.text_encoder = _text_encoder(state, source, text)
    clip_width, other_width = shape("img_proj.weight")[0], shape("img_key_proj.weight")[0]
    model.img_proj = torch.nn.Linear(width, clip_width)
    model.img_key_proj = torch.nn.Linear(width if text is None else model.text_encoder.config.hidden_size, other_width)
    model.head_diff = torch.nn.Linear(clip_width + other_width, 1)
    kind = "image-video" if text is None else "text-video"
    load_strict(model, state, source, name=f"the {kind} regressor (BLIP)")
    return model


def _text_encoder(state: Mapping[str, Any], source: Path, settings: Mapping[str, Any]) -> Any:
    """BERT without token types and with cross-attention that text alone never enters: BLIP's text encoder."""
    from transformers import BlipTextConfig, BlipTextModel

    def shape(name: str) -> tuple[int, ...]:
        return published.shape(state, f"text_encoder.{name}", source)

    vocabulary, width = shape("embeddings.word_embeddings.weight")
    crossed = "encoder.layer.0.crossattention.self.key.weight"
    config = BlipTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        encoder_hidden_size=shape(crossed)[1] if f"text_encoder.{crossed}" in state else width,
        intermediate_size=shape("encoder.layer.0.intermediate.dense.weight")[0],
        num_hidden_layers=published.layers(state, "text_encoder.encoder.layer"),
        num_attention_heads=int(settings.get("num_attention_heads") or max(1, width // HEAD_WIDTH)),
        max_position_embeddings=shape("embeddings.position_embeddings.weight")[0],
        hidden_act=settings.get("hidden_act", "gelu"),
        layer_norm_eps=float(settings.get("layer_norm_eps", 1e-12)),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=None,
        is_decoder=f"text_encoder.{crossed}" in state,
    )
    return BlipTextModel(config, add_pooling_layer=False)


def resize_positions(table: Any, grid: int, source: Path) -> Any:
    """Position embeddings (1, 1 + g², W) brought to a grid of ``grid`` x ``grid``, bicubic; the class token's stays.

    Raises:
        ValueError: the table is not that of a square grid.
    """
    import torch

    old = round((table.shape[1] - 1) ** 0.5)
    if old * old + 1 != table.shape[1]:
        raise ValueError(f"{source} has {table.shape[1]} position embeddings, which is not a square grid and one more")
    square = table[:, 1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1].float(), resized.flatten(2).transpose(1, 2)], dim=1)
