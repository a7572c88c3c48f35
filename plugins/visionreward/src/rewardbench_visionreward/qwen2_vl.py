"""A chat model of the Qwen2-VL family (transformers) that answers many questions about one video.

The sequences of all questions begin with the same tokens: system message, video, the words before the question. That
prefix goes through the model once. The rest of every question is then packed into one sequence behind the cached
prefix, under a mask that lets each question see the prefix and itself; every token keeps the position it has in the
unpacked sequence. The logits are those of separate passes but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_plugin.devices import require_memory, torch_dtype
from rewardbench_visionreward.answers import AnswerTokens, common_prefix, find_answer_tokens, refuse_special_tokens

FAMILY = ("qwen2_vl", "qwen2_5_vl")
INSTRUCTION = "You check videos against a list. Answer every question with one word in lower case: yes or no."
MOST_PACKED = 2048
"""Tokens of questions in one pass; the mask takes that many rows of prefix and questions."""


class ChatBackbone:
    """Answers of a Qwen2-VL or Qwen2.5-VL model; ``source`` names it in sentences."""

    def __init__(self, processor: Any, model: Any, source: Any) -> None:
        import torch

        self._torch = torch
        self._processor, self._tokenizer = processor, processor.tokenizer
        self._model, self._device = model.eval(), model.device
        self.tokens: AnswerTokens = find_answer_tokens(self._tokenizer, source)

    @classmethod
    def load(cls, folder: Path, device: str, dtype: str | None) -> ChatBackbone:
        """Load a folder as transformers saves it.

        Raises:
            ValueError: where it is no whole checkpoint of the family, or the GPU has too little memory.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        needed = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        require_memory(device, needed + 3 * 2**30, f"the model in {folder}", "use a smaller model of the family")
        try:
            processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True)
            model, report = AutoModelForImageTextToText.from_pretrained(
                str(folder),
                dtype=torch_dtype(dtype, device),
                attn_implementation="sdpa",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:  # whatever a damaged file or a missing one makes transformers raise
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{folder} cannot be loaded as a Qwen2-VL chat model: {reason}") from None
        require_complete(folder, report)
        return cls(processor, model.to(device), folder)

    def refuse(self, prompt: str) -> str | None:
        """Why this prompt cannot be asked about, or None."""
        return refuse_special_tokens(self._tokenizer, prompt)

    def logits(self, frames: np.ndarray, queries: Sequence[str], *, shared: bool) -> Any:
        """Logits (Q, V), float32, of the first answer token to each query.

        Args:
            frames: uint8 (T, H, W, 3), one a second, sides that are multiples of the model's patches.
            queries: Q questions.
            shared: one pass for the common prefix, else one whole pass (with the video) for each query.

        Raises:
            ValueError: where a query is longer than the model reads.
        """
        video = self._encode(frames, queries)
        with self._torch.inference_mode():
            return self._shared(video) if shared else self._separate(video)

    def _encode(self, frames: np.ndarray, queries: Sequence[str]) -> _Asked:
        texts = [self._conversation(query) for query in queries]
        pixels = self._torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        first = self._processor(
            text=texts[:1], videos=[pixels], do_resize=False, do_sample_frames=False, return_tensors="pt"
        )
        token = self._model.config.video_token_id
        count = int((first["input_ids"][0] == token).sum())
        place = self._tokenizer.convert_ids_to_tokens(token)
        ids = self._tokenizer([text.replace(place, place * count) for text in texts])["input_ids"]
        if ids[0] != first["input_ids"][0].tolist():
            raise ValueError("this model's processor lays a video out in a way that visionreward does not know")
        most = self._text_config.max_position_embeddings
        longest = max(len(sequence) for sequence in ids)
        if longest > most:
            raise ValueError(f"question and video take {longest} tokens, the model reads {most}; shorten the prompt")
        grid = first["video_grid_thw"].to(self._device)
        pixel_values = first["pixel_values_videos"].to(self._device, self._model.dtype)
        return _Asked(ids, [self._positions(sequence, grid) for sequence in ids], pixel_values, grid)

    def _conversation(self, query: str) -> str:
        messages = [
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": query}]},
        ]
        text: str = self._processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return text

    def _positions(self, ids: Sequence[int], grid: Any) -> Any:
        """Positions (3, 1, L) in time, height and width."""
        sequence = self._torch.tensor([ids], device=self._device)
        positions, _ = self._model.model.get_rope_index(
            sequence,
            mm_token_type_ids=self._kinds(sequence),
            video_grid_thw=grid,
            attention_mask=self._torch.ones_like(sequence),
            # seconds from one temporal patch to the next at one frame a second; Qwen2-VL does not look at it
            second_per_grid_ts=[float(self._model.config.vision_config.temporal_patch_size)],
        )
        return positions

    def _kinds(self, sequence: Any) -> Any:
        """0 for text, 2 for video."""
        return (sequence == self._model.config.video_token_id).int() * 2

    @property
    def _text_config(self) -> Any:
        return self._model.config.get_text_config()

    def _whole(self, ids: Sequence[int], positions: Any, asked: _Asked, **more: Any) -> Any:
        sequence = self._torch.tensor([ids], device=self._device)
        return self._model(
            input_ids=sequence,
            position_ids=positions,
            mm_token_type_ids=self._kinds(sequence),
            pixel_values_videos=asked.pixel_values,
            video_grid_thw=asked.grid,
            logits_to_keep=1,
            **more,
        )

    def _separate(self, asked: _Asked) -> Any:
        rows = [
            self._whole(ids, positions, asked, use_cache=False).logits[0, -1].float()
            for ids, positions in zip(asked.ids, asked.positions)  # noqa: B905 (Python 3.9)
        ]
        return self._torch.stack(rows)

    def _shared(self, asked: _Asked) -> Any:
        from transformers import DynamicCache

        if "sliding_attention" in (getattr(self._text_config, "layer_types", None) or ()):
            raise ValueError("a model with sliding attention has no prefix to share; add --option prefix=separate")
        length = common_prefix(asked.ids)
        cache = DynamicCache(config=self._text_config)
        prefix = asked.positions[0][..., :length]
        self._whole(asked.ids[0][:length], prefix, asked, past_key_values=cache, use_cache=True)
        rows = []
        for pack in _packs([len(ids) - length for ids in asked.ids]):
            suffixes = [asked.ids[i][length:] for i in pack]
            positions = self._torch.cat([asked.positions[i][..., length:] for i in pack], dim=-1)
            packed = self._torch.tensor([[token for suffix in suffixes for token in suffix]], device=self._device)
            hidden = self._model.model.language_model(
                inputs_embeds=self._model.get_input_embeddings()(packed),
                attention_mask=self._block_mask(length, [len(suffix) for suffix in suffixes]),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[0]
            ends = np.cumsum([len(suffix) for suffix in suffixes]) - 1
            rows.append(self._model.lm_head(hidden[self._torch.from_numpy(ends).to(hidden.device)]).float())
            cache.crop(-packed.shape[1])  # a negative number is taken off the end, whatever the version
        return self._torch.cat(rows)

    def _block_mask(self, prefix: int, lengths: Sequence[int]) -> Any:
        """Additive mask (1, 1, S, prefix + S): each question sees the prefix and, causally, itself."""
        torch = self._torch
        total = sum(lengths)
        owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(self._device)
        seen = (owner[:, None] == owner[None, :]) & torch.ones(total, total, device=self._device).tril().bool()
        seen = torch.cat([torch.ones(total, prefix, device=self._device, dtype=torch.bool), seen], dim=1)
        mask = torch.zeros(seen.shape, device=self._device, dtype=self._model.dtype)
        return mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)[None, None]


@dataclass(frozen=True)
class _Asked:
    """Token ids and positions of every query, and the video's patches with their grid."""

    ids: list[list[int]]
    positions: list[Any]
    pixel_values: Any
    grid: Any


def _packs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive queries of at most ``MOST_PACKED`` tokens together (a longer one stands alone)."""
    pack: list[int] = []
    for number, length in enumerate(lengths):
        if pack and sum(lengths[i] for i in pack) + length > MOST_PACKED:
            yield pack
            pack = []
        pack.append(number)
    yield pack


def require_complete(folder: Path, report: Any) -> None:
    """Refuse a checkpoint that did not fill the model exactly.

    Raises:
        ValueError: listing what is missing, unexpected or of another shape.
    """
    named = (("missing", "missing_keys"), ("unexpected", "unexpected_keys"), ("of another shape", "mismatched_keys"))
    problems = []
    for title, key in named:
        names = sorted(str(name) for name in report.get(key) or ())
        if names:
            problems.append(f"{len(names)} {title}: {', '.join(names[:6])}{' …' if len(names) > 6 else ''}")
    if problems:
        raise ValueError(f"{folder} is not a whole checkpoint: {'; '.join(problems)}")
