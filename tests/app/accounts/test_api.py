from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session
from app.models import User
from tests.app.conftest import Cast

Api = Callable[..., TestClient]


def test_a_key_says_whose_it_is_and_what_it_may_do(api: Api, cast: Cast) -> None:
    me = api("annotate", "export", who="Mary").get("/api/v1/users/me").json()
    assert (me["id"], me["name"], me["scopes"]) == (cast.mary, "Mary", ["annotate", "export"])
    assert me["projects"] == [{"slug": "demo", "name": "Demo", "role": "annotator"}]


def test_one_changes_ones_own_name_and_no_more(api: Api, engine: Engine, cast: Cast) -> None:
    program = api("admin", who="Mary")
    assert program.patch("/api/v1/users/me", json={"name": " Mary Ann "}).json()["name"] == "Mary Ann"
    assert program.patch("/api/v1/users/me", json={"name": "Mary", "email": "new@example.org"}).status_code == 422
    assert api("annotate", who="Mary").patch("/api/v1/users/me", json={"name": "Eve"}).status_code == 403
    with read_session(engine) as session:
        assert session.get_one(User, cast.mary).name == "Mary Ann"


def test_ones_own_keys_are_listed_without_their_secrets(api: Api) -> None:
    api("annotate", who="Alan")
    program = api("admin", who="Mary")
    (key,) = program.get("/api/v1/keys").json()
    assert key["scopes"] == ["admin"]
    assert "key" not in key
    assert program.headers["authorization"].rpartition("_")[2] not in str(key)
