"""API keys, and who may make one for whom."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import ApiKey, Membership, User
from app.web.security import digest
from tests.app import factories
from tests.app.conftest import Cast

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]


def make_program(api: Api, who: str = "Grace", project: str = "demo") -> int:
    body = {"name": "Robot", "email": f"robot-{who}@example.org", "role": "annotator", "projects": [project]}
    reply = api("admin", who=who).post("/api/v1/users", json=body)
    assert reply.status_code == 201, reply.text
    user_id: int = reply.json()["id"]
    return user_id


def test_a_key_is_shown_once_and_kept_as_a_hash(as_user: AsUser, engine: Engine) -> None:
    mary = as_user("Mary")
    page = mary.post("/account/keys", data={"name": "laptop", "scopes": ["annotate", "export"], "days": "30"})
    key = re.search(r"tm_(\d+)_([\w-]{43})", page.text)
    assert key is not None
    assert key[2] not in mary.get("/account/keys").text
    with read_session(engine) as session:
        stored = session.get(ApiKey, int(key[1]))
        assert stored is not None
        assert stored.secret_hash == digest(key[2])
        assert stored.scopes == ["annotate", "export"]


def test_a_made_key_works_until_it_is_revoked(as_user: AsUser, visitor: TestClient) -> None:
    mary = as_user("Mary")
    page = mary.post("/account/keys", data={"scopes": "annotate"})
    key = re.search(r"tm_(\d+)_[\w-]{43}", page.text)
    assert key is not None
    headers = {"authorization": f"Bearer {key[0]}"}
    assert visitor.get("/api/v1/projects", headers=headers).status_code == 200

    assert mary.post(f"/account/keys/{key[1]}/revocation").status_code == 303

    assert visitor.get("/api/v1/projects", headers=headers).status_code == 401


def test_a_key_without_a_scope_is_refused_in_words(as_user: AsUser) -> None:
    page = as_user("Mary").post("/account/keys", data={"name": "x"})
    assert page.status_code == 422
    assert "Choose at least one" in page.text


@pytest.mark.parametrize("days", ["0", "367", "-1", "x"])
def test_a_key_always_ends(as_user: AsUser, days: str) -> None:
    assert as_user("Mary").post("/account/keys", data={"scopes": "export", "days": days}).status_code == 422


def test_everyone_makes_keys_for_themselves_over_the_api(api: Api, cast: Cast) -> None:
    reply = api("admin", who="Mary").post(f"/api/v1/users/{cast.mary}/keys", json={"scopes": ["annotate"]})
    assert reply.status_code == 201
    assert reply.json()["key"].startswith(f"tm_{reply.json()['id']}_")


def test_an_admin_makes_keys_for_the_programs_of_their_projects(api: Api, cast: Cast, visitor: TestClient) -> None:
    robot = make_program(api)
    key = api("admin", who="Grace").post(f"/api/v1/users/{robot}/keys", json={"scopes": ["annotate"], "expires_in_days": 1})
    assert key.status_code == 201
    reply = visitor.get("/api/v1/projects", headers={"authorization": f"Bearer {key.json()['key']}"})
    assert [project["slug"] for project in reply.json()["items"]] == ["demo"]


@pytest.mark.parametrize("victim", ["Ada", "Alan", "Eve"])
def test_an_admin_makes_no_key_for_a_person(api: Api, cast: Cast, engine: Engine, victim: str) -> None:
    """It would act as them: with the owner's rights, or in projects the admin has no part in."""
    with write_session(engine) as session:
        session.execute(update(User).where(User.id != cast.grace).values(password_hash="set"))
    reply = api("admin", who="Grace").post(f"/api/v1/users/{cast.named(victim)}/keys", json={"scopes": ["admin"]})
    assert reply.status_code == 404


def test_an_admin_makes_no_key_for_a_program_that_works_elsewhere_too(api: Api, cast: Cast, engine: Engine) -> None:
    robot = make_program(api)
    with write_session(engine) as session:
        factories.make_membership(session, robot, cast.other, "admin")
    assert api("admin", who="Grace").post(f"/api/v1/users/{robot}/keys", json={"scopes": ["annotate"]}).status_code == 404


def test_an_annotator_makes_no_keys_for_others(api: Api, cast: Cast) -> None:
    robot = make_program(api)
    assert api("admin", who="Mary").post(f"/api/v1/users/{robot}/keys", json={"scopes": ["annotate"]}).status_code == 404


def test_the_owner_makes_keys_for_anyone(api: Api, cast: Cast) -> None:
    assert api("admin").post(f"/api/v1/users/{cast.grace}/keys", json={"scopes": ["export"]}).status_code == 201


def test_nobody_revokes_the_key_of_someone_else(api: Api, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        key = int(factories.make_key(session, cast.ada, "admin").split("_")[1])
    assert api("admin", who="Eve").delete(f"/api/v1/keys/{key}").status_code == 404
    assert api("admin", who="Ada").delete(f"/api/v1/keys/{key}").status_code == 204


def test_a_key_acts_with_the_role_its_person_has_now(api: Api, engine: Engine, cast: Cast) -> None:
    grace = api("admin", who="Grace")
    assert grace.get("/api/v1/projects/demo").status_code == 200
    with write_session(engine) as session:
        for membership in session.scalars(select(Membership).where(Membership.user_id == cast.grace)):
            session.delete(membership)
    assert grace.get("/api/v1/projects/demo").status_code == 404
