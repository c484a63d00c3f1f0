"""The pause: no round starts by itself until somebody ends it; what had begun goes on."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Announcement, AuditEntry, Project, Round
from app.rounds import service
from tests.app.conftest import Cast
from tests.app.rounds.test_service import end, stage
from tests.app.rounds.unattended.test_budgets import ready
from trainer.worker.chores import Looks, look_after_projects

V1 = "/api/v1"
Browser = Callable[[str], TestClient]


def rounds(engine: Engine) -> int:
    with read_session(engine) as session:
        return session.scalar(select(func.count()).select_from(Round)) or 0


def test_while_it_lasts_no_round_starts_by_itself_and_the_overview_says_so(as_user: Browser, engine: Engine, cast: Cast) -> None:
    ready(engine, cast)
    grace = as_user("Grace")
    assert "Pause rounds" in grace.get("/projects/demo").text
    assert grace.post("/projects/demo/pause").status_code == 303
    page = grace.get("/projects/demo").text
    assert "Rounds are paused" in page
    assert "a round waits for somebody to end the pause" in page
    look_after_projects(engine, Looks())
    assert rounds(engine) == 0
    assert grace.post("/projects/demo/pause").status_code == 409

    assert grace.post("/projects/demo/resume").status_code == 303
    look_after_projects(engine, Looks())
    assert rounds(engine) == 1
    with read_session(engine) as session:
        assert session.scalars(select(Announcement.event)).all() == ["rounds.paused", "rounds.resumed"]
        noted = session.scalars(select(AuditEntry.action).where(AuditEntry.action.startswith("rounds."))).all()
        assert noted == ["rounds.paused", "rounds.resumed"]


def test_a_round_that_had_begun_goes_on_and_one_is_started_by_hand(
    api: Callable[..., TestClient], engine: Engine, cast: Cast
) -> None:
    ready(engine, cast)
    program = api("admin", who="Grace")
    paused = program.post(f"{V1}/projects/demo/pause")
    assert (paused.status_code, paused.json()["paused_at"] is not None) == (200, True)
    assert program.get(f"{V1}/projects/demo").json()["paused_at"] == paused.json()["paused_at"]
    started = program.post(f"{V1}/projects/demo/rounds")
    assert started.status_code == 202
    with write_session(engine) as session:
        round_ = session.get_one(Round, started.json()["id"])
        end(session, stage(session, round_)[0], gate_passed=True)
        assert round_.state == "ppo"
        service.cancel_round(session, round_, None)
    assert program.post(f"{V1}/projects/demo/resume").json()["paused_at"] is None
    assert program.post(f"{V1}/projects/demo/resume").status_code == 409


def test_only_admins_pause(as_user: Browser, engine: Engine, cast: Cast) -> None:
    assert as_user("Mary").post("/projects/demo/pause").status_code == 403
    with read_session(engine) as session:
        assert session.get_one(Project, cast.demo).paused_at is None
