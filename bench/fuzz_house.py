"""The house of the made-up calls: somebody of each kind, and enough of everything that calls can be about.

What a call would use up (a person to take out, a round to decide) is there more than once and apart from the callers, so that no
call ends who calls or what the others are about.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contenders.service import contender_of, name_stranger
from app.database.engine import make_engine, write_session
from app.feedback import service as feedback
from app.models import (
    ApiKey,
    Checkpoint,
    Evaluation,
    EvaluationCandidate,
    Membership,
    PracticeTask,
    Project,
    SecondFactor,
    User,
    utc_now,
)
from app.prompts import proposals
from app.prompts.service import Message as Said
from app.web.security import Role, digest, format_key, new_secret
from bench.stage import SLUG
from tests.app import factories
from tests.app.exports.judging import judge
from tests.app.rounds import told
from trainer.contract.messages import Message

SCOPES: Final[dict[str, list[str]]] = {
    "owner": ["admin"],
    "admin": ["admin"],
    "reviewer": ["annotate", "export", "generate"],
    "annotator": ["annotate"],
    "expired": ["admin"],
}
SCHOOL: Final = "school"  # where practice comes first
SPARE: Final = 12  # of each thing that a call uses up


@dataclass
class Callers:
    keys: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)


def furnish(data: Path) -> tuple[Callers, dict[str, list[Any]]]:
    """The callers, and what there is by noun, in the project that `stage.fill` made and in others."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    callers = Callers()
    things: dict[str, list[Any]] = {}
    with write_session(engine) as session:
        bench = session.scalars(select(Project).where(Project.slug == SLUG)).one()
        for kind in SCOPES:
            _add_caller(session, kind, callers)
        _let_in(session, callers, bench.id)
        things["person"] = _people(session, bench.id, "person")
        things["leaver"] = _people(session, bench.id, "leaver")
        things["prompt"] = [factories.make_prompt(session, bench.id).id for _ in range(SPARE)]
        things["policy"] = [bench.policy_id]
        things["stranger"] = [name_stranger(session, bench, f"stranger-{number}", None).id for number in range(SPARE)]
        things["proposed"] = _proposed(session, bench, callers)
        things["feedback"] = _feedback(session, bench, callers)
        bench.chat_on = True
        things |= _school(session, callers)
        things |= _rounds(session, callers, data)
        things |= _evaluations(session, callers)
        things["doomed"] = [_project(session, f"doomed-{number}", callers).slug for number in range(SPARE)]
    engine.dispose()
    return callers, things


def _proposed(session: Session, bench: Project, callers: Callers) -> list[int]:
    """Prompts that somebody wrote in a talk."""
    talks: list[list[Said]] = [[{"role": "user", "content": f"A question, {number}?"}] for number in range(SPARE)]
    found = [proposals.prompt_of(session, bench, said) for said in talks]
    for prompt_id in found:
        proposals.propose(session, bench.id, prompt_id, callers.ids["annotator"])
    return found


def _feedback(session: Session, bench: Project, callers: Callers) -> list[int]:
    """Thumbs that wait for an admin."""
    about = feedback.About(bench.id, bench.policy_id or 0, [{"role": "user", "content": "In use?"}], "Yes.", None, "bench")
    given = [feedback.Said(str(uuid.uuid4()), "up", True) for _ in range(SPARE)]
    return [feedback.give(session, about, said, callers.ids["admin"])[0].id for said in given]


def _add_caller(session: Session, kind: str, callers: Callers) -> None:
    user = factories.make_user(session, kind.title(), owner=kind == "owner")
    secret, ends = new_secret(), utc_now() + timedelta(days=-1 if kind == "expired" else 1)
    key = ApiKey(user_id=user.id, secret_hash=digest(secret), scopes=SCOPES[kind], expires_at=ends)
    session.add(key)
    session.flush()
    callers.keys[kind], callers.ids[kind] = format_key(key.id, secret), user.id


def _let_in(session: Session, callers: Callers, project_id: int) -> None:
    roles: dict[str, Role] = {"admin": "admin", "reviewer": "reviewer", "annotator": "annotator", "expired": "admin"}
    for kind, role in roles.items():
        factories.make_membership(session, callers.ids[kind], project_id, role)


def _project(session: Session, slug: str, callers: Callers, **values: Any) -> Project:
    project = factories.make_project(session, slug, **values)
    _let_in(session, callers, project.id)
    return project


def _people(session: Session, project_id: int, name: str) -> list[int]:
    """Annotators with a password and a second factor, of this project alone."""
    found = []
    for number in range(SPARE):
        user = User(email=f"{name}{number}@example.org", name=f"{name.title()} {number}", password_hash="none that fits")
        session.add(user)
        session.flush()
        session.add(SecondFactor(user_id=user.id, secret="A" * 32, confirmed_at=utc_now()))
        session.add(Membership(user_id=user.id, project_id=project_id, role="annotator"))
        found.append(user.id)
    session.flush()
    return found


def _school(session: Session, callers: Callers) -> dict[str, list[Any]]:
    school = _project(session, SCHOOL, callers, practice_tasks=3)
    pupils = _people(session, school.id, "pupil")
    asked = [{"role": "user", "content": "Which is the better answer?"}]
    tasks = [
        PracticeTask(
            project_id=school.id,
            kind="comparison",
            messages=asked,
            left_text="Good.",
            right_text="Bad.",
            choice="left",
            explanation="It is good.",
        )
        for _ in range(SPARE)
    ]
    session.add_all(tasks)
    session.flush()
    unanswered = [factories.make_prompt(session, school.id).id for _ in range(SPARE)]  # and no run is about to answer them
    return {"pupil": pupils, "practice task": [task.id for task in tasks], "unanswered": unanswered}


def _rounds(session: Session, callers: Callers, data: Path) -> dict[str, list[Any]]:
    """Rounds that wait for a decision or compute, runs that failed or are queued, checkpoints with their files."""
    rounds, runs = ("round", "waiting round", "live round", "learning"), ("run", "failed run", "live run")
    names = (*rounds, *runs, "checkpoint", "candidate", "kept", "exported")
    things: dict[str, list[Any]] = {name: [] for name in names}
    for number in range(2 * SPARE):
        project = _project(session, f"round-{number}", callers)
        told_ = told.tell(session, project, data / "runs", state="decision" if number % 2 else "ppo")
        things["round"].append(told_.round)
        things["waiting round" if number % 2 else "live round"].append(told_.round)
        things["run"] += [told_.ppo, told_.sample]
        things["checkpoint"].append(told_.reward)
        if not number % 2:
            things["candidate"].append(told_.candidate)
        factories.make_prompt(session, project.id)
        sample: dict[str, Any] = {"config": {"seed": number}, "inputs": {"checkpoint": project.policy_id, "split": "train"}}
        failed = factories.make_run(session, project.id, state="failed", message=Message("worker_died"), **sample)
        things["failed run"].append(failed.id)
        things["live run"].append(factories.make_run(session, project.id, state="queued", **sample).id)
        if number < 2:
            folder = data / "runs" / str(told_.ppo)
            told.keep_checkpoint(folder / "checkpoint")
            shutil.copytree(folder / "checkpoint", folder / "export")
            kept = factories.make_checkpoint(session, project.id, run_id=told_.ppo, source=f"runs/{told_.ppo}/checkpoint")
            things["kept"].append(kept.id)
            things["exported"].append(kept.id)
    for number in range(SPARE):
        project = _project(session, f"learning-{number}", callers)
        judge(session, project, callers.ids["annotator"], choice="left")
        things["learning"].append(project.slug)
    return things


def _evaluations(session: Session, callers: Callers) -> dict[str, list[Any]]:
    """Some that people are asked for and some that nobody waits for any more."""
    project = _project(session, "evaluated", callers)
    trained = factories.make_checkpoint(session, project.id, parent_id=project.policy_id)
    policies = (session.get_one(Checkpoint, project.policy_id), trained)
    baseline, candidate = (contender_of(session, policy) for policy in policies)
    prompts = [factories.make_prompt(session, project.id, split="holdout").id for _ in range(SPARE)]
    asked = {"budget": 100, "error": 0.05, "flag_margin": 0.1, "overlap": 1, "pairs": 1, "prompt_ids": prompts, "expected": None}
    ended = {"state": "decided", "decision": "rejected", "ended_at": utc_now()}
    found: dict[str, list[Any]] = {}
    for name, how in (("evaluation", ended), ("live evaluation", {"state": "open"})):
        rows = [Evaluation(project_id=project.id, baseline_id=baseline.id, **asked, **how) for _ in range(SPARE)]
        session.add_all(rows)
        session.flush()
        found[name] = [row.id for row in rows]
        session.add_all(EvaluationCandidate(evaluation_id=row.id, contender_id=candidate.id) for row in rows)
    session.flush()
    return found
