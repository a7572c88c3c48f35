"""A host for Mantis' ``Qwen2VLForSequenceClassification`` (VideoScore-Qwen2-VL).

Differences from `transformers`' Qwen2-VL that decide the scores:

* positions are 1-D, ``0 … L-1`` on all three axes: the trained class passes none to the text model, which then counts;
* parameters are named as before `transformers` 4.52: ``visual.*``, ``model.*``, and ``score.*``;
* the head has a bias. It reads one token (the last, or the one before the first pad token where config.json names a
  ``pad_token_id``); with ``score_type`` ``special_token`` it has one output per label token and reads each at its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_plugin.checkpoints import load_strict, read_tensors
from rewardbench_plugin.clip import Size
from rewardbench_plugin.devices import require_memory, torch_dtype
from rewardbench_videoscore.card import video_size
from rewardbench_videoscore.idefics2 import pooled_position
from rewardbench_videoscore.saved import SavedTokenizer, grey_levels, read_json, require_length, require_transformers

VIDEO = "<|video_pad|>"
ANSWER = "answer.txt"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
ACTIVATIONS = 8 * 2**30  # bytes beside the weights: 24,576 tokens of text model and twice 4 times as many patches
PATCHES_AT_ONCE = 16_384


class Qwen2VLInputs:
    """A clip and text to token ids and frames, as qwen-vl-utils and the saved processor make them.

    Args:
        folder: of the checkpoint.
        least, most: pixels of one frame in qwen-vl-utils' resize.

    Raises:
        ValueError: one sentence naming the file that is missing or says something unusable.
    """

    def __init__(self, folder: Path, least: int, most: int) -> None:
        self.config = read_json(folder / "config.json")
        saved = read_json(folder / "preprocessor_config.json")
        size = saved.get("size") or {}
        self._least, self._most = least, most
        self._saved_size = Size(
            max_pixels=int(saved.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280),
            min_pixels=int(saved.get("min_pixels") or size.get("shortest_edge") or 56 * 56),
            multiple=28,
        )
        if any(int(saved.get(name, usual)) != usual for name, usual in _USUAL.items()):
            raise ValueError(f"{folder / 'preprocessor_config.json'} has other patches than {_USUAL}")
        self.table = grey_levels(
            float(saved.get("rescale_factor", 1 / 255)),
            saved.get("image_mean") or CLIP_MEAN,
            saved.get("image_std") or CLIP_STD,
        )
        self.tokenizer = SavedTokenizer(folder)
        self.tokenizer.require(VIDEO, int(self.config.get("video_token_id", 151_656)))
        self._positions = int(self.config.get("max_position_embeddings", 32_768))
        self._chat = read_chat_template(folder)
        self._answer = self._label_answer(folder)

    def prepare(self, rgb: np.ndarray, text: str) -> dict[str, np.ndarray]:
        """``input_ids`` int64 (L,) and ``frames`` uint8 (T, h, w, 3), T even, both sides multiples of 28.

        Raises:
            ValueError: where the text contains a special token or is longer than the model's positions.
        """
        self.tokenizer.refuse_special(text)
        frames = self.resized(rgb)
        count, height, width = frames.shape[:3]
        turn = self._chat.render(
            messages=[{"role": "user", "content": [{"type": "video", "video": ""}, {"type": "text", "text": text}]}],
            add_generation_prompt=True,
        )
        if turn.count(VIDEO) != 1:
            raise ValueError(f"the chat template places {turn.count(VIDEO)} videos for one clip")
        tokens = count // 2 * (height // 28) * (width // 28)
        ids = self.tokenizer.encode(turn.replace(VIDEO, VIDEO * tokens) + self._answer)
        require_length(ids, count, self._positions)
        return {"input_ids": ids, "frames": frames}

    def resized(self, rgb: np.ndarray) -> np.ndarray:
        """Both resizes, and the last frame again where their number is odd."""
        from PIL import Image

        if len(rgb) % 2:
            rgb = np.concatenate([rgb, rgb[-1:]])
        target = video_size(len(rgb), self._least, self._most).target(*rgb.shape[1:3])
        frames = rgb if target == rgb.shape[1:3] else _tensor_resize(rgb, *target)
        height, width = self._saved_size.target(*target)
        if (height, width) == target:
            return np.ascontiguousarray(frames)
        bicubic = Image.Resampling.BICUBIC
        return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), bicubic)) for frame in frames])

    def _label_answer(self, folder: Path) -> str:
        """The answer that carries the label tokens, empty where the head reads the last token."""
        if self.config.get("score_type") != "special_token":
            return ""
        path = folder / "templates" / ANSWER
        if not path.is_file():
            raise ValueError(
                f"{folder} is scored at label tokens, which the published prompt does not contain: put the answer it "
                f"was trained with, each label token once, into {path}"
            )
        return path.read_bytes().decode("utf-8")


_USUAL = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}


class Qwen2VLRegressor:
    """Qwen2-VL with a regression head; see the module for what it follows.

    Args:
        folder: ``config.json``, ``model*.safetensors``, ``tokenizer.json``, ``preprocessor_config.json`` and the chat
            template.
        least, most: pixels of one frame in qwen-vl-utils' resize.
    """

    def __init__(self, folder: Path, least: int, most: int) -> None:
        self.folder = folder
        self._budget = (least, most)
        self._inputs: Qwen2VLInputs | None = None
        self._network: Any = None

    @property
    def inputs(self) -> Qwen2VLInputs:
        """The saved preprocessing, read once."""
        if self._inputs is None:
            self._inputs = Qwen2VLInputs(self.folder, *self._budget)
        return self._inputs

    @property
    def outputs(self) -> int:
        """How many values :meth:`logits` gives."""
        score = self._network.score
        return len(score) if self._labels else int(score.out_features)

    def prepare(self, rgb: np.ndarray, text: str) -> dict[str, np.ndarray]:
        """See :meth:`Qwen2VLInputs.prepare`; needs no :meth:`load`."""
        return self.inputs.prepare(rgb, text)

    def load(self, device: str, dtype: str | None, *, advice: str = "use a larger GPU or --device cpu") -> None:
        """Read the weights, every key accounted for.

        Raises:
            ValueError: where the folder is not such a checkpoint, is half downloaded, or the GPU has too little room.
        """
        require_transformers()
        import torch
        from transformers.initialization import no_init_weights

        precision = torch_dtype(dtype, device)
        saved = self.inputs.config
        self._labels: tuple[int, ...] = ()
        if saved.get("score_type") == "special_token":
            self._labels = tuple(int(number) for number in saved.get("label_special_token_ids") or ())
            if not self._labels:
                raise ValueError(f"{self.folder / 'config.json'} names no label_special_token_ids")
        with torch.device("meta"), no_init_weights():
            size = sum(p.numel() for p in self._build(1, precision).parameters()) * precision.itemsize
        require_memory(device, size + ACTIVATIONS, self.folder.name, advice)
        state = read_tensors(self.folder)
        head = state.get("score.weight")
        if head is None and not self._labels:
            raise ValueError(f"{self.folder} is not a checkpoint of a regressor: it has no score.weight")
        with torch.device(device), no_init_weights():
            network = self._build(0 if head is None else len(head), precision)
        load_strict(network, state, self.folder)
        self._network = network.eval().requires_grad_(False)
        self._table = torch.from_numpy(self.inputs.table).to(device)
        self._pad: int | None = saved.get("pad_token_id")
        self._video_id = int(saved.get("video_token_id", 151_656))

    def logits(self, prepared: Mapping[str, np.ndarray]) -> np.ndarray:
        """The outputs, float64 (K,), for what :meth:`prepare` made.

        Raises:
            ValueError: where a label token does not stand in the text exactly once.
        """
        import torch

        ids = torch.from_numpy(np.asarray(prepared["input_ids"])).to(self._table.device)
        network = self._network
        with torch.inference_mode():
            embedded = network.model.embed_tokens(ids)
            features = self.features(prepared["frames"])
            slots = ids == self._video_id
            if int(slots.sum()) != len(features):
                raise ValueError(f"{int(slots.sum())} video tokens for {len(features)} video features")
            embedded = embedded.masked_scatter(slots[:, None], features)
            positions = torch.arange(len(ids), device=ids.device).expand(3, 1, -1)  # 1-D: see the module
            hidden = network.model(inputs_embeds=embedded[None], position_ids=positions, use_cache=False)
            states = hidden.last_hidden_state[0]
            if self._labels:
                places = [_only_place(prepared["input_ids"], label) for label in self._labels]
                parts = [one(states[place]) for one, place in zip(network.score, places, strict=True)]
                scores = torch.cat(parts)
            else:
                scores = network.score(states[pooled_position(prepared["input_ids"], self._pad)])
        return scores.double().cpu().numpy()  # type: ignore[no-any-return]

    def features(self, frames: np.ndarray) -> Any:
        """What the text model sees of frames uint8 (T, h, w, 3): (T/2 * h/28 * w/28, text width)."""
        import torch

        visual = self._network.visual
        rows, columns = frames.shape[1] // 14, frames.shape[2] // 14
        pairs = max(1, PATCHES_AT_ONCE // (rows * columns))
        parts = []
        with torch.inference_mode():
            for start in range(0, len(frames), 2 * pairs):
                levels = torch.from_numpy(frames[start : start + 2 * pairs]).to(self._table.device)
                pixels = torch.stack([self._table[c][levels[..., c].long()] for c in range(3)], dim=1)
                grid = torch.tensor([[len(levels) // 2, rows, columns]], device=self._table.device)
                parts.append(visual(patches(pixels).to(visual.dtype), grid_thw=grid).pooler_output)
        return torch.cat(parts)

    def close(self) -> None:
        """Release the weights."""
        self._network = None

    def _build(self, outputs: int, dtype: Any) -> Any:
        return build_network(self.inputs.config, outputs, len(self._labels), dtype)


def build_network(saved: Mapping[str, Any], outputs: int, labels: int, dtype: Any) -> Any:
    """A module with the parameter names of the published checkpoint; ``labels`` single-output heads, or one head of
    ``outputs``.

    Raises:
        ValueError: where `transformers` refuses the configuration.
    """
    import torch
    from transformers import Qwen2VLConfig
    from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl

    try:
        config = Qwen2VLConfig.from_dict(dict(saved))
    except Exception as error:  # its validation raises several kinds
        raise ValueError(f"config.json cannot be used: {' '.join(str(error).split())[:200]}") from None
    width = config.text_config.hidden_size
    network = torch.nn.Module()
    network.visual = qwen2_vl.Qwen2VisionTransformerPretrainedModel._from_config(config.vision_config, dtype=dtype)
    network.model = qwen2_vl.Qwen2VLTextModel._from_config(config.text_config, dtype=dtype)
    if labels:
        network.score = torch.nn.ModuleList([torch.nn.Linear(width, 1, dtype=dtype) for _ in range(labels)])
    else:
        network.score = torch.nn.Linear(width, outputs, dtype=dtype)
    return network


def patches(pixels: Any) -> Any:
    """The vision tower's rows of pixels (T, 3, h, w), T even: (T/2 * h/14 * w/14, 3 * 2 * 14 * 14).

    Rows come in blocks of 2 x 2 patches, which the tower merges into one token; within a row: channel, frame, y, x.
    """
    count, channels, height, width = pixels.shape
    split = pixels.reshape(count // 2, 2, channels, height // 28, 2, 14, width // 28, 2, 14)
    ordered = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return ordered.reshape(-1, channels * 2 * 14 * 14)


def read_chat_template(folder: Path) -> Any:
    """The saved chat template, compiled in a sandbox.

    Raises:
        ValueError: where the folder has none.
    """
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = None
    if (folder / "chat_template.jinja").is_file():
        text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    else:
        for name in ("chat_template.json", "tokenizer_config.json"):
            if text is None and (folder / name).is_file():
                text = read_json(folder / name).get("chat_template")
    if not isinstance(text, str):
        raise ValueError(f"{folder} has no chat template: chat_template.json is missing")
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(text)


def _tensor_resize(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """torchvision's antialiased bicubic resize of uint8 tensors: in float32, then clamped and rounded half to even."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2)
    resized = [
        torch.nn.functional.interpolate(frame[None].float(), (height, width), mode="bicubic", antialias=True)
        for frame in pixels
    ]
    whole = torch.cat(resized).clamp(0, 255).round().to(torch.uint8)
    return np.ascontiguousarray(whole.permute(0, 2, 3, 1).numpy())


def _only_place(ids: np.ndarray, label: int) -> int:
    places = np.flatnonzero(ids == label)
    if len(places) != 1:
        raise ValueError(f"the label token {label} stands {len(places)} times in the text, once is needed")
    return int(places[0])
