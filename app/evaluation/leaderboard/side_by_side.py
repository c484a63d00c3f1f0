"""What two contenders said to the same prompts, side by side, and where their words differ.

Nobody reads here who wrote what they may still be asked about: prompts of an evaluation that goes on are left out, and so are
answers of tasks that wait for a verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.contenders.service import get_contender
from app.errors import Invalid, NotFound
from app.language.languages import _
from app.models import Contender, Generation, Project, Prompt, Seat, Task
from app.runs.checkpoints import prompts_judged_now
from app.texts.diff import Piece, both_whole


@dataclass(frozen=True, slots=True)
class SideBySide:
    """One prompt and an answer of each: the first of its newest run."""

    prompt: Prompt
    one: Generation
    other: Generation

    @property
    def pieces(self) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        """Both texts; what only one of them says is a piece of its own."""
        return both_whole(self.one.text, self.other.text)


def contenders_of(session: Session, project: Project, one_id: int, other_id: int) -> tuple[Contender, Contender]:
    """Raises NotFound, and Invalid where it is one and the same."""
    one, other = (get_contender(session, contender_id) for contender_id in (one_id, other_id))
    if {one.project_id, other.project_id} != {project.id}:
        raise NotFound(_("There is no such contender."))
    if one is other:
        raise Invalid(_("Choose two different contenders."), {"other": _("the same one")})
    return one, other


def side_by_side(
    session: Session, one: Contender, other: Contender, *, before: int | None = None, limit: int = 10
) -> list[SideBySide]:
    """The newest prompts that both have answered; `before` is the prompt the page before ended with."""
    first, second = aliased(Generation), aliased(Generation)
    both = (
        select(first.prompt_id)
        .join(second, and_(second.prompt_id == first.prompt_id, second.contender_id == other.id))
        .where(first.contender_id == one.id, _settled(first), _settled(second))
        .group_by(first.prompt_id)
        .order_by(first.prompt_id.desc())
        .limit(limit)
    )
    if before is not None:
        both = both.where(first.prompt_id < before)
    if judged := prompts_judged_now(session, one.project_id):
        both = both.where(first.prompt_id.not_in(judged))
    prompt_ids = session.scalars(both).all()
    prompts = {prompt.id: prompt for prompt in session.scalars(select(Prompt).where(Prompt.id.in_(prompt_ids)))}
    said = _first_of_newest_run(session, prompt_ids, {one.id, other.id})
    return [
        SideBySide(prompts[each], said[each, one.id], said[each, other.id])
        for each in prompt_ids
        if {(each, one.id), (each, other.id)} <= said.keys()  # a task may have been asked about one of them meanwhile
    ]


def _first_of_newest_run(
    session: Session, prompt_ids: Sequence[int], contender_ids: Collection[int]
) -> dict[tuple[int, int], Generation]:
    """By prompt and contender. The newest answer would be the longest of its run: long ones end last."""
    turn = case((Generation.run_id.is_(None), Generation.number), else_=-Generation.number)  # what was brought in, as it came
    settled = (
        select(Generation)
        .where(Generation.prompt_id.in_(prompt_ids), Generation.contender_id.in_(contender_ids), _settled(Generation))
        .order_by(func.coalesce(Generation.run_id, 0), turn, Generation.id)
    )
    return {(answer.prompt_id, answer.contender_id): answer for answer in session.scalars(settled)}


def _settled(answer: type[Generation]) -> ColumnElement[bool]:
    """Whether no task about it waits for a verdict."""
    waits = exists().where(
        Task.prompt_id == answer.prompt_id,
        or_(Task.first_generation_id == answer.id, Task.second_generation_id == answer.id),
        Seat.task_id == Task.id,
        Seat.state != "done",
    )
    return ~waits
