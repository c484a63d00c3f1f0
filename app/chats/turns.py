"""A turn of a talk: something is said, two continuations are kept, one is chosen and goes on.

Each step is a short transaction of its own; between the first and the second the models write. Each may come twice, by the
sender's own id: it is done once.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.chats.service import own_chat, require_on
from app.contenders.service import contender_of
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.evaluation.service import candidates_of, live_evaluations
from app.labels.record import Stored, record_label
from app.labels.verdict import Verdict
from app.language.languages import _
from app.models import Chat, ChatTurn, Contender, Generation, Label, Project, utc_now
from app.models.values import storable
from app.projects.service import hold_open
from app.prompts import proposals
from app.prompts.conversations import checked_conversation
from app.prompts.service import Message
from app.queue.at_once import ask_at_once
from app.runs.checkpoints import current_policy, get_checkpoint
from app.runs.run_settings import run_config
from app.serving.live_models import live_models
from app.serving.warm_process import Answer
from trainer.contract.config import SampleConfig
from trainer.contract.serving.questions import LARGEST_SEED, MOST_TOKENS, Turn, Writing


@dataclass(frozen=True)
class Asked:
    """A turn that was said, and what the models are to be asked for it."""

    chat_id: int
    number: int
    client_id: str
    answered: bool  # both continuations are there already
    messages: list[Message]
    left: Writing
    right: Writing


@dataclass(frozen=True)
class Chosen:
    stored: Stored
    reply: str  # what goes on


def say(session: Session, chat_id: int, annotator_id: int, client_id: str, text: str) -> Asked:
    """Keep what was said as the talk's next turn, and draw who answers it at which side.

    The same again finds what is there. In the place of a turn that nobody answered yet another may be said.
    Raises Conflict while there is something to choose, Invalid for what cannot be said, Unavailable where no worker is alive.
    """
    chat = own_chat(session, chat_id, annotator_id)
    project = hold_open(session, chat.project_id)
    require_on(project)
    turns = list(session.scalars(select(ChatTurn).where(ChatTurn.chat_id == hold(session, chat).id).order_by(ChatTurn.number)))
    turn = _said_before(session, chat, client_id, text)
    if turn is None:
        turn = turns[-1] if turns and turns[-1].reply is None else ChatTurn(chat_id=chat.id, number=len(turns) + 1)
        if turn.left_generation_id is not None:
            raise Conflict(_("Choose between the two answers first; then the talk goes on."))
        turn.client_id, turn.said, turn.asked_at = client_id, text, utc_now()
        turn.left_policy_id, turn.right_policy_id = _drawn_policies(session, project)
        turn.left_seed, turn.right_seed = secrets.randbelow(LARGEST_SEED), secrets.randbelow(LARGEST_SEED)
        session.add(turn)
    asked = _asked(session, project, turn, turns[: turn.number - 1])
    session.flush()
    return asked


def _said_before(session: Session, chat: Chat, client_id: str, text: str) -> ChatTurn | None:
    turn = session.scalar(select(ChatTurn).where(ChatTurn.client_id == client_id))
    if turn is not None and (turn.chat_id, turn.said) != (chat.id, text):
        raise Conflict(_("Something else was said under this client_id. Nothing was changed; send it under a new one."))
    return turn


def _drawn_policies(session: Session, project: Project) -> list[int]:
    """Whoever answers left and right: a candidate of an open evaluation and the policy in force, or that policy twice."""
    current = current_policy(session, project).id
    open_ones = [one for one in live_evaluations(session, project.id) if one.state == "open"]
    compared = [one for evaluation in open_ones for one in candidates_of(session, evaluation) if one.promotable]
    contenders = [session.get_one(Contender, one.contender_id) for one in compared]
    others = [one.checkpoint_id for one in contenders if one.checkpoint_id not in (None, current)]
    draw = random.SystemRandom()
    return draw.sample([current, draw.choice(others or [current]) or current], 2)


def _asked(session: Session, project: Project, turn: ChatTurn, before: Sequence[ChatTurn]) -> Asked:
    messages = conversation(before, turn.said)
    read = [Turn(role=message["role"], content=message["content"]) for message in messages]
    sampling = run_config(project, "sample", {})
    assert isinstance(sampling, SampleConfig)
    longest = min(sampling.max_new_tokens, MOST_TOKENS)

    def writing(policy_id: int, seed: int) -> Writing:
        models = live_models(session, project, policy_id).models
        return Writing(models, read, longest, sampling.temperature, 1.0, [seed])

    left, right = writing(turn.left_policy_id, turn.left_seed), writing(turn.right_policy_id, turn.right_seed)
    answered = turn.left_generation_id is not None
    return Asked(turn.chat_id, turn.number, turn.client_id, answered, messages, left, right)


def conversation(before: Sequence[ChatTurn], said: str) -> list[Message]:
    """What the models are given: the talk as it went, less turns to which nothing was said. Raises Invalid."""
    messages = [
        {"role": role, "content": content}
        for turn in before
        if turn.reply is not None and turn.reply.strip()
        for role, content in (("user", turn.said), ("assistant", turn.reply))
    ]
    return checked_conversation([*messages, {"role": "user", "content": said}])


def keep(session: Session, asked: Asked, answers: tuple[Answer, Answer]) -> None:
    """Both continuations, as answers to the talk so far; where they are there already, those stay.

    Two that are the same leave nothing to judge: the talk goes on with them. Raises Conflict where something else was said since.
    """
    chat = session.get_one(Chat, asked.chat_id)
    project = hold(session, session.get_one(Project, chat.project_id))  # others may say the same first words at this moment
    turn = _turn(session, hold(session, chat), asked.number)
    if turn.client_id != asked.client_id:
        raise Conflict(_("Something else was said in this place meanwhile."))
    if turn.left_generation_id is not None:
        return
    prompt_id = proposals.prompt_of(session, project, asked.messages)
    written = zip((turn.left_policy_id, turn.right_policy_id), (asked.left, asked.right), answers, strict=True)
    left, right = [_keep(session, prompt_id, policy_id, writing, answer) for policy_id, writing, answer in written]
    turn.left_generation_id, turn.right_generation_id, turn.answered_at = left.id, right.id, utc_now()
    if left.text == right.text:
        turn.reply = left.text
    session.flush()


def _keep(session: Session, prompt_id: int, policy_id: int, writing: Writing, answer: Answer) -> Generation:
    contender = contender_of(session, get_checkpoint(session, policy_id))
    theirs = (Generation.contender_id == contender.id, Generation.prompt_id == prompt_id, Generation.run_id.is_(None))
    last = session.scalar(select(func.max(Generation.number)).where(*theirs))
    generation = Generation(
        prompt_id=prompt_id,
        contender_id=contender.id,
        checkpoint_id=policy_id,
        number=0 if last is None else last + 1,
        settings={"temperature": writing.temperature, "max_new_tokens": writing.max_tokens},
        seed=writing.seeds[0],
        text=storable(answer.text),
        token_ids=list(answer.token_ids),
        finish_reason=answer.finish_reason,
    )
    session.add(generation)
    session.flush()
    return generation


def choose(
    session: Session, chat_id: int, annotator_id: int, number: int, verdict: Verdict, *, interface: str, now: datetime
) -> Chosen:
    """Store the verdict on a turn's continuations, and go on with what was chosen: of a tie with what stood left, of two bad ones
    with the person's own words.

    The same send again is answered with what is stored. Raises Conflict where there is nothing to choose from, or something else
    was chosen, and Invalid where both are bad and nothing is said instead.
    """
    chat = hold(session, own_chat(session, chat_id, annotator_id))
    turn = _turn(session, chat, number)
    if turn.left_generation_id is None or turn.right_generation_id is None:
        raise Conflict(_("The answers are not there yet, so there is nothing to choose from."))
    if turn.task_id is None:
        if turn.reply is not None:
            raise Conflict(_("Both answers were the same, so there was nothing to choose. The talk has gone on."))
        _require_words(verdict)
        task_id = _ask(session, chat, turn, (turn.left_generation_id, turn.right_generation_id))
    else:
        first = select(Label.client_id).where(Label.task_id == turn.task_id, Label.version == 1)
        if session.scalar(first) != verdict.client_id:
            raise Conflict(_("You have chosen already, and the talk has gone on."))
        task_id = turn.task_id
    stored = record_label(session.connection(), task_id, annotator_id, verdict, interface=interface, now=now)
    if turn.task_id is None:
        turn.task_id, turn.reply = task_id, _goes_on(session, turn, verdict)
        session.flush()
    assert turn.reply is not None
    return Chosen(stored, turn.reply)


def _ask(session: Session, chat: Chat, turn: ChatTurn, shown: tuple[int, int]) -> int:
    prompt_id = session.get_one(Generation, shown[0]).prompt_id
    proposals.propose(session, chat.project_id, prompt_id, chat.annotator_id)
    since = turn.answered_at or turn.asked_at
    return ask_at_once(session.connection(), chat.project_id, prompt_id, shown, chat.annotator_id, since=since)


def _require_words(verdict: Verdict) -> None:
    words = verdict.rewrite.text.strip() if verdict.rewrite is not None else ""
    if verdict.choice == "both_bad" and not words:
        problem = _("Both are bad: write what it should have said. The talk goes on with that.")
        raise Invalid(problem, {"words": _("This is needed.")})
    if verdict.choice != "both_bad" and words:
        problem = _("The talk goes on with what you chose, or with your own words, not with both.")
        raise Invalid(problem, {"words": _("Only where both are bad.")})


def _goes_on(session: Session, turn: ChatTurn, verdict: Verdict) -> str:
    if verdict.rewrite is not None:
        return verdict.rewrite.text
    chosen = turn.right_generation_id if verdict.choice == "right" else turn.left_generation_id
    return session.get_one(Generation, chosen).text


def _turn(session: Session, chat: Chat, number: int) -> ChatTurn:
    turn = session.scalar(select(ChatTurn).where(ChatTurn.chat_id == chat.id, ChatTurn.number == number))
    if turn is None:
        raise NotFound(_("The talk has no such turn."))
    return turn
