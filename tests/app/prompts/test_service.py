from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Project, Prompt
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
    with write_session(engine) as session:
        first = import_prompts(session, project, rows("One?", "Two?", "one? "))
        second = import_prompts(session, project, rows("Two?", "Three?"))
        splits = {prompt.digest: prompt.split for prompt in session.scalars(select(Prompt))}
    assert (first.created, first.duplicates) == (2, 1)
    assert (second.created, second.duplicates) == (1, 1)
    assert splits == {digest: prompt_split(digest) for digest in splits}
    assert len(splits) == 3


def test_one_bad_line_keeps_everything_out(engine: Engine, project: Project) -> None:
    with write_session(engine) as session:
        report = import_prompts(session, project, [prompt_row(1, "Good?"), prompt_row(2, " ")])
        assert report.created == 0
        assert [bad.line for bad in report.rejected] == [2]
        assert count_prompts(session, project.id).train + count_prompts(session, project.id).holdout == 0


def test_bad_lines_are_left_out_when_the_person_chose_so(engine: Engine, project: Project) -> None:
    with write_session(engine) as session:
        report = import_prompts(session, project, [prompt_row(1, "Good?"), prompt_row(2, " ")], skip_bad_lines=True)
    assert (report.created, len(report.rejected)) == (1, 1)


def test_thousands_of_prompts_come_in_at_once(engine: Engine, project: Project) -> None:
    with write_session(engine) as session:
        report = import_prompts(session, project, rows(*(f"Question {number}?" for number in range(3000))))
    assert (report.created, report.duplicates) == (3000, 0)


def test_two_projects_may_have_the_same_prompt(engine: Engine, project: Project) -> None:
    with write_session(engine) as session:
        other = session.scalars(select(Project).where(Project.id != project.id)).one()
        assert import_prompts(session, project, rows("Same?")).created == 1
        assert import_prompts(session, other, rows("Same?")).created == 1


def test_a_prompt_put_away_is_no_longer_listed(engine: Engine, project: Project) -> None:
    with write_session(engine) as session:
        import_prompts(session, project, rows("Keep?", "Drop?"))
        dropped = next(p for p in find_prompts(session, project.id, PromptFilter()) if p.messages[0]["content"] == "Drop?")
        put_away(session, project.id, [dropped.id], None)
    with read_session(engine) as session:
        assert [p.messages[0]["content"] for p in find_prompts(session, project.id, PromptFilter())] == ["Keep?"]
        assert [p.messages[0]["content"] for p in find_prompts(session, project.id, PromptFilter(archived=True))] == ["Drop?"]
        assert count_prompts(session, project.id).archived == 1
