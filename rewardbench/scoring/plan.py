"""What has to be scored: jobs (configured plugins), work (clips or pairs), and the keys scores are stored under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import metadata

from rewardbench.errors import ClipError, InputError
from rewardbench.registry import RewardChoice
from rewardbench.scoring.progress import Progress
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin.clip import Clip, FrameSpec
from rewardbench_plugin.reward import PairwiseJudge, RewardModel

READER_DISTRIBUTIONS = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec"}


@dataclass(frozen=True)
class Job:
    """One plugin of a run. ``model`` is configured, never loaded; workers build their own from ``choice``."""

    choice: RewardChoice
    model: RewardModel
    dtype: str | None

    @property
    def label(self) -> str:
        return self.choice.label

    @property
    def dimensions(self) -> tuple[str, ...]:
        return self.model.dimensions

    @property
    def is_judge(self) -> bool:
        return isinstance(self.model, PairwiseJudge)

    @property
    def reads_clips(self) -> bool:
        """Whether any dimension asked for needs the clip's frames or its file."""
        return bool(self.model.card.inputs_of(self.dimensions))

    @property
    def uses_image(self) -> bool:
        """Whether the clip's first-frame image can change a score."""
        return self.model.card.uses_image or self.model.card.needs_image

    @cached_property
    def specs(self) -> tuple[FrameSpec, ...]:
        """Frame specs of the dimensions asked for; of all, where one asked for is derived from the others."""
        return self.model.card.frame_specs(self.dimensions)

    @cached_property
    def fingerprint(self) -> str:
        """The plugin's own fingerprint, and the precision where one was asked for."""
        return self.model.fingerprint() if self.dtype is None else f"{self.model.fingerprint()}/{self.dtype}"

    def score_key(self, dimension: str, content: str, clip: Clip, image: str) -> str:
        """SHA-256 over everything that can change this score."""
        card = self.model.card
        specs = card.inputs_of((dimension,))
        readers = sorted({_reader(spec) for spec in specs})
        state = [content, clip.prompt, image, self.fingerprint, dimension, sorted(s.key() for s in specs), readers]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def pair_key(self, first: str, second: str, prompt: str | None) -> str:
        """Key of a verdict on two clips in the order asked."""
        specs = sorted(spec.key() for spec in self.specs)
        readers = sorted({_reader(spec) for spec in self.specs})
        state = ["pair", first, second, prompt, self.fingerprint, specs, readers]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _reader(spec: object) -> str:
    """Reader and resize filter with their versions: another version may give other pixels."""
    if not isinstance(spec, FrameSpec):
        return "plugin"
    return " ".join(filter(None, (spec.reader, installed_version(spec.reader), installed_filter(spec.filter))))


@cache
def installed_filter(name: str) -> str:
    """What implements a resize filter, with its version; empty where nothing is resized."""
    from rewardbench.video import filter_version

    return filter_version(name)


@cache
def installed_version(reader: str) -> str:
    """Installed version of a reader's distribution, ``absent`` where there is none."""
    try:
        return metadata.version(READER_DISTRIBUTIONS[reader])
    except metadata.PackageNotFoundError:
        return "absent"


@dataclass(frozen=True, slots=True)
class Work:
    """One clip to score or, for judges, two clips to compare in this order, for the jobs at ``jobs``."""

    number: int
    clips: tuple[Clip, ...]
    jobs: tuple[int, ...]


class Contents:
    """Content hashes of a run's clips and images, or the sentence why a file has none."""

    def __init__(self, store: ScoreStore) -> None:
        self._store = store
        self._known: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    def of(self, clip: Clip, job: Job) -> tuple[str, str] | None:
        """(content of the video, content of the image or ""), or None if a file the plugin reads cannot be read.

        For a plugin that reads no clips the clip is known by its id, so that tables of ids and scores need no files.
        """
        if not job.reads_clips:
            return f"id:{clip.clip_id}", ""
        video = self._hash(clip.video)
        image = self._hash(clip.image) if clip.image and job.uses_image else ""
        return None if video is None or image is None else (video, image)

    def error(self, clip: Clip) -> str:
        """Why :meth:`of` gave None."""
        return self.errors.get(clip.video) or self.errors[clip.image or ""]

    def marked(self, clip: Clip) -> Clip:
        """The clip with its content hash in its metadata (``sha256``), for plugins that go by content."""
        digest = self.sha256(clip)
        return clip if digest is None else replace(clip, metadata={**clip.metadata, "sha256": digest})

    def sha256(self, clip: Clip) -> str | None:
        """Hash of the video where it was read."""
        return self._known.get(clip.video)

    def _hash(self, path: str) -> str | None:
        if path in self.errors:
            return None
        if path not in self._known:
            try:
                if "://" in path:
                    raise ClipError(f"{path} is not on this machine; download it first")
                self._known[path] = self._store.content_hash(path)
            except ClipError as error:
                self.errors[path] = str(error)
        return self._known.get(path)


def check_inputs(jobs: Sequence[Job], clips: Iterable[Clip], source: str) -> None:
    """Refuse a combination that cannot work before anything is decoded.

    Raises:
        InputError: if a plugin reads clips and the benchmark names none, or needs prompts and there are none at all.
    """
    clips = list(clips)
    for job in jobs:
        if job.reads_clips and clips and not any(clip.video for clip in clips):
            raise InputError(
                f"{source} names no clips (columns video_a and video_b), but plugin {job.label!r} has to read them"
            )
        if job.model.card.needs_prompt and clips and not any(clip.prompt for clip in clips):
            raise InputError(
                f"plugin {job.label!r} needs prompts, and there is none in {source}: fill the column prompt of the "
                "table, or give video files one with --prompt TEXT"
            )
        if job.model.card.needs_image and clips and not any(clip.image for clip in clips):
            raise InputError(
                f"plugin {job.label!r} needs first-frame images, and there is none in {source}: fill the column image "
                "of the table, or give video files one with --image FILE"
            )


def missing_requirement(job: Job, clip: Clip) -> str | None:
    """Why this clip cannot be given to this plugin, or None."""
    if job.model.card.needs_prompt and not clip.prompt:
        return f"{clip.clip_id} has no prompt, which plugin {job.label!r} needs"
    if job.model.card.needs_image and not clip.image:
        return f"{clip.clip_id} has no first-frame image, which plugin {job.label!r} needs"
    return None


@dataclass
class Failures:
    """Why clips (or pairs) have no score: sentences by (job, id). Clips of equal content share one attempt."""

    sentences: dict[tuple[int, str], str]
    twins: dict[tuple[int, str], str]

    @classmethod
    def none(cls) -> Failures:
        return cls({}, {})

    def add(self, job: int, name: str, sentence: str) -> None:
        self.sentences[job, name] = sentence

    def of(self, job: int, name: str) -> str | None:
        """The sentence for a clip, or for the clip of equal content that was tried in its place."""
        return self.sentences.get((job, name)) or self.sentences.get((job, self.twins.get((job, name), "")))


def pending_clips(
    jobs: Sequence[Job],
    clips: Mapping[str, Clip],
    contents: Contents,
    store: ScoreStore,
    failures: Failures,
    progress: Progress,
    fail: Callable[[int, Clip, str], None],
) -> Iterator[Work]:
    """Work for every clip that lacks a score.

    ``fail`` is called for clips that cannot be tried; a clip of equal content as one already planned is noted in
    ``failures`` as its twin.
    """
    claimed: dict[bytes, str] = {}
    same: dict[tuple[int, ...], tuple[int, ...]] = {}
    for number, clip in enumerate(clips.values()):
        progress.advance(1)
        lacking = []
        for position, job in enumerate(jobs):
            content = contents.of(clip, job)
            if content is None:
                fail(position, clip, contents.error(clip))
                continue
            keys = [job.score_key(d, content[0], clip, content[1]) for d in job.dimensions]
            if all(store.has_score(key) for key in keys):
                continue
            reason = missing_requirement(job, clip)
            if reason is not None:
                fail(position, clip, reason)
                continue
            claim = bytes.fromhex(keys[0])
            if claim in claimed:
                failures.twins[position, clip.clip_id] = claimed[claim]
                continue
            claimed[claim] = clip.clip_id
            lacking.append(position)
        if lacking:
            wanted = tuple(lacking)
            yield Work(number, (clip,), same.setdefault(wanted, wanted))
