"""What a worker does for a project's people: puts checks into the queue, and pauses who misses too many known answers."""

from __future__ import annotations

import random

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.models import Project
from app.quality import asking
from app.quality.gold import pausing


def look_after_people(engine: Engine, project_id: int, draw: random.Random | None = None) -> None:
    """Found while others write; what is to be done is done in a short transaction for each person."""
    draw = draw or random.SystemRandom()
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        people = asking.who_works(session, project) if project.archived_at is None else []
        wanted = [user_id for user_id in people if asking.due(session, project, user_id)]
        missing = pausing.who_misses(session, project, people)
        unused = asking.unused(session, project)
    for user_id in wanted:
        with write_session(engine) as session:
            _ask(session, hold(session, session.get_one(Project, project_id)), user_id, draw)
    for user_id in missing:
        with write_session(engine) as session:
            pausing.pause(session, hold(session, session.get_one(Project, project_id)), user_id)
    if unused:
        with write_session(engine) as session:
            asking.take_out(session, asking.unused(session, hold(session, session.get_one(Project, project_id))))


def _ask(session: Session, project: Project, user_id: int, draw: random.Random) -> None:
    """One check, of the first kind of which there is any."""
    if project.archived_at is not None:
        return
    for kind in asking.due(session, project, user_id):
        asked = asking.question(session, project, user_id, kind, draw)
        if asked is not None:
            asking.put_in(session, project, user_id, asked, draw)
            return
