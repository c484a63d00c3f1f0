"""Who met whom, and what people said of it: counted once, label by label, so that a page adds what came since and no more.

Counted are comparisons of two contenders on prompts that no training saw, whose answers were drawn: in evaluations and in talks.
What somebody picked by hand (a task of the playground, tasks over the API) is not, for whoever picks may know who wrote what; nor
is what looks after people (gold, repeats), what reviewers settle, or what came too late. A correction takes back what it
supersedes, a withdrawal does nothing else. Labels are counted in the order of their ids, and only once they are a minute old: by
then none with a lower id is still being written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Engine, Select, case, func, not_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from app.database.engine import read_session, write_session
from app.evaluation.leaderboard.ranking import Met
from app.models import Generation, Label, Leaderboard, Project, utc_now

SLICE: Final = 10_000  # ids of labels that are counted at a time
DRAWN: Final = ("evaluation", "chat")  # why a task was made, where nobody picked its answers
BEHIND: Final = 1_000  # ids at least, before what a page counts by itself is kept
AT_MOST: Final = 10_000  # ids that a page counts by itself
SETTLED: Final = timedelta(minutes=1)

Counts = dict[tuple[int, int, int], list[float]]  # (first, second, longer) -> wins, ties, losses; first < second


def met_by(session: Session, project_id: int) -> tuple[list[Met], int]:
    """All that was said so far, and how many ids of labels no page has counted yet: a worker is at them."""
    kept = session.scalar(select(Leaderboard).where(Leaderboard.project_id == project_id))
    counts = _read(kept.counts) if kept else {}
    since = kept.label_id if kept else 0
    last = session.scalar(select(func.max(Label.id))) or 0
    until = min(last, since + AT_MOST)
    _add(counts, _between(session, project_id, since, until))
    met = [Met(first, second, longer, *said) for (first, second, longer), said in sorted(counts.items()) if sum(said)]
    return met, last - until


def keep_counting(engine: Engine, project_id: int, budget_s: float) -> bool:
    """Go on for about so long, where enough came; whether there is more to count."""
    end = time.monotonic() + budget_s
    while _count_slice(engine, project_id):
        if time.monotonic() > end:
            return True
    return False


def _count_slice(engine: Engine, project_id: int) -> bool:
    """Found while others write, kept in one short transaction, unless somebody kept the same meanwhile."""
    with read_session(engine) as session:
        kept = session.scalar(select(Leaderboard).where(Leaderboard.project_id == project_id))
        since, counts = (kept.label_id, _read(kept.counts)) if kept else (0, {})
        until = _settled(session, since)
        if until - since < BEHIND:
            return False
        _add(counts, _between(session, project_id, since, until))
    try:
        with write_session(engine) as session:
            if session.get_one(Project, project_id).deleted_at is not None:
                return False
            if kept is None:
                session.add(Leaderboard(project_id=project_id, label_id=until, counts=_written(counts)))
            else:
                mine = update(Leaderboard).where(Leaderboard.project_id == project_id, Leaderboard.label_id == since)
                session.execute(mine.values(label_id=until, counts=_written(counts)))
    except IntegrityError:  # another worker made the row
        return False
    return True


def _settled(session: Session, since: int) -> int:
    """The end of the next slice."""
    until = min(session.scalar(select(func.max(Label.id))) or 0, since + SLICE)
    among = select(func.min(Label.id)).where(Label.id > since, Label.id <= until)
    young = session.scalar(among.where(Label.created_at > utc_now() - SETTLED))
    return until if young is None else young - 1


def _between(session: Session, project_id: int, since: int, until: int) -> Counts:
    """What labels with ids from there on, up to there, add and take back."""
    earlier = aliased(Label)
    came = (Label.project_id == project_id, Label.id > since, Label.id <= until)
    found = _rows(session, _said(Label).where(*came, not_(Label.withdrawn)))
    taken_back = _said(earlier).join(Label, Label.supersedes_id == earlier.id).where(*came, not_(earlier.withdrawn))
    _add(found, _rows(session, taken_back), sign=-1)
    return found


def _said(label: type[Label]) -> Select[Any]:
    left, right = aliased(Generation), aliased(Generation)
    longer = case(
        (4 * func.length(left.text) > 5 * func.length(right.text), 1),
        (4 * func.length(right.text) > 5 * func.length(left.text), -1),
        else_=0,
    )
    by = (left.contender_id, right.contender_id, longer, label.choice)
    return (
        select(*by, func.count())
        .select_from(label)
        .join(left, left.id == label.left_generation_id)
        .join(right, right.id == label.right_generation_id)
        .where(label.kind == "comparison", not_(label.trains), not_(label.surplus))
        .where(label.served_reason.in_(DRAWN))
        .where(left.contender_id != right.contender_id)
        .group_by(*by)
    )


def _rows(session: Session, query: Select[Any]) -> Counts:
    found: Counts = {}
    for left, right, longer, choice, count in session.execute(query):
        said = {"left": 0, "right": 2}.get(choice, 1)
        key, place = ((left, right, longer), said) if left < right else ((right, left, -longer), 2 - said)
        found.setdefault(key, [0.0, 0.0, 0.0])[place] += count
    return found


def _add(counts: Counts, more: Counts, sign: int = 1) -> None:
    for key, said in more.items():
        here = counts.setdefault(key, [0.0, 0.0, 0.0])
        for place, count in enumerate(said):
            here[place] += sign * count


def _read(kept: dict[str, Any]) -> Counts:
    return {_numbers(key): [float(count) for count in said] for key, said in kept.items()}


def _numbers(key: str) -> tuple[int, int, int]:
    first, second, longer = (int(part) for part in key.split())
    return first, second, longer


def _written(counts: Counts) -> dict[str, list[float]]:
    return {" ".join(str(part) for part in key): said for key, said in counts.items() if any(said)}


def contenders_in(met: Iterable[Met]) -> set[int]:
    return {one for pair in met for one in (pair.first, pair.second)}
