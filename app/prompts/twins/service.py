"""Finding near-twins: which prompts say nearly the same as an earlier one of their project.

Whatever brings a prompt in leaves it without a sketch; `look` gives it one and names its twin. So what ended in between, and what
was there before twins were looked for, is caught up with by the next import. A twin keeps its split, which follows from its text
alone: that a held-out prompt is nearly a training prompt is said, and an admin decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Engine, and_, bindparam, select, update
from sqlalchemy.orm import Session, aliased

from app.database.engine import read_session
from app.database.slices import Slices, giving_way
from app.models import Prompt
from app.projects.service import hold_open
from app.prompts.twins.sketch import NEAR, bands, likeness, sketch_of

Band = tuple[int, bytes, bytes]

COMPARED: Final = 8  # prompts that one is compared with in each band: templates filled in a thousand ways cost no more


@dataclass(frozen=True, slots=True)
class Twin:
    """A prompt that says nearly the same as an earlier one."""

    id: int
    digest: str
    twin_id: int
    twin_digest: str
    leaks: bool  # one of both is held out, the other trained on


# By its digest, too: an admin may have changed the text meanwhile, and the next look sees to it.
_UPDATE: Final = (
    update(Prompt)
    .where(Prompt.id == bindparam("of"), Prompt.digest == bindparam("as_read"))
    .values(sketch=bindparam("drawn"), twin_id=bindparam("near"))
)


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    digest: str
    split: str
    sketch: bytes


def look(engine: Engine, project_id: int) -> list[Twin]:
    """Give every prompt in use a sketch that has none, and name its twin. The twins that were found, in the order of ids."""
    new = _not_looked_at(engine, project_id)
    keys = {band for one in giving_way(new) for band in bands(one.sketch)}
    places: dict[Band, list[_Known]] = {}
    for one in giving_way(_looked_at(engine, project_id) if new else []):
        _place(one, [band for band in bands(one.sketch) if band in keys], places)
    found: dict[int, Twin] = {}
    for one in giving_way(new):
        mine = list(bands(one.sketch))
        nearest = _nearest(one, mine, places)
        if nearest is None:
            _place(one, mine, places)
        else:  # in no place itself: whoever is near to both is compared with the first
            found[one.id] = Twin(one.id, one.digest, nearest.id, nearest.digest, leaks=nearest.split != one.split)
    _keep(engine, project_id, new, found)
    return list(found.values())


def twins_of(session: Session, prompts: Iterable[Prompt]) -> dict[int, Prompt]:
    """The twins in use of some prompts, by the prompts' ids."""
    named = {prompt.id: prompt.twin_id for prompt in prompts if prompt.twin_id is not None}
    there = select(Prompt).where(Prompt.id.in_(set(named.values())), Prompt.archived_at.is_(None))
    twins = {twin.id: twin for twin in session.scalars(there)}
    return {prompt: twins[twin] for prompt, twin in named.items() if twin in twins}


def has_twin(*, leaking: bool) -> ColumnElement[bool]:
    """That a prompt has a twin in use; `leaking`: one in the other split."""
    twin = aliased(Prompt)
    there = select(twin.id).where(twin.id == Prompt.twin_id, twin.archived_at.is_(None))
    if leaking:
        there = there.where(twin.split != Prompt.split)
    return and_(Prompt.twin_id.is_not(None), there.exists())


def _not_looked_at(engine: Engine, project_id: int) -> list[_Known]:
    asked = select(Prompt.id, Prompt.digest, Prompt.split, Prompt.messages)
    with read_session(engine) as session:
        rows = session.execute(asked.where(*_in_use(project_id), Prompt.sketch.is_(None)).order_by(Prompt.id)).all()
    return [_Known(id, digest, split, sketch_of(messages)) for id, digest, split, messages in giving_way(rows)]


def _looked_at(engine: Engine, project_id: int) -> list[_Known]:
    """Less those that have a twin."""
    asked = select(Prompt.id, Prompt.digest, Prompt.split, Prompt.sketch)
    mine = (*_in_use(project_id), Prompt.sketch.is_not(None), ~has_twin(leaking=False))
    with read_session(engine) as session:
        rows = session.execute(asked.where(*mine).order_by(Prompt.id)).all()
    return [_Known(id, digest, split, sketch or b"") for id, digest, split, sketch in giving_way(rows)]


def _in_use(project_id: int) -> tuple[ColumnElement[bool], ...]:
    return Prompt.project_id == project_id, Prompt.archived_at.is_(None)


def _place(one: _Known, mine: Sequence[Band], places: dict[Band, list[_Known]]) -> None:
    for band in mine:
        there = places.setdefault(band, [])
        if len(there) < COMPARED:
            there.append(one)


def _nearest(one: _Known, mine: Sequence[Band], places: dict[Band, list[_Known]]) -> _Known | None:
    """Of those that are near the one that is nearest, the first of equals; one of the other split before all others."""
    met = {other.id: other for band in mine for other in places.get(band, ())}
    near = [(likeness(one.sketch, other.sketch), other) for other in met.values()]
    return max(
        (each for each in near if each[0] >= NEAR),
        key=lambda each: (each[1].split != one.split, each[0], -each[1].id),
        default=(0.0, None),
    )[1]


def _keep(engine: Engine, project_id: int, new: Sequence[_Known], found: Mapping[int, Twin]) -> None:
    slices = Slices(engine)
    for some in slices.of(new):
        with slices.write() as session:
            hold_open(session, project_id)
            values = [
                {
                    "of": one.id,
                    "as_read": one.digest,
                    "drawn": one.sketch,
                    "near": found[one.id].twin_id if one.id in found else None,
                }
                for one in some
            ]
            session.connection().execute(_UPDATE, values)
