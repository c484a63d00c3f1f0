"""Which models answer for a project: the policy in force, or another of its own, and the reward model that is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.language.languages import _
from app.models import Checkpoint, Membership, Project, Worker, utc_now
from app.prompts.conversations import prompt_row
from app.prompts.service import BadLine
from app.runs.checkpoints import get_checkpoint, newest_reward, require_weights, root_of
from app.runs.run_order import SILENT
from app.web.security import Principal
from trainer.contract.serving.questions import Models, Turn


@dataclass(frozen=True)
class Live:
    """The models that are asked, and the checkpoints they are."""

    models: Models
    policy_id: int | None  # None: the base model, of which nobody has asked anything yet
    reward_id: int | None  # None: no reward model on this base beats guessing yet


def live_models(session: Session, project: Project, policy_id: int | None = None) -> Live:
    """Those of the project with its policy in force, or with this policy of its own. Changes nothing.

    Raises NotFound for a checkpoint that is no policy of the project, Unavailable where no worker is alive to ask.
    """
    heard = session.scalar(select(func.max(Worker.heartbeat_at)))
    if heard is None or utc_now() - heard > SILENT:
        raise Unavailable(_("No worker is running, and it is the worker that keeps the models open."))
    wanted = policy_id if policy_id is not None else project.policy_id
    day = project.created_at.date().isoformat()
    if wanted is None:
        return Live(Models(project.base_model, "", day), None, None)
    policy = _policy(session, project, wanted)
    reward = newest_reward(session, project.id, root_of(session, policy).id, passed=True)
    return Live(Models(policy.source, reward.source if reward else "", day), policy.id, reward.id if reward else None)


def answering_projects(session: Session, by: Principal) -> list[Project]:
    """The projects whose models this person, and the key they use, may ask: as reviewer or admin. By name."""
    wanted = select(Project).where(Project.deleted_at.is_(None), Project.archived_at.is_(None)).order_by(Project.slug)
    if not by.is_owner:
        theirs = select(Membership.project_id).where(Membership.user_id == by.user_id)
        wanted = wanted.where(Project.id.in_(theirs.where(Membership.role.in_(("reviewer", "admin")))))
    if by.project_ids is not None:
        wanted = wanted.where(Project.id.in_(by.project_ids))
    return list(session.scalars(wanted))


def named_models(session: Session, by: Principal, name: str) -> Live:
    """The models behind a name. Raises NotFound, and Unavailable where no worker is alive to ask."""
    project, policy = named_policy(session, by, name)
    return live_models(session, project, policy.id if policy is not None else None)


def named_policy(session: Session, by: Principal, name: str) -> tuple[Project, Checkpoint | None]:
    """What a name says: a project's slug, none for its policy in force, `slug@12` for checkpoint 12 of it. Raises NotFound."""
    slug, at, number = name.partition("@")
    project = next((one for one in answering_projects(session, by) if one.slug == slug), None)
    if project is None or (at and not (number.isascii() and number.isdigit() and len(number) < 19)):
        raise NotFound(_("There is no such model. GET /v1/models names those that you may ask."))
    return project, _policy(session, project, int(number)) if at else None


def require_reward(live: Live) -> int:
    """The reward's checkpoint. Raises Conflict where there is none."""
    if live.reward_id is None:
        raise Conflict(_("No reward model of this project beats guessing yet, so nothing can be scored."))
    return live.reward_id


def conversation(prompt: dict[str, Any]) -> list[Turn]:
    """The prompt as an import would take it: {"text": ...}, {"messages": [...]} or another shape. Raises Invalid."""
    found = prompt_row(1, prompt)
    if isinstance(found, BadLine):
        raise Invalid(_("This prompt cannot be used."), {"prompt": found.why})
    return [Turn(role=message["role"], content=message["content"]) for message in found.messages]


def _policy(session: Session, project: Project, checkpoint_id: int) -> Checkpoint:
    policy = get_checkpoint(session, checkpoint_id)
    if policy.project_id != project.id or policy.kind != "policy":
        raise NotFound(_("This project has no such policy."))
    return require_weights(policy)
