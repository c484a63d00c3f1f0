"""What a worker keeps in mind about the run that it holds, between two looks at it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.contract.messages import Message
from trainer.worker.executors.executor import Work
from trainer.worker.results import NewGenerations


@dataclass
class Held:
    """The run this worker holds."""

    run_id: int
    project_id: int
    kind: str
    fence: int
    folder: Path
    work: Work
    generations: NewGenerations
    unstored: list[dict[str, Any]] = field(default_factory=list)  # read from the folder, not yet rows
    began: float = field(default_factory=time.monotonic)
    cancelled_at: float | None = None  # monotonic seconds
    exceeded: Message | None = None  # the limit that ends it
    exceeded_at: float = 0.0
    told: dict[str, Any] | None = None  # the progress last written
    beat_at: float = 0.0
    failures: int = 0  # looks in a row that failed
