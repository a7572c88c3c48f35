"""One file over HTTP: what is there already is kept and continued, and nothing wrong is left in place."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

from rewardbench.errors import InputError

ATTEMPTS = 4
PAUSE = 1.0
"""Seconds before the second attempt; each later pause is twice as long."""
TIMEOUT = 30.0
BLOCK = 1 << 16
_BLOB = re.compile(r"https://github\.com/([^/]+/[^/]+)/(?:blob|raw)/(.+)")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class UnreachableError(InputError):
    """The published place does not answer from here."""


def raw_url(url: str) -> str:
    """The address of a file's bytes, where ``url`` is GitHub's page about it.

    Raises:
        InputError: neither http nor https.
    """
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url} is not an address rewardbench fetches from (http or https)")
    page = _BLOB.fullmatch(url)
    return f"https://raw.githubusercontent.com/{page[1]}/{page[2]}" if page else url


def download(url: str, path: Path, *, sha256: str | None = None, most: int | None = None) -> None:
    """Bring ``url`` to ``path``, which appears only when whole and, with ``sha256``, only when it is the right file.

    An interrupted download stays beside it as ``NAME.partial`` and is continued, by this call or by a later one.

    Args:
        most: refuse more bytes than this.

    Raises:
        UnreachableError: no connection, or none that lasts.
        InputError: the server refuses, too many bytes, or another file than expected (nothing is kept of it).
    """
    address = raw_url(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    continued = partial.exists() and partial.stat().st_size > 0
    _complete(address, partial, most)
    if sha256 is not None and continued and _digest(partial) != sha256:
        partial.unlink()  # what lay there was not the beginning of this file
        _complete(address, partial, most)
    if sha256 is not None:
        found = _digest(partial)
        if found != sha256:
            partial.unlink()
            raise InputError(
                f"{url} is not the published file: its SHA-256 is {found[:16]}…, expected {sha256[:16]}…; nothing was "
                "kept of it"
            )
    os.replace(partial, path)


def _complete(address: str, partial: Path, most: int | None) -> None:
    """Add to ``partial`` until it is whole."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _receive(address, partial, most):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise InputError(
                    f"{address} cannot be fetched: the server answers {error.code} {error.reason}"
                ) from None
            reason = f"the server answers {error.code} {error.reason}"
        except urllib.error.URLError as error:
            raise UnreachableError(f"{address} cannot be reached ({_words(error.reason)})") from None
        except (OSError, http.client.HTTPException) as error:
            reason = _words(error)
        after = partial.stat().st_size if partial.exists() else 0
        if after == before and attempt and after:
            partial.unlink()  # asking for the rest brings nothing: begin again
    raise UnreachableError(f"{address} breaks off ({reason}); the same command goes on where it stopped")


def _receive(address: str, partial: Path, most: int | None) -> bool:
    """One request for what is missing; True where the file is whole now."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "rewardbench"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing follows: it may be whole, or of another file
            partial.unlink()
            return False
        raise
    with response:
        place = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
        if response.status == 206 and (place is None or int(place[1]) != start):
            partial.unlink(missing_ok=True)
            return False
        if response.status != 206:
            start = 0  # the server sends everything again
        length = response.headers.get("Content-Length")
        with open(partial, "r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            received = 0
            while block := response.read(BLOCK):
                received += len(block)
                if most is not None and start + received > most:
                    stream.close()
                    partial.unlink()
                    raise InputError(f"{address} has more than the {most:,} bytes expected of it")
                stream.write(block)
    return length is None or received == int(length)


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _words(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
