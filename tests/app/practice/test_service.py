"""Practice: the gate before real tasks, attempts and scores, explanations, and that nothing of it is ever a label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid, NotFound
from app.models import Label, Membership, PracticeTask, Project
from app.practice import authoring, service
from app.practice.service import Standing
from app.projects.service import ProjectValues, update_project
from app.runs.usable_labels import usable_label_count
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1/projects/demo"
COMPARISON: Any = {
    "kind": "comparison",
    "messages": [{"role": "user", "content": "What is two plus one?"}],
    "left": "Three.",
    "right": "Four.",
    "choice": "left",
    "overall": None,
    "explanation": "B is **untrue**.",
}
RATING: Any = COMPARISON | {"kind": "rating", "right": None, "choice": None, "overall": 4, "explanation": "Right, and dry."}


def ask(engine: Engine, cast: Cast, *golds: Any, tasks: int = 2, score: float = 0.0) -> list[int]:
    """Practice is asked for, with these tasks; their ids."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        ids = [authoring.add_task(session, project, values, cast.grace).id for values in golds or (COMPARISON, RATING)]
        update_project(session, project, {"practice_tasks": tasks, "qualifying_score": score}, by=cast.grace)
        return ids


def say(engine: Engine, cast: Cast, task_id: int, who: str = "Mary", **said: Any) -> bool:
    with write_session(engine) as session:
        return service.answer(session, session.get_one(Project, cast.demo), cast.named(who), task_id, **said).is_right


def stands(engine: Engine, cast: Cast, who: str = "Mary") -> Standing:
    with read_session(engine) as session:
        return service.standing(session, session.get_one(Project, cast.demo), cast.named(who))


def following(engine: Engine, cast: Cast, *, again: bool = False) -> int | None:
    with read_session(engine) as session:
        task = service.next_task(session, session.get_one(Project, cast.demo), cast.mary, again=again)
        return task.id if task else None


def a_real_task(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo))


def test_real_tasks_open_only_after_practice(engine: Engine, cast: Cast, api: Api, as_user: AsUser) -> None:
    a_real_task(engine, cast)
    first, second = ask(engine, cast)
    program, browser = api("annotate", who="Mary"), as_user("Mary")
    refused = program.post(f"{V1}/tasks/next")
    assert (refused.status_code, "after the practice" in refused.json()["detail"]) == (403, True)
    assert browser.get("/projects/demo/annotate").headers["location"] == "/projects/demo/practice"
    say(engine, cast, first, choice="left")
    assert program.post(f"{V1}/tasks/next").status_code == 403
    say(engine, cast, second, overall=1)
    assert program.post(f"{V1}/tasks/next").status_code == 200
    assert browser.get("/projects/demo/annotate").status_code == 200


def test_only_new_annotators_practise(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        judge(session, session.get_one(Project, cast.demo), cast.mary)
    a_real_task(engine, cast)
    ask(engine, cast)
    assert api("annotate", who="Mary").post(f"{V1}/tasks/next").status_code == 200, "she has judged here before"
    a_real_task(engine, cast)
    assert api("annotate", who="Alan").post(f"{V1}/tasks/next").status_code == 200, "a reviewer"


@pytest.mark.parametrize("begins", ["the first task is written", "a task is brought back"])
def test_the_first_practice_task_locks_nobody_out_who_judged_before(engine: Engine, cast: Cast, api: Api, begins: str) -> None:
    """The project asked for practice all along, and had no task to meet."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.practice_tasks = 2
        task = authoring.add_task(session, project, COMPARISON, cast.grace) if begins == "a task is brought back" else None
        if task:
            authoring.put_away(session, task, cast.grace)
        judge(session, project, cast.mary)
        zoe = factories.make_user(session, "Zoe").id
        factories.make_membership(session, zoe, cast.demo, "annotator")
        if task:
            authoring.put_away(session, task, cast.grace, back=True)
        else:
            authoring.add_task(session, project, COMPARISON, cast.grace)
        new = session.scalars(select(Membership.user_id).where(Membership.practised_at.is_(None))).all()
    a_real_task(engine, cast)
    assert api("annotate", who="Mary").post(f"{V1}/tasks/next").status_code == 200
    assert zoe in new, "who is new practises"


@pytest.mark.parametrize("ended", ["asked for no more", "every task put away"])
def test_without_a_task_to_meet_nobody_is_held_back(engine: Engine, cast: Cast, api: Api, ended: str) -> None:
    a_real_task(engine, cast)
    ids = ask(engine, cast)
    with write_session(engine) as session:
        if ended == "asked for no more":
            update_project(session, session.get_one(Project, cast.demo), {"practice_tasks": 0}, by=None)
        else:
            for task_id in ids:
                authoring.put_away(session, session.get_one(PracticeTask, task_id), cast.grace)
    assert api("annotate", who="Mary").post(f"{V1}/tasks/next").status_code == 200


def test_a_qualifying_score_asks_for_another_attempt(engine: Engine, cast: Cast) -> None:
    first, second = ask(engine, cast, COMPARISON, RATING, score=0.75)
    assert say(engine, cast, first, choice="right") is False
    say(engine, cast, second, overall=4)
    assert stands(engine, cast) == Standing(attempt=1, total=2, done=2, right=1, needed=2, passed=False)
    assert stands(engine, cast).failed
    assert following(engine, cast) is None
    assert following(engine, cast, again=True) == first
    say(engine, cast, first, choice="left")
    assert stands(engine, cast) == Standing(attempt=2, total=2, done=1, right=1, needed=2, passed=False)
    say(engine, cast, second, overall=4)
    assert stands(engine, cast) == Standing(attempt=2, total=2, done=2, right=2, needed=2, passed=True)


def test_after_many_attempts_an_admin_has_to_help(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_ATTEMPTS", 2)
    (only,) = ask(engine, cast, COMPARISON, tasks=1, score=1.0)
    for wrong in ("right", "tie"):
        assert not say(engine, cast, only, choice=wrong)
    with pytest.raises(Conflict, match="You have practised 2 times"):
        say(engine, cast, only, choice="left")


def test_another_attempt_begins_with_tasks_not_met_before(engine: Engine, cast: Cast) -> None:
    first, second, third = ask(engine, cast, COMPARISON, RATING, RATING, tasks=2, score=1.0)
    say(engine, cast, first, choice="tie")
    assert following(engine, cast) == second
    say(engine, cast, second, overall=4)
    assert following(engine, cast, again=True) == third
    say(engine, cast, third, overall=4)
    assert following(engine, cast) == first


@pytest.mark.parametrize(
    ("rule", "opens"),
    [({"qualifying_score": 0.5}, True), ({"practice_tasks": 1}, False), ({"qualifying_score": 0.6}, False)],
)
def test_a_kinder_rule_lets_in_who_reached_it(engine: Engine, cast: Cast, rule: ProjectValues, opens: bool) -> None:
    """Any attempt counts, also when another one was begun, and by all its answers, also when it asked more than one does now."""
    first, second = ask(engine, cast, COMPARISON, RATING, score=1.0)
    say(engine, cast, first, choice="left")
    say(engine, cast, second, overall=1)
    say(engine, cast, first, choice="right")
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, cast.demo), rule, by=cast.grace)
    assert stands(engine, cast).passed is opens


def test_putting_away_what_was_still_ahead_ends_an_attempt_that_is_enough(engine: Engine, cast: Cast) -> None:
    first, second = ask(engine, cast, COMPARISON, RATING, score=1.0)
    say(engine, cast, first, choice="left")
    with write_session(engine) as session:
        authoring.put_away(session, session.get_one(PracticeTask, second), cast.grace)
    assert stands(engine, cast).passed


def test_a_stricter_rule_sends_nobody_back(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    (task_id,) = ask(engine, cast, COMPARISON, tasks=1)
    say(engine, cast, task_id, choice="right")
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, cast.demo), {"qualifying_score": 1.0}, by=cast.grace)
    assert stands(engine, cast).passed
    assert "whoever is in stays in" in as_user("Grace").get("/projects/demo/settings/practice").text


@pytest.mark.parametrize(("tasks", "share", "needed"), [(5, 0.6, 3), (5, 0.61, 4), (10, 0.7, 7), (3, 1.0, 3), (4, 0.0, 0)])
def test_the_score_is_a_whole_number_of_tasks(engine: Engine, cast: Cast, tasks: int, share: float, needed: int) -> None:
    ask(engine, cast, *[RATING] * tasks, tasks=tasks, score=share)
    assert stands(engine, cast).needed == needed


@pytest.mark.parametrize(("overall", "is_right"), [(3, True), (4, True), (5, True), (2, False), (1, False)])
def test_a_rating_one_step_away_is_right(engine: Engine, cast: Cast, overall: int, is_right: bool) -> None:
    (task_id,) = ask(engine, cast, RATING)
    assert say(engine, cast, task_id, overall=overall) is is_right


def test_an_answer_counts_once_and_cannot_be_taken_back(engine: Engine, cast: Cast) -> None:
    first, _second = ask(engine, cast)
    assert say(engine, cast, first, choice="right") is False
    assert say(engine, cast, first, choice="right") is False
    assert stands(engine, cast).done == 1
    with pytest.raises(Conflict):
        say(engine, cast, first, choice="left")


def test_the_last_answer_sent_twice_is_the_same_answer(engine: Engine, cast: Cast) -> None:
    first, second = ask(engine, cast, score=1.0)
    say(engine, cast, first, choice="right")
    say(engine, cast, second, overall=1)
    say(engine, cast, second, overall=1)
    assert (stands(engine, cast).attempt, stands(engine, cast).done) == (1, 2)


@pytest.mark.parametrize("said", [{}, {"overall": 3}, {"choice": "both"}, {"choice": "left", "overall": 3}])
def test_what_is_no_answer_is_refused(engine: Engine, cast: Cast, said: dict[str, Any]) -> None:
    first, _second = ask(engine, cast)
    with pytest.raises(Invalid):
        say(engine, cast, first, **said)


def test_a_task_of_another_project_does_not_exist(engine: Engine, cast: Cast) -> None:
    ask(engine, cast)
    with write_session(engine) as session:
        theirs = authoring.add_task(session, session.get_one(Project, cast.other), COMPARISON, cast.eve).id
    with pytest.raises(NotFound):
        say(engine, cast, theirs, choice="left")


def test_practice_is_never_a_label(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    first, second = ask(engine, cast)
    say(engine, cast, first, choice="left")
    say(engine, cast, second, overall=4)
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Label.id))) == 0
        assert usable_label_count(session, cast.demo) == 0
    assert as_user("owner").get("/projects/demo/export/file?format=labels&as=jsonl").text == ""


def test_an_admin_lets_somebody_in(engine: Engine, cast: Cast, as_user: AsUser, api: Api) -> None:
    a_real_task(engine, cast)
    ask(engine, cast)
    page = as_user("Grace").get("/projects/demo/settings/practice").text
    assert "after practice" in page
    as_user("Grace").post(f"/projects/demo/people/{cast.mary}/admission")
    assert api("annotate", who="Mary").post(f"{V1}/tasks/next").status_code == 200
    with read_session(engine) as session:
        assert session.scalar(select(Membership.practised_at).where(Membership.user_id == cast.alan)) is None


# Pages


def test_a_new_annotator_reads_practises_and_is_told_why(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    first, second = ask(engine, cast, score=0.5)
    mary = as_user("Mary")
    welcome = mary.get("/projects/demo/practice").text
    assert "<em>true</em>" in welcome, "the guidelines come first"
    assert "2 practice tasks follow" in welcome
    assert "1 of them are right" in welcome

    page = mary.get("/projects/demo/practice/task").text
    assert "Practice 1 of 2" in page
    assert "untrue</strong>" not in page, "no explanation before the answer"
    assert mary.get(f"/projects/demo/practice/{first}").status_code == 303
    assert f'action="/projects/demo/practice/{first}/verdict"' in page
    for control in ('formaction="/tasks', "data-undo"):
        assert control not in page, "nothing to skip, nothing to undo"

    reply = mary.post(f"/projects/demo/practice/{first}/verdict", data={"choice": "right"}, follow_redirects=True)
    assert "Another verdict was meant" in reply.text
    assert "B is <strong>untrue</strong>." in reply.text
    reply = mary.post(f"/projects/demo/practice/{second}/verdict", data={"overall": "5"}, follow_redirects=True)
    assert "That is the verdict that was meant" in reply.text
    assert "real tasks are open to you" in reply.text


def test_who_did_not_reach_the_score_reads_what_to_do(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    first, second = ask(engine, cast, score=1.0)
    say(engine, cast, first, choice="right")
    say(engine, cast, second, overall=1)
    page = as_user("Mary").get("/projects/demo/practice").text
    assert "You judged 0 of 2 practice tasks" in page
    assert "Practise again" in page


def test_a_practice_task_without_a_verdict_is_shown_again(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    first, _second = ask(engine, cast)
    reply = as_user("Mary").post(f"/projects/demo/practice/{first}/verdict", data={})
    assert reply.status_code == 422
    assert "Choose an answer first" in reply.text


def test_an_admin_writes_changes_and_puts_away_practice_tasks(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    grace = as_user("Grace")
    form = {
        "kind": "comparison",
        "prompt": "Why?",
        "left": "Because.",
        "right": "No.",
        "choice": "left",
        "explanation": "*A* answers.",
    }
    new = "/projects/demo/settings/practice/new"
    refused = grace.post(new, data=form | {"choice": "", "explanation": " "})
    assert refused.status_code == 422
    assert "Say which verdict is right." in refused.text
    assert "Because." in refused.text
    assert grace.post(new, data=form, follow_redirects=True).text.count("The practice task is there.") == 1

    with read_session(engine) as session:
        (task,) = service.list_tasks(session, cast.demo)
        assert (task.left_text, task.choice, task.created_by) == ("Because.", "left", cast.grace)
    there = f"/projects/demo/settings/practice/{task.id}"
    assert "Because." in grace.get(there).text
    grace.post(there, data=form | {"choice": "tie"})
    grace.post(f"{there}/archive")
    with read_session(engine) as session:
        (task,) = service.list_tasks(session, cast.demo)
        assert (task.choice, task.archived_at is None) == ("tie", False)
    grace.post(f"{there}/restore")
    with read_session(engine) as session:
        assert service.list_tasks(session, cast.demo)[0].archived_at is None


def test_the_list_says_which_task_most_people_get_wrong(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    first, _second = ask(engine, cast, score=1.0)
    say(engine, cast, first, choice="right")
    say(engine, cast, first, "Alan", choice="left")
    assert "1 of 2" in as_user("Grace").get("/projects/demo/settings/practice").text


# Over the API


def test_a_program_practises_and_writes_practice_tasks(engine: Engine, cast: Cast, api: Api) -> None:
    grace, mary = api("admin", who="Grace"), api("annotate", who="Mary")
    made = grace.post(f"{V1}/practice-tasks", json=COMPARISON)
    assert made.status_code == 201
    rating = grace.post(f"{V1}/practice-tasks", json=RATING).json()
    assert grace.put(f"{V1}/practice-tasks/{rating['id']}", json=RATING | {"overall": 2}).json()["overall"] == 2
    assert grace.patch(V1, json={"practice_tasks": 5, "qualifying_score": 0.5}).json()["practice_tasks"] == 5
    assert mary.get(f"{V1}/practice-tasks").status_code == 403

    shown = mary.post(f"{V1}/practice/next").json()
    assert (shown["left"], shown["right"]) == ({"text": "Three.", "cut": False}, {"text": "Four.", "cut": False})
    assert "untrue" not in str(shown)
    told = mary.post(f"{V1}/practice/{shown['id']}/verdict", json={"choice": "right"}).json()
    assert (told["is_right"], told["choice"], told["explanation"]) == (False, "left", "B is **untrue**.")
    shown = mary.post(f"{V1}/practice/next").json()
    assert shown["response"] == {"text": "Three.", "cut": False}
    assert mary.post(f"{V1}/practice/{shown['id']}/verdict", json={"overall": 2}).json()["standing"]["passed"] is True
    assert mary.post(f"{V1}/practice/next").status_code == 204
    assert mary.get(f"{V1}/practice").json()["right"] == 1
