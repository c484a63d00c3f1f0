"""Talks: beginning one, one's own, and a talk as its person sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session, aliased

from app.errors import Conflict, NotFound
from app.language.languages import _
from app.models import Chat, ChatTurn, Generation, Label, Project
from app.projects.service import hold_open

State = Literal["asked", "answered", "done"]


@dataclass(frozen=True, slots=True)
class Continuation:
    """One of two answers, as people may see it: nothing here tells which model wrote it."""

    text: str
    cut: bool  # the length limit ended it


@dataclass(frozen=True, slots=True)
class TurnShown:
    number: int
    client_id: str
    said: str
    state: State
    left: Continuation | None
    right: Continuation | None
    choice: str | None  # of the verdict in force
    reply: str | None


@dataclass(frozen=True, slots=True)
class Opening:
    """A talk in a list: how it began, and how far it went."""

    id: int
    begun_at: datetime
    said: str
    turns: int


def require_on(project: Project) -> None:
    """Raises Conflict where nobody may talk to the policy."""
    if not project.chat_on:
        raise Conflict(_("Talking to the model is switched off in this project. An admin switches it on in its settings."))


def start(session: Session, project_id: int, annotator_id: int, client_id: str) -> Chat:
    """A new talk; the one that was begun under this `client_id` before. Raises Conflict where somebody else used it."""
    project = hold_open(session, project_id)
    require_on(project)
    known = session.scalar(select(Chat).where(Chat.client_id == client_id))
    if known is not None:
        if (known.project_id, known.annotator_id) != (project_id, annotator_id):
            raise Conflict(_("Another talk was begun under this client_id. Begin this one under a new one."))
        return known
    chat = Chat(project_id=project_id, annotator_id=annotator_id, client_id=client_id)
    session.add(chat)
    session.flush()
    return chat


def own_chat(session: Session, chat_id: int, annotator_id: int) -> Chat:
    """Raises NotFound, also for somebody else's: what was said there is theirs until they have judged it."""
    chat = session.get(Chat, chat_id)
    if chat is None or chat.annotator_id != annotator_id:
        raise NotFound(_("There is no such talk of yours."))
    return chat


def list_own(
    session: Session, project_id: int, annotator_id: int, *, before: int | None = None, limit: int = 50
) -> list[Opening]:
    """The newest first; `before` is the id the page before ended with. Talks in which nothing was said yet are left out."""
    first, turns = aliased(ChatTurn), aliased(ChatTurn)
    count = select(func.count()).where(turns.chat_id == Chat.id).scalar_subquery()
    mine = (
        select(Chat.id, Chat.created_at, first.said, count)
        .join(first, and_(first.chat_id == Chat.id, first.number == 1))
        .where(Chat.project_id == project_id, Chat.annotator_id == annotator_id)
    )
    if before is not None:
        mine = mine.where(Chat.id < before)
    return [Opening(*row) for row in session.execute(mine.order_by(Chat.id.desc()).limit(limit))]


def turns_of(session: Session, chat: Chat) -> list[TurnShown]:
    """In their order."""
    left, right = aliased(Generation), aliased(Generation)
    rows = session.execute(
        select(ChatTurn, left, right, Label.choice)
        .outerjoin(left, left.id == ChatTurn.left_generation_id)
        .outerjoin(right, right.id == ChatTurn.right_generation_id)
        .outerjoin(Label, _in_force(chat))
        .where(ChatTurn.chat_id == chat.id)
        .order_by(ChatTurn.number)
    )
    return [
        TurnShown(turn.number, turn.client_id, turn.said, _state(turn), _shown(left), _shown(right), choice, turn.reply)
        for turn, left, right, choice in rows
    ]


def _in_force(chat: Chat) -> ColumnElement[bool]:
    return and_(Label.task_id == ChatTurn.task_id, Label.annotator_id == chat.annotator_id, Label.current)


def _state(turn: ChatTurn) -> State:
    if turn.reply is not None:
        return "done"
    return "asked" if turn.left_generation_id is None else "answered"


def _shown(generation: Generation | None) -> Continuation | None:
    return None if generation is None else Continuation(generation.text, generation.finish_reason == "length")
