"""Parquet, as datasets are published, read as JSON Lines: a line a row, which is then read like any other.

A pure function. It refuses to know what a row means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final

MAGIC: Final = b"PAR1"
ROWS_AT_ONCE: Final = 16  # a text that a column repeats is kept once in the file, and once a row when it is read


class UnreadableParquet(ValueError):
    """Not a whole Parquet file; holds what the reader said."""


class TooMuchParquet(ValueError):
    """More rows or characters than are wanted, however small the file is."""


def as_json_lines(data: bytes, most_rows: int, most_characters: int) -> str:
    """A JSON object a row, columns by name. Dates are texts; no number, and bytes that are no text, are null.

    Reads row by row and stops at the limits: a file of kilobytes may unpack to gigabytes. Raises TooMuchParquet and
    UnreadableParquet.
    """
    lines: list[str] = []
    characters = 0
    for row in _rows(data, most_rows):
        lines.append(json.dumps(_plain(row), ensure_ascii=False))
        characters += len(lines[-1]) + 1
        if characters > most_characters:
            raise TooMuchParquet
    return "\n".join(lines)


def _rows(data: bytes, most_rows: int) -> Iterator[dict[str, Any]]:
    # Loaded for whoever brings such a file: a third of a second, and 50 MiB.
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        if file.metadata.num_rows > most_rows:
            raise TooMuchParquet
        texts = [column.path for column in file.schema if column.physical_type == "BYTE_ARRAY"]
        file = parquet.ParquetFile(pyarrow.BufferReader(data), read_dictionary=texts)
        for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
            batch.validate(full=True)  # indices within their dictionary, texts that are UTF-8
            yield from batch.to_pylist()
    except TooMuchParquet:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: a name that is no UTF-8
        raise UnreadableParquet(str(error).partition("\n")[0]) from error


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
