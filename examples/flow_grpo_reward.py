"""A video reward model as a reward of flow_grpo (github.com/yifan123/flow_grpo).

flow_grpo builds its rewards by name: ``multi_score(device, config.reward_fn)`` calls one factory per name with the
device, and adds the weighted scores up. Put this file beside ``flow_grpo/rewards.py``, add

    from flow_grpo_reward import reward_score
    score_functions["animereward"] = reward_score("animereward:mini")
    score_functions["videoreward"] = reward_score("videoreward", weights="models/videoreward", batch_size=4)

to ``multi_score``, and name them in the configuration, e.g. ``config.reward_fn = {"animereward": 1.0}``.

Frames come as the pipeline makes them, float (N, T, 3, H, W) in [0, 1]: they are scored in batches on the device,
without a video file in between. Where one reward model is all that is wanted, ``rewardbench.as_reward_fn(NAME)`` can
stand for ``multi_score`` itself: it takes the same arguments and gives each dimension and ``avg``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import rewardbench

RewardFn = Callable[[Any, Sequence[str], Any], tuple[np.ndarray, dict[str, Any]]]


def reward_score(name: str, dimension: str = "avg", **choices: Any) -> Callable[[Any], RewardFn]:
    """A factory for flow_grpo's ``score_functions``.

    Args:
        name: ``NAME`` or ``NAME:PRESET`` of a reward plugin.
        dimension: the score to train on; ``avg`` is the model's ``overall``, or the mean of its dimensions.
        choices: further arguments of ``rewardbench.as_reward_fn`` (``weights``, ``dtype``, ``batch_size``, ``fps``, …).
    """

    def factory(device: Any) -> RewardFn:  # flow_grpo passes the device to factories with an argument of that name
        reward = rewardbench.as_reward_fn(name, device=str(device), **choices)

        def score(
            frames: Any, prompts: Sequence[str], metadata: Sequence[Mapping[str, Any]] | None = None
        ) -> tuple[np.ndarray, dict[str, Any]]:
            scores, _ = reward(frames, prompts, metadata)
            return without_gaps(scores[dimension], prompts), {}

        return score

    return factory


def without_gaps(scores: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """Scores (N,) in which a clip the model abstained on (NaN) has the mean of its prompt's other clips.

    Advantages are taken within a prompt's clips, so such a clip then pulls the policy nowhere. A single NaN left as it
    is would turn the gradient of the whole batch into NaN.

    Raises:
        ValueError: the model abstained on every clip of a prompt.
    """
    filled = np.asarray(scores, dtype=np.float64).copy()
    for prompt in dict.fromkeys(prompts):
        own = np.array([one == prompt for one in prompts])
        if np.isnan(filled[own]).all():
            raise ValueError(f"the reward model abstained on every clip of the prompt {prompt!r}")
        filled[own & np.isnan(filled)] = np.nanmean(filled[own])
    return filled
