"""Mean over frames of a linear head on unit image embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rewardbench_clip.architecture import Architecture, find_architecture

from rewardbench_aesthetic import VERSION
from rewardbench_aesthetic.head import read_head
from rewardbench_plugin import Dimension, FrameSpec, Item, RewardCard, RewardModel, Sampling, Scores, Size
from rewardbench_plugin.options import whole

DEFAULT_FRAMES, MOST_FRAMES = 8, 64
AT_ONCE = 64
"""Frames in one forward pass."""
PRECISIONS = {None: "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
NEEDS = (
    "aesthetic needs weights: add --weights HEAD (a file with weight and bias) and --weights base=FILE with --option "
    "model=NAME (e.g. ViT-L-14-quickgelu), or --weights base=DIR with an open_clip model folder"
)


class LinearAesthetic(RewardModel):
    """The LAION aesthetic predictor's linear form: ``weight · f / |f| + bias``, mean over frames.

    Options: ``frames`` (1..64, default 8), ``model`` and ``normalization`` as in the plugin ``clip``. ``--weights`` is
    the head, ``--weights base=`` the open_clip weights it was trained on.
    """

    option_names: ClassVar[tuple[str, ...]] = ("frames", "model", "normalization")
    card = RewardCard(
        name="aesthetic",
        version=VERSION,
        summary="linear aesthetic head on an open_clip image tower, mean over frames",
        dimensions=(
            Dimension(
                "aesthetic", description="mean over frames of the predicted rating; LAION's heads were fitted to 1..10"
            ),
        ),
        inputs={
            "aesthetic": FrameSpec(
                sampling=Sampling("count", DEFAULT_FRAMES),
                size=Size(short_side=224, center_crop=(224, 224)),
                filter="pil-bicubic",
            )
        },
        overall_rule="the only score",
        default_score="aesthetic",
        weights_parts=("base",),
        training_data="that of the named head; LAION's linear heads: ratings of pictures (SAC), no video, and none of "
        "the benchmarks here",
        code_licence="Apache-2.0",
        weights_licence="that of the named weights (LAION's heads: MIT)",
        citation="Schuhmann et al. 2022, LAION-5B; github.com/LAION-AI/aesthetic-predictor",
        evaluation_rules={"any benchmark": "none is published for this model: the one score answers every label"},
        notes="Parameters and memory are those of the named weights. "
        "Sees single frames: motion and time are invisible to it, and it does not read the prompt. The head fits "
        "only the image tower it was trained on. No weights are shipped or downloaded.",
    )
    _architecture: Architecture | None = None

    def configure(
        self,
        *,
        preset: str | None = None,
        weights: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        dimensions: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().configure(preset=preset, weights=weights, options=options, dimensions=dimensions, seed=seed)
        count = whole(self.options, "frames", DEFAULT_FRAMES, 1, MOST_FRAMES)
        assert count is not None
        if "" in self.weights and not Path(self.weights[""]).is_file():
            raise ValueError(f"--weights {self.weights['']} is not a file: name the aesthetic head's file")
        if "base" not in self.weights:
            return  # enough for showing the card; scoring asks for the weights
        try:
            architecture = find_architecture(
                self.weights["base"], self.options.get("model"), self.options.get("normalization")
            )
        except ValueError as error:
            raise ValueError(str(error).replace("--weights ", "--weights base=", 1)) from None
        self._architecture = architecture
        self.card = replace(type(self).card, inputs={"aesthetic": architecture.frame_spec(count)})

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no weights are named: such a model has no identity."""
        self._named()
        return super().fingerprint()

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load the image tower with open_clip, strictly and without unpickling code, and the head.

        Raises:
            ValueError: where weights are not named, not those of the architecture, or head and tower do not fit.
        """
        import open_clip
        import torch

        architecture = self._named()
        head = Path(self.weights[""])
        self._weight, self._bias = (value.to(device) for value in read_head(head))
        try:
            model = open_clip.create_model(
                architecture.name,
                pretrained=architecture.checkpoint,
                precision=PRECISIONS[dtype],
                device=device,
                require_pretrained=True,
                weights_only=True,
            )
        except Exception as error:  # unpickling, shapes, missing keys: open_clip raises many kinds
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"--weights base={self.weights['base']} cannot be loaded as {architecture.name}: {reason}"
            ) from error
        self._tower = model.visual.eval()
        self._input_dtype = open_clip.get_input_dtype(PRECISIONS[dtype])
        self._device = device
        with torch.inference_mode():
            blank = torch.zeros(1, 3, architecture.height, architecture.width, device=device, dtype=self._input_dtype)
            width = self._tower(blank).shape[-1]
        if width != len(self._weight):
            raise ValueError(
                f"{head} is a head for embeddings of {len(self._weight)} numbers, {architecture.name} gives {width}"
            )

    def score(self, batch: Sequence[Item]) -> Scores:
        """Ratings (N, 1), unbounded."""
        frames = [item.data["frames0"] for item in batch]
        ratings = self._rate(np.concatenate(frames))
        ends = np.cumsum([len(clip) for clip in frames])
        values = [ratings[end - len(clip) : end].mean() for end, clip in zip(ends, frames, strict=True)]
        return Scores(np.array(values, dtype=np.float64)[:, None])

    def close(self) -> None:
        self._tower = self._weight = self._bias = None

    def _named(self) -> Architecture:
        if self._architecture is None or "" not in self.weights:
            raise ValueError(NEEDS)
        return self._architecture

    def _rate(self, rgb: np.ndarray) -> np.ndarray:
        """Ratings, float64 (F,), of uint8 frames (F, H, W, 3)."""
        import torch

        architecture = self._named()
        mean, std = (
            torch.tensor(values, device=self._device)[:, None, None] for values in (architecture.mean, architecture.std)
        )
        ratings = []
        with torch.inference_mode():
            for start in range(0, len(rgb), AT_ONCE):
                part = torch.from_numpy(np.array(rgb[start : start + AT_ONCE])).to(self._device)
                pixels = (part.permute(0, 3, 1, 2).float() / 255 - mean) / std
                features: Any = self._tower(pixels.to(self._input_dtype)).float()
                unit = features / features.norm(dim=-1, keepdim=True)
                ratings.append((unit @ self._weight + self._bias).double().cpu().numpy())
        return np.concatenate(ratings)
