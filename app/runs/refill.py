"""The queue refills itself: when few tasks are left, the policy answers the prompts it has answered least."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Subquery, func, select
from sqlalchemy.orm import Session

from app.database.taking_turns import hold
from app.models import Generation, Label, Project, Prompt, Run, utc_now
from app.queue import make_tasks
from app.runs.left_out import ids_left_out
from app.runs.runs import LIVE, queue_run

PROMPTS = 64  # answered by one refill, so that the first tasks are there soon
MOST_ANSWERS = 64  # of one policy to one prompt; a model that repeats itself must not be asked for ever
PAUSE = timedelta(minutes=1)  # after a refill nobody has answered since: it may have made no task
LONG_PAUSE = timedelta(minutes=10)  # after one that failed or was cancelled: somebody should look first
FAILURES = 3  # in a row, and no further one is queued until somebody has done something about it


def refill_prompts(session: Session, project: Project) -> list[int]:
    """The prompts to answer now, least answered first; none when the queue is full enough or a sample run is on its way.

    A prompt with which the model can do nothing is not among them: it would stand first for ever, unanswered as it is.
    """
    if project.policy_id is None or not make_tasks.refill_needed(session, project) or _too_early(session, project):
        return []
    if stopped_by(session, project, project.policy_id) is not None:
        return []
    answers = _answers_by_prompt(project.policy_id)
    written = func.coalesce(answers.c.answers, 0)
    return list(
        session.scalars(
            select(Prompt.id)
            .outerjoin(answers, answers.c.prompt_id == Prompt.id)
            .where(Prompt.project_id == project.id)
            .where(Prompt.split == "train")
            .where(Prompt.archived_at.is_(None))
            .where(written < MOST_ANSWERS)
            .where(Prompt.id.not_in(ids_left_out(session, project, project.policy_id)))
            .order_by(written, Prompt.id)
            .limit(PROMPTS)
        )
    )


def queue_refill(session: Session, project: Project) -> Run | None:
    """Queue a sample run, with a seed of its own, when one is needed.

    Once a policy replaced another, the one before answers the same prompts first: as soon as the policy in force has answered,
    the queue mixes the two. Returns the run of the policy in force.
    """
    hold(session, project)
    prompt_ids = refill_prompts(session, project)
    if not prompt_ids:
        return None
    if project.previous_policy_id is not None and stopped_by(session, project, project.previous_policy_id) is None:
        prompt_ids = prompt_ids[: PROMPTS // 2]  # two policies write in the time of one
        done = make_tasks.prompts_with_unasked_answers(session, project.previous_policy_id)
        done = done | ids_left_out(session, project, project.previous_policy_id)
        if missing := [prompt_id for prompt_id in prompt_ids if prompt_id not in done]:
            inputs = {"checkpoint": project.previous_policy_id, "prompt_ids": missing}
            queue_run(session, project, "sample", {}, inputs, None)
    return queue_run(session, project, "sample", {}, {"prompt_ids": prompt_ids}, None)


def queue_beside(session: Session, project: Project, by: int | None) -> Run | None:
    """Let the policy before answer what the new one has answered, where people have seen all that it had written.

    Called at a promotion: the first comparisons are to be of new against previous, and a text is asked about once. None where
    enough of its answers are left, or where it can write none.
    """
    previous = project.previous_policy_id
    if project.policy_id is None or previous is None or project.archived_at is not None:
        return None
    if stopped_by(session, project, previous) is not None:
        return None
    left = make_tasks.prompts_with_unasked_answers(session, previous)
    new = make_tasks.prompts_with_unasked_answers(session, project.policy_id)
    written = _answers_by_prompt(previous)
    alone = (
        select(Prompt.id)
        .outerjoin(written, written.c.prompt_id == Prompt.id)
        .where(Prompt.project_id == project.id, Prompt.split == "train", Prompt.archived_at.is_(None))
        .where(func.coalesce(written.c.answers, 0) < MOST_ANSWERS)
        .where(Prompt.id.not_in(ids_left_out(session, project, previous)))
        .order_by(Prompt.id)
    )
    missing = [prompt_id for prompt_id in session.scalars(alone) if prompt_id in new and prompt_id not in left]
    missing = missing[: max(0, PROMPTS - len(left & new))]
    return queue_run(session, project, "sample", {}, {"checkpoint": previous, "prompt_ids": missing}, by) if missing else None


def _answers_by_prompt(policy_id: int) -> Subquery:
    """How often a policy has answered each prompt; those it never did are not in it."""
    counts = select(Generation.prompt_id, func.count().label("answers")).where(Generation.checkpoint_id == policy_id)
    return counts.group_by(Generation.prompt_id).subquery()


def stopped_by(session: Session, project: Project, policy_id: int | None) -> Run | None:
    """The run after whose failure this policy is asked for no more answers; none while it is.

    So many failures in a row would go on for ever. A run that somebody queues again and that ends well starts it anew, and so
    does another base model or another way of writing answers, for which the failures before tell nothing.
    """
    last = session.scalars(
        select(Run)
        .where(Run.project_id == project.id)
        .where(Run.kind == "sample")
        .where(Run.round_id.is_(None))
        .where(Run.inputs["checkpoint"].as_integer() == policy_id)
        .order_by(Run.id.desc())
        .limit(FAILURES)
    ).all()
    changed = project.sampling_changed_at
    failed = [run for run in last if run.state == "failed" and (changed is None or run.queued_at > changed)]
    return failed[0] if len(failed) == FAILURES else None


def _too_early(session: Session, project: Project) -> bool:
    """A sample run waits or works for this queue, or the last one ended just now and nobody has answered since."""
    if make_tasks.previous_is_answering(session, project):
        return True
    last = session.scalar(
        select(Run)
        .where(Run.project_id == project.id)
        .where(Run.kind == "sample")
        .where(Run.round_id.is_(None))
        .order_by(Run.id.desc())
        .limit(1)
    )
    if last is None or last.inputs.get("checkpoint") != project.policy_id:
        return False
    if last.state in LIVE or last.ended_at is None:
        return True
    if last.state != "done":
        return utc_now() - last.ended_at < LONG_PAUSE
    used = select(Label.id).where(Label.project_id == project.id).where(Label.created_at > last.ended_at).limit(1)
    return session.scalar(used) is None and utc_now() - last.ended_at < PAUSE
