"""AnimeReward's consistency dimensions: a BLIP encoder, two projections and one linear head (its paper's Eq. 8 and 9).

Training starts from a checkpoint in the published layout (``--base FILE``) and writes one, which the plugin
``animereward`` scores with. Its score is the sigmoid of the head, so ratings lie in [0, 1]; preferences are learned on
the head's output before the sigmoid, which orders clips alike.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rewardbench_animereward import regressors
from rewardbench_animereward.frames import standardised
from torch import Tensor, nn

from rewardbench.aliases import canonical
from rewardbench.errors import InputError
from rewardbench.reward_training.examples import TrainingData
from rewardbench.reward_training.frames import FrameCache
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench.reward_training.trainee import Normalisation, Trainee
from rewardbench_plugin.clip import Clip
from rewardbench_plugin.reward import Prepared

DIMENSIONS = ("text_video", "image_video")
_HEADS = ("img_proj.", "img_key_proj.", "head_diff.")


class ConsistencyNetwork(nn.Module):
    """Head outputs (N, 1) of prepared clips; their sigmoid for the objective ``regression``."""

    def __init__(self, blip: Any, *, probability: bool) -> None:
        super().__init__()
        self.blip = blip
        self.probability = probability

    def forward(self, clips: Sequence[Prepared]) -> Tensor:
        video = torch.stack([self._class_tokens(clip["frames"]).mean(dim=0) for clip in clips])
        other = torch.cat([self._other(clip) for clip in clips])
        both = torch.cat([self.blip.img_proj(video), self.blip.img_key_proj(other)], dim=-1)
        logits: Tensor = self.blip.head_diff(both).float()
        return logits.sigmoid() if self.probability else logits

    def _class_tokens(self, rgb: np.ndarray) -> Tensor:
        pixels = standardised(rgb, str(self.blip.head_diff.weight.device))
        tokens: Tensor = self.blip.visual_encoder.forward_features(pixels)[:, 0]
        return tokens

    def _other(self, clip: Prepared) -> Tensor:
        if "image" in clip:
            return self._class_tokens(clip["image"])
        device = self.blip.head_diff.weight.device
        ids, mask = (torch.from_numpy(clip[f"text_video/{k}"]).to(device) for k in ("input_ids", "attention_mask"))
        states: Tensor = self.blip.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return states[:, 0]


@dataclass(frozen=True)
class _Inputs:
    """Prepares clips as the plugin's scorer does."""

    scorer: Any
    frames: FrameCache
    needs: str
    """What a clip must have, in words."""

    def prepare(self, clip: Clip) -> Prepared:
        prepared: Prepared = self.scorer.prepare(clip, self.frames.read(clip.video))
        if not {"image", "text_video/input_ids"} & set(prepared):
            raise InputError(f"{clip.clip_id} has no {self.needs}, which this dimension is about")
        return prepared


def consistency_trainee(settings: TrainingSettings, data: TrainingData) -> Trainee:
    """A regressor for the data's one dimension, started from the checkpoint ``settings.base``.

    Raises:
        InputError: another dimension, ratings outside [0, 1], a choice that does not apply, or no such checkpoint.
    """
    named = data.dimensions
    if len(named) != 1 or canonical(named[0], DIMENSIONS) not in DIMENSIONS:
        raise InputError(
            f"--base {settings.base} is a file, and so one of AnimeReward's consistency models, each for text_video or "
            f"image_video alone; it cannot be trained for {', '.join(named)}, so name one with --dimension"
        )
    if settings.language == "lora":
        raise InputError(f"--language lora is for a Qwen2-VL; with --base {settings.base} use full or frozen")
    rated = [value for one in data.ratings for value in one.ratings.values()]
    if rated and not (min(rated) >= 0 and max(rated) <= 1):
        raise InputError(
            f"{data.source} has ratings from {min(rated):g} to {max(rated):g}; AnimeReward's consistency models give "
            "0 to 1, so bring them to that range first"
        )
    about_text = canonical(named[0], DIMENSIONS) == "text_video"
    scorer = _scorer(settings, about_text)
    try:
        scorer.load("cpu", "float32")
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    blip = scorer._model.train()
    blip.visual_encoder.requires_grad_(settings.vision == "full")
    if about_text:
        blip.text_encoder.requires_grad_(settings.language == "full")
    network = ConsistencyNetwork(blip, probability=settings.objective == "regression")

    def write(folder: Path, step: int, normalisation: Normalisation) -> Path:
        return _write(folder, blip, settings.base, step)

    needs = "prompt" if about_text else "first-frame image"
    inputs = _Inputs(scorer, FrameCache(scorer.frames), needs)
    return Trainee(network, inputs.prepare, tuple(named), lambda: _groups(network, settings), write)


def _scorer(settings: TrainingSettings, about_text: bool) -> Any:
    if not about_text:
        return regressors.ImageVideoScorer(settings.base)
    if settings.bert is None:
        raise InputError("the dimension text_video needs BERT's vocabulary: add --bert FOLDER (bert-base-uncased)")
    return regressors.TextVideoScorer(settings.base, settings.bert)


def _groups(network: ConsistencyNetwork, settings: TrainingSettings) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.blip.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = settings.head_learning_rate if name.startswith(_HEADS) else None
        rate = settings.vision_learning_rate if name.startswith("visual_encoder.") else rate
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((settings.learning_rate if rate is None else rate, decay), []).append(parameter)
    return [{"lr": rate, "weight_decay": decay, "params": members} for (rate, decay), members in groups.items()]


def _write(folder: Path, blip: Any, base: Path, step: int) -> Path:
    """``checkpoint_<step>.pth`` under the published names."""
    folder.mkdir(parents=True, exist_ok=True)
    _copy_arch(base, folder)
    target = folder / f"checkpoint_{step:05d}.pth"
    partial = folder / f".{target.name}.partial"
    state = {name: value.detach().cpu().contiguous() for name, value in blip.state_dict().items()}
    torch.save({"model": state, "epoch": step}, partial)
    os.replace(partial, target)
    return target


def _copy_arch(base: Path, folder: Path) -> None:
    """The sizes that shapes do not tell, where the base has such a file, and the BERT configuration it names."""
    for place in (base.parent, base.parent.parent):
        if (place / "arch.json").is_file():
            shutil.copyfile(place / "arch.json", folder / "arch.json")
            named = json.loads((place / "arch.json").read_text(encoding="utf-8")).get("bert_config")
            inside = isinstance(named, str) and (folder / named).resolve().is_relative_to(folder.resolve())
            if inside and (place / named).is_file():
                (folder / named).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(place / named, folder / named)
            return
