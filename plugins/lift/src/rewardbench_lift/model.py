"""LiFT-Critic as a reward model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rewardbench_lift import card as cards
from rewardbench_lift.answers import MAPPINGS, is_decided, mean_score, read_grade
from rewardbench_lift.layout import read_json, read_settings
from rewardbench_lift.network import Vila, check_base, load_vila, normalise
from rewardbench_lift.prompts import TEMPLATES, Wording, read_wording, refuse_prompt, token_ids
from rewardbench_plugin.assets import Template, find_base, find_part
from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.devices import require_memory, torch_dtype
from rewardbench_plugin.options import choice, flag, number, whole
from rewardbench_plugin.reward import Item, Prepared, RewardModel, Scores

MOST_DIGITS = 12


class LiftCritic(RewardModel):
    """Three questions about a clip, answered Good, Normal or Bad and mapped to numbers.

    Options: ``mapping`` (``published``: 0.9, 0.2, 0.05, mean rounded to 2 decimals; ``levels``: 3, 2, 1),
    ``round_digits`` of the mean (a number or ``none``), ``num_frames`` (default 8), ``temperature`` (default 0: the
    likeliest token), ``reasons`` (``true``: the whole answers in the notes) and ``max_new_tokens`` (default 512).
    """

    option_names: ClassVar[tuple[str, ...]] = (
        "mapping",
        "round_digits",
        "num_frames",
        "temperature",
        "reasons",
        "max_new_tokens",
    )
    templates: ClassVar[Mapping[str, Template]] = TEMPLATES
    card: RewardCard = cards.CARD
    _folder: Path | None = None
    _vila: Vila | None = None
    _tokenizer: Any = None
    _wording: Wording | None = None

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
        self._mapping = MAPPINGS[choice(self.options, "mapping", "published", tuple(MAPPINGS))]
        digits = self.options.get("round_digits")
        self._digits = (
            None if digits == "none" else whole(self.options, "round_digits", self._mapping.digits, 0, MOST_DIGITS)
        )
        self._temperature = number(self.options, "temperature", 0.0, 0.0, 10.0)
        self._has_reasons = flag(self.options, "reasons", False)
        self._most = whole(self.options, "max_new_tokens", 512, 1, 4096) or 512
        count = whole(self.options, "num_frames", cards.FRAMES, 2, 64) or cards.FRAMES
        side = cards.SIDE
        if "" in self.weights:
            side = self._find(Path(self.weights[""]))
        spec = cards.frame_spec(count, side)
        self.card = replace(
            cards.card_of(preset),
            templates=tuple(self.templates.values()),
            dimensions=cards.dimensions_of(self._mapping),
            inputs=dict.fromkeys(cards.QUESTIONS, spec),
        )

    def _find(self, folder: Path) -> int:
        """Complete the weights' parts; the side of a frame in pixels."""
        if not folder.is_dir():
            raise ValueError(f"--weights {folder} is not a folder with a LiFT-Critic adapter")
        read_settings(folder)
        name = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or cards.BASE
        base = find_base(str(name), folder, self.weights.get("base"))
        check_base(base)
        templates = find_part("lift", self.weights, "templates", "templates", "its questions")
        self._folder = folder
        self.weights = {**self.weights, "base": str(base), "templates": str(templates)}
        size = read_json(base / "vision_tower" / "preprocessor_config.json").get("size") or {}
        return int(size.get("height", cards.SIDE))

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no weights are named; holds the seed where answers are sampled."""
        self._named_folder()
        own = super().fingerprint()
        return hashlib.sha256(f"{own} {self.seed}".encode()).hexdigest() if self._temperature else own

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load base and adapter; float16 on a GPU unless told otherwise, as published.

        Raises:
            ValueError: where no weights are named, or they or the questions are not whole.
        """
        from transformers import AutoTokenizer

        folder, base = self._named_folder(), Path(self.weights.get("base", ""))
        self._wording = read_wording(Path(self.weights["templates"]), self.templates)
        sizes = sum(file.stat().st_size for file in base.rglob("*.safetensors"))
        require_memory(device, sizes + 3 * 2**30, f"LiFT-Critic on {base.name}", "use a larger GPU")
        self._dtype, self._device_name = torch_dtype(dtype, device, "float16"), device
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(base / "llm"), local_files_only=True, legacy=False)
        except Exception as error:  # missing files or a missing sentencepiece raise whatever they like
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the tokenizer in {base / 'llm'} cannot be loaded: {reason}") from None
        self._preprocessor = read_json(base / "vision_tower" / "preprocessor_config.json")
        self._vila = load_vila(base, folder, device, self._dtype)

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """The sampled frames, uint8 (T, S, S, 3), T at most ``num_frames``.

        Raises:
            ValueError: for a clip of one frame.
        """
        (sampled,) = frames.values()
        if sampled.total < 2:
            raise ValueError("it has a single frame; LiFT-Critic needs at least two")
        return {"frames": sampled.rgb}

    def score(self, batch: Sequence[Item]) -> Scores:
        """Scores (N, D); NaN where an answer does not begin with a grade, with the answer in the note."""
        values = np.full((len(batch), len(self.dimensions)), np.nan)
        raw = values.copy()
        notes, errors = [""] * len(batch), [None] * len(batch)  # type: list[str], list[str | None]
        for row, item in enumerate(batch):
            try:
                answers = self._ask(item)
            except ValueError as error:
                errors[row] = f"{item.clip.clip_id}: {error}"
                continue
            values[row], raw[row] = self._numbers(answers)
            notes[row] = self._note(answers)
        return Scores(values, raw=raw, notes=notes, errors=errors)

    def close(self) -> None:
        self._vila = self._tokenizer = None

    @property
    def _asked(self) -> tuple[str, ...]:
        """The questions that the dimensions asked for need."""
        return (
            cards.QUESTIONS
            if "overall" in self.dimensions
            else tuple(q for q in cards.QUESTIONS if q in self.dimensions)
        )

    def _ask(self, item: Item) -> dict[str, str]:
        """Question to answer, as text.

        Raises:
            ValueError: where the prompt cannot be asked about.
        """
        assert self._vila is not None
        assert self._wording is not None
        caption = item.clip.prompt or ""
        reason = refuse_prompt(self._tokenizer, caption)
        if reason is not None:
            raise ValueError(reason)
        frames = item.data["frames"]
        features = self._vila.see(normalise(frames, self._preprocessor, self._device_name, self._dtype))
        texts = [self._wording.conversation(question, caption, len(frames)) for question in self._asked]
        ids = [token_ids(self._tokenizer, text) for text in texts]
        longest = max(self._vila.length(one, features) for one in ids)
        if longest >= self._vila.longest:
            raise ValueError(
                f"question and frames take {longest} tokens, the model reads {self._vila.longest}; shorten the prompt"
            )
        generators = [self._generator(item, question) for question in self._asked]

        def choose(question: int, logits: Any) -> int:
            return self._choose(logits[: len(self._tokenizer)], generators[question])

        answers = self._vila.answer(features, ids, choose, self._is_finished, self._most)
        return {name: self._read(tokens) for name, tokens in zip(self._asked, answers)}  # noqa: B905 (Python 3.9)

    def _choose(self, logits: Any, generator: Any) -> int:
        if generator is None:
            return int(logits.argmax())
        import torch

        return int(torch.multinomial((logits.cpu() / self._temperature).softmax(dim=-1), 1, generator=generator))

    def _generator(self, item: Item, question: str) -> Any:
        """A generator of its own for each clip and question, so that a score does not depend on its batch."""
        if not self._temperature:
            return None
        import torch

        clip = item.clip.metadata.get("sha256", item.clip.clip_id)
        words = f"{self.seed}\0{clip}\0{item.clip.prompt}\0{question}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(seed)

    def _is_finished(self, tokens: list[int]) -> bool:
        if tokens[-1] == self._tokenizer.eos_token_id:
            return True
        return not self._has_reasons and is_decided(self._read(tokens))

    def _read(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _numbers(self, answers: Mapping[str, str]) -> tuple[list[float], list[float]]:
        """Reported and unrounded scores in the order of the dimensions."""
        grades = {name: read_grade(answer) for name, answer in answers.items()}
        known = {name: np.nan if grade is None else self._mapping.values[grade] for name, grade in grades.items()}
        reported, plain = dict(known), dict(known)
        if "overall" in self.dimensions:
            three = [known[name] for name in cards.QUESTIONS]
            plain["overall"] = mean_score(three, None)
            reported["overall"] = mean_score(three, self._digits)
        return [reported[name] for name in self.dimensions], [plain[name] for name in self.dimensions]

    def _note(self, answers: Mapping[str, str]) -> str:
        parts = []
        for name, answer in answers.items():
            grade = read_grade(answer)
            if grade is None:
                parts.append(f"{name}: unreadable answer {' '.join(answer.split())[:120]!r}")
            else:
                parts.append(f"{name}: {' '.join(answer.split()) if self._has_reasons else grade}")
        return "; ".join(parts)

    def _named_folder(self) -> Path:
        if self._folder is None:
            raise ValueError(
                "lift needs weights: add --weights DIR (a LiFT-Critic LoRA folder with templates in it) and "
                "--weights base=DIR (VILA1.5-13b)"
            )
        return self._folder
