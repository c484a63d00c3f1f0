"""A project with a row in every table that can point at it, and files of its own."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, select
from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.database.engine import read_session
from app.evaluation.service import Candidate, begin, candidates_of
from app.feedback.service import About, Said, decide, give
from app.models import (
    Base,
    Chat,
    ChatTurn,
    Check,
    Checkpoint,
    Dispute,
    Doubt,
    EvaluationRest,
    EvaluationTask,
    Exclusion,
    Gold,
    Invitation,
    JudgesReport,
    KeptAnswer,
    Label,
    Leaderboard,
    PracticeTask,
    PracticeVerdict,
    Project,
    Prompt,
    ProposedPrompt,
    RankedAnswer,
    Round,
    Run,
    Skip,
    Task,
    Webhook,
    utc_now,
)
from app.removal.deletion import Consequences, consequences, delete_project
from app.removal.taking_out import take_out
from app.web.security import digest
from app.webhooks.announcing import announce
from tests.app import factories
from tests.app.rounds.test_service import label_task
from trainer.contract.messages import Message

STAYS = {"projects", "audit"}  # the project's own row, and what was said of it


def delete(session: Session, data: Path, project: Project, typed_name: str, by: int | None) -> Consequences:
    """As a page does it; what that takes."""
    taken = consequences(session, data, project)
    delete_project(session, data, project, typed_name, by, taken)
    return taken


def fill(session: Session, project: Project, annotator_id: int, data: Path) -> None:
    """Labels in three versions, one of them withdrawn; a round with its runs, a retry, policies in a line; practice; files."""
    pid = project.id
    run = factories.make_run(session, pid, "ppo")
    again = factories.make_run(session, pid, "ppo", retry_of_id=run.id)
    policy = factories.make_checkpoint(session, pid, parent_id=project.policy_id, run_id=again.id)
    reward = factories.make_checkpoint(session, pid, kind="reward", parent_id=project.policy_id)
    round_ = Round(
        project_id=pid,
        number=1,
        trigger="admin",
        label_count=0,
        start_policy_id=project.policy_id or 0,
        reward_id=reward.id,
        candidate_id=policy.id,
        state="done",
        decision="promoted",
    )
    session.add(round_)
    session.flush()
    run.round_id = again.round_id = round_.id
    project.previous_policy_id, project.policy_id = project.policy_id, policy.id
    for _ in range(3):
        task = factories.make_task(session, project, seats=2, reward_checkpoint_id=reward.id)
        session.add(RankedAnswer(task_id=task.id, number=1, generation_id=task.first_generation_id))
        first = label_task(session, task, annotator_id, current=False, reward_checkpoint_id=reward.id)
        second = label_task(session, task, annotator_id, current=False, version=2, supersedes_id=first.id)
        label_task(session, task, annotator_id, version=3, supersedes_id=second.id)
        session.add(Skip(task_id=task.id, annotator_id=annotator_id))
    session.get_one(Prompt, task.prompt_id).split = "holdout"
    asked = (contender_of(session, session.get_one(Checkpoint, one or 0)) for one in (project.previous_policy_id, policy.id))
    baseline, contender = asked
    evaluation = begin(session, project, baseline, [Candidate(contender)], round_=round_)
    assert evaluation is not None
    (candidate,) = candidates_of(session, evaluation)
    session.add(EvaluationRest(project_id=pid, evaluation_id=evaluation.id, annotator_id=annotator_id))
    session.add(EvaluationTask(candidate_id=candidate.id, task_id=task.id, prompt_id=task.prompt_id, place=0, pair=0))
    practice = PracticeTask(
        project_id=pid, kind="rating", messages=[{"role": "user", "content": "?"}], left_text="A", overall=3, explanation="So."
    )
    session.add(practice)
    session.flush()
    session.add(
        PracticeVerdict(project_id=pid, task_id=practice.id, annotator_id=annotator_id, attempt=1, overall=3, is_right=True)
    )
    session.add(Leaderboard(project_id=pid))
    _fill_feedback(session, project, annotator_id)
    session.add(Webhook(address=f"https://example.org/hooks/{project.id}", secret="whsec_AAAA"))
    announce(session, project, "round.decided", Message("announce_rejected", number=1), round_)
    _fill_talk(session, project, annotator_id, task)
    _fill_checks(session, project, annotator_id, task)
    _fill_dispute(session, project, annotator_id, task)
    session.add(Invitation(token_hash=digest(f"token {pid}"), role="annotator", project_id=pid, expires_at=utc_now()))
    session.flush()
    for made in session.scalars(select(Run).where(Run.project_id == pid)):
        (data / "runs" / str(made.id) / "checkpoint").mkdir(parents=True)
        (data / "runs" / str(made.id) / "run.json").write_text("{}")
        (data / "runs" / str(made.id) / "checkpoint" / "weights").write_bytes(b"x" * 100)
    (data / "texts" / project.slug).mkdir(parents=True)
    (data / "texts" / project.slug / "tales.txt").write_text("Once.")


def _fill_feedback(session: Session, project: Project, person: int) -> None:
    """Of a kept answer, and let in."""
    policy = session.get_one(Checkpoint, project.policy_id)
    of: dict[str, Any] = {"project_id": project.id, "policy_id": policy.id, "kept_by": person}
    said: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}], "text": "So.", "token_ids": [1], "settings": {}}
    kept = KeptAnswer(**of, **said, completion_id=f"c{project.id}", number=0, seed=1, finish_reason="eos")
    session.add(kept)
    session.flush()
    answer = About(project.id, policy.id, kept.messages, kept.text, kept.id, "c 0")
    given, _created = give(session, answer, Said(str(uuid.uuid4()), "down", True, "So it is."), person)
    decide(session, project.id, given.id, person, accepted=True, now=utc_now())


def _fill_talk(session: Session, project: Project, annotator_id: int, task: Task) -> None:
    """A talk of one turn that was judged, and the prompt that it proposed."""
    chat = Chat(project_id=project.id, annotator_id=annotator_id, client_id=f"talk {project.id}")
    session.add(chat)
    session.flush()
    policy_id = project.policy_id or 0
    session.add(
        ChatTurn(
            chat_id=chat.id,
            number=1,
            client_id=f"turn {project.id}",
            said="Why?",
            left_policy_id=policy_id,
            right_policy_id=policy_id,
            left_seed=1,
            right_seed=2,
            left_generation_id=task.first_generation_id,
            right_generation_id=task.second_generation_id,
            task_id=task.id,
            reply="So.",
        )
    )
    session.add(ProposedPrompt(project_id=project.id, prompt_id=task.prompt_id, proposed_by=annotator_id))


def _fill_dispute(session: Session, project: Project, annotator_id: int, task: Task) -> None:
    """Something that people differ on, and a verdict that was sent back."""
    dispute = Dispute(project_id=project.id, task_id=task.id, state="doubted")
    session.add(dispute)
    session.flush()
    label = session.scalars(select(Label).where(Label.task_id == task.id, Label.current)).one()
    about = {"dispute_id": dispute.id, "label_id": label.id, "annotator_id": annotator_id, "created_by": annotator_id}
    session.add(Doubt(project_id=project.id, comment="Sure?", **about))


def _fill_checks(session: Session, project: Project, annotator_id: int, task: Task) -> None:
    """A known answer that somebody is asked for, what was counted, and somebody whose labels train nothing."""
    gold = Gold(
        project_id=project.id,
        prompt_id=task.prompt_id,
        first_generation_id=task.first_generation_id,
        second_generation_id=task.second_generation_id,
        choice="first",
        source_task_id=task.id,
    )
    session.add(gold)
    session.flush()
    session.add_all(
        [
            Check(project_id=project.id, task_id=task.id, annotator_id=annotator_id, gold_id=gold.id),
            Exclusion(project_id=project.id, user_id=annotator_id),
            JudgesReport(project_id=project.id, label_id=0, counted_at=utc_now(), figures={}),
        ]
    )


def rows_of(session: Session, project_id: int) -> dict[str, int]:
    """How many rows of each table are of this project, found by following the keys from it; tables without any are left out."""
    of_it: dict[str, set[int]] = {"projects": {project_id}}
    reached = True
    while reached:
        reached = False
        for table in Base.metadata.tables.values():
            found = _pointing(session, table, of_it) - of_it.get(table.name, set())
            if found:
                of_it.setdefault(table.name, set()).update(found)
                reached = True
    return {name: len(ids) for name, ids in of_it.items() if name not in STAYS and ids}


def _pointing(session: Session, table: Table, of_it: dict[str, set[int]]) -> set[int]:
    if table.name == "projects":
        return set()
    found: set[int] = set()
    for key in table.foreign_keys:
        if targets := of_it.get(key.column.table.name):
            found |= set(session.scalars(select(table.c.id).where(key.parent.in_(targets))))
    return found


def take_all_out(engine: Engine, data: Path) -> None:
    for _ in range(200):
        if not take_out(engine, data, budget_s=0.2):
            return
    raise AssertionError("it does not come to an end")


def left(engine: Engine, project_id: int) -> dict[str, int]:
    with read_session(engine) as session:
        return rows_of(session, project_id)
