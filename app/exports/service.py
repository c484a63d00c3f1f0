"""Exports: every label of a project as training data, streamed, the same bytes twice.

An export is taken at a moment: the highest label id there was. Labels are immutable, so reading them in chunks, each in a
short transaction of its own, gives the same bytes now and next year; no transaction stays open for a slow reader, which on
SQLite would keep the write-ahead log from shrinking.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Literal

import orjson
from sqlalchemy import ColumnElement, Engine, Row, Select, Text, and_, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.database.engine import read_session
from app.database.slices import giving_way
from app.errors import Invalid
from app.exports import rankings
from app.exports.csv_text import csv_lines
from app.exports.rows import SOFT, Answer, Format, Judged, Verdict, agreement, columns_of, flat, rows_of
from app.labels.disputed import REVIEW
from app.language.languages import _
from app.models import Dispute, Exclusion, Generation, Label, Project, Prompt, Task
from app.models.criteria import wordings
from app.prompts.service import Split
from app.web.json_types import in_utc, json_dumps
from trainer.contract.offline_config import TOP_RATING

CHUNK_LABELS = 500
_LAYOUT = 10  # rises when rows change their form, so that a stored ETag does not vouch for the old one

BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for the system's own encoding, and Chinese is lost

As = Literal["jsonl", "csv"]

_left = aliased(Generation, name="left_generation")
_right = aliased(Generation, name="right_generation")
_later = aliased(Label, name="later")
_review = aliased(Label, name="review")

# What only the format `labels` shows.
_DETAILS: Final[dict[str, Any]] = {
    "version": Label.version,
    "supersedes_label_id": Label.supersedes_id,
    "current": None,  # as of the export's moment, as `overruled` is
    "withdrawn": Label.withdrawn,
    "surplus": Label.surplus,
    "overruled": None,
    "purpose": Task.purpose,
    "served_reason": Label.served_reason,
    "reward_checkpoint": Label.reward_checkpoint_id,
    "guideline_version": Label.guideline_version,
    "interface_version": Label.interface_version,
    "wall_ms": Label.wall_ms,
    "active_ms": Label.active_ms,
    "client_id": Label.client_id,
}


@dataclass(frozen=True)
class ExportQuery:
    """What to export. `since` is included, `until` is not. `min_agreement` is the share of labels that give a task's most
    frequent verdict, from 0 to 1."""

    format: Format = "preference"
    as_: As = "jsonl"
    since: datetime | None = None
    until: datetime | None = None
    split: Split | None = None
    min_agreement: float = 0.0


@dataclass(frozen=True)
class Export:
    """One export, fixed: everything that decides its bytes."""

    query: ExportQuery
    project_id: int
    slug: str
    last_label_id: int
    criteria: tuple[str, ...]
    rubric: Mapping[str, Sequence[str]]  # the words of each question in every version
    reasons: Sequence[Mapping[str, Any]]  # for marks
    pseudonyms: Mapping[int, str]
    excluded: tuple[int, ...]  # people whose labels train nothing: they are in the format `labels` alone
    etag: str

    @property
    def filename(self) -> str:
        return f"{self.slug}-{self.query.format}.{self.query.as_}"

    @property
    def media_type(self) -> str:
        return "text/csv; charset=utf-8" if self.query.as_ == "csv" else "application/x-ndjson"


def read_time(text: str | None, field: str) -> datetime | None:
    """An RFC 3339 moment, or a date that means its midnight in UTC. Raises Invalid, naming the field."""
    if not text:
        return None
    moment = _moment(f"{text}T00:00:00Z" if _is_date(text) else text)
    if moment is None:
        raise Invalid(
            _("%(field)s must be a date such as 2026-03-31 or a time with its zone such as 2026-03-31T12:00:00Z.", field=field),
            {field: _("not a date or a time with its zone")},
        )
    return moment


def _is_date(text: str) -> bool:
    return len(text) == 10 and text.count("-") == 2


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return in_utc(moment) if moment.tzinfo is not None else None
    except ValueError:
        return None


def prepare_export(session: Session, project: Project, query: ExportQuery) -> Export:
    """Fix the moment of an export and name it: the same ETag means the same bytes."""
    last, count = session.execute(
        select(func.coalesce(func.max(Label.id), 0), func.count()).where(Label.project_id == project.id)
    ).one()
    criteria = tuple(criterion["key"] for criterion in project.criteria)
    if query.format == "labels":  # which speak of what was asked at the time
        criteria += tuple(criterion["key"] for criterion in project.retired.get("criteria", ()))
    items = [*project.rubric, *project.retired["rubric"]] if query.format == "labels" else project.rubric
    rubric = {item["key"]: wordings(item) for item in items}
    reasons = [*project.span_reasons, *project.retired["span_reasons"]] if query.format == "labels" else project.span_reasons
    excluded = tuple(sorted(session.scalars(select(Exclusion.user_id).where(Exclusion.project_id == project.id))))
    named = json_dumps(
        [
            _LAYOUT,
            project.id,
            last,
            count,
            excluded,
            criteria,
            rubric,
            reasons,
            asdict(query) | {"since": str(query.since), "until": str(query.until)},
        ]
    )
    return Export(
        query=query,
        project_id=project.id,
        slug=project.slug,
        last_label_id=last,
        criteria=criteria,
        rubric=rubric,
        reasons=reasons,
        pseudonyms=pseudonyms(session, project.id),
        excluded=excluded,
        etag=f'"{hashlib.sha256(named.encode()).hexdigest()[:32]}"',
    )


def pseudonyms(session: Session, project_id: int) -> dict[int, str]:
    """A lasting name for every annotator that says nothing about the person: numbered by first label in the project."""
    first = select(Label.annotator_id).where(Label.project_id == project_id).group_by(Label.annotator_id)
    ids = session.scalars(first.order_by(func.min(Label.id)))
    return {annotator_id: f"annotator-{number}" for number, annotator_id in enumerate(ids, start=1)}


def stream_export(engine: Engine, export: Export) -> Iterator[bytes]:
    """The bytes, a chunk of labels at a time; memory does not grow with the project."""
    header = columns_of(export.query.format, export.criteria, export.rubric, export.reasons)
    if export.query.as_ == "csv":
        yield (BYTE_ORDER_MARK + csv_lines([header])).encode()
    after = 0
    while True:
        with read_session(engine) as session:
            found = session.connection().execute(_labels_after(export, after)).all()  # rows, and no objects made of them
            kept = _with_verdicts(session, export, found)
        if not found:
            return
        after = found[-1][0]
        asked = (export.query.format, export.criteria, export.rubric, export.reasons)
        rows = [row for judged in giving_way(kept) for row in rows_of(judged, *asked)]
        if not rows:
            continue
        if export.query.as_ == "csv":
            yield csv_lines(map(itemgetter(*header), map(flat, giving_way(rows)))).encode()
        else:
            yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in giving_way(rows))


def has_rows(engine: Engine, export: Export) -> bool:
    """Whether any label makes a row of this export."""
    lines = replace(export, query=replace(export.query, as_="jsonl"))
    return next(stream_export(engine, lines), None) is not None


def count_labels(session: Session, project_id: int) -> dict[str, int]:
    """How many current labels each kind of verdict has, for the download page: choices by name, else its kind."""
    rows = session.execute(
        select(func.coalesce(Label.choice, Label.kind), func.count())
        .where(Label.project_id == project_id, Label.current)
        .group_by(Label.choice, Label.kind)
    )
    return dict(rows.all())


def _in_force(export: Export) -> ColumnElement[bool]:
    """No later version as of the export's moment, and not withdrawn.

    `Label.current` would also know of corrections made while it streams.
    """
    later = select(_later.id).where(_later.supersedes_id == Label.id, _later.id <= export.last_label_id).exists()
    return and_(~later, ~Label.withdrawn)


def _overruled(export: Export) -> ColumnElement[bool]:
    """A reviewer settled its task, as of the export's moment: theirs trains instead."""
    theirs = select(_review.id).where(_review.task_id == Label.task_id, _review.served_reason == REVIEW, ~_review.withdrawn)
    superseded = select(_later.id).where(_later.supersedes_id == _review.id, _later.id <= export.last_label_id).exists()
    settled = theirs.where(_review.id <= export.last_label_id, ~superseded).exists()
    differed = select(Dispute.id).where(Dispute.task_id == Label.task_id).exists()  # few are: the others are looked at no further
    return and_(Label.served_reason != REVIEW, differed, settled)


def _labels_after(export: Export, after: int) -> Select[Any]:
    query = export.query
    as_of = {"current": _in_force(export), "overruled": _overruled(export)}
    details = [as_of.get(name, column) for name, column in _DETAILS.items()]
    columns: list[Any] = [  # in the order in which `_judged` takes them apart
        *(Label.id, Label.task_id, Label.annotator_id, Label.kind, Label.choice, Label.strength, Label.overall),
        *(_json(Label.criteria), _json(Label.flags), _json(Label.rubric), _json(Label.spans), _json(Label.rewrite)),
        *(Label.comment, Label.created_at),
        *(_json(Label.ranking), Label.served_reason == REVIEW),
        *(Task.prompt_id, Prompt.external_id, Prompt.split, _json(Prompt.extra), _json(Prompt.messages)),
        *_of_answer(_left),
        *_of_answer(_right),
        *(details if query.format == "labels" else ()),
    ]
    statement = (
        select(*columns)
        .join(Task, Task.id == Label.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(_left, _left.id == Label.left_generation_id)
        .outerjoin(_right, _right.id == Label.right_generation_id)
        # By their ids alone: an index of the project would make every chunk read, and sort, all of its labels.
        .where(Label.project_id + 0 == export.project_id, Label.id > after, Label.id <= export.last_label_id)
        .order_by(Label.id)
        .limit(CHUNK_LABELS)
    )
    if query.format != "labels":
        checks = Task.purpose.in_(("gold", "repeat"))  # which say something of their person alone
        statement = statement.where(_in_force(export), ~Label.surplus, ~checks, ~_overruled(export))
        if export.excluded:
            statement = statement.where(Label.annotator_id.not_in(export.excluded))
    if query.format in ("preference", "ratings"):
        kinds = ("comparison", "ranking") if query.format == "preference" else ("rating",)
        statement = statement.where(Label.kind.in_(kinds))
    if query.format == "rankings":
        statement = statement.where(Label.kind == "ranking")
    if query.format == "sft":
        statement = statement.where(or_(Label.rewrite.is_not(None), Label.overall == TOP_RATING))
    if query.since is not None:
        statement = statement.where(Label.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(Label.created_at < query.until)
    if query.split is not None:
        statement = statement.where(Prompt.split == query.split)
    return statement


def _of_answer(generation: type[Generation]) -> tuple[Any, ...]:
    """In the order in which `_answer` takes them."""
    best_of = func.coalesce(generation.settings["best_of"].as_integer(), 1)
    return generation.id, generation.checkpoint_id, generation.text, generation.finish_reason, best_of


def _json(column: InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """As text, to be read by a faster library than the database's own."""
    return cast(column, Text)


def _with_verdicts(session: Session, export: Export, found: Sequence[Row[Any]]) -> list[Judged]:
    """With what all people said of each task, where that is asked; the labels of tasks that they agree on enough, or that a
    reviewer settled.
    """
    judged = _with_ranked(session, [_judged(row, export) for row in giving_way(found)])
    least = export.query.min_agreement
    if not judged or (least <= 0 and export.query.format not in SOFT):
        return judged
    verdicts = _verdicts(session, export, {item.task_id for item in judged})
    judged = [item._replace(verdicts=verdicts[item.task_id]) for item in judged]
    return [item for item in judged if least <= 0 or item.settled or (item.verdicts and agreement(item.verdicts) >= least)]


def _with_ranked(session: Session, judged: list[Judged]) -> list[Judged]:
    """With the answers of those that are rankings."""
    shown = {one for item in judged if item.ranking for one in item.ranking["shown"]}
    if not shown:
        return judged
    rows = session.execute(select(*_of_answer(Generation)).where(Generation.id.in_(shown)))
    answers = {row[0]: _answer(*row) for row in rows}
    return [item._replace(ranked=[answers[one] for one in item.ranking["shown"]]) if item.ranking else item for item in judged]


def _verdicts(session: Session, export: Export, task_ids: Iterable[int]) -> dict[int, list[Verdict]]:
    """By task, as of the export's moment: of people whose labels train, without late ones and a reviewer's."""
    found: dict[int, list[Verdict]] = defaultdict(list)
    columns = (Label.task_id, Label.choice, Label.overall, Label.left_generation_id, Label.right_generation_id, Label.ranking)
    statement = select(*columns).where(Label.task_id.in_(task_ids), Label.id <= export.last_label_id, ~Label.surplus)
    statement = statement.where(Label.served_reason != REVIEW, Label.annotator_id.not_in(export.excluded), _in_force(export))
    for task_id, choice, overall, left, right, ranking in session.connection().execute(statement):
        # A side means nothing across people, who see it swapped; the generation does.
        if ranking is not None:
            found[task_id].append(rankings.verdict_of(ranking))
        else:
            found[task_id].append(overall if choice is None else {"left": left, "right": right}.get(choice, choice))
    return found


def _judged(row: Sequence[Any], export: Export) -> Judged:
    label_id, task_id, annotator_id, kind, choice, strength, overall, criteria, flags, *rest = row
    rubric, spans, rewrite, comment, created_at, *about = rest
    ranking, settled, prompt_id, external_id, split, extra, messages, *answers_and_details = about
    return Judged(
        label_id=label_id,
        task_id=task_id,
        annotator=export.pseudonyms[annotator_id],
        kind=kind,
        choice=choice,
        strength=strength,
        overall=overall,
        criteria=orjson.loads(criteria),
        flags=orjson.loads(flags),
        rubric={} if rubric is None else orjson.loads(rubric),
        spans=None if spans is None else orjson.loads(spans),
        rewrite=None if rewrite is None else orjson.loads(rewrite),
        comment=comment,
        prompt_id=prompt_id,
        external_id=external_id,
        split=split,
        extra=_in_order(extra),
        messages=orjson.loads(messages),
        left=_answer(*answers_and_details[:5]),
        right=None if answers_and_details[5] is None else _answer(*answers_and_details[5:10]),
        created_at=created_at,
        settled=settled,
        ranking=None if ranking is None else orjson.loads(ranking),
        details=_details(answers_and_details[10:]),
    )


def _answer(generation_id: int, checkpoint_id: int | None, text: str, finish_reason: str, best_of: int) -> Answer:
    return Answer(generation_id, checkpoint_id or 0, text, finish_reason == "length", best_of)


def _details(values: Sequence[Any]) -> dict[str, Any]:
    """By their names; a number that nobody gave is 0."""
    return {name: 0 if value is None else value for name, value in zip(_DETAILS, values, strict=False)}


@lru_cache(maxsize=1024)
def _in_order(extra: str) -> str:
    """JSON with its keys in one order. A number in it may be longer than the fast library takes."""
    return json.dumps(json.loads(extra), ensure_ascii=False, sort_keys=True)
