"""An admin's one-time link for somebody who forgot their password."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.accounts.service import add_member
from app.database.engine import read_session, write_session
from app.models import Membership, PasswordLink, User, utc_now
from app.web.security import hash_password, password_matches
from tests.app import factories
from tests.app.conftest import Cast, another_process_writes

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]

NEW = "seven purple umbrellas"


@pytest.fixture
def forgetful(engine: Engine, cast: Cast) -> int:
    with write_session(engine) as session:
        session.get_one(User, cast.mary).password_hash = hash_password("correct horse battery")
    return cast.mary


def link_from(page: str) -> str:
    found = re.search(r"/password/[\w-]+", page)
    assert found is not None
    return found.group()


def ask(admin: TestClient, user_id: int, project: str = "demo") -> str:
    reply = admin.post(f"/projects/{project}/people/{user_id}/password-link")
    assert reply.status_code == 201
    return link_from(reply.text)


def test_the_link_sets_a_new_password_signs_in_and_signs_every_other_browser_out(
    as_user: AsUser, visitor: TestClient, engine: Engine, forgetful: int
) -> None:
    before = as_user("Mary")
    link = ask(as_user("Grace"), forgetful)
    assert "mary@example.org" in visitor.get(link).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', visitor.get(link).text)
    assert token is not None
    reply = visitor.post(link, data={"password": NEW, "csrf_token": token.group(1)})
    assert reply.status_code == 303
    assert visitor.get("/account").status_code == 200
    assert before.get("/account").headers["location"].startswith("/sign-in")
    with read_session(engine) as session:
        assert password_matches(NEW, session.get_one(User, forgetful).password_hash)


def test_it_works_once_for_a_day_and_only_the_last_one(
    as_user: AsUser, visitor: TestClient, engine: Engine, forgetful: int
) -> None:
    first, second = ask(as_user("Grace"), forgetful), ask(as_user("Grace"), forgetful)
    assert visitor.get(first).status_code == 410
    assert visitor.get(second).status_code == 200
    with write_session(engine) as session:
        session.execute(update(PasswordLink).values(expires_at=utc_now() - timedelta(seconds=1)))
    assert visitor.get(second).status_code == 410


def test_a_used_link_is_gone(as_user: AsUser, engine: Engine, forgetful: int) -> None:
    link = ask(as_user("Grace"), forgetful)
    assert as_user("Alan").post(link, data={"password": NEW}).status_code == 303  # any browser: its form token is what counts
    assert as_user("Alan").post(link, data={"password": "another long sentence"}).status_code == 410


def test_of_two_who_use_a_link_at_once_one_sets_the_password(as_user: AsUser, engine: Engine, forgetful: int) -> None:
    """On SQLite; tests/app/database/test_postgres.py tries it there."""
    link, passwords = ask(as_user("Grace"), forgetful), [NEW, "another long sentence"]
    browsers = [as_user("Alan"), as_user("Eve")]
    with ThreadPoolExecutor(2) as pool:
        with another_process_writes(engine):
            uses = [pool.submit(one.post, link, data={"password": new}) for one, new in zip(browsers, passwords, strict=True)]
            assert wait(uses, timeout=1.0).done == set()  # the link still opens as both look
        statuses = [use.result(10).status_code for use in uses]
    assert sorted(statuses) == [303, 410]
    with read_session(engine) as session:
        assert password_matches(passwords[statuses.index(303)], session.get_one(User, forgetful).password_hash)


def test_a_weak_password_is_refused_and_the_link_stays(as_user: AsUser, forgetful: int) -> None:
    link = ask(as_user("Grace"), forgetful)
    browser = as_user("Alan")
    assert browser.post(link, data={"password": "short"}).status_code == 422
    assert browser.get(link).status_code == 200


def test_an_admin_cannot_become_somebody_of_a_project_they_do_not_run(
    as_user: AsUser, api: Api, engine: Engine, cast: Cast, forgetful: int
) -> None:
    with write_session(engine) as session:
        factories.make_membership(session, forgetful, cast.other, "annotator")
    assert as_user("Grace").post(f"/projects/demo/people/{forgetful}/password-link").status_code == 403
    assert api("admin", who="Grace").post(f"/api/v1/projects/demo/people/{forgetful}/password-link").status_code == 403
    assert as_user("Ada").post(f"/projects/demo/people/{forgetful}/password-link").status_code == 201


def test_an_admin_cannot_become_the_owner(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(User, cast.ada).password_hash = hash_password("correct horse battery")
        factories.make_membership(session, cast.ada, cast.demo, "annotator")
    assert as_user("Grace").post(f"/projects/demo/people/{cast.ada}/password-link").status_code == 403


def test_nobody_is_let_into_an_account_without_a_membership_or_a_password(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    assert as_user("Grace").post(f"/projects/demo/people/{cast.eve}/password-link").status_code == 404
    with write_session(engine) as session:
        session.get_one(User, cast.alan).password_hash = None
    assert as_user("Grace").post(f"/projects/demo/people/{cast.alan}/password-link").status_code == 403


def test_the_token_is_stored_nowhere(as_user: AsUser, engine: Engine, forgetful: int) -> None:
    token = ask(as_user("Grace"), forgetful).rpartition("/")[2]
    with read_session(engine) as session:
        link = session.scalars(select(PasswordLink)).one()
        assert token not in {str(getattr(link, column.key)) for column in PasswordLink.__table__.columns}
        assert session.scalar(select(Membership.role).where(Membership.user_id == forgetful)) == "annotator"


def test_nobody_makes_one_for_themselves(api: Api, as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(User, cast.grace).password_hash = hash_password("correct horse battery")
    assert as_user("Grace").post(f"/projects/demo/people/{cast.grace}/password-link").status_code == 403
    assert api("admin", who="Grace").post(f"/api/v1/projects/demo/people/{cast.grace}/password-link").status_code == 403


@pytest.mark.parametrize("what", ["joins another project", "gets another role", "is removed", "maker is demoted"])
def test_a_link_ends_with_what_allowed_it(
    as_user: AsUser, visitor: TestClient, engine: Engine, cast: Cast, forgetful: int, what: str
) -> None:
    link = ask(as_user("Grace"), forgetful)
    ada = as_user("Ada")
    if what == "joins another project":
        with write_session(engine) as session:
            add_member(session, forgetful, cast.other, "annotator")
    elif what == "gets another role":
        ada.post(f"/projects/demo/people/{forgetful}/role", data={"role": "reviewer"})
    elif what == "is removed":
        ada.post(f"/projects/demo/people/{forgetful}/removal")
    else:
        ada.post(f"/projects/demo/people/{cast.grace}/role", data={"role": "annotator"})
    assert visitor.get(link).status_code == 410
