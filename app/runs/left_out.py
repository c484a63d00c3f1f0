"""Which prompts a policy can do nothing with, as its sampling runs found out: they are not asked again for nothing."""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Project, Prompt, Run

Why = Literal["refused", "too_long", "not_finite"]
DIGESTS: Final = "left_out_digests"  # in a run's result: digest of a prompt's text -> why it was left out
LOOKED_AT: Final = 200  # newest runs that left something out; each names a hundred prompts of a kind at most


def left_out(session: Session, project: Project, policy_id: int | None) -> dict[str, Why]:
    """What this policy could not answer when it was asked, by the digests of the texts: one that changes is asked again.

    All are, once the base model or how it answers has changed.
    """
    runs = (
        select(Run.result[DIGESTS])
        .where(Run.project_id == project.id, Run.kind == "sample", Run.result[DIGESTS].as_string().is_not(None))
        .where(Run.inputs["checkpoint"].as_integer() == policy_id)
        .order_by(Run.id.desc())
        .limit(LOOKED_AT)
    )
    if project.sampling_changed_at is not None:
        runs = runs.where(Run.queued_at > project.sampling_changed_at)
    found: dict[str, Why] = {}
    for digests in session.scalars(runs):
        found = {**digests, **found}
    return found


def ids_left_out(session: Session, project: Project, policy_id: int) -> set[int]:
    """The prompts whose texts those are now."""
    digests = left_out(session, project, policy_id)
    if not digests:
        return set()
    return set(session.scalars(select(Prompt.id).where(Prompt.project_id == project.id, Prompt.digest.in_(digests))))
