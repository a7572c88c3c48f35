"""VideoReward as a reward plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rewardbench_plugin import Clip, Frames, FrameSpec, Item, RewardCard, RewardModel, Scores
from rewardbench_plugin.assets import find_base, find_part
from rewardbench_plugin.reward import Prepared
from rewardbench_videoreward.architecture import pixel_statistics, processor_pixels, read_config
from rewardbench_videoreward.card import CARD, scored, tie_rule
from rewardbench_videoreward.folder import CONFIG, Checkpoint, find_checkpoint
from rewardbench_videoreward.folder import read_config as read_model_config
from rewardbench_videoreward.prompts import PromptTemplate, read_own_template, read_prompt_template
from rewardbench_videoreward.settings import GENAI, OPTION_NAMES, Settings, frame_spec, read_settings
from rewardbench_videoreward.tokens import Tokens, read_tokens

MOST_TOKENS = 16384
"""Tokens (with padding) of one forward pass: what keeps a large GPU busy takes about 1 GiB of activations."""
ROOM = 2 * 2**30
"""Bytes for activations beside the weights at :data:`MOST_TOKENS` in half precision (twice that in float32)."""
MOST_ASPECT = 200


class VideoReward(RewardModel):
    """VideoReward (Liu et al. 2025, arXiv:2501.13918) in the layout KwaiVGI/VideoAlign publishes.

    Options: ``fps`` or ``num_frames``, ``max_pixels``, ``min_pixels``, ``sample_type`` (``uniform``, ``multi_pts``),
    all by default as the checkpoint's ``model_config.json`` says; ``norm`` (default true); ``checkpoint_step``.
    Weights: the published folder; parts ``base`` (the Qwen2-VL folder) and ``templates`` where they lie elsewhere.
    """

    option_names: ClassVar[tuple[str, ...]] = OPTION_NAMES
    card: RewardCard = CARD
    _checkpoint: Checkpoint | None = None
    _settings: Settings | None = None
    _base: Path | None = None
    _templates: Path | None = None

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
        self._checkpoint = self._settings = None
        self.__dict__.pop("_tokens", None)
        if "" in self.weights:
            self._find(Path(self.weights[""]))
        self.card = self._own_card()
        self.dimensions = tuple(dimensions) if dimensions else self.card.dimension_names

    def _find(self, root: Path) -> None:
        """Find every part that will be read; the parts found stand in ``self.weights``."""
        config = read_model_config(root)
        settings = read_settings(config, self.options, self.preset, root / CONFIG)
        step = self.options.get("checkpoint_step")
        if step is not None and not (step.isascii() and step.isdecimal()):
            raise ValueError(f"--option checkpoint_step={step} is not a whole number")
        self._checkpoint = find_checkpoint(root, None if step is None else int(step))
        self._settings = settings
        self._base = self._find_base(root, settings)
        found = {"": str(root)}
        if self._base is not None:
            found["base"] = str(self._base)
        self._templates = None
        if settings.template != "none":
            self._templates = find_part("videoreward", self.weights, "templates", "templates", "its prompt templates")
            found["templates"] = str(self._templates)
        self.weights = found
        self._read_template(settings)

    def _find_base(self, root: Path, settings: Settings) -> Path | None:
        """The base model's folder. A full checkpoint with its tokenizer can do without: its base is then the published
        one, or what ``arch.json`` says."""
        assert self._checkpoint is not None
        named = self.weights.get("base")
        try:
            return find_base(settings.base, root, named)
        except ValueError:
            if named is not None or not self._checkpoint.full or self._checkpoint.tokenizer is None:
                raise
            return None

    def _own_card(self) -> RewardCard:
        """The card with the frames, dimensions and tie rule of this checkpoint and these options."""
        settings, genai = self._settings, self.preset == GENAI
        if settings is None:
            rated = tuple(d for d in CARD.dimension_names if d != "overall")
            published = {"max_frame_pixels": 448 * 448, "fps": 2.0}
            spec, rule = frame_spec(published, self.options, self.preset, CONFIG), CARD.native_tie_rule
        else:
            rated, spec = settings.dimensions, settings.spec
            norm = settings.norm or {}
            rule = tie_rule(settings.loss, {d: norm[d][1] if d in norm else 1.0 for d in rated})
        if genai and "TA" not in rated:
            raise ValueError(f"preset {GENAI} reads TA, which this checkpoint does not rate")
        names = ("TA",) if genai else rated
        if rule is not None:
            rule = replace(rule, thresholds={d: rule.thresholds[d] for d in names})
        everything = scored(names)
        asked = set(self.dimensions) if self.dimensions != CARD.dimension_names else {d.name for d in everything}
        return replace(
            CARD,
            dimensions=everything[:-1] if genai else everything,
            inputs=dict.fromkeys(names, spec),
            default_score="TA" if genai else "overall",
            needs_prompt=not self._blind(asked),
            native_tie_rule=rule,
        )

    def _blind(self, asked: set[str]) -> bool:
        """Whether what is asked for cannot depend on the prompt: it is read before the prompt appears."""
        settings = self._settings
        if settings is None or settings.pooling != "special" or settings.template != "detailed_special":
            return False
        return asked <= {"VQ", "MQ"}

    def _read_template(self, settings: Settings) -> PromptTemplate:
        if settings.template_sha256 is not None and self._templates is not None:
            return read_own_template(settings.template, settings.template_sha256, self._templates)
        return read_prompt_template(settings.template, settings.eval_dim, self._templates)

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no weights are named: such a model has no identity."""
        self._parts()
        return super().fingerprint()

    def _parts(self) -> tuple[Checkpoint, Settings]:
        if self._checkpoint is None or self._settings is None:
            raise ValueError(
                "videoreward needs weights: add --weights DIR with model_config.json and checkpoint-*; "
                "`rewardbench plugins fetch videoreward` brings them"
            )
        return self._checkpoint, self._settings

    @cached_property
    def _tokens(self) -> tuple[Tokens, PromptTemplate, int]:
        """Tokenizer, template, and the longest sequence."""
        checkpoint, settings = self._parts()
        tokens = read_tokens(checkpoint, self._base, settings.dimensions, settings.special_tokens)
        longest = int(read_config(self._base, checkpoint).get("max_position_embeddings", 32768))
        return tokens, self._read_template(settings), longest

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """``frames`` uint8 (T, h, w, 3) and ``input_ids`` int32 (L,).

        Raises:
            ValueError: the clip is too short or too narrow, its prompt is missing, too long, or has special tokens.
        """
        _, settings = self._parts()
        read = frames[settings.spec]
        rgb = read.rgb
        self._check_frames(read)
        tokens, template, longest = self._tokens
        prompt = clip.prompt or ""
        if not prompt.strip() and self.card.needs_prompt:
            raise ValueError("the clip has no prompt; only VQ and MQ can be scored without one (--dimension VQ)")
        hidden = next((special for special in tokens.specials if special in prompt), None)
        if hidden is not None:
            raise ValueError(f"the prompt contains the special token {hidden}, which would steer the model; remove it")
        merged = len(rgb) // 2 * (rgb.shape[1] // 28) * (rgb.shape[2] // 28)
        ids = tokens.encode(template.fill(prompt), merged)
        if len(ids) > longest:
            raise ValueError(
                f"prompt and clip make {len(ids)} tokens ({merged} of them the clip), the model takes {longest}: "
                "shorten the prompt or lower max_pixels or fps"
            )
        return {"frames": rgb, "input_ids": ids}

    def _check_frames(self, read: Frames) -> None:
        n, height, width = read.rgb.shape[:3]
        if n < 2:
            raise ValueError(f"the clip has {read.total} frames; VideoReward needs at least 2")
        if n % 2:
            raise ValueError(
                f"the clip has {read.total} frames, an odd number below num_frames; the model reads frames in pairs: "
                "lower num_frames or sample by fps"
            )
        if max(read.height, read.width) > MOST_ASPECT * min(read.height, read.width):
            raise ValueError(f"the clip is {read.width}x{read.height}; sides beyond 1:{MOST_ASPECT} cannot be scored")
        least, most = processor_pixels(self._base)
        if not least <= height * width <= most:
            raise ValueError(
                f"frames of {width}x{height} pixels lie outside what the base model's processor takes ({least} to "
                f"{most} pixels): change max_pixels or min_pixels"
            )

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load the checkpoint, LoRA folded in. ``dtype`` None is bfloat16 on a GPU and float32 on the CPU.

        Raises:
            ValueError: no weights are named, a file is missing or damaged or another model's, or memory is short.
        """
        from rewardbench_plugin.devices import require_memory, torch_dtype
        from rewardbench_videoreward.checkpoint import read_weights
        from rewardbench_videoreward.network import build_network

        checkpoint, settings = self._parts()
        _check_transformers()
        precision = torch_dtype(dtype, device)
        tokens = self._tokens[0]
        found = read_weights(checkpoint, self._base, settings.lora, settings.special_tokens)
        rows = found.shapes().get("model.embed_tokens.weight", (0,))[0]
        if rows and tokens.largest_id >= rows:
            raise ValueError(
                f"{found.source} embeds {rows} tokens, its tokenizer has ids up to {tokens.largest_id}: they do not "
                "belong together"
            )
        config = read_config(self._base, checkpoint)
        if config.get("video_token_id", tokens.video_pad) != tokens.video_pad:
            raise ValueError(
                f"the tokenizer gives <|video_pad|> the id {tokens.video_pad}, the base model's config.json "
                f"{config['video_token_id']}: they do not belong together"
            )
        count = sum(int(np.prod(shape)) for shape in found.shapes().values())
        require_memory(
            device,
            count * precision.itemsize + ROOM * precision.itemsize // 2,
            f"VideoReward ({count / 1e9:.2f} billion parameters in {str(precision).removeprefix('torch.')})",
            _advice(precision.itemsize),
        )
        mean, std = pixel_statistics(self._base)
        self._network = build_network(
            found,
            config,
            device,
            precision,
            output_dim=settings.output_dim,
            video_pad=tokens.video_pad,
            mean=mean,
            std=std,
            rewards=tokens.rewards,
            pooling=settings.pooling,
            rated=len(settings.dimensions),
        )

    def score(self, batch: Sequence[Item]) -> Scores:
        """Scores (N, D), unbounded, higher is better; ``raw`` is before normalisation."""
        _, settings = self._parts()
        raw = np.empty((len(batch), len(settings.dimensions)))
        lengths = [len(item.data["input_ids"]) for item in batch]
        for group in token_groups(lengths, MOST_TOKENS):
            frames = [batch[i].data["frames"] for i in group]
            raw[group] = self._network.rewards_of(frames, [batch[i].data["input_ids"] for i in group])
        values = raw
        if settings.norm is not None:
            mean, std = np.array([settings.norm[d] for d in settings.dimensions]).T
            values = (raw - mean) / std
        notes = [_length_note(length, settings.trained_length) for length in lengths]
        return Scores(self._columns(values, settings), self._columns(raw, settings), notes)

    def _columns(self, rated: np.ndarray, settings: Settings) -> np.ndarray:
        columns = dict(zip(settings.dimensions, rated.T, strict=True))
        columns["overall"] = rated.sum(axis=1)
        return np.stack([columns[d] for d in self.dimensions], axis=1)

    def close(self) -> None:
        self.__dict__.pop("_network", None)

    _network: Any


def token_groups(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Positions of sequences that go through the model together: of like length, at most ``most`` tokens with padding.

    A sequence that is longer alone still makes a group.
    """
    group: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[position] * (len(group) + 1) > most:
            yield group
            group = []
        group.append(position)
    if group:
        yield group


def _length_note(tokens: int, trained: int) -> str:
    return "" if tokens <= trained else f"{tokens} tokens; the model was trained on at most {trained}"


def _advice(bytes_each: int) -> str:
    half = "use --dtype bfloat16, which halves it, or " if bytes_each > 2 else ""
    return f"{half}free the GPU, use a larger one, or --device cpu (no preset fits in less: it is the weights)"


def _check_transformers() -> None:
    import transformers

    if int(transformers.__version__.split(".")[0]) < 5:
        raise ValueError(f"videoreward needs transformers 5 or later; {transformers.__version__} is installed")
