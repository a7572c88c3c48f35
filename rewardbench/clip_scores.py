"""Scores of clips that have no labels: a list of clips and one reward model → rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rewardbench.cache import cache_folder
from rewardbench.errors import InputError
from rewardbench.jobs import model_jobs
from rewardbench.locks import try_lock
from rewardbench.registry import Listeners, load_registry
from rewardbench.scoring.engine import EngineSettings, Session
from rewardbench.scoring.plan import Job, check_inputs
from rewardbench.scoring.progress import Progress, Silent
from rewardbench.scoring.scorer import Scorer
from rewardbench.scoring.store import Score, ScoreStore
from rewardbench_plugin.clip import Clip

MOST_NOTES_SAID = 10


@dataclass(frozen=True)
class ScoreSettings:
    """Everything ``rewardbench score`` can be told."""

    clips: Sequence[Clip]
    plugin: str
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    dimensions: tuple[str, ...] | None = None
    device: str = "auto"
    dtype: str | None = None
    decode_timeout: float = 120.0
    score_timeout: float = 600.0
    batch_size: int | None = None
    workers: int | None = None
    seed: int = 0
    command: str = ""


def score_clips(settings: ScoreSettings, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Score clips that have no labels; rows ``{video, prompt, scores{}, raw{}, error}`` in the order given.

    Raises:
        InputError: the command or its input is wrong.
        PluginError: the plugin cannot be used.
    """
    return score_clips_in_session(settings, progress)[0]


def score_clips_in_session(
    settings: ScoreSettings, progress: Progress | None = None, *, resume: bool = True
) -> tuple[list[dict[str, Any]], Session | None]:
    """The same rows, and how they were computed: device and packages; None where every score was stored before.

    ``resume=False`` computes every score anew, whatever an interrupted command left.
    """
    progress = progress or Silent()
    (job,) = model_jobs(
        [settings.plugin],
        weights=settings.weights,
        options=settings.options,
        dimensions=settings.dimensions,
        dtype=settings.dtype,
        seed=settings.seed,
    )
    if job.is_judge:
        raise InputError(f"plugin {job.label!r} compares two clips; it cannot score one")
    clips = {clip.clip_id: clip for clip in settings.clips}
    check_inputs([job], clips.values(), "the clips given")
    listeners = Listeners(load_registry().manager, progress.message)
    kept = unfinished_store(job, clips.values()) if resume else ScoreStore(None)
    with kept as store, tempfile.TemporaryDirectory() as logs:
        scorer = Scorer([job], store, engine_settings(settings, Path(logs)), progress, listeners)
        (session,) = scorer.score_clips(clips)
        _say_notes(scorer, clips.values(), progress)
        return [_scored_row(scorer, clip) for clip in clips.values()], session


def _say_notes(scorer: Scorer, clips: Iterable[Clip], progress: Progress) -> None:
    """What the model says of its scores, one line for each distinct note of a clip: those on missing scores first."""
    missing: list[str] = []
    others: list[str] = []
    for clip in clips:
        scores = list(_scores_of(scorer, clip).values())
        abstained = dict.fromkeys(s.note for s in scores if s.note and s.value is None)
        name = clip.metadata.get("name", clip.video)
        missing += [f"{name}: {note}" for note in abstained]
        others += [
            f"{name}: {note}" for note in dict.fromkeys(s.note for s in scores if s.note) if note not in abstained
        ]
    lines = missing + others
    for line in lines[:MOST_NOTES_SAID]:
        progress.message(line)
    if len(lines) > MOST_NOTES_SAID:
        progress.message(f"… and {len(lines) - MOST_NOTES_SAID:,} more notes")


def _scores_of(scorer: Scorer, clip: Clip) -> dict[str, Score]:
    """Stored scores by dimension."""
    (job,) = scorer.jobs
    content = scorer.contents.of(clip, job)
    if content is None:
        return {}
    keys = {d: job.score_key(d, content[0], clip, content[1]) for d in job.dimensions}
    return {d: score for d, key in keys.items() if (score := scorer.store.score(key)) is not None}


def _scored_row(scorer: Scorer, clip: Clip) -> dict[str, Any]:
    """What ``rewardbench score`` says of one clip."""
    found = _scores_of(scorer, clip)
    return {
        "video": clip.metadata.get("name", clip.video),
        "prompt": clip.prompt,
        "scores": {d: s.value for d, s in found.items()},
        "raw": {d: s.raw for d, s in found.items()},
        "error": None if found else scorer.failures.of(0, clip.clip_id) or "not scored",
    }


@contextlib.contextmanager
def unfinished_store(job: Job, clips: Iterable[Clip]) -> Iterator[ScoreStore]:
    """A store in the cache for one list of clips: kept if the command is stopped, removed when it is through.

    The same command then goes on where it was. Scores are held in memory where the cache cannot be written, and where
    the same command is at work in another process, which would remove the file under this one.
    """
    state = [job.fingerprint, job.dimensions, [(clip.video, clip.prompt, clip.image) for clip in clips]]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    folder = cache_folder() / "unfinished"
    with contextlib.ExitStack() as held:
        path: Path | None = folder / f"{digest}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(open(folder / f"{digest}.lock", "a", encoding="ascii"))
        except OSError:
            path = None
        else:
            if not try_lock(lock):
                path = None
        with ScoreStore(path) as store:
            yield store
        if path is not None:
            path.unlink(missing_ok=True)


class Limits(Protocol):
    """What commands that score share: where and how fast it may be done. None is chosen by itself."""

    @property
    def workers(self) -> int | None: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def decode_timeout(self) -> float: ...
    @property
    def score_timeout(self) -> float: ...


def engine_settings(settings: Limits, logs: Path | None) -> EngineSettings:
    """The engine's view of what a command was told."""
    return EngineSettings(
        workers=settings.workers or min(os.cpu_count() or 1, 16),
        device=settings.device,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
        decode_timeout=settings.decode_timeout,
        score_timeout=settings.score_timeout,
        log_folder=logs,
        engine=getattr(settings, "engine", "local"),
    )
