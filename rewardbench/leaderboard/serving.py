"""A local look at a site: Python's own file server, on this machine only."""

from __future__ import annotations

import errno
import functools
import http.server
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError

HOST = "127.0.0.1"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows the address, not every picture."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """Folders are not listed; a site has pages for what it shows."""
        self.send_error(404, "no such page")


def open_server(site: Path, port: int = 8000) -> http.server.ThreadingHTTPServer:
    """A server of the files in ``site``, bound to this machine; port 0 takes any free one. The caller closes it.

    Raises:
        InputError: no site there, or the port is taken.
    """
    if not (site / "index.html").is_file():
        raise InputError(f"{site} holds no site; make it with rewardbench leaderboard build")
    handler = functools.partial(_Handler, directory=str(site))
    try:
        return http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise InputError(f"port {port} {reason}; choose another with --port") from None
