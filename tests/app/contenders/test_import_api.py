"""Answers of others: brought in once, under their models' names, met by ours, blind."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.contenders.answers import AnswerRow
from app.contenders.bringing_in import import_answers
from app.database.engine import read_session, write_session
from app.errors import Archived
from app.models import AuditEntry, Contender, Generation, Project, Prompt, utc_now
from app.prompts.conversations import prompt_row
from app.prompts.service import BadLine, PromptRow, prompt_split
from tests.app import factories
from tests.app.conftest import Cast
from tests.postgres import engine as on_postgres
from tests.postgres import server

__all__ = ["on_postgres", "server"]

Api = Callable[..., TestClient]
V1 = "/api/v1"
URL = V1 + "/projects/demo/generations"


def answer(text: str, prompt: str = "Why?", model: str = "gpt-x") -> dict[str, object]:
    return {"prompt": {"text": prompt}, "text": text, "model": model}


def row(line: int, text: str, prompt: str | int = "Why?", model: str = "gpt-x") -> AnswerRow:
    asked = prompt if isinstance(prompt, int) else prompt_row(line, prompt)
    assert not isinstance(asked, BadLine)
    return AnswerRow(line, asked, text, model)


def test_answers_come_in_once_with_their_prompts_and_contenders(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        there = factories.make_prompt(session, cast.demo, "Is it there?").id
    grace = api("admin", who="Grace")
    items = [
        answer("A."),
        answer("B."),
        answer("A."),
        answer("A.", model="other"),
        {"prompt_id": there, "text": "C.", "model": "gpt-x"},
    ]
    reply = grace.post(URL, json={"items": items})
    assert (reply.status_code, reply.json()) == (
        200,
        {"created": 4, "duplicates": 1, "rejected": [], "prompts": 1, "left_out": []},
    )
    lines = "\n".join(json.dumps(item) for item in [*items, answer("D.", " why? ")])
    again = grace.post(URL, content=lines, headers={"content-type": "application/x-ndjson"})
    assert again.json() == {"created": 1, "duplicates": 5, "rejected": [], "prompts": 0, "left_out": []}
    with read_session(engine) as session:
        made = session.scalars(select(Generation).where(Generation.run_id.is_(None)).order_by(Generation.id)).all()
        prompt = session.get_one(Prompt, made[0].prompt_id)
        assert prompt.split == prompt_split(prompt.digest)
        names = {one.id: (one.kind, one.name) for one in session.scalars(select(Contender))}
        told = [(*names[one.contender_id], one.prompt_id == prompt.id, one.number, one.text) for one in made]
        assert told == [
            ("imported", "gpt-x", True, 0, "A."),
            ("imported", "gpt-x", True, 1, "B."),
            ("imported", "other", True, 0, "A."),
            ("imported", "gpt-x", False, 0, "C."),
            ("imported", "gpt-x", True, 2, "D."),
        ]
        assert {(one.checkpoint_id, one.token_ids is None, one.seed, one.finish_reason) for one in made} == {
            (None, True, None, "eos")
        }
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
        assert actions.count("answers.imported") == 2
        assert actions.count("contender.added") == 2
    listed = api("export", who="Alan").get(URL).json()["items"]
    assert [one["text"] for one in listed] == ["A.", "B.", "A.", "C.", "D."]


def test_one_bad_line_keeps_everything_out_unless_it_may_be_left_out(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        foreign = factories.make_prompt(session, cast.other).id
        outside_id = factories.make_outside(session).id
        session.add(Contender(project_id=cast.demo, kind="outside", name="taken", outside_id=outside_id))
    items = [answer("A."), {"prompt_id": foreign, "text": "B.", "model": "gpt-x"}, answer("C.", model="taken"), answer("\0")]
    grace = api("admin", who="Grace")
    refused = grace.post(URL, json={"items": items})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert [(bad["line"], bad["why"].partition(" ")[0]) for bad in refused.json()["rejected"]] == [
        (2, "This"),
        (3, "A"),
        (4, "text"),
    ]
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Generation)) == 0
        assert session.scalar(select(func.count()).select_from(Prompt).where(Prompt.project_id == cast.demo)) == 0
    taken = grace.post(URL, params={"skip_bad_lines": True}, json={"items": items})
    assert (taken.status_code, taken.json()["created"], len(taken.json()["rejected"])) == (200, 1, 3)


def test_only_admins_bring_answers_in_and_only_where_the_project_is_open(engine: Engine, cast: Cast, api: Api) -> None:
    for who, scope in (("Mary", "admin"), ("Alan", "admin"), ("Grace", "export")):
        assert api(scope, who=who).post(URL, json={"items": [answer("A.")]}).status_code == 403
    assert api("admin", who="Eve").post(URL, json={"items": [answer("A.")]}).status_code == 404
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, cast.demo).id
        session.get_one(Project, cast.demo).archived_at = utc_now()
    with pytest.raises(Archived):
        import_answers(engine, cast.demo, [row(1, "A.", prompt)])


def test_an_imported_answer_meets_ours_and_its_card_looks_as_ours_does(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        prompt = factories.make_prompt(session, project.id)
        ours = factories.make_generation(session, prompt, project.policy_id or 0, "Ours.").id
        twin = factories.make_generation(session, prompt, project.policy_id or 0, "Another.").id
        asked = prompt.id
    grace = api("admin", "annotate", who="Grace")
    grace.post(URL, json={"items": [{"prompt_id": asked, "text": "Theirs.\r\n", "model": "gpt-x"}]})
    with read_session(engine) as session:
        theirs = session.scalars(select(Generation.id).where(Generation.text == "Theirs.")).one()
    made = grace.post(
        f"{V1}/projects/demo/tasks", json={"items": [{"first": ours, "second": theirs}, {"first": ours, "second": twin}]}
    )
    assert made.status_code == 201
    served = [grace.post(f"{V1}/projects/demo/tasks/next").json() for _ in range(1)]
    mary = api("annotate", who="Mary")
    served.append(mary.post(f"{V1}/projects/demo/tasks/next").json())
    by_text = {
        side["text"]: {key: value for key, value in side.items() if key != "text"}
        for one in served
        for side in (one["left"], one["right"])
    }
    assert by_text["Theirs."] == by_text["Ours."]
    assert "gpt-x" not in json.dumps(served)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "sqlite" else "on_postgres")
    return found


def test_two_imports_at_once_bring_an_answer_in_once(either: Engine) -> None:
    with write_session(either) as session:
        project_id = factories.make_project(session).id
    rows = [row(number, f"{number % 50}", f"Question {number % 7}?", f"model {number % 3}") for number in range(1, 601)]
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda _: import_answers(either, project_id, rows), range(2)))
    wanted = {(one.text, one.prompt.messages[0]["content"], one.model) for one in rows if isinstance(one.prompt, PromptRow)}
    with read_session(either) as session:
        stored = session.execute(
            select(Generation.prompt_id, Generation.contender_id, Generation.number, Generation.text)
            .join(Prompt)
            .where(Prompt.project_id == project_id)
        ).all()
    assert sum(report.created for report in reports) == len(stored) == len(wanted)
    assert sum(report.created + report.duplicates for report in reports) == 2 * len(rows)
    by_prompt: dict[tuple[int, int], list[int]] = {}
    for prompt, contender, number, _text in stored:
        by_prompt.setdefault((prompt, contender), []).append(number)
    assert all(sorted(numbers) == list(range(len(numbers))) for numbers in by_prompt.values())
