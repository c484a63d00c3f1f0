from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from app.database import slices
from app.database.slices import beside_requests

Api = Callable[..., TestClient]
URL = "/api/v1/projects/demo/prompts"


def test_prompts_come_in_as_json_or_as_lines(api: Api) -> None:
    program = api("admin", who="Grace")
    reply = program.post(URL, json={"items": [{"text": "One?"}, {"text": "Two?", "external_id": "b"}]})
    taken = {"created": 2, "duplicates": 0, "rejected": [], "left_out": [], "near": [], "warning": None}
    assert (reply.status_code, reply.json()) == (200, taken)
    lines = '{"text": "Two?"}\n{"text": "Three?"}\n'
    reply = program.post(URL, content=lines, headers={"content-type": "application/x-ndjson"})
    assert reply.json() == {"created": 1, "duplicates": 1, "rejected": [], "left_out": [], "near": [], "warning": None}
    listed = program.get(URL).json()
    assert [item["messages"][0]["content"] for item in listed["items"]] == ["Three?", "Two?", "One?"]
    assert listed["items"][1]["external_id"] == "b"


def test_a_bad_item_is_named_and_nothing_is_imported(api: Api) -> None:
    program = api("admin", who="Grace")
    reply = program.post(URL, json={"items": [{"text": "One?"}, {"text": ""}, {"messages": 3}]})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert (body["created"], body["duplicates"]) == (0, 0)
    assert [bad["line"] for bad in body["rejected"]] == [2, 3]
    assert program.get(URL).json()["items"] == []


def test_bad_items_can_be_left_out(api: Api) -> None:
    reply = api("admin", who="Grace").post(URL, params={"skip_bad_lines": True}, json={"items": [{"text": "One?"}, {}]})
    assert reply.status_code == 200
    assert (reply.json()["created"], len(reply.json()["rejected"])) == (1, 1)


def test_other_bodies_are_refused_in_words(api: Api) -> None:
    program = api("admin", who="Grace")
    form = "application/x-www-form-urlencoded"
    for content, kind in (("text=One", form), ("[1]", "application/json"), ("{", "application/json")):
        reply = program.post(URL, content=content, headers={"content-type": kind})
        assert reply.status_code == 422, content
        assert "messages" in reply.text or "not JSON" in reply.text or "application/json" in reply.text


def test_a_kind_of_content_is_read_as_what_it_says(api: Api) -> None:
    program = api("admin", who="Grace")
    for content, kind in (
        ("topic,prompt\nsky,Why?\n", "text/csv"),
        ("Who?\n", "text/plain"),
        ('[{"text": "How?"}]', "application/json"),
    ):
        assert program.post(URL, content=content, headers={"content-type": kind}).json()["created"] == 1, kind
    listed = program.get(URL).json()["items"]
    assert [(item["messages"][0]["content"], item["extra"]) for item in reversed(listed)] == [
        ("Why?", {"topic": "sky"}),
        ("Who?", {}),
        ("How?", {}),
    ]


def test_what_is_nearly_the_same_comes_in_and_is_named(api: Api) -> None:
    program = api("admin", who="Grace")
    items = [{"text": "Why do cats purr when they sleep on a chair?"}, {"text": "Why do cats purr when they sleep on the chair?"}]
    reply = program.post(URL, json={"items": items}).json()
    twin, near = [item["id"] for item in reversed(program.get(URL).json()["items"])]
    assert reply["created"] == 2
    assert [(one["line"], one["prompt_id"], one["twin_id"], one["twin_line"]) for one in reply["near"]] == [(2, near, twin, 1)]
    found = program.get(URL, params={"near": "twin"}).json()["items"]
    assert [(item["id"], item["twin_id"]) for item in found] == [(near, twin)]


def test_pages_of_the_list_follow_each_other(api: Api) -> None:
    program = api("admin", who="Grace")
    program.post(URL, json={"items": [{"text": f"{number}?"} for number in range(5)]})
    first = program.get(URL, params={"limit": 3}).json()
    second = program.get(URL, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    seen = [item["messages"][0]["content"] for item in first["items"] + second["items"]]
    assert seen == ["4?", "3?", "2?", "1?", "0?"]
    assert second["next_cursor"] is None


def test_a_prompt_is_put_away_and_brought_back(api: Api) -> None:
    program = api("admin", who="Grace")
    program.post(URL, json={"items": [{"text": "One?"}]})
    number = program.get(URL).json()["items"][0]["id"]
    assert program.post(f"/api/v1/prompts/{number}/archive").json()["archived_at"] is not None
    assert program.get(URL).json()["items"] == []
    assert program.post(f"/api/v1/prompts/{number}/restore").json()["archived_at"] is None
    assert len(program.get(URL).json()["items"]) == 1


def test_a_large_import_is_taken_and_a_larger_one_is_not(api: Api) -> None:
    program = api("admin", who="Grace")
    lines = "\n".join(json.dumps({"text": f"{number} " + "x" * 2000}) for number in range(1000))
    headers = {"content-type": "application/x-ndjson"}
    assert program.post(URL, content=lines, headers=headers).json()["created"] == 1000
    assert program.post(URL, content=lines * 9, headers=headers).status_code == 413


def test_annotators_import_nothing(api: Api) -> None:
    assert api("admin", who="Mary").post(URL, json={"items": [{"text": "One?"}]}).status_code == 403
    assert api("annotate", who="Grace").post(URL, json={"items": [{"text": "One?"}]}).status_code == 403


@contextmanager
def two_long_deeds() -> Iterator[None]:
    """As many imports of others are under way as there can be."""
    may_end = threading.Event()

    async def both() -> None:
        await asyncio.gather(*(beside_requests(lambda: may_end.wait(60)) for _ in range(slices.AT_ONCE)))

    with ThreadPoolExecutor(1) as beside:
        deeds = beside.submit(asyncio.run, both())
        time.sleep(0.2)
        try:
            yield
        finally:
            may_end.set()
            deeds.result(timeout=10)


def test_few_prompts_wait_for_no_long_import(
    api: Api, as_user: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "PATIENCE_S", 0.2)
    program, page = api("admin", who="Grace"), as_user("Grace")
    some = {"items": [{"text": f"Why {number}?"} for number in range(slices.FIRST)]}
    with two_long_deeds():
        assert program.post(URL, json=some).json()["created"] == slices.FIRST
        ids = [item["id"] for item in program.get(URL).json()["items"]]
        assert program.post(f"{URL}/archive", json={"ids": ids[:3]}).json() == {"changed": 3}
        assert page.post("/projects/demo/prompts/archive", data={"id": ids[3:6]}).status_code == 303
        assert page.post("/projects/demo/prompts/import", data={"pasted": "How?", "format": "auto"}).status_code == 303
        assert len(program.get(URL, params={"archived": True}).json()["items"]) == 6

        more = {"items": [*some["items"], {"text": "And this?"}]}
        lines = "\n".join(item["text"] for item in more["items"])
        for reply in (
            program.post(URL, json=more),
            program.post(f"{URL}/archive", json={"ids": [*ids, *range(10**6, 10**6 + slices.FIRST)]}),
            page.post("/projects/demo/prompts/archive", data={"all": "on"}),
            page.post("/projects/demo/prompts/import", data={"pasted": lines, "format": "auto"}),
        ):
            assert reply.status_code == 503, reply.text
