"""What stands in the key of a `mini` score: the caption, the first frame, and nothing that cannot change it."""

from __future__ import annotations

from rewardbench.registry import choose_reward
from rewardbench.scoring.plan import Job
from rewardbench_plugin import Clip


def key(clip: Clip, image: str, dimensions: list[str] | None = None) -> str:
    choice, model = choose_reward("animereward", dimensions=dimensions)
    job = Job(choice, model, None)
    assert job.uses_image
    return job.score_key("smoothness", "content", clip, image)


def test_another_first_frame_or_caption_is_another_score() -> None:
    plain = Clip("a", "a.mp4", "a girl")
    assert key(plain, "one") != key(plain, "two")
    assert key(plain, "one") != key(Clip("a", "a.mp4", "a boy"), "one")


def test_asking_for_fewer_dimensions_keeps_the_key() -> None:
    clip = Clip("a", "a.mp4", "a girl")
    assert key(clip, "one") == key(clip, "one", ["smoothness", "appeal"])
