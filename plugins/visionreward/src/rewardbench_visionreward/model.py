"""VisionReward as a reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rewardbench_plugin.assets import find_part
from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.options import choice, flag, whole
from rewardbench_plugin.reward import Item, Prepared, RewardModel, Scores
from rewardbench_visionreward import card as cards
from rewardbench_visionreward.cogvlm2 import RemoteBackbone, pinned_revision, require_own_code
from rewardbench_visionreward.questions import Checklist, read_checklist
from rewardbench_visionreward.qwen2_vl import FAMILY, ChatBackbone

LARGEST = 4096 * 4096


class VisionReward(RewardModel):
    """29 yes/no questions, weighted.

    Presets: ``released`` (the published CogVLM2-Video checkpoint, in an environment of its own) and ``chat`` (a
    Qwen2-VL chat model); without one, the ``config.json`` of the weights decides.

    Options: ``scoring`` (``reference``: the likeliest token is exactly ``yes``; ``soft``: P(yes) - P(no), not of the
    publication), ``prefix`` (``shared`` or ``separate``), ``num_frames`` (at most, default 24), ``max_pixels`` and
    ``min_pixels`` of a frame (``chat`` only), ``trust_remote_code`` and ``revision`` (``released`` only).
    """

    option_names: ClassVar[tuple[str, ...]] = (
        "scoring",
        "prefix",
        "num_frames",
        "max_pixels",
        "min_pixels",
        "trust_remote_code",
        "revision",
    )
    card: RewardCard = cards.RELEASED
    _folder: Path | None = None
    _remote: bool = True
    _checklist: Checklist | None = None
    _backbone: Any = None

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
        self._scoring = choice(self.options, "scoring", "reference", ("reference", "soft"))
        self._is_shared = choice(self.options, "prefix", "shared", ("shared", "separate")) == "shared"
        trusted = flag(self.options, "trust_remote_code", False)
        config: Mapping[str, Any] = {}
        if "" in self.weights:
            self._folder = Path(self.weights[""])
            config = _read_config(self._folder)
        self._remote = self._decide(config)
        self.card = self._chosen_card(config)
        if self._folder is None:
            return  # enough for showing the card
        if self._remote:
            if not trusted:
                raise ValueError(
                    f"{self._folder} brings its own Python code; add --trust-remote-code to run it (in an environment "
                    "of its own), after reading it"
                )
            require_own_code(self._folder, config)
            revision = pinned_revision(self._folder, self.options)
            self.card = replace(self.card, sources=(replace(self.card.sources[0], revision=revision),))
        templates = find_part("visionreward", self.weights, "templates", "templates", "its questions and their weights")
        self.weights = {**self.weights, "templates": str(templates)}

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no weights are named: such a model has no identity."""
        self._named_folder()
        return super().fingerprint()

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load the network; bfloat16 on a GPU unless told otherwise.

        Raises:
            ValueError: where no weights are named, or they or the questions are not whole.
        """
        folder = self._named_folder()
        self._checklist = read_checklist(Path(self.weights["templates"]))
        self._backbone = (RemoteBackbone if self._remote else ChatBackbone.load)(folder, device, dtype)

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """The sampled frames, uint8 (T, H, W, 3)."""
        (sampled,) = frames.values()
        return {"frames": sampled.rgb}

    def score(self, batch: Sequence[Item]) -> Scores:
        """Scores (N, 1) in [-0.2165, 0.2165]; the notes hold the answers, one sign a question."""
        values = np.full((len(batch), 1), np.nan)
        notes, errors = [""] * len(batch), [None] * len(batch)  # type: list[str], list[str | None]
        for row, item in enumerate(batch):
            try:
                answers = self._answers(item)
            except ValueError as error:
                errors[row] = f"{item.clip.clip_id}: {error}"
                continue
            assert self._checklist is not None
            values[row, 0] = self._checklist.score(answers)
            notes[row] = "answers " + "".join("+" if answer > 0 else "-" for answer in answers)
        return Scores(values, notes=notes, errors=errors)

    def close(self) -> None:
        self._backbone = None

    def _answers(self, item: Item) -> list[float]:
        assert self._checklist is not None
        prompt = item.clip.prompt or ""
        if not prompt.strip():
            raise ValueError("it has no prompt, and three of the questions are about it")
        reason = self._backbone.refuse(prompt)
        if reason is not None:
            raise ValueError(reason)
        logits = self._backbone.logits(item.data["frames"], self._checklist.ask(prompt), shared=self._is_shared)
        tokens = self._backbone.tokens
        answers: list[float] = tokens.reference(logits) if self._scoring == "reference" else tokens.soft(logits)
        return answers

    def _decide(self, config: Mapping[str, Any]) -> bool:
        """Whether the weights bring their own code, held against the preset."""
        kind = config.get("model_type")
        if not config:
            return self.preset != "chat"
        if kind in FAMILY:
            if self.preset == "released":
                raise ValueError(f"{self._folder} holds a {kind} model, not the published one; use visionreward:chat")
            return False
        if "auto_map" not in config or self.preset == "chat":
            hint = "; use visionreward:released" if "auto_map" in config else ""
            raise ValueError(f"{self._folder} holds a model of type {kind!r}, not {' or '.join(FAMILY)}{hint}")
        return True

    def _chosen_card(self, config: Mapping[str, Any]) -> RewardCard:
        most = whole(self.options, "num_frames", cards.MOST_FRAMES, 1, 768) or cards.MOST_FRAMES
        if self._remote:
            given = [name for name in ("max_pixels", "min_pixels") if name in self.options]
            if given:
                raise ValueError(f"--option {given[0]} is for the preset chat; the published code resizes on its own")
            return replace(cards.RELEASED, inputs={"overall": cards.released_spec(most)})
        if "revision" in self.options:
            raise ValueError("--option revision is for the preset released; the preset chat runs no foreign code")
        vision = config.get("vision_config") or {}
        multiple = int(vision.get("patch_size", 14)) * int(vision.get("spatial_merge_size", 2))
        lowest = multiple * multiple
        most_pixels = whole(self.options, "max_pixels", max(cards.MAX_PIXELS, lowest), lowest, LARGEST) or lowest
        least_pixels = whole(self.options, "min_pixels", min(cards.MIN_PIXELS, most_pixels), 0, LARGEST) or 0
        if least_pixels > most_pixels:
            raise ValueError(f"--option min_pixels={least_pixels} is more than max_pixels={most_pixels}")
        spec = cards.chat_spec(most, most_pixels, least_pixels, multiple)
        return replace(cards.CHAT, inputs={"overall": spec})

    def _named_folder(self) -> Path:
        if self._folder is None:
            raise ValueError(
                "visionreward needs weights: add --weights DIR (the published folder, or a Qwen2-VL chat model) with "
                "templates/questions.txt and templates/weight.json in it"
            )
        return self._folder


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"--weights {folder} has no config.json; name the folder of a whole checkpoint")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); it may be half downloaded") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no model configuration")
    return config
