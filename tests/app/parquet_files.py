"""Parquet files as other programs write them, for tests that import them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow
from pyarrow import parquet


def parquet_file(rows: Sequence[dict[str, Any]]) -> bytes:
    """Its bytes; columns are the keys of all rows, and null where a row has none."""
    file = io.BytesIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    parquet.write_table(pyarrow.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), file)
    return file.getvalue()
