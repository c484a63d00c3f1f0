from __future__ import annotations

import contextlib
import json
from datetime import date, datetime
from decimal import Decimal

import pytest

from app.texts.parquet import TooMuchParquet, UnreadableParquet, as_json_lines
from tests.app.parquet_files import parquet_file


def read(*rows: dict[str, object]) -> list[dict[str, object]]:
    return [json.loads(line) for line in as_json_lines(parquet_file(rows), 1000, 10_000).split("\n")]


def test_rows_come_back_as_they_were() -> None:
    rows = [
        {"text": "Why?\nSo “fine”?", "n": 1, "share": 0.25, "yes": True, "list": [{"a": ["b", None]}], "none": None},
        {"text": "為什麼\u2028貓？", "n": -(2**62), "share": 1e300, "yes": False, "list": [], "none": "x"},
    ]
    assert read(*rows) == rows


def test_what_json_has_not_becomes_a_text_or_nothing() -> None:
    row = {"day": date(2026, 1, 2), "at": datetime(2026, 1, 2, 3), "price": Decimal("1.50"), "nan": float("nan")}
    found = read({**row, "bytes": "é".encode(), "picture": b"\xff\xd8"})
    assert found == [
        {"day": "2026-01-02", "at": "2026-01-02 03:00:00", "price": "1.50", "nan": None, "bytes": "é", "picture": None}
    ]


def test_more_than_is_wanted_is_refused_before_it_is_all_unpacked() -> None:
    """Half a gigabyte that is 60 kB in the file: read to its end, it would take a second and all that memory."""
    bomb = parquet_file([{"text": "x" * 1_000_000}] * 500)
    assert len(bomb) < 100_000
    with pytest.raises(TooMuchParquet):
        as_json_lines(bomb, 1000, 2_000_000)
    with pytest.raises(TooMuchParquet):
        as_json_lines(parquet_file([{"n": 1}] * 3), 2, 1000)


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1" * 40, parquet_file([{"text": "Why?"}])[:-9]])
def test_what_is_no_whole_file_is_told(data: bytes) -> None:
    with pytest.raises(UnreadableParquet, match="Parquet"):
        as_json_lines(data, 10, 1000)


def test_a_file_damaged_anywhere_is_told_or_read_and_never_anything_else() -> None:
    whole = parquet_file([{"text": f"Why is {number}?", "list": [{"a": number}]} for number in range(20)])
    for place in range(4, len(whole) - 8, 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        with contextlib.suppress(UnreadableParquet, TooMuchParquet):
            as_json_lines(bytes(damaged), 1000, 100_000)
