"""Bringing in answers that were written elsewhere, many at once: their prompts, their contenders, and what is there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session

from app.contenders.answers import AnswerRow
from app.contenders.service import name_stranger
from app.database import audit
from app.database.engine import read_session
from app.database.slices import ASKED_AT_ONCE, Slices, giving_way
from app.language.formats import count
from app.language.languages import _
from app.models import Contender, Generation, Prompt, utc_now
from app.projects.service import hold_open
from app.prompts.service import BadLine, ImportReport, PromptRow, import_prompts, prompt_digest, telling_what_was_taken


@dataclass
class AnswersReport(ImportReport):
    prompts: int = 0  # those that the project had not


class Answer(NamedTuple):
    prompt_id: int
    model: str
    text: str


def import_answers(
    engine: Engine,
    project_id: int,
    rows: Iterable[AnswerRow | BadLine],
    *,
    by: int | None = None,
    skip_bad_lines: bool = False,
) -> AnswersReport:
    """Add the answers the project does not have yet, and the prompts and contenders that they need; in slices, as prompts are.

    One bad line and nothing is created, unless the person chose to leave bad lines out. The same text to the same prompt by the
    same model is there already. Raises Archived, and Unavailable or Conflict where a part was taken: the same import again takes
    the others, and none twice.
    """
    report = AnswersReport()
    good: list[AnswerRow] = []
    for row in _checked(engine, project_id, list(rows)):
        if isinstance(row, BadLine):
            report.rejected.append(row)
        else:
            good.append(row)
    if report.rejected and not skip_bad_lines:
        return report
    asked = import_prompts(engine, project_id, [row.prompt for row in good if isinstance(row.prompt, PromptRow)], by=by)
    report.prompts, report.left_out = asked.created, asked.left_out
    new = _new_ones(engine, project_id, _answers(engine, project_id, good))
    details = {
        "created": len(new),
        "duplicates": len(good) - len(new),
        "rejected": len(report.rejected),
        "prompts": report.prompts,
    }
    slices = Slices(engine)
    for some in slices.of(new):
        with telling_what_was_taken(report, count(len(new), "answer")), slices.write() as session:
            project = hold_open(session, project_id)  # somebody may have put it away, or deleted it, meanwhile
            if some[0] is new[0]:
                audit.record(session, by, "answers.imported", project.slug, details, project.id)
            names = sorted({answer.model for answer in some})
            contenders = {name: name_stranger(session, project, name, by).id for name in names}
            made = _insert(session, contenders, some)
        report.created += made
    report.duplicates = len(good) - report.created
    return report


def _checked(engine: Engine, project_id: int, rows: Sequence[AnswerRow | BadLine]) -> Iterator[AnswerRow | BadLine]:
    """The rows, less those whose prompt is not the project's and those whose model's name is another contender's."""
    good = [row for row in rows if isinstance(row, AnswerRow)]
    with read_session(engine) as session:
        named = sorted({row.prompt for row in good if isinstance(row.prompt, int)})
        mine = select(Prompt.id).where(Prompt.project_id == project_id)
        there = {found for some in _some(named) for found in session.scalars(mine.where(Prompt.id.in_(some)))}
        outside = select(Contender.name).where(Contender.project_id == project_id, Contender.kind == "outside")
        taken = set(session.scalars(outside))
    for row in giving_way(rows):
        if isinstance(row, AnswerRow) and isinstance(row.prompt, int) and row.prompt not in there:
            yield BadLine(row.line, _("This project has no prompt %(number)s.", number=row.prompt))
        elif isinstance(row, AnswerRow) and row.model in taken:
            yield BadLine(row.line, _("A model outside has that name already."))
        else:
            yield row


def _answers(engine: Engine, project_id: int, rows: Sequence[AnswerRow]) -> list[Answer]:
    """The rows with their prompts' numbers, each once, in the order in which they came."""
    digests = {id(row): prompt_digest(row.prompt.messages) for row in giving_way(rows) if isinstance(row.prompt, PromptRow)}
    numbers: dict[str, int] = {}
    with read_session(engine) as session:
        for some in _some(sorted(set(digests.values()))):
            asked = select(Prompt.digest, Prompt.id).where(Prompt.project_id == project_id, Prompt.digest.in_(some))
            numbers.update((row.digest, row.id) for row in session.execute(asked))
    found = (
        Answer(row.prompt if isinstance(row.prompt, int) else numbers[digests[id(row)]], row.model, row.text) for row in rows
    )
    return list(dict.fromkeys(found))


def _new_ones(engine: Engine, project_id: int, answers: Sequence[Answer]) -> list[Answer]:
    """Those that are not there yet, read while others write."""
    there: set[Answer] = set()
    models = {answer.model for answer in answers}
    with read_session(engine) as session:
        for some in _some(sorted({answer.prompt_id for answer in answers})):
            stored = (
                select(Generation.prompt_id, Contender.name, Generation.text)
                .join(Contender, Contender.id == Generation.contender_id)
                .where(Contender.project_id == project_id, Contender.kind == "imported", Generation.prompt_id.in_(some))
            )
            there.update(Answer(prompt, name, text) for prompt, name, text in session.execute(stored) if name in models)
    return [answer for answer in answers if answer not in there]


def _insert(session: Session, contenders: dict[str, int], some: Sequence[Answer]) -> int:
    """Insert what is new while the project is held, so that two imports at once cannot bring in one answer twice."""
    theirs = Generation.contender_id.in_(contenders.values()), Generation.prompt_id.in_({one.prompt_id for one in some})
    stored = select(Generation.contender_id, Generation.prompt_id, Generation.text).where(*theirs)
    there = {tuple(row) for row in session.execute(stored.where(Generation.text.in_({one.text for one in some})))}
    last = select(Generation.contender_id, Generation.prompt_id, func.max(Generation.number)).where(*theirs)
    numbers = {
        (contender, prompt): highest + 1
        for contender, prompt, highest in session.execute(last.group_by(Generation.contender_id, Generation.prompt_id))
    }
    values: list[dict[str, Any]] = []
    for answer in some:
        contender = contenders[answer.model]
        if (contender, answer.prompt_id, answer.text) in there:
            continue
        number = numbers.get((contender, answer.prompt_id), 0)
        numbers[contender, answer.prompt_id] = number + 1
        values.append(
            {
                "prompt_id": answer.prompt_id,
                "contender_id": contender,
                "number": number,
                "settings": {},
                "text": answer.text,
                "finish_reason": "eos",  # as an answer that was not cut: its card says nothing of how it ended
                "created_at": utc_now(),
            }
        )
    if values:
        session.execute(insert(Generation), values)
    return len(values)


def _some(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), ASKED_AT_ONCE):
        yield values[start : start + ASKED_AT_ONCE]
