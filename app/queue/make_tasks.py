"""Turn answers nobody was asked about into tasks, and say when the queue runs low.

Which answer is first and which second, and the order of the tasks themselves, are drawn at random, so that neither a task's
number nor its place tells which model wrote what.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any, Final, Literal

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.orm import Session

from app.assignment.people import for_nobody
from app.models import (
    ChatTurn,
    Checkpoint,
    Drawn,
    Generation,
    Project,
    Prompt,
    RankedAnswer,
    Run,
    Seat,
    Skip,
    Task,
    drawn,
    utc_now,
)
from app.queue.conditions import GIVEN_BACK, for_some_of_us
from app.queue.new_tasks import insert_tasks
from app.queue.pace import lead

Kind = Literal["comparison", "rating", "ranking"]

BATCH: Final = 200  # tasks stored at once; reading their numbers back costs the square of this
ASKED: Final = or_(  # a text seen twice would tell which model wrote it: also where it was read in a talk and nothing chosen
    exists().where(or_(Task.first_generation_id == Generation.id, Task.second_generation_id == Generation.id)),
    exists().where(RankedAnswer.generation_id == Generation.id),
    exists().where(or_(ChatTurn.left_generation_id == Generation.id, ChatTurn.right_generation_id == Generation.id)),
)


@dataclass(slots=True, eq=False)
class Pool:
    """What one prompt has to offer, of answers that were come by alike."""

    prompt_id: int
    fresh: list[tuple[int, str]] = field(default_factory=list)  # (id, text) of the policy in force, asked about nowhere
    previous: list[tuple[int, str]] = field(default_factory=list)  # of the policy before it, asked about nowhere either
    new_alone: bool = True  # whether two answers of the policy in force may meet


@dataclass(frozen=True, slots=True)
class Question:
    prompt_id: int
    answers: tuple[int, ...]  # one is rated, two are compared, more are put in order
    new_alone: bool = False  # several answers of the policy in force, and none of the one before


def plan(session: Session, project: Project, draw: random.Random | None = None) -> list[Question]:
    """Tasks of every answer of the policy in force that was not asked about, in their order. Only reads.

    Only prompts of the train split are asked. An answer left without a partner waits for the next call, and so does one that
    could only meet another of the same policy while the policy before is to answer.
    """
    draw = draw or random.SystemRandom()
    pools = _pools(session, project, new_alone=not previous_is_answering(session, project))
    if not pools:
        return []
    made = session.scalar(select(func.count()).select_from(Task).where(Task.project_id == project.id, Task.purpose == "train"))
    questions = list(_questions(pools, _turns(project, made or 0), project.ranking_answers, draw))
    draw.shuffle(questions)
    questions.sort(key=lambda question: question.new_alone)  # what tells whether the new policy is better comes first
    return questions


def store(session: Session, project: Project, questions: Sequence[Question]) -> int:
    """Make tasks of what was planned, where nobody has asked about an answer since, or put the prompt away; how many.

    The project is held, by who puts prompts away, too.

    Seats are claimed in the order of their places: what the project adds to those puts the tasks before all that waits.
    """
    planned = [answer for question in questions for answer in question.answers]
    asked = set(session.scalars(select(Generation.id).where(Generation.id.in_(planned), ASKED)))
    used = select(Prompt.id).where(Prompt.id.in_({question.prompt_id for question in questions}), Prompt.archived_at.is_(None))
    in_use = set(session.scalars(used))
    new = [question for question in questions if question.prompt_id in in_use and asked.isdisjoint(question.answers)]
    for start in range(0, len(new), BATCH):
        asked_now = [(question.prompt_id, question.answers) for question in new[start : start + BATCH]]
        insert_tasks(session, project, asked_now, ahead=project.questions_place)
    return len(new)


def previous_is_answering(session: Session, project: Project) -> bool:
    """Whether the policy before the one in force writes answers to be asked about, or is to: a run of it waits or works."""
    if project.previous_policy_id is None:
        return False
    runs = select(Run.inputs).where(Run.project_id == project.id, Run.kind == "sample", Run.state.in_(("queued", "running")))
    live = session.scalars(runs).all()
    return any(inputs.get("checkpoint") == project.previous_policy_id and inputs.get("split") != "holdout" for inputs in live)


def prompts_with_unasked_answers(session: Session, checkpoint_id: int) -> set[int]:
    """The prompts to which a policy has written an answer that no task asks about."""
    query = select(Generation.prompt_id).where(Generation.checkpoint_id == checkpoint_id, ~ASKED)
    return set(session.scalars(query.distinct()))


def unasked_answers(session: Session, checkpoint_id: int) -> set[tuple[int, Drawn]]:
    """The same prompts, and how those answers were come by."""
    query = select(Generation.prompt_id, Generation.settings).where(Generation.checkpoint_id == checkpoint_id, ~ASKED)
    return {(prompt_id, drawn(settings)) for prompt_id, settings in session.execute(query)}


def open_task_count(session: Session, project_id: int) -> int:
    """Tasks with at least one free seat."""
    waiting = select(Seat.task_id).where(Seat.project_id == project_id, Seat.state == "free", Seat.reserved_for.is_(None))
    return session.scalar(select(func.count()).select_from(waiting.distinct().subquery())) or 0


def tasks_in_hand(session: Session, project_id: int) -> int:
    """Seats somebody holds right now: tasks that stand on a page as they were when it was loaded."""
    held = select(func.count()).select_from(Seat).where(Seat.project_id == project_id, Seat.state == "leased")
    return session.scalar(held.where(Seat.lease_until > utc_now())) or 0


def refill_needed(session: Session, project: Project) -> bool:
    """Whether fewer tasks are open to everybody than the queue's lead: nobody has sat down at them, nobody skipped them.

    A task that waits for its second person does not count: to the first one it is not open. Nor does an evaluation's: it ends;
    nor one about a prompt that is for nobody: it would stand there, and all others wait.
    """
    wanted = lead(session, project)
    untouched = (
        select(Seat.id)
        .join(Task, Task.id == Seat.task_id)
        .where(Task.purpose != "evaluation")
        .where(Seat.project_id == project.id, Seat.state == "free", Seat.number == 1, Seat.reserved_for.is_(None))
        .where(~exists().where(Skip.task_id == Seat.task_id, Skip.reason != GIVEN_BACK))
        .where(for_some_of_us(for_nobody(session, project)))
        .limit(wanted)
    )
    return len(session.scalars(untouched).all()) < wanted


def _pools(session: Session, project: Project, *, new_alone: bool) -> list[Pool]:
    policy_id = project.policy_id or session.scalar(
        select(func.min(Checkpoint.id)).where(Checkpoint.project_id == project.id, Checkpoint.kind == "policy")
    )
    pools: dict[tuple[int, Drawn], Pool] = {}  # answers that were chosen meet no others: the choice would be compared as well
    for generation_id, prompt_id, text, settings in session.execute(_answers(project.id, policy_id).where(~ASKED)):
        pool = pools.setdefault((prompt_id, drawn(settings)), Pool(prompt_id, new_alone=new_alone))
        pool.fresh.append((generation_id, text))
    if pools and project.previous_policy_id is not None:
        # A text a person has seen before would tell which model wrote it, so an old answer is asked about once as well.
        unasked = session.execute(_answers(project.id, project.previous_policy_id).where(~ASKED))
        for generation_id, prompt_id, text, settings in unasked:
            if (met := pools.get((prompt_id, drawn(settings)))) is not None:
                met.previous.append((generation_id, text))
    return list(pools.values())


def _answers(project_id: int, policy_id: int | None) -> Select[int, int, str, dict[str, Any]]:
    return (
        select(Generation.id, Generation.prompt_id, Generation.text, Generation.settings)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Prompt.project_id == project_id, Prompt.split == "train", Prompt.archived_at.is_(None))
        .where(Generation.checkpoint_id == policy_id)
        .order_by(Generation.id)
    )


def _turns(project: Project, made: int) -> Iterator[Kind]:
    """What the next task is, so that the shares hold over all tasks ever made, not only on average."""
    of_others = min(1.0, project.ranking_share / (1 - project.rating_share)) if project.rating_share < 1 else 0.0
    while True:
        made += 1
        rated = _whole(made * project.rating_share)
        others = made - rated
        if rated > _whole((made - 1) * project.rating_share):
            yield "rating"
        else:
            yield "ranking" if _whole(others * of_others) > _whole((others - 1) * of_others) else "comparison"


def _whole(number: float) -> int:
    return int(number + 1e-9)


def _questions(pools: list[Pool], turns: Iterator[Kind], size: int, draw: random.Random) -> Iterator[Question]:
    """`size`: the answers of a ranking. Where no prompt has so many left, its turn is a comparison's."""
    draw.shuffle(pools)
    for pool in pools:
        draw.shuffle(pool.fresh)
    paired = [pool for pool in pools if _has_pair(pool)]
    single = [pool for pool in pools if not _has_pair(pool)]
    rankable = deque(paired)  # from their other end, so that comparisons leave whole what is to be ranked
    for turn in turns:
        _sort_out(paired, single)
        if turn == "rating":
            source = single or paired
            if not source:
                return
            pool = source[-1]
            generation_id, _ = pool.fresh.pop()
            yield Question(pool.prompt_id, (generation_id,))
            if not pool.fresh:
                source.pop()
        elif turn == "ranking" and (ranking := _next_ranking(rankable, size, draw)) is not None:
            yield ranking
        elif paired:
            yield _comparison(paired[-1], draw)
        else:
            return


def _sort_out(paired: list[Pool], single: list[Pool]) -> None:
    """At the end of the first stands a prompt with a pair, or none; what is left over of others is to be rated."""
    while paired and not _has_pair(paired[-1]):
        pool = paired.pop()
        if pool.fresh:
            single.append(pool)


def _has_pair(pool: Pool) -> bool:
    """Two texts that differ, at least one of them fresh, and both where nothing else can come."""
    texts = {text for _, text in pool.fresh}
    return (pool.new_alone and len(texts) > 1) or any(text not in texts for _, text in pool.previous if texts)


def _comparison(pool: Pool, draw: random.Random) -> Question:
    """Takes both answers, at least one of them fresh, out of the pool. Identical texts are never compared."""
    against_new = [(a, b) for a in pool.fresh for b in pool.fresh if a[0] < b[0] and a[1] != b[1]]
    against_previous = [(a, b) for a in pool.fresh for b in pool.previous if a[1] != b[1]]
    pair = list(draw.choice(against_previous or against_new))
    pool.fresh = [answer for answer in pool.fresh if answer not in pair]
    pool.previous = [answer for answer in pool.previous if answer not in pair]
    draw.shuffle(pair)
    return Question(pool.prompt_id, (pair[0][0], pair[1][0]), new_alone=not against_previous)


def _next_ranking(rankable: deque[Pool], size: int, draw: random.Random) -> Question | None:
    while rankable:
        if (question := _ranking(rankable[0], size, draw)) is not None:
            return question
        rankable.popleft()  # pools only shrink
    return None


def _ranking(pool: Pool, size: int, draw: random.Random) -> Question | None:
    """Takes so many answers out of the pool, no two of them the same, as many of each policy as there are; none where it lacks
    them, has nothing fresh, or could rank the policy in force alone while the one before is to answer.
    """
    both = zip_longest(*(draw.sample(answers, len(answers)) for answers in (pool.fresh, pool.previous)))
    different: dict[str, int] = {}
    for answer in chain.from_iterable(both):
        if answer is not None:
            different.setdefault(answer[1], answer[0])
    picked = list(different.values())[:size]
    old = {generation_id for generation_id, _ in pool.previous}.intersection(picked)
    if not pool.fresh or len(picked) < size or not (old or pool.new_alone):
        return None
    pool.fresh = [answer for answer in pool.fresh if answer[0] not in picked]
    pool.previous = [answer for answer in pool.previous if answer[0] not in picked]
    draw.shuffle(picked)
    return Question(pool.prompt_id, tuple(picked), new_alone=not old)
