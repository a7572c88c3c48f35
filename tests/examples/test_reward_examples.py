"""The examples for other trainers, called as those trainers call them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

MOODY = '''
import numpy as np
from rewardbench_plugin import Dimension, FrameSpec, RewardCard, RewardManifest, RewardModel, Sampling, Scores, hookimpl

SPEC = FrameSpec(sampling=Sampling("count", 4))


class Moody(RewardModel):
    """Mean brightness; abstains on black clips. Words of the prompt are the second dimension."""

    card = RewardCard(name="moody", version="1.0", dimensions=(Dimension("bright"), Dimension("words")),
                      inputs={"bright": SPEC})

    def prepare(self, clip, frames):
        return {"mean": np.array([frames[SPEC].rgb.mean() / 255])}

    def score(self, batch):
        bright = [float(item.data["mean"][0]) or float("nan") for item in batch]
        return Scores(np.array([[b, len(item.clip.prompt.split())] for b, item in zip(bright, batch)]))


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="moody", version="1.0", target=f"{__name__}:Moody")]
'''


@pytest.fixture
def moody(install_plugin: Any) -> None:
    install_plugin("moody", MOODY)


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def clips(*levels: float) -> Any:
    """Float (N, T, 3, H, W) in [0, 1], as a diffusion pipeline gives them."""
    torch = pytest.importorskip("torch")
    return torch.tensor(levels)[:, None, None, None, None].expand(-1, 5, 3, 8, 8)


def multi_score(device: Any, weights: dict[str, float], factories: dict[str, Any]) -> Any:
    """What flow_grpo's function of this name does with its factories and their scores."""
    functions = {
        name: factories[name](device) if "device" in factories[name].__code__.co_varnames else factories[name]()
        for name in weights
    }

    def score(images: Any, prompts: Any, metadata: Any, only_strict: bool = True) -> Any:
        totals: list[Any] = [0.0] * len(prompts)
        for name, weight in weights.items():
            scores, _ = functions[name](images, prompts, metadata)
            totals = [total + weight * one for total, one in zip(totals, scores, strict=True)]
        return {"avg": totals}, {}

    return score


def test_flow_grpo_adds_our_scores_up(moody: None) -> None:
    factory = example("flow_grpo_reward")["reward_score"]
    factories = {"light": factory("moody", "bright"), "talk": factory("moody", "words", batch_size=1)}
    score = multi_score("cpu", {"light": 2.0, "talk": 0.5}, factories)
    scores, extra = score(clips(0.2, 0.6), ["a cat", "a dog runs"], [{}, {}], only_strict=True)
    assert scores["avg"] == pytest.approx([2 * 0.2 + 0.5 * 2, 2 * 0.6 + 0.5 * 3])
    assert extra == {}


def test_a_clip_without_a_score_gets_its_prompts_mean(moody: None) -> None:
    factory = example("flow_grpo_reward")["reward_score"]
    score = factory("moody", "bright")("cpu")
    values, _ = score(clips(0.2, 0.0, 0.6, 0.8), ["a", "a", "a", "b"], None)
    assert values == pytest.approx([0.2, 0.4, 0.6, 0.8])
    with pytest.raises(ValueError, match="abstained on every clip of the prompt 'b'"):
        score(clips(0.2, 0.0), ["a", "b"], None)


def test_as_reward_fn_can_stand_for_multi_score(moody: None) -> None:
    import rewardbench

    scores, extra = rewardbench.as_reward_fn("moody", device="cpu")(
        clips(0.2, 0.6), ["a cat", "a dog runs"], [{}, {}], only_strict=False
    )
    assert scores["avg"] == pytest.approx([(0.2 + 2) / 2, (0.6 + 3) / 2])
    assert extra == {}


def generate(texts: list[str]) -> np.ndarray:
    """The more a prompt says, the brighter the clip."""
    levels = np.array([min(len(text.split()) * 50, 250) for text in texts], dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None, None], (len(texts), 5, 8, 8, 3))


@pytest.mark.parametrize("conversational", [False, True])
def test_grpo_trainer_gets_a_list_of_floats(moody: None, conversational: bool) -> None:
    """Called with all that TRL's trainer passes; the clip is scored against the wish, not the policy's prompt."""
    prompts, completions = ["Improve: a cat", "Improve: a dog"], ["", "a dog runs"]
    given = prompts, completions
    if conversational:
        given = (
            [[{"role": "system", "content": "You help."}, {"role": "user", "content": text}] for text in prompts],
            [[{"role": "assistant", "content": text}] for text in completions],
        )
    calls = {
        "completion_ids": [[1], [2, 3]],
        "wish": ["a cat", "one dog at home"],
        "trainer_state": object(),
        "log_extra": print,
        "log_metric": print,
    }
    make = example("trl_reward")["video_reward"]
    light = make(generate, "moody", "bright", device="cpu")
    assert light(prompts=given[0], completions=given[1], **calls) == [None, pytest.approx(150 / 255)]
    words = make(generate, "moody", "words", device="cpu")
    assert words(prompts=given[0], completions=given[1], **calls) == [2.0, 4.0]
    del calls["wish"]
    assert words(prompts=given[0], completions=given[1], **calls) == [3.0, 3.0]
    assert light.__name__ == "moody_bright"
