"""The page's server: this machine only, nothing without the token, no file but the listed clips."""

from __future__ import annotations

import errno
import hmac
import http.server
import json
import math
import re
import secrets
import sys
from dataclasses import dataclass
from importlib import resources
from typing import Any, BinaryIO

from rewardbench.errors import InputError
from rewardbench.labelling.room import OutOfDateError, Room

HOST = "127.0.0.1"
MAX_BODY = 16 * 1024
_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/mp4",  # the same boxes; browsers play these more often than "video/quicktime"
    ".webm": "video/webm",
    ".mkv": "video/webm",
    ".avi": "video/x-msvideo",
    ".ts": "video/mp2t",
    ".gif": "image/gif",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


class LabelServer(http.server.ThreadingHTTPServer):
    """Serves one `Room`; ``url`` carries the token without which every request is answered 404."""

    daemon_threads = True

    def __init__(self, room: Room, port: int = 0) -> None:
        """Bind to this machine; port 0 takes any free one.

        Raises:
            InputError: the port is taken.
        """
        self.room = room
        self.token = secrets.token_urlsafe(18)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise InputError(f"port {port} {reason}; choose another with --port") from None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that stops loading a clip in the middle is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a ``Range`` header (RFC 9110, 14.2); None for all, where the header is absent or not ours.

    Raises:
        ValueError: nothing of the range lies in the file (status 416).
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        length = int(found[2])
        if length == 0 or size == 0:
            raise ValueError(header)
        return max(0, size - length), size - 1
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None
    if first >= size:
        raise ValueError(header)
    return first, min(last, size - 1)


@dataclass(frozen=True)
class _Asked:
    """The body of a request: who, while question ``number`` is shown; a choice and its seconds for an answer."""

    rater: str
    number: int
    choice: str
    seconds: float | None

    @classmethod
    def read(cls, body: bytes) -> _Asked:
        """Raises ValueError, KeyError, TypeError or AttributeError for anything but such a body."""
        found = json.loads(body)
        rater, number, seconds = found["rater"], found.get("number", -1), found.get("seconds")
        if not isinstance(rater, str) or type(number) is not int:
            raise TypeError(found)
        if seconds is not None:
            seconds = float(seconds)
            seconds = seconds if math.isfinite(seconds) and 0 <= seconds < 1e6 else None
        return cls(rater, number, str(found.get("choice")), seconds)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LabelServer
    protocol_version = "HTTP/1.1"
    server_version = "rewardbench"
    sys_version = ""
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows the address, not every request (which would hold the token)."""

    def do_GET(self) -> None:
        place = self._place()
        if place == "":
            self._page()
        elif place is not None and place.startswith("clip/"):
            self._clip(place.removeprefix("clip/"))
        else:
            self._fail(404, "no such page")

    do_HEAD = do_GET  # noqa: N815 (http.server's own naming)

    def do_POST(self) -> None:
        place = self._place()
        if place not in ("state", "answer", "undo"):
            return self._fail(404, "no such page")
        if self.headers.get_content_type() != "application/json":  # what a foreign page cannot send unasked
            return self._fail(415, "send JSON")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return self._fail(411, "the length is missing")
        if len(length) > 9 or int(length) > MAX_BODY:
            return self._fail(413, "too much")
        try:
            asked = _Asked.read(self.rfile.read(int(length)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return self._fail(400, "not understood")
        return self._json(*self._do(place, asked))

    def _do(self, place: str, asked: _Asked) -> tuple[int, dict[str, Any]]:
        """Status and answer of what the page asked for."""
        room = self.server.room
        try:
            if place == "state":
                return 200, room.state(asked.rater)
            if place == "undo":
                return 200, room.undo(asked.rater, asked.number)
            return 200, room.answer(asked.rater, asked.number, asked.choice, asked.seconds)
        except OutOfDateError:
            return 409, {"error": "answered already", "state": room.state(asked.rater)}
        except InputError as error:
            return 400, {"error": str(error)}
        except OSError as error:
            return 500, {"error": f"the answer could not be written: {error.strerror or error}"}

    def _place(self) -> str | None:
        """The path behind the token; None where the token or the host is another (a name that points at us)."""
        host = self.headers.get("Host", "")
        token, slash, place = self.path.removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        if host not in (f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}"):
            return None
        return place if known and slash else None

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(12)
        text = resources.files("rewardbench.labelling").joinpath("page.html").read_text(encoding="utf-8")
        rater = json.dumps(self.server.room.rater).replace("<", "\\u003c")
        body = text.replace("__NONCE__", nonce).replace("__RATER__", rater).encode()
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self._send(200, "text/html; charset=utf-8", body, {"Content-Security-Policy": policy})

    def _clip(self, name: str) -> None:
        file = self.server.room.file(name)  # a look-up, never a path: no name leads anywhere else
        if file is None:
            return self._fail(404, "no such clip")
        try:
            with open(file, "rb") as stream:
                self._stream(stream, _TYPES.get(file.suffix.lower(), "application/octet-stream"))
        except FileNotFoundError:
            self._fail(404, "the clip is gone")
        return None

    def _stream(self, stream: BinaryIO, kind: str) -> None:
        size = stream.seek(0, 2)
        try:
            part = byte_range(self.headers.get("Range"), size)
        except ValueError:
            return self._send(416, "text/plain", b"", {"Content-Range": f"bytes */{size}"})
        first, last = part or (0, size - 1)
        self.send_response(200 if part is None else 206)
        self._headers(kind, last - first + 1)
        self.send_header("Accept-Ranges", "bytes")
        if part is not None:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        stream.seek(first)
        left = last - first + 1
        while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
            self.wfile.write(chunk)
            left -= len(chunk)
        self.close_connection = self.close_connection or left > 0  # the file shrank: the rest never comes
        return None

    def _json(self, status: int, value: Any) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _fail(self, status: int, text: str) -> None:
        self.close_connection = True  # a body that was not read must not be taken for the next request
        self._send(status, "text/plain; charset=utf-8", text.encode(), {"Connection": "close"})

    def _send(self, status: int, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self._headers(kind, len(body))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _headers(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
