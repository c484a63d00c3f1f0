"""What a new project begins with: everybody reads it in their own language, until somebody writes something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.guidelines import service
from app.guidelines.starting_point import CRITERIA, as_stored, guidelines, told
from app.language import languages
from app.language.languages import LANGUAGES, SOURCE
from app.models import Membership, Project
from app.models.criteria import default_flags
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.projects.test_routes import form_of

Browser = Callable[[str], TestClient]
CHINESE = {"accept-language": "zh-TW"}


@pytest.fixture
def chinese() -> Iterator[None]:
    languages.use("zh-Hant")
    yield
    languages.use(SOURCE)


@pytest.fixture
def shipped(engine: Engine, cast: Cast) -> None:
    """The project `demo` as a fresh installation has it, with a task to judge."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        service.edit(session, project, guidelines(), None, None)
        project.criteria, project.flags = deepcopy(CRITERIA), default_flags()
        session.query(Membership).update({"seen_guideline_version": project.guideline_version})
        factories.make_task(session, project)


def test_the_guidelines_are_one_page_in_every_language() -> None:
    assert 150 < len(guidelines().split()) < 600
    assert [language for language in LANGUAGES if guidelines(language).count("\n## ") != guidelines().count("\n## ")] == []


def test_shipped_words_are_told_in_the_readers_language_and_come_back_as_they_were(chinese: None) -> None:
    for items in (CRITERIA, default_flags()):
        assert all(mine["name"] != item["name"] for mine, item in zip(told(items), items, strict=True))
        assert as_stored(told(items)) == list(items)


def test_what_somebody_wrote_stays_as_it_was_written(chinese: None) -> None:
    mine = {**CRITERIA[1], "name": "Truth", "anchors": {"1": "Fluency", "5": ""}}
    assert told([mine])[0]["name"] == "Truth"
    assert told([mine])[0]["anchors"] == {"1": "Fluency", "5": ""}, "a shipped word elsewhere is nobody's"
    assert told([{"key": "wit", "name": "Accuracy"}]) == [{"key": "wit", "name": "Accuracy"}]


@pytest.mark.usefixtures("shipped")
def test_annotators_read_shipped_guidelines_and_criteria_in_their_language(as_user: Browser) -> None:
    browser = as_user("Mary")
    for path in ("/projects/demo/guidelines", "/projects/demo/annotate"):
        page = browser.get(path, headers=CHINESE).text
        assert all(word in page for word in ("你要做什麼", "正確性", "不安全")), path
        assert not any(word in page for word in ("What you are asked", "Accuracy", "unsafe<")), path
    page = browser.get("/projects/demo/guidelines").text
    assert all(word in page for word in ("What you are asked", "Accuracy", "unsafe<"))


@pytest.mark.usefixtures("shipped")
def test_an_admin_who_changes_nothing_in_chinese_stores_nothing(as_user: Browser, engine: Engine, cast: Cast) -> None:
    browser = as_user("Grace")
    editor, questions = "/projects/demo/settings/guidelines", "/projects/demo/settings/questions"
    words = form_of(browser.get(questions, headers=CHINESE).text)
    assert words["criteria.1.name"] == "正確性"
    assert browser.post(questions, data=words | {"criteria.0.name": "文氣"}, headers=CHINESE).status_code == 303
    words = form_of(browser.get(editor, headers=CHINESE).text)
    assert words["guidelines"].startswith("## 你要做什麼")
    assert browser.post(editor, data=words, headers=CHINESE).status_code == 303
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert project.guideline_version == 2, "the one they began with"
        assert [criterion["name"] for criterion in project.criteria] == ["文氣", "Accuracy", "Completeness", "Harmlessness"]


@pytest.mark.usefixtures("shipped")
def test_a_change_in_chinese_is_shown_against_the_chinese_text(as_user: Browser) -> None:
    editor = "/projects/demo/settings/guidelines"
    words = form_of(as_user("Grace").get(editor, headers=CHINESE).text)
    words["guidelines"] = words["guidelines"].replace("認真回答", "好好回答")
    as_user("Grace").post(editor, data=words, headers=CHINESE)
    page = as_user("Mary").get("/projects/demo/guidelines", headers=CHINESE).text
    assert "上次來之後，準則改過了" in page
    assert page.count("<del>") < 5, "words, not the whole text"
