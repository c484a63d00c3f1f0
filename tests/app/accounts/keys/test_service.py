"""API keys, and who may make one for whom."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.accounts import people
from app.accounts.keys import service
from app.database.engine import read_session, write_session
from app.models import ApiKey, Membership, User, utc_now
from app.web.permissions import ALSO_BOUND, RULES, Level
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


# Keys that keys mint


def mint(program: TestClient, user_id: int, **more: object) -> dict[str, object]:
    reply = program.post(f"/api/v1/users/{user_id}/keys", json={"scopes": ["admin"], **more})
    assert reply.status_code == 201, reply.text
    made: dict[str, object] = reply.json()
    return made


def alive(visitor: TestClient, key: object) -> bool:
    return visitor.get("/api/v1/users/me", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_a_child_key_never_outlives_its_parent(api: Api, visitor: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        soon = factories.make_key(session, cast.mary, "admin")
        session.execute(
            update(ApiKey)
            .where(ApiKey.secret_hash == digest(soon.split("_", 2)[2]))
            .values(expires_at=utc_now() + timedelta(days=3))
        )
    program = TestClient(visitor.app, base_url="http://localhost", headers={"authorization": f"Bearer {soon}"})
    child = mint(program, cast.mary, expires_in_days=366)
    with read_session(engine) as session:
        parent = session.get_one(ApiKey, int(soon.split("_")[1]))
        made = session.get_one(ApiKey, child["id"])
        assert (made.parent_id, made.made_by, made.expires_at) == (parent.id, cast.mary, parent.expires_at)


def test_revoking_a_key_revokes_all_that_came_of_it(api: Api, visitor: TestClient, as_user: AsUser, cast: Cast) -> None:
    parent = mint(api("admin", who="Mary"), cast.mary)
    child = mint(bearer(visitor, parent["key"]), cast.mary)
    grandchild = mint(bearer(visitor, child["key"]), cast.mary)
    assert alive(visitor, grandchild["key"])

    as_user("Mary").post(f"/account/keys/{parent['id']}/revocation")

    assert not alive(visitor, child["key"])
    assert not alive(visitor, grandchild["key"])


def bearer(visitor: TestClient, key: object) -> TestClient:
    return TestClient(visitor.app, base_url="http://localhost", headers={"authorization": f"Bearer {key}"})


def test_a_child_key_never_outranks_its_parent(api: Api, visitor: TestClient, cast: Cast) -> None:
    """Only a key that may everything, everywhere its person may go, mints others."""
    assert api("annotate", who="Mary").post(f"/api/v1/users/{cast.mary}/keys", json={"scopes": ["admin"]}).status_code == 403
    bound = mint(api("admin", who="Grace"), cast.grace, projects=["demo"])
    reply = bearer(visitor, bound["key"]).post(f"/api/v1/users/{cast.grace}/keys", json={"scopes": ["admin"]})
    assert reply.status_code == 403


# Keys bound to projects


def test_a_bound_key_finds_nothing_elsewhere(api: Api, visitor: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, cast.other, "admin")
    bound = bearer(visitor, mint(api("admin", who="Grace"), cast.grace, projects=["demo"])["key"])
    assert bound.get("/api/v1/projects/demo").status_code == 200
    assert bound.get("/api/v1/projects/other").status_code == 404
    assert [project["slug"] for project in bound.get("/api/v1/projects").json()["items"]] == ["demo"]
    assert [project["slug"] for project in bound.get("/api/v1/users/me").json()["projects"]] == ["demo"]


def test_an_owners_bound_key_is_no_owner_elsewhere(api: Api, visitor: TestClient, cast: Cast) -> None:
    bound = bearer(visitor, mint(api("admin"), cast.ada, projects=["demo"])["key"])
    assert bound.get("/api/v1/projects/demo/people").status_code == 200
    assert bound.get("/api/v1/projects/other/people").status_code == 404
    assert bound.get("/api/v1/users").status_code == 403
    assert bound.post("/api/v1/projects", json={"name": "x", "base_model": "y"}).status_code == 403
    assert bound.post(f"/api/v1/projects/demo/people/{cast.mary}/password-link").status_code == 403


def test_a_bound_key_comes_through_only_where_a_project_is_asked(api: Api, visitor: TestClient, cast: Cast) -> None:
    bound = bearer(visitor, mint(api("admin"), cast.ada, projects=["demo"])["key"])
    for (method, path), rule in RULES.items():
        if path.startswith("/api/v1") and rule.source is None and rule.level != Level.PUBLIC:
            reply = bound.request(method, path.replace("{id}", "1"), json={})
            assert (reply.status_code == 403) is ((method, path) not in ALSO_BOUND), f"{method} {path}: {reply.text}"


@pytest.mark.parametrize("projects", [["other"], ["nowhere"], ["demo", "other"]])
def test_a_key_is_bound_only_to_projects_of_its_person(api: Api, cast: Cast, projects: list[str]) -> None:
    body = {"scopes": ["annotate"], "projects": projects}
    reply = api("admin", who="Mary").post(f"/api/v1/users/{cast.mary}/keys", json=body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == "projects"


def test_a_key_is_bound_on_the_page_which_shows_its_last_use(as_user: AsUser, visitor: TestClient, app: FastAPI) -> None:
    mary = as_user("Mary")
    page = mary.post("/account/keys", data={"scopes": "annotate", "where": "some", "projects": ["demo"]})
    key = re.search(r"tm_\d+_[\w-]{43}", page.text)
    assert key is not None
    assert "never" in mary.get("/account/keys").text
    assert alive(visitor, key[0])
    app.state.uses.finish()
    shown = mary.get("/account/keys").text
    assert '<td data-label="Works in">demo</td>' in shown
    assert "never" not in shown
    assert mary.post("/account/keys", data={"scopes": "annotate", "where": "some"}).status_code == 422


def test_a_bound_key_ends_when_its_person_leaves_the_project(
    visitor: TestClient, as_user: AsUser, engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        bound = factories.make_key(session, cast.mary, "annotate")
        session.execute(update(ApiKey).where(ApiKey.user_id == cast.mary).values(project_ids=[cast.demo]))
        factories.make_key(session, cast.mary, "annotate")
    as_user("owner").post(f"/projects/demo/people/{cast.mary}/removal")
    assert not alive(visitor, bound)
    with read_session(engine) as session:
        keys = session.scalars(select(ApiKey).where(ApiKey.user_id == cast.mary)).all()
    ended = [key for key in keys if key.revoked_at is not None]
    assert [key.project_ids for key in ended] == [[cast.demo]], "ended for good, also if they come back; their others stay"


# Keys of others


def test_an_admin_sees_and_ends_the_keys_of_their_programs(
    api: Api, as_user: AsUser, visitor: TestClient, engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        session.execute(update(User).values(password_hash="set"))
    robot = make_program(api)
    key = mint(api("admin", who="Grace"), robot)
    api("admin", who="Mary")
    page = as_user("Grace").get("/account/keys").text
    assert "Keys of others" in page
    assert f"tm_{key['id']}" in page
    listed = api("admin", who="Grace").get("/api/v1/keys", params={"whose": "others"}).json()
    assert [(row["id"], row["user"], row["made_by"]) for row in listed] == [(key["id"], "Robot", "Grace")]
    assert "Keys of others" not in as_user("Eve").get("/account/keys").text
    assert as_user("Grace").post(f"/account/keys/{key['id']}/revocation").status_code == 303
    assert not alive(visitor, key["key"])


def test_the_owner_sees_everybodys_keys(api: Api, cast: Cast) -> None:
    api("export", who="Mary")
    api("admin", who="Grace")
    listed = api("admin").get("/api/v1/keys", params={"whose": "others"}).json()
    assert [row["user"] for row in listed] == ["Grace", "Mary"]


def test_a_person_has_so_many_keys_and_ends_one_before_the_next(
    api: Api, as_user: AsUser, cast: Cast, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_KEYS", 3)
    mary = as_user("Mary")
    form = {"name": "laptop", "scopes": ["annotate"], "days": "30"}
    for _ in range(3):
        assert mary.post("/account/keys", data=form).status_code == 201
    refused = mary.post("/account/keys", data=form)
    assert refused.status_code == 409
    assert "3 keys work already, and that is the most a person may have. End one first." in refused.text
    mine = f"/api/v1/users/{cast.mary}/keys"
    assert mary.post(mine, json={"scopes": ["annotate"]}).status_code == 409
    assert api("admin", who="Grace").post(f"/api/v1/users/{cast.grace}/keys", json={"scopes": ["annotate"]}).status_code == 201
    with write_session(engine) as session:
        session.execute(update(ApiKey).where(ApiKey.user_id == cast.mary).values(expires_at=utc_now() - timedelta(days=1)))
    made = [mary.post(mine, json={"scopes": ["annotate"]}) for _ in range(4)]
    assert [reply.status_code for reply in made] == [201, 201, 201, 409]
    assert mary.post(f"/account/keys/{made[0].json()['id']}/revocation").status_code == 303
    assert mary.post(mine, json={"scopes": ["annotate"]}).status_code == 201


def test_a_project_has_so_many_programs(api: Api, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MOST_PROGRAMS", 5)  # the three of the cast have no password, either
    admin = api("admin", who="Grace")

    def make(number: int) -> int:
        body = {"name": "Robot", "email": f"robot-{number}@example.org", "role": "annotator", "projects": ["demo"]}
        return admin.post("/api/v1/users", json=body).status_code

    assert [make(number) for number in range(3)] == [201, 201, 409]
    make_program(api, who="Eve", project="other")  # which has programs of its own
    with write_session(engine) as session:
        session.get_one(User, cast.mary).password_hash = "set"  # a person
    assert [make(number) for number in range(3, 5)] == [201, 409]
