"""What the judge is asked, in our own words. Four aspects, five questions each, every question answered 0 to 10.

The scheme (aspects, number of questions, scale) is that of RealDPO's rating by a vision-language model; its sentences
are not reused, so the scores are not its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

N_QUESTIONS = 5
LOWEST, HIGHEST = 0, 10


@dataclass(frozen=True)
class Aspect:
    """One sheet of questions.

    Attributes:
        about: what is to be judged, as half a sentence.
        questions: five, each answered from 0 (not at all) to 10 (fully).
        uses_prompt: the sheet quotes the prompt and cannot be answered without it.
    """

    about: str
    questions: tuple[str, ...]
    uses_prompt: bool = False


ASPECTS: Mapping[str, Aspect] = {
    "visual_alignment": Aspect(
        "how faithfully the clip keeps to the picture it starts from",
        (
            "Do the people, animals or things keep the looks they have in the first frame, face, hair, clothes and "
            "colours included?",
            "Does the place stay the one of the first frame, with the same layout, light and style?",
            "Are sizes and proportions believable and the same as in the first frame?",
            "Is the picture as sharp and as free of artefacts as the first frame?",
            "Does the look hold to the end, without flicker, drift or sudden change?",
        ),
    ),
    "text_alignment": Aspect(
        "how well the clip shows what the description asks for",
        (
            "Does what happens in the clip agree with what the description says happens?",
            "Is the main action of the description shown from beginning to end?",
            "Is the clip free of people, things and events the description gives no reason for?",
            "Do mood, expression and purpose fit the description?",
            "Where the description leaves something open, is it filled in sensibly?",
        ),
        uses_prompt=True,
    ),
    "motion_quality": Aspect(
        "how good the motion is",
        (
            "Does everything that moves move smoothly, without jumps or freezes?",
            "Do bodies, limbs and things move as physics allows?",
            "Is the speed natural for what is going on?",
            "Do moving parts agree with each other and with their surroundings, contact and shadows included?",
            "Does everything keep its shape while it moves?",
        ),
    ),
    "human_quality": Aspect(
        "how well people or characters are drawn (where nobody is seen, judge the main moving thing instead)",
        (
            "Are arms, hands, legs and faces well formed in every frame?",
            "Is the number of limbs and fingers right in every frame?",
            "Are expression and posture natural?",
            "Are things that are touched, held or used handled believably?",
            "Do the movements of the body flow into one another?",
        ),
    ),
}

WHOLE = "which of the two is the better clip, taking looks, motion and the description together"


def rating_text(aspect: Aspect, prompt: str | None, *, first_frame: bool) -> str:
    """The sheet of one aspect, as text that follows the picture (if ``first_frame``) and the clip."""
    lines = []
    if first_frame:
        lines.append("The picture is the first frame, the video is the clip that was generated from it.")
    else:
        lines.append("The video is a generated clip.")
    if aspect.uses_prompt:
        lines.append(f"The clip was generated from this description: {prompt}")
    lines.append(f"Judge {aspect.about}. Look at the whole clip before you answer.")
    lines += [f"Question {number}: {question}" for number, question in enumerate(aspect.questions, start=1)]
    lines.append(
        f"Give every question a number N from {LOWEST} (not at all) to {HIGHEST} (fully). Reply with these "
        f"{N_QUESTIONS} lines and nothing else:"
    )
    lines += [f"Answer {number}: N" for number in range(1, N_QUESTIONS + 1)]
    return "\n".join(lines)


def pair_text(about: str, prompt: str | None, *, first_frame: bool) -> str:
    """The question about two clips, as text that follows them."""
    lines = ["You have seen two generated clips, Video 1 and Video 2."]
    if first_frame:
        lines.append("Both were generated from the picture, which is their first frame.")
    if prompt:
        lines.append(f"Both were generated from this description: {prompt}")
    lines.append(f"Decide {about}. The order in which they are shown means nothing.")
    lines.append(
        "Reply with one line and nothing else: Verdict: 1 if Video 1 is better, Verdict: 2 if Video 2 is better, "
        "Verdict: tie if neither is."
    )
    return "\n".join(lines)
