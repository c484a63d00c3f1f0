from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.database import slices
from app.database.engine import read_session, write_session
from app.errors import Archived, Conflict, NotFound, Refusal, Unavailable
from app.models import AuditEntry, Project, Prompt, utc_now
from app.prompts import service
from app.prompts.conversations import prompt_row
from app.prompts.search import PromptFilter, find_prompts, put_away
from app.prompts.service import (
    BadLine,
    Message,
    PromptRow,
    count_prompts,
    import_prompts,
    prompt_digest,
    prompt_split,
)


def said(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def rows(*texts: str) -> list[PromptRow | BadLine]:
    return [PromptRow(line, said(text)) for line, text in enumerate(texts, start=1)]


def test_the_digest_is_the_same_on_every_machine() -> None:
    assert prompt_digest(said("Why do cats purr?")) == "f43265d02da035264ea04197b4a08cdf236612012d43602ab240ac42dfd9a45d"


def test_case_white_space_and_unicode_form_do_not_make_another_prompt() -> None:
    one = prompt_digest(said("Où est le café?"))
    assert prompt_digest(said("  OÙ est\n le  cafe\u0301? ")) == one
    assert prompt_digest(said("Où est le thé?")) != one
    assert prompt_digest([{"role": "system", "content": "Où est le café?"}]) != one


@given(st.text())
def test_no_text_changes_its_digest_by_how_it_is_composed_or_spaced(text: str) -> None:
    digest = prompt_digest(said(text))
    assert prompt_digest(said(unicodedata.normalize("NFD", text))) == digest
    assert prompt_digest(said(f"\t{text}\n")) == digest


def test_one_prompt_in_five_is_held_out() -> None:
    splits = [prompt_split(prompt_digest(said(f"Question {number}"))) for number in range(5000)]
    assert 0.18 < splits.count("holdout") / len(splits) < 0.22


def test_the_edge_of_the_split_is_where_the_share_says() -> None:
    assert prompt_split("33333333" + "f" * 56) == "holdout"
    assert prompt_split("33333334" + "0" * 56) == "train"


def test_a_prompt_that_is_there_already_is_a_duplicate(engine: Engine, project: Project) -> None:
    first = import_prompts(engine, project.id, rows("One?", "Two?", "one? "))
    second = import_prompts(engine, project.id, rows("Two?", "Three?"))
    with read_session(engine) as session:
        splits = {prompt.digest: prompt.split for prompt in session.scalars(select(Prompt))}
        kept = [prompt.messages[0]["content"] for prompt in session.scalars(select(Prompt).order_by(Prompt.id))]
    assert (first.created, first.duplicates) == (2, 1)
    assert (second.created, second.duplicates) == (1, 1)
    assert splits == {digest: prompt_split(digest) for digest in splits}
    assert kept == ["One?", "Two?", "Three?"], "of twins the first"


def test_one_bad_line_keeps_everything_out(engine: Engine, project: Project) -> None:
    report = import_prompts(engine, project.id, [prompt_row(1, "Good?"), prompt_row(2, " ")])
    assert report.created == 0
    assert [bad.line for bad in report.rejected] == [2]
    assert in_use(engine, project.id) == 0


def test_bad_lines_are_left_out_when_the_person_chose_so(engine: Engine, project: Project) -> None:
    report = import_prompts(engine, project.id, [prompt_row(1, "Good?"), prompt_row(2, " ")], skip_bad_lines=True)
    assert (report.created, len(report.rejected)) == (1, 1)


def in_use(engine: Engine, project_id: int) -> int:
    with read_session(engine) as session:
        counts = count_prompts(session, project_id)
    return counts.train + counts.holdout


def many(count: int) -> list[PromptRow | BadLine]:
    return rows(*(f"Question {number}?" for number in range(count)))


def test_thousands_of_prompts_come_in_a_few_hundred_at_a_time(
    engine: Engine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that others write in between: the sighting held verdicts back for eight seconds."""
    taken: list[int] = []

    def insert(session: Session, values: Sequence[dict[str, Any]]) -> int:
        taken.append(len(values))
        return really(session, values)

    really = service._insert
    monkeypatch.setattr(service, "_insert", insert)
    report = import_prompts(engine, project.id, many(3000))
    assert (report.created, report.duplicates) == (3000, 0)
    assert sum(taken) == 3000
    assert max(taken) <= slices.MOST
    assert len(taken) > 1
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "prompts.imported")).one()
    assert entry.details == {"created": 3000, "duplicates": 0, "rejected": 0}


def test_an_import_that_ends_in_between_says_how_many_it_took_and_goes_on_where_it_was(
    engine: Engine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def insert(session: Session, values: Sequence[dict[str, Any]]) -> int:
        if in_use(engine, project.id):
            raise OperationalError("INSERT", None, Exception("database or disk is full"))
        return really(session, values)

    really = service._insert
    monkeypatch.setattr(slices, "FIRST", 100)
    monkeypatch.setattr(service, "_insert", insert)
    with pytest.raises(Unavailable, match="100 of 250 prompts were imported"):
        import_prompts(engine, project.id, many(250))
    monkeypatch.setattr(service, "_insert", really)
    again = import_prompts(engine, project.id, many(250))
    assert (again.created, again.duplicates, in_use(engine, project.id)) == (150, 100, 250)


@pytest.mark.parametrize(
    ("ended", "first", "says", "again"),
    [
        ("deleted_at", NotFound, "There is no such project", NotFound),
        ("archived_at", Conflict, "100 of 250 prompts were imported; then the project was archived", Archived),
    ],
)
def test_an_import_into_a_project_that_ends_meanwhile_says_how_far_it_came(
    engine: Engine,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    ended: str,
    first: type[Refusal],
    says: str,
    again: type[Refusal],
) -> None:
    def insert(session: Session, values: Sequence[dict[str, Any]]) -> int:
        made = really(session, values)
        setattr(session.get_one(Project, project.id), ended, utc_now())
        return made

    really = service._insert
    monkeypatch.setattr(slices, "FIRST", 100)
    monkeypatch.setattr(service, "_insert", insert)
    with pytest.raises(first, match=says):
        import_prompts(engine, project.id, many(250))
    with pytest.raises(again):
        import_prompts(engine, project.id, many(250))
    assert in_use(engine, project.id) == 100


def test_two_projects_may_have_the_same_prompt(engine: Engine, project: Project) -> None:
    with read_session(engine) as session:
        other = session.scalars(select(Project.id).where(Project.id != project.id)).one()
    assert import_prompts(engine, project.id, rows("Same?")).created == 1
    assert import_prompts(engine, other, rows("Same?")).created == 1


def test_a_prompt_put_away_is_no_longer_listed(engine: Engine, project: Project) -> None:
    import_prompts(engine, project.id, rows("Keep?", "Drop?"))
    with write_session(engine) as session:
        dropped = next(p for p in find_prompts(session, project.id, PromptFilter()) if p.messages[0]["content"] == "Drop?")
        put_away(session, project.id, [dropped.id], None)
    with read_session(engine) as session:
        assert [p.messages[0]["content"] for p in find_prompts(session, project.id, PromptFilter())] == ["Keep?"]
        assert [p.messages[0]["content"] for p in find_prompts(session, project.id, PromptFilter(archived=True))] == ["Drop?"]
        assert count_prompts(session, project.id).archived == 1
