"""Checkpoints and their lineage: what a model grew out of. Promotion is in app/rounds/promotion.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from app.database.taking_turns import hold
from app.errors import Conflict, NotFound
from app.language.languages import _
from app.models import Checkpoint, Contender, Evaluation, EvaluationCandidate, Generation, Project, Prompt, Round, Run
from trainer.contract.messages import Message


class Fell(NamedTuple):
    """Mean scores of a policy's answers before and after its training, no higher after.

    `held_out`: of answers to the same held-out prompts, `before` being 0; else of those it was trained on, each time others.
    `judged`: of the latter, by the judge, a more cautious estimate than what training sought; else by what it sought.
    """

    before: float
    after: float
    judged: bool
    held_out: bool = False


def get_checkpoint(session: Session, checkpoint_id: int) -> Checkpoint:
    """Raises NotFound."""
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise NotFound(_("There is no such checkpoint."))
    return checkpoint


def require_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint. Raises Conflict where its weights were folded away."""
    if checkpoint.pruned_at is not None:
        raise Conflict(Message("weights_pruned", number=checkpoint.id))
    return checkpoint


def list_checkpoints(session: Session, project_id: int, before: int | None = None, limit: int = 50) -> list[Checkpoint]:
    """The newest first; `before` is the id the page before ended with."""
    query = select(Checkpoint).where(Checkpoint.project_id == project_id)
    if before is not None:
        query = query.where(Checkpoint.id < before)
    return list(session.scalars(query.order_by(Checkpoint.id.desc()).limit(limit)))


def base_checkpoint(session: Session, project: Project) -> Checkpoint:
    """The project's base model as a policy checkpoint: no parent, no run. Made when it is asked for the first time."""
    base = session.scalar(
        select(Checkpoint)
        .where(Checkpoint.project_id == project.id)
        .where(Checkpoint.kind == "policy")
        .where(Checkpoint.parent_id.is_(None))
        .where(Checkpoint.run_id.is_(None))
        .where(Checkpoint.source == project.base_model)
        .order_by(Checkpoint.id)
        .limit(1)
    )
    if base is None:
        base = Checkpoint(project_id=project.id, kind="policy", name=Message("base_model"), source=project.base_model)
        session.add(base)
        session.flush()
    return base


def current_policy(session: Session, project: Project) -> Checkpoint:
    """The promoted policy, which is the base model until somebody promotes another."""
    if project.policy_id is None and hold(session, project).policy_id is None:
        project.policy_id = base_checkpoint(session, project).id
        session.flush()
    assert project.policy_id is not None
    return get_checkpoint(session, project.policy_id)


def starting_policies(session: Session, project: Project, limit: int = 25) -> list[Checkpoint]:
    """The policies a round can start from: the promoted one, then the newest that grew out of the same base. Changes nothing."""
    if project.policy_id is None:  # nobody has asked for the base model yet
        return []
    current = get_checkpoint(session, project.policy_id)
    root = root_of(session, current).id
    newest = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.project_id == project.id)
        .where(Checkpoint.kind == "policy")
        .where(Checkpoint.id != current.id)
        .where(Checkpoint.pruned_at.is_(None))
        .order_by(Checkpoint.id.desc())
        .limit(limit)
    )
    return [current, *(policy for policy in newest if root_of(session, policy).id == root)]


def root_of(session: Session, checkpoint: Checkpoint) -> Checkpoint:
    """Where the lineage of a policy begins: the model whose frozen states serve as reference and as features."""
    while checkpoint.parent_id is not None:
        checkpoint = get_checkpoint(session, checkpoint.parent_id)
    return checkpoint


def lineage(session: Session, checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoint and its ancestors, the youngest first."""
    line = [checkpoint]
    while line[-1].parent_id is not None:
        line.append(get_checkpoint(session, line[-1].parent_id))
    return line


def made_by(session: Session, run_id: int) -> Checkpoint | None:
    """What a run left behind."""
    return session.scalar(select(Checkpoint).where(Checkpoint.run_id == run_id))


def made_by_runs(session: Session, run_ids: list[int]) -> dict[int, int]:
    """Checkpoint ids by run id."""
    rows = session.execute(select(Checkpoint.run_id, Checkpoint.id).where(Checkpoint.run_id.in_(run_ids)))
    return {run_id: checkpoint_id for run_id, checkpoint_id in rows if run_id is not None}


def policies_of_round(session: Session, round_id: int) -> list[Checkpoint]:
    """Its candidates, one for each method that left something, in the order in which they were to be trained."""
    made = select(Checkpoint).join(Run, Run.id == Checkpoint.run_id).where(Run.round_id == round_id, Checkpoint.kind == "policy")
    return list(session.scalars(made.order_by(Run.id)))


def newest_reward(session: Session, project_id: int, base_id: int | None = None, *, passed: bool = False) -> Checkpoint | None:
    """The reward model fitted last; with `base_id` the last on that base, with `passed` the last that beat guessing."""
    rewards = select(Checkpoint).where(Checkpoint.project_id == project_id, Checkpoint.kind == "reward")
    if base_id is not None:
        rewards = rewards.where(Checkpoint.parent_id == base_id)
    if passed:
        rewards = rewards.where(Checkpoint.metrics["gate_passed"].as_boolean().is_(True))
    return session.scalar(rewards.order_by(Checkpoint.id.desc()).limit(1))


def children_of(session: Session, checkpoint: Checkpoint, limit: int = 50) -> list[Checkpoint]:
    """What was made from this checkpoint, the oldest first."""
    children = select(Checkpoint).where(Checkpoint.parent_id == checkpoint.id)
    return list(session.scalars(children.order_by(Checkpoint.id).limit(limit)))


def checkpoints_by_id(session: Session, ids: Iterable[int | None]) -> dict[int, Checkpoint]:
    wanted = {checkpoint_id for checkpoint_id in ids if checkpoint_id is not None}
    found = select(Checkpoint).where(Checkpoint.id.in_(wanted))
    return {checkpoint.id: checkpoint for checkpoint in session.scalars(found)} if wanted else {}


def list_generations(
    session: Session,
    project_id: int,
    *,
    checkpoint_id: int | None = None,
    split: str | None = None,
    run_id: int | None = None,
    blind: bool = False,
    after: int = 0,
    limit: int = 50,
) -> list[tuple[Generation, Prompt]]:
    """Answers and the prompts they answer, in the order in which they came; `after` is the id the page before ended with.

    `blind`: less those to prompts that people are asked to judge blind.
    """
    query = (
        select(Generation, Prompt)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Prompt.project_id == project_id)
        .where(Generation.id > after)
    )
    if checkpoint_id is not None:
        query = query.where(Generation.checkpoint_id == checkpoint_id)
    if run_id is not None:
        query = query.where(Generation.run_id == run_id)
    if split is not None:
        query = query.where(Prompt.split == split)
    if blind:
        query = query.where(Prompt.id.not_in(prompts_judged_now(session, project_id)))
    return [(generation, prompt) for generation, prompt in session.execute(query.order_by(Generation.id).limit(limit))]


def answers_shown(session: Session, run_id: int, *, split: str, limit: int) -> list[tuple[Generation, Prompt]]:
    """A run's first answer to each of the first prompts, then the second. Those that came first would be its shortest.

    Less those to prompts that people are asked to judge blind: whoever looks may be asked, too.
    """
    project_id = session.get_one(Run, run_id).project_id
    query = (
        select(Generation, Prompt)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.run_id == run_id, Prompt.split == split)
        .where(Prompt.id.not_in(prompts_judged_now(session, project_id)))
        .order_by(Generation.number, Prompt.id)
    )
    return [(generation, prompt) for generation, prompt in session.execute(query.limit(limit))]


def prompts_judged_now(session: Session, project_id: int) -> set[int]:
    """Those of evaluations that go on; not of rounds that failed, which wait until a run is done again."""
    failed = exists().where(Round.id == Evaluation.round_id, Round.ended_at.is_not(None))
    live = select(Evaluation.prompt_ids).where(
        Evaluation.project_id == project_id, Evaluation.state.in_(("answering", "open")), ~failed
    )
    return {prompt_id for prompt_ids in session.scalars(live) for prompt_id in prompt_ids}


def score_of(session: Session, checkpoint: Checkpoint) -> tuple[float, float] | None:
    """The reward model's mean score of a policy's answers before and after its PPO run, by what training sought."""
    run = session.get(Run, checkpoint.run_id) if checkpoint.run_id else None
    if run is None or run.kind != "ppo":
        return None
    before, after = run.result.get("score_before"), run.result.get("score")
    return (float(before), float(after)) if isinstance(before, int | float) and isinstance(after, int | float) else None


def did_not_rise(session: Session, checkpoint: Checkpoint) -> Fell | None:
    """What its PPO run says against a policy; none where its answers scored higher in the end, or nobody measured them.

    The gain on held-out prompts has the word where it was measured: it alone compares answers to the same prompts. Then the
    judge: training sought what the reward model likes, so that one's score rises first.
    """
    run = session.get(Run, checkpoint.run_id) if checkpoint.run_id else None
    if run is None or run.kind != "ppo":
        return None
    gain = run.result.get("heldout_gain")
    if isinstance(gain, int | float):
        return Fell(0.0, float(gain), judged=False, held_out=True) if gain <= 0 else None
    for name in ("judged", "score"):
        before, after = run.result.get(f"{name}_before"), run.result.get(name)
        if isinstance(before, int | float) and isinstance(after, int | float):
            return Fell(float(before), float(after), name == "judged") if after <= before else None
    return None


def doubt(session: Session, checkpoint: Checkpoint) -> Fell | None:
    """What is asked about once more before a policy is promoted for the first time."""
    return did_not_rise(session, checkpoint) if checkpoint.promoted_at is None else None


def turned_down(session: Session, checkpoint: Checkpoint) -> EvaluationCandidate | None:
    """Where a policy stood when people turned it down, if that still stands: who promotes it all the same says why.

    What counts is that it was compared with a policy that it was to replace: in a round, or outside of rounds with the one that
    is in force now. What it lost to a model outside, to answers brought in or to some other policy says nothing of that. And it
    stands until people prefer it, later, to the very contender that it had lost to: otherwise a win over something weak, which
    anybody may set up, would undo it, and so would going back to a weak policy first. Where nobody was asked about it, though
    about others, nobody turned it down.
    """
    in_force = select(Project.policy_id).where(Project.id == checkpoint.project_id).scalar_subquery()
    present = select(Contender.id).where(Contender.kind == "policy", Contender.checkpoint_id == in_force)
    stood = session.execute(
        select(
            EvaluationCandidate,
            Evaluation.baseline_id,
            or_(Evaluation.round_id.is_not(None), Evaluation.baseline_id.in_(present)),
        )
        .join(Contender, Contender.id == EvaluationCandidate.contender_id)
        .join(Evaluation, Evaluation.id == EvaluationCandidate.evaluation_id)
        .where(Contender.checkpoint_id == checkpoint.id, Contender.best_of == 1, EvaluationCandidate.promotable)
        .order_by(Evaluation.ended_at.desc().nulls_first(), EvaluationCandidate.id.desc())
    )
    beaten: set[int] = set()  # contenders to which people have preferred it since
    for candidate, baseline_id, was_to_replace in stood:
        standing = candidate.standing or {"promotes": False, "rejects": False, "units": 0}
        if standing["promotes"]:
            beaten.add(baseline_id)
        elif standing["rejects"] and standing["units"] and was_to_replace and baseline_id not in beaten:
            return candidate
    return None


def not_shown(refused: EvaluationCandidate) -> bool:
    """Whether it was turned down because the budget was spent, with nothing shown either way."""
    return bool((refused.standing or {}).get("spent"))
