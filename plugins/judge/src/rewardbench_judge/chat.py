"""A chat-tuned video model of transformers that answers questions about pictures and clips, greedily."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_plugin.devices import require_memory, torch_dtype

SAMPLING_RATE = 1000.0
"""Frame times are handed to the processor as whole milliseconds."""

SMALLER = "name a smaller model, e.g. Qwen2.5-VL-3B-Instruct (about 11 GiB in bfloat16)"


@dataclass(frozen=True)
class Footage:
    """Sampled frames of one clip: uint8 (T, H, W, 3), and when each is shown, float64 (T,), seconds."""

    rgb: np.ndarray
    times: np.ndarray


@dataclass(frozen=True)
class Question:
    """One message to the model: texts, pictures (uint8 (H, W, 3)) and clips in order.

    ``quoted`` is what a user wrote into it; it must not hold tokens that steer the model.
    """

    parts: tuple[str | np.ndarray | Footage, ...]
    quoted: str = ""


Answerer = Callable[[Question], str]
"""Raises ValueError, with a sentence, where this question cannot be asked."""


class VideoChat:
    """Answers questions with the model in ``folder`` (what ``save_pretrained`` writes).

    Decoding is greedy, whatever the folder's generation settings say: no sampling, and no penalty on repeated tokens,
    which would push the second ``8`` away from where the model puts it.
    """

    def __init__(self, folder: str, device: str, dtype: str | None, max_new_tokens: int) -> None:
        """Load model and processor.

        Raises:
            ValueError: not a chat-tuned video model, incomplete weights, or too little GPU memory.
        """
        import transformers

        kind = _model_type(Path(folder))
        precision = torch_dtype(dtype, device)
        require_memory(device, _memory(Path(folder), precision), f"the {kind} model in {folder}", SMALLER)
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = transformers.AutoProcessor.from_pretrained(folder, **local)
        except Exception as error:  # a broken or foreign folder raises whatever its parts raise
            raise ValueError(f"{folder} has no processor transformers can load ({_line(error)})") from None
        if getattr(self._processor, "video_processor", None) is None:
            raise ValueError(f"the {kind} model in {folder} does not take video; name a video model")
        if not getattr(self._processor, "chat_template", None):
            raise ValueError(f"the {kind} model in {folder} has no chat template; name a chat-tuned model")
        try:
            self._model, report = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, dtype=precision, output_loading_info=True, **local
            )
        except Exception as error:
            raise ValueError(f"{folder} cannot be loaded as a {kind} model ({_line(error)})") from None
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            names = sorted(str(name) for name in report.get(what, ()))
            if names:
                more = f" and {len(names) - 6} more" if len(names) > 6 else ""
                raise ValueError(f"{folder}: {len(names)} {what.replace('_', ' ')}: {', '.join(names[:6])}{more}")
        self._model.to(device).eval()
        self._device = device
        own = self._model.generation_config
        self._settings = transformers.GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id if own.pad_token_id is not None else self._processor.tokenizer.pad_token_id,
        )
        self._model.generation_config = self._settings  # generate() fills what is unset from the model's own
        self._control = [str(token) for token in self._processor.tokenizer.added_tokens_encoder]

    def __call__(self, question: Question) -> str:
        """The model's answer.

        Raises:
            ValueError: the quoted text holds a control token, or the question is longer than the model's context.
        """
        import torch

        for token in self._control:
            if token in question.quoted:
                raise ValueError(f"the prompt holds the model's control token {token!r}; remove it")
        inputs = self._inputs(question)
        length = inputs["input_ids"].shape[1]
        room = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and length + self._settings.max_new_tokens > room:
            raise ValueError(
                f"the question is {length} tokens long and the model has room for {room}; lower --option max_frames or "
                "max_pixels, or shorten the prompt"
            )
        with torch.inference_mode():
            made = self._model.generate(**inputs, generation_config=self._settings)
        return str(self._processor.tokenizer.decode(made[0, length:], skip_special_tokens=True))

    def _inputs(self, question: Question) -> Any:
        content: list[dict[str, str]] = []
        pictures, clips, times = [], [], []
        for part in question.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            elif isinstance(part, Footage):
                content.append({"type": "video"})
                clips.append(part.rgb)
                times.append(part.times)
            else:
                content.append({"type": "image"})
                pictures.append(part)
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        media: dict[str, Any] = {}
        if pictures:
            media["images"] = pictures
        if clips:
            media |= {
                "videos": clips,
                "video_metadata": [_metadata(one) for one in times],
                "do_sample_frames": False,
            }
        inputs = self._processor(text=[text], return_tensors="pt", **media).to(self._device)
        for name, tensor in inputs.items():
            if hasattr(tensor, "is_floating_point") and tensor.is_floating_point():
                inputs[name] = tensor.to(self._model.dtype)
        return inputs

    def close(self) -> None:
        self._model = self._processor = None


def _metadata(times: np.ndarray) -> Any:
    """Frame times as transformers wants them: positions at a nominal rate, over a span of T frame intervals."""
    from transformers.video_utils import VideoMetadata

    since_start = np.asarray(times, dtype=np.float64) - float(times[0])
    interval = since_start[-1] / (len(times) - 1) if len(times) > 1 else 1.0
    span = max(interval * len(times), 1 / SAMPLING_RATE)
    return VideoMetadata(
        total_num_frames=round(span * SAMPLING_RATE),
        fps=SAMPLING_RATE,
        duration=span,
        frames_indices=[round(second * SAMPLING_RATE) for second in since_start.tolist()],
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(
            f"{folder} has no readable config.json; name the folder of a transformers model, e.g. "
            "Qwen2.5-VL-7B-Instruct"
        ) from None
    return dict(found)


def _model_type(folder: Path) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    kind = str(_config(folder).get("model_type"))
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ValueError(f"{folder} holds a {kind!r} model, which is not a vision-language model transformers can load")
    return kind


def _memory(folder: Path, precision: Any) -> int:
    """Bytes the loaded weights take, with a fifth and 2 GiB on top for activations and the cache of one question."""
    config = _config(folder)
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    each = 2 if stored in ("bfloat16", "float16") else 4
    files = [*folder.glob("*.safetensors")] or [*folder.glob("pytorch_model*.bin")]
    size = sum(file.stat().st_size for file in files) * precision.itemsize // each
    return size + size // 5 + (2 << 30)


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
