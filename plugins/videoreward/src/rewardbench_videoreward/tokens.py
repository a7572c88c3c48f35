"""From a filled prompt to token ids, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_videoreward.folder import Checkpoint, read_json
from rewardbench_videoreward.settings import reward_token

VIDEO_PAD = "<|video_pad|>"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Tokens:
    """A tokenizer with its chat format.

    Attributes:
        tokenizer: of the ``tokenizers`` package.
        chat_template: Jinja source of the conversation format.
        rewards: ids of the reward tokens in the order of the dimensions; empty without special tokens.
        video_pad: id that stands for one merged patch of the clip.
    """

    tokenizer: Any
    chat_template: str
    rewards: tuple[int, ...]
    video_pad: int

    @property
    def largest_id(self) -> int:
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def specials(self) -> tuple[str, ...]:
        """Texts that become one token each and steer the model."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return tuple(sorted(token.content for token in added if token.special))

    def encode(self, text: str, video_tokens: int) -> np.ndarray:
        """Ids int32 (L,) of a conversation: one user turn with the clip, then ``text``; the assistant's turn begins.

        Raises:
            ValueError: the conversation holds more or fewer clips or reward tokens than belong in it.
        """
        content = [{"type": "video"}, {"type": "text", "text": text}]
        turns = [{"role": "user", "content": content}]
        chat = self._render(messages=turns, add_generation_prompt=True)
        ids = np.array(self.tokenizer.encode(chat).ids, dtype=np.int32)
        places = np.flatnonzero(ids == self.video_pad)
        if len(places) != 1:
            raise ValueError(f"the conversation has {len(places)} places for the clip; the chat template is unsuitable")
        for token in self.rewards:
            if np.count_nonzero(ids == token) != 1:
                raise ValueError("the prompt template does not have every reward token once")
        before, after = ids[: places[0]], ids[places[0] + 1 :]
        return np.concatenate([before, np.full(video_tokens, self.video_pad, np.int32), after])

    @cached_property
    def _render(self) -> Any:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.chat_template).render


def read_tokens(checkpoint: Checkpoint, base: Path | None, dimensions: Sequence[str], special: bool) -> Tokens:
    """The stored tokenizer, or the base model's with the reward tokens added as VideoAlign adds them.

    Where both are there, their ids must agree: the stored one is the base model's with the reward tokens at its end.

    Raises:
        ValueError: a tokenizer is missing, damaged, or not the checkpoint's.
    """
    wanted = [reward_token(d) for d in dimensions] if special else []
    folders = [folder for folder in (checkpoint.tokenizer, base) if folder is not None and _has_tokenizer(folder)]
    if not folders:
        raise ValueError(
            f"{checkpoint.path} has no tokenizer folder, and the base model's tokenizer is not there; "
            "add --weights base=PATH"
        )
    tokenizer = _open(folders[0])
    stored = checkpoint.tokenizer is not None and folders[0] == checkpoint.tokenizer
    if wanted and not stored:
        _add(tokenizer, wanted)
    vocabulary: Mapping[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    missing = [token for token in (VIDEO_PAD, *wanted) if token not in vocabulary]
    if missing:
        raise ValueError(f"the tokenizer in {folders[0]} lacks {', '.join(missing)}: it is not this checkpoint's")
    if len(folders) == 2:
        reference = _open(folders[1])
        if wanted:
            _add(reference, wanted)
        _same_ids(tokenizer, reference, (VIDEO_PAD, *wanted), folders)
    rewards = tuple(vocabulary[token] for token in wanted)
    return Tokens(tokenizer, _chat_template(base, folders[0]), rewards, vocabulary[VIDEO_PAD])


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()


def _open(folder: Path) -> Any:
    """``tokenizer.json`` as it is; only where there is none, what transformers makes of the older files."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # tokenizers raises bare Exception
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"the tokenizer in {folder} cannot be read, it may be half downloaded ({reason})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _add(tokenizer: Any, names: Sequence[str]) -> None:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])


def _same_ids(stored: Any, reference: Any, names: Sequence[str], folders: Sequence[Path]) -> None:
    other = [name for name in names if stored.token_to_id(name) != reference.token_to_id(name)]
    sizes = [t.get_vocab_size(with_added_tokens=True) for t in (stored, reference)]
    if other or sizes[0] != sizes[1]:
        what = f"{other[0]} has another id" if other else f"{sizes[0]} tokens there, {sizes[1]} here"
        raise ValueError(f"the tokenizer in {folders[0]} is not made from the base model's in {folders[1]}: {what}")


def _chat_template(base: Path | None, tokenizer: Path) -> str:
    """The base model's, as VideoAlign takes it; without a base model the stored tokenizer's."""
    for folder in (base, tokenizer):
        for name in TEMPLATE_FILES:
            path = None if folder is None else folder / name
            if path is None or not path.is_file():
                continue
            if path.suffix == ".jinja":
                return path.read_text(encoding="utf-8")
            template = read_json(path).get("chat_template")
            if isinstance(template, str):
                return template
    raise ValueError(f"neither the base model nor {tokenizer} states a chat template")
