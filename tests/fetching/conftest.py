"""A server on this machine that stands for the published places: plain files, and repositories of a hub."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "1234567890abcdef1234567890abcdef12345678"
JSON = {"Content-Type": "application/json"}
LARGE = 2_000
"""Files of at least this many bytes are kept in large-file storage, as the hub does it."""


@dataclass
class Place:
    """What is published, and how badly it is served.

    Attributes:
        files: path to bytes, at ``{url}/PATH``.
        repositories: ``owner/name`` to its files at its only commit.
        lies: paths whose bytes are not what the listing says.
        breaks: path to how often its transfer ends half way.
        requests: (path, Range header) of everything asked for.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    status: int = 200
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def asked(self, path: str) -> list[str | None]:
        """The Range headers with which a path was fetched."""
        return [span for name, span in self.requests if name.endswith(path)]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made = Place(f"http://127.0.0.1:{server.server_address[1]}")
    server.place = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setattr("rewardbench.fetching.download.PAUSE", 0.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def blob_id(data: bytes) -> str:
    """Git's own name of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        place: Place = self.server.place  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        if body:
            place.requests.append((path, self.headers.get("Range")))
        if place.status != 200:
            self.reply(place.status, b"no")
            return
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if listing and listing[1] in place.repositories and listing[2] in (None, "main", COMMIT):
            self.reply(200, json.dumps(_listing(listing[1], place)).encode(), JSON)
        elif tree and tree[1] in place.repositories:
            self.reply(
                200, json.dumps(_tree(place.repositories[tree[1]])).encode(), {"Content-Type": "application/json"}
            )
        elif file and file[3] in place.repositories.get(file[1], {}):
            data = place.repositories[file[1]][file[3]]
            etag = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else blob_id(data)
            self.send_bytes(
                place, file[3], place.lies.get(file[3], data), body, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
            )
        elif path[1:] in place.files:
            self.send_bytes(place, path[1:], place.files[path[1:]], body, {})
        else:
            self.reply(404, b"nothing here", {"X-Error-Code": "RepoNotFound"} if listing else {})

    def send_bytes(self, place: Place, name: str, data: bytes, body: bool, headers: dict[str, str]) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, status = 0, 200
        if span and place.ranges:
            start, status = int(span[1]), 206
            if start >= len(data):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers |= {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data) - start), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        if place.breaks.get(name, 0) > 0:
            place.breaks[name] -= 1
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _listing(name: str, place: Place) -> dict[str, object]:
    siblings = []
    for path, data in place.repositories[name].items():
        entry: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": blob_id(data)}
        if len(data) >= LARGE:
            entry |= {"blobId": "0" * 40, "lfs": _lfs(data)}
        siblings.append(entry)
    return {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "private": False, "siblings": siblings}


def _tree(files: dict[str, bytes]) -> list[dict[str, object]]:
    entries = []
    for path, data in files.items():
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
        if len(data) >= LARGE:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        entries.append(entry)
    return entries


def _lfs(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
