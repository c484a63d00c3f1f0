"""Contenders: finding the one that answers as was asked, making it where it is new, and how each is called."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.language.languages import _
from app.models import ALONE, Checkpoint, Contender, Drawn, OutsideModel, Project, utc_now
from app.runs.checkpoints import root_of
from app.runs.runs import own_checkpoint
from trainer.contract.messages import Message


def get_contender(session: Session, contender_id: int) -> Contender:
    """Raises NotFound."""
    contender = session.get(Contender, contender_id)
    if contender is None:
        raise NotFound(_("There is no such contender."))
    return contender


def contender_of(session: Session, checkpoint: Checkpoint, how: Drawn = ALONE) -> Contender:
    """One of our policies, answering in this way. Made when it is asked for the first time; of two who make it one does."""
    if (found := _found(session, checkpoint.id, how)) is not None:
        return found
    made = Contender(
        project_id=checkpoint.project_id,
        kind="policy" if how == ALONE else "best_of",
        checkpoint_id=checkpoint.id,
        best_of=how.best_of,
        reward_id=how.reward_id,
    )
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError:  # somebody was faster
        if (found := _found(session, checkpoint.id, how)) is None:
            raise
        return found
    return made


def name_ours(session: Session, project: Project, checkpoint_id: int | None, best_of: int, reward_id: int | None) -> Contender:
    """A policy of the project's as a contender. Raises Invalid, naming the field."""
    policy = own_checkpoint(session, project, checkpoint_id, "checkpoint", "policy")
    reward = own_checkpoint(session, project, reward_id, "reward", "reward")
    if policy is None:
        raise Invalid(_("A contender has a name, or is a policy of this project."), {"checkpoint": _("This is needed.")})
    if (best_of > 1) != (reward is not None):
        raise Invalid(_("A reward model chooses among several answers, and among one nothing."), {"reward": _("This is needed.")})
    if reward is not None and reward.parent_id != root_of(session, policy).id:
        raise Invalid(_("That reward model was learned on another base than this policy's."), {"reward": _("another base")})
    return contender_of(session, policy, Drawn(best_of, reward.id if reward is not None else None))


def name_stranger(session: Session, project: Project, name: str, by: int | None) -> Contender:
    """A contender whose answers were written elsewhere; the one that has the name already, if it is such a one.

    Raises Conflict where a model outside has it.
    """
    hold(session, project)
    named = select(Contender).where(Contender.project_id == project.id, Contender.name == name)
    found = session.scalar(named.where(Contender.kind.in_(("outside", "imported"))))
    if found is None:
        found = Contender(project_id=project.id, kind="imported", name=name, created_by=by)
        session.add(found)
        session.flush()
        record(session, by, "contender.added", f"contender {found.id}", {"name": name}, project.id)
    elif found.kind != "imported":
        raise Conflict(_("A model outside has that name already."))
    _use_again(session, found, by)
    return found


def name_outside(session: Session, project: Project, outside_id: int, by: int | None) -> Contender:
    """A model that the owner registered, picked for this project; where it is one already, that one.

    Raises Invalid, and Conflict where answers were brought in under its name.
    """
    hold(session, project)
    model = session.get(OutsideModel, outside_id)
    if model is None or model.archived_at is not None:
        raise Invalid(_("There is no such model to pick. The owner registers models outside."), {"outside": _("not registered")})
    mine = select(Contender).where(Contender.project_id == project.id)
    if (found := session.scalar(mine.where(Contender.outside_id == model.id))) is not None:
        _use_again(session, found, by)
        return found
    if session.scalar(mine.where(Contender.name == model.name)) is not None:
        raise Conflict(_("A contender of this project is called %(name)s already.", name=model.name))
    made = Contender(project_id=project.id, kind="outside", name=model.name, outside_id=model.id, created_by=by)
    session.add(made)
    session.flush()
    record(session, by, "contender.added", f"contender {made.id}", {"name": made.name}, project.id)
    return made


def put_away(session: Session, project: Project, contender_id: int, by: int | None) -> Contender:
    """It stands in no further evaluation and is asked nothing more; what it answered and what people said of it stay. Twice is
    once. Raises NotFound, and Conflict for a policy of ours, which comes back with every round.
    """
    found = _of_others(session, project, contender_id)
    if found.archived_at is None:
        found.archived_at = utc_now()
        session.flush()
        record(session, by, "contender.archived", f"contender {found.id}", {"name": found.name}, project.id)
    return found


def bring_back(session: Session, project: Project, contender_id: int, by: int | None) -> Contender:
    """Raises NotFound, and Conflict for a policy of ours."""
    found = _of_others(session, project, contender_id)
    _use_again(session, found, by)
    return found


def _of_others(session: Session, project: Project, contender_id: int) -> Contender:
    hold(session, project)
    found = session.get(Contender, contender_id)
    if found is None or found.project_id != project.id:
        raise NotFound(_("There is no such contender."))
    if found.checkpoint_id is not None:
        raise Conflict(_("A policy of this project is no contender of others: it cannot be put away."))
    return found


def _use_again(session: Session, contender: Contender, by: int | None) -> None:
    """Whoever names one that was put away wants it."""
    if contender.archived_at is not None:
        contender.archived_at = None
        session.flush()
        record(session, by, "contender.restored", f"contender {contender.id}", {"name": contender.name}, contender.project_id)


def list_contenders(
    session: Session, project_id: int, before: int | None = None, limit: int = 50, *, in_use: bool = False
) -> list[Contender]:
    """The newest first; `before` is the id the page before ended with. `in_use`: less those that were put away."""
    query = select(Contender).where(Contender.project_id == project_id)
    if in_use:
        query = query.where(Contender.archived_at.is_(None))
    if before is not None:
        query = query.where(Contender.id < before)
    return list(session.scalars(query.order_by(Contender.id.desc()).limit(limit)))


def picked_models(session: Session, project_id: int) -> set[int]:
    """The models outside that are contenders of this project."""
    mine = select(Contender.outside_id).where(Contender.project_id == project_id, Contender.archived_at.is_(None))
    return {one for one in session.scalars(mine) if one is not None}


def contenders_alone(session: Session, checkpoint_ids: Iterable[int]) -> dict[int, int]:
    """By policy: the contender that it is when it is asked once. None of one that has answered nothing."""
    mine = select(Contender.checkpoint_id, Contender.id).where(Contender.kind == "policy")
    found = session.execute(mine.where(Contender.checkpoint_id.in_(set(checkpoint_ids))))
    return {policy: contender for policy, contender in found if policy is not None}


def names(session: Session, contender_ids: Iterable[int]) -> dict[int, Message]:
    """What contenders are called, by id: ours by their checkpoint, the others by their own name."""
    asked = (
        select(Contender, Checkpoint.name)
        .outerjoin(Checkpoint, Checkpoint.id == Contender.checkpoint_id)
        .where(Contender.id.in_(set(contender_ids)))
    )
    return {contender.id: _name(contender, policy) for contender, policy in session.execute(asked)}


def name_of(session: Session, contender: Contender) -> Message:
    return names(session, [contender.id])[contender.id]


def _name(contender: Contender, policy: Message | None) -> Message:
    if policy is None:
        return Message("written", text=contender.name or "")
    return policy if contender.kind == "policy" else Message("best_of_n", policy=policy, count=contender.best_of)


def _found(session: Session, checkpoint_id: int, how: Drawn) -> Contender | None:
    mine = select(Contender).where(Contender.checkpoint_id == checkpoint_id, Contender.best_of == how.best_of)
    return session.scalar(mine.where(Contender.reward_id == how.reward_id if how.reward_id else Contender.reward_id.is_(None)))
