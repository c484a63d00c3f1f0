"""Feedback: given once, kept apart, let in by an admin as a rating with its correction, or left; taken back by who gave it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.contenders.answers import answer_text
from app.contenders.service import contender_of
from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.labels import withdraw as labels
from app.labels.record import record_label
from app.labels.verdict import Rewrite, Verdict
from app.language.languages import _
from app.models import Checkpoint, Feedback, Generation, KeptAnswer, User
from app.models.values import Unusable
from app.projects.service import hold_open
from app.prompts import proposals
from app.queue.at_once import rate_at_once
from app.runs.checkpoints import get_checkpoint
from trainer.contract.messages import Message

OVERALL: Final = {"up": 5, "down": 1}  # what a thumb says as a rating
INTERFACE: Final = "feedback 1"


@dataclass(frozen=True, slots=True)
class About:
    """The answer that something is said of: one of ours, by whom, and to what."""

    project_id: int
    policy_id: int
    messages: list[dict[str, str]]
    text: str
    kept_id: int | None  # none: the text was sent along
    named: str  # how it was asked for: what a name stands for changes when a policy is promoted


@dataclass(frozen=True, slots=True)
class Said:
    client_id: str
    thumb: str
    consent: bool
    correction: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an admin has to decide on, and with whose key it came."""

    feedback: Feedback
    policy: Message
    giver: str


def give(session: Session, about: About, said: Said, by: int) -> tuple[Feedback, bool]:
    """Keep it; False where the same was kept before. Raises Conflict where something else was said under this id, and Invalid
    for an answer that was sent along and that no import would take.
    """
    hold_open(session, about.project_id)
    text = about.text if about.kept_id is not None else _sent_along(about.text)
    digest = _digest(about, said, by)
    known = session.scalar(select(Feedback).where(Feedback.client_id == said.client_id))
    if known is not None:
        if known.payload_hash != digest:
            raise Conflict(_("Something else was said under this client_id. Nothing was changed; send it under a new one."))
        return known, False
    texts: Mapping[str, Any] = {"messages": about.messages, "text": text, "correction": said.correction or None}
    made = Feedback(
        project_id=about.project_id,
        given_by=by,
        client_id=said.client_id,
        payload_hash=digest,
        policy_id=about.policy_id,
        answer_id=about.kept_id if said.consent else None,
        thumb=said.thumb,
        consent=said.consent,
        comment=said.comment if said.consent else "",
        **(texts if said.consent else {}),
    )
    session.add(made)
    session.flush()
    return made, True


def _sent_along(text: str | None) -> str:
    try:
        return answer_text(text)
    except Unusable as problem:
        raise Invalid(_("This answer cannot be used. Nothing was changed."), {"answer": str(problem)}) from None


def _digest(about: About, said: Said, by: int) -> str:
    """Tells the same that is sent again from something else."""
    fields = [about.named, about.messages, about.text, said.thumb, said.consent, said.correction or "", said.comment, by]
    return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def take_back(session: Session, client_id: str, by: int, now: datetime) -> Feedback:
    """Who gave it takes it back: its texts go, and a label that was made of it counts no more. Twice is once. Raises NotFound."""
    found = session.scalar(select(Feedback).where(Feedback.client_id == client_id, Feedback.given_by == by))
    if found is None:
        raise NotFound(_("You gave no feedback under this client_id."))
    hold(session, found)
    if found.withdrawn_at is None:
        if found.label_id is not None:
            _withdraw_label(session, found, now)
        found.withdrawn_at, found.messages, found.text, found.correction, found.comment = now, None, None, None, ""
        session.flush()
    return found


def _withdraw_label(session: Session, found: Feedback, now: datetime) -> None:
    task_id = labels.task_of(session, found.label_id or 0)
    labels.withdraw(session.connection(), task_id, found.given_by, str(uuid.uuid4()), interface=INTERFACE, now=now)


def list_waiting(session: Session, project_id: int, *, after: int = 0, limit: int = 50) -> list[Waiting]:
    """The oldest first; `after` is the id the page before ended with."""
    rows = session.execute(
        select(Feedback, Checkpoint.name, User.name)
        .join(Checkpoint, Checkpoint.id == Feedback.policy_id)
        .join(User, User.id == Feedback.given_by)
        .where(*_waits(project_id), Feedback.id > after)
        .order_by(Feedback.id)
        .limit(limit)
    )
    return [Waiting(*row) for row in rows]


def count_waiting(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count()).select_from(Feedback).where(*_waits(project_id))) or 0


def count_thumbs(session: Session, project_id: int) -> dict[str, int]:
    """All that were given, of those who did not agree to more as well."""
    theirs = select(Feedback.thumb, func.count()).where(Feedback.project_id == project_id, Feedback.withdrawn_at.is_(None))
    return {"up": 0, "down": 0} | dict(session.execute(theirs.group_by(Feedback.thumb)).all())


def decide(session: Session, project_id: int, feedback_id: int, by: int, *, accepted: bool, now: datetime) -> Feedback:
    """Let it in as a label, or leave it. The same again changes nothing.

    Raises NotFound where there is no such feedback, and Conflict where it was decided otherwise, taken back, or given without
    consent.
    """
    hold_open(session, project_id)
    found = session.get(Feedback, feedback_id)
    if found is None or found.project_id != project_id:
        raise NotFound(_("There is no such feedback."))
    hold(session, found)
    if found.accepted is not None:
        if found.accepted != accepted:
            raise Conflict(_("This was decided already."))
        return found
    if found.withdrawn_at is not None:
        raise Conflict(_("Who gave it has taken it back."))
    if accepted and not found.consent:
        raise Conflict(_("Who gave it did not agree to its being used."))
    found.accepted, found.decided_by, found.decided_at = accepted, by, now
    if accepted:
        found.label_id = _make_label(session, found, now)
    record(session, by, "feedback.accepted" if accepted else "feedback.refused", f"feedback {found.id}", None, project_id)
    session.flush()
    return found


def _make_label(session: Session, found: Feedback, now: datetime) -> int:
    """A rating of the answer, given by whoever's key it came with; the correction is its rewrite."""
    project = hold_open(session, found.project_id)
    prompt_id = proposals.prompt_of(session, project, found.messages or [])
    proposals.propose(session, found.project_id, prompt_id, found.given_by)
    generation_id = _keep_answer(session, found, prompt_id)
    task_id = rate_at_once(session.connection(), found.project_id, prompt_id, generation_id, found.given_by, since=now)
    verdict = Verdict(
        str(uuid.uuid4()),
        overall=OVERALL[found.thumb],
        rewrite=Rewrite("response", found.correction) if found.correction else None,
        comment=found.comment,
    )
    return record_label(session.connection(), task_id, found.given_by, verdict, interface=INTERFACE, now=now).id


def _keep_answer(session: Session, found: Feedback, prompt_id: int) -> int:
    """The answer as one of its policy's: with its tokens where it was kept, else as a text that was sent along."""
    policy = get_checkpoint(session, found.policy_id)
    contender = contender_of(session, policy)
    kept = session.get(KeptAnswer, found.answer_id) if found.answer_id is not None else None
    theirs = (Generation.contender_id == contender.id, Generation.prompt_id == prompt_id, Generation.run_id.is_(None))
    last = session.scalar(select(func.max(Generation.number)).where(*theirs))
    made = Generation(
        prompt_id=prompt_id,
        contender_id=contender.id,
        checkpoint_id=policy.id if kept else None,
        number=0 if last is None else last + 1,
        settings=kept.settings if kept else {"sent_along": True},
        seed=kept.seed if kept else None,
        text=found.text or "" if kept else _sent_along(found.text),
        token_ids=kept.token_ids if kept else None,
        finish_reason=kept.finish_reason if kept else "eos",
    )
    session.add(made)
    session.flush()
    return made.id


def _waits(project_id: int) -> tuple[ColumnElement[bool], ...]:
    undecided = (Feedback.project_id == project_id, Feedback.decided_at.is_(None), Feedback.withdrawn_at.is_(None))
    return *undecided, Feedback.consent.is_(True)
