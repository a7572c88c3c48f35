"""The judges against scripted answers: what is asked, what is shown, what becomes of each answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rewardbench_judge.chat import Footage, Question
from rewardbench_judge.pair import PairJudge
from rewardbench_judge.rating import RatingJudge
from rewardbench_judge.wording import ASPECTS

from rewardbench.errors import InputError, PluginError
from rewardbench.jobs import make_job
from rewardbench.registry import choose_reward
from rewardbench.rewards import load_reward
from rewardbench_plugin import Clip, Frames, Item

GOOD = "\n".join(f"Answer {i}: {i + 3}" for i in range(1, 6))  # 4 + 5 + 6 + 7 + 8 = 30


def frames(level: int = 100) -> Frames:
    rgb = np.full((4, 28, 56, 3), level, np.uint8)
    return Frames(rgb, np.arange(4), np.arange(4) / 2, 8.0, 16, 28, 56)


def item(judge: RatingJudge | PairJudge, clip: Clip, level: int = 100) -> Item:
    spec = judge.card.frame_specs()[0]
    return Item(clip, judge.prepare(clip, {spec: frames(level)}))


def rating(script: object, *dimensions: str, **options: str) -> tuple[RatingJudge, list[Question]]:
    judge = RatingJudge()
    judge.configure(options=options, dimensions=dimensions or None)
    asked: list[Question] = []

    def answer(question: Question) -> str:
        asked.append(question)
        return script(question) if callable(script) else str(script)

    judge.answer = answer
    return judge, asked


def test_four_sheets_of_five_answers_become_four_scores_and_their_mean() -> None:
    """Every aspect answers one more than the one before, so each score has its own place."""
    sums = iter((10, 15, 20, 45))
    judge, asked = rating(lambda _: "\n".join(f"Answer {i}: {value}" for i, value in enumerate(five(next(sums)), 1)))
    scores = judge.score([item(judge, Clip("c", "c.mp4", "a cat walks"))])
    assert scores.values[0].tolist() == [20, 30, 40, 90, 45]
    assert scores.raw is not None
    assert scores.raw[0].tolist() == [10, 15, 20, 45, 22.5]
    assert scores.errors == [None]
    assert len(asked) == 4
    for question, (name, aspect) in zip(asked, ASPECTS.items(), strict=True):
        picture, clip, text = question.parts
        assert isinstance(picture, np.ndarray)
        assert isinstance(clip, Footage)
        assert all(sentence in str(text) for sentence in aspect.questions), name
        assert ("a cat walks" in str(text)) == (name == "text_alignment") == (question.quoted != "")


def five(total: int) -> list[int]:
    """Five whole numbers in 0..10 with the given sum."""
    return [total // 5 + (i < total % 5) for i in range(5)]


def test_an_unreadable_sheet_abstains_and_is_counted_in_the_note() -> None:
    motion = ASPECTS["motion_quality"].questions[0]
    judge, _ = rating(lambda q: "**All good!** 10/10" if motion in str(q.parts[-1]) else GOOD)
    scores = judge.score([item(judge, Clip("c", "c.mp4", "p"))] * 2)
    assert scores.values.shape == (2, 5)
    for row, note in zip(scores.values, scores.notes, strict=True):
        assert [math.isnan(value) for value in row] == [False, False, True, False, True]
        assert row[0] == 60
        assert "motion_quality: unreadable answer (answer 1, 2, 3, 4, 5 missing): '**All good!** 10/10'" in note
    assert scores.errors == [None, None], "the judge spoke; it is not the clip's fault"


def test_bold_answers_count_and_numbers_off_the_scale_do_not() -> None:
    judge, _ = rating(GOOD.replace("Answer", "**Answer").replace(": ", ":** "), "motion_quality")
    assert judge.score([item(judge, Clip("c", "c.mp4"))]).values.tolist() == [[60]]
    judge, _ = rating(GOOD.replace("8", "80"), "motion_quality")
    assert np.isnan(judge.score([item(judge, Clip("c", "c.mp4"))]).values).all()


def test_only_what_is_asked_for_is_asked() -> None:
    judge, asked = rating(GOOD, "human_quality")
    assert judge.score([item(judge, Clip("c", "c.mp4"))]).values.tolist() == [[60]]
    assert len(asked) == 1
    judge, asked = rating(GOOD, "overall")
    assert judge.score([item(judge, Clip("c", "c.mp4", "p"))]).values.tolist() == [[60]]
    assert len(asked) == 4


def test_text_alignment_without_a_prompt_abstains_unasked() -> None:
    judge, asked = rating(GOOD)
    for prompt in (None, "", "  "):
        scores = judge.score([item(judge, Clip("c", "c.mp4", prompt))])
        assert [math.isnan(v) for v in scores.values[0]] == [False, True, False, False, True]
        assert "text_alignment: abstains, the clip has no prompt" in scores.notes[0]
    assert len(asked) == 9


def test_the_first_frame_is_the_image_or_the_clips_own(tmp_path: Path) -> None:
    path = tmp_path / "first.png"
    Image.new("RGB", (112, 56), (200, 0, 0)).save(path)
    judge, asked = rating(GOOD, "motion_quality")
    scores = judge.score([item(judge, Clip("a", "a.mp4", image=str(path))), item(judge, Clip("b", "b.mp4"), 7)])
    assert asked[0].parts[0].shape == (56, 112, 3)  # type: ignore[union-attr]
    assert asked[0].parts[0][0, 0].tolist() == [200, 0, 0]  # type: ignore[index,union-attr]
    assert np.array_equal(asked[1].parts[0], np.full((28, 56, 3), 7))  # type: ignore[arg-type]
    assert ["own" in note for note in scores.notes] == [False, True]
    judge, asked = rating(GOOD, "motion_quality", first_frame="clip")
    judge.score([item(judge, Clip("a", "a.mp4", image=str(path)))])
    assert asked[0].parts[0].shape == (28, 56, 3)  # type: ignore[union-attr]
    assert not judge.card.uses_image
    judge, asked = rating(GOOD, "motion_quality", first_frame="none")
    judge.score([item(judge, Clip("a", "a.mp4"))])
    assert isinstance(asked[0].parts[0], Footage)
    assert "picture is the first frame" not in str(asked[0].parts[-1])


def test_a_missing_or_broken_image_is_one_sentence(tmp_path: Path) -> None:
    judge, _ = rating(GOOD, first_frame="image")
    assert judge.card.needs_image
    with pytest.raises(ValueError, match="c has no first-frame image, which --option first_frame=image needs"):
        item(judge, Clip("c", "c.mp4"))
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="first-frame image .*x.png cannot be read"):
        item(judge, Clip("c", "c.mp4", image=str(tmp_path / "x.png")))


def test_a_question_that_cannot_be_asked_costs_its_clip() -> None:
    def refuse(question: Question) -> str:
        if "<|im_end|>" in question.quoted:
            raise ValueError("the prompt holds the model's control token '<|im_end|>'; remove it")
        return GOOD

    judge, _ = rating(refuse)
    scores = judge.score([item(judge, Clip("a", "a.mp4", "p<|im_end|>")), item(judge, Clip("b", "b.mp4", "p"))])
    assert scores.errors[0] is not None
    assert "control token" in scores.errors[0]
    assert scores.errors[1] is None
    assert scores.values[1].tolist() == [60] * 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fps": "0"}, "--option fps=0 "),
        ({"max_frames": "none"}, "--option max_frames=none "),
        ({"max_pixels": "5"}, "--option max_pixels=5 "),
        ({"first_frame": "second"}, "--option first_frame=second is not one of auto, image, clip, none"),
        ({"frames": "8"}, "has no option 'frames'"),
    ],
)
def test_options_are_checked(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_reward("judge", options=options)


def test_without_a_model_only_the_card_can_be_shown() -> None:
    for name in ("judge", "judge:pair"):
        _, model = choose_reward(name)
        assert model.card.name == "judge"
        with pytest.raises(InputError, match="judge needs a model: add --weights DIR"):
            make_job(name, {}, {}, None, None, 0)


def pair(script: object, **options: str) -> tuple[PairJudge, list[Question]]:
    judge = PairJudge()
    judge.configure(options=options)
    asked: list[Question] = []

    def answer(question: Question) -> str:
        asked.append(question)
        return script(question) if callable(script) else str(script)

    judge.answer = answer
    return judge, asked


def brighter(question: Question) -> str:
    first, second = (part.rgb.mean() for part in question.parts if isinstance(part, Footage))
    return "Verdict: tie" if first == second else f"Verdict: {1 if first > second else 2}"


def test_verdicts_are_about_the_order_shown() -> None:
    judge, asked = pair(brighter)
    dark, light = item(judge, Clip("d", "d.mp4", "p"), 10), item(judge, Clip("l", "l.mp4", "p"), 90)
    judged = judge.compare([(dark, light), (light, dark), (dark, dark)])
    assert judged.p.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert judged.text == ["Verdict: 2", "Verdict: 1", "Verdict: tie"]
    assert [type(part).__name__ for part in asked[0].parts] == ["str", "Footage", "str", "Footage", "str"]
    assert asked[0].quoted == "p"


def test_an_unreadable_verdict_abstains_and_keeps_the_text() -> None:
    judge, _ = pair("Both are nice.")
    clip = item(judge, Clip("d", "d.mp4"))
    judged = judge.compare([(clip, clip)])
    assert np.isnan(judged.p).all()
    assert judged.text == ["unreadable (no verdict line): Both are nice."]
    assert judged.errors == [None]


def test_a_shared_first_frame_is_shown_once_and_different_ones_are_refused(tmp_path: Path) -> None:
    for name, level in (("a", 10), ("b", 200)):
        Image.new("RGB", (56, 28), (level,) * 3).save(tmp_path / f"{name}.png")
    judge, asked = pair("Verdict: 1")
    a, same, other = (
        item(judge, Clip(n, f"{n}.mp4", "p", str(tmp_path / f"{image}.png")))
        for n, image in (("a", "a"), ("s", "a"), ("o", "b"))
    )
    judged = judge.compare([(a, same), (a, other)])
    assert judged.errors[0] is None
    assert isinstance(asked[0].parts[0], np.ndarray)
    assert judged.errors[1] is not None
    assert "a and o have different first-frame images" in judged.errors[1]
    assert np.isnan(judged.p[1]).all()
    with pytest.raises(InputError, match="a pair has no one first frame"):
        choose_reward("judge:pair", options={"first_frame": "clip"})


def test_one_aspect_of_a_pair_can_be_asked_for() -> None:
    judge, asked = pair("Verdict: tie", about="motion_quality")
    clip = item(judge, Clip("d", "d.mp4"))
    judge.compare([(clip, clip)])
    assert ASPECTS["motion_quality"].about in str(asked[0].parts[-1])
    assert not judge.card.needs_prompt
    assert pair("x", about="text_alignment")[0].card.needs_prompt
    with pytest.raises(PluginError, match="compares two clips"):
        load_reward("judge:pair")
