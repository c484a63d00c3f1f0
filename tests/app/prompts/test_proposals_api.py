"""Prompts from talks over the API."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests.app.conftest import Cast
from tests.app.prompts.test_proposals import proposed

Api = Callable[..., TestClient]


def test_an_admin_lists_accepts_and_refuses_them(api: Api, engine: Engine, cast: Cast) -> None:
    first, second, _third = proposed(engine, cast, "One?", "Two?", "Three?")
    grace, where = api("admin", who="Grace"), "/api/v1/projects/demo/prompts/proposed"
    page = grace.get(where, params={"limit": 2}).json()
    assert [(one["prompt"]["id"], one["author"]) for one in page["items"]] == [(first, "Mary"), (second, "Mary")]
    rest = grace.get(where, params={"cursor": page["next_cursor"]}).json()
    assert [one["prompt"]["messages"][0]["content"] for one in rest["items"]] == ["Three?"]
    accepted = grace.post(f"/api/v1/prompts/{first}/accept")
    assert (accepted.status_code, accepted.json()["archived_at"]) == (200, None)
    refused = grace.post(f"/api/v1/prompts/{second}/refuse")
    assert (refused.status_code, refused.json()["archived_at"] is None) == (200, False)
    assert grace.post(f"/api/v1/prompts/{first}/refuse").status_code == 409
    assert len(grace.get(where).json()["items"]) == 1


def test_whoever_annotates_cannot_decide_on_them(api: Api, engine: Engine, cast: Cast) -> None:
    (prompt_id,) = proposed(engine, cast, "One?")
    assert api("admin", who="Mary").post(f"/api/v1/prompts/{prompt_id}/accept").status_code == 403
