"""A server that stands for the published places, and a cache of its own for every test."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

_FETCHING = runpy.run_path(str(Path(__file__).resolve().parents[1] / "fetching" / "conftest.py"))
place = _FETCHING["place"]
COMMIT: str = _FETCHING["COMMIT"]
OLDER = "f" * 40


def _serve_datasets(handler: type[Any]) -> None:
    """The hub's data sets have the same protocol under other paths; the history has two commits."""
    answer = handler.answer

    def answer_datasets(self: Any, *, body: bool) -> None:
        self.path = re.sub(r"^/(api/)?datasets/", lambda m: "/api/models/" if m[1] else "/", self.path)
        history = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commits/main", self.path.partition("?")[0])
        if history and history[1] in self.server.place.repositories:
            commits = [
                {"id": commit, "authors": [], "date": "2025-01-01T00:00:00.000Z", "title": "t", "message": ""}
                for commit in (COMMIT, OLDER)
            ]
            self.reply(200, json.dumps(commits).encode(), {"Content-Type": "application/json"})
            return
        answer(self, body=body)

    handler.answer = answer_datasets


_serve_datasets(_FETCHING["_Handler"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that no test sees what the user fetched."""
    home = tmp_path / "cache"
    monkeypatch.setenv("REWARDBENCH_CACHE", str(home))
    return home
