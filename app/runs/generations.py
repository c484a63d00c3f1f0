"""Reading what models wrote."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Generation, Prompt


def list_generations(
    session: Session,
    project_id: int,
    *,
    checkpoint_id: int | None = None,
    split: str | None = None,
    run_id: int | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[tuple[Generation, Prompt]]:
    """Answers and the prompts they answer, in the order in which they came; `after` is the id the page before ended with."""
    query = (
        select(Generation, Prompt)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Prompt.project_id == project_id)
        .where(Generation.id > after)
    )
    if checkpoint_id is not None:
        query = query.where(Generation.checkpoint_id == checkpoint_id)
    if run_id is not None:
        query = query.where(Generation.run_id == run_id)
    if split is not None:
        query = query.where(Prompt.split == split)
    return [(generation, prompt) for generation, prompt in session.execute(query.order_by(Generation.id).limit(limit))]
