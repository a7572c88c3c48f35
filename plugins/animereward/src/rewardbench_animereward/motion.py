"""Motion: a CLIP with a temporal adapter, compared with two sentences (ActionCLIP as AnimeReward trained it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_animereward import published
from rewardbench_animereward.frames import SQUASHED, standardised
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_plugin import Clip, Frames
from rewardbench_plugin.assets import read_template
from rewardbench_plugin.checkpoints import load_strict, read_tensors
from rewardbench_plugin.devices import torch_dtype
from rewardbench_plugin.reward import Prepared

SCALE = 100.0
"""Factor of the cosines before the softmax. It is fixed: the learnt ``logit_scale`` of the checkpoint is not used."""
HEAD_WIDTH = 64


class MotionScorer(Scorer):
    """How much the protagonist moves.

    ``cosine=False`` (released code): probability of the sentence on large movement against the one on stillness,
    softmax of 100 x cosine, in (0, 1). ``cosine=True`` (paper, Eq. 6): cosine of the clip with the sentence on large
    movement, in [-1, 1].
    """

    dimension = "motion"
    frames = SQUASHED

    def __init__(self, checkpoint: Path, templates: Path, cosine: bool = False) -> None:
        self.checkpoint, self.templates, self.cosine = checkpoint, templates, cosine
        self._model: Any = None

    def weight_paths(self) -> Sequence[Path]:
        return (self.checkpoint,)

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        return {"frames": frames.rgb}

    def load(self, device: str, dtype: str | None) -> None:
        import torch
        from open_clip.tokenizer import SimpleTokenizer

        sentences = [read_template(self.templates, t) for t in (published.MOTION_LARGE, published.MOTION_STILL)]
        state = read_tensors(self.checkpoint)
        self._model = build(state, self.checkpoint)
        load_strict(self._model, state, self.checkpoint, name="the motion model (ActionCLIP)")
        self._dtype, self._device = torch_dtype(dtype, device, "float32"), device
        self._model.to(device, self._dtype).eval()
        context = int(self._model.clip.positional_embedding.shape[0])
        with torch.inference_mode():
            tokens = SimpleTokenizer(context_length=context)(sentences).to(device)
            self._text = _unit(self._model.clip.encode_text(tokens))

    def score(self, clip: Clip, data: Prepared) -> Rating:
        cosines = self.cosines(data["frames"])
        if self.cosine:
            value = float(np.clip(cosines[0], -1.0, 1.0))
        else:
            value = float(1.0 / (1.0 + np.exp(SCALE * (cosines[1] - cosines[0]))))
        return Rating(value)

    def cosines(self, rgb: np.ndarray) -> np.ndarray:
        """Cosines float64 (2,) of frames uint8 (T, 224, 224, 3) with the sentences on large movement and stillness."""
        import torch

        with torch.inference_mode():
            segments = int(self._model.adapter.frame_position_embeddings.weight.shape[0])
            chosen = rgb[segment_positions(len(rgb), segments)]
            pixels = standardised(chosen, self._device).to(self._dtype)
            features = self._model.clip.encode_image(pixels)
            video = _unit(self._model.adapter(features[None]))[0]
            found: np.ndarray = (self._text.double() @ video.double()).cpu().numpy()
        return found

    def unload(self) -> None:
        self._model = self._text = None


def segment_positions(count: int, segments: int = 8) -> np.ndarray:
    """Which of ``count`` sampled frames the adapter sees: evenly spread, cut to integers, repeated where too few."""
    positions: np.ndarray = np.floor(np.linspace(0, count - 1, segments)).astype(np.int64)
    return positions


def build(state: Mapping[str, Any], source: Path) -> Any:
    """A module with ``clip`` (openai-clip's names) and ``adapter``, sized from the tensors of a checkpoint.

    Head counts are width / 64, the adapter's that of the text encoder; an ``arch.json`` beside the checkpoint may say
    otherwise.

    Raises:
        ValueError: the tensors are not those of such a model.
    """
    import open_clip
    import torch
    from open_clip.transformer import QuickGELU, Transformer

    def shape(name: str) -> tuple[int, ...]:
        return published.shape(state, name, source)

    arch = published.read_arch(source)
    text_width, embed = shape("clip.text_projection")
    width, _, patch, _ = shape("clip.visual.conv1.weight")
    grid = round((shape("clip.visual.positional_embedding")[0] - 1) ** 0.5)
    if grid * patch != SQUASHED.size.height:
        raise ValueError(f"{source} reads images of {grid * patch} pixels; AnimeReward's motion model reads 224")
    context, vocabulary = shape("clip.positional_embedding")[0], shape("clip.token_embedding.weight")[0]
    vision_heads = int(arch.get("vision_heads") or max(1, width // HEAD_WIDTH))
    text_heads = int(arch.get("text_heads") or max(1, text_width // HEAD_WIDTH))
    clip = open_clip.CLIP(
        embed,
        {
            "image_size": grid * patch,
            "patch_size": patch,
            "width": width,
            "layers": published.layers(state, "clip.visual.transformer.resblocks"),
            "head_width": width // vision_heads,
            "mlp_ratio": shape("clip.visual.transformer.resblocks.0.mlp.c_fc.weight")[0] / width,
        },
        {
            "context_length": context,
            "vocab_size": vocabulary,
            "width": text_width,
            "heads": text_heads,
            "layers": published.layers(state, "clip.transformer.resblocks"),
            "mlp_ratio": shape("clip.transformer.resblocks.0.mlp.c_fc.weight")[0] / text_width,
        },
        quick_gelu=True,
    )

    class Adapter(torch.nn.Module):
        """Frames see each other in time; what they gain is added to them, and the mean is the clip's feature."""

        def __init__(self) -> None:
            super().__init__()
            segments, width = shape("adapter.frame_position_embeddings.weight")
            self.frame_position_embeddings = torch.nn.Embedding(segments, width)
            self.transformer = Transformer(
                width,
                published.layers(state, "adapter.transformer.resblocks"),
                int(arch.get("adapter_heads") or text_heads),
                mlp_ratio=shape("adapter.transformer.resblocks.0.mlp.c_fc.weight")[0] / width,
                act_layer=QuickGELU,
            )

        def forward(self, features: Any) -> Any:
            """(B, T, E) to (B, E)."""
            placed = features + self.frame_position_embeddings.weight
            return (self.transformer(placed) + features).mean(dim=1)

    model = torch.nn.Module()
    model.clip, model.adapter = clip, Adapter()
    return model


def _unit(features: Any) -> Any:
    features = features.float()
    return features / features.norm(dim=-1, keepdim=True)
