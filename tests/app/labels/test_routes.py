"""The annotator's pages as plain forms, and what reviewers see."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database import engine as db
from app.database.engine import read_session, write_session
from app.models import Generation, Label, Project, Prompt, Seat, Skip, Task
from tests.app import factories
from tests.app.conftest import Cast, another_process_writes
from tests.app.queue.test_claim import make_tasks

As = Callable[[str], TestClient]
PAGE = "/projects/demo/annotate"


def fields(html: str) -> dict[str, str]:
    """The hidden fields of the task's form, and where it goes."""
    found = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', html))
    action = re.search(r'<form class="task" method="post" action="([^"]+)"', html)
    assert action
    return {**found, "action": action.group(1)}


def answer(browser: TestClient, **said: str) -> str:
    """Fill in the form of the next task and send it; the task's page as it was."""
    html = browser.get(PAGE).text
    hidden = fields(html)
    action = hidden.pop("action")
    reply = browser.post(action, data={**hidden, **said})
    assert (reply.status_code, reply.headers.get("location")) == (303, PAGE), reply.text
    return html


def stored(engine: Engine) -> list[Label]:
    with read_session(engine) as session:
        found = list(session.scalars(select(Label).order_by(Label.id)))
        session.expunge_all()
        return found


def test_a_comparison_is_answered_without_scripts(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    mary = as_user("Mary")

    html = answer(mary, choice="right", strength="2", comment="Clearer.")

    assert "A is better" in html
    assert "0 today, 2 left" in html
    (label,) = stored(engine)
    assert (label.choice, label.strength, label.comment, label.interface_version) == ("right", 2, "Clearer.", "page 3")
    after = mary.get(PAGE).text
    assert "1 today, 1 left" in after
    assert "B clearly" in after


def test_sending_the_form_twice_stores_one_label(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")
    hidden = fields(mary.get(PAGE).text)
    action = hidden.pop("action")

    for _ in range(2):
        assert mary.post(action, data={**hidden, "choice": "tie"}).status_code == 303
    assert len(stored(engine)) == 1


def test_an_incomplete_form_comes_back_as_it_was_filled_in(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")
    hidden = fields(mary.get(PAGE).text)

    reply = mary.post(hidden.pop("action"), data={**hidden, "comment": "I forgot to choose", "flags.left": "untrue"})

    assert reply.status_code == 422
    assert "Choose an answer first" in reply.text
    assert "I forgot to choose" in reply.text
    assert re.search(r'name="flags.left" value="untrue" checked', reply.text)
    assert stored(engine) == []


def test_a_rating_is_answered_without_scripts(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1, kind="rating")
    mary = as_user("Mary")

    html = answer(mary, overall="4", **{"criteria.fluency": "5", "flags.response": "off_topic"})

    assert "Effortless" in html  # the words under a criterion's 5
    names = re.findall(r'<legend class="score__name"[^>]*>([^<]+)(?:<span class="quiet">(\w+)</span>)?', html)
    assert [(name.strip(), needed) for name, needed in names][:2] == [("Overall", ""), ("Fluency", "optional")]
    (label,) = stored(engine)
    assert (label.overall, label.criteria, label.flags) == (4, {"fluency": 5}, {"response": ["off_topic"]})


def test_a_verdict_is_opened_again_and_corrected(as_user: As, engine: Engine, cast: Cast) -> None:
    (first, _) = make_tasks(engine, cast.demo, 2)
    mary = as_user("Mary")
    answer(mary, choice="left", strength="3")

    again = mary.get(f"{PAGE}?task={first}").text
    assert re.search(r'data-notice="answered">', again)
    assert re.search(r'name="choice" value="left"[^>]* checked', again)
    hidden = fields(again)
    mary.post(hidden.pop("action"), data={**hidden, "choice": "right"})

    assert [(label.version, label.choice, label.current) for label in stored(engine)] == [(1, "left", False), (2, "right", True)]
    assert as_user("Alan").get(f"{PAGE}?task={first}").status_code == 404


def test_the_next_task_is_fetched_ahead_as_parts_of_a_page(as_user: As, engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    mary = as_user("Mary")
    assert f'data-task="{first}"' in mary.get(PAGE).text

    more = mary.post(f"{PAGE}/next", data={"wanted": "yes", "besides": [first]})
    standing = mary.post(f"{PAGE}/next", data={"wanted": "no", "besides": [first, second]})
    none = mary.post(f"{PAGE}/next", data={"wanted": "yes", "besides": [first, second]})

    assert f'data-task="{second}"' in more.text
    assert "<nav" in standing.text
    assert "data-part" not in standing.text
    assert 'data-part="waiting"' in none.text
    for reply in (more, standing, none):
        assert reply.status_code == 200
        assert 'id="progress">0 today, 2 left<' in reply.text
        assert "<script" not in reply.text


def test_a_skipped_task_is_listed_and_can_be_answered_after_all(as_user: As, engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).queue_low_mark = 0  # nothing more is to come
    mary = as_user("Mary")
    hidden = fields(mary.get(PAGE).text)
    mary.post(f"/tasks/{task_id}/skip", data={**hidden, "reason": "broken", "reason_words": "No answer at all"})
    with read_session(engine) as session:
        assert session.scalars(select(Skip.reason)).all() == ["broken: No answer at all"]

    html = mary.get(PAGE).text
    assert "You have answered everything open to you" in html
    assert "skipped" in html
    again = mary.get(f"{PAGE}?task={task_id}").text
    assert re.search(r'data-notice="skipped">', again)
    hidden = fields(again)
    mary.post(hidden.pop("action"), data={**hidden, "choice": "tie"})
    assert [label.surplus for label in stored(engine)] == [False]


def test_what_a_model_wrote_is_text_and_nothing_else(as_user: As, engine: Engine, cast: Cast) -> None:
    hostile = '</textarea></section><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} "quoted" \u202egnp.exe'
    with write_session(engine) as session:
        task = factories.make_task(session, session.get_one(Project, cast.demo))
        session.get_one(Generation, task.first_generation_id).text = hostile
        session.get_one(Prompt, task.prompt_id).messages = [{"role": "user", "content": hostile}]
        task_id = task.id
    mary = as_user("Mary")

    html = answer(mary, choice="left", **{"rewrite.left": hostile + "!", "comment": hostile})

    pages = [html, mary.get(f"{PAGE}?task={task_id}").text, mary.get("/labels/1").text, mary.get("/projects/demo/labels").text]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "{{ 7 * 7 }}" in page
        assert "U+202E" in page


def test_the_page_tells_nothing_of_who_wrote_what(as_user: As, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        prompt = factories.make_prompt(session, project.id)
        other = factories.make_checkpoint(session, project.id, name=factories.written("policy-of-round-9"))
        first = factories.make_generation(session, prompt, other.id, seed=424242, id=9_000_001)
        second = factories.make_generation(session, prompt, project.policy_id or 0, seed=434343, id=9_000_002)
        task = Task(
            project_id=project.id,
            prompt_id=prompt.id,
            kind="comparison",
            first_generation_id=first.id,
            second_generation_id=second.id,
        )
        session.add(task)
        session.flush()
        session.add(Seat(project_id=project.id, task_id=task.id, number=1))

    page = as_user("Mary").get(PAGE)

    seen = page.text + str(page.headers)
    for trace in ("policy-of-round-9", "900000", "424242", "434343", "models/tiny", "checkpoint", "generation"):
        assert trace not in seen


def test_guidelines_are_a_page_and_a_dialog(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")

    for page in (mary.get("/projects/demo/guidelines").text, mary.get(PAGE).text):
        assert "Prefer the answer that is <em>true</em>." in page


def test_reviewers_search_and_open_labels(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    mary = as_user("Mary")
    answer(mary, choice="left", **{"flags.right": "untrue"})
    answer(mary, choice="both_bad")
    alan = as_user("Alan")

    everything = alan.get("/projects/demo/labels").text
    assert everything.count('href="/labels/') == 2
    assert "untrue" in everything
    assert alan.get("/projects/demo/labels?verdict=both_bad").text.count('href="/labels/') == 1
    assert alan.get(f"/projects/demo/labels?annotator={cast.alan}").text.count('href="/labels/') == 0
    assert "No label fits" in alan.get("/projects/demo/labels?text=zebra").text
    one = alan.get("/labels/1").text
    assert "Mary" in one
    assert "A verdict is never overwritten" in one


def test_annotators_find_only_their_own_labels(as_user: As, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    answer(as_user("Alan"), choice="left")
    mary = as_user("Mary")

    assert mary.get("/projects/demo/labels").text.count('href="/labels/') == 0
    assert mary.get(f"/projects/demo/labels?annotator={cast.alan}").text.count('href="/labels/') == 0
    assert mary.get("/labels/1").status_code == 404


def test_a_lease_that_ran_out_is_not_listed_as_a_skip(as_user: As, engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    with write_session(engine) as session:
        session.add(Skip(task_id=task_id, annotator_id=cast.mary, reason="lease expired"))

    assert "skipped" not in as_user("Mary").get(PAGE).text


def test_answers_are_shown_as_the_project_chooses(as_user: As, engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    with write_session(engine) as session:
        session.get_one(Generation, session.get_one(Task, task_id).first_generation_id).text = "This is **bold**."
    mary = as_user("Mary")
    assert "This is **bold**." in re.sub(r'data-original="[^"]*"', "", mary.get(PAGE).text)

    with write_session(engine) as session:
        session.get_one(Project, cast.demo).text_display = "markdown"
    assert "This is <strong>bold</strong>." in mary.get(PAGE).text


def test_while_another_process_keeps_the_database_the_form_stays_filled_in(
    as_user: As, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tasks(engine, cast.demo, 1)
    mary = as_user("Mary")
    hidden = fields(mary.get(PAGE).text)
    action = hidden.pop("action")
    monkeypatch.setattr(db, "WRITER_PATIENCE_S", 0.1)
    with another_process_writes(engine):
        busy = mary.post(action, data={**hidden, "choice": "left", "comment": "Clearer."})
    assert busy.status_code == 503
    assert "The database is busy. Nothing was changed" in busy.text
    assert "Clearer." in busy.text
    assert mary.post(action, data={**hidden, "choice": "left", "comment": "Clearer."}).status_code == 303
