"""`anime-probe`, the embedded benchmark: drawn and written to a cache on first use."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardbench.cache import cache_folder
from rewardbench.errors import InputError
from rewardbench.locks import wait_for_lock
from rewardbench.synth.plan import PROBE_VERSION, VARIANTS, Cluster, plan_clusters, plan_pairs
from rewardbench.synth.recipes import FPS, render
from rewardbench.synth.world import draw_first_frame

Progress = Callable[[str, int, int], None]
"""Called as ``progress(phase, done, total)``."""

# Written out, not left to the writer's defaults: another encoder setting would be another benchmark.
_ENCODER_OPTIONS = {"x264-params": "asm=sse4.2" if platform.machine() in ("x86_64", "AMD64") else "mbtree=1"}


def load(
    name: str = "anime-probe",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Path of the pairs file, written first where it is not in the cache yet.

    Args:
        name: the benchmark's name, for messages and the cache's folder.
        variant: None or ``""`` (default), or ``full``.
        data_dir: folder that holds the sets; the cache (``$REWARDBENCH_CACHE`` or ``~/.cache/rewardbench``) if None.
        progress: called with phase, clips done and clips in all.

    Raises:
        InputError: unknown variant, or the folder cannot be written.
    """
    variant = _known_variant(name, variant)
    home = cache_folder() / name if data_dir is None else Path(data_dir)
    folder = home / f"{PROBE_VERSION}-{variant or 'default'}"
    pairs = folder / "pairs.csv"
    if pairs.is_file():
        return pairs
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _building(home, folder.name) as building:
            if not pairs.is_file():
                write_probe(building, variant, progress=progress)
                _publish(building, folder)
    except OSError as error:
        raise InputError(
            f"cannot write {name} to {home} ({error.strerror or error}); free space there or set REWARDBENCH_CACHE"
        ) from error
    return pairs


def write_probe(
    folder: str | os.PathLike[str],
    variant: str = "",
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Path:
    """Draw and write a variant of the set into ``folder``; clips that are already there are kept.

    Args:
        folder: made if missing. ``videos/*.mp4`` (H.264), ``images/*.png``, ``clips.csv`` and, last, ``pairs.csv``.
        variant: ``""`` or ``full``.
        progress: called as ``progress("drawing", done, total)`` after every clip.
        workers: processes that draw; the number of CPUs this process may use if None, in this process if 1.

    Returns:
        Path of ``pairs.csv``.

    Raises:
        InputError: unknown variant.
        OSError: the folder cannot be written.
    """
    from rewardbench.synth.pairs import write_tables

    variant = _known_variant("anime-probe", variant)
    folder = Path(folder)
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    clusters = plan_clusters(variant)
    specimens, pairs = plan_pairs(variant, clusters)
    total = len(specimens)
    workers = min(workers or usable_cpus(), len(clusters))
    if progress is not None:
        progress("drawing", 0, total)
    drawn = write_clips(folder, clusters) if workers == 1 else _drawn_by_workers(folder, variant, workers)
    for done, _ in enumerate(drawn, start=1):
        if progress is not None:
            progress("drawing", done, total)
    return write_tables(folder, specimens, pairs)


def write_clips(folder: Path, clusters: list[Cluster]) -> Iterator[str]:
    """Draw and write what is missing of the clusters' clips and images; yields the name of every clip."""
    from PIL import Image

    from rewardbench.video import write_video

    for cluster in clusters:
        image = folder / cluster.image
        if not image.exists():
            partial = image.with_name(f".{image.name}.partial")
            Image.fromarray(draw_first_frame(cluster.base)).save(partial, "png")
            os.replace(partial, image)
        for i, recipe in enumerate(cluster.recipes):
            path = folder / cluster.video(i)
            if not path.exists():
                encoding = cluster.encoding
                write_video(path, render(recipe), FPS, codec=encoding.codec, crf=encoding.crf, options=_ENCODER_OPTIONS)
            yield path.name


def usable_cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _known_variant(name: str, variant: str | None) -> str:
    variant = variant or ""
    if variant not in VARIANTS:
        known = ", ".join(f"{name}:{v}" if v else name for v in VARIANTS)
        raise InputError(f"unknown variant {variant!r} of benchmark {name}; use one of {known}")
    return variant


def _drawn_by_workers(folder: Path, variant: str, workers: int) -> Iterator[str]:
    """Draw in ``workers`` processes of their own; yields the clips' names as they are written.

    Plain subprocesses rather than a pool: they need no importable main module, and no copy of a torch runtime.
    """
    import selectors

    package_root = str(Path(__file__).resolve().parents[2])
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package_root, environment.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "rewardbench.synth.probe_worker", str(folder), variant or "default"]
    running = [
        subprocess.Popen(
            [*command, str(part), str(workers)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in range(workers)
    ]
    try:
        with selectors.DefaultSelector() as selector:
            for process in running:
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, process)
            while selector.get_map():
                for key, _ in selector.select():
                    line = key.fileobj.readline()  # type: ignore[union-attr]
                    if line:
                        yield line.strip()
                    else:
                        selector.unregister(key.fileobj)
        for process in running:
            _check_worker(process)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
            process.communicate()


def _check_worker(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        reason = errors.strip().splitlines()[-1] if errors.strip() else f"exit status {process.returncode}"
        raise OSError(f"a drawing process failed: {reason}")


@contextmanager
def _building(home: Path, name: str) -> Iterator[Path]:
    """The folder a set is built in, held by one process at a time; a run that was cut off goes on where it was."""
    building = home / f".building-{name}"
    building.mkdir(exist_ok=True)
    with (home / f".lock-{name}").open("w") as lock:
        wait_for_lock(lock)
        building.mkdir(exist_ok=True)
        try:
            yield building
        finally:
            if building.is_dir() and not any(building.iterdir()):
                building.rmdir()


def _publish(building: Path, folder: Path) -> None:
    """Rename the finished set into place; a half-written folder of that name (no pairs file) makes way."""
    if folder.exists():
        folder.rename(folder.with_name(f".broken-{folder.name}-{os.getpid()}"))
    building.rename(folder)
