"""Who is given what: a prompt with a language or skills goes to those it is for, at every door."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, reads_are_instant, write_session
from app.labels.history import progress
from app.models import Membership, Project, Prompt, Task
from app.quality import asking
from app.queue import claim
from tests.app import factories
from tests.app.conftest import Cast, another_process_writes
from tests.app.quality.checked import make_gold


def for_some(session: Session, project: Project, word: str | None, purpose: str = "train") -> Task:
    task = factories.make_task(session, project, purpose=purpose)
    session.get_one(Prompt, task.prompt_id).audience = word
    project.audiences = sorted({*(project.audiences or ()), *([word] if word else ())})
    session.flush()
    return task


def test_a_prompt_goes_to_those_it_is_for(engine: Engine, cast: Cast, api: Callable[..., TestClient]) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        german = for_some(session, project, "de").id
        law = for_some(session, project, "en law").id
        english = for_some(session, project, "en-GB", "evaluation").id
        mine = select(Membership).where(Membership.project_id == cast.demo, Membership.user_id.in_((cast.mary, cast.alan)))
        for member in session.scalars(mine):
            member.languages = ["en"]
            member.skills = ["law"] if member.user_id == cast.alan else []
    mary, alan = api("annotate", who="Mary"), api("annotate", who="Alan")
    claim = "/api/v1/projects/demo/tasks/next"

    assert mary.post(claim).json()["id"] == english
    assert mary.post(claim, json={"besides": [english]}).status_code == 204
    assert [alan.post(claim).json()["id"]] == [law]
    assert api("annotate", who="Grace").post(claim).json()["id"] == german, "who has said no language is asked in all"


def test_who_has_nothing_left_waits_for_no_writer(engine: Engine, cast: Cast, api: Callable[..., TestClient]) -> None:
    """They look at every open seat: while they did so in their turn to write, nobody else could."""
    if not reads_are_instant(engine):
        pytest.skip("writers do not wait for each other here")
    with write_session(engine) as session:
        for_some(session, session.get_one(Project, cast.demo), "* law")
        member = select(Membership).where(Membership.project_id == cast.demo, Membership.user_id == cast.alan)
        session.scalars(member).one().skills = ["law"]
    mary, alan, address = api("annotate", who="Mary"), api("annotate", who="Alan"), "/api/v1/projects/demo/tasks/next"
    with another_process_writes(engine):
        assert mary.post(address).status_code == 204
    assert alan.post(address).status_code == 200


def test_a_seat_behind_very_many_for_others_is_found(
    engine: Engine, cast: Cast, api: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "NEAR", 2)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _number in range(8):
            for_some(session, project, "* law")
        mine = [for_some(session, project, None).id for _number in range(2)]
    mary, address = api("annotate", who="Mary"), "/api/v1/projects/demo/tasks/next"
    assert mary.post(address).json()["id"] == mine[0]
    assert mary.post(address).json()["id"] == mine[0], "what they hold"
    assert mary.post(address, json={"besides": mine[:1]}).json()["id"] == mine[1]
    assert mary.post(address, json={"besides": mine}).status_code == 204


def test_what_is_not_for_somebody_opens_by_no_address(
    engine: Engine, cast: Cast, api: Callable[..., TestClient], as_user: Callable[[str], TestClient]
) -> None:
    with write_session(engine) as session:
        task = for_some(session, session.get_one(Project, cast.demo), "* law").id
    mary, verdict = api("annotate", who="Mary"), {"client_id": str(uuid4()), "choice": "left"}
    assert as_user("Mary").get(f"/projects/demo/annotate?task={task}").status_code == 404
    assert mary.post(f"/api/v1/tasks/{task}/label", json=verdict).status_code == 404
    assert mary.post(f"/api/v1/tasks/{task}/renew").status_code == 409


def test_what_somebody_has_in_hand_stays_theirs(engine: Engine, cast: Cast, api: Callable[..., TestClient]) -> None:
    with write_session(engine) as session:
        task = for_some(session, session.get_one(Project, cast.demo), "de").id
    mary, claim = api("annotate", who="Mary"), "/api/v1/projects/demo/tasks/next"
    assert mary.post(claim).json()["id"] == task
    api("admin", who="Grace").put(f"/api/v1/projects/demo/people/{cast.mary}/assignment", json={"languages": ["en"]})
    assert mary.post(claim).json()["id"] == task
    assert mary.post(f"/api/v1/tasks/{task}/label", json={"client_id": str(uuid4()), "choice": "left"}).status_code == 201


def test_what_is_left_counts_what_is_for_them(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for word in ("de", "en", None):
            for_some(session, project, word)
    with read_session(engine) as session:
        assert [progress(session, cast.demo, cast.mary, kept).left for kept in ("", "\nde\n", "\nde\nen\n")] == [3, 2, 1]


def test_nobody_is_checked_by_what_is_not_for_them(engine: Engine, cast: Cast) -> None:
    """A known answer in a language that they do not read would count against them."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        gold = make_gold(session, project)
        session.get_one(Prompt, gold.prompt_id).audience = "de"
        project.audiences = ["de"]
        session.flush()
        assert asking.question(session, project, cast.mary, "gold", random.Random(1)) is not None
        member = select(Membership).where(Membership.project_id == cast.demo, Membership.user_id == cast.mary)
        session.scalars(member).one().languages = ["en"]
        session.flush()
        assert asking.question(session, project, cast.mary, "gold", random.Random(1)) is None
