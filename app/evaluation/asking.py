"""Evaluation tasks join the queue at the project's share, so that nobody can tell them from the others.

The queue is mixed a few tasks ahead of the people who work it off. Tasks of training that nobody has met are taken out there and
put back together with those of the evaluation, under new numbers, in random order, at the places they had: neither a task's
number nor its place tells what it is for.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, or_, select, true
from sqlalchemy.orm import Session

from app.assignment.people import for_nobody
from app.evaluation import service
from app.models import (
    NEXT_PLACE,
    Evaluation,
    EvaluationCandidate,
    EvaluationTask,
    Exclusion,
    Label,
    Project,
    Prompt,
    Seat,
    Skip,
    Task,
    utc_now,
)
from app.queue.asking import unmet
from app.queue.claim import IN_ORDER
from app.queue.conditions import GIVEN_BACK, for_some_of_us

AHEAD: Final = 30  # tasks that nobody has begun and that are mixed already; with fewer, more are mixed
AT_ONCE: Final = 20  # tasks of training that are taken out and put back
ALONE: Final = 5  # tasks of the evaluation, where nothing else waits
SHOWN_BESIDE: Final = 2  # one that cannot be promoted is asked about at every so manieth prompt


@dataclass(frozen=True, slots=True)
class Question:
    """One pair of answers that is to be asked about."""

    candidate_id: int  # of evaluation_candidates
    prompt_id: int
    place: int
    pair: int
    answers: tuple[service.Answer, service.Answer]  # the candidate's, the baseline's

    @property
    def predicted(self) -> float | None:
        return win_probability(*(one.score for one in self.answers))


def win_probability(score: float | None, other: float | None) -> float | None:
    """That an answer wins, by a reward model's scores; None where one was not scored. The unit of a score is not a judgement's,
    so this is no probability to be read: what it is worth is learned from the verdicts.
    """
    if score is None or other is None:
        return None
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, score - other))))


def foretell(session: Session, evaluation: Evaluation) -> None:
    """Keep what is foretold of prompts that are never asked about, a share of them for each that is planned, in the order drawn.

    Once, before the first verdict: somebody may ask about an answer elsewhere, or put a prompt away, and what was bet would be
    held against another share ever after.
    """
    behind = evaluation.prompt_ids[evaluation.planned :]
    answers = service.answers_by_contender(session, evaluation, behind)
    for one in service.candidates_of(session, evaluation):
        usual: list[float] = []
        for prompt_id in behind:
            pairs = service.pairs_of(answers, one.contender_id, evaluation.baseline_id, prompt_id, evaluation.pairs)
            told = [win_probability(mine.score, other.score) for mine, other in pairs]
            known = [chance for chance in told if chance is not None]
            if known and len(known) == len(told):
                usual.append(sum(known) / len(known))
        share = max(1, len(usual) // evaluation.planned)
        parts = [usual[place : place + share] for place in range(0, share * evaluation.planned, share)]
        one.foretold = [sum(part) / share for part in parts if len(part) == share]
    session.flush()


def go_on(session: Session, project: Project, evaluation: Evaluation, draw: random.Random | None = None) -> int:
    """Make the next tasks, where few are left that are mixed; how many. The project is held."""
    draw = draw or random.SystemRandom()
    if any(one.foretold is None for one in service.candidates_of(session, evaluation)):
        foretell(session, evaluation)
    if not is_due(session, evaluation):
        return 0
    ahead = _waiting_ahead(session, evaluation)
    trained = _take_out(session, evaluation)
    share = project.evaluation_share
    alone = ALONE if ahead < ALONE else 0  # nothing else waits; what comes next is to find its share
    wanted = len(trained) * share / (1.0 - share) if trained else alone
    most = int(wanted) + (draw.random() < wanted % 1)
    questions = list(_next_questions(session, evaluation, most, draw))
    if most and not questions:  # of all that is left: prompts were put away, or somebody asked about their answers elsewhere
        _ask_no_further(evaluation, _reached(session, evaluation))
    if not questions and not trained:
        return 0
    _put_in(session, project, evaluation, trained, questions, draw)
    return len(questions)


def _ask_no_further(evaluation: Evaluation, reached: int) -> None:
    """So many prompts are all that are planned; those that are never asked about stay."""
    behind = evaluation.prompt_ids[evaluation.planned :] if reached else []
    evaluation.prompt_ids = evaluation.prompt_ids[:reached] + behind
    evaluation.budget = min(evaluation.budget, max(1, reached) * evaluation.overlap * evaluation.pairs)


def given_after_exclusion(label: type[Label]) -> ColumnElement[bool]:
    """Whether its person's labels were withdrawn from training before they gave it: then it says nothing of a candidate either.

    What was given before counts on: a bet is made on what comes, and takes nothing back that it has seen.
    """
    before = Exclusion.created_at < label.created_at
    return exists().where(Exclusion.project_id == label.project_id, Exclusion.user_id == label.annotator_id, before)


def short_of_verdicts(session: Session, evaluation: Evaluation) -> list[int]:
    """Tasks to which somebody said what does not count, and for which nobody else is asked yet."""
    if evaluation.state != "open":
        return []
    mine = select(EvaluationTask.task_id).join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
    idle = exists().where(Label.task_id == EvaluationTask.task_id, Label.current, given_after_exclusion(Label))
    counted = select(func.count()).where(
        Label.task_id == EvaluationTask.task_id, Label.current, ~Label.surplus, ~given_after_exclusion(Label)
    )
    waiting = select(func.count()).where(Seat.task_id == EvaluationTask.task_id, Seat.state != "done")
    missing = counted.scalar_subquery() + waiting.scalar_subquery() < evaluation.overlap
    return list(session.scalars(mine.where(EvaluationCandidate.evaluation_id == evaluation.id, idle, missing)))


def ask_others(session: Session, evaluation: Evaluation) -> None:
    """One further person about each of these. The project is held."""
    for task_id in short_of_verdicts(session, evaluation):
        last = session.scalar(select(func.max(Seat.number)).where(Seat.task_id == task_id)) or 0
        session.add(Seat(project_id=evaluation.project_id, task_id=task_id, number=last + 1))
    session.flush()


def is_due(session: Session, evaluation: Evaluation) -> bool:
    """Whether a look of `go_on` may find something to do."""
    if evaluation.state != "open" or all_asked(session, evaluation):
        return False
    return _waiting_ahead(session, evaluation) < AHEAD


def all_asked(session: Session, evaluation: Evaluation) -> bool:
    """Whether nobody will be asked about a further prompt."""
    return _reached(session, evaluation) >= min(evaluation.planned, len(evaluation.prompt_ids))


def _reached(session: Session, evaluation: Evaluation) -> int:
    """The place behind the last prompt that was asked about."""
    last = (
        select(func.max(EvaluationTask.place))
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .where(EvaluationCandidate.evaluation_id == evaluation.id)
    )
    found = session.scalar(last)
    return 0 if found is None else found + 1


def _behind(evaluation: Evaluation) -> ColumnElement[bool]:
    if evaluation.mixed_place is None:
        return true()
    at = Seat.place == evaluation.mixed_place
    return or_(Seat.place > evaluation.mixed_place, and_(at, Seat.id > evaluation.mixed_seat))


def _waiting_ahead(session: Session, evaluation: Evaluation) -> int:
    """Less those that somebody passed over: all others may have done so, too. And less those that are for nobody."""
    if evaluation.mixed_place is None:
        return 0
    open_ones = (Seat.project_id == evaluation.project_id, Seat.state == "free", Seat.number == 1, Seat.reserved_for.is_(None))
    untouched = ~exists().where(Skip.task_id == Seat.task_id, Skip.reason != GIVEN_BACK)
    wanted = for_some_of_us(for_nobody(session, session.get_one(Project, evaluation.project_id)))
    ahead = select(Seat.id).where(*open_ones, ~_behind(evaluation), untouched, wanted).limit(AHEAD)
    return session.scalar(select(func.count()).select_from(ahead.subquery())) or 0


@dataclass(frozen=True, slots=True)
class _Taken:
    """A task of training that was taken out: its row less its number, and how many seats it had."""

    row: dict[str, Any]
    places: list[int]


_KEPT: Final = tuple(column.key for column in Task.__table__.columns if column.key != "id")


def _take_out(session: Session, evaluation: Evaluation) -> list[_Taken]:
    """The next tasks behind what is mixed that are for training and that nobody has met; the mark moves behind them."""
    next_seats = (
        select(Seat.task_id)
        .where(Seat.project_id == evaluation.project_id, Seat.state == "free", Seat.number == 1, _behind(evaluation))
        .order_by(*IN_ORDER)
        .limit(AT_ONCE)
    )
    task_ids = session.scalars(next_seats).all()
    # Kept first: whoever claims meanwhile passes them over, and whoever was faster is seen here.
    seats = session.execute(
        select(Seat.task_id, Seat.place, Seat.id).where(Seat.task_id.in_(task_ids)).order_by(Seat.id).with_for_update()
    ).all()
    if not seats:
        return []
    evaluation.mixed_place, evaluation.mixed_seat = max((place, seat_id) for _task, place, seat_id in seats)
    tasks = session.scalars(select(Task).where(Task.id.in_(task_ids), Task.purpose == "train", *unmet()).order_by(Task.id)).all()
    taken = [
        _Taken({name: getattr(task, name) for name in _KEPT}, [place for task_id, place, _seat in seats if task_id == task.id])
        for task in tasks
    ]
    ids = [task.id for task in tasks]
    for task in tasks:
        session.expunge(task)
    session.execute(delete(Seat).where(Seat.task_id.in_(ids)).execution_options(synchronize_session=False))
    session.execute(delete(Task).where(Task.id.in_(ids)).execution_options(synchronize_session=False))
    return taken


def _next_questions(session: Session, evaluation: Evaluation, most: int, draw: random.Random) -> Iterator[Question]:
    """About so many, prompt by prompt in their order: of one prompt and candidate all pairs or none."""
    candidates = [one for one in service.candidates_of(session, evaluation) if not (one.standing or {}).get("rejects")]
    reached, end = _reached(session, evaluation), min(evaluation.planned, len(evaluation.prompt_ids))
    count = 0
    while reached < end and count < most:
        asked = evaluation.prompt_ids[reached : min(end, reached + most)]
        in_use = set(session.scalars(select(Prompt.id).where(Prompt.id.in_(asked), Prompt.archived_at.is_(None))))
        answers = service.answers_by_contender(session, evaluation, in_use)
        for place, prompt_id in enumerate(asked, reached):
            if count >= most:
                return
            draw.shuffle(candidates)
            for one in candidates:
                if not one.promotable and place % SHOWN_BESIDE:
                    continue
                pairs = service.pairs_of(answers, one.contender_id, evaluation.baseline_id, prompt_id, evaluation.pairs)
                for pair, both in enumerate(pairs):
                    answers[evaluation.baseline_id, prompt_id].remove(both[1])  # a text is asked about once
                    count += 1
                    yield Question(one.id, prompt_id, place, pair, both)
        reached += len(asked)


def _put_in(
    session: Session,
    project: Project,
    evaluation: Evaluation,
    trained: Sequence[_Taken],
    questions: Sequence[Question],
    draw: random.Random,
) -> None:
    """Both together, in random order, at the places that were freed; behind all where there were none."""
    rows: list[tuple[dict[str, Any], int, Question | None]] = [(one.row, len(one.places), None) for one in trained]
    rows += [(_task(project, question, draw), evaluation.overlap, question) for question in questions]
    draw.shuffle(rows)
    ids = session.scalars(insert(Task).returning(Task.id, sort_by_parameter_order=True), [row for row, _seats, _ in rows]).all()
    freed = sorted(place for one in trained for place in one.places)
    wanted = [(task_id, number) for task_id, (_row, seats, _) in zip(ids, rows, strict=True) for number in range(1, seats + 1)]
    seats = [{"project_id": project.id, "task_id": task_id, "number": number} for task_id, number in wanted]
    if freed:
        for at, seat in enumerate(seats):
            seat["place"] = freed[at * len(freed) // len(seats)]
        made = session.scalars(insert(Seat).returning(Seat.id, sort_by_parameter_order=True), seats).all()
        evaluation.mixed_seat = max(evaluation.mixed_seat, *made)
    else:
        session.connection().execute(insert(Seat).values(place=NEXT_PLACE), seats)
        last = select(Seat.place, Seat.id).where(Seat.task_id.in_(ids)).order_by(Seat.place.desc(), Seat.id.desc()).limit(1)
        evaluation.mixed_place, evaluation.mixed_seat = session.execute(last).one()
    session.add_all(
        EvaluationTask(
            candidate_id=question.candidate_id,
            task_id=task_id,
            prompt_id=question.prompt_id,
            place=question.place,
            pair=question.pair,
            predicted=question.predicted,
        )
        for task_id, (_row, _seats, question) in zip(ids, rows, strict=True)
        if question is not None
    )
    session.flush()


def _task(project: Project, question: Question, draw: random.Random) -> dict[str, Any]:
    first, second = draw.sample([one.id for one in question.answers], 2)
    return {
        "project_id": project.id,
        "prompt_id": question.prompt_id,
        "kind": "comparison",
        "purpose": "evaluation",
        "first_generation_id": first,
        "second_generation_id": second,
        "served_reason": "evaluation",
        "reward_checkpoint_id": None,
        "disputed": False,
        "created_at": utc_now(),
    }
