"""How a talk is led in these tests, without a model: what is said, what two models answer, what is chosen."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.chats import service, turns
from app.chats.turns import Asked, Chosen
from app.database.engine import write_session
from app.labels.verdict import Rewrite, Verdict
from app.models import utc_now
from app.serving.warm_process import Answer
from tests.app.conftest import Cast

Found = TypeVar("Found")


def new_id() -> str:
    return str(uuid.uuid4())


def answer(text: str, *ids: int) -> Answer:
    return Answer(text, "eos", len(ids), list(ids))


class Talk:
    """A talk of Mary's."""

    def __init__(self, engine: Engine, cast: Cast) -> None:
        self.engine, self.cast = engine, cast
        self.id = self._done(lambda session: service.start(session, cast.demo, cast.mary, new_id()).id)

    def say(self, text: str, client_id: str = "") -> Asked:
        return self._done(lambda session: turns.say(session, self.id, self.cast.mary, client_id or new_id(), text))

    def keep(self, asked: Asked, left: str = "Left.", right: str = "Right.") -> None:
        self._done(lambda session: turns.keep(session, asked, (answer(left, 1, 2), answer(right, 3))))

    def choose(self, number: int, choice: str, words: str = "", client_id: str = "", **values: Any) -> Chosen:
        rewrite = Rewrite("left", words) if words else None
        verdict = Verdict(client_id or new_id(), choice=choice, rewrite=rewrite, **values)
        how: dict[str, Any] = {"interface": "chat 1", "now": utc_now()}
        return self._done(lambda session: turns.choose(session, self.id, self.cast.mary, number, verdict, **how))

    def turn(self, text: str, choice: str, words: str = "") -> Chosen:
        asked = self.say(text)
        self.keep(asked, f"{text} Left.", f"{text} Right.")
        return self.choose(asked.number, choice, words)

    def _done(self, deed: Callable[[Session], Found]) -> Found:
        with write_session(self.engine) as session:
            return deed(session)
