"""Treated copies of the user's clips, made once and kept in the cache by content; several processes at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rewardbench.cache import cache_folder
from rewardbench.errors import InputError
from rewardbench.probing.variants import REFERENCE_CRF, suffix_of
from rewardbench.probing.workshop_worker import FIRST_FRAME, REFERENCE, SAME, read_facts
from rewardbench.scoring.process import WorkerDied, WorkerProcess
from rewardbench.scoring.progress import Progress

EDITION = 1
"""To be raised when a treatment gives other pixels than before; copies of an older edition are not used again."""
SHORT_SIDE, MOST_FRAMES = 320, 121
MAKE_SECONDS = 600.0

Level = tuple[str, str]
"""(treatment, level)"""


@dataclass(frozen=True)
class Copies:
    """What was made of one clip.

    Attributes:
        reference, first_frame: paths.
        frames, fps: of the working copy.
        shrunk: the working copy is smaller or shorter than the file.
        files: path by (treatment, level); None where the treatment changes nothing on this clip.
        failures: sentence by (treatment, level).
    """

    reference: str
    first_frame: str
    frames: int
    fps: float
    shrunk: bool
    files: Mapping[Level, str | None]
    failures: Mapping[Level, str]


def make_copies(
    videos: Mapping[str, str],
    levels: Sequence[Level],
    *,
    seed: int,
    workers: int,
    progress: Progress,
    short_side: int = SHORT_SIDE,
    most_frames: int = MOST_FRAMES,
) -> tuple[dict[str, Copies], dict[str, str]]:
    """Working copies and treated copies of clips.

    Args:
        videos: content hash of each clip to its path.
        levels: what is made of each.
        seed: draws of the treatments.
        workers: processes.
        progress: told of every copy.
        short_side, most_frames: larger clips are scaled down, longer ones cut.

    Returns:
        What was made by content hash, and why nothing could be made of the others.

    Raises:
        InputError: the cache folder cannot be written.
    """
    folders = {sha: _folder(sha, seed, short_side, most_frames) for sha in videos}
    try:
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"treated clips cannot be kept in {cache_folder()} ({error.strerror}); set REWARDBENCH_CACHE to a folder "
            "that can be written"
        ) from None
    todo = {sha: [level for level in levels if not _is_made(folders[sha], level)] for sha in videos}
    todo = {sha: lacking for sha, lacking in todo.items() if lacking or read_facts(folders[sha]) is None}
    failures: dict[str, str] = {}
    faults: dict[tuple[str, Level], str] = {}
    if todo:
        progress.start_phase("treating clips", sum(len(lacking) for lacking in todo.values()))
        with _Crew(min(workers, len(todo)), seed, (short_side, most_frames)) as crew:
            for sha, lacking in todo.items():
                crew.give(sha, videos[sha], folders[sha], lacking)
            for n in crew.steps(len(todo)):
                progress.advance(n)
            failures, faults = crew.failures, crew.faults
        progress.end_phase()
    made = {}
    for sha, folder in folders.items():
        facts = read_facts(folder)
        if sha in failures or facts is None:
            failures.setdefault(sha, "its working copy could not be kept")
            continue
        files = {level: _made(folder, level) for level in levels if _is_made(folder, level)}
        own = {level: sentence for (of, level), sentence in faults.items() if of == sha}
        made[sha] = Copies(str(folder / REFERENCE), str(folder / FIRST_FRAME), **facts, files=files, failures=own)
    return made, failures


def _folder(sha: str, seed: int, short_side: int, most_frames: int) -> Path:
    """Everything that can change the copies of one clip stands in the folder's name."""
    import av

    state = [EDITION, sha, seed, short_side, most_frames, REFERENCE_CRF, av.__version__]
    return cache_folder() / "probe" / hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]


def _path(folder: Path, level: Level) -> Path:
    plain = re.sub(r"[^\w.]+", "-", level[1].replace("/", "_of_"))
    return folder / f"{level[0]}--{plain}{suffix_of(*level)}"


def _is_made(folder: Path, level: Level) -> bool:
    path = _path(folder, level)
    return path.is_file() or path.with_name(path.name + SAME).is_file()


def _made(folder: Path, level: Level) -> str | None:
    path = _path(folder, level)
    return str(path) if path.is_file() else None


class _Crew:
    """Threads, each with a process of its own that treats one clip after the other."""

    def __init__(self, size: int, seed: int, limits: tuple[int, int]) -> None:
        self.seed, self.limits = seed, limits
        self.failures: dict[str, str] = {}
        self.faults: dict[tuple[str, Level], str] = {}
        self._steps: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(size)
        self._own = threading.local()
        self._workers: list[WorkerProcess] = []
        self._stopped = threading.Event()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        for worker in self._workers:
            worker.kill()
        self._pool.shutdown(cancel_futures=True)

    def give(self, sha: str, video: str, folder: Path, levels: Sequence[Level]) -> None:
        """One clip and what is to be made of it."""
        self._pool.submit(self._guarded, sha, video, folder, levels)

    def steps(self, clips: int) -> _Steps:
        """Copies made, as they are made, until ``clips`` clips are through."""
        return _Steps(self._steps, clips)

    def _guarded(self, sha: str, video: str, folder: Path, levels: Sequence[Level]) -> None:
        try:
            self._treat(sha, video, folder, levels)
        except BaseException as error:  # handed to the thread that waits
            self._steps.put(error)
        else:
            self._steps.put(None)

    def _treat(self, sha: str, video: str, folder: Path, levels: Sequence[Level]) -> None:
        opening = {
            "op": "open",
            "video": video,
            "folder": str(folder),
            "short_side": self.limits[0],
            "most_frames": self.limits[1],
        }
        sentence = self._ask(opening)
        if sentence is not None:
            self.failures[sha] = sentence if video in sentence else f"{video}: {sentence}"
            self._steps.put(len(levels))
            return
        for level in levels:
            if self._stopped.is_set():
                return
            request = {
                "op": "make",
                "treatment": level[0],
                "level": level[1],
                "seed": self.seed,
                "target": str(_path(folder, level)),
            }
            sentence = self._ask(request)
            if sentence is not None:
                self.faults[sha, level] = f"{' '.join(level)} could not be made of {video}: {sentence}"
                if getattr(self._own, "worker", None) is None and self._ask(opening) is not None:
                    return  # its frames went with the process, and a second time it did not get as far
            self._steps.put(1)

    def _ask(self, request: Mapping[str, object]) -> str | None:
        """None, or why it could not be done; a process that died or hung is replaced at the next request."""
        worker: WorkerProcess | None = getattr(self._own, "worker", None)
        try:
            if worker is None:
                worker = self._own.worker = WorkerProcess("rewardbench.probing.workshop_worker", log=None, threads=1)
                self._workers.append(worker)
            reply, _ = worker.call(request, timeout=MAKE_SECONDS)
        except (WorkerDied, TimeoutError, OSError) as error:
            if worker is not None:
                with contextlib.suppress(OSError):
                    worker.kill()
            self._own.worker = None
            return str(error)
        return None if reply["ok"] else str(reply["error"])


class _Steps:
    """Iterator over the numbers in a queue until so many clips are through; raises what a thread raised."""

    def __init__(self, steps: queue.SimpleQueue[int | BaseException | None], clips: int) -> None:
        self._steps, self._left = steps, clips

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> int:
        while self._left:
            step = self._steps.get()
            if isinstance(step, BaseException):
                raise step
            if step is not None:
                return step
            self._left -= 1
        raise StopIteration
