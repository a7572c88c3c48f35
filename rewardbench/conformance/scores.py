"""Checks of what scores are: their range, their abstentions, and what they must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rewardbench.conformance.checks import CheckList, Fault, NotChecked
from rewardbench.conformance.session import Asked, Refused
from rewardbench.conformance.subject import RewardSubject, ask_or_fault, title

VALUES = ("range", "nan-policy")
"""What is wrong with ordinary scores already would be found on every unusual clip again."""
MODEL_ONLY = CheckList()
CHECKS = CheckList()


@MODEL_ONLY.add("range", "Every score lies in the range its dimension declares, and is finite.", needs=["answers"])
def _range(subject: RewardSubject) -> str:
    for asked, row in zip(subject.asked, subject.ordinary.values, strict=True):
        for name, value in zip(subject.columns, row.tolist(), strict=True):
            fault = out_of_range(subject, name, value)
            if fault:
                raise Fault(
                    f"{title(asked)}: {fault}",
                    "declare the range the model really has, or clip where the model's own code clips",
                )
    said = subject.ordinary.values[~np.isnan(subject.ordinary.values)]
    return f"scores from {said.min():.4g} to {said.max():.4g}" if said.size else "it abstains everywhere"


def out_of_range(subject: RewardSubject, name: str, value: float) -> str | None:
    """What is wrong with a score, or None."""
    d = subject.job.model.card.dimension(name)
    if math.isnan(value) or (math.isfinite(value) and d.low <= value <= d.high):
        return None
    return f"{name} is {value:g}, declared [{d.low:g}, {d.high:g}]"


@CHECKS.add("nan-policy", "NaN means that the model abstains, and a note says why.", needs=["answers"])
def _nan(subject: RewardSubject) -> str:
    answer = subject.ordinary
    for asked, row, note in zip(subject.asked, answer.values, answer.notes, strict=True):
        if np.isnan(row).any() and not note.strip():
            names = [name for name, value in zip(subject.columns, row, strict=True) if math.isnan(value)]
            raise Fault(
                f"{title(asked)}: {', '.join(names)} is NaN without a note",
                "put the reason into notes, or into errors where the clip cannot be scored at all",
            )
    silent = int(np.isnan(answer.values).sum())
    return f"{silent} of {answer.values.size} scores abstain, each with its reason" if silent else "no abstention"


@CHECKS.add("repeats-itself", "The same batch asked again in one process gives the same scores.", needs=["answers"])
def _repeats(subject: RewardSubject) -> str:
    again = ask_or_fault(subject, subject.asked, "score may not use up what load made")
    worst, where = subject.compare(subject.ordinary.values, again.values, subject.asked)
    if worst > subject.exact:
        raise Fault(
            f"asked twice, {where}",
            "keep no state between calls, seed what is drawn with self.seed, and switch dropout off (model.eval())",
        )
    return f"largest difference {worst:.2g}"


@CHECKS.add("closes", "close releases what load took, and does not raise.", needs=["answers"])
def _closes(subject: RewardSubject) -> str:
    try:
        subject.model.close()
    except Refused as refusal:
        raise Fault(str(refusal), "close is called once, after load; make it safe where nothing was scored") from None
    finally:
        subject.drop()
    return "it does"


@CHECKS.add("second-process", "A second process gives the same scores.", needs=["repeats-itself"])
def _second_process(subject: RewardSubject) -> str:
    advice = "draw nothing unseeded in load, and use no hash(), id(), time, or process number"
    subject.drop()
    again = ask_or_fault(subject, subject.asked, advice)
    worst, where = subject.compare(subject.ordinary.values, again.values, subject.asked)
    if worst > subject.exact:
        raise Fault(f"in a second process, {where}", advice)
    return f"largest difference {worst:.2g}"


@CHECKS.add("batch-invariance", "A clip's score does not depend on the clips beside it.", needs=["repeats-itself"])
def _batch(subject: RewardSubject) -> str:
    # Each clip is the first of its batch both times, so that only the company differs, not the place.
    together = _turned(subject)
    answers = [ask_or_fault(subject, [asked], "score takes any batch size") for asked in subject.asked]
    alone = np.concatenate([answer.values for answer in answers])
    first = np.stack([values[0] for values in together])
    worst, where = subject.compare(alone, first, subject.asked)
    if worst > subject.tolerance:
        raise Fault(
            f"alone and with two others, {where}",
            "normalise by constants and not over the batch; mask the padding that longer neighbours bring",
        )
    return f"alone or with two others: largest difference {worst:.2g} (allowed {subject.tolerance:g})"


@CHECKS.add("order-invariance", "A clip's score does not depend on its place in the batch.", needs=["repeats-itself"])
def _order(subject: RewardSubject) -> str:
    worst, where = 0.0, ""
    turns = _turned(subject)
    for shift, values in enumerate(turns):
        found = subject.compare(turns[0], np.roll(values, shift, axis=0), subject.asked)
        worst, where = max((worst, where), found)
    if worst > subject.tolerance:
        raise Fault(f"in two orders of one batch, {where}", "take each item's own data, by its place in the batch")
    return f"three orders: largest difference {worst:.2g} (allowed {subject.tolerance:g})"


def _turned(subject: RewardSubject) -> list[np.ndarray]:
    """Values of the three turns of the ordinary batch: each clip is first in one of them."""
    asked = subject.asked
    turns = [asked[i:] + asked[:i] for i in range(len(asked))]
    return [ask_or_fault(subject, turn, "score takes its items in any order").values for turn in turns]


@MODEL_ONLY.add(
    "dimension-subset",
    "Asked for some dimensions only, it gives those, and the same scores.",
    needs=["second-process"],
)
def _subset(subject: RewardSubject) -> str:
    names = subject.job.dimensions
    if len(names) < 2:
        raise NotChecked("it has one dimension")
    wanted = [(names[-1],)] if len(names) == 2 else [(names[-1],), (names[0], names[-1])]
    worst = 0.0
    for subset in wanted:
        advice = "columns follow self.dimensions, which may be fewer than the card's"
        subject.drop()
        try:
            with subject.sessions.start_other(subject.other_choice(dimensions=subset)) as model:
                values = model.ask(subject.asked).values
        except Refused as refusal:
            raise Fault(f"--dimension {' --dimension '.join(subset)}: {refusal}", advice) from None
        spread = np.full_like(subject.ordinary.values, np.nan)
        expected = spread.copy()
        for column, name in enumerate(subset):
            spread[:, names.index(name)] = values[:, column]
            expected[:, names.index(name)] = subject.ordinary.values[:, names.index(name)]
        off, where = subject.compare(expected, spread, subject.asked)
        if off > subject.tolerance:
            raise Fault(f"with all dimensions and with --dimension {' --dimension '.join(subset)}, {where}", advice)
        worst = max(worst, off)
    return f"largest difference {worst:.2g} (allowed {subject.tolerance:g})"


@CHECKS.add(
    "seed-in-fingerprint",
    "Where another seed gives other scores, it gives another fingerprint.",
    needs=["second-process"],
)
def _seed(subject: RewardSubject) -> str:
    other = subject.other_choice(seed=subject.job.choice.seed + 1)
    if other.fingerprint != subject.job.fingerprint:
        return "the seed is part of the fingerprint"
    advice = "every seed from 0 is allowed"
    subject.drop()
    try:
        with subject.sessions.start_other(other) as model:
            again = ask_or_fault(model, subject.asked, advice)
    except Refused as refusal:
        raise Fault(f"--seed {other.choice.seed}: {refusal}", advice) from None
    worst, where = subject.compare(subject.ordinary.values, again.values, subject.asked)
    if worst > subject.exact:
        raise Fault(
            f"with another --seed, {where}, under one fingerprint",
            "add self.seed in fingerprint(); otherwise scores of one seed are taken for those of another",
        )
    return "the seed changes no score"


@CHECKS.add(
    "name-independent",
    "The same bytes under another name and id give the same score: scores are stored by content.",
    needs=["repeats-itself"],
)
def _name(subject: RewardSubject) -> str:
    original = subject.about(subject.clips.ordinary[0])
    copied = subject.about(subject.clips.copied)
    advice = "use the clip's content (metadata 'sha256' where a key is needed), not its path or id"
    before = ask_or_fault(subject, [original], advice)
    after = ask_or_fault(subject, [copied], advice)
    worst, where = subject.compare(before.values, after.values, [original])
    if worst > subject.exact:
        raise Fault(f"under two names, {where}", advice)
    return f"largest difference {worst:.2g}"


@CHECKS.add(
    "image-declared",
    "Where the first-frame image changes a score, the card says uses_image or needs_image.",
    needs=["repeats-itself"],
)
def _image(subject: RewardSubject) -> str:
    if subject.job.uses_image:
        return "the card says that it looks at the image"
    first, second, _ = subject.clips.ordinary
    advice = "set uses_image=True on the card: only then is the image part of a score's key"
    usual = ask_or_fault(subject, [subject.about(first)], advice).values
    for image in (second.image, None):
        try:
            other = subject.ask([subject.about(replace(first, image=image))]).values
        except Refused:
            continue  # what happens without an image is the matter of missing-inputs
        worst, where = subject.compare(usual, other, [subject.about(first)])
        if worst > subject.exact:
            raise Fault(f"with another image, or none, {where}", advice)
    return "it looks at none"


@CHECKS.add(
    "missing-inputs",
    "A clip without prompt or image is scored, abstained from or refused with a sentence, unless the card needs them.",
    needs=["answers", *VALUES],
)
def _missing(subject: RewardSubject) -> str:
    card = subject.job.model.card
    clip = subject.clips.ordinary[0]
    seen = []
    for what, needed in (("prompt", card.needs_prompt), ("image", card.needs_image)):
        if needed:
            seen.append(f"{what}: needed, as the card says")
            continue
        without = replace(clip, prompt=None) if what == "prompt" else replace(clip, image=None)
        asked = subject.about(without)
        seen.append(f"no {what}: {outcome(subject, asked, f'abstain without {what}, or set needs_{what}=True')}")
    return "; ".join(seen)


def outcome(subject: RewardSubject, asked: Asked, advice: str) -> str:
    """How a question ended, where it ended well: scored, abstained with a reason, or refused with a sentence.

    Raises:
        Fault: for anything else.
    """
    name = title(asked)
    try:
        answer = subject.ask([asked])
    except Refused as refusal:
        if refusal.is_meant_by(subject.registered.package):
            return f"refused ({refusal})"
        raise Fault(f"{name}: {refusal}", advice) from None
    if answer.errors[0]:
        return f"refused ({answer.errors[0]})"
    row = answer.values[0]
    if np.isnan(row).any() and not answer.notes[0].strip():
        raise Fault(f"{name}: NaN without a note", advice)
    if not subject.job.is_judge:
        for column, value in zip(subject.columns, row.tolist(), strict=True):
            fault = out_of_range(subject, column, value)
            if fault:
                raise Fault(f"{name}: {fault}", advice)
    return "abstained" if np.isnan(row).all() else "scored"
