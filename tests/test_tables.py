"""Tables on the disk: what is refused, and in which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardbench.errors import InputError
from rewardbench.tables import read_table


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.csv", b"", "is empty"),
        ("p.csv", b"a,b\n\xff\xfe\x00,1\n", "cannot be read"),
        ("p.parquet", b"not parquet", "cannot be read"),
        ("p.jsonl", b"[1, 2]\n", "line 1 is not a JSON object"),
        ("p.xlsx", b"PK", "is not a .csv, .parquet or .jsonl file"),
    ],
)
def test_unreadable_tables(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_table(tmp_path / name)
