"""The pages where an admin writes practice tasks and says how many are asked: two who save do not undo each other."""

from __future__ import annotations

import html
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import PracticeTask, Project
from app.practice.authoring import add_task
from tests.app.conftest import Cast
from tests.app.practice.test_service import COMPARISON
from tests.app.projects.test_routes import form_of

Browser = Callable[[str], TestClient]
RULES = "/projects/demo/settings/practice"


@pytest.fixture
def task(engine: Engine, cast: Cast) -> str:
    """The address of a practice task's form."""
    with write_session(engine) as session:
        return f"{RULES}/{add_task(session, session.get_one(Project, cast.demo), COMPARISON, cast.grace).id}"


def stored(engine: Engine, address: str) -> PracticeTask:
    with read_session(engine) as session:
        return session.get_one(PracticeTask, int(address.rpartition("/")[2]))


def test_two_who_changed_different_parts_of_a_task_both_keep_theirs(as_user: Browser, engine: Engine, task: str) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(task).text)
    assert browser.post(task, data=opened | {"left": "One whole."}).status_code == 303
    assert browser.post(task, data=opened | {"explanation": "Because."}).status_code == 303
    assert (stored(engine, task).left_text, stored(engine, task).explanation) == ("One whole.", "Because.")


def test_a_part_that_both_changed_is_shown_with_both_texts(as_user: Browser, engine: Engine, task: str) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(task).text)
    assert browser.post(task, data=opened | {"choice": "tie"}).status_code == 303
    refused = browser.post(task, data=opened | {"choice": "both_bad"})
    assert refused.status_code == 409
    assert "Theirs: “Tie”. Yours: “Both bad”." in html.unescape(refused.text)
    assert "What would change" in refused.text
    assert stored(engine, task).choice == "tie"
    assert browser.post(task, data=form_of(refused.text)).status_code == 303
    assert stored(engine, task).choice == "both_bad"


def test_two_who_changed_different_rules_both_keep_theirs(as_user: Browser, engine: Engine, cast: Cast) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(RULES).text)
    assert browser.post(RULES, data=opened | {"practice_tasks": "3"}).status_code == 303
    assert browser.post(RULES, data=opened | {"qualifying_score": "80"}).status_code == 303
    refused = browser.post(RULES, data=opened | {"practice_tasks": "5"})
    assert refused.status_code == 409
    assert "Practice tasks: Somebody changed this meanwhile. Theirs: “3”. Yours: “5”." in html.unescape(refused.text)
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert (project.practice_tasks, project.qualifying_score) == (3, 0.8)
