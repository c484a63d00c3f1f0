"""Rows for tests: each call makes one, with values that can be read in a failure message."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.models import (
    ApiKey,
    Checkpoint,
    Contender,
    Evaluation,
    Generation,
    Guideline,
    Membership,
    OutsideModel,
    Project,
    Prompt,
    RankedAnswer,
    Run,
    Seat,
    SignInSession,
    Task,
    User,
    drawn,
    utc_now,
)
from app.web.security import Role, digest, format_key, new_secret
from trainer.contract.messages import Message

_numbers = count(1)

CRITERIA: list[Any] = [
    {"key": "fluency", "name": "Fluency", "description": "Reads well.", "anchors": {"1": "Broken", "5": "Effortless"}},
    {"key": "accuracy", "name": "Accuracy", "description": "Is true.", "anchors": {"1": "False", "5": "Right throughout"}},
]


def written(text: str) -> Message:
    """A message in somebody's own words."""
    return Message("written", text=text)


def make_user(session: Session, name: str, *, owner: bool = False) -> User:
    user = User(email=f"{name.lower()}@example.org", name=name, is_owner=owner)
    session.add(user)
    session.flush()
    return user


def make_membership(session: Session, user_id: int, project_id: int, role: Role) -> Membership:
    membership = Membership(user_id=user_id, project_id=project_id, role=role)
    session.add(membership)
    session.flush()
    return membership


def make_sign_in(session: Session, user_id: int, device: str = "") -> str:
    """A signed-in browser; returns the cookie's value."""
    secret = new_secret()
    ends = utc_now() + timedelta(days=1)
    known = digest(device) if device else None
    session.add(SignInSession(id_hash=digest(secret), user_id=user_id, expires_at=ends, device_hash=known))
    session.flush()
    return secret


def make_key(session: Session, user_id: int, *scopes: str) -> str:
    """An API key; returns it as a client sends it."""
    secret = new_secret()
    key = ApiKey(
        user_id=user_id,
        name="test",
        secret_hash=digest(secret),
        scopes=list(scopes),
        expires_at=utc_now() + timedelta(days=1),
    )
    session.add(key)
    session.flush()
    return format_key(key.id, secret)


def make_project(session: Session, slug: str = "", **values: Any) -> Project:
    """A project with guidelines and a base model: its first policy checkpoint, which is also the promoted one."""
    slug = slug or f"project-{next(_numbers)}"
    filled = {"name": slug.title(), "base_model": "models/tiny", "criteria": CRITERIA, "sampling": {}, **values}
    project = Project(slug=slug, **filled)
    session.add(project)
    session.flush()
    session.add(Guideline(project_id=project.id, version=1, text="Prefer the answer that is *true*."))
    base = make_checkpoint(session, project.id, name=Message("base_model"))
    project.policy_id = base.id
    session.flush()
    return project


def make_prompt(session: Session, project_id: int, text: str = "", **values: Any) -> Prompt:
    text = text or f"What is {next(_numbers)} plus one?"
    filled = {"split": "train", "digest": hashlib.sha256(text.encode()).hexdigest(), **values}
    prompt = Prompt(project_id=project_id, messages=[{"role": "user", "content": text}], **filled)
    session.add(prompt)
    session.flush()
    return prompt


def make_checkpoint(session: Session, project_id: int, **values: Any) -> Checkpoint:
    filled = {"kind": "policy", "name": Message("policy_of_run", number=next(_numbers)), "source": "models/tiny", **values}
    checkpoint = Checkpoint(project_id=project_id, **filled)
    session.add(checkpoint)
    session.flush()
    return checkpoint


def make_run(session: Session, project_id: int, kind: str = "sample", **values: Any) -> Run:
    run = Run(project_id=project_id, kind=kind, **{"state": "done", "config": {}, **values})
    session.add(run)
    session.flush()
    return run


def make_generation(session: Session, prompt: Prompt, checkpoint_id: int, text: str = "", **values: Any) -> Generation:
    """An answer of its own run, unless `run_id` says otherwise."""
    if "run_id" not in values:
        values["run_id"] = make_run(session, prompt.project_id).id
    filled = {"number": 0, "settings": {}, "seed": 1, "token_ids": [1, 2], "finish_reason": "eos", **values}
    how = drawn(filled["settings"])
    generation = Generation(
        prompt_id=prompt.id,
        contender_id=contender_of(session, session.get_one(Checkpoint, checkpoint_id), how).id,
        checkpoint_id=checkpoint_id,
        text=text or f"Answer {next(_numbers)}.",
        **filled,
    )
    session.add(generation)
    session.flush()
    return generation


def make_outside(session: Session, name: str = "GPT") -> OutsideModel:
    """A model that the owner registered."""
    model = OutsideModel(name=name, address="https://api.example.org/v1", model="gpt-x", own_network=False)
    session.add(model)
    session.flush()
    return model


def make_stranger(session: Session, project_id: int, name: str = "gpt-x") -> Contender:
    """A contender whose answers were written elsewhere."""
    contender = Contender(project_id=project_id, kind="imported", name=name)
    session.add(contender)
    session.flush()
    return contender


def bring_in(session: Session, prompt: Prompt, contender: Contender, text: str, number: int = 0) -> Generation:
    """An answer of such a contender: a text, and nothing else."""
    brought = {"settings": {}, "text": text, "finish_reason": "eos", "number": number}
    generation = Generation(prompt_id=prompt.id, contender_id=contender.id, **brought)
    session.add(generation)
    session.flush()
    return generation


def make_evaluation(session: Session, project_id: int, **values: Any) -> Evaluation:
    baseline = contender_of(session, session.get_one(Checkpoint, session.get_one(Project, project_id).policy_id))
    filled = {"budget": 10, "error": 0.05, "flag_margin": 0.1, "overlap": 1, "pairs": 1, "prompt_ids": [1], **values}
    evaluation = Evaluation(project_id=project_id, baseline_id=baseline.id, **filled)
    session.add(evaluation)
    session.flush()
    return evaluation


def make_task(session: Session, project: Project, kind: str = "comparison", *, seats: int = 1, **values: Any) -> Task:
    """A question about fresh answers of the project's policy, with its seats free."""
    assert project.policy_id is not None
    prompt = make_prompt(session, project.id)
    first = make_generation(session, prompt, project.policy_id)
    second = make_generation(session, prompt, project.policy_id) if kind == "comparison" else None
    others = [make_generation(session, prompt, project.policy_id).id for _ in range(3)] if kind == "ranking" else []
    task = Task(
        project_id=project.id,
        prompt_id=prompt.id,
        kind=kind,
        first_generation_id=first.id,
        second_generation_id=second.id if second else None,
        **values,
    )
    session.add(task)
    session.flush()
    ranked = enumerate([first.id, *others], start=1) if others else ()
    session.add_all(RankedAnswer(task_id=task.id, number=number, generation_id=one) for number, one in ranked)
    session.add_all(Seat(project_id=project.id, task_id=task.id, number=number) for number in range(1, seats + 1))
    session.flush()
    return task
