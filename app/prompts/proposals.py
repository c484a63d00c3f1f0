"""Prompts that people wrote while they talked with the policy: put away until an admin takes them into use, or leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.database import audit
from app.errors import Conflict, NotFound
from app.language.languages import _
from app.models import Project, Prompt, ProposedPrompt, User, utc_now
from app.projects.service import hold_open
from app.prompts.service import Message, PromptRow, add_prompts, prompt_digest


@dataclass(frozen=True, slots=True)
class Proposal:
    """A prompt that waits for an admin, and who wrote it."""

    id: int
    prompt: Prompt
    author: str
    created_at: datetime


def prompt_of(session: Session, project: Project, messages: Sequence[Message]) -> int:
    """The project's prompt with this text; where it has none, a new one that is put away, so that nothing is sampled for it."""
    there = select(Prompt.id).where(Prompt.project_id == project.id, Prompt.digest == prompt_digest(messages))
    found = session.scalar(there)
    if found is None:
        add_prompts(session, project, [PromptRow(0, list(messages))], put_away=True)
        found = session.scalars(there).one()
    return found


def propose(session: Session, project_id: int, prompt_id: int, by: int) -> None:
    """Lay a prompt that is put away before an admin: once, whoever wrote it again."""
    prompt = session.get_one(Prompt, prompt_id)
    known = select(ProposedPrompt.id).where(ProposedPrompt.prompt_id == prompt_id)
    if prompt.archived_at is None or session.scalar(known) is not None:
        return
    session.add(ProposedPrompt(project_id=project_id, prompt_id=prompt_id, proposed_by=by))
    session.flush()


def list_waiting(session: Session, project_id: int, *, after: int = 0, limit: int = 50) -> list[Proposal]:
    """The oldest first; `after` is the id the page before ended with."""
    rows = session.execute(
        select(ProposedPrompt.id, Prompt, User.name, ProposedPrompt.created_at)
        .join(Prompt, Prompt.id == ProposedPrompt.prompt_id)
        .join(User, User.id == ProposedPrompt.proposed_by)
        .where(*_waiting(project_id), ProposedPrompt.id > after)
        .order_by(ProposedPrompt.id)
        .limit(limit)
    )
    return [Proposal(*row) for row in rows]


def count_waiting(session: Session, project_id: int) -> int:
    waiting = select(func.count()).select_from(ProposedPrompt).join(Prompt, Prompt.id == ProposedPrompt.prompt_id)
    return session.scalar(waiting.where(*_waiting(project_id))) or 0


def decide(session: Session, prompt_id: int, by: int, *, accepted: bool) -> Prompt:
    """Take a proposed prompt into use, or leave it put away. The same again changes nothing.

    Raises NotFound where nobody proposed it, and Conflict where it was decided otherwise.
    """
    found = session.scalar(select(ProposedPrompt).where(ProposedPrompt.prompt_id == prompt_id))
    if found is None:
        raise NotFound(_("Nobody proposed this prompt."))
    project = hold_open(session, found.project_id)  # as who asks about prompts does, see `make_tasks.store`
    session.refresh(found)
    prompt = session.get_one(Prompt, prompt_id)
    if found.accepted is not None:
        if found.accepted != accepted:
            raise Conflict(_("This was decided already. You find the prompt among the project's prompts, or those put away."))
        return prompt
    found.accepted, found.decided_by, found.decided_at = accepted, by, utc_now()
    if accepted:
        prompt.archived_at = None
    action = "prompt.accepted" if accepted else "prompt.refused"
    audit.record(session, by, action, f"prompt {prompt_id}", project_id=project.id)
    session.flush()
    return prompt


def _waiting(project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Less those that an admin found among what is put away, and took into use there."""
    undecided = (ProposedPrompt.project_id == project_id, ProposedPrompt.decided_at.is_(None))
    return *undecided, Prompt.archived_at.is_not(None)
