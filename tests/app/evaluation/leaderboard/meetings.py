"""Contenders of a project that met, made directly in rows."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.models import ALONE, Checkpoint, Contender, Drawn, Project, Task
from tests.app import factories
from tests.app.exports.judging import judge
from trainer.contract.messages import Message


def policy(session: Session, project: Project, kl: float, parent: int | None, reference: str = "start") -> Checkpoint:
    """A policy that a PPO run made."""
    result = {"kl_nats_per_answer": kl}
    run = factories.make_run(session, project.id, "ppo", config={"reference": reference}, result=result)
    return factories.make_checkpoint(session, project.id, run_id=run.id, parent_id=parent)


def base_of(session: Session, project: Project) -> Contender:
    assert project.policy_id is not None
    return contender_of(session, session.get_one(Checkpoint, project.policy_id))


def best_of(session: Session, project: Project, policy: Checkpoint, count: int) -> Contender:
    reward = factories.make_checkpoint(session, project.id, kind="reward", name=Message("reward_of_run", number=1))
    return contender_of(session, policy, Drawn(count, reward.id))


def alone(session: Session, policy: Checkpoint) -> Contender:
    return contender_of(session, policy, ALONE)


def meet(
    session: Session,
    project: Project,
    who: int,
    one: Contender,
    other: Contender,
    said: dict[str, int],
    texts: tuple[str, str] = ("A short answer.", "Another answer."),
) -> None:
    """So many verdicts of each kind, `one` standing left, each on a held-out prompt of its own."""
    for choice, count in said.items():
        for _ in range(count):
            prompt = factories.make_prompt(session, project.id, split="holdout")
            answers = [
                factories.bring_in(session, prompt, contender, text)
                if contender.checkpoint_id is None
                else factories.make_generation(session, prompt, contender.checkpoint_id, text, settings=_settings(contender))
                for contender, text in zip((one, other), texts, strict=True)
            ]
            task = Task(
                project_id=project.id,
                prompt_id=prompt.id,
                kind="comparison",
                purpose="evaluation",
                first_generation_id=answers[0].id,
                second_generation_id=answers[1].id,
                served_reason="evaluation",
            )
            session.add(task)
            session.flush()
            judge(session, project, who, task, choice=choice, trains=False, served_reason="evaluation")


def _settings(contender: Contender) -> dict[str, int | None]:
    return {} if contender.best_of == 1 else {"best_of": contender.best_of, "reward": contender.reward_id}
