"""A project's verdicts as narrow columns, one entry a label, read once: later looks add what came since.

A label whose version is superseded, a withdrawal, one that came too late, and a reviewer's, who saw the others', is in no figure.
Labels younger than a minute are read again at the next look: one with a lower id may still be being written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final

import numpy as np
import orjson
from sqlalchemy import Row, Text, bindparam, case, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.labels.disputed import REVIEW
from app.models import Generation, Label, utc_now
from app.quality.measures.by_person import Bools, Ints

SETTLED: Final = timedelta(minutes=1)
UNKNOWN: Final = -1  # in columns whose values are not below 0

LEFT, TIE, RIGHT, BOTH_BAD = 0, 1, 2, 3  # in their order, but for the last
_CHOICES: Final = {"left": LEFT, "tie": TIE, "right": RIGHT, "both_bad": BOTH_BAD}

Criteria = dict[str, str | int]  # of a comparison: which side; of a rating: 1 to 5


@dataclass(slots=True)
class Columns:
    """`choice` as above, UNKNOWN of a rating; `overall` 1 to 5, 0 of a comparison. Lengths are in bytes: in any script a
    reader takes about as long for as many.
    """

    label: Ints
    supersedes: Ints  # 0: nothing
    task: Ints
    person: Ints
    choice: Ints
    overall: Ints
    left: Ints  # the answer
    right: Ints  # 0 of a rating
    left_contender: Ints
    right_contender: Ints
    left_bytes: Ints
    right_bytes: Ints
    spent_ms: Ints  # active time where it is known; UNKNOWN
    checks: Ints  # 1: a repeat or a known answer, which says something of its person alone
    withdrawn: Ints
    surplus: Ints
    criteria: Ints  # a place in `said`
    said: list[Criteria]

    def __len__(self) -> int:
        return len(self.label)

    def only(self, which: Bools) -> Columns:
        places = np.flatnonzero(which)
        return _columns([getattr(self, name).take(places) for name in NAMES], self.said)

    @property
    def in_force(self) -> Columns:
        """Of each verdict the latest version, and of checks the first: whoever finds out which they were corrects them."""
        stands = ~np.isin(self.label, self.supersedes) & (self.withdrawn == 0) & (self.surplus == 0)
        of_checks = self.checks == 1
        first = of_checks & (self.supersedes == 0) & np.isin(self.task, self.task[stands & of_checks])
        return self.only((stands & ~of_checks) | first)


NAMES: Final = tuple(one.name for one in fields(Columns) if one.name != "said")


def nothing() -> Columns:
    return _columns([np.zeros(0, np.int64) for _ in NAMES], [])


def _columns(arrays: Sequence[Ints], said: list[Criteria]) -> Columns:
    return Columns(**dict(zip(NAMES, arrays, strict=True)), said=said)


def read(session: Session, project_id: int, before: Columns | None = None, most: int | None = None) -> Columns:
    """All labels so far, those behind `before` read; at most so many more."""
    kept = before or nothing()
    since = int(kept.label[-1]) if len(kept) else 0
    rows = session.connection().execute(_STATEMENT.limit(most), {"project": project_id, "since": since}).all()
    return _with(kept, rows)


def newest(session: Session, project_id: int, most: int) -> Columns:
    """So many labels, the last ones."""
    behind = select(Label.id).where(Label.project_id == project_id).order_by(Label.id.desc()).offset(most).limit(1)
    since = session.scalar(behind) or 0
    return _with(nothing(), session.connection().execute(_STATEMENT, {"project": project_id, "since": since}).all())


def settled(session: Session, project_id: int, columns: Columns) -> Columns:
    """Less the labels from the first young one on, to be read again."""
    young = session.scalar(
        select(func.min(Label.id)).where(Label.project_id == project_id, Label.created_at > utc_now() - SETTLED)
    )
    return columns if young is None else columns.only(columns.label < young)


def _with(kept: Columns, rows: Sequence[Row[Any]]) -> Columns:
    if not rows:
        return kept
    *columns, criteria = zip(*rows, strict=True)
    said = list(kept.said)
    at = {_canonical(meant): place for place, meant in enumerate(said)}
    places: dict[str, int] = {}  # by text: the same come again and again
    for text in set(criteria):
        meant = orjson.loads(text)
        places[text] = at.setdefault(_canonical(meant), len(said))
        if places[text] == len(said):
            said.append(meant)
    found = [places[text] for text in criteria]
    more = [np.array(column, np.int64) for column in columns] + [np.array(found, np.int64)]
    return _columns([np.concatenate([getattr(kept, name), new]) for name, new in zip(NAMES, more, strict=True)], said)


def _canonical(meant: Any) -> bytes:
    """The same text for the same answers, in whatever order they were written."""
    return orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)


_left, _right = aliased(Generation), aliased(Generation)
_STATEMENT: Final = (
    select(
        Label.id,
        func.coalesce(Label.supersedes_id, 0),
        Label.task_id,
        Label.annotator_id,
        case(_CHOICES, value=Label.choice, else_=UNKNOWN),
        func.coalesce(Label.overall, 0),
        Label.left_generation_id,
        func.coalesce(Label.right_generation_id, 0),
        _left.contender_id,
        func.coalesce(_right.contender_id, 0),
        func.octet_length(_left.text),
        func.coalesce(func.octet_length(_right.text), 0),
        func.coalesce(Label.active_ms, Label.wall_ms, UNKNOWN),
        case((Label.served_reason.in_(("gold", "repeat")), 1), else_=0),
        case((Label.withdrawn, 1), else_=0),
        case((or_(Label.surplus, Label.served_reason == REVIEW), 1), else_=0),
        cast(Label.criteria, Text),
    )
    .join(_left, _left.id == Label.left_generation_id)
    .outerjoin(_right, _right.id == Label.right_generation_id)
    .where(Label.project_id == bindparam("project"), Label.id > bindparam("since"))
    .where(Label.served_reason != "feedback")  # said by whoever uses a program, and not by whose key it came with
    .where(Label.kind != "ranking")  # whose figures would be of another kind
    .order_by(Label.id)
)
