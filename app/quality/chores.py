"""What a worker does for a project's people: puts checks into the queue, and pauses who misses too many known answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.models import Project
from app.quality import asking
from app.quality.gold import pausing

Deed = Callable[[Session, Project], None]


def look_after_people(engine: Engine, project_id: int, draw: random.Random | None = None) -> None:
    """Found while others write; what is to be done is done in a short transaction for each person, whatever fails for another.

    Raises what failed, once all the rest is done.
    """
    with read_session(engine) as session:
        deeds = list(_found(session, session.get_one(Project, project_id), draw or random.SystemRandom()))
    failed = []
    for deed in deeds:
        try:
            with write_session(engine) as session:
                deed(session, hold(session, session.get_one(Project, project_id)))
        except Exception as error:
            failed.append(error)
    if failed:
        raise failed[0] if len(failed) == 1 else ExceptionGroup("looking after people", failed)


def _found(session: Session, project: Project, draw: random.Random) -> Iterator[Deed]:
    asks, pauses = max(project.gold_share, project.repeat_share) > 0, project.gold_pauses
    people = asking.who_works(session, project) if (asks or pauses) and project.archived_at is None else []
    for user_id in people:
        if asking.next_question(session, project, user_id, draw) is not None:
            yield partial(_ask, user_id=user_id, draw=draw)
    for user_id in pausing.who_misses(session, project, people):
        yield partial(pausing.pause, user_id=user_id)
    if asking.unused(session, project):
        yield _take_out


def _ask(session: Session, project: Project, user_id: int, draw: random.Random) -> None:
    if project.archived_at is not None:
        return
    asked = asking.next_question(session, project, user_id, draw)
    if asked is not None:
        asking.put_in(session, project, user_id, asked, draw)


def _take_out(session: Session, project: Project) -> None:
    asking.take_out(session, asking.unused(session, project))
