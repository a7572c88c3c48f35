"""The folder of one run: who may use it, what the run was, and where its scores came from."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import rewardbench
from rewardbench.environments import packages_of, recipe_of
from rewardbench.errors import InputError
from rewardbench.locks import try_lock
from rewardbench.results import BenchmarkRecord, CostRecord, DimensionRecord, PluginRecord, Provenance, RaterRecord
from rewardbench.schemas import read_record
from rewardbench.scoring.plan import Job
from rewardbench_plugin.clip import FrameSpec

RUN_FILE = "run.json"
STORE_FILE = "scores.sqlite"
SCHEMA: Literal["rewardbench.run/1"] = "rewardbench.run/1"


class RowRecord(BaseModel):
    """One line of the result (see :class:`rewardbench.evaluation.Row`)."""

    model_config = ConfigDict(extra="forbid")
    job: int
    plugin: str
    label: str
    score: str
    higher_is_better: bool
    native_threshold: float | None


class RunRecord(BaseModel):
    """``run.json``: all a result needs beside the tables."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    schema_name: Literal["rewardbench.run/1"] = Field(default=SCHEMA, alias="schema")
    identity: dict[str, Any]
    plugins: list[PluginRecord]
    benchmark: BenchmarkRecord
    rows: list[RowRecord]
    cluster: str
    bootstrap: int
    seed: int
    tie_threshold: float | None
    label_format: str
    cost: CostRecord
    warnings: list[str]
    raters: dict[str, RaterRecord] = Field(default_factory=dict)
    provenance: Provenance


@contextlib.contextmanager
def open_folder(folder: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Make or re-enter a run folder and hold it for this process.

    Raises:
        InputError: if it cannot be written, belongs to another run, holds something else, or is in use.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_owner(folder, identity)
        lock = open(folder / ".lock", "a")  # noqa: SIM115 (held until the run ends)
    except OSError as error:
        raise InputError(
            f"the output folder {folder} cannot be written ({error.strerror}); choose another with --out"
        ) from None
    with lock:
        if not try_lock(lock):
            raise InputError(f"another rewardbench process is at work in {folder}; wait for it or choose another --out")
        started = folder / "identity.json"
        if not started.exists():
            write_text(started, json.dumps(identity, indent=1) + "\n")
        (folder / "logs").mkdir(exist_ok=True)
        yield folder


def _check_owner(folder: Path, identity: dict[str, Any]) -> None:
    started = folder / "identity.json"
    if started.exists():
        try:
            known = json.loads(started.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(f"{started} is damaged; choose another folder with --out") from None
        if known != json.loads(json.dumps(identity)):
            what = ", ".join(str(p[0]) for p in known.get("plugins", []))
            where = str((known.get("benchmark") or ["?"])[0])
            differs = "other weights, options or versions" if _same_names(known, identity) else "another run"
            raise InputError(
                f"the output folder {folder} holds {differs} ({what} on {where}); "
                "choose another with --out, or delete it"
            )
    elif any(entry.name != ".lock" for entry in folder.iterdir()):
        raise InputError(
            f"the output folder {folder} holds something that is no run of rewardbench; choose another with --out"
        )


def _same_names(known: dict[str, Any], identity: dict[str, Any]) -> bool:
    def names(of: dict[str, Any]) -> Any:
        return [p[0] for p in of.get("plugins", [])], (of.get("benchmark") or ["?"])[0]

    return bool(names(known) == names(identity))


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all.

    Raises:
        InputError: if the folder cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); the scores are kept") from None


def write_run(folder: Path, record: RunRecord) -> None:
    data = json.dumps(record.model_dump(by_alias=True), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / RUN_FILE, data + "\n")


def read_run(folder: Path) -> RunRecord:
    """Read ``run.json``.

    Raises:
        InputError: if the folder holds no finished run, or one of an older, newer or foreign schema.
    """
    missing = f"{folder} holds no finished run (no {RUN_FILE}); run the same command again to finish it"
    return read_record(folder / RUN_FILE, RunRecord, SCHEMA, missing=missing, remedy="run the benchmark again")


def plugin_record(job: Job) -> PluginRecord:
    """What a result says of a plugin."""
    from rewardbench_plugin.digests import hash_path

    card = job.model.card
    recipe = recipe_of(card, job.choice.target)
    return PluginRecord(
        label=job.label,
        name=card.name,
        version=card.version,
        preset=job.choice.preset,
        fingerprint=job.fingerprint,
        weights={part: hash_path(path) for part, path in job.model.weights.items()},
        options=dict(job.choice.options),
        dimensions=[
            DimensionRecord(name=d.name, low=d.low, high=d.high, higher_is_better=d.higher_is_better)
            for d in card.dimensions
            if d.name in job.dimensions
        ],
        inputs={n: spec.to_json() if isinstance(spec, FrameSpec) else "PATH" for n, spec in card.inputs.items()},
        environment={} if recipe is None else packages_of(recipe),
        notes=card.notes,
        training_data=card.training_data,
        citation=card.citation,
    )


PACKAGES = ("numpy", "av", "pillow", "scipy", "torch", "torchvision", "transformers", "open_clip_torch")


def provenance(jobs: Sequence[Job], *, seed: int, command: str, started: datetime) -> Provenance:
    """Versions, platform, decoder and command of this run; device and precision are filled in from its sessions."""
    from rewardbench.video import filter_version, reader_version

    specs = [spec for job in jobs for spec in job.specs]
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    filters = sorted({f"{s.filter} ({filter_version(s.filter)})" for s in specs if s.filter != "none"})
    return Provenance(
        rewardbench=rewardbench.__version__,
        python=platform.python_version(),
        torch=packages.get("torch"),
        transformers=packages.get("transformers"),
        packages=packages,
        platform=f"{platform.system()} {platform.machine()}",
        decoder={reader: reader_version(reader) for reader in sorted({s.reader for s in specs})},
        resize_filter=filters,
        seed=seed,
        command=command,
        git=_git(),
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _git() -> str | None:
    """Commit of the checkout this package runs from (``+`` if it has changes), None for an installed package."""
    root = Path(rewardbench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", os.fspath(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        status = subprocess.run(
            ["git", "-C", os.fspath(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")
