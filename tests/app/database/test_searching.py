"""Words are found where somebody said them, and not in what the database writes around them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert, literal_column, select

from app.database import searching
from app.database.engine import read_session, write_session
from app.database.searching import Total, total_of
from app.labels.search import LabelFilter, annotators, count_labels, search_labels
from app.models import Project, Prompt, utc_now
from app.prompts.search import PromptFilter, count_fitting, find_prompts
from app.prompts.service import count_prompts
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.labels.test_grown import plans, read_through


@pytest.mark.parametrize("key", ["left", "right", "response"])
def test_a_flag_that_is_called_like_a_side_is_found_where_it_was_ticked(engine: Engine, cast: Cast, key: str) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        flag = {"key": key, "name": key, "description": "", "weight": 1.0}
        project.flags = [*project.flags, flag]
        judge(session, project, cast.mary, choice="left", flags={"left": ["untrue"], "right": []})
        judge(session, project, cast.mary, overall=2, flags={"response": ["off_topic", "untrue"]})
        ticked = [
            judge(session, project, cast.mary, choice="left", flags={"right": [key]}).id,
            judge(session, project, cast.mary, overall=2, flags={"response": [key, "untrue"]}).id,
        ]
    with read_session(engine) as session:
        found = search_labels(session, cast.demo, LabelFilter(flag=key))
        assert sorted(row.label.id for row in found) == ticked
        assert count_labels(session, cast.demo, LabelFilter(flag="untrue")).count == 3


@pytest.mark.parametrize("words", ["user", "role", "content", '"role": "', "u5929", "\\n"])
def test_words_that_the_database_writes_around_a_text_are_not_found(engine: Engine, cast: Cast, words: str) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo, "Name a prime.\nOr 天空.")
    with read_session(engine) as session:
        assert find_prompts(session, cast.demo, PromptFilter(text=words)) == []
        assert search_labels(session, cast.demo, LabelFilter(text=words)) == []


@pytest.mark.parametrize(
    "words", ["Why a", "WHY", "USER", 'a user\'s "role"', "50 %", "a\\b", "a/_b", "天空", "line\nbreak", "ÉTÉ"]
)
def test_words_are_found_as_they_were_written(engine: Engine, cast: Cast, words: str) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo, 'Why a user\'s "role" is 50 % a\\b a/_b, in 天空 and a line\nbreak of an ÉTÉ?')
        factories.make_prompt(session, cast.demo, "Nothing of that.")
        assert len(session.scalars(select(Prompt)).all()) == 2
    with read_session(engine) as session:
        assert len(find_prompts(session, cast.demo, PromptFilter(text=words))) == 1


@pytest.mark.parametrize("words", ["50%", "5_ %", "a/b", "a\\\\b", "why  a", "break of line"])
def test_no_sign_in_the_words_stands_for_others(engine: Engine, cast: Cast, words: str) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo, "Why a user is 50 % a\\b, a-b and a line\nbreak?")
    with read_session(engine) as session:
        assert find_prompts(session, cast.demo, PromptFilter(text=words)) == []


def test_words_are_found_in_any_message_and_however_the_database_writes_it(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.execute(
            insert(Prompt).values(
                project_id=cast.demo,
                messages=literal_column("""'[{"content":"Be brief.","role":"system"},{"content":"A user?","role":"user"}]'"""),
                digest="0" * 64,
                split="train",
                created_at=utc_now(),
            )
        )
    with read_session(engine) as session:
        for words, found in (("be BRIEF", 1), ("a user", 1), ("user", 1), ("system", 0), ("role", 0)):
            assert len(find_prompts(session, cast.demo, PromptFilter(text=words))) == found, words


def test_a_search_lowers_no_text(engine: Engine, cast: Cast) -> None:
    """SQLite would do that a million times before it looks: it takes as long as all of the search."""
    with read_session(engine) as session:
        statement = str(select(Prompt.id).where(searching.says(Prompt.messages, "why")).compile(session.get_bind()))
    assert " LIKE " in statement
    assert "lower(" not in statement


def test_a_total_costs_no_more_where_far_more_fit(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database stops counting there: a page of a million labels is as fast as one of ten thousand."""
    monkeypatch.setattr(searching, "COUNT_TO", 5)
    costs = []
    for more in (10, 400):
        with write_session(engine) as session:
            for _ in range(more):
                factories.make_prompt(session, cast.demo)
        with read_session(engine) as session:
            database: Any = session.connection().connection.driver_connection
            steps: list[int] = []
            database.set_progress_handler(lambda steps=steps: steps.append(1) and 0, 1)
            assert count_fitting(session, cast.demo, PromptFilter()) == Total(5, True)
            database.set_progress_handler(None, 0)
        costs.append(len(steps))
    assert costs[1] < 2 * costs[0]


def test_lists_are_read_in_the_order_they_are_shown_in(engine: Engine, cast: Cast) -> None:
    """Nothing is sorted: at a million rows that takes seconds for a page of fifty."""
    with read_session(engine) as session, plans(session) as found:
        narrowed = (PromptFilter(external_id="q-1"), PromptFilter(split="holdout"), PromptFilter(text="why"))
        for wanted in (PromptFilter(), *narrowed):
            find_prompts(session, cast.demo, wanted)
        for history in (False, True):
            search_labels(session, cast.demo, LabelFilter(history=history))
        count_prompts(session, cast.demo)
        annotators(session, cast.demo)
    assert len(found) > 10
    assert [step for step in found if "TEMP B-TREE FOR ORDER BY" in step] == ["USE TEMP B-TREE FOR ORDER BY"]  # people, by name
    assert any("ix_prompts_project_id_external_id" in step for step in found)
    assert any(step.startswith("SEARCH labels USING INDEX ix_labels_annotator_id") for step in found)
    assert not any("ix_labels_project_id (" in step for step in found)
    assert [step for step in read_through(found) if step != "SCAN labels"] == []  # versions, newest first


def test_what_one_page_holds_is_looked_for_once() -> None:
    asked = []

    def count() -> Total:
        asked.append(True)
        return Total(99, False)

    assert total_of(3, 50, None, count) == Total(3, False)
    assert not asked
    assert total_of(51, 50, None, count) == Total(99, False)
    assert total_of(3, 50, "cursor", count) == Total(99, False), "a later page does not say what stood on the first"
