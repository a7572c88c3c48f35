"""The durable store: what is written stays, and is found again under its key only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rewardbench.errors import ClipError, InputError
from rewardbench.scoring import store as store_module
from rewardbench.scoring.store import Judgement, Score, ScoreStore


def test_scores_survive_the_process(tmp_path: Path) -> None:
    ScoreStore(tmp_path / "s").put_scores([Score("a", 0.1 + 0.2, -1e-300, "note"), Score("b", None, None)])
    again = ScoreStore(tmp_path / "s")
    assert again.score("a") == Score("a", 0.1 + 0.2, -1e-300, "note"), "every bit of a float64 is kept"
    assert again.score("b") == Score("b", None, None)
    assert again.has_score("b")
    assert again.score("c") is None
    assert again.count() == 2


def test_judgements(tmp_path: Path) -> None:
    said = [Judgement("x", (0.25, 0.25, 0.5), "B, by far"), Judgement("y", None, "")]
    ScoreStore(tmp_path / "s").put_judgements(said)
    again = ScoreStore(tmp_path / "s")
    assert [again.judgement("x"), again.judgement("y"), again.judgement("z")] == [*said, None]


def test_a_failed_write_leaves_no_half_batch(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "s")
    with pytest.raises(InputError):
        store.put_scores([Score("a", 1.0, 1.0), Score("b", "text" * 10, object(), "")])  # type: ignore[arg-type]
    assert store.count() == 0
    store.put_scores([Score("a", 1.0, 1.0)])
    assert store.count() == 1


def test_content_hashes_follow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    import rewardbench.video

    file = tmp_path / "clip.mp4"
    file.write_bytes(b"one")
    calls = []
    real = rewardbench.video.content_hash
    monkeypatch.setattr(rewardbench.video, "content_hash", lambda path: calls.append(path) or real(path))
    monkeypatch.setattr(store_module, "HASHES_PER_WRITE", 1)
    store = ScoreStore(tmp_path / "s")
    assert store.content_hash(str(file)) == hashlib.sha256(b"one").hexdigest()
    assert store.content_hash(str(file)) == hashlib.sha256(b"one").hexdigest()
    assert len(calls) == 1, "an unchanged file is hashed once"
    file.write_bytes(b"three")
    assert store.content_hash(str(file)) == hashlib.sha256(b"three").hexdigest()
    with pytest.raises(ClipError, match="no such file"):
        store.content_hash(str(tmp_path / "gone.mp4"))


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        ScoreStore(tmp_path / "s")


def test_sessions_are_kept_in_order(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "s")
    for device in ("cpu", "cuda"):
        store.add_session("p", {"device": device})
    assert [s["device"] for s in store.sessions("p")] == ["cpu", "cuda"]
    assert list(store.sessions("q")) == []


def test_every_write_is_on_the_disk(tmp_path: Path) -> None:
    """Full synchronisation and one transaction per batch: another connection sees the rows at once."""
    store = ScoreStore(tmp_path / "s")
    store.put_scores([Score("a", 1.0, 1.0)])
    other = sqlite3.connect(tmp_path / "s")
    assert other.execute("SELECT COUNT(*) FROM scores").fetchone() == (1,)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
