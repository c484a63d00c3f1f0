"""What people have said so far of each candidate, as the decision takes it: prompt by prompt, in the order of the tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import and_, case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.evaluation import service
from app.evaluation.asking import all_asked, given_after_exclusion
from app.evaluation.decision import Evidence, Unit
from app.models import Evaluation, EvaluationCandidate, EvaluationTask, Generation, Label, Project, Skip, Task
from app.queue.conditions import NOT_SAID

LOOKED_AT: Final = 500  # labels, to tell what is usual
PASSED_OVER: Final = 20  # prompts behind it were answered in full: nobody waits any longer for one that people leave alone


@dataclass(slots=True)
class Asked:
    """One task of an evaluation, and the verdicts on it that are in force."""

    place: int
    predicted: float | None
    wins: list[float] = field(default_factory=list)  # 1 for the candidate, 0 for the baseline, 1/2 for neither
    flags: list[tuple[frozenset[str], frozenset[str]]] = field(default_factory=list)  # on the candidate's, on the baseline's
    people: list[int] = field(default_factory=list)
    passed_over: bool = False  # by somebody, or its verdict was taken back


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of one candidate."""

    evidence: Evidence
    tasks: Sequence[Sequence[Asked]]  # of each unit
    flags_since: Mapping[str, int]  # the place from which on each flag could be set

    def counted(self, units: int) -> dict[str, int]:
        """Of the first so many units, and nothing besides: the verdicts, who gave them, and how they fell."""
        asked = [one for tasks in self.tasks[:units] for one in tasks]
        wins = [win for one in asked for win in one.wins]
        people = {person for one in asked for person in one.people}
        fell = {"won": wins.count(1.0), "lost": wins.count(0.0), "neither": wins.count(0.5)}
        return {"verdicts": len(wins), "people": len(people), **fell}


def stamp(session: Session, evaluation: Evaluation) -> str:
    """Differs whenever a verdict was given, changed or withdrawn, or one counts otherwise, a task passed over, and all asked."""
    counts = case((and_(Label.current, ~given_after_exclusion(Label)), 1), else_=0)
    count, last, in_force = session.execute(
        select(func.count(), func.coalesce(func.max(Label.id), 0), func.coalesce(func.sum(counts), 0))
        .select_from(Label)
        .join(EvaluationTask, EvaluationTask.task_id == Label.task_id)
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .where(EvaluationCandidate.evaluation_id == evaluation.id)
    ).one()
    passed_over = (
        select(func.count())
        .select_from(Skip)
        .join(EvaluationTask, EvaluationTask.task_id == Skip.task_id)
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .where(EvaluationCandidate.evaluation_id == evaluation.id, Skip.reason.not_in(NOT_SAID))
    )
    return f"{count} {last} {in_force} {session.scalar(passed_over)} {int(all_asked(session, evaluation))}"


def gather(session: Session, evaluation: Evaluation) -> dict[int, Said]:
    """By candidate (of evaluation_candidates)."""
    keys = [flag["key"] for flag in session.get_one(Project, evaluation.project_id).flags]
    asked = _asked(session, evaluation)
    ended = all_asked(session, evaluation)
    found = {}
    for one in service.candidates_of(session, evaluation):
        mine = asked.get(one.id, [])
        since = _flags_since(keys, mine, one.standing)
        found[one.id] = said_of(mine, evaluation.overlap, since, (one.foretold or ())[: evaluation.planned], ended)
    return found


def _flags_since(keys: Iterable[str], asked: Sequence[Asked], standing: Mapping[str, Any] | None) -> dict[str, int]:
    """For a flag that came while people judged: the place behind all that somebody had judged when it was first seen here."""
    if standing is None:
        return dict.fromkeys(keys, 0)
    known: Mapping[str, int] = standing.get("flags_since", {})
    behind = 1 + max((one.place for one in asked if one.wins), default=-1)
    return {key: known.get(key, behind) for key in keys}


def said_of(
    asked: Iterable[Asked], overlap: int, flags: Mapping[str, int], unasked: Sequence[float] = (), ended: bool = False
) -> Said:
    """The prompts that were answered in full, in their order, up to the first that was not. `flags`: from which place on each
    could be set.

    One that people leave alone while PASSED_OVER behind it are full is left out, whatever its verdicts would have been. Once
    all has been asked (`ended`) so many may never come: then one is left out where somebody has passed over what it lacks.
    """
    by_place: dict[int, list[Asked]] = defaultdict(list)
    for one in asked:
        by_place[one.place].append(one)
    places = sorted(by_place)
    full = {place for place in places if all(len(one.wins) >= overlap for one in by_place[place])}
    counted, left, complete = [], len(full), ended  # left: full ones from here on
    for place in places:
        if place in full:
            counted.append(by_place[place])
            left -= 1
        elif left < PASSED_OVER and not (ended and _left_alone(by_place[place], overlap)):
            complete = False
            break
    units = [_unit(tasks) for tasks in counted]
    shares = {key: [_share(tasks, key) if tasks[0].place >= since else None for tasks in counted] for key, since in flags.items()}
    return Said(Evidence(units, shares, unasked, complete), counted, flags)


def usual(session: Session, project_id: int) -> tuple[float, tuple[float, ...]]:
    """Of the newest comparisons in force: the share that prefers neither, and for each flag the share of answers that have it."""
    newest = (
        select(Label.choice, Label.flags)
        .where(Label.project_id == project_id, Label.current, Label.choice.is_not(None))
        .order_by(Label.id.desc())
        .limit(LOOKED_AT)
    )
    rows = session.execute(newest).all()
    keys = [flag["key"] for flag in session.get_one(Project, project_id).flags]
    if not rows:
        return 0.0, tuple(0.0 for _ in keys)
    ties = sum(choice not in ("left", "right") for choice, _flags in rows) / len(rows)
    return ties, tuple(
        sum((key in flags.get("left", ())) + (key in flags.get("right", ())) for _choice, flags in rows) / (2 * len(rows))
        for key in keys
    )


def _left_alone(tasks: Sequence[Asked], overlap: int) -> bool:
    return all(one.passed_over for one in tasks if len(one.wins) < overlap)


def _unit(tasks: Sequence[Asked]) -> Unit:
    wins = [win for one in tasks for win in one.wins]
    told = [one.predicted for one in tasks if one.predicted is not None]
    return Unit(sum(wins) / len(wins), sum(told) / len(told) if len(told) == len(tasks) else None)


def _share(tasks: Sequence[Asked], key: str) -> float:
    given = [(key in theirs) - (key in others) for one in tasks for theirs, others in one.flags]
    return sum(given) / len(given)


def _asked(session: Session, evaluation: Evaluation) -> dict[int, list[Asked]]:
    first, taken_back = aliased(Generation), aliased(Label)
    rows = session.execute(
        select(
            *(EvaluationTask.candidate_id, EvaluationTask.task_id, EvaluationTask.place, EvaluationTask.predicted),
            *(EvaluationCandidate.contender_id, first.contender_id, Task.first_generation_id),
            or_(
                exists().where(Skip.task_id == Task.id, Skip.reason.not_in(NOT_SAID)),
                exists().where(taken_back.task_id == Task.id, taken_back.withdrawn),
            ),
            *(Label.choice, Label.left_generation_id, Label.flags, Label.annotator_id),
        )
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .join(Task, Task.id == EvaluationTask.task_id)
        .join(first, first.id == Task.first_generation_id)
        .outerjoin(Label, and_(Label.task_id == Task.id, Label.current, ~Label.surplus, ~given_after_exclusion(Label)))
        .where(EvaluationCandidate.evaluation_id == evaluation.id)
        .order_by(EvaluationTask.candidate_id, EvaluationTask.place, EvaluationTask.pair, Label.id)
    )
    found: dict[int, dict[int, Asked]] = defaultdict(dict)
    for candidate_id, task_id, place, predicted, candidate, writer, first_id, skipped, choice, left_id, flags, person in rows:
        one = found[candidate_id].setdefault(task_id, Asked(place, predicted, passed_over=skipped))
        if choice is None:
            continue
        stands_left = (left_id == first_id) == (writer == candidate)
        one.wins.append(0.5 if choice not in ("left", "right") else float((choice == "left") == stands_left))
        one.flags.append(_flags(flags, stands_left))
        one.people.append(person)
    return {candidate_id: list(tasks.values()) for candidate_id, tasks in found.items()}


def _flags(flags: Mapping[str, Any], stands_left: bool) -> tuple[frozenset[str], frozenset[str]]:
    left, right = frozenset(flags.get("left", ())), frozenset(flags.get("right", ()))
    return (left, right) if stands_left else (right, left)
