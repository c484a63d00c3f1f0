"""How far people agree, and how each of them judges, over the API. Who annotates sees their own work alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from app.database.engine import Db
from app.quality.bodies import AgreementReply, PeopleReply, PersonReply
from app.quality.measures.figure import Figure
from app.quality.people import Standing, people_of
from app.quality.service import told
from app.web.gate import CurrentProjectId
from app.web.security import Caller

router = APIRouter(tags=["quality"])


@router.get("/projects/{slug}/agreement", summary="How far people agree, by question and by pair of people")
def show_agreement(session: Db, project_id: CurrentProjectId) -> AgreementReply:
    found = told(session, project_id)
    return AgreementReply.model_validate(
        {
            "labels": found.report.labels,
            "counted_at": found.counted_at,
            "questions": [_figures(one) for one in found.report.questions],
            "pairs": [_figures(one) for one in found.report.pairs],
        }
    )


@router.get("/projects/{slug}/annotators", summary="How each person judges: figures with n and interval, nobody ranked")
def show_annotators(session: Db, caller: Caller, project_id: CurrentProjectId) -> PeopleReply:
    """Of the caller's own figures those are empty that would tell them which tasks were repeats or known answers."""
    found = told(session, project_id)
    people = people_of(session, project_id, found, caller.user_id)
    return PeopleReply(counted_at=found.counted_at, items=[_person(one) for one in people])


def _person(one: Standing) -> PersonReply:
    return PersonReply.model_validate(
        {
            **_figures(one.figures),
            "name": one.name,
            "paused": one.paused_at is not None,
            "excluded": one.exclusion is not None,
            "left_out": one.left_out,
        }
    )


def _figures(one: Any) -> dict[str, Any]:
    """Its fields, each figure with whether it tells enough."""
    found = {name: getattr(one, name) for name in one.__dataclass_fields__}
    return {
        name: asdict(value) | {"enough": value.enough} if isinstance(value, Figure) else value for name, value in found.items()
    }
