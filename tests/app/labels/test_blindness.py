"""Blind judging: nothing an annotator's session receives tells the two models apart.

Two models have answered the same prompts. Everything that could name one of them gets a value that is found wherever it turns
up: names, sources, settings, seeds, and ids of seven digits. One annotator then does everything an annotator can do, and every
reply is searched: status, headers, cookies, addresses, bodies. The planted leaks at the end show that the search would find one.
"""

from __future__ import annotations

import random
import re
import statistics
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Checkpoint, Generation, Label, Project, Seat, Task
from app.queue import api
from app.queue.claim import second_stands_left
from app.texts import safe_html
from app.texts.safe_html import LONGEST_ANSWER
from app.web.json_types import json_reply
from app.web.permissions import RULES
from tests.app import factories
from tests.app.asked import noting
from tests.app.conftest import Cast
from tests.app.queue.asked import ask

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]
PROMPTS = 24
WRITTEN = datetime(2021, 3, 14, 1, 59, tzinfo=UTC)  # when the old model answered; the new one a year later
NAMES = {
    "names and sources": ("zebrafinch", "quokka"),
    "ids of checkpoints": ("7340017", "7340029"),
    "ids of runs": ("9210011", "9210023"),
    "ids of generations": tuple(str(8_100_000 + number) for number in range(2 * PROMPTS)),
    "seeds": ("6661331", "6661449"),
    "settings": ("0.73291", "0.91827"),
    "times of writing": ("2021-03-14", "2022-03-14", "Mar 14, 202"),
}


@pytest.fixture
def two_models(engine: Engine, cast: Cast) -> None:
    """A policy in force and the one before it, one answer each to every prompt, made into comparisons by the queue itself."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number, name in enumerate(NAMES["names and sources"]):
            checkpoint = factories.make_checkpoint(
                session, project.id, id=7_340_017 + 12 * number, name=factories.written(f"Policy {name}"), source=f"models/{name}"
            )
            factories.make_run(session, project.id, id=9_210_011 + 12 * number, inputs={"checkpoint": checkpoint.id})
            project.previous_policy_id, project.policy_id = project.policy_id, checkpoint.id
            session.flush()
        old_run, new_run = 9_210_011, 9_210_023
        ids = iter(range(8_100_000, 8_200_000))
        for number in range(PROMPTS):
            prompt = factories.make_prompt(session, project.id, f"Question {number}?")
            for model, checkpoint_id, run_id in ((0, 7_340_017, old_run), (1, 7_340_029, new_run)):
                factories.make_generation(
                    session,
                    prompt,
                    checkpoint_id,
                    f"Reply {number} {'mn'[model]}.",
                    id=next(ids),
                    run_id=run_id,
                    seed=(6_661_331, 6_661_449)[model],
                    settings={"temperature": (0.73291, 0.91827)[model]},
                    finish_reason=("eos", "length")[model],
                    created_at=WRITTEN + timedelta(days=365 * model),
                )
        project.rating_share = 0.2
        ask(session, project, random.Random(5))


def everything_an_annotator_does(
    app: FastAPI, browser: TestClient, program: TestClient, ids: Sequence[str] = ("7340017", "9210023", "8100000")
) -> Iterator[Any]:
    """Every page and call of Mary's session, refused ones too."""
    for _ in range(4):
        yield browser.get("/projects/demo/annotate")
        task = yield from _claimed(program)
        yield program.post(f"/api/v1/tasks/{task['id']}/renew")
        yield program.post(f"/api/v1/tasks/{task['id']}/label", json=_verdict(task))
        yield browser.get(f"/projects/demo/annotate?task={task['id']}")
    task = yield from _claimed(program)
    yield program.post(f"/api/v1/tasks/{task['id']}/skip", json={"reason": "unclear"})
    task = yield from _claimed(program)
    yield browser.post(f"/tasks/{task['id']}/label", data=_form(task))
    yield browser.post(f"/tasks/{task['id']}/label", data={"client_id": "no"})
    task = yield from _claimed(program)
    yield browser.post(f"/tasks/{task['id']}/skip")
    for method, path in sorted(RULES):
        for one in ("1", *ids):
            if method == "GET" and ("{id}" in path or one == "1"):
                filled = re.sub(r"\{(?!slug|id)\w+\}", "x", path.replace("{slug}", "demo").replace("{id}", one))
                yield (program if path.startswith("/api/") else browser).get(filled)
    yield program.get("/api/v1/projects/demo/labels?history=true")


def _claimed(program: TestClient) -> Generator[Any, None, dict[str, Any]]:
    reply = program.post("/api/v1/projects/demo/tasks/next")
    yield reply
    task: dict[str, Any] = reply.json()
    return task


def _verdict(task: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, dict[str, Any]] = {
        "comparison": {"choice": "left"},
        "rating": {"overall": 4},
        "ranking": {"ranking": [[2], [1]], "last": [3]},
    }
    return said[task["kind"]] | {"client_id": str(uuid.uuid4())}


def _form(task: dict[str, Any]) -> dict[str, str]:
    """The same as the page sends it without scripts."""
    if task["kind"] == "ranking":
        return {"client_id": str(uuid.uuid4()), "place.2": "1", "place.1": "2", "place.3": "last"}
    return {name: str(value) for name, value in _verdict(task).items()}


def leaks(replies: Iterator[Any], secret: Mapping[str, Sequence[str]] = NAMES) -> list[str]:
    """Where a reply says something that only one of the models has. What the caller asked for themselves is no news."""
    found = []
    for reply in replies:
        said = [reply.text, *(f"{name}: {value}" for name, value in reply.headers.multi_items())]
        asked = str(reply.request.url)
        for what, names in secret.items():
            for name in names:
                if name not in asked and any(name in part for part in said):
                    found.append(f"{reply.request.method} {reply.request.url.path} tells {what}: {name}")
    return found


def test_no_path_of_this_machine_reaches_an_annotator(
    app: FastAPI, two_models: None, as_user: AsUser, api: Api, engine: Engine, cast: Cast
) -> None:
    """Wherever one is kept: base models, sources of checkpoints, what failed runs and rounds say of themselves."""
    hidden = "/srv/quagga/models"
    mary, program = as_user("Mary"), api("annotate", "export", "admin", who="Mary")
    with write_session(engine) as session:
        factories.make_membership(session, cast.mary, cast.other, "annotator")  # so that the start page lists her projects
        why = f"OSError: {hidden}/tiny does not hold a config.json"
        for project in session.scalars(select(Project)):
            project.base_model = f"{hidden}/tiny"
            factories.make_run(
                session, project.id, state="failed", message=factories.written(why), result={"reason": why}, ended_at=WRITTEN
            )
        session.execute(update(Checkpoint).values(source=f"{hidden}/tiny"))
    replies = [*everything_an_annotator_does(app, mary, program), mary.get("/")]
    for state in ("failed", "queued", "running"):  # the queue is dry, and what should fill it fails or hangs
        with write_session(engine) as session:
            session.execute(delete(Seat).where(Seat.state == "free"))
            factories.make_run(session, cast.demo, state=state, message=factories.written(why))
        replies += [mary.get("/projects/demo/annotate"), mary.get("/projects/demo"), mary.get("/projects/demo/work")]
    for reply in replies:
        assert "quagga" not in reply.text + str(reply.headers), f"{reply.request.method} {reply.request.url.path}"
    assert sum("Other" in reply.text for reply in replies) >= 1


def test_nothing_in_an_annotators_session_tells_the_models_apart(
    app: FastAPI, two_models: None, as_user: AsUser, api: Api, engine: Engine
) -> None:
    replies = list(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary")))
    assert leaks(iter(replies)) == []
    assert sum(reply.status_code == 200 for reply in replies) > 25
    with read_session(engine) as session:
        assert len(session.scalars(select(Label)).all()) == 5


def test_which_model_stands_left_is_a_coin(engine: Engine, two_models: None, cast: Cast) -> None:
    """Neither the side, nor first and second, nor the order of tasks goes with the model."""
    with write_session(engine) as session:
        new = set(session.scalars(select(Generation.id).where(Generation.checkpoint_id == 7_340_029)))
        tasks = session.scalars(select(Task).where(Task.kind == "comparison").order_by(Task.id)).all()
        first_is_new = [task.first_generation_id in new for task in tasks]
        left_is_new = [one != second_stands_left(task.id, cast.mary) for one, task in zip(first_is_new, tasks, strict=True)]
        assert len(tasks) > 15
        for coin in (first_is_new, left_is_new):
            assert 0.2 < sum(coin) / len(coin) < 0.8
        by_text = sorted(tasks, key=lambda task: task.prompt_id)
        assert [task.id for task in by_text] != [task.id for task in tasks], "tasks come in another order than their prompts"


def test_the_form_of_an_answer_does_not_tell_who_wrote_it(engine: Engine, two_models: None, as_user: AsUser) -> None:
    """The new model writes more than is rendered: then neither answer is, while judging and afterwards."""
    with write_session(engine) as session:
        session.get_one(Project, 1).text_display = "markdown"
        for answer in session.scalars(select(Generation)):
            answer.text = "**Short.**" if answer.checkpoint_id == 7_340_017 else "**Long.** " * (LONGEST_ANSWER // 10 + 1)
        for task in session.scalars(select(Task).where(Task.kind == "rating")):
            session.execute(delete(Seat).where(Seat.task_id == task.id))
    browser = as_user("Mary")
    page = browser.get("/projects/demo/annotate").text
    found = re.search(r'data-task="(\d+)"', page)
    assert found is not None
    assert page.count("**Short.**") == 2, "in the pane, and where a rewrite begins"
    browser.post(f"/tasks/{found[1]}/label", data={"client_id": str(uuid.uuid4()), "choice": "tie"})
    assert browser.get("/labels/1").text.count("**Short.**") == 1


def test_a_task_costs_the_same_work_whichever_model_stands_left(engine: Engine, two_models: None, api: Api, cast: Cast) -> None:
    """A reply's time is what the server does for it: the same statements, whoever wrote the answer on the left."""
    program = api("annotate", who="Mary")
    work: dict[bool, set[tuple[int, tuple[str, ...]]]] = {True: set(), False: set()}
    program.post("/api/v1/projects/demo/tasks/next")  # the first one also notes the key's use
    for _ in range(12):
        made: list[str] = []
        with noting(engine, made.append):
            reply = program.post("/api/v1/projects/demo/tasks/next")
        task = reply.json()
        if task["kind"] == "comparison":
            left_is_new = task["left"]["text"].endswith("n.")
            work[left_is_new].add((len(made), tuple(sorted(reply.headers))))
        program.post(f"/api/v1/tasks/{task['id']}/label", json=_verdict(task))
    assert len(work[True]) == 1
    assert work[True] == work[False]
    assert min(work[True])[0] > 3, "who asks, the seat, its lease and what is shown"


def test_a_task_takes_the_same_time_whichever_model_wrote_it(
    engine: Engine, two_models: None, as_user: AsUser, api: Api, cast: Cast
) -> None:
    """One answer a task, so that a model that made its tasks slow would show, in the rendering too: both write the same Markdown,
    and none is kept from the call before. The processor's time, free of what else runs.
    """
    with write_session(engine) as session:
        session.execute(delete(Seat))
        session.get_one(Project, cast.demo).text_display = "markdown"
        for answer in session.scalars(select(Generation).order_by(Generation.id).limit(12)):  # old and new in turn
            answer.text = f"## Reply\n\n* **one**\n* `two`\n\n{answer.text}"
            asked = {"project_id": cast.demo, "prompt_id": answer.prompt_id, "kind": "rating", "first_generation_id": answer.id}
            task = Task(**asked)
            session.add(task)
            session.flush()
            session.add(Seat(project_id=cast.demo, task_id=task.id, number=1))
    browser, program = as_user("Mary"), api("annotate", who="Mary")
    browser.get("/projects/demo/annotate")  # the first page also reads the templates
    calls: dict[str, Callable[[], Any]] = {
        "page": lambda: browser.get("/projects/demo/annotate"),
        "api": lambda: program.post("/api/v1/projects/demo/tasks/next"),
    }
    took_s: dict[str, dict[str, list[float]]] = {call: {"m": [], "n": []} for call in calls}
    for _ in range(12):
        task_shown = program.post("/api/v1/projects/demo/tasks/next").json()
        for name, call in calls.items():
            took_s[name][task_shown["response"]["text"][-2]].append(min(_cpu_s(call) for _ in range(3)))
        program.post(f"/api/v1/tasks/{task_shown['id']}/label", json=_verdict(task_shown))
    for of_call in took_s.values():
        assert [len(times) for times in of_call.values()] == [6, 6]
        old, new = (statistics.median(times) for times in of_call.values())
        assert 0.7 < old / new < 1.4, took_s


def _cpu_s(ask: Callable[[], Any]) -> float:
    safe_html._markdown.cache_clear()
    began = time.process_time()
    assert ask().status_code == 200
    return time.process_time() - began


# Planted leaks, so that we know that the search would find one


def plant_ids(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    told = api._task
    monkeypatch.setattr(api, "_task", lambda task: told(task) | {"left_id": 8_100_000})


def plant_a_name(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    session.get_one(Project, session.scalars(select(Project.id)).first() or 0).name = "Policy quokka against zebrafinch"


def plant_a_header(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    answer = json_reply

    def named(*given: Any) -> Any:
        response = answer(*given)
        response.headers["server-timing"] = "checkpoint;desc=7340029"
        return response

    monkeypatch.setattr(api, "json_reply", named)


@pytest.mark.parametrize(
    ("plant", "what"),
    [(plant_ids, "ids of generations"), (plant_a_name, "names and sources"), (plant_a_header, "ids of checkpoints")],
)
def test_a_planted_leak_is_found(
    plant: Callable[[pytest.MonkeyPatch, Session], None],
    what: str,
    app: FastAPI,
    two_models: None,
    as_user: AsUser,
    api: Api,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with write_session(engine) as session:
        plant(monkeypatch, session)
    found = leaks(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary")))
    assert any(f"tells {what}" in leak for leak in found)
