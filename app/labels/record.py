"""Store a verdict exactly once.

The same send again is answered with what is stored; a second verdict on a task is a new version of the first; a verdict
that comes after its lease was lost is kept. The caller commits before it replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from app.database.prepared import Prepared
from app.errors import Conflict, Invalid, NotFound
from app.labels import disputed
from app.labels.answers.rubric import Rubric, rubric_for
from app.labels.answers.spans import Marking, marking_for, spans_of
from app.labels.disputed import REVIEW
from app.labels.verdict import Rewrite, Verdict, check
from app.language.languages import _
from app.models import Dispute, Generation, Label, Project, Prompt, Seat, Skip, Task, Utc
from app.queue.claim import ranked_answers, second_stands_left
from trainer.contract.texts import trimmed

LONGEST_MS: Final = 2**31 - 1
MOST_VERSIONS: Final = 100  # of one verdict; taking it back is always one more


@dataclass(frozen=True, slots=True)
class Stored:
    """What a label keeps for ever; the answer to every send of it."""

    id: int
    task_id: int
    version: int
    surplus: bool
    created_at: datetime
    created: bool  # False: this send had been stored before


def record_label(
    connection: Connection,
    task_id: int,
    annotator_id: int,
    verdict: Verdict,
    *,
    interface: str,
    now: datetime,
    settles: bool = False,
) -> Stored:
    """Store the verdict as a label, or find it stored. `settles`: a reviewer's, on what people differ on.

    Raises Invalid for a verdict that does not fit the task, NotFound for a task this person never had, and Conflict when
    `client_id` was used for another verdict, this one was changed too often, or what it settled was taken back.
    """
    one_at_a_time(connection, task_id)
    task = _CONTEXT.first(connection, {"task": task_id, "me": annotator_id})
    if task is None or not (task.seat_id or task.label_id or task.skip_id):
        raise NotFound(_("This task was never given to you."))
    shown = _shown(connection, task, annotator_id)
    try:
        rubric, marking = _rubric(task), _marking(connection, task, annotator_id, verdict)
        check(verdict, task.kind, _keys(task, "criteria"), _keys(task, "flags"), len(shown), rubric, marking)
    except Invalid:
        # The criteria may have changed since it was stored; the same send is still answered with what is stored.
        known = connection.execute(_KNOWN, {"client": verdict.client_id}).first()
        if known is None or known.payload_hash != verdict.digest(task.id, annotator_id):
            raise
        return _as_stored(known)
    if (task.version or 0) >= MOST_VERSIONS:
        before = stored_before(connection, verdict.client_id, verdict.digest(task.id, annotator_id))
        if before is not None:
            return before
        raise Conflict(
            _(
                "You have changed this verdict %(most)s times already, so it stays as it is. You can still withdraw it.",
                most=MOST_VERSIONS,
            )
        )
    seat_id = task.seat_id or connection.execute(_FREE_SEAT, {"task": task_id}).scalar()
    label = _label(connection, task, seat_id, annotator_id, verdict, interface, now, shown)
    label |= {"rubric": rubric.stored(verdict.rubric), "spans": marking.stored(verdict.spans)}
    if task.reason_before == REVIEW and not settles and task.settled_by is None:
        raise Conflict(_("You took back what you settled here. Settle it on the page of what people differ on."))
    if settles or task.reason_before == REVIEW:
        if task.settled_by not in (None, annotator_id):
            raise Conflict(_("Another reviewer has settled this meanwhile. Nothing of yours was saved."))
        label |= {"served_reason": REVIEW, "overruled": False}
    made = _INSERT[connection.dialect.name].first(connection, label)
    if made is None:
        return _stored_before(connection, label)
    if task.label_id is not None:
        connection.execute(SUPERSEDE, {"label": task.label_id})
    if task.withdrawn and task.seat_id is not None:  # only who still has their seat opened another by withdrawing
        connection.execute(_FILL_GAP, {"task": task_id})
    if seat_id is not None and task.seat_state != "done":
        swapped = label["right_generation_id"] is not None and label["left_generation_id"] != task.first_generation_id
        _FINISH.first(connection, {"seat": seat_id, "me": annotator_id, "swapped_then": swapped, "now": now})
    if label["served_reason"] == REVIEW:
        disputed.settle(connection, task_id, annotator_id, now)
    elif task.others:
        disputed.follow(connection, task_id, now)
    return Stored(made.id, task_id, label["version"], label["surplus"], now, created=True)


def one_at_a_time(connection: Connection, task_id: int) -> None:
    """Where writers do not queue, versions of one task do."""
    if connection.dialect.name != "sqlite":
        connection.execute(_ONE_AT_A_TIME, {"task": task_id})


def _keys(task: Row[Any], name: str) -> list[str]:
    """The keys a verdict may name: those in force, and retired ones, which its author may still have seen."""
    return [item["key"] for item in getattr(task, name) + task.retired[name]]


def _rubric(task: Row[Any]) -> Rubric:
    """What is required is so of a verdict on a task that was given since it is."""
    given_at = task.claimed_at if task.seat_state == "leased" and task.label_id is None else None
    return rubric_for(task.rubric, task.retired["rubric"], given_at)


def _marking(connection: Connection, task: Row[Any], annotator_id: int, verdict: Verdict) -> Marking:
    """The texts are those that stood left and right by the server's own coin; read only where something is marked."""
    texts: dict[str, str] = {}
    if any(spans_of(verdict.spans).values()):
        left, right = _sides(task, annotator_id)
        rows = connection.execute(select(Generation.id, Generation.text).where(Generation.id.in_((left, right))))
        found = {row.id: row.text for row in rows}
        names = ("response", "left", "right") if right is None else ("left", "right")
        texts = dict.fromkeys(names, found[left]) | ({} if right is None else {"right": found[right]})
    return marking_for(task.span_reasons, task.retired["span_reasons"], texts)


def _sides(task: Row[Any], annotator_id: int) -> tuple[int, int | None]:
    """Which answers stood left and right, by the server's own coin, never as the sender says. A rating's only one stands left."""
    swapped = second_stands_left(task.id, annotator_id) if task.swapped is None else task.swapped
    if swapped and task.second_generation_id is not None:
        return task.second_generation_id, task.first_generation_id
    return task.first_generation_id, task.second_generation_id


def _shown(connection: Connection, task: Row[Any], annotator_id: int) -> list[int]:
    """A ranking's answers as its author saw them: by the server's own lot, never as the sender says. None of another task."""
    if task.kind != "ranking":
        return []
    return [row.generation_id for row in ranked_answers(connection, task.id, annotator_id)]


def _ranking(verdict: Verdict, shown: list[int]) -> dict[str, Any] | None:
    if verdict.ranking is None:
        return None
    order = [sorted(group) for group in verdict.ranking.order]
    return {"shown": shown, "order": order, "last": sorted(verdict.ranking.last), "all_bad": verdict.ranking.all_bad}


def _label(
    connection: Connection,
    task: Row[Any],
    seat_id: int | None,
    annotator_id: int,
    verdict: Verdict,
    interface: str,
    now: datetime,
    shown: list[int],
) -> dict[str, Any]:
    """The label's row."""
    left, right = _sides(task, annotator_id)
    if shown:
        left = shown[0]
    return {
        "project_id": task.project_id,
        "task_id": task.id,
        "seat_id": seat_id,
        "annotator_id": annotator_id,
        "version": (task.version or 0) + 1,
        "supersedes_id": task.label_id,
        "current": True,
        "withdrawn": False,
        "surplus": seat_id is None,
        "trains": task.trains,
        "overruled": task.settled_by is not None,
        "client_id": verdict.client_id,
        "payload_hash": verdict.digest(task.id, annotator_id),
        "kind": task.kind,
        "choice": verdict.choice,
        "strength": verdict.strength,
        "overall": verdict.overall,
        "ranking": _ranking(verdict, shown),
        "criteria": dict(verdict.criteria),
        "flags": {side: list(flags) for side, flags in verdict.flags.items() if flags},
        "rewrite": _changed(connection, verdict.rewrite, right if _is_right(verdict.rewrite) and right else left),
        "comment": verdict.comment,
        "left_generation_id": left,
        "right_generation_id": right,
        "guideline_version": task.guideline_version,
        "interface_version": interface,
        "wall_ms": _wall_ms(task, verdict, now),
        "active_ms": verdict.active_ms,
        "served_reason": task.served_reason,
        "reward_checkpoint_id": task.reward_checkpoint_id,
        "created_at": now,
    }


def _wall_ms(task: Row[Any], verdict: Verdict, now: datetime) -> int | None:
    """Since the task was shown, as the page says; never longer than the seat was held. None for a correction.

    A clock that was set back meanwhile does not know how long that was.
    """
    if task.seat_state != "leased" or task.label_id is not None:
        return None
    held = min(int((now - task.claimed_at).total_seconds() * 1000), LONGEST_MS)
    if held < 0:
        return verdict.wall_ms
    return held if verdict.wall_ms is None else min(held, verdict.wall_ms)


def _is_right(rewrite: Rewrite | None) -> bool:
    return rewrite is not None and rewrite.side == "right"


def _changed(connection: Connection, rewrite: Rewrite | None, generation_id: int) -> dict[str, str] | None:
    """A rewrite that changes nothing but the edges is none: a page sends the answer back as it was shown."""
    if rewrite is None or not rewrite.text.strip():
        return None
    original: str = connection.execute(select(Generation.text).where(Generation.id == generation_id)).scalar_one()
    text = rewrite.text.replace("\r\n", "\n")
    if trimmed(text) == trimmed(original.replace("\r\n", "\n")):
        return None
    return {"side": rewrite.side, "text": text}


def _stored_before(connection: Connection, label: dict[str, Any]) -> Stored:
    known = stored_before(connection, label["client_id"], label["payload_hash"])
    assert known is not None
    return known


def stored_before(connection: Connection, client_id: str, payload_hash: str) -> Stored | None:
    """What was stored under this `client_id`, none where nothing was. Raises Conflict where it was something else."""
    known = connection.execute(_KNOWN, {"client": client_id}).first()
    if known is None:
        return None
    if known.payload_hash != payload_hash:
        raise Conflict(_("Another verdict was already sent under this client_id. Nothing was changed; send it under a new one."))
    return _as_stored(known)


def _as_stored(known: Row[int, int, int, bool, datetime, str]) -> Stored:
    return Stored(known.id, known.task_id, known.version, known.surplus, known.created_at, created=False)


# The statements, built once.

_me = bindparam("me", type_=Seat.annotator_id.type)
_task = bindparam("task", type_=Task.id.type)


def is_latest(label: type[Label]) -> ColumnElement[bool]:
    """No version supersedes it: it is in force, or takes its verdict back."""
    later = aliased(Label)
    return ~exists().where(later.supersedes_id == label.id)


_theirs = aliased(Label)
_ONE_AT_A_TIME: Final = select(Task.id).where(Task.id == _task).with_for_update()
_CONTEXT: Final = Prepared(
    select(
        Task.id,
        Task.project_id,
        Task.kind,
        Task.first_generation_id,
        Task.second_generation_id,
        Task.served_reason,
        Task.reward_checkpoint_id,
        and_(Task.purpose == "train", Prompt.split == "train").label("trains"),
        Project.criteria,
        Project.flags,
        Project.rubric,
        Project.span_reasons,
        Project.retired,
        Project.guideline_version,
        Seat.id.label("seat_id"),
        Seat.state.label("seat_state"),
        Seat.swapped,
        Seat.claimed_at,
        Label.id.label("label_id"),
        Label.version,
        Label.withdrawn,
        Label.served_reason.label("reason_before"),
        Dispute.settled_by,
        Skip.id.label("skip_id"),
        exists().where(_theirs.task_id == Task.id, _theirs.annotator_id != _me).label("others"),
    )
    .join_from(Task, Project, Project.id == Task.project_id)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .outerjoin(Seat, and_(Seat.task_id == Task.id, Seat.annotator_id == _me))
    .outerjoin(Label, and_(Label.task_id == Task.id, Label.annotator_id == _me, is_latest(Label)))
    .outerjoin(Skip, and_(Skip.task_id == Task.id, Skip.annotator_id == _me))
    .outerjoin(Dispute, Dispute.task_id == Task.id)
    .where(Task.id == _task)
)
_FREE_SEAT: Final = (
    select(Seat.id)
    .where(Seat.task_id == _task, Seat.state == "free")
    .order_by(Seat.number)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_COLUMNS: Final = [column.name for column in Label.__table__.columns if column.name != "id"]
INSERT: Final = {
    name: dialect.insert(Label)
    .values({column: bindparam(column) for column in _COLUMNS})
    .on_conflict_do_nothing(index_elements=["client_id"])
    .returning(Label.id)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}
_INSERT: Final = {name: Prepared(statement) for name, statement in INSERT.items()}
_KNOWN: Final = select(Label.id, Label.task_id, Label.version, Label.surplus, Label.created_at, Label.payload_hash).where(
    Label.client_id == bindparam("client")
)
SUPERSEDE: Final = (
    update(Label).where(Label.id == bindparam("label")).values(current=False).execution_options(synchronize_session=False)
)
# Who answers after withdrawing needs nobody in their place, while nobody has taken it.
_FILL_GAP: Final = (
    delete(Seat)
    .where(Seat.state == "free")
    .where(Seat.id == select(func.max(Seat.id)).where(Seat.task_id == _task, Seat.state == "free").scalar_subquery())
    .execution_options(synchronize_session=False)
)
_FINISH: Final = Prepared(
    update(Seat)
    .where(Seat.id == bindparam("seat"), or_(Seat.state == "free", Seat.annotator_id == _me))
    .values(
        state="done",
        annotator_id=_me,
        swapped=bindparam("swapped_then"),
        claimed_at=func.coalesce(Seat.claimed_at, bindparam("now", type_=Utc())),
        lease_until=None,
    )
    .execution_options(synchronize_session=False)
)
