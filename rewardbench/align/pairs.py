"""Scored clips to preference pairs: the best of a prompt against the worst, or real clips against generated ones."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewardbench.align.prompts import Prompt, write_table
from rewardbench.align.samples import Sample
from rewardbench.benchmark import load_benchmark
from rewardbench.clip_tables import read_clip_table
from rewardbench.errors import InputError


@dataclass(frozen=True)
class PreferencePair:
    """A winner and its losers under one prompt.

    Attributes:
        pair_id: unique in its set.
        prompt: what all of them were asked for.
        win: clip id of the winner; ``lose``: of the losers, at least one; empty for a lone sample (Flow-RWR).
        reward_win, reward_lose: of the judge, in its own units; NaN where no judge has seen the clip.
    """

    pair_id: str
    prompt: Prompt
    win: str
    lose: tuple[str, ...]
    reward_win: float
    reward_lose: tuple[float, ...]


@dataclass(frozen=True)
class PairSet:
    """Pairs and the clips they stand on.

    Attributes:
        pairs: in a fixed order.
        clips: clip id to clip.
        judge: who decided, ``plugin:dimension``, a pairs file, or ``real clips``.
        left_out: sentence for every kind of prompt that gave no pair, with how many there were.
        off_policy: sentence where winners or losers were not made by the generator that is trained, else ``""``.
    """

    pairs: tuple[PreferencePair, ...]
    clips: Mapping[str, Sample]
    judge: str
    left_out: tuple[str, ...] = ()
    off_policy: str = ""


def best_against_worst(
    samples: Sequence[Sample], rewards: Mapping[str, float], judge: str, *, losers: int = 1, min_gap: float = 0.0
) -> PairSet:
    """One pair a prompt: its clip of the highest reward against that (those) of the lowest.

    Equal rewards are ordered by sample number, so that a run repeats itself. A clip without a reward (NaN: the judge
    abstained or failed) takes no part.

    Args:
        samples: clips of all prompts.
        rewards: clip id to reward.
        judge: who gave them.
        losers: losers a pair; prompts with fewer clips below the winner give what they have.
        min_gap: smallest difference that makes a pair; equal clips never do.

    Raises:
        InputError: no prompt gives a pair, with the reason; or ``min_gap`` is below 0 or NaN.
    """
    if not min_gap >= 0:
        raise InputError(f"min_gap is not negative, and {min_gap} is no such number")
    groups: dict[str, list[Sample]] = {}
    for s in samples:
        groups.setdefault(s.prompt.prompt_id, []).append(s)
    pairs, abstained, equal = [], 0, 0
    for prompt_id, group in groups.items():
        scored = [(rewards.get(s.clip_id, math.nan), s) for s in group]
        usable = sorted(((r, s) for r, s in scored if not math.isnan(r)), key=lambda e: (-e[0], e[1].number))
        if len(usable) < 2:
            abstained += 1
            continue
        top, best = usable[0]
        worse = [(r, s) for r, s in reversed(usable[1:]) if top - r > min_gap][:losers]
        if not worse:
            equal += 1
            continue
        pairs.append(
            PreferencePair(
                prompt_id,
                best.prompt,
                best.clip_id,
                tuple(s.clip_id for _, s in worse),
                top,
                tuple(r for r, _ in worse),
            )
        )
    left_out = _left_out(len(groups), abstained, equal, judge, min_gap)
    if not pairs:
        raise InputError(f"no prompt gives a pair: {'; '.join(left_out)}")
    return PairSet(tuple(pairs), {s.clip_id: s for s in samples}, judge, left_out)


def _left_out(total: int, abstained: int, equal: int, judge: str, min_gap: float) -> tuple[str, ...]:
    sentences = []
    if equal:
        gap = "all clips scored equal" if min_gap == 0 else f"no two scores were more than {min_gap:g} apart"
        sentences.append(f"{gap} by {judge} for {equal} of {total} prompts")
    if abstained:
        sentences.append(f"{judge} scored fewer than two clips of {abstained} of {total} prompts")
    return tuple(sentences)


def every_clip(samples: Sequence[Sample], rewards: Mapping[str, float], judge: str) -> PairSet:
    """Every scored clip by itself, for Flow-RWR.

    Raises:
        InputError: the judge scored none.
    """
    scored = [s for s in samples if not math.isnan(rewards.get(s.clip_id, math.nan))]
    if not scored:
        raise InputError(f"{judge} gave no clip a score")
    pairs = tuple(PreferencePair(s.clip_id, s.prompt, s.clip_id, (), rewards[s.clip_id], ()) for s in scored)
    missing = len(samples) - len(scored)
    left_out = (f"{judge} gave {missing} of {len(samples)} clips no score",) if missing else ()
    return PairSet(pairs, {s.clip_id: s for s in samples}, judge, left_out)


def real_against_generated(
    winners: Path, samples: Sequence[Sample], rewards: Mapping[str, float], *, losers: int
) -> PairSet:
    """RealDPO: a real clip of each prompt against generated ones.

    Args:
        winners: clip table (``video``, ``prompt``, ``image?``, ``prompt_id?``); matched by ``prompt_id``, else by text.
        samples: generated clips.
        rewards: of generated clips, where a judge has seen them: the worst lose; may be empty, then all of a prompt
            lose in the order they were sampled.
        losers: losers a winner.

    Raises:
        InputError: no real clip has a prompt that clips were sampled for.
    """
    by_id: dict[str, list[Sample]] = {}
    by_text: dict[str, list[Sample]] = {}
    for s in samples:
        by_id.setdefault(s.prompt.prompt_id, []).append(s)
        by_text.setdefault(s.prompt.text, []).append(s)
    clips: dict[str, Sample] = {s.clip_id: s for s in samples}
    pairs, unmatched = [], 0
    for number, real in enumerate(read_clip_table(winners)):
        group = by_id.get(real.metadata.get("prompt_id", "")) or by_text.get(real.prompt or "", [])
        if not group:
            unmatched += 1
            continue
        prompt = group[0].prompt
        clip_id = f"real-{number:05d}"
        clips[clip_id] = Sample(clip_id, real.video, prompt, 0, "real", None)
        # the worst first; a clip that the judge abstained on could be the best, and comes last
        known = {s.clip_id: rewards.get(s.clip_id, math.nan) for s in group}
        ordered = sorted(group, key=lambda s: (math.isnan(known[s.clip_id]), known[s.clip_id], s.number))[:losers]
        lose = tuple(s.clip_id for s in ordered)
        scores = tuple(rewards.get(i, math.nan) for i in lose)
        pairs.append(PreferencePair(clip_id, prompt, clip_id, lose, math.nan, scores))
    if not pairs:
        raise InputError(f"{winners}: none of its clips has a prompt that clips were sampled for")
    left_out = (f"{unmatched} real clips have a prompt that no clip was sampled for",) if unmatched else ()
    return PairSet(tuple(pairs), clips, "real clips", left_out, "the winners are real clips, not the generator's own")


def real_alone(winners: Path, prompts: Sequence[Prompt]) -> PairSet:
    """SFT on real clips: each by itself, under its prompt of the run; nothing has to be sampled.

    Args:
        winners: as in :func:`real_against_generated`.
        prompts: of the run; clips of others are left out.

    Raises:
        InputError: no real clip has one of these prompts.
    """
    by_id, by_text = {p.prompt_id: p for p in prompts}, {p.text: p for p in reversed(prompts)}
    clips: dict[str, Sample] = {}
    unmatched = 0
    for number, real in enumerate(read_clip_table(winners)):
        prompt = by_id.get(real.metadata.get("prompt_id", "")) or by_text.get(real.prompt or "")
        if prompt is None:
            unmatched += 1
            continue
        clips[f"real-{number:05d}"] = Sample(f"real-{number:05d}", real.video, prompt, 0, "real", None)
    if not clips:
        raise InputError(f"{winners}: none of its clips has a prompt of the run")
    pairs = tuple(PreferencePair(i, s.prompt, i, (), math.nan, ()) for i, s in clips.items())
    left_out = (f"{unmatched} real clips have a prompt that is not among the run's",) if unmatched else ()
    return PairSet(pairs, clips, "real clips", left_out, "the clips are real, not the generator's own")


def pairs_from_file(path: Path, label: str | None, generator: str) -> PairSet:
    """Pairs that somebody has labelled already; ties and pairs without this label are left out.

    Args:
        path: a pairs file; columns ``reward_a`` and ``reward_b`` are taken where it has them.
        label: the label that decides; the only one if None.
        generator: name of the generator that is trained, to be held against ``model_a`` and ``model_b``.

    Raises:
        InputError: several labels and none chosen, no clips, or no decided pair.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    benchmark = load_benchmark(path)
    labels = benchmark.labels
    if label is None and len(labels) != 1:
        raise InputError(f"{path} has the labels {', '.join(labels)}; say with --label which of them decides")
    label = label or labels[0]
    if label not in labels:
        raise InputError(f"{path} has no label {label!r}; there are {', '.join(labels)}")
    if not benchmark.has_clips:
        raise InputError(f"{path} names no clips; aligning needs the videos themselves")
    clips: dict[str, Sample] = {}
    pairs, ties, makers = [], 0, set()
    for c in benchmark.comparisons:
        decided = c.labels.get(label)
        if not decided:
            ties += 1
            continue
        sides = [(c.clip_a, "a"), (c.clip_b, "b")]
        (win, win_side), (lose, lose_side) = sides if decided > 0 else sides[::-1]
        prompt = Prompt(c.pair_id, c.prompt, benchmark.clips[win].image)
        for clip_id, side in ((win, win_side), (lose, lose_side)):
            maker = c.row.get(f"model_{side}", "")
            makers.add(maker)
            clips[clip_id] = Sample(clip_id, benchmark.clips[clip_id].video, prompt, 0, maker or "unknown", None)
        rewards = [_number(c.row.get(f"reward_{side}", "")) for side in (win_side, lose_side)]
        pairs.append(PreferencePair(c.pair_id, prompt, win, (lose,), rewards[0], (rewards[1],)))
    if not pairs:
        raise InputError(f"{path}: no pair is decided by {label!r}")
    left_out = (f"{ties} of {len(benchmark.comparisons)} pairs are ties, or have no label {label!r}",) if ties else ()
    return PairSet(tuple(pairs), clips, f"{path.name}:{label}", left_out, _off_policy(makers, generator))


def clips_from_file(path: Path, generator: str) -> PairSet:
    """Every clip of a pairs file by itself, once, with its own reward, for Flow-RWR; labels do not matter.

    Args:
        path: a pairs file with ``reward_a`` and ``reward_b``.
        generator: name of the generator that is trained.

    Raises:
        InputError: no clips, or rows that contradict each other about a clip's reward.
    """
    benchmark = load_benchmark(path)
    if not benchmark.has_clips:
        raise InputError(f"{path} names no clips; aligning needs the videos themselves")
    clips: dict[str, Sample] = {}
    rewards: dict[str, float] = {}
    for c in benchmark.comparisons:
        for clip_id, side in ((c.clip_a, "a"), (c.clip_b, "b")):
            reward, known = _number(c.row.get(f"reward_{side}", "")), rewards.get(clip_id, math.nan)
            if reward != known and not math.isnan(reward) and not math.isnan(known):
                raise InputError(
                    f"{path} gives {clip_id} two rewards, {known:g} and {reward:g}; flow-rwr learns from each clip by "
                    "one reward"
                )
            rewards[clip_id] = known if math.isnan(reward) else reward
            if clip_id not in clips:
                clip = benchmark.clips[clip_id]
                prompt = Prompt(c.pair_id, c.prompt, clip.image)
                maker = c.row.get(f"model_{side}", "") or "unknown"
                clips[clip_id] = Sample(clip_id, clip.video, prompt, 0, maker, None)
    makers = {"" if s.generator == "unknown" else s.generator for s in clips.values()}
    lone = tuple(PreferencePair(i, s.prompt, i, (), rewards[i], ()) for i, s in clips.items())
    return PairSet(lone, clips, path.name, (), _off_policy(makers, generator))


def _off_policy(makers: Collection[str], generator: str) -> str:
    """What is to be expected of clips of these generators (``""``: it is not said whose)."""
    foreign = sorted(m for m in makers if m and m != generator)
    if not foreign and "" not in makers:
        return ""
    return f"clips of {', '.join(foreign) or 'unknown generators'} teach {generator}: expect less than from its own"


def without_contradictions(pairs: PairSet) -> PairSet:
    """Without pairs whose rewards say the opposite of their label: the weight of their gap would be negative.

    Raises:
        InputError: no pair is left.
    """
    kept = [p for p in pairs.pairs if not any(r > p.reward_win for r in p.reward_lose)]
    gone = len(pairs.pairs) - len(kept)
    if not gone:
        return pairs
    sentence = (
        f"the rewards of {gone} of {len(pairs.pairs)} pairs contradict their label, and gap weights leave them out"
    )
    if not kept:
        raise InputError(f"no pair is left: {sentence}; choose dpo, which asks no reward")
    return replace(pairs, pairs=tuple(kept), left_out=(*pairs.left_out, sentence))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write_pairs(pairs: PairSet, path: Path) -> None:
    """Write a pairs file that ``rewardbench run --benchmark`` and ``align --pairs`` read: A won, one row a loser."""
    folder = path.parent
    rows = [row for pair in pairs.pairs for row in _rows(pair, pairs, folder)]
    if not rows:
        raise InputError("there are no pairs to write: these are single clips")
    write_table(path, rows)


def _rows(pair: PreferencePair, pairs: PairSet, folder: Path) -> Iterable[dict[str, str]]:
    win = pairs.clips[pair.win]
    for n, (lose_id, reward) in enumerate(zip(pair.lose, pair.reward_lose, strict=True)):
        lose = pairs.clips[lose_id]
        gap = pair.reward_win - reward
        yield {
            "pair_id": pair.pair_id if len(pair.lose) == 1 else f"{pair.pair_id}-{n}",
            "prompt": pair.prompt.text,
            "video_a": os.path.relpath(win.video, folder),
            "video_b": os.path.relpath(lose.video, folder),
            "image": os.path.relpath(pair.prompt.image, folder) if pair.prompt.image else "",
            "model_a": win.generator,
            "model_b": lose.generator,
            "label_reward": "A",
            "reward_a": _text(pair.reward_win),
            "reward_b": _text(reward),
            "gap": _text(gap),
            "judge": pairs.judge,
        }


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
