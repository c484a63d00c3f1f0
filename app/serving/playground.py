"""The playground: one prompt, several contenders beside each other, each with what the reward model says of it; and keeping them.

Whoever plays sees who wrote what, so that it is for admins. Nothing is stored unless they say so.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contenders.answers import answer_text
from app.contenders.service import contender_of
from app.database.audit import record
from app.errors import Conflict, Invalid, Refusal
from app.language.languages import _
from app.models import Contender, Generation, OutsideModel, Project, Prompt
from app.models.values import Unusable
from app.prompts.service import PromptRow, add_prompts, prompt_digest
from app.queue.given import ask_about
from app.runs.checkpoints import current_policy, get_checkpoint, root_of, starting_policies
from app.serving import outside_chat
from app.serving.live_models import Live, conversation, live_models
from app.serving.warm_process import WarmProcess
from trainer.contract.messages import Message
from trainer.contract.serving.questions import LARGEST_SEED, Scoring, Writing
from trainer.contract.texts import said

MOST_PLAYED: Final = 4  # contenders beside each other
OFFERED: Final = 8  # policies, the newest first, beside the one in force and the base
UNASKED: Final = 0  # in place of a checkpoint's id: the base model, of which nobody has asked anything yet


@dataclass(frozen=True)
class Choice:
    """Who may be asked. `key` is "policy:12" (a checkpoint) or "outside:3" (a contender)."""

    key: str
    name: Message
    role: str = ""  # "policy", "base", or nothing of note


@dataclass(frozen=True)
class Settings:
    max_tokens: int
    temperature: float


@dataclass(frozen=True)
class Asked:
    """One contender that is asked, with all that was read of the database for it."""

    live: Live | None  # none: a model outside
    outside: OutsideModel | None
    judged_by: Live | None  # whose reward model says what it thinks of the answer; none: there is none


@dataclass(frozen=True)
class Played:
    """An answer as it came back from the page."""

    key: str
    text: str
    seed: int | None
    finish_reason: str
    picked: bool = True  # whoever plays wants people to be asked about it


def choices(session: Session, project: Project) -> list[Choice]:
    """The policy in force, its base, the newest others that grew out of it, and the models outside that were picked."""
    policies = starting_policies(session, project, OFFERED)
    found = [Choice(f"policy:{UNASKED}", Message("base_model"), "base")]
    if policies:
        base = root_of(session, policies[0])
        roles = {base.id: "base", policies[0].id: "policy"}
        ours = {one.id: one for one in (policies[0], base, *policies)}.values()
        found = [Choice(f"policy:{one.id}", one.name, roles.get(one.id, "")) for one in ours]
    outside = (
        select(Contender)
        .join(OutsideModel, OutsideModel.id == Contender.outside_id)
        .where(Contender.project_id == project.id, OutsideModel.archived_at.is_(None), Contender.archived_at.is_(None))
        .order_by(Contender.id)
    )
    return found + [Choice(f"outside:{one.id}", Message("written", text=one.name or "")) for one in session.scalars(outside)]


def asked(session: Session, project: Project, key: str) -> Asked:
    """Raises Invalid for who is not there, and what live_models raises."""
    kind, number = _parts(key)
    if kind == "policy":
        live = live_models(session, project, number or None)
        return Asked(live, None, live if live.reward_id is not None else None)
    contender = session.get(Contender, number)
    mine = contender is not None and contender.project_id == project.id and contender.archived_at is None
    model = session.get(OutsideModel, contender.outside_id) if contender is not None and mine else None
    if model is None or model.archived_at is not None:
        raise _stranger(key)
    session.expunge(model)
    try:
        judge = live_models(session, project)
    except Refusal:  # it answers all the same, and nobody scores it
        return Asked(None, model, None)
    return Asked(None, model, judge if judge.reward_id is not None else None)


async def play(warm: WarmProcess, one: Asked, prompt: str, settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """What happens, as it happens: {"text"} as the answer grows, {"finish_reason", "seed"} at its end, then {"score",
    "deviation"} where there is a reward model. Raises refusals."""
    messages = conversation({"text": prompt})
    seed = secrets.randbelow(LARGEST_SEED) if one.live is not None else None
    pieces: list[str] = []
    ended = "eos"
    async for text, finish_reason in _written(warm, one, messages, settings, seed):
        pieces.append(text)
        ended = finish_reason or ended
        if text:
            yield {"text": text}
    yield {"finish_reason": ended, "seed": seed}
    answer = said("".join(pieces))
    if one.judged_by is not None and answer:
        (score,) = await warm.scores(Scoring(one.judged_by.models, messages, [answer]))
        yield {"score": score.score, "deviation": score.deviation}


async def _written(
    warm: WarmProcess, one: Asked, messages: list[dict[str, str]], settings: Settings, seed: int | None
) -> AsyncIterator[tuple[str, str]]:
    """Text and, with the last of it, how it ended."""
    if one.outside is not None:
        answering = outside_chat.answer(one.outside, messages, temperature=settings.temperature, most_tokens=settings.max_tokens)
        async for piece in answering:
            yield piece.text, piece.finish_reason
        return
    assert one.live is not None
    assert seed is not None
    writing = Writing(one.live.models, messages, settings.max_tokens, settings.temperature, 1.0, [seed])
    async with warm.answering(writing) as answers:
        async for part in answers.pieces:
            yield part.text, part.finish_reason


# Keeping


def keep_prompt(session: Session, project: Project, text: str, by: int | None) -> Prompt:
    """The prompt as one of the project's; the one that is there already, if it is. Raises Invalid."""
    messages = conversation({"text": text})
    digest = prompt_digest(messages)  # type: ignore[arg-type]
    mine = select(Prompt).where(Prompt.project_id == project.id, Prompt.digest == digest)
    if (there := session.scalar(mine)) is not None:
        return there
    add_prompts(session, project, [PromptRow(1, messages)])  # type: ignore[arg-type]
    record(session, by, "prompts.imported", project.slug, {"created": 1}, project.id)
    return session.scalars(mine).one()


def keep_task(
    session: Session, project: Project, text: str, played: Sequence[Played], settings: Settings, by: int | None
) -> Prompt:
    """People are asked about one answer, or about two beside each other, of whoever wrote them. Raises Invalid and Conflict."""
    picked = [one for one in played if one.picked]
    if len(picked) not in (1, 2):
        raise Invalid(_("Tick one answer to have it rated, or two to have them compared."))
    prompt = keep_prompt(session, project, text, by)
    if prompt.archived_at is not None:
        raise Conflict(_("This prompt was put away. Bring it back first."))
    kept = [_keep_answer(session, project, prompt, one, settings) for one in picked]
    ask_about(session, project, [tuple(kept)], by)
    return prompt


def _keep_answer(session: Session, project: Project, prompt: Prompt, one: Played, settings: Settings) -> int:
    """Its id. Tokens are not known here, so that it is learned from by its text; it says that it was played."""
    kind, number = _parts(one.key)
    if kind == "policy":
        policy = get_checkpoint(session, number) if number != UNASKED else current_policy(session, project)
        if policy.project_id != project.id or policy.kind != "policy":
            raise _stranger(one.key)
        contender = contender_of(session, policy)
    else:
        found = session.get(Contender, number)
        if found is None or found.project_id != project.id or found.outside_id is None:
            raise _stranger(one.key)
        contender = found
    try:
        text = answer_text(one.text)
    except Unusable as problem:
        raise Invalid(_("Nobody can be asked about this answer. %(why)s", why=problem)) from None
    mine = (Generation.contender_id == contender.id, Generation.prompt_id == prompt.id, Generation.run_id.is_(None))
    last = session.scalar(select(func.max(Generation.number)).where(*mine))
    how: Mapping[str, Any] = {"temperature": settings.temperature, "max_new_tokens": settings.max_tokens, "played": True}
    made = Generation(
        prompt_id=prompt.id,
        contender_id=contender.id,
        number=0 if last is None else last + 1,
        settings=dict(how),
        seed=one.seed,
        text=text,
        finish_reason="length" if one.finish_reason == "length" else "eos",
    )
    session.add(made)
    session.flush()
    return made.id


def _parts(key: str) -> tuple[str, int]:
    kind, _colon, number = key.partition(":")
    if kind not in ("policy", "outside") or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise _stranger(key)
    return kind, int(number)


def _stranger(key: str) -> Invalid:
    return Invalid(_("%(key)s is nobody who can be asked here.", key=key), {"who": _("not here")})
