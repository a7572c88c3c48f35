"""The container of a bundle: a zip file with fixed member names, written the same for the same content.

A bundle comes from somebody else. Nothing of it is ever unpacked to the disk: members are looked up by the names below,
read into memory under the limits below, and every other member is a fault. So a path that leaves the folder, a link, an
archive within the archive or a bomb has nothing to act on.
"""

from __future__ import annotations

import io
import json
import math
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "bundle.json"
RESULT = "result.json"
PAIRS = "pairs.jsonl"
SCORES = "scores.jsonl"
COMPARISONS = "comparisons.jsonl"
MEMBERS = (MANIFEST, RESULT, PAIRS, SCORES, COMPARISONS)

MAX_FILE_BYTES = 32 * 2**20
"""Of the zip file. 26,000 pairs with four labels and one model take about 2 MB."""
MAX_JSON_BYTES = 4 * 2**20
"""Of ``bundle.json`` and of ``result.json``, unpacked."""
MAX_TABLE_BYTES = 96 * 2**20
"""Of each table, unpacked."""
MAX_LINES = 1_000_000
"""Of each table."""
MAX_LINE_BYTES = 64 * 2**10
MAX_DEPTH = 16
"""Of objects and lists within each other."""
MAX_NUMBER = 2**63
"""No whole number reaches it, either side of 0: longer ones overflow where they meet a float."""
MAX_FAULTS = 40
"""Faults that are listed of one bundle; after that nothing more of it is read."""
MAX_MEMBERS = 16
"""Entries that are looked at; there are at most five good ones, and more than this is refused unread."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 2**16


class Refused(Exception):  # noqa: N818 (what happened to the bundle)
    """The bundle cannot be read on; ``faults`` holds one sentence each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def quoted(text: object, most: int = 80) -> str:
    """Foreign text in a sentence: quoted, in ASCII, at most about ``most`` characters."""
    return ascii(text if not isinstance(text, str) or len(text) <= most else f"{text[:most]}...")[: 2 * most]


def pack(members: Mapping[str, bytes]) -> bytes:
    """The bytes of a zip file with these members: their order, dates, modes and compression do not vary."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in MEMBERS:
            if name not in members:
                continue
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, members[name], compresslevel=9)
    return buffer.getvalue()


def canonical(path: Path) -> bytes:
    """A bundle's members packed anew: what stood before, between or behind them in the file is gone.

    Raises:
        Refused: see :func:`unpack`.
    """
    return pack(unpack(path))


def unpack(path: Path) -> dict[str, bytes]:
    """The members of a bundle, in memory.

    Raises:
        Refused: not such a file, or one that could do harm; all that is wrong with the container.
    """
    try:
        if not path.is_file():
            raise Refused([f"{path} is not a file"])
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise Refused([f"the file has {size:,} bytes, more than the {MAX_FILE_BYTES:,} a bundle may have"])
        raw = path.read_bytes()
    except OSError as error:
        raise Refused([f"{path} cannot be read ({error.strerror or error})"]) from None
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return _members(archive)
    # NotImplementedError: a method or version that zipfile does not know; ValueError, OverflowError: offsets that lie.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, NotImplementedError) as error:
        raise Refused([f"it is not a readable zip file ({' '.join(str(error).split()) or 'damaged'})"]) from None


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise Refused([f"it has {len(entries):,} members; a bundle has at most {len(MEMBERS)}"])
    faults = [fault for entry in entries if (fault := _entry_fault(entry))]
    names = [entry.filename for entry in entries]
    faults += [f"member {name!r} stands twice" for name in MEMBERS if names.count(name) > 1]
    faults += [f"member {name!r} is missing" for name in (MANIFEST, RESULT, PAIRS) if name not in names]
    if faults:
        raise Refused(faults)
    return {entry.filename: _content(archive, entry) for entry in entries}


def _entry_fault(entry: zipfile.ZipInfo) -> str | None:
    name = entry.filename
    shown = quoted(name)
    if name not in MEMBERS:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or name.startswith(("/", "\\", "~")) or name[1:2] == ":":
            return f"member {shown} names a place outside the bundle"
        return f"member {shown} does not belong in a bundle ({', '.join(MEMBERS)})"
    limit = _limit(name)
    reasons = (
        (stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG), "is a link or something else, no plain file"),
        (bool(entry.flag_bits & 0x1), "is encrypted"),
        (entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), "is not compressed by deflate"),
        (entry.file_size > limit, f"unpacks to {entry.file_size:,} bytes, more than the {limit:,} it may have"),
    )
    return next((f"member {shown} {reason}" for holds, reason in reasons if holds), None)


def _limit(name: str) -> int:
    return MAX_JSON_BYTES if name.endswith(".json") else MAX_TABLE_BYTES


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member's bytes, read in blocks: the size that the container states may be a lie."""
    limit, read, blocks = _limit(entry.filename), 0, []
    with archive.open(entry) as stream:
        while block := stream.read(_BLOCK):
            read += len(block)
            if read > limit:
                raise Refused([f"member {entry.filename!r} unpacks to more than the {limit:,} bytes it may have"])
            blocks.append(block)
    return b"".join(blocks)


def read_json(text: bytes, name: str) -> Any:
    """One JSON document: UTF-8, no key twice, finite numbers below 2^63, no half of a surrogate pair, not too deep.

    Raises:
        ValueError: one clause that begins with ``name``.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"{name} nests deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as JSON ({error})") from None
    if _deeper_than(value, MAX_DEPTH):
        raise ValueError(f"{name} nests deeper than {MAX_DEPTH} levels")
    if _SURROGATE.search(text) and _has_lone_surrogate(value):
        raise ValueError(f"{name} has half of a surrogate pair in a text, which is no character")
    return value


def read_lines(
    text: bytes, name: str, read: Callable[[dict[str, Any], int], None], *, most: int = MAX_LINES
) -> list[str]:
    """Hand every line of a table (a JSON object each) to ``read``, which raises ValueError; the faults found.

    Reading ends after :data:`MAX_FAULTS` of them, so a table of nothing but faults costs no more than a short one.
    """
    count = text.count(b"\n") + (not text.endswith(b"\n") and bool(text))
    if count > most:
        return [f"{name} has {count:,} lines, more than the {most:,} it may have"]
    faults: list[str] = []
    for number, ended in enumerate(io.BytesIO(text), start=1):
        where, line = f"{name}, line {number}", ended.removesuffix(b"\n")
        if len(line) > MAX_LINE_BYTES:
            faults.append(f"{where} has {len(line):,} bytes, more than the {MAX_LINE_BYTES:,} it may have")
            continue
        try:
            value = read_json(line, where)
            if not isinstance(value, dict):
                raise ValueError(f"{where} is not an object")
            read(value, number)
        except ValueError as error:
            faults.append(str(error))
        if len(faults) > MAX_FAULTS:
            break
    return faults


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"key {quoted(twice)} stands twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > 20 or not -MAX_NUMBER < int(text) < MAX_NUMBER:
        raise ValueError(f"the number {quoted(text, 20)} is not below 2^63")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {quoted(text, 20)} is not finite")
    return value


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _has_lone_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(one, (dict, list)) for one in layer)
