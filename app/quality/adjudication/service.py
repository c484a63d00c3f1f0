"""What people differ on, as a reviewer sees it, and what they do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, func, insert, literal, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.labels.answers.spans import turned as spans_turned
from app.labels.disputed import REVIEW
from app.labels.record import Stored, one_at_a_time, record_label
from app.labels.verdict import Verdict
from app.language.languages import _
from app.models import Dispute, Doubt, Label, Project, Prompt, Seat, Task, utc_now
from app.queue.claim import ServedTask, second_stands_left, shown_to

STATES: Final = ("open", "asking", "doubted", "settled")
OTHER_SIDE: Final = {"left": "right", "right": "left"}


@dataclass(frozen=True, slots=True)
class Listed:
    dispute: Dispute
    kind: str
    messages: list[dict[str, str]]
    verdicts: int  # in force
    mine: bool  # the reviewer is one of those who differ: somebody else settles it


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said, on the sides on which the reviewer sees the answers. Who they are, it does not tell."""

    number: int
    label_id: int
    kind: str
    choice: str | None
    strength: int | None
    overall: int | None
    criteria: Mapping[str, Any]
    flags: Mapping[str, Sequence[str]]
    rubric: Mapping[str, Mapping[str, str | int]]
    spans: Mapping[str, Any] | None
    rewrite: Mapping[str, str] | None
    comment: str
    earlier: int  # versions before this one
    doubts: list[Doubt]  # the oldest first
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    dispute: Dispute
    task: ServedTask
    said: list[Said]
    mine: bool
    verdicts: int  # in force
    kept_back: bool  # somebody else is asked now, who may be the reviewer: what people said is shown once they have answered
    settled: Label | None  # the reviewer's own verdict, where it is what settled this


def count_by_state(session: Session, project_id: int) -> dict[str, int]:
    counted = select(Dispute.state, func.count()).where(Dispute.project_id == project_id).group_by(Dispute.state)
    return dict.fromkeys(STATES, 0) | dict(session.execute(counted).all())


def disputes(
    session: Session, project_id: int, state: str, reviewer_id: int, *, after: int | None = None, limit: int = 50
) -> list[Listed]:
    """In the order in which people came to differ."""
    in_force = (
        select(func.count())
        .where(Label.task_id == Dispute.task_id, Label.current, Label.served_reason != REVIEW)
        .correlate(Dispute)
        .scalar_subquery()
    )
    query = (
        select(Dispute, Task.kind, Prompt.messages, in_force, _has_judged(reviewer_id))
        .join(Task, Task.id == Dispute.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Dispute.project_id == project_id, Dispute.state == state, Dispute.id > (after or 0))
        .order_by(Dispute.id)
        .limit(limit)
    )
    return [Listed(*row) for row in session.execute(query)]


def next_open(session: Session, project_id: int, reviewer_id: int, after: int = 0) -> int | None:
    """The oldest that waits for a reviewer, and may be settled by this one."""
    waits = select(Dispute.id).where(Dispute.project_id == project_id, Dispute.state == "open", Dispute.id > after)
    return session.scalar(waits.where(~_has_judged(reviewer_id)).order_by(Dispute.id).limit(1))


def case(session: Session, project: Project, dispute_id: int, reviewer_id: int) -> Case:
    """Raises NotFound."""
    dispute = _of(session, project, dispute_id)
    labels = session.scalars(select(Label).where(Label.task_id == dispute.task_id, Label.current)).all()
    mine = [label for label in labels if label.annotator_id == reviewer_id]
    task, left = shown_to(session.connection(), dispute.task_id, reviewer_id), _left(session, dispute.task_id, reviewer_id)
    has_judged = any(label.served_reason != REVIEW for label in mine)
    kept_back = dispute.state == "asking" and not has_judged
    people = sorted((label for label in labels if label.served_reason != REVIEW), key=_in_no_order)
    doubts = session.scalars(select(Doubt).where(Doubt.dispute_id == dispute.id).order_by(Doubt.id)).all()
    return Case(
        dispute,
        task,
        [
            _said(label, number, label.left_generation_id != left, doubts)
            for number, label in enumerate(people, start=1)
            if not kept_back
        ],
        has_judged,
        len(people),
        kept_back,
        next((label for label in mine if label.served_reason == REVIEW), None),
    )


def _in_no_order(label: Label) -> bytes:
    """The same at every look, and not the order in which people answered or came to the project."""
    return hashlib.blake2b(b"%d person %d" % (label.task_id, label.annotator_id), digest_size=8).digest()


def _left(session: Session, task_id: int, reviewer_id: int) -> int:
    """The answer that the reviewer sees left; of a rating the only one."""
    task = session.get_one(Task, task_id)
    return (second_stands_left(task_id, reviewer_id) and task.second_generation_id) or task.first_generation_id


def _said(label: Label, number: int, turned: bool, doubts: Sequence[Doubt]) -> Said:
    sides = OTHER_SIDE if turned else {}
    rewrite = label.rewrite and label.rewrite | {"side": sides.get(label.rewrite["side"], label.rewrite["side"])}
    return Said(
        number=number,
        label_id=label.id,
        kind=label.kind,
        choice=sides.get(label.choice or "", label.choice),
        strength=label.strength,
        overall=label.overall,
        criteria={name: sides.get(value, value) for name, value in label.criteria.items()},
        flags={sides.get(side, side): flags for side, flags in label.flags.items()},
        rubric={
            key: {sides.get(side, side): value for side, value in said.items()} for key, said in (label.rubric or {}).items()
        },
        spans=spans_turned(label.spans, sides),
        rewrite=rewrite,
        comment=label.comment,
        earlier=label.version - 1,
        doubts=[doubt for doubt in doubts if doubt.annotator_id == label.annotator_id],
    )


def settle(session: Session, project: Project, dispute_id: int, reviewer_id: int, verdict: Verdict, *, interface: str) -> Stored:
    """The reviewer's verdict becomes what training learns of the task; what the others said is kept. Again: another version.

    Raises NotFound, Invalid for a verdict that does not fit, and Conflict where people agree by now, another reviewer was faster,
    or this one is among those who differ.
    """
    connection = session.connection()
    dispute = _held(session, project, dispute_id)
    if dispute.state == "closed":
        raise Conflict(_("People have come to agree meanwhile, so there is nothing left to settle. Nothing of yours was saved."))
    if session.scalar(select(_has_judged(reviewer_id)).where(Dispute.id == dispute.id)):
        raise Conflict(_("You judged this task yourself: somebody else settles it."))
    _take_seat(session, dispute, reviewer_id)
    now = utc_now()
    stored = record_label(connection, dispute.task_id, reviewer_id, verdict, interface=interface, now=now, settles=True)
    if stored.created:
        details = {"reason": verdict.comment[:200]} if verdict.comment else {}
        record(session, reviewer_id, "dispute.settled", f"task {dispute.task_id}", details, project.id)
    session.expire_all()
    return stored


def _take_seat(session: Session, dispute: Dispute, reviewer_id: int) -> None:
    """A seat beside those of the people, which makes the task one that this reviewer had."""
    theirs = (Seat.task_id == dispute.task_id, Seat.annotator_id == reviewer_id)
    if session.scalar(select(Seat.id).where(*theirs)) is not None:
        return
    beside = select(
        *(Seat.project_id, Seat.task_id, func.max(Seat.number) + 1, func.min(Seat.place), literal("done")),
        *(
            literal(reviewer_id),
            literal(second_stands_left(dispute.task_id, reviewer_id)),
            literal(utc_now(), Seat.claimed_at.type),
        ),
    )
    columns = ["project_id", "task_id", "number", "place", "state", "annotator_id", "swapped", "claimed_at"]
    rows = beside.where(Seat.task_id == dispute.task_id).group_by(Seat.project_id, Seat.task_id)
    session.connection().execute(insert(Seat).from_select(columns, rows))


def send_back(session: Session, project: Project, dispute_id: int, label_id: int, comment: str, by: int) -> Doubt:
    """One verdict goes back to its person, with a comment. Raises NotFound, Invalid without a comment, Conflict where it is
    another by now or was sent back already.
    """
    dispute = _held(session, project, dispute_id)
    if not comment.strip():
        raise Invalid(_("Say what you ask of them."), {"comment": _("Write a sentence or two.")})
    if dispute.state not in ("open", "asking", "doubted"):
        raise Conflict(_("This is settled, or people have come to agree meanwhile. Nothing was sent back."))
    label = session.get(Label, label_id)
    if label is None or label.task_id != dispute.task_id or label.served_reason == REVIEW:
        raise NotFound(_("There is no such verdict on this task."))
    if not label.current or session.scalar(select(Doubt.id).where(Doubt.label_id == label_id)) is not None:
        raise Conflict(_("This verdict was changed or sent back already. Look at it again."))
    doubt = Doubt(
        project_id=project.id,
        dispute_id=dispute.id,
        label_id=label_id,
        annotator_id=label.annotator_id,
        comment=comment.strip(),
        created_by=by,
    )
    session.add(doubt)
    dispute.state = "doubted" if dispute.state == "open" else dispute.state
    record(session, by, "verdict.doubted", f"task {dispute.task_id}", {}, project.id)
    session.flush()
    return doubt


def _held(session: Session, project: Project, dispute_id: int) -> Dispute:
    """The dispute, its task held until the transaction ends."""
    dispute = _of(session, project, dispute_id)
    one_at_a_time(session.connection(), dispute.task_id)
    session.refresh(dispute)
    return dispute


def _of(session: Session, project: Project, dispute_id: int) -> Dispute:
    mine = select(Dispute).where(Dispute.id == dispute_id, Dispute.project_id == project.id)
    dispute = session.scalar(mine.execution_options(populate_existing=True))  # labels see to its state beside the session
    if dispute is None:
        raise NotFound(_("There is nothing of that number that people differ on here."))
    return dispute


def _has_judged(reviewer_id: int) -> ColumnElement[bool]:
    return exists().where(
        Label.task_id == Dispute.task_id, Label.annotator_id == reviewer_id, Label.served_reason != REVIEW, Label.current
    )
