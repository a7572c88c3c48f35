"""Archives made to do harm are refused before anything of them is unpacked or written."""

from __future__ import annotations

import io
import json
import stat
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.leaderboard import archive
from rewardbench.leaderboard.archive import Refused, pack, read_json, read_lines, unpack

GOOD = {archive.MANIFEST: b"{}", archive.RESULT: b"{}", archive.PAIRS: b""}


def written(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            made.writestr(name, content)
    return path


def faults_of(path: Path) -> list[str]:
    with pytest.raises(Refused) as refused:
        unpack(path)
    return refused.value.faults


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    members = GOOD | {archive.SCORES: b"x" * 1000}
    (tmp_path / "a.zip").write_bytes(pack(members))
    assert unpack(tmp_path / "a.zip") == members


def test_packing_does_not_depend_on_the_order_of_members() -> None:
    assert pack(GOOD) == pack(dict(reversed(list(GOOD.items()))))


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "a/../../evil", "/etc/passwd", "\\evil", "C:\\evil", "~/evil", "..\\evil"],
)
def test_a_name_that_leaves_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.zip", [*GOOD.items(), (name, b"evil")])
    assert faults_of(path) == [f"member {name!a} names a place outside the bundle"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize("name", ["inner.zip", "more/pairs.jsonl", "script.py", "Pairs.jsonl", "pairs.jsonl\n"])
def test_a_member_with_another_name_is_refused(tmp_path: Path, name: str) -> None:
    (fault,) = faults_of(written(tmp_path / "a.zip", [*GOOD.items(), (name, b"")]))
    assert "does not belong in a bundle" in fault


def test_a_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(archive.SCORES)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert faults_of(written(tmp_path / "a.zip", [*GOOD.items(), (info, b"/etc/passwd")])) == [
        "member 'scores.jsonl' is a link or something else, no plain file"
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", [*GOOD.items(), (archive.PAIRS, b"{}")])
    assert faults_of(path) == ["member 'pairs.jsonl' stands twice"]


def test_every_missing_member_is_named(tmp_path: Path) -> None:
    assert faults_of(written(tmp_path / "a.zip", [])) == [
        "member 'bundle.json' is missing",
        "member 'result.json' is missing",
        "member 'pairs.jsonl' is missing",
    ]


def test_a_bomb_is_refused_without_being_held_in_memory(tmp_path: Path) -> None:
    bomb = bytes(archive.MAX_TABLE_BYTES + 1)
    path = written(tmp_path / "a.zip", [*GOOD.items(), (archive.SCORES, bomb)])
    assert path.stat().st_size < 2**20
    size = len(bomb)
    del bomb
    tracemalloc.start()
    (fault,) = faults_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fault.startswith(f"member 'scores.jsonl' unpacks to {size:,} bytes, more than the")
    assert peak < 8 * 2**20


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """The sizes in both headers are set to 10 bytes; the stream behind them goes on past the limit."""
    path = written(tmp_path / "a.zip", [*GOOD.items(), (archive.RESULT, b"")][:1])
    content = bytes(archive.MAX_JSON_BYTES + 2**20)
    path = written(tmp_path / "b.zip", [(archive.MANIFEST, content), (archive.RESULT, b"{}"), (archive.PAIRS, b"")])
    raw = bytearray(path.read_bytes())
    raw[22:26] = struct.pack("<I", 10)  # local header of the first member
    central = raw.index(b"PK\x01\x02")
    raw[central + 24 : central + 28] = struct.pack("<I", 10)
    path.write_bytes(raw)
    assert faults_of(path), "cut at the stated size by zipfile, or by our own count: refused either way"


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with open(path, "wb") as stream:
        stream.truncate(archive.MAX_FILE_BYTES + 1)
    (fault,) = faults_of(path)
    assert "more than the 33,554,432 a bundle may have" in fault


def test_many_members_are_refused_without_naming_them_all(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", [(f"m{k}", b"") for k in range(1000)])
    assert faults_of(path) == ["it has 1,000 members; a bundle has at most 5"]


def test_other_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        for name, content in GOOD.items():
            made.writestr(name, content)
    assert all("is not compressed by deflate" in fault for fault in faults_of(path))


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    raw = bytearray(written(tmp_path / "a.zip", list(GOOD.items())).read_bytes())
    central = raw.index(b"PK\x01\x02")
    raw[central + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    assert faults_of(tmp_path / "a.zip") == ["member 'bundle.json' is encrypted"]


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.zip"
    path.write_bytes(raw)
    with pytest.raises(Refused):
        unpack(path)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_archive_is_refused_or_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    members = GOOD | {archive.SCORES: json.dumps(list(range(200))).encode()}
    raw = bytearray(pack(members))
    raw[place % len(raw)] = value
    path = tmp_path_factory.mktemp("damaged") / "a.zip"
    path.write_bytes(raw)
    try:
        read = unpack(path)
    except Refused:
        return
    assert read == members


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1, "a": 2}', "key 'a' stands twice"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nests deeper than 16 levels"),
        (b"[" * 17 + b"]" * 17, "nests deeper than 16 levels"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "nests deeper than 16 levels"),
        (b"9" * 10_000, "the number '99999999999999999999...' is not below 2^63"),
        (b'{"a": 9223372036854775808}', "the number '9223372036854775808' is not below 2^63"),
        (b"[-9223372036854775808]", "is not below 2^63"),
        (b'{"a": 1e999}', "the number '1e999' is not finite"),
        (b'{"a": "x\\ud800"}', "half of a surrogate pair"),
        (b'{"a\\uDFFF": 1}', "half of a surrogate pair"),
        (b"", "cannot be read as JSON"),
    ],
)
def test_json_that_a_bundle_may_not_have(text: bytes, what: str) -> None:
    with pytest.raises(ValueError, match="member") as error:
        read_json(text, "member")
    assert what in str(error.value)


def test_json_as_deep_as_allowed_is_read() -> None:
    assert read_json(b"[" * 16 + b"]" * 16, "member")


def test_lines_are_limited_in_number_and_length() -> None:
    long = b'{"a":"' + b"x" * archive.MAX_LINE_BYTES + b'"}\n'
    (fault,) = read_lines(long, "pairs.jsonl", lambda line, number: None)
    assert fault == "pairs.jsonl, line 1 has 65,544 bytes, more than the 65,536 it may have"
    assert read_lines(b"{}\n{}\n", "t", lambda line, number: None, most=2) == []
    for three in (b"{}\n{}\n{}", b"{}\n{}\n{}\n"):
        faults = read_lines(three, "t", lambda line, number: None, most=2)
        assert faults == ["t has 3 lines, more than the 2 it may have"]


def test_every_bad_line_is_listed() -> None:
    faults = read_lines(b"1\n{}\n{\n", "t", lambda line, number: None)
    assert faults[0] == "t, line 1 is not an object"
    assert faults[1].startswith("t, line 3 cannot be read as JSON")


def test_reading_ends_after_as_many_faults_as_are_listed() -> None:
    seen = []

    def refuse(line: dict[str, object], number: int) -> None:
        seen.append(number)
        raise ValueError("bad")

    read_lines(b"{}\n" * 10_000, "t", refuse)
    assert seen == list(range(1, archive.MAX_FAULTS + 2))


def test_a_repeated_key_among_many_is_found_in_one_pass() -> None:
    """Quadratic search took 84 s for 40,000 keys; four times the keys may not take sixteen times as long."""
    times = []
    for n in (20_000, 80_000):
        text = "{" + ",".join(f'"{k}":0' for k in range(n)) + f',"{n - 1}":0}}'
        start = time.process_time()
        with pytest.raises(ValueError, match=f"key '{n - 1}' stands twice"):
            read_json(text.encode(), "t")
        times.append(time.process_time() - start)
    assert times[1] < 8 * max(times[0], 0.02)


def test_whole_surrogate_pairs_are_characters_like_any_other() -> None:
    assert read_json(b'"\\ud83d\\ude00"', "t") == "\N{GRINNING FACE}"


@pytest.mark.parametrize("around", [(b"<html><script>", b""), (b"", b"PK trailing")], ids=["before", "behind"])
def test_what_stands_around_an_archive_is_not_handed_on(tmp_path: Path, around: tuple[bytes, bytes]) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(around[0] + pack(GOOD) + around[1])
    assert archive.canonical(path) == pack(GOOD)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "none.zip") == [f"{tmp_path / 'none.zip'} is not a file"]
    assert faults_of(tmp_path) == [f"{tmp_path} is not a file"]


def test_a_zip_in_front_of_which_something_stands_is_still_bounded(tmp_path: Path) -> None:
    """A file that is a picture and an archive at once is read as the archive it is, or refused; nothing runs."""
    buffer = io.BytesIO(b"GIF89a" + pack(GOOD))
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    assert unpack(tmp_path / "a.zip") == GOOD
