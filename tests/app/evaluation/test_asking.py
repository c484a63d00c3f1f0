"""Evaluation tasks in the queue: at their share, and nothing about them tells that they are."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.contenders.service import contender_of
from app.database.engine import read_session, write_session
from app.evaluation import asking, evidence, service
from app.evaluation.asking import win_probability
from app.labels.record import record_label
from app.labels.verdict import Verdict
from app.models import Checkpoint, Contender, Evaluation, Project, Prompt, Seat, Task, utc_now
from app.quality.exclusion import exclude
from app.queue.claim import claim_next
from app.rounds import people_decide
from tests.app import factories
from tests.app.evaluation.judged import Judged, begin, purposes, taste, work

V1 = "/api/v1"


def serve_all(engine: Engine, judged: Judged, most: int) -> list[str]:
    """What is served to one person who answers nothing, a look of the worker after each."""
    work_draw = random.Random(3)
    served: list[int] = []
    for _ in range(most):
        people_decide.look_after(engine, judged.project)
        with write_session(engine) as session:
            person = factories.make_user(session, f"Guest{judged.project}-{len(served)}-{work_draw.random()}").id
            found = claim_next(session.connection(), judged.project, person, now=utc_now(), lease=timedelta(hours=1))
        if found is None:
            break
        served.append(found.id)
    return purposes(engine, served)


def test_they_are_served_at_the_projects_share(engine: Engine) -> None:
    judged = begin(engine, train=200, prompts=120, evaluation_share=0.3)
    served = serve_all(engine, judged, 150)
    assert 0.2 < served.count("evaluation") / len(served) < 0.4
    halves = served[:75], served[75:]
    assert all(0.15 < half.count("evaluation") / len(half) < 0.45 for half in halves)
    runs = [len(list(group)) for purpose, group in itertools.groupby(served) if purpose == "evaluation"]
    assert max(runs) <= 10


def test_where_nothing_else_waits_they_still_come_a_few_at_a_time(engine: Engine) -> None:
    judged = begin(engine, train=0)
    people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        tasks = session.scalars(select(Task).where(Task.project_id == judged.project, Task.purpose == "evaluation")).all()
    assert asking.ALONE <= len(tasks) <= 2 * asking.ALONE


def test_what_is_for_nobody_here_holds_up_no_evaluation(engine: Engine) -> None:
    judged = begin(engine, train=100)
    for _ in range(4):
        people_decide.look_after(engine, judged.project)
    with write_session(engine) as session:
        evaluation, project = session.get_one(Evaluation, judged.evaluation), session.get_one(Project, judged.project)
        assert not asking.is_due(session, evaluation)
        ahead = select(Task.prompt_id).join(Seat, Seat.task_id == Task.id).where(Seat.state == "free")
        session.execute(update(Prompt).where(Prompt.id.in_(ahead), Prompt.project_id == project.id).values(audience="* law"))
        project.audiences = ["* law"]
        session.flush()
        assert asking.is_due(session, evaluation)


def test_a_task_of_training_keeps_what_it_asks_and_a_task_that_somebody_met_is_left_alone(engine: Engine) -> None:
    judged = begin(engine, train=60)
    with write_session(engine) as session:
        met = claim_next(session.connection(), judged.project, judged.people[0], now=utc_now(), lease=timedelta(hours=1))
        assert met is not None
        before = questions(engine, judged)
    for _ in range(5):
        people_decide.look_after(engine, judged.project)
    after = questions(engine, judged)
    assert sorted(after.values()) == sorted(before.values())
    assert after[met.id] == before[met.id]
    assert set(after) != set(before), "those that are mixed have new numbers"


def questions(engine: Engine, judged: Judged) -> dict[int, tuple[int, int]]:
    with read_session(engine) as session:
        asked = select(Task).where(Task.project_id == judged.project, Task.purpose == "train")
        waiting = asked.where(Task.id.in_(select(Seat.task_id).where(Seat.project_id == judged.project)))
        return {task.id: (task.first_generation_id, task.second_generation_id or 0) for task in session.scalars(waiting)}


def test_neither_number_nor_order_tells_what_a_task_is_for(engine: Engine) -> None:
    """In what is mixed, evaluation tasks stand as often before as behind the others, by number and by place."""
    first: list[bool] = []
    for _ in range(6):
        judged = begin(engine, train=30, prompts=60, evaluation_share=0.5)
        for _look in range(2):
            people_decide.look_after(engine, judged.project)
        with read_session(engine) as session:
            rows = session.execute(
                select(Task.id, Task.purpose)
                .join(Seat, Seat.task_id == Task.id)
                .where(Seat.project_id == judged.project)
                .where(Seat.state == "free")
                .order_by(Seat.place, Seat.id)
            ).all()
        mixed = [purpose for _id, purpose in rows][:30]
        ids = [task_id for task_id, _purpose in rows][:30]
        assert ids == sorted(ids), "served in the order of their numbers, as tasks of training are"
        assert {"train", "evaluation"} == set(mixed)
        first += [one == "evaluation" for one in mixed[:10]]
    assert 15 < sum(first) < 45


def test_the_first_answer_is_the_candidates_as_often_as_not(engine: Engine) -> None:
    judged = begin(engine, train=0, prompts=40)
    served_left: list[bool] = []

    def prefers(left: str, right: str) -> str:
        served_left.append(left.startswith(("new", "best")))
        return "tie"

    work(engine, judged, prefers)
    assert 0.25 < sum(served_left) / len(served_left) < 0.75
    with read_session(engine) as session:
        rows = session.scalars(select(Task).where(Task.project_id == judged.project, Task.purpose == "evaluation")).all()
    newer = [task.first_generation_id > (task.second_generation_id or 0) for task in rows]
    assert 0.25 < sum(newer) / len(newer) < 0.75


def test_replies_about_both_kinds_of_tasks_are_alike(engine: Engine, api: Callable[..., TestClient], cast: object) -> None:
    """The planted leak: everything that an annotator's program receives, of a task for training and of one that evaluates."""
    judged = begin(engine, train=40, prompts=60, evaluation_share=0.5)
    with write_session(engine) as session:
        project = session.get_one(Project, judged.project)
        slug = project.slug
        mary = cast.mary  # type: ignore[attr-defined]
        factories.make_membership(session, mary, project.id, "annotator")
    for _ in range(2):
        people_decide.look_after(engine, judged.project)
    program = api("annotate", who="Mary")
    seen: dict[str, list[tuple[object, ...]]] = {"train": [], "evaluation": []}
    for number in range(24):
        claimed = program.post(f"{V1}/projects/{slug}/tasks/next")
        task = claimed.json()
        answer = {"client_id": f"00000000-0000-4000-8000-{number:012d}", "choice": "tie", "active_ms": 1000}
        given = program.post(f"{V1}/tasks/{task['id']}/label", json=answer)
        label = program.get(f"{V1}/labels/{given.json()['id']}")
        replies = (claimed, given, label)
        (purpose,) = purposes(engine, [task["id"]])
        seen[purpose].append(tuple((reply.status_code, tuple(sorted(reply.headers)), shape(reply.json())) for reply in replies))
        for reply in replies:
            said = json.dumps(dict(reply.headers)) + reply.text
            assert "evaluation" not in said
            assert "candidate" not in said
    assert len(seen["train"]) > 3
    assert len(seen["evaluation"]) > 3
    assert set(seen["train"]) == set(seen["evaluation"])
    assert len(set(seen["train"])) == 1


def shape(value: object) -> object:
    """The fields of a reply and the types of what they hold."""
    if isinstance(value, dict):
        return tuple(sorted((key, shape(one)) for key, one in value.items()))
    if isinstance(value, list):
        return tuple(shape(one) for one in value)
    return type(value).__name__


def test_a_queue_that_refills_itself_does_not_count_them(engine: Engine) -> None:
    from app.queue.make_tasks import refill_needed

    judged = begin(engine, train=0, queue_low_mark=1)
    people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        assert refill_needed(session, session.get_one(Project, judged.project))


def test_a_prediction_is_none_where_one_was_not_scored() -> None:
    assert win_probability(None, 1.0) is None
    assert win_probability(1.0, None) is None
    assert win_probability(0.5, 0.5) == 0.5
    assert (win_probability(99.0, -99.0) or 0) <= 1.0


def test_all_is_asked_once_and_no_more_than_planned(engine: Engine) -> None:
    judged = begin(engine, train=0, prompts=30, overlap=2, evaluation_budget=40)
    with read_session(engine) as session:
        evaluation = session.get_one(Evaluation, judged.evaluation)
        assert (evaluation.planned, evaluation.pairs, evaluation.overlap) == (20, 1, 2)
    work(engine, judged, taste(0.5))
    with read_session(engine) as session:
        tasks = session.scalars(select(Task).where(Task.project_id == judged.project, Task.purpose == "evaluation")).all()
    answers = [one for task in tasks for one in (task.first_generation_id, task.second_generation_id)]
    assert len(answers) == len(set(answers)), "a text is asked about once"
    assert len(tasks) <= 20 + 10


def test_a_candidate_whose_run_failed_early_is_not_compared_and_takes_no_prompts_from_others(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session, overlap=1)
        prompts = [factories.make_prompt(session, project.id, split="holdout") for _ in range(12)]
        base = session.get_one(Checkpoint, project.policy_id)
        whole, failed = (factories.make_checkpoint(session, project.id, parent_id=base.id) for _ in range(2))
        for checkpoint, count in ((base, 12), (whole, 11), (failed, 3)):
            for number, prompt in enumerate(prompts[:count]):
                factories.make_generation(session, prompt, checkpoint.id, f"{checkpoint.id} says {number}")
        contenders = [contender_of(session, one) for one in (base, whole, failed)]
        evaluation = service.begin(session, project, contenders[0], [service.Candidate(one) for one in contenders[1:]])
        assert evaluation is not None
        assert service.open_to_people(session, evaluation)
        assert [one.contender_id for one in service.candidates_of(session, evaluation)] == [contenders[1].id]
        assert set(evaluation.prompt_ids) == {prompt.id for prompt in prompts[:11]}


def test_nothing_is_opened_to_people_where_no_candidate_has_answered(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session)
        prompt = factories.make_prompt(session, project.id, split="holdout")
        base = session.get_one(Checkpoint, project.policy_id)
        factories.make_generation(session, prompt, base.id)
        new = contender_of(session, factories.make_checkpoint(session, project.id, parent_id=base.id))
        evaluation = service.begin(session, project, contender_of(session, base), [service.Candidate(new)])
        assert evaluation is not None
        assert not service.open_to_people(session, evaluation)
        assert [one.contender_id for one in service.candidates_of(session, evaluation)] == [new.id]


def judge_next(engine: Engine, judged: Judged, person: int) -> int:
    with write_session(engine) as session:
        connection = session.connection()
        found = claim_next(connection, judged.project, person, now=utc_now(), lease=timedelta(hours=1))
        assert found is not None
        record_label(connection, found.id, person, Verdict(str(uuid4()), choice="left"), interface="test", now=utc_now())
        return found.id


def test_what_is_said_after_a_withdrawal_from_training_counts_not_and_somebody_else_is_asked(engine: Engine) -> None:
    judged = begin(engine, train=0, prompts=20)
    people_decide.look_after(engine, judged.project)
    guesses, admin, _other = judged.people
    judge_next(engine, judged, guesses)
    with write_session(engine) as session:
        exclude(session, session.get_one(Project, judged.project), guesses, "Guessed.", admin)
    idle = judge_next(engine, judged, guesses)
    with read_session(engine) as session:
        found = evidence._asked(session, session.get_one(Evaluation, judged.evaluation)).values()
        assert sum(len(one.people) for tasks in found for one in tasks) == 1, "what was said before counts on"
    for _ in range(2):
        people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        seats = session.execute(select(Seat.number, Seat.state).where(Seat.task_id == idle).order_by(Seat.number)).all()
        assert seats == [(1, "done"), (2, "free")]


def test_answers_are_asked_about_as_they_were_drawn_whichever_ended_first(engine: Engine) -> None:
    judged = begin(engine, train=0, prompts=20)
    with write_session(engine) as session:
        evaluation = session.get_one(Evaluation, judged.evaluation)
        prompt = session.get_one(Prompt, evaluation.prompt_ids[0])
        policy = session.get_one(Contender, evaluation.baseline_id).checkpoint_id
        assert policy is not None
        run = factories.make_run(session, judged.project).id
        for number, text in ((1, "Short."), (2, "Longer, and so later."), (0, "The longest of all, and so the last to end.")):
            factories.make_generation(session, prompt, policy, text, run_id=run, number=number)
        answers = service.answers_by_contender(session, evaluation, [prompt.id])[evaluation.baseline_id, prompt.id]
        said = ["The longest of all, and so the last to end.", "Short.", "Longer, and so later."]
        assert [one.text for one in answers][:3] == said, "not by when they ended, which is by length"
        assert len(answers) > 3, "and those of the run before come after"


def test_no_text_is_shown_twice_in_the_pairs_of_a_prompt() -> None:
    said = {7: ["Paris.", "Paris.", "It is Paris.", "Rome."], 8: ["Paris.", "Lyon.", "Lyon.", "Nice.", "Oslo."]}
    answers = {
        (contender, 1): [service.Answer(10 * contender + number, text, None) for number, text in enumerate(texts)]
        for contender, texts in said.items()
    }
    pairs = service.pairs_of(answers, 7, 8, 1, 4)
    assert [(one.text, other.text) for one, other in pairs] == [
        ("Paris.", "Lyon."),
        ("It is Paris.", "Nice."),
        ("Rome.", "Oslo."),
    ]
    assert len(service.pairs_of(answers, 7, 8, 1, 2)) == 2
