"""A page that is sent back as it stands says what it said before, whatever the project asks by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any
from typing import cast as cast_to

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.labels.words import flags_on_page, on_page
from app.models import Label, Project
from app.projects.service import ProjectValues, update_project
from app.queue.claim import ServedTask
from tests.app.conftest import Cast
from tests.app.labels.test_routes import PAGE, stored
from tests.app.queue.test_claim import make_tasks

As = Callable[[str], TestClient]
SOURCED = {"key": "sourced", "name": "Does it name a source?", "description": "", "required": True}
CLEAR = {"key": "clear", "name": "Is it clear?", "description": "", "required": False}
WRONG = {"key": "wrong", "name": "wrong", "description": "", "tone": "bad"}
TRUE = {"key": "true", "name": "true", "description": "", "tone": "good"}
RUDE = {"key": "rude", "name": "rude", "description": "", "weight": 1.0}
KIND = {"key": "kind", "name": "Kind", "description": "", "anchors": {"1": "not at all", "5": "very"}}
SAID: dict[str, dict[str, str]] = {
    "comparison": {
        "choice": "left",
        "criteria.kind": "right",
        "flags.left": "rude",
        "rubric.sourced.left": "yes",
        "rubric.sourced.right": "no",
        "spans.left": '[{"start": 0, "end": 2, "reason": "wrong"}]',
    },
    "rating": {
        "overall": "4",
        "criteria.kind": "5",
        "flags.response": "rude",
        "rubric.sourced.response": "yes",
        "spans.response": '[{"start": 0, "end": 2, "reason": "wrong"}]',
    },
}
KEPT = ("criteria", "flags", "rubric", "spans")


class Sent(HTMLParser):
    """What a browser sends of the task's form as it stands."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action, self.fields, self._box = "", dict[str, Any](), ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("class") == "task":
            self.action = given["action"]
        elif self.action and (name := given.get("name")):
            if tag == "textarea":
                self._box = name
            elif tag == "input" and (given.get("type") == "hidden" or "checked" in given):
                self.fields[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self.action:
            self.action, self._box = self.action + "#", ""
        elif tag == "textarea":
            self._box = ""

    def handle_data(self, data: str) -> None:
        if self._box and "#" not in self.action and data.strip():
            self.fields[self._box] = data.removeprefix("\n")


def change(engine: Engine, cast: Cast, **words: Any) -> None:
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, cast.demo), cast_to(ProjectValues, words), cast.grace)


def send(browser: TestClient, html: str, other: Mapping[str, str], status: int = 303) -> str:
    page = Sent(html)
    reply = browser.post(page.action.split("#")[0], data={**page.fields, **other})
    assert reply.status_code == status, reply.text
    return reply.text


def said_of(label: Label) -> list[Any]:
    return [getattr(label, name) for name in KEPT]


@pytest.mark.parametrize("kind", ["comparison", "rating"])
def test_a_correction_keeps_what_was_said_in_words_that_are_retired(as_user: As, engine: Engine, cast: Cast, kind: str) -> None:
    change(engine, cast, criteria=[KIND], flags=[RUDE], rubric=[SOURCED], span_reasons=[WRONG])
    (task,) = make_tasks(engine, cast.demo, 1, kind=kind)
    mary = as_user("Mary")
    send(mary, mary.get(PAGE).text, SAID[kind])
    change(engine, cast, criteria=[], flags=[], rubric=[CLEAR], span_reasons=[TRUE])

    send(mary, mary.get(f"{PAGE}?task={task}").text, {"comment": "Now with a word."})

    first, second = stored(engine)
    assert (second.version, second.comment) == (2, "Now with a word.")
    assert said_of(first)[:3] == said_of(second)[:3]
    assert all(said_of(first))
    assert (second.spans or {}) == (first.spans or {}) | {"reasons": {"true": 1, "wrong": 1}}


def test_a_question_that_was_reworded_stands_as_it_was_answered(as_user: As, engine: Engine, cast: Cast) -> None:
    change(engine, cast, rubric=[SOURCED])
    (task,) = make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")
    html = mary.get(PAGE).text
    change(engine, cast, rubric=[SOURCED | {"name": "Which source?"}])
    assert "Which source?" in send(mary, html, {}, 422), "nothing was answered in the old words"
    answers = {"rubric.sourced.left": "yes", "rubric.sourced.right": "no"}
    refused = send(mary, html, answers, 422)
    assert "Does it name a source?" in refused
    assert "Which source?" not in refused
    send(mary, refused, {"choice": "left"})

    again = mary.get(f"{PAGE}?task={task}").text
    assert "Which source?" not in again
    send(mary, again, {"choice": "right"})
    first, second = stored(engine)
    assert second.choice == "right"
    assert second.rubric == first.rubric == {"sourced": {"version": 1, "left": "yes", "right": "no"}}


def test_a_form_from_before_the_words_changed_comes_back_with_all_that_is_filled_in(
    as_user: As, engine: Engine, cast: Cast
) -> None:
    change(engine, cast, criteria=[KIND], flags=[RUDE], rubric=[SOURCED], span_reasons=[WRONG])
    make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")
    html = mary.get(PAGE).text
    change(engine, cast, criteria=[], flags=[], rubric=[], span_reasons=[])

    refused = send(mary, html, SAID["comparison"] | {"choice": ""}, 422)
    send(mary, refused, {"choice": "tie"})

    (label,) = stored(engine)
    assert (label.criteria, label.flags) == ({"kind": "right"}, {"left": ["rude"]})
    assert label.rubric == {"sourced": {"version": 1, "left": "yes", "right": "no"}}
    assert label.spans is not None
    assert [(one["start"], one["end"], one["reason"]) for one in label.spans["left"]] == [(0, 2, "wrong")]


def test_nobody_else_is_asked_what_is_retired(engine: Engine, cast: Cast) -> None:
    change(engine, cast, criteria=[KIND], flags=[RUDE], rubric=[SOURCED], span_reasons=[WRONG])
    change(engine, cast, criteria=[], flags=[], rubric=[CLEAR], span_reasons=[])
    task = ServedTask(1, "comparison", None, [], "a", "b", [], 1)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        untouched = {
            "rubric.sourced.version": "1",
            "rubric.sourced.left": "",
            "spans.left": "",
            "flags.left": [],
            "choice": "left",
        }
        for values in (untouched, {"spans.left": "[[[", "spans.right": "7", "spans.reasons.wrong": "1"}):
            shown = on_page(task, project, values)
            assert (shown.criteria, [item["key"] for item in shown.rubric], list(shown.span_reasons)) == ([], ["clear"], [])
            assert flags_on_page(project, values) == []
        asked_again = on_page(task, project, {"rubric.sourced.left": "yes"}).rubric
        assert [(item["key"], item["required"]) for item in asked_again] == [("clear", False), ("sourced", False)]
