"""An evaluation from its plan to its end: who is compared on which prompts, when people can be asked, what is asked no more."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import case, delete, exists, func, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language.languages import _
from app.models import (
    Contender,
    Evaluation,
    EvaluationCandidate,
    EvaluationRest,
    EvaluationTask,
    Generation,
    Project,
    Prompt,
    Round,
    Run,
    Seat,
    Task,
    utc_now,
)
from app.queue.asking import unmet
from app.queue.make_tasks import ASKED
from app.runs.runs import LIVE as LIVE_RUNS
from app.runs.runs import MOST_ANSWERS, WRITES_ANSWERS
from trainer.contract.messages import Message

LIVE: Final = ("answering", "open")
MOST_PAIRS: Final = 4  # of answers to one prompt: more say ever less
UNASKED: Final = 2  # prompts kept for each that may be asked: predictions for the others say what is usual


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whom people are asked to compare. One that cannot be promoted is shown beside."""

    contender: Contender
    promotable: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that nobody was asked about."""

    id: int
    text: str
    score: float | None  # by the round's reward model


def get_evaluation(session: Session, evaluation_id: int) -> Evaluation:
    """Raises NotFound."""
    evaluation = session.get(Evaluation, evaluation_id)
    if evaluation is None:
        raise NotFound(_("There is no such evaluation."))
    return evaluation


def evaluation_of(session: Session, round_: Round) -> Evaluation | None:
    return session.scalar(select(Evaluation).where(Evaluation.round_id == round_.id))


def live_evaluations(session: Session, project_id: int) -> list[Evaluation]:
    """Less those of rounds that have failed: they wait until a run is done again."""
    ended = exists().where(Round.id == Evaluation.round_id, Round.ended_at.is_not(None))
    live = select(Evaluation).where(Evaluation.project_id == project_id, Evaluation.state.in_(LIVE), ~ended)
    return list(session.scalars(live.order_by(Evaluation.id)))


def list_evaluations(session: Session, project_id: int, before: int | None = None, limit: int = 50) -> list[Evaluation]:
    """The newest first; `before` is the id the page before ended with."""
    query = select(Evaluation).where(Evaluation.project_id == project_id)
    if before is not None:
        query = query.where(Evaluation.id < before)
    return list(session.scalars(query.order_by(Evaluation.id.desc()).limit(limit)))


def contenders_compared(session: Session, evaluations: Sequence[Evaluation]) -> dict[int, list[int]]:
    """By evaluation: its candidates that may win, then the baseline."""
    mine = EvaluationCandidate.evaluation_id.in_([one.id for one in evaluations])
    found: dict[int, list[int]] = {one.id: [] for one in evaluations}
    for one in session.scalars(select(EvaluationCandidate).where(mine).order_by(EvaluationCandidate.id)):
        if one.promotable:
            found[one.evaluation_id].append(one.contender_id)
    return {one.id: [*found[one.id], one.baseline_id] for one in evaluations}


def candidates_of(session: Session, evaluation: Evaluation) -> list[EvaluationCandidate]:
    """In the order in which they were named."""
    mine = select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == evaluation.id)
    return list(session.scalars(mine.order_by(EvaluationCandidate.id)))


def begin(
    session: Session,
    project: Project,
    baseline: Contender,
    candidates: Sequence[Candidate],
    *,
    round_: Round | None = None,
    by: int | None = None,
    draw: random.Random | None = None,
) -> Evaluation | None:
    """Plan an evaluation on held-out prompts, in random order; None where there are none. The contenders are to answer now."""
    from app.evaluation.decision import DEFAULT_ERROR  # here: the web process starts without the mathematics

    held_out = select(Prompt.id).where(Prompt.project_id == project.id, Prompt.split == "holdout", Prompt.archived_at.is_(None))
    prompt_ids = list(session.scalars(held_out.order_by(Prompt.id)))
    if not prompt_ids:
        return None
    (draw or random.SystemRandom()).shuffle(prompt_ids)
    pairs = min(MOST_PAIRS, max(1, -(-project.evaluation_budget // (project.overlap * len(prompt_ids)))))
    evaluation = Evaluation(
        project_id=project.id,
        round_id=round_.id if round_ else None,
        baseline_id=baseline.id,
        budget=project.evaluation_budget,
        error=DEFAULT_ERROR,
        flag_margin=project.evaluation_flag_margin,
        overlap=project.overlap,
        pairs=pairs,
        prompt_ids=prompt_ids,
        created_by=by,
    )
    each = evaluation.pairs * max(len(candidates), *(one.contender.best_of for one in candidates))  # drawn by one of its runs
    evaluation.prompt_ids = prompt_ids[: min(UNASKED * evaluation.planned, max(1, MOST_ANSWERS // each))]
    session.add(evaluation)
    session.flush()
    session.add_all(
        EvaluationCandidate(evaluation_id=evaluation.id, contender_id=one.contender.id, promotable=one.promotable)
        for one in candidates
    )
    session.flush()
    return evaluation


def asked_before(session: Session, evaluation: Evaluation) -> Evaluation | None:
    """Another one in which people judge: two at once would share the people and mix the queue by two shares. This one waits."""
    others = select(Evaluation).where(Evaluation.project_id == evaluation.project_id, Evaluation.state == "open")
    return session.scalar(others.where(Evaluation.id != evaluation.id).limit(1))


def still_answering(session: Session, evaluation: Evaluation) -> bool:
    """Whether a run writes answers of one of its contenders, or is to."""
    contenders = {evaluation.baseline_id, *(one.contender_id for one in candidates_of(session, evaluation))}
    theirs = set(session.scalars(select(Contender.checkpoint_id).where(Contender.id.in_(contenders)))) - {None}
    runs = select(Run.inputs).where(Run.project_id == evaluation.project_id, Run.kind.in_(WRITES_ANSWERS))
    live = [inputs for inputs in session.scalars(runs.where(Run.state.in_(LIVE_RUNS))) if "prompt_ids" in inputs]
    return any(inputs.get("checkpoint") in theirs or inputs.get("contender") in contenders for inputs in live)


def open_to_people(session: Session, evaluation: Evaluation) -> bool:
    """Let people be asked, on the prompts that all have answered; False, and nothing changes, where there are none. The project
    is held, and no other evaluation of it is open.

    A candidate that has answered less than half of what another has, because its run failed, is not compared: it would leave
    too few prompts to the others.
    """
    may_win = [one for one in candidates_of(session, evaluation) if one.promotable]
    answers = answers_by_contender(session, evaluation, evaluation.prompt_ids)
    answered = {
        one.id: {
            prompt_id
            for prompt_id in evaluation.prompt_ids
            if pairs_of(answers, one.contender_id, evaluation.baseline_id, prompt_id, 1)
        }
        for one in may_win
    }
    most = max(map(len, answered.values()), default=0)
    compared = {key: prompts for key, prompts in answered.items() if 2 * len(prompts) >= most}
    usable = [prompt_id for prompt_id in evaluation.prompt_ids if all(prompt_id in prompts for prompts in compared.values())]
    if not usable or not most:
        return False
    for one in may_win:
        if one.id not in compared:
            session.delete(one)
    evaluation.prompt_ids = usable
    evaluation.state, evaluation.opened_at = "open", utc_now()
    session.flush()
    return True


def close(session: Session, evaluation: Evaluation, decision: str, winner_id: int | None, reason: Message) -> None:
    """People have decided, or the budget is spent. What nobody has met yet is asked no more."""
    evaluation.state, evaluation.decision, evaluation.winner_id = "decided", decision, winner_id
    evaluation.reason, evaluation.ended_at = reason, utc_now()
    ask_no_more(session, evaluation)


def cancel(session: Session, evaluation: Evaluation) -> None:
    """Somebody decided without it, or its round was cancelled. Labels stay. Twice is once."""
    if evaluation.state in LIVE:
        evaluation.state, evaluation.ended_at = "cancelled", utc_now()
        ask_no_more(session, evaluation)


def end_without_verdicts(session: Session, evaluation: Evaluation) -> None:
    """There was nothing to ask, or nobody answered any of it: no candidate is promoted, and none was turned down."""
    candidates = select(EvaluationCandidate.id).where(EvaluationCandidate.evaluation_id == evaluation.id)
    asked = session.scalar(select(EvaluationTask.id).where(EvaluationTask.candidate_id.in_(candidates)).limit(1)) is not None
    cancel(session, evaluation)
    evaluation.reason = Message("nobody_judged") if asked else Message("nothing_to_compare")


def ask_no_more(session: Session, evaluation: Evaluation) -> None:
    """Take the tasks back that nobody has met. Whoever holds one at this moment keeps it."""
    session.flush()
    mine = (
        select(Task.id)
        .join(EvaluationTask, EvaluationTask.task_id == Task.id)
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .where(EvaluationCandidate.evaluation_id == evaluation.id, *unmet())
    )
    session.execute(delete(EvaluationRest).where(EvaluationRest.evaluation_id == evaluation.id))
    waiting = session.scalars(mine).all()
    # Kept first: whoever claims meanwhile passes them over, and whoever was faster is seen here.
    session.execute(select(Seat.id).where(Seat.task_id.in_(waiting)).order_by(Seat.id).with_for_update()).all()
    untouched = session.scalars(select(Task.id).where(Task.id.in_(waiting), *unmet())).all()
    for statement in (
        delete(EvaluationTask).where(EvaluationTask.task_id.in_(untouched)),
        delete(Seat).where(Seat.task_id.in_(untouched)),
        delete(Task).where(Task.id.in_(untouched)),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def with_leftovers(session: Session) -> list[int]:
    """Evaluations that have ended and of which a task still waits for its first person: its seat was held when they ended, or an
    upgrade ended them.
    """
    found = (
        select(Evaluation.id)
        .join(EvaluationCandidate, EvaluationCandidate.evaluation_id == Evaluation.id)
        .join(EvaluationTask, EvaluationTask.candidate_id == EvaluationCandidate.id)
        .join(Task, Task.id == EvaluationTask.task_id)
        .where(Evaluation.state.not_in(LIVE), *unmet())
    )
    return list(session.scalars(found.distinct().order_by(Evaluation.id)))


Answers = dict[tuple[int, int], list[Answer]]  # by contender and prompt, the newest run's first, as they were drawn


def answers_by_contender(session: Session, evaluation: Evaluation, prompt_ids: Collection[int]) -> Answers:
    """What its contenders wrote to these prompts, less what people were asked about already: a text seen twice would tell.

    Not in the order of ids: short answers end first, so those would put a candidate beside the longest of several.
    """
    contenders = [evaluation.baseline_id, *(one.contender_id for one in candidates_of(session, evaluation))]
    turn = case((Generation.run_id.is_(None), -Generation.number), else_=Generation.number)  # of what was brought in, the newest
    written = (
        select(Generation.contender_id, Generation.prompt_id, Generation.id, Generation.text, Generation.settings)
        .where(Generation.contender_id.in_(contenders), Generation.prompt_id.in_(prompt_ids), ~ASKED)
        .order_by(func.coalesce(Generation.run_id, 0).desc(), turn, Generation.id)
    )
    found: Answers = defaultdict(list)
    for contender_id, prompt_id, generation_id, text, settings in session.execute(written):
        found[contender_id, prompt_id].append(Answer(generation_id, text, settings.get("score")))
    return found


def pairs_of(answers: Answers, candidate_id: int, baseline_id: int, prompt_id: int, most: int) -> list[tuple[Answer, Answer]]:
    """Up to so many pairs of a candidate's answer and the baseline's, no text twice: nobody is asked the same again."""
    theirs, others = list(answers.get((candidate_id, prompt_id), ())), list(answers.get((baseline_id, prompt_id), ()))
    found: list[tuple[Answer, Answer]] = []
    seen: set[str] = set()
    for one in theirs:
        if one.text in seen:
            continue
        other = next((other for other in others if other.text != one.text and other.text not in seen), None)
        if other is not None and len(found) < most:
            seen |= {one.text, other.text}
            found.append((one, other))
    return found
