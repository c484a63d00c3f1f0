"""The page and the call of what the prompts cover, and the list of prompts narrowed to a cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Prompt, Task
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.coverage.drawn import draw
from tests.app.exports.judging import judge
from trainer.contract.coverage.clusters import Cluster

Api = Callable[..., TestClient]
As = Callable[[str], TestClient]
PAGE = "/projects/demo/prompts/coverage"


@pytest.fixture
def prompts(engine: Engine, cast: Cast, settings: Settings) -> list[int]:
    """Two of one cluster, the first with a label, one of another, and one that came later."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        labelled = judge(session, project, cast.mary, choice="left")
        task = session.get_one(Task, labelled.task_id)
        ids = [task.prompt_id, *(factories.make_prompt(session, cast.demo, f"Number {n}, <b>please</b>?").id for n in range(3))]
        draw(session, cast.demo, settings.runs, Cluster((ids[1], ids[0]), ("天空", "sky")), Cluster((ids[2],)))
    return ids


def map_of(api: Api) -> int:
    """The run that drew the newest."""
    run_id: int = api("admin", who="Grace").get("/api/v1" + PAGE).json()["run_id"]
    return run_id


def test_before_the_first_map_the_page_says_what_draws_one(cast: Cast, as_user: As, api: Api) -> None:
    page = as_user("Grace").get(PAGE).text
    assert "No map yet" in page
    assert "at least 20 prompts" in page
    reply = api("admin", who="Grace").get("/api/v1" + PAGE).json()
    assert reply == {"run_id": None, "drawn_at": None, "prompts": 0, "on_map": 0, "not_yet": 0, "clusters": []} | {
        "compared": None,
        "coded_compared": None,
    }


def test_the_page_shows_each_cluster_and_which_have_few_labels(prompts: list[int], as_user: As, api: Api) -> None:
    page = as_user("Grace").get(PAGE).text
    assert "天空, sky" in page
    assert "Cluster 2" in page
    assert f'href="/projects/demo/prompts?cluster={map_of(api)}.2"' in page
    assert "few labels" in page
    assert "Number 0, &lt;b&gt;please&lt;/b&gt;?" in page
    assert "Not yet on it, because they came later or no answer to them was read: 1 prompt." in page
    assert 'class="heat' not in page
    assert PAGE in as_user("Grace").get("/projects/demo/prompts").text


def test_the_call_says_the_same_to_admins_alone(prompts: list[int], api: Api, as_user: As) -> None:
    reply = api("admin", who="Grace").get("/api/v1" + PAGE).json()
    nothing = {"n": 0, "value": None, "low": None, "high": None, "enough": False}
    assert (reply["prompts"], reply["on_map"], reply["not_yet"]) == (4, 3, 1)
    assert reply["clusters"][0] == {
        "key": f"{reply['run_id']}.1",
        "number": 1,
        "words": ["天空", "sky"],
        "prompts": 2,
        "share": pytest.approx(2 / 3),
        "languages": {"": 2},
        "labels": 1,
        "few_labels": True,
        "differ": nothing,
        "wins": nothing,
        "example_ids": [prompts[1], prompts[0]],
    }
    for who in ("Alan", "Mary"):
        assert as_user(who).get(PAGE).status_code == 403


def test_the_list_of_prompts_is_narrowed_to_a_cluster(
    prompts: list[int], api: Api, as_user: As, engine: Engine, cast: Cast, settings: Settings
) -> None:
    drawn = map_of(api)
    listed = api("admin", who="Grace").get("/api/v1/projects/demo/prompts", params={"cluster": f"{drawn}.1"}).json()["items"]
    assert [one["id"] for one in listed] == sorted(prompts[:2], reverse=True)
    assert api("admin", who="Grace").get("/api/v1/projects/demo/prompts", params={"cluster": f"{drawn}.9"}).json()["items"] == []
    assert api("admin", who="Grace").get("/api/v1/projects/demo/prompts", params={"cluster": "1"}).status_code == 422
    grace = as_user("Grace")
    page = grace.get("/projects/demo/prompts", params={"cluster": f"{drawn}.2", "work": "unlabelled"}).text
    assert "Found: 1 prompt." in page
    assert "Only cluster 2 of" in page
    assert f'<input type="hidden" name="cluster" value="{drawn}.2">' in page
    with write_session(engine) as session:  # a later map, before the button is pressed
        draw(session, cast.demo, settings.runs, Cluster((prompts[0],)), Cluster((prompts[1],)))
    gone = grace.post(f"/projects/demo/prompts/archive?cluster={drawn}.2", data={"all": "on"})
    assert gone.headers["location"] == f"/projects/demo/prompts?cluster={drawn}.2"
    with write_session(engine) as session:
        put_away = {one.id for one in session.query(Prompt).filter(Prompt.archived_at.is_not(None))}
    assert put_away == {prompts[2]}
