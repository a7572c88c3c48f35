"""Checks on clips that are awkward: one frame, odd sizes, a minute, damaged, with strange names."""

from __future__ import annotations

import numpy as np

from rewardbench.conformance.checks import CheckList, Fault
from rewardbench.conformance.scores import VALUES, outcome
from rewardbench.conformance.session import Refused
from rewardbench.conformance.subject import RewardSubject, ask_or_fault, title

CHECKS = CheckList()
SAY_SO = "abstain (NaN and a note), or name it in errors"


@CHECKS.add(
    "one-frame",
    "A clip of one frame is scored, abstained from or refused with a sentence.",
    needs=["answers", *VALUES],
)
def _one_frame(subject: RewardSubject) -> str:
    return outcome(subject, subject.about(subject.clips.one_frame), f"differences of frames are empty there; {SAY_SO}")


@CHECKS.add(
    "odd-size",
    "A clip of odd width and height is scored, abstained from or refused with a sentence.",
    needs=["answers", *VALUES],
)
def _odd_size(subject: RewardSubject) -> str:
    advice = f"crop or resize to what the network takes, by a Size in the FrameSpec; or {SAY_SO}"
    return outcome(subject, subject.about(subject.clips.odd_size), advice)


@CHECKS.add(
    "long-clip",
    "A clip of a minute is scored, abstained from or refused with a sentence.",
    needs=["answers", *VALUES],
)
def _long(subject: RewardSubject) -> str:
    advice = f"bound the frames by count or max_frames of the Sampling; or {SAY_SO}"
    return outcome(subject, subject.about(subject.clips.long), advice)


@CHECKS.add(
    "corrupt-clip",
    "A clip that cannot be decoded gets no score, and costs only itself.",
    needs=["second-process"],
)
def _corrupt(subject: RewardSubject) -> str:
    asked = subject.about(subject.clips.corrupt)
    advice = "a plugin that opens files itself (PATH) names the unreadable one in errors, and lets nothing escape"
    try:
        answer = subject.ask([asked])
    except Refused as refusal:
        if refusal.kind == "process":
            raise Fault(f"{title(asked)}: {refusal}", advice) from None
        said = str(refusal)
    else:
        row = answer.values[0]
        if not answer.errors[0] and not np.isnan(row).all():
            raise Fault(f"{title(asked)} is scored: {dict(zip(subject.columns, row.tolist(), strict=True))}", advice)
        said = answer.errors[0] or answer.notes[0] or "it abstains"
    after = ask_or_fault(subject, subject.asked, advice)
    worst, where = subject.compare(subject.ordinary.values, after.values, subject.asked)
    if worst > subject.exact:
        raise Fault(f"after it the next batch is another: {where}", "leave nothing of a failed clip in the model")
    return f"no score ({said[:80]}); the clips after it are scored as before"


@CHECKS.add(
    "unicode-path",
    "A path with spaces, quotes and letters outside ASCII is a path like any other.",
    needs=["name-independent"],
)
def _unicode(subject: RewardSubject) -> str:
    asked = subject.about(subject.clips.unicode)
    advice = "pass paths on as they are: no ASCII encoding, no shell, no format string"
    answer = ask_or_fault(subject, [asked], advice)
    if answer.errors[0]:
        raise Fault(f"{title(asked)}: {answer.errors[0]}", advice)
    usual = subject.about(subject.clips.ordinary[0])
    worst, where = subject.compare(ask_or_fault(subject, [usual], advice).values, answer.values, [usual])
    if worst > subject.exact:
        raise Fault(f"under a usual path and under this, {where}", advice)
    return "scored as under a usual path"
