"""coverage.json: clusters of prompts that the base model reads alike, and how they were found. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from trainer.contract.folder import write_atomic

ASKED: Final = "coverage_prompts.jsonl"  # the prompts that a run is to find clusters among
FOUND: Final = "coverage.json"
MOST_PROMPTS: Final = 5_000  # that a run is given; of more a draw
FEWEST_PROMPTS: Final = 20  # of whose answers the base has read any: fewer make no clusters


@dataclass(frozen=True, slots=True)
class Cluster:
    """Prompts that are alike, those nearest to their middle first, and words that set them apart, the strongest first."""

    prompt_ids: tuple[int, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Coverage:
    """The largest cluster first. `silhouettes`: by how many clusters, how well they are apart, from -1 to 1."""

    clusters: tuple[Cluster, ...]
    layer: int  # of the base's hidden states
    dimensions: int
    silhouettes: Mapping[int, float] = field(default_factory=dict)


def write(folder: Path, coverage: Coverage) -> None:
    write_atomic(folder / FOUND, json.dumps(asdict(coverage), ensure_ascii=False, indent=1))


def read(folder: Path) -> Coverage | None:
    """None where the run left none."""
    try:
        found: dict[str, Any] = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    clusters = (Cluster(tuple(one["prompt_ids"]), tuple(one["words"])) for one in found.pop("clusters"))
    silhouettes = {int(count): value for count, value in found.pop("silhouettes").items()}
    return Coverage(tuple(clusters), silhouettes=silhouettes, **found)
