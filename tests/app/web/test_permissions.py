"""Who may do what: every route has a rule, every rule a route, and every route was tried by everyone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import update
from sqlalchemy.orm import Session
from starlette.routing import Mount
from starlette.testclient import TestClient

from app.contenders.service import contender_of
from app.database.engine import write_session
from app.main import create_app
from app.models import (
    ApiKey,
    Chat,
    Checkpoint,
    Evaluation,
    Invitation,
    Label,
    Membership,
    Round,
    SignInSession,
    User,
    utc_now,
)
from app.settings import Settings
from app.web.permissions import BELOW_CALLS, RULES, Level, Rule
from app.web.security import digest, session_cookie
from tests.app import factories

# What anyone in the world may reach. Written out by hand: a new public route is a decision, not a line in a table.
OPEN_TO_ALL = {
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("GET", "/sign-in/code"),
    ("POST", "/sign-in/code"),
    ("POST", "/language"),
    ("POST", "/csp-reports"),
    ("GET", "/invitations/{token}"),
    ("POST", "/invitations/{token}"),
    ("GET", "/password/{token}"),
    ("POST", "/password/{token}"),
    ("GET", "/api/v1/health"),
    ("GET", "/api/v1/health/live"),
    ("GET", "/api/v1/openapi.json"),
    ("HEAD", "/api/v1/openapi.json"),
}

# Who passes at which level, by hand. In project `demo` Grace is admin, Alan reviewer, Mary annotator; Eve is admin of `other`.
PASSES = {
    Level.SIGNED_IN: {"Mary", "Alan", "Grace", "Eve", "Ada"},
    Level.ANNOTATOR: {"Mary", "Alan", "Grace", "Ada"},
    Level.REVIEWER: {"Alan", "Grace", "Ada"},
    Level.ADMIN: {"Grace", "Ada"},
    Level.ANY_ADMIN: {"Grace", "Eve", "Ada"},
    Level.OWNER: {"Ada"},
}

PEOPLE = ("Mary", "Alan", "Grace", "Eve", "Ada")
KEYS = (
    ("Mary", "annotate"),
    ("Mary", "export"),
    ("Mary", "generate"),
    ("Mary", "admin"),
    ("Grace", "annotate"),
    ("Grace", "export"),
    ("Grace", "generate"),
    ("Grace", "admin"),
    ("Eve", "admin"),
    ("Ada", "export"),
    ("Ada", "admin"),
)
NOBODY = ("nobody", "expired session", "revoked session", "expired key", "revoked key", "wrong key", "disabled person")

ROUTES = sorted(RULES)


@dataclass(frozen=True)
class Stage:
    """One installation that has one of everything, and a browser or program per caller."""

    app: FastAPI
    browsers: dict[str, TestClient]
    ids: dict[str, int]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    shutil.copy(empty_database, folder / "tastemaker.db")
    settings = Settings(data=folder)
    app = create_app(settings)
    with write_session(app.state.engine) as session:
        ids = _one_of_everything(session)
        browsers = _callers(session, app, settings, ids)
        ids["spare key"] = int(factories.make_key(session, ids["Mary"], "annotate").split("_")[1])
    yield Stage(app, browsers, ids)
    app.state.engine.dispose()


def _one_of_everything(session: Session) -> dict[str, int]:
    ids = {name: factories.make_user(session, name, owner=name == "Ada").id for name in (*PEOPLE, "Gone", "Spare")}
    demo = factories.make_project(session, "demo")
    other = factories.make_project(session, "other")
    for name, role in (("Mary", "annotator"), ("Alan", "reviewer"), ("Grace", "admin"), ("Gone", "annotator")):
        factories.make_membership(session, ids[name], demo.id, role)  # type: ignore[arg-type]
    factories.make_membership(session, ids["Eve"], other.id, "admin")
    task = factories.make_task(session, demo)
    run = factories.make_run(session, demo.id)
    assert demo.policy_id is not None
    round_ = Round(project_id=demo.id, number=1, trigger="admin", label_count=0, start_policy_id=demo.policy_id, state="failed")
    label = Label(
        project_id=demo.id,
        task_id=task.id,
        annotator_id=ids["Mary"],
        client_id="a",
        payload_hash="a",
        kind="comparison",
        choice="tie",
        left_generation_id=task.first_generation_id,
        right_generation_id=task.second_generation_id,
        guideline_version=1,
        interface_version="1",
        served_reason="random",
    )
    invitation = Invitation(token_hash=digest("token"), role="annotator", project_id=demo.id, expires_at=_soon())
    session.add_all([round_, label, invitation])
    session.flush()
    writer = contender_of(session, session.get_one(Checkpoint, demo.policy_id))
    evaluation = Evaluation(
        project_id=demo.id, baseline_id=writer.id, budget=20, error=0.05, flag_margin=0.1, overlap=1, pairs=1, prompt_ids=[]
    )
    chat = Chat(project_id=demo.id, annotator_id=ids["Mary"], client_id="a")
    session.add_all([evaluation, chat])
    session.flush()
    return ids | {
        "task": task.id,
        "run": run.id,
        "round": round_.id,
        "evaluation": evaluation.id,
        "chat": chat.id,
        "label": label.id,
        "checkpoint": demo.policy_id,
        "prompt": task.prompt_id,
        "generation": task.first_generation_id,
        "invitation": invitation.id,
    }


def _callers(session: Session, app: FastAPI, settings: Settings, ids: dict[str, int]) -> dict[str, TestClient]:
    browsers: dict[str, TestClient] = {name: _client(app) for name in NOBODY}
    for name in PEOPLE:
        browsers[name] = _client(app, cookie=factories.make_sign_in(session, ids[name]), settings=settings)
    for name, scope in KEYS:
        browsers[f"{name}/{scope}"] = _client(app, key=factories.make_key(session, ids[name], scope))
    late, ended = factories.make_sign_in(session, ids["Ada"]), factories.make_sign_in(session, ids["Ada"])
    session.execute(update(SignInSession).where(SignInSession.id_hash == digest(late)).values(expires_at=_past()))
    session.execute(update(SignInSession).where(SignInSession.id_hash == digest(ended)).values(revoked_at=_past()))
    browsers["expired session"] = _client(app, cookie=late, settings=settings)
    browsers["revoked session"] = _client(app, cookie=ended, settings=settings)
    old, withdrawn = (factories.make_key(session, ids["Ada"], "admin") for _ in range(2))
    session.execute(update(ApiKey).where(ApiKey.secret_hash == digest(old.split("_", 2)[2])).values(expires_at=_past()))
    session.execute(update(ApiKey).where(ApiKey.secret_hash == digest(withdrawn.split("_", 2)[2])).values(revoked_at=_past()))
    browsers["expired key"], browsers["revoked key"] = _client(app, key=old), _client(app, key=withdrawn)
    working = factories.make_key(session, ids["Ada"], "admin")
    browsers["wrong key"] = _client(app, key=working[:-3] + ("abc" if not working.endswith("abc") else "xyz"))
    session.execute(update(User).where(User.id == ids["Gone"]).values(is_owner=True, disabled_at=_past()))
    browsers["disabled person"] = _client(app, cookie=factories.make_sign_in(session, ids["Gone"]), settings=settings)
    return browsers


def _client(app: FastAPI, *, cookie: str = "", key: str = "", settings: Settings | None = None) -> TestClient:
    client = TestClient(app, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=False)
    if cookie:
        assert settings is not None
        client.cookies.set(session_cookie(settings), cookie)
    if key:
        client.headers["authorization"] = f"Bearer {key}"
    return client


def _soon() -> datetime:
    return utc_now() + timedelta(days=1)


def _past() -> datetime:
    return utc_now() - timedelta(days=1)


# The table and the routes


def test_every_route_has_a_rule_and_every_rule_a_route(app: FastAPI) -> None:
    routes = {
        (method, context.path_format)
        for context in iter_route_contexts(app.routes)
        if not isinstance(context.original_route, Mount)
        for method in context.methods or ()
    }
    assert len(routes) > 40
    assert {route for route in routes if route not in RULES and route[0] != "HEAD"} == set(), "routes without a rule"
    assert set(RULES) - routes == set(), "rules without a route"


def test_a_mount_serves_nothing_but_static_files(app: FastAPI) -> None:
    mounts = [context.path for context in iter_route_contexts(app.routes) if isinstance(context.original_route, Mount)]
    assert mounts == ["/static"]


def test_a_route_without_a_rule_is_closed_to_everyone(client: TestClient, api: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/account").status_code == 200
    monkeypatch.delitem(RULES, ("GET", "/account"))
    assert client.get("/account").status_code == 403


def test_only_these_routes_are_open_to_all() -> None:
    assert {route for route, rule in RULES.items() if rule.level == Level.PUBLIC} <= OPEN_TO_ALL


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_route_about_one_project_asks_for_a_role_in_it(route: tuple[str, str]) -> None:
    rule = RULES[route]
    if "{slug}" in route[1]:
        assert rule.source == "slug"
    if rule.source:
        assert "{" + rule.parameter + "}" in route[1]
        assert rule.level in (Level.ANNOTATOR, Level.REVIEWER, Level.ADMIN)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_call_that_changes_something_asks_a_key_for_a_scope(route: tuple[str, str]) -> None:
    method, path = route
    if path.startswith("/api/") and method != "GET":
        assert RULES[route].scope in ("annotate", "generate", "admin")
    if not path.startswith(BELOW_CALLS):
        assert RULES[route].scope is None, "pages take no keys"


# All routes by all callers


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_everyone_gets_as_far_as_their_role_goes(stage: Stage, route: tuple[str, str]) -> None:
    method, path = route
    rule = RULES[route]
    for caller, client in stage.browsers.items():
        reply = client.request(method, _address(path, rule, stage.ids), headers={"content-type": "application/json"})
        assert reply.status_code != 500, f"{caller}: {reply.text}"
        assert _came_through(reply.status_code, reply.text, reply.headers) is _may(caller, rule, path), (
            f"{caller} at {method} {path}: {reply.status_code} {reply.text[:300]}"
        )


def _may(caller: str, rule: Rule, path: str) -> bool:
    """What ought to be, from the tables above."""
    if rule.level == Level.PUBLIC:
        return True
    name, _, scope = caller.partition("/")
    if name not in PASSES[rule.level]:
        return False
    return not scope or (path.startswith(BELOW_CALLS) and (rule.scope is None or scope in (rule.scope, "admin")))


def _came_through(status: int, text: str, headers: Mapping[str, str]) -> bool:
    """Whether the gate let it in. A browser without a form token, as these are, is stopped behind it with words of its own."""
    turned_away = status == 401 or (status == 303 and headers["location"].startswith("/sign-in?next="))
    token_missing = "This form is too old" in text
    unknown = status == 404 and "There is nothing here, or it belongs to a project you are not a member of" in text
    return not (turned_away or unknown or (status == 403 and not token_missing))


def _address(path: str, rule: Rule, ids: dict[str, int]) -> str:
    subject: str = rule.source if rule.source and rule.source != "slug" else "Mary"
    if "/invitations/{id}" in path:
        subject = "invitation"
    if "/projects/{slug}/people/{id}" in path:
        subject = "Gone"  # a member who calls nothing, so that whoever is removed here is missed by no other call
    elif "/people/{id}" in path or ("/users/{id}/" in path and not path.endswith("/keys")):
        subject = "Spare"  # nor does this one, who is put out and let in again
    if "/keys/{id}" in path:
        subject = "spare key"
    values = {"slug": "demo", "token": "token", "name": "manifest.json", "client_id": "1", "id": str(ids[subject])}
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


def test_the_caller_of_another_project_does_not_learn_that_this_one_exists(stage: Stage) -> None:
    eve = stage.browsers["Eve/admin"]
    there, nowhere = eve.get("/api/v1/projects/demo"), eve.get("/api/v1/projects/nowhere")
    assert there.status_code == nowhere.status_code == 404
    assert there.json() == nowhere.json()


def test_roles_are_read_afresh_for_each_request(app: FastAPI, as_user: Callable[[str], TestClient]) -> None:
    grace = as_user("Grace")
    assert grace.get("/projects/demo/people").status_code == 200
    with write_session(app.state.engine) as session:
        session.execute(update(Membership).where(Membership.role == "admin").values(role="annotator"))
    assert grace.get("/projects/demo/people").status_code == 403
