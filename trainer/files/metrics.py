"""Append-only metrics: one JSON object per step. The names are a vocabulary, listed in docs/math.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from trainer.contract.folder import write_atomic
from trainer.files import tensorboard


class Metrics:
    """Writes metrics.jsonl. A resumed run drops the lines of steps it will do again, so that steps stay unique."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events = tensorboard.Events(path.parent / "tensorboard") if tensorboard.wanted() else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, "time": datetime.now(UTC).isoformat()}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._events is not None:
            self._events.write(step, values)

    def rewind(self, step: int) -> None:
        """Keep only the lines before `step`; a last line that a crash cut short is about a step to be done again."""
        if not self._path.exists():
            return
        whole = [line for line in self._path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        write_atomic(self._path, "".join(line for line in whole if json.loads(line)["step"] < step))
