"""Prompts: their identity, their split, and bringing many in at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.assignment.audiences import audience
from app.assignment.people import note_audiences
from app.database import audit
from app.database.engine import read_session
from app.database.failures import is_passing
from app.database.slices import ASKED_AT_ONCE, Slices, giving_way
from app.database.taking_turns import hold
from app.errors import Archived, Conflict, NotFound, Unavailable
from app.language.formats import count, listed, number, paragraph
from app.language.languages import _, ngettext
from app.models import Generation, Project, Prompt, Run, utc_now
from app.projects.service import hold_open
from app.prompts.twins.service import Twin, look
from app.texts.composed import composed

HOLDOUT_SHARE = 0.2

Split = Literal["train", "holdout"]


class Message(TypedDict):
    role: str  # system, user or assistant
    content: str


@dataclass(frozen=True)
class PromptRow:
    """One prompt as read from a file or a request; `line` counts from 1."""

    line: int
    messages: list[Message]
    external_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # what else its owner said of it
    left_out: tuple[str, ...] = ()  # names of what was said but cannot be kept
    language: str | None = None  # the three as `app.assignment.audiences` checks them
    tags: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadLine:
    """A line that is no prompt, and why, in the words of the person who wrote it."""

    line: int
    why: str


@dataclass(frozen=True)
class NearLine:
    """A line whose prompt says nearly the same as another; `twin_line` where that came with the same import."""

    line: int
    prompt_id: int
    twin_id: int
    twin_line: int | None
    leaks: bool  # one of both is held out, the other trained on


@dataclass
class ImportReport:
    created: int = 0
    duplicates: int = 0
    rejected: list[BadLine] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # columns or keys that some prompt has too much in to keep
    near: list[NearLine] = field(default_factory=list)  # imported all the same

    def refusal(self) -> str:
        """The sentence for an import that bad lines kept out."""
        return ngettext(
            "Nothing was imported: %(num)s line cannot be used.",
            "Nothing was imported: %(num)s lines cannot be used.",
            len(self.rejected),
        )

    def nearly_there(self) -> str:
        """The sentences on prompts that say nearly the same as another; nothing where none does."""
        if not self.near:
            return ""
        twins = [
            _("line %(line)s is like prompt %(number)s", line=one.line, number=one.twin_id)
            if one.twin_line is None
            else _("line %(line)s is like line %(twin)s", line=one.line, twin=one.twin_line)
            for one in self.near[:10]
        ]
        said = [
            _(
                "Nearly the same as another prompt, and imported all the same: %(prompts)s (%(twins)s).",
                prompts=count(len(self.near), "prompt"),
                twins=listed([*twins, *(["…"] if len(self.near) > 10 else [])]),
            )
        ]
        if leaks := sum(one.leaks for one in self.near):
            said.append(
                _(
                    "With %(prompts)s of these, one of both is held out and the other trained on: figures from held-out prompts "
                    "are then better than the model is. Put one of each two away.",
                    prompts=number(leaks),
                )
            )
        return paragraph(said)


def prompt_digest(messages: Sequence[Message]) -> str:
    """SHA-256, in hex, of the conversation as people would call it the same.

    Case, Unicode composition and the amount of white space do not count; roles and the order of messages do. Depends on
    nothing but the text, so every machine agrees.
    """
    normal = [[message["role"], _normalised(message["content"])] for message in messages]
    return hashlib.sha256(json.dumps(normal, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def prompt_split(digest: str) -> Split:
    """The split a prompt belongs to for ever, from the first 32 bits of its digest: about one in five is held out.

    Never by row: the same prompt in two imports, or in two installations, is always on the same side.
    """
    return "holdout" if int(digest[:8], 16) < HOLDOUT_SHARE * 2**32 else "train"


def _normalised(text: str) -> str:
    # Folding can undo composition and composition can open a new fold; NFC around the fold settles both.
    folded = composed(composed(text).casefold())
    return " ".join(folded.split())


def import_prompts(
    engine: Engine,
    project_id: int,
    rows: Iterable[PromptRow | BadLine],
    *,
    by: int | None = None,
    skip_bad_lines: bool = False,
) -> ImportReport:
    """Add the prompts the project does not have yet, in slices, so that no verdict waits for it.

    One bad line and nothing is created, unless the person chose to leave bad lines out. Raises Archived.
    Where the database stops answering in between, or the project is archived, Unavailable or Conflict says how many were taken;
    the same import again takes the others, and none twice.
    """
    report = ImportReport()
    good: list[PromptRow] = []
    for row in rows:
        if isinstance(row, BadLine):
            report.rejected.append(row)
        else:
            good.append(row)
    if report.rejected and not skip_bad_lines:
        return report
    report.left_out = sorted({name for row in good for name in row.left_out})
    new = _new_ones(engine, project_id, good)
    report.duplicates = len(good) - len(new)
    details = {"created": len(new), "duplicates": report.duplicates, "rejected": len(report.rejected)}
    slices = Slices(engine)
    for some in slices.of(new):
        with telling_what_was_taken(report, count(len(new), "prompt")), slices.write() as session:
            project = hold_open(session, project_id)  # somebody may have put it away, or deleted it, meanwhile
            note_audiences(session, project, _audiences(new))  # all of them first: there may be too many
            if some[0] is new[0]:  # noted with what comes first: no row is without its entry
                audit.record(session, by, "prompts.imported", project.slug, details, project.id)
            made = _insert(session, some)
        report.created += made
    report.duplicates = len(good) - report.created
    if report.created:
        with telling_what_was_taken(report, count(len(new), "prompt")):
            report.near = _near_lines(look(engine, project_id), good)
    return report


def _near_lines(twins: Sequence[Twin], rows: Sequence[PromptRow]) -> list[NearLine]:
    """The twins that came with these rows, in the order of their lines."""
    if not twins:
        return []
    lines: dict[str, int] = {}
    for row in giving_way(rows):
        lines.setdefault(prompt_digest(row.messages), row.line)
    near = [
        NearLine(lines[one.digest], one.id, one.twin_id, lines.get(one.twin_digest), one.leaks)
        for one in twins
        if one.digest in lines
    ]
    return sorted(near, key=lambda one: one.line)


def add_prompts(session: Session, project: Project, rows: Sequence[PromptRow], *, put_away: bool = False) -> None:
    """Add a few prompts in the caller's transaction."""
    archived = {"archived_at": utc_now()} if put_away else {}
    values = [_values(project.id, row) | archived for row in rows]
    note_audiences(session, project, _audiences(values))
    _insert(session, values)


def _new_ones(engine: Engine, project_id: int, rows: Sequence[PromptRow]) -> list[dict[str, Any]]:
    """What is to be inserted, read and computed while others write: each prompt once, and none that the project has."""
    found: dict[str, dict[str, Any]] = {}
    for values in (_values(project_id, row) for row in giving_way(rows)):
        found.setdefault(values["digest"], values)
    digests = list(found)
    with read_session(engine) as session:
        for start in range(0, len(digests), ASKED_AT_ONCE):
            there = select(Prompt.digest).where(Prompt.project_id == project_id)
            for digest in session.scalars(there.where(Prompt.digest.in_(digests[start : start + ASKED_AT_ONCE]))):
                del found[digest]
    return list(found.values())


def _values(project_id: int, row: PromptRow) -> dict[str, Any]:
    digest = prompt_digest(row.messages)
    return {
        "project_id": project_id,
        "messages": row.messages,
        "digest": digest,
        "split": prompt_split(digest),
        "external_id": row.external_id,
        "extra": row.extra,
        "language": row.language,
        "tags": list(row.tags),
        "skills": list(row.skills),
        "audience": audience(row.language, row.skills),
        "created_at": utc_now(),
    }


def _audiences(values: Iterable[dict[str, Any]]) -> set[str]:
    return {one["audience"] for one in values if one["audience"] is not None}


def _insert(session: Session, values: Sequence[dict[str, Any]]) -> int:
    """Insert what is new; the unique constraint decides, so two imports at once cannot make one prompt twice."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(Prompt).on_conflict_do_nothing(index_elements=[Prompt.project_id, Prompt.digest]).returning(Prompt.id)
    return len(session.execute(statement, list(values)).all())


@contextmanager
def telling_what_was_taken(report: ImportReport, all_: str) -> Iterator[None]:
    """Around a slice: where it fails after others were written, the refusal says how many of all were taken."""
    try:
        yield
    except Archived as error:
        if not report.created:
            raise
        raise Conflict(
            _(
                "%(taken)s of %(all)s were imported; then the project was archived. Bring it back and import the same again: "
                "the others are taken, and none twice.",
                taken=number(report.created),
                all=all_,
            )
        ) from error
    except Exception as error:
        if not report.created or not is_passing(error):
            raise
        raise Unavailable(
            _(
                "%(taken)s of %(all)s were imported; then the database did not answer. Import the same again: the others "
                "are taken, and none twice.",
                taken=number(report.created),
                all=all_,
            )
        ) from error


@dataclass(frozen=True)
class PromptCounts:
    train: int
    holdout: int
    archived: int


def count_prompts(session: Session, project_id: int) -> PromptCounts:
    """How many prompts are in use in each split, and how many are put away."""
    mine = select(func.count()).select_from(Prompt).where(Prompt.project_id == project_id)
    kinds = (
        mine.where(Prompt.split == "train", Prompt.archived_at.is_(None)),
        mine.where(Prompt.split == "holdout", Prompt.archived_at.is_(None)),
        mine.where(Prompt.archived_at.is_not(None)),
    )
    return PromptCounts(*(session.scalar(kind) or 0 for kind in kinds))  # three counts in an index; groups would be sorted


def get_prompt(session: Session, prompt_id: int) -> Prompt:
    prompt = session.get(Prompt, prompt_id)
    if prompt is None:
        raise NotFound(_("There is no such prompt."))
    return prompt


def is_used(session: Session, prompt_id: int) -> bool:
    """Whether a model answered it, or may be answering it now, so that changing its text would falsify what is there."""
    if session.scalar(select(Generation.id).where(Generation.prompt_id == prompt_id).limit(1)) is not None:
        return True
    project_id = select(Prompt.project_id).where(Prompt.id == prompt_id).scalar_subquery()
    return session.scalar(select(Run.id).where(Run.project_id == project_id, Run.state == "running").limit(1)) is not None


def edit_prompt(session: Session, prompt_id: int, messages: Sequence[Message], by: int | None) -> Prompt:
    """Give a prompt that nobody answered another text; its split follows from that.

    Raises Conflict where it was answered or where the project has that prompt already.
    """
    prompt = get_prompt(session, prompt_id)
    hold(session, session.get_one(Project, prompt.project_id))  # a worker that takes a run of it holds it, too
    if is_used(session, prompt_id):
        raise Conflict(
            _("This prompt was answered already, or is being answered now. Put it away and import the new text as another one.")
        )
    digest = prompt_digest(messages)
    twin = session.scalar(select(Prompt.id).where(Prompt.project_id == prompt.project_id, Prompt.digest == digest))
    if twin is not None and twin != prompt_id:
        raise Conflict(_("The project has this prompt already."), {"content": _("This prompt is there already.")})
    prompt.messages, prompt.digest, prompt.split = list(messages), digest, prompt_split(digest)
    prompt.tokens = prompt.sketch = prompt.twin_id = None
    audit.record(session, by, "prompts.changed", f"prompt {prompt_id}", project_id=prompt.project_id)
    session.flush()
    return prompt
