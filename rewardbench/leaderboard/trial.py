"""Would a board take this bundle: what its submitter can know before sending it."""

from __future__ import annotations

from pathlib import Path

from rewardbench.errors import RewardbenchError
from rewardbench.leaderboard.known import KnownBenchmark, fingerprint, known_benchmarks
from rewardbench.leaderboard.verification import verify_bundle
from rewardbench.runfolder import RunRecord, read_run


def try_bundle(path: Path, run: Path) -> list[str]:
    """What a board would refuse in the bundle made of ``run``; a benchmark is known where it ships or is at hand.

    Raises:
        InputError: if the folder holds no finished run.
    """
    record = read_run(run)
    known = known_benchmarks()
    if record.benchmark.sha256 not in known:
        found = _at_hand(record)
        if found is None:
            return [f"benchmark {record.benchmark.name} is not at hand, so nothing was held against it"]
        known[found.sha256] = found
    return list(verify_bundle(path, known).faults)


def _at_hand(record: RunRecord) -> KnownBenchmark | None:
    """The run's benchmark from where it was read, as ``admit`` would take it; None where that is gone or another."""
    source = Path(record.benchmark.source)
    if not source.exists():
        return None
    name = str(source) if source.is_file() else record.benchmark.name  # one of the catalogue lies in a folder
    labels = list(dict.fromkeys(row.label for row in record.rows))
    try:
        found = fingerprint(name, labels=labels, label_format=record.label_format)
    except RewardbenchError:
        return None
    return found if found.sha256 == record.benchmark.sha256 else None
