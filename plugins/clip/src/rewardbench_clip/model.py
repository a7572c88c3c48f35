"""CLIP similarity of a clip's frames and its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from rewardbench_clip import VERSION
from rewardbench_clip.architecture import Architecture, find_architecture
from rewardbench_plugin import Dimension, FrameSpec, Item, RewardCard, RewardModel, Sampling, Scores, Size

DEFAULT_FRAMES = 8
MOST_FRAMES = 64
PRECISIONS = {None: "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class ClipSimilarity(RewardModel):
    """Mean over frames of the cosine between frame and prompt embeddings (CLIPScore without its scale and floor).

    Options: ``model`` (a built-in architecture of open_clip, for a weights file), ``frames`` (1..64, default 8) and
    ``normalization`` (``openai``, ``imagenet``, ``inception``; what the model was trained with). ``--weights`` names a
    weights file, or an open_clip model folder, which says all of that itself.
    """

    option_names: ClassVar[tuple[str, ...]] = ("model", "frames", "normalization")
    card = RewardCard(
        name="clip",
        version=VERSION,
        summary="mean cosine of frames and prompt under an open_clip model",
        dimensions=(
            Dimension("text_video", -1.0, 1.0, description="mean over frames of the cosine between frame and prompt"),
        ),
        inputs={
            "text_video": FrameSpec(
                sampling=Sampling("count", DEFAULT_FRAMES),
                size=Size(short_side=224, center_crop=(224, 224)),
                filter="pil-bicubic",
            )
        },
        overall_rule="the only score",
        needs_prompt=True,
        default_score="text_video",
        training_data="whatever the named weights were trained on",
        code_licence="Apache-2.0",
        weights_licence="that of the named weights",
        citation="Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision; "
        "Hessel et al. 2021, CLIPScore",
        evaluation_rules={"any benchmark": "none is published for this model: the one score answers every label"},
        notes="Parameters and memory are those of the named weights. "
        "Sees single frames: motion and time are invisible to it. Prompts longer than the model's context are "
        "cut, and the clip's note says so. No weights are shipped or downloaded.",
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
        text = self.options.get("frames", str(DEFAULT_FRAMES))
        if not text.isdecimal() or not 1 <= int(text) <= MOST_FRAMES:
            raise ValueError(f"--option frames={text} is not a whole number from 1 to {MOST_FRAMES}")
        if "" not in self.weights:
            return  # enough for showing the card; scoring asks for the weights
        model, normalization = self.options.get("model"), self.options.get("normalization")
        self._architecture = find_architecture(self.weights[""], model, normalization)
        self.card = replace(type(self).card, inputs={"text_video": self._architecture.frame_spec(int(text))})

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no weights are named: such a model has no identity."""
        self._named_architecture()
        return super().fingerprint()

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load with open_clip, strictly and without unpickling code.

        Raises:
            ValueError: where no weights are named, or they are not those of the architecture.
        """
        import open_clip

        architecture = self._named_architecture()
        precision = PRECISIONS[dtype]
        try:
            self._model = open_clip.create_model(
                architecture.name,
                pretrained=architecture.checkpoint,
                precision=precision,
                device=device,
                require_pretrained=True,
                weights_only=True,
            )
            self._tokenizer = open_clip.get_tokenizer(architecture.name)
        except Exception as error:  # unpickling, shapes, missing keys: open_clip raises many kinds
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"--weights {self.weights['']} cannot be loaded as {architecture.name}: {reason}"
            ) from error
        self._model.eval()
        self._input_dtype = open_clip.get_input_dtype(precision)
        self._device = device

    def score(self, batch: Sequence[Item]) -> Scores:
        """Cosines (N, 1) in [-1, 1]; a note where a prompt was cut."""
        import torch

        prompts = [item.clip.prompt or "" for item in batch]
        frames = [item.data["frames0"] for item in batch]
        with torch.inference_mode():
            images = self._encode_frames(np.concatenate(frames))
            texts = _unit(self._model.encode_text(self._tokenizer(prompts).to(self._device)))
            ends = np.cumsum([len(clip) for clip in frames])
            values = [
                float((images[end - len(clip) : end] @ text).mean())
                for end, clip, text in zip(ends, frames, texts)  # noqa: B905 (strict= is Python 3.10)
            ]
        cosines = np.clip(np.array(values, dtype=np.float64)[:, None], -1.0, 1.0)  # rounding can pass 1 by 1e-7
        return Scores(cosines, notes=[self._note(prompt) for prompt in prompts])

    def close(self) -> None:
        self._model = self._tokenizer = None

    def _named_architecture(self) -> Architecture:
        if self._architecture is None:
            raise ValueError(
                "clip needs weights: add --weights FILE and --option model=NAME (e.g. ViT-B-32), "
                "or --weights DIR with an open_clip model folder"
            )
        return self._architecture

    def _encode_frames(self, rgb: np.ndarray) -> Any:
        """Unit embeddings, float32 (F, E), of uint8 frames (F, H, W, 3)."""
        import torch

        architecture = self._named_architecture()
        pixels = torch.from_numpy(rgb).to(self._device).permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(architecture.mean, device=self._device)[:, None, None]
        std = torch.tensor(architecture.std, device=self._device)[:, None, None]
        return _unit(self._model.encode_image(((pixels - mean) / std).to(self._input_dtype)))

    def _note(self, prompt: str) -> str:
        encode = getattr(self._tokenizer, "encode", None)
        if encode is not None:
            length = len(encode(prompt)) + 2  # start and end of text
        else:
            length = len(self._tokenizer.tokenizer(self._tokenizer.clean_fn(prompt))["input_ids"])
        most = self._tokenizer.context_length
        return f"prompt cut to {most} of {length} tokens" if length > most else ""


def _unit(features: Any) -> Any:
    features = features.float()
    return features / features.norm(dim=-1, keepdim=True)
