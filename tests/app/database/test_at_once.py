"""What several processes do at the same moment on PostgreSQL: it happens once, and nobody meets a failure of ours."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.chats import service as chats
from app.chats.turns import Asked, keep
from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.errors import Conflict
from app.guidelines import service as guidelines
from app.main import create_app
from app.models import ChatTurn, Generation, Guideline, Project, Prompt, Round, Run, Task, utc_now
from app.prompts import service as prompts
from app.prompts.proposals import prompt_of
from app.prompts.search import put_away
from app.queue import asking, make_tasks
from app.queue.claim import claim_next
from app.removal.archive import archive
from app.rounds import retry, service
from app.runs import checkpoints
from app.runs.refill import plan_refill, queue_refill
from app.serving.warm_process import Answer
from app.settings import Settings
from tests.app import factories
from tests.app.rounds.test_service import make_labels
from tests.postgres import engine, server
from trainer.contract.serving.questions import Models, Writing
from trainer.worker.chores import Looks, look_after_projects

__all__ = ["engine", "server"]

Result = TypeVar("Result")
V1 = "/api/v1"
MANY = 8


@pytest.fixture(scope="module")
def program(engine: Engine, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A program with the owner's key."""
    app = create_app(Settings(data=tmp_path_factory.mktemp("data"), database_url=server))
    app.state.refuse_unusable_model = lambda _spec: None
    with write_session(engine) as session:
        key = factories.make_key(session, factories.make_user(session, "Olga", owner=True).id, "admin")
    with TestClient(app, base_url="http://localhost", headers={"authorization": f"Bearer {key}"}) as client:
        yield client
    app.state.uses.finish()
    app.state.engine.dispose()


@pytest.fixture
def project_id(engine: Engine) -> int:
    with write_session(engine) as session:
        return factories.make_project(session).id


@pytest.fixture
def slug(engine: Engine, project_id: int) -> str:
    with read_session(engine) as session:
        return session.get_one(Project, project_id).slug


def at_once(calls: list[Callable[[], Result]]) -> list[Result]:
    """The results of calls that begin at the same moment, each in a thread."""
    ready = threading.Barrier(len(calls), timeout=30)

    def begin(call: Callable[[], Result]) -> Result:
        ready.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(begin, calls))


def one_by_one(engine: Engine, first: Callable[[Session], object], second: Callable[[Session], Result]) -> Result:
    """The result of `second`, which waits until the transaction of `first`, begun before it, has ended."""

    def later() -> Result:
        with write_session(engine) as session:
            return second(session)

    with ThreadPoolExecutor(1) as threads:
        with write_session(engine) as session:
            first(session)
            session.flush()
            waiting = threads.submit(later)
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
        return waiting.result(30)


def learn(engine: Engine, project_id: int) -> None:
    """Labels enough for a round."""
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        make_labels(session, project, 30, factories.make_user(session, f"labeller-{project_id}").id)


def start(engine: Engine, project_id: int) -> int:
    learn(engine, project_id)
    with write_session(engine) as session:
        return service.start_round(session, session.get_one(Project, project_id), "admin", None).id


def sampling(engine: Engine, project_id: int) -> tuple[int, list[int]]:
    """A round of which two sample runs are under way, and their ids."""
    round_id = start(engine, project_id)
    with write_session(engine) as session:
        round_ = service.get_round(session, round_id)
        session.scalars(select(Run).where(Run.round_id == round_id)).one().state = "done"
        candidate = factories.make_checkpoint(session, project_id)
        round_.state, round_.candidate_id = "sample", candidate.id
        runs = [factories.make_run(session, project_id, "sample", state="running", round_id=round_id) for _ in range(2)]
        return round_id, [run.id for run in runs]


def end(session: Session, run_id: int) -> None:
    """What the worker does with a run that has ended."""
    run = service.hold_run(session, run_id)
    run.state = "done"
    assert run.round_id is not None
    service.advance_round(session, service.get_round(session, run.round_id))


# Rounds


def test_two_runs_that_end_together_bring_their_round_to_its_decision(engine: Engine, project_id: int) -> None:
    round_id, (first, second) = sampling(engine, project_id)
    one_by_one(engine, lambda session: end(session, first), lambda session: end(session, second))
    with read_session(engine) as session:
        assert service.get_round(session, round_id).state == "decision"


def test_a_round_that_an_earlier_look_left_undone_is_found_by_the_next(engine: Engine, project_id: int) -> None:
    round_id, run_ids = sampling(engine, project_id)
    with write_session(engine) as session:  # as two that each saw the other as unfinished have left it
        for run_id in run_ids:
            service.get_run(session, run_id).state = "done"
    look_after_projects(engine, Looks())
    with read_session(engine) as session:
        assert service.get_round(session, round_id).state == "decision"


def test_of_many_starts_at_once_one_is_made_and_the_others_are_told_so(
    engine: Engine, program: TestClient, project_id: int, slug: str
) -> None:
    learn(engine, project_id)
    replies = at_once([lambda: program.post(f"{V1}/projects/{slug}/rounds")] * MANY)
    assert Counter(reply.status_code for reply in replies) == {202: 1, 409: MANY - 1}
    refused = {reply.json()["detail"] for reply in replies if reply.status_code == 409}
    assert refused == {"Round 1 is still running; finish or cancel it first."}
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Round.id)).where(Round.project_id == project_id)) == 1
        assert session.scalar(select(func.count(Run.id)).where(Run.project_id == project_id, Run.kind == "reward")) == 1


def test_the_database_itself_refuses_a_second_open_round(engine: Engine, project_id: int) -> None:
    round_id = start(engine, project_id)
    with read_session(engine) as session:
        policy_id = service.get_round(session, round_id).start_policy_id
    second = Round(project_id=project_id, number=2, trigger="admin", label_count=1, start_policy_id=policy_id)
    with pytest.raises(IntegrityError, match="rounds_open"), write_session(engine) as session:
        session.add(second)


def test_a_round_is_not_started_while_a_failed_one_is_opened_again(engine: Engine, project_id: int) -> None:
    round_id = start(engine, project_id)
    with write_session(engine) as session:
        round_ = service.get_round(session, round_id)
        round_.state = "failed"
        session.scalars(select(Run).where(Run.round_id == round_id)).one().state = "failed"

    def again(session: Session) -> None:
        run = session.scalars(select(Run).where(Run.round_id == round_id)).one()
        retry.retry_run(session, run, None)

    def another(session: Session) -> str:
        try:
            service.start_round(session, session.get_one(Project, project_id), "admin", None)
        except Conflict as refusal:
            return refusal.detail
        return "started"

    assert "still running" in one_by_one(engine, again, another)


def test_who_cancels_a_round_waits_for_the_run_that_ends_and_not_the_other_way_round(engine: Engine, project_id: int) -> None:
    round_id, (first, _) = sampling(engine, project_id)

    def cancel(session: Session) -> str:
        service.cancel_round(session, service.get_round(session, round_id), None)
        return service.get_round(session, round_id).state

    assert one_by_one(engine, lambda session: end(session, first), cancel) == "cancelled"


def test_a_round_that_two_cancel_at_once_is_cancelled_once(engine: Engine, program: TestClient, project_id: int) -> None:
    round_id = start(engine, project_id)
    replies = at_once([lambda: program.post(f"{V1}/rounds/{round_id}/cancel")] * MANY)
    assert Counter(reply.status_code for reply in replies) == {200: 1, 409: MANY - 1}


# Questions and answers


def answers(engine: Engine, project_id: int, count: int) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        project.rating_share = 0.0
        assert project.policy_id is not None
        for _ in range(count):
            prompt = factories.make_prompt(session, project_id)
            for number in range(2):
                factories.make_generation(session, prompt, project.policy_id, number=number)


def asked(engine: Engine, project_id: int) -> Counter[int]:
    with read_session(engine) as session:
        rows = session.execute(select(Task.first_generation_id, Task.second_generation_id).where(Task.project_id == project_id))
        return Counter(one for row in rows for one in row if one is not None)


def test_no_answer_is_asked_about_twice(engine: Engine, project_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(engine, project_id, 5)
    both_drew = threading.Barrier(2, timeout=20)

    def plan(session: Session, project: Project, draw: random.Random | None) -> list[make_tasks.Question]:
        questions = really(session, project, draw)
        both_drew.wait()
        return questions

    really = make_tasks.plan
    monkeypatch.setattr(make_tasks, "plan", plan)
    at_once([lambda: asking.ask(engine, project_id, budget_s=20)] * 2)
    found = asked(engine, project_id)
    assert (len(found), max(found.values())) == (10, 1)


def test_a_queue_that_two_workers_find_low_is_refilled_once(engine: Engine, project_id: int) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, project_id)
    with read_session(engine) as session:
        planned = plan_refill(session, session.get_one(Project, project_id))
    assert planned is not None

    def refill(session: Session) -> bool:
        return queue_refill(session, session.get_one(Project, project_id), planned) is not None

    assert one_by_one(engine, refill, refill) is False


def test_seats_are_claimed_in_their_order_however_the_database_joins(engine: Engine, project_id: int) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        tasks = [factories.make_task(session, project).id for _ in range(40)]
        mary = factories.make_user(session, f"Mary-{project_id}").id
        for task_id in reversed(tasks):  # rows that are written anew lie behind the others
            session.execute(text("UPDATE seats SET swapped = swapped WHERE task_id = :id"), {"id": task_id})
    served: list[int] = []
    for _ in range(3):
        with write_session(engine) as session:
            for setting in ("enable_nestloop", "enable_mergejoin", "enable_indexscan", "enable_bitmapscan"):
                session.execute(text(f"SET LOCAL {setting} = off"))
            task = claim_next(session.connection(), project_id, mary, now=utc_now(), lease=timedelta(minutes=9), besides=served)
            assert task is not None
            served.append(task.id)
    assert served == tasks[:3]


# People, projects, guidelines, prompts


def test_of_many_people_with_one_address_one_is_made(engine: Engine, program: TestClient, slug: str) -> None:
    body = {"name": "Twin", "email": f"twin-{slug}@example.org", "role": "annotator", "projects": [slug]}
    replies = at_once([lambda: program.post(f"{V1}/users", json=body)] * MANY)
    assert Counter(reply.status_code for reply in replies) == {201: 1, 409: MANY - 1}
    assert all("already a person" in reply.json()["detail"] for reply in replies if reply.status_code == 409)


def test_of_many_projects_with_one_name_one_is_made(engine: Engine, program: TestClient, slug: str) -> None:
    body = {"name": f"Twin of {slug}", "base_model": "org/model"}
    replies = at_once([lambda: program.post(f"{V1}/projects", json=body)] * MANY)
    assert Counter(reply.status_code for reply in replies) == {201: 1, 409: MANY - 1}


def test_projects_with_different_names_are_all_made(engine: Engine, program: TestClient, slug: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda number=number: program.post(  # type: ignore[misc]
            f"{V1}/projects", json={"name": f"{slug} {'!' * number}", "base_model": "org/model"}
        )
        for number in range(1, MANY + 1)
    ]
    replies = at_once(calls)
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["slug"] for reply in replies}) == MANY


def test_guidelines_that_many_save_at_once_are_versions_without_a_gap(
    engine: Engine, program: TestClient, project_id: int, slug: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda number=number: program.patch(f"{V1}/projects/{slug}", json={"guidelines": f"Text {number}"})  # type: ignore[misc]
        for number in range(MANY)
    ]
    replies = at_once(calls)
    assert {reply.status_code for reply in replies} == {200}
    with read_session(engine) as session:
        versions = session.scalars(select(Guideline.version).where(Guideline.project_id == project_id)).all()
        assert sorted(versions) == list(range(1, MANY + 2))
        assert session.get_one(Project, project_id).guideline_version == MANY + 1


def test_guidelines_written_from_an_older_version_are_refused_however_late(engine: Engine, project_id: int) -> None:
    def save(session: Session, words: str) -> str:
        project = session.get_one(Project, project_id)
        assert project.guideline_version >= 1
        try:
            guidelines.edit(session, project, words, None, 1)
        except Conflict as refusal:
            return refusal.detail
        return "saved"

    said = one_by_one(engine, lambda session: save(session, "Mine."), lambda session: save(session, "Theirs."))
    assert said.startswith("Somebody saved other guidelines")


def test_a_prompt_that_many_import_at_once_is_one(engine: Engine, program: TestClient, project_id: int, slug: str) -> None:
    texts = [f"Question {number}?" for number in range(300)]
    orders = [texts if number % 2 else texts[::-1] for number in range(MANY)]
    calls: list[Callable[[], Any]] = [
        lambda order=order: program.post(  # type: ignore[misc]
            f"{V1}/projects/{slug}/prompts", json={"prompts": [{"text": text} for text in order]}
        )
        for order in orders
    ]
    replies = at_once(calls)
    assert {reply.status_code for reply in replies} <= {200, 201}, [reply.text for reply in replies]
    with read_session(engine) as session:
        counts = prompts.count_prompts(session, project_id)
        assert counts.train + counts.holdout == 300


def test_what_waits_for_who_archives_the_project_changes_nothing(
    engine: Engine, program: TestClient, project_id: int, slug: str
) -> None:
    with write_session(engine) as session:
        prompt_id = factories.make_prompt(session, project_id).id
    calls: list[Callable[[Session], Any]] = [
        lambda _: program.patch(f"{V1}/projects/{slug}", json={"overlap": 3}).status_code,
        lambda _: program.post(f"{V1}/projects/{slug}/prompts", json={"prompts": [{"text": "New?"}]}).status_code,
        lambda _: program.post(f"{V1}/prompts/{prompt_id}/archive").status_code,
    ]
    for call in calls:
        assert one_by_one(engine, lambda session: archive(session, session.get_one(Project, project_id), None), call) == 409
        with write_session(engine) as session:
            project = session.get_one(Project, project_id)
            project.archived_at = None
            assert project.overlap == 1
    with read_session(engine) as session:
        assert session.scalars(select(Prompt.archived_at).where(Prompt.project_id == project_id)).all() == [None]


def test_no_question_is_stored_about_a_prompt_that_is_put_away_meanwhile(engine: Engine, project_id: int) -> None:
    answers(engine, project_id, 5)
    with read_session(engine) as session:
        questions = make_tasks.plan(session, session.get_one(Project, project_id), None)
    gone = questions[0].prompt_id
    made = one_by_one(
        engine,
        lambda session: put_away(session, project_id, [gone], None),
        lambda session: make_tasks.store(session, hold(session, session.get_one(Project, project_id)), questions),
    )
    assert made == len(questions) - 1
    with read_session(engine) as session:
        assert session.scalars(select(Task.id).where(Task.prompt_id == gone)).all() == []


def test_what_many_say_at_once_in_the_same_words_is_answered_to_each(engine: Engine, project_id: int) -> None:
    """Each in a talk of their own: their answers are of one model to one prompt, and get numbers of their own."""
    messages: list[prompts.Message] = [{"role": "user", "content": "Hello?"}]
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        assert project.policy_id is not None
        project.chat_on = True
        prompt_of(session, project, messages)  # whoever makes it holds the others up by that alone
        person = factories.make_user(session, f"Talker{project_id}").id
        policy_id = project.policy_id
        talks = [chats.start(session, project_id, person, str(uuid4())).id for _ in range(MANY)]
        drawn = {"left_policy_id": policy_id, "right_policy_id": policy_id, "left_seed": 1, "right_seed": 2}
        turns = [ChatTurn(chat_id=talk, number=1, client_id=str(uuid4()), said="Hello?", **drawn) for talk in talks]
        session.add_all(turns)
        writing = Writing(Models("models/tiny", "", ""), [], 8, 1.0, 1.0, [1])
        asked = [Asked(one.chat_id, 1, one.client_id, False, messages, writing, writing) for one in turns]

    def kept(one: Asked) -> None:
        with write_session(engine) as session:
            keep(session, one, (Answer("One.", "eos", 1, [1]), Answer("Other.", "eos", 1, [2])))

    at_once([partial(kept, one) for one in asked])
    with read_session(engine) as session:
        numbers = select(Generation.number).join(Prompt, Prompt.id == Generation.prompt_id).where(Prompt.project_id == project_id)
        assert sorted(session.scalars(numbers)) == list(range(2 * MANY))


def test_two_prompts_that_become_one_text_at_once_stay_two(engine: Engine, program: TestClient, project_id: int) -> None:
    with write_session(engine) as session:
        ids = [factories.make_prompt(session, project_id).id for _ in range(4)]
    body = {"messages": [{"role": "user", "content": "The same?"}]}
    calls: list[Callable[[], Any]] = [
        lambda prompt_id=prompt_id: program.put(f"{V1}/prompts/{prompt_id}", json=body)  # type: ignore[misc]
        for prompt_id in ids
    ]
    replies = at_once(calls)
    assert Counter(reply.status_code for reply in replies) == {200: 1, 409: 3}, [reply.text for reply in replies]


def test_the_first_policy_of_a_project_is_made_once(engine: Engine, project_id: int) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        project.policy_id, project.base_model = None, "org/another"

    def ask_for(session: Session) -> int:
        return checkpoints.current_policy(session, session.get_one(Project, project_id)).id

    first: list[int] = []
    second = one_by_one(engine, lambda session: first.append(ask_for(session)), ask_for)
    assert [second] == first


def test_a_project_that_is_archived_meanwhile_computes_nothing(
    engine: Engine, program: TestClient, project_id: int, slug: str
) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, project_id)
    calls: list[Callable[[], Any]] = [lambda: program.post(f"{V1}/projects/{slug}/runs", json={"kind": "sample"})] * 6
    calls.insert(3, lambda: program.post(f"{V1}/projects/{slug}/archive"))
    replies = at_once(calls)
    assert {reply.status_code for reply in replies} <= {200, 201, 202, 204, 409}, [reply.text for reply in replies]
    with read_session(engine) as session:
        assert session.get_one(Project, project_id).archived_at is not None
        assert session.scalar(select(func.count(Run.id)).where(Run.project_id == project_id, Run.state == "queued")) == 0
