"""A round that people judge: its answers, the people, and the worker's looks, on any database."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.database.engine import read_session, write_session
from app.evaluation import service as evaluations
from app.labels.record import record_label
from app.labels.verdict import Verdict
from app.models import Checkpoint, Drawn, Evaluation, Generation, Project, Prompt, Round, Seat, Task, utc_now
from app.queue.claim import claim_next
from app.rounds import people_decide, service
from app.runs.checkpoints import get_checkpoint
from tests.app import factories
from tests.app.queue.asked import ask
from tests.app.rounds.test_service import end, make_labels, stage

LEASE = timedelta(minutes=10)
SCORES = {"old": 0.25, "new": 1.25}  # by the round's reward model, of what the policy in force and the candidate write


@dataclass
class Judged:
    """Ids of a project whose round is being evaluated."""

    project: int
    round: int
    evaluation: int
    people: list[int]
    candidate: int  # a checkpoint
    asked: list[int] = field(default_factory=list)  # tasks, in the order in which they were served


def begin(
    engine: Engine,
    *,
    prompts: int = 80,
    train: int = 40,
    people: int = 3,
    overlap: int = 1,
    answers: Callable[[str, int], str] = lambda writer, number: f"{writer} says {number}",
    **settings: Any,
) -> Judged:
    """A round up to the moment when people are asked; its runs and answers are made by hand."""
    with write_session(engine) as session:
        values = {"evaluation_on": True, "evaluation_promotes": True, "evaluation_budget": 200, "flags": [], **settings}
        project = factories.make_project(session, overlap=overlap, rating_share=0.0, **values)
        who = [factories.make_user(session, f"Person{uuid.uuid4().hex[:8]}").id for _ in range(people)]
        make_labels(session, project, 30, who[0])
        answered = update(Seat).where(Seat.project_id == project.id)
        session.execute(answered.values(state="done", annotator_id=who[0], claimed_at=utc_now()))
        for number in range(prompts):
            factories.make_prompt(session, project.id, f"Held out {number} of {project.id}?", split="holdout")
        for number in range(train):
            prompt = factories.make_prompt(session, project.id, f"To learn {number} of {project.id}?")
            for text in ("a", "b"):
                factories.make_generation(session, prompt, project.policy_id or 0, f"{text} {number}")
        ask(session, project)
        round_ = service.start_round(session, project, "admin", None)
        end(session, stage(session, round_)[0], gate_passed=True)
        reward = get_checkpoint(session, round_.reward_id or 0)
        reward.parent_id = project.policy_id
        end(session, stage(session, round_)[0])
        for run in stage(session, round_):
            write_answers(session, run, answers)
            end(session, run)
        evaluation = evaluations.evaluation_of(session, round_)
        assert evaluation is not None
        return Judged(project.id, round_.id, evaluation.id, who, round_.candidate_id or 0)


def write_answers(session: Session, run: Any, answers: Callable[[str, int], str]) -> None:
    """As a sample run does, to the held-out prompts: `answers(writer, number)`, each with a mark that nobody else has."""
    checkpoint = session.get_one(Checkpoint, run.inputs["checkpoint"])
    how = Drawn(run.config["best_of"], run.inputs["reward"]) if run.config.get("best_of", 1) > 1 else Drawn()
    settings = {"best_of": how.best_of, "reward": how.reward_id, "score": 0.5} if how.best_of > 1 else {}
    if "scored_by" in run.inputs:
        settings = {"scored_by": run.inputs["scored_by"], "score": SCORES["old" if checkpoint.parent_id is None else "new"]}
    writer = "best" if how.best_of > 1 else "old" if checkpoint.parent_id is None else "new"
    contender = contender_of(session, checkpoint, how)
    held_out = select(Prompt).where(Prompt.project_id == run.project_id, Prompt.split == "holdout").order_by(Prompt.id)
    for prompt in session.scalars(held_out).all():
        for number in range(run.config["per_prompt"]):
            session.add(
                Generation(
                    prompt_id=prompt.id,
                    contender_id=contender.id,
                    checkpoint_id=checkpoint.id,
                    run_id=run.id,
                    number=number,
                    settings=settings,
                    seed=1,
                    text=answers(writer, number),
                    token_ids=[1],
                    finish_reason="eos",
                )
            )
    session.flush()


def work(
    engine: Engine,
    judged: Judged,
    prefers: Callable[[str, str], str],
    *,
    most: int = 2000,
    draw: random.Random | None = None,
    flags: Callable[[str], list[str]] = lambda text: [],
) -> Round:
    """People take what the queue gives them and judge it, the worker looks after each; until the round is decided or nobody is
    given anything. `prefers(left, right)`: left, right, tie or both_bad.
    """
    draw = draw or random.Random(0)
    for _ in range(most):
        people_decide.look_after(engine, judged.project)
        if (round_ := round_of(engine, judged)).state != "evaluation":
            return round_
        for person in draw.sample(judged.people, len(judged.people)):
            served = judge_next(engine, judged.project, person, prefers, flags)
            if served is not None:
                judged.asked.append(served)
                break
        else:
            return round_of(engine, judged)
    raise AssertionError("the evaluation never ended")


def judge_next(
    engine: Engine,
    project_id: int,
    person: int,
    prefers: Callable[[str, str], str],
    flags: Callable[[str], list[str]] = lambda text: [],
) -> int | None:
    """This person takes the next task and judges it; its id, or none where there is nothing for them."""
    with write_session(engine) as session:
        served = claim_next(session.connection(), project_id, person, now=utc_now(), lease=LEASE)
    if served is None:
        return None
    given = {"left": flags(served.left), "right": flags(served.right or "")}
    choice = prefers(served.left, served.right or "")
    verdict = Verdict(str(uuid.uuid4()), choice, flags={side: one for side, one in given.items() if one})
    with write_session(engine) as session:
        record_label(session.connection(), served.id, person, verdict, interface="test", now=utc_now())
    return served.id


def taste(share: float, seed: int = 0, of: str = "new") -> Callable[[str, str], str]:
    """Somebody who prefers the answers of one writer in so many of all cases."""
    draw = random.Random(seed)

    def prefers(left: str, right: str) -> str:
        side, other = ("left", "right") if left.startswith(of) else ("right", "left")
        return side if draw.random() < share else other

    return prefers


def purposes(engine: Engine, task_ids: list[int]) -> list[str]:
    with read_session(engine) as session:
        by = dict(session.execute(select(Task.id, Task.purpose)).all())
    return [by.get(task_id, "gone") for task_id in task_ids]


def evaluation_of(engine: Engine, judged: Judged) -> Evaluation:
    with read_session(engine) as session:
        found = session.get_one(Evaluation, judged.evaluation)
        session.expunge(found)
        return found


def round_of(engine: Engine, judged: Judged) -> Round:
    with read_session(engine) as session:
        found = session.get_one(Round, judged.round)
        session.expunge(found)
        return found


def policy_of(engine: Engine, judged: Judged) -> int | None:
    with read_session(engine) as session:
        return session.get_one(Project, judged.project).policy_id
