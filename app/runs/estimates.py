"""How long a round will take: from this project's own runs, or from a stated guess while there are none."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Project, Prompt, Run
from app.runs.runs import run_config
from app.runs.usable_labels import usable_label_count
from trainer.contract.config import config_dict

REMEMBERED = 5  # past runs of a kind that the expectation rests on
# Seconds to load a model, and seconds per unit of work, of a model of 135M parameters on two processor cores in float32. PPO's is
# bench/loop.py's; a label's lies between one about answers written here, which need no reading, and an imported one.
START_S = {"reward": 20.0, "ppo": 20.0, "sample": 10.0}
PER_UNIT_S = {"reward": 0.15, "ppo": 0.0035, "sample": 0.004}


@dataclass(frozen=True)
class Expected:
    """Seconds a stage will take; `measured` tells past runs from a guess."""

    seconds: float
    measured: bool


def expected_times(
    session: Session, project: Project, config: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Expected]:
    """Seconds per stage of a round started now, keys reward, ppo and sample."""
    given = dict(config or {})
    prompts = session.scalar(
        select(func.count(Prompt.id)).where(Prompt.project_id == project.id).where(Prompt.archived_at.is_(None))
    )
    labels = usable_label_count(session, project.id)
    expected = {}
    for stage in PER_UNIT_S:
        settings = config_dict(run_config(project, stage, given.get(stage) or {}))
        units = _units(stage, settings, prompts or 0, labels)
        past = _past_rates(session, project.id, stage)
        guess = START_S[stage] + PER_UNIT_S[stage] * units
        expected[stage] = Expected(statistics.median(past) * units if past else guess, bool(past))
    return expected


def _units(kind: str, settings: Mapping[str, Any], prompts: int, labels: int) -> float:
    """Work of a run, in labels or in tokens."""
    if kind == "reward":
        return max(1, labels)
    if kind == "ppo":
        return float(settings["updates"] * settings["episodes"] * settings["max_new_tokens"] * (1 + settings["epochs"]))
    return float(max(1, prompts) * settings["per_prompt"] * settings["max_new_tokens"])


def _past_rates(session: Session, project_id: int, kind: str) -> list[float]:
    """Seconds per unit of the last runs of this kind that ended at the first attempt."""
    runs = session.scalars(
        select(Run)
        .where(Run.project_id == project_id)
        .where(Run.kind == kind)
        .where(Run.state == "done")
        .where(Run.attempts == 1)
        .order_by(Run.id.desc())
        .limit(REMEMBERED)
    )
    rates = []
    for run in runs:
        if run.started_at is None or run.ended_at is None:
            continue
        per_prompt = run.config.get("per_prompt") or 1
        prompts = int(run.result.get("generations") or 0) // per_prompt
        units = _units(kind, run.config, prompts, run.label_count or 0)
        rates.append((run.ended_at - run.started_at).total_seconds() / units)
    return rates
