"""The blind evaluation of a round's candidates: begun once they are trained, and opened to people once all have answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.evaluation import service
from app.models import Checkpoint, Contender, Drawn, Evaluation, Project, Round, Run
from app.runs.checkpoints import current_policy, get_checkpoint, root_of
from app.runs.runs import queue_run

BEST_OF: Final = 4  # of the policy in force, under the round's reward: what a candidate has to beat to have been worth training


def begin(session: Session, round_: Round, candidates: Sequence[Checkpoint]) -> Evaluation | None:
    """Plan the evaluation and have its contenders answer; none where the project wants none, or holds no prompt out."""
    project = session.get_one(Project, round_.project_id)
    if not project.evaluation_on or service.evaluation_of(session, round_) is not None:
        return service.evaluation_of(session, round_)
    current = current_policy(session, project)
    asked = [service.Candidate(contender_of(session, one)) for one in candidates]
    chosen = _best_of(session, round_, current)
    if chosen is not None:
        asked.append(service.Candidate(chosen, promotable=False))
    evaluation = service.begin(session, project, contender_of(session, current), asked, round_=round_)
    if evaluation is None:
        return None
    sampled = round_.config["sample"]
    settings = {name: value for name, value in sampled.items() if name != "seed"}  # with which the same answers come again
    more = evaluation.pairs - int(sampled["per_prompt"])
    wanted: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
        (current.id, {}, {"per_prompt": min(64, evaluation.pairs * len(asked))}),
        *((one.id, {}, {"per_prompt": more}) for one in candidates if more > 0),
    ]
    if chosen is not None:
        wanted.append((current.id, {"reward": chosen.reward_id}, {"per_prompt": evaluation.pairs, "best_of": BEST_OF}))
    for checkpoint_id, inputs, config in wanted:
        scored = {} if "reward" in inputs else scored_by(session, round_, current)
        inputs = {"checkpoint": checkpoint_id, "split": "holdout", "prompt_ids": evaluation.prompt_ids, **inputs, **scored}
        queue_run(session, project, "sample", settings | config, inputs, round_.created_by, round_)
    return evaluation


def scored_by(session: Session, round_: Round, policy: Checkpoint) -> dict[str, int]:
    """The input by which a run's answers are scored by the round's reward model: what it says of them foretells verdicts."""
    reward = get_checkpoint(session, round_.reward_id) if round_.reward_id is not None else None
    return {"scored_by": reward.id} if reward is not None and reward.parent_id == root_of(session, policy).id else {}


def _best_of(session: Session, round_: Round, policy: Checkpoint) -> Contender | None:
    reward = get_checkpoint(session, round_.reward_id) if round_.reward_id is not None else None
    if reward is None or reward.parent_id != root_of(session, policy).id:
        return None
    return contender_of(session, policy, Drawn(BEST_OF, reward.id))


def is_beside(run: Run) -> bool:
    """Whether a sample run only writes what a round's candidates are seen beside: when it fails it takes no round with it."""
    return run.kind == "sample" and int(run.config.get("best_of", 1)) > 1


def open_or_decide(session: Session, round_: Round) -> None:
    """All have answered: people are asked, or whoever decides where there is nothing to ask."""
    evaluation = service.evaluation_of(session, round_)
    if evaluation is not None and evaluation.state == "answering":
        if service.asked_before(session, evaluation) is not None:
            return  # the next look finds the round as it is, and asks again
        if service.open_to_people(session, evaluation):
            round_.state = "evaluation"
            return
        service.end_without_verdicts(session, evaluation)
    round_.state = "decision"


def cancel(session: Session, round_: Round) -> None:
    """The round ends without it."""
    if (evaluation := service.evaluation_of(session, round_)) is not None:
        service.cancel(session, evaluation)
