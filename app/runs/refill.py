"""The queue refills itself: when few tasks are left, the policy answers the prompts it has answered least."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Subquery, func, or_, select
from sqlalchemy.orm import Session

from app.assignment.people import for_nobody
from app.database.taking_turns import hold
from app.models import ALONE, Checkpoint, Generation, Label, Project, Prompt, Run, utc_now
from app.queue import make_tasks
from app.queue.pace import prompts_at_once
from app.runs.checkpoints import get_checkpoint
from app.runs.left_out import ids_left_out
from app.runs.run_settings import drawn_next
from app.runs.runs import LIVE, queue_run

PROMPTS = 64  # answered by one refill, so that the first tasks are there soon; more where people answer faster
MOST_ANSWERS = 64  # of one policy to one prompt; a model that repeats itself must not be asked for ever
PAUSE = timedelta(minutes=1)  # after a refill nobody has answered since: it may have made no task
LONG_PAUSE = timedelta(minutes=10)  # after one that failed or was cancelled: somebody should look first
FAILURES = 3  # in a row, and no further one is queued until somebody has done something about it


def refill_prompts(session: Session, project: Project) -> list[int]:
    """The prompts to answer now, least answered first; none when the queue is full enough or a sample run is on its way.

    A prompt with which the model can do nothing is not among them: it would stand first for ever, unanswered as it is. Nor is
    one that is for nobody here.
    """
    if project.policy_id is None or not _wanted(session, project):
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
            .where(or_(Prompt.audience.is_(None), Prompt.audience.not_in(for_nobody(session, project))))
            .where(Prompt.id.not_in(ids_left_out(session, project, project.policy_id)))
            .order_by(written, Prompt.id)
            .limit(prompts_at_once(session, project, PROMPTS))
        )
    )


@dataclass(frozen=True, slots=True)
class Refill:
    """What is to be written, drawn up while others write: each part looks at every answer there is."""

    policy_id: int | None
    prompt_ids: list[int]  # for the policy in force
    beside: list[int]  # for the one before it, first


def plan_refill(session: Session, project: Project) -> Refill | None:
    """The sample runs that are needed; none where nothing is.

    Once a policy replaced another, the one before answers the same prompts first: as soon as the policy in force has answered,
    the queue mixes the two.
    """
    prompt_ids, beside = refill_prompts(session, project), []
    if not prompt_ids:
        return None
    if project.previous_policy_id is not None and stopped_by(session, project, project.previous_policy_id) is None:
        prompt_ids = prompt_ids[: prompts_at_once(session, project, PROMPTS) // 2]  # two policies write in the time of one
        come_by = drawn_next(session, project, get_checkpoint(session, project.previous_policy_id))
        unasked = make_tasks.unasked_answers(session, project.previous_policy_id)
        done = {prompt_id for prompt_id, how in unasked if how == come_by}
        done = done | ids_left_out(session, project, project.previous_policy_id)
        beside = [prompt_id for prompt_id in prompt_ids if prompt_id not in done]
    return Refill(project.policy_id, prompt_ids, beside)


def queue_refill(session: Session, project: Project, planned: Refill) -> Run | None:
    """Queue the runs, with seeds of their own, unless somebody was faster. Returns the run of the policy in force."""
    hold(session, project)
    if project.policy_id != planned.policy_id or not _wanted(session, project):
        return None
    if planned.beside:
        inputs = {"checkpoint": project.previous_policy_id, "prompt_ids": planned.beside}
        queue_run(session, project, "sample", {}, inputs, None)
    return queue_run(session, project, "sample", {}, {"prompt_ids": planned.prompt_ids}, None)


def _wanted(session: Session, project: Project) -> bool:
    """Whether the queue is low and nothing that would fill it is on its way."""
    if project.policy_id is None or not make_tasks.refill_needed(session, project) or _too_early(session, project):
        return False
    return stopped_by(session, project, project.policy_id) is None


def prompts_beside(session: Session, project: Project) -> list[int]:
    """What the policy before is to answer because the new one has, where people have seen all that it had written.

    For a promotion: the first comparisons are to be of new against previous, and a text is asked about once. Nothing where
    enough of its answers are left, or where it can write none. Of answers as they were drawn, as a round's candidate wrote them.
    """
    previous = project.previous_policy_id
    if project.policy_id is None or previous is None or not _may_write_beside(session, project):
        return []
    left, new = (
        {prompt_id for prompt_id, how in make_tasks.unasked_answers(session, policy_id) if how == ALONE}
        for policy_id in (previous, project.policy_id)
    )
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
    return missing[: max(0, PROMPTS - len(left & new))]


def queue_beside(session: Session, project: Project, prompt_ids: list[int]) -> Run | None:
    """Let the policy before answer these prompts, for whoever promoted the new one; none where somebody was faster."""
    hold(session, project)
    if project.policy_id is None or not _may_write_beside(session, project):
        return None
    by = session.get_one(Checkpoint, project.policy_id).promoted_by
    inputs = {"checkpoint": project.previous_policy_id, "prompt_ids": prompt_ids}
    return queue_run(session, project, "sample", {"best_of": 1}, inputs, by)


def _may_write_beside(session: Session, project: Project) -> bool:
    if project.archived_at is not None or make_tasks.previous_is_answering(session, project):
        return False
    return stopped_by(session, project, project.previous_policy_id) is None


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
    if utc_now() - last.ended_at >= PAUSE:
        return False
    newest = select(Label.created_at).where(Label.project_id == project.id, Label.current.is_(True)).order_by(Label.id.desc())
    answered_at = session.scalar(newest.limit(1))  # one row at the end of an index
    return answered_at is None or answered_at <= last.ended_at
