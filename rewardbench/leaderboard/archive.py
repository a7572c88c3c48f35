"""The container of a bundle: a zip file with fixed member names, written the same for the same content.

A bundle comes from somebody else. Nothing of it is ever unpacked to the disk: members are looked up by the names below,
read into memory under the limits below, and every other member is a fault. So a path that leaves the folder, a link, an
archive within the archive or a bomb has nothing to act on.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
import zlib
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
    """One JSON document: UTF-8, no key twice, no NaN, not too deep.

    Raises:
        ValueError: one clause that begins with ``name``.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"{name} nests deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ValueError(f"{name} is not JSON as a bundle has it ({error})") from None
    if _deeper_than(value, MAX_DEPTH):
        raise ValueError(f"{name} nests deeper than {MAX_DEPTH} levels")
    return value


def read_lines(text: bytes, name: str, read: Callable[[dict[str, Any], int], None]) -> list[str]:
    """Hand every line of a table (a JSON object each) to ``read``, which raises ValueError; the faults found."""
    faults = []
    lines = text.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) > MAX_LINES:
        return [f"{name} has {len(lines):,} lines, more than the {MAX_LINES:,} it may have"]
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
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
    return faults


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {quoted(twice)} stands twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


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
