"""Promoting asks once more where the score did not rise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import AuditEntry, Project
from tests.app import factories
from tests.app.conftest import Cast

V1 = "/api/v1"


@pytest.fixture
def candidate(engine: Engine, cast: Cast) -> int:
    """A policy whose score fell from -0.1 to -0.25."""
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        run = factories.make_run(session, demo.id, "ppo", result={"score_before": -0.1, "score": -0.25})
        return factories.make_checkpoint(session, demo.id, run_id=run.id, parent_id=demo.policy_id).id


def test_a_program_confirms_it(api: Callable[..., TestClient], engine: Engine, candidate: int) -> None:
    admin = api("admin", who="Grace")
    refused = admin.post(f"{V1}/checkpoints/{candidate}/promote")
    assert refused.status_code == 409
    assert "did not rise" in refused.json()["detail"]
    assert admin.post(f"{V1}/checkpoints/{candidate}/promote", json={"confirm": True}).status_code == 200
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "policy.promoted")).one()
    assert (entry.details["score_before"], entry.details["score"]) == (-0.1, -0.25)


def test_the_page_names_the_figures_and_asks(as_user: Callable[[str], TestClient], candidate: int) -> None:
    grace = as_user("Grace")
    page = grace.get(f"/checkpoints/{candidate}").text
    assert "Its score did not rise: \N{MINUS SIGN}0.100 before, \N{MINUS SIGN}0.250 after" in page
    assert 'name="confirm" value="yes"' in page
    assert grace.post(f"/checkpoints/{candidate}/promotion").status_code == 409
    assert grace.post(f"/checkpoints/{candidate}/promotion", data={"confirm": "yes"}).status_code == 303
