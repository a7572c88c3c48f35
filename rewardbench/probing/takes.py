"""What is scored: every source, its working copy, and each treated form, with the prompt and image it is shown with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rewardbench.probing.record import LeftOut
from rewardbench.probing.sources import Source, next_others, other_prompts
from rewardbench.probing.treatments import IMAGE_SWAP, ORDER_OF_PAIR, PROMPT_SWAP, WORKING_COPY, Treatment
from rewardbench.probing.workshop import Copies, Level
from rewardbench_plugin.clip import Clip

NOT_FILES = (WORKING_COPY, PROMPT_SWAP, IMAGE_SWAP, ORDER_OF_PAIR)


@dataclass(frozen=True)
class Take:
    """One treated form of one source.

    Attributes:
        source: its number.
        treatment, level: what was done.
        clip: what is scored; None where the treatment changes nothing on this clip, so that the working copy's score
            stands.
    """

    source: int
    treatment: str
    level: str
    clip: Clip | None


def file_levels(treatments: Sequence[Treatment]) -> list[Level]:
    """The levels that need a file of their own."""
    return [
        (t.name, level) for t in treatments if t.family != "batching" and t.name not in NOT_FILES for level in t.levels
    ]


def references(sources: Sequence[Source]) -> dict[int, Clip]:
    """The working copies by source."""
    return {s.number: _shown(s, "reference", "working copy", s.reference) for s in sources}


def plan_takes(
    sources: Sequence[Source],
    copies: Mapping[int, Copies],
    treatments: Sequence[Treatment],
    *,
    uses_image: bool,
    is_judge: bool,
    content_of: Callable[[str], str],
) -> tuple[list[Take], list[LeftOut]]:
    """Everything to score but the working copies, treatment by treatment, and what was left out and why.

    ``content_of`` gives a hash of a file's content: two files that hold one image are one image.
    """
    takes: list[Take] = []
    left: list[LeftOut] = []
    for treatment in treatments:
        if treatment.family == "batching" or treatment.name == ORDER_OF_PAIR:
            continue
        if treatment.name == WORKING_COPY:
            takes += [_take(s, treatment.name, treatment.levels[0], s.clip.video) for s in sources]
        elif treatment.name in (PROMPT_SWAP, IMAGE_SWAP):
            made, out = _swaps(sources, treatment, uses_image=uses_image, is_judge=is_judge, content_of=content_of)
            takes += made
            left += out
        else:
            made, out = _files(sources, copies, treatment)
            takes += made
            left += out
    return takes, left


def _files(
    sources: Sequence[Source], copies: Mapping[int, Copies], treatment: Treatment
) -> tuple[list[Take], list[LeftOut]]:
    takes: list[Take] = []
    reasons: Counter[str] = Counter()
    for source in sources:
        own = copies[source.number]
        files = {
            level: own.files[treatment.name, level]
            for level in treatment.levels
            if (treatment.name, level) in own.files
        }
        for level in treatment.levels:
            sentence = own.failures.get((treatment.name, level))
            if sentence is not None:
                reasons[sentence] += 1
        changed = files.get(treatment.levels[-1]) if treatment.has_doses else any(files.values())
        if files and not changed:
            reasons["changes nothing: the clip is too short, or nothing moves in it"] += 1
            continue
        for level, path in files.items():
            if path is not None:
                takes.append(_take(source, treatment.name, level, path))
            elif treatment.has_doses:
                takes.append(Take(source.number, treatment.name, level, None))
    return takes, [LeftOut(treatment=treatment.name, n_clips=n, reason=reason) for reason, n in reasons.items()]


def _swaps(
    sources: Sequence[Source],
    treatment: Treatment,
    *,
    uses_image: bool,
    is_judge: bool,
    content_of: Callable[[str], str],
) -> tuple[list[Take], list[LeftOut]]:
    """The working copies with another clip's prompt or image; what has none, and why."""
    takes: list[Take] = []
    if is_judge:
        reason = "both clips of a judge's pair share prompt and image, so that a swap is no pair"
    elif treatment.name == PROMPT_SWAP:
        takes, reason = _prompt_swaps(sources, treatment)
    elif not uses_image:
        reason = "the model looks at no first-frame image"
    else:
        takes, reason = _image_swaps(sources, treatment, content_of)
    left_out = len(sources) - len(takes)
    return takes, [LeftOut(treatment=treatment.name, n_clips=left_out, reason=reason)] if left_out else []


def _prompt_swaps(sources: Sequence[Source], treatment: Treatment) -> tuple[list[Take], str]:
    swapped = other_prompts([s.clip.prompt for s in sources])
    takes = [
        _take(s, treatment.name, treatment.levels[0], s.reference, prompt=other)
        for s, other in zip(sources, swapped, strict=True)
        if other is not None
    ]
    if takes:
        return takes, "without a prompt of its own"
    if any(s.clip.prompt for s in sources):
        return [], "there is no second prompt to swap with"
    return [], "no clip has a prompt; name prompts in a table with --clips TABLE"


def _image_swaps(
    sources: Sequence[Source], treatment: Treatment, content_of: Callable[[str], str]
) -> tuple[list[Take], str]:
    places = next_others([content_of(s.clip.image) if s.clip.image else None for s in sources])
    takes = [
        _take(s, treatment.name, treatment.levels[0], s.reference, image=sources[place].clip.image)
        for s, place in zip(sources, places, strict=True)
        if place is not None
    ]
    return takes, "without an image of its own" if takes else "there is no second image to swap with"


def _take(
    source: Source, treatment: str, level: str, video: str, *, prompt: str | None = None, image: str | None = None
) -> Take:
    clip = _shown(source, f"{treatment}/{level}", f"{treatment} {level}", video)
    if prompt is not None:
        clip = replace(clip, prompt=prompt)
    if image is not None:
        clip = replace(clip, image=image)
    return Take(source.number, treatment, level, clip)


def _shown(source: Source, place: str, said: str, video: str) -> Clip:
    """A form of a source as plugins see it; its columns travel with it, but those that name the file."""
    kept = {k: v for k, v in source.clip.metadata.items() if k not in ("video", "name", "sha256")}
    named = {**kept, "name": f"{source.name} {said}"}
    return Clip(f"{source.number:04d}/{place}", video, source.clip.prompt, source.clip.image, named)
