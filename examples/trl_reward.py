"""A video reward model as a reward of TRL's GRPOTrainer: a language model learns to write prompts for a generator.

The policy rewrites a user's wish into a prompt, a generator makes a clip of it, and the clip is scored against the
wish. The trainer calls reward functions with keyword arguments (``prompts``, ``completions``, every column of the data
set, and some of its own) and takes a list of floats, None where a completion has no reward:

    from trl import GRPOConfig, GRPOTrainer
    from trl_reward import video_reward

    def generate(texts):  # your generator: N texts -> N clips, in any form rewardbench.as_reward_fn takes
        return pipeline(texts, output_type="pt").frames

    trainer = GRPOTrainer(
        model="Qwen/Qwen3-0.6B",
        reward_funcs=video_reward(generate, "videoreward", dimension="TA", weights="models/videoreward"),
        args=GRPOConfig(output_dir="out", num_generations=4),
        train_dataset=dataset,  # columns: prompt (what the policy reads), wish (what the clip is scored against)
    )
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import rewardbench

Text = str | list[dict[str, str]]
"""What TRL hands over: a string, or messages of a conversation."""


def video_reward(
    generate: Callable[[list[str]], Any], name: str, dimension: str = "avg", wish: str = "wish", **choices: Any
) -> Callable[..., list[float | None]]:
    """A reward function for ``GRPOTrainer(reward_funcs=…)``.

    Args:
        generate: N texts to N clips (arrays, tensors or paths).
        name: ``NAME`` or ``NAME:PRESET`` of a reward plugin.
        dimension: the score to train on; ``avg`` is the model's ``overall``, or the mean of its dimensions.
        wish: the data set's column with the text to score against; without one, the policy's own prompt is.
        choices: further arguments of ``rewardbench.as_reward_fn`` (``weights``, ``device``, ``batch_size``, …).
    """
    reward = rewardbench.as_reward_fn(name, **choices)

    def score(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
        wishes = columns.get(wish) or [last_text(prompt) for prompt in prompts]
        clips = generate([last_text(completion) for completion in completions])
        scores, _ = reward(clips, wishes)
        return [None if math.isnan(value) else float(value) for value in scores[dimension]]

    score.__name__ = f"{name}_{dimension}".replace(":", "_")  # the trainer logs rewards under this name
    return score


def last_text(text: Text) -> str:
    """A string as it is; of a conversation, what was said last."""
    return text if isinstance(text, str) else text[-1]["content"]
