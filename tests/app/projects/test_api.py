from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient

Api = Callable[..., TestClient]
NEW = {
    "name": "Poems",
    "base_model": "org/model",
    "guidelines": "Be *kind*.",
    "criteria": [{"key": "rhyme", "name": "Rhyme", "description": "It rhymes.", "anchors": {"1": "no", "5": "yes"}}],
    "overlap": 2,
    "rating_share": 0.5,
    "ranking_share": 0.25,
    "ranking_answers": 3,
    "sampling": {"temperature": 0.9},
    "training": {"ppo": {"updates": 4}},
    "triggers": {"on": True, "labels": 40},
}


def test_a_project_is_made_read_and_changed(api: Api) -> None:
    program = api("admin")
    made = program.post("/api/v1/projects", json=NEW)
    assert made.status_code == 201
    assert made.json() == program.get("/api/v1/projects/poems").json()
    assert made.json()["sampling"]["temperature"] == 0.9
    assert made.json()["sampling"]["per_prompt"] == 2
    assert made.json()["triggers"] == {"on": True, "labels": 40, "hours": None}
    changed = program.patch("/api/v1/projects/poems", json={"guidelines": "Be kinder.", "triggers": {"hours": 12}})
    assert changed.status_code == 200
    assert (changed.json()["guideline_version"], changed.json()["guidelines"]) == (2, "Be kinder.")
    assert changed.json()["triggers"] == {"on": True, "labels": 40, "hours": 12.0}, "what is left out stays"
    cleared = program.patch("/api/v1/projects/poems", json={"triggers": {"labels": None}})
    assert cleared.json()["triggers"] == {"on": True, "labels": None, "hours": 12.0}
    assert changed.json()["name"] == "Poems"


def test_flags_criteria_and_the_way_text_is_shown_can_be_set(api: Api) -> None:
    flags = [{"key": "rude", "name": "rude", "description": "", "weight": 0.25}]
    changed = api("admin", who="Grace").patch(
        "/api/v1/projects/demo", json={"flags": flags, "criteria": [], "text_display": "markdown"}
    )
    assert changed.status_code == 200
    assert (changed.json()["flags"], changed.json()["text_display"]) == (flags, "markdown")
    assert [criterion["key"] for criterion in changed.json()["retired"]["criteria"]] == ["fluency", "accuracy"]
    assert len(changed.json()["retired"]["flags"]) == 6


def test_reasons_for_marks_are_set_reworded_and_kept_when_they_go(api: Api) -> None:
    grace, url = api("admin", who="Grace"), "/api/v1/projects/demo"
    first = grace.patch(url, json={"span_reasons": [{"key": "wrong", "name": "wrong"}]}).json()["span_reasons"]
    assert [(one["tone"], one["version"]) for one in first] == [("bad", 1)]
    assert grace.patch(url, json={"span_reasons": first}).json()["span_reasons"] == first
    (reason,) = grace.patch(url, json={"span_reasons": [first[0] | {"name": "untrue"}]}).json()["span_reasons"]
    assert (reason["version"], reason["earlier"]) == (2, ["wrong"])
    (praise,) = grace.patch(url, json={"span_reasons": [reason | {"tone": "good"}]}).json()["span_reasons"]
    assert (praise["version"], praise["since"] > reason["since"]) == (2, True)
    (reason,) = grace.patch(url, json={"span_reasons": [reason]}).json()["span_reasons"]
    removed = grace.patch(url, json={"span_reasons": []}).json()
    assert (removed["span_reasons"], removed["retired"]["span_reasons"]) == ([], [reason])
    back = grace.patch(url, json={"span_reasons": [{"key": "wrong", "name": "untrue"}]}).json()["span_reasons"]
    assert back[0]["version"] == 2
    for wrong in ([{"key": "fluency", "name": "Fluent"}], [{"key": f"r{n}", "name": "x"} for n in range(13)], [first[0]] * 2):
        refused = grace.patch(url, json={"span_reasons": wrong})
        assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, ["span_reasons"])


def test_a_rubric_is_set_and_sent_back_as_it_was_read(api: Api) -> None:
    grace, url = api("admin", who="Grace"), "/api/v1/projects/demo"
    first = grace.patch(url, json={"rubric": [{"key": "sourced", "name": "Sourced?", "required": True}]}).json()["rubric"]
    assert grace.patch(url, json={"rubric": first}).json()["rubric"] == first
    (item,) = grace.patch(url, json={"rubric": [first[0] | {"name": "Is there a source?"}]}).json()["rubric"]
    assert (item["version"], item["earlier"], item["required"]) == (2, ["Sourced?"], True)
    removed = grace.patch(url, json={"rubric": []}).json()
    assert (removed["rubric"], removed["retired"]["rubric"]) == ([], [item])
    weighed = {"training": {"reward": {"criteria_weights": "overall=1, sourced=0.5"}}}
    assert grace.patch(url, json=weighed).status_code == 200, "labels may still speak of it"
    refused = grace.patch(url, json={"rubric": [{"key": "fluency", "name": "Fluent?"}]})
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, ["rubric"])
    assert api("admin", who="Alan").patch(url, json={"rubric": []}).status_code == 403


def test_a_setting_of_a_run_is_checked_against_the_trainer(api: Api) -> None:
    reply = api("admin").post(
        "/api/v1/projects", json={**NEW, "sampling": {"temprature": 0.9}, "training": {"ppo": {"minibatches": 5}}}
    )
    assert reply.status_code == 422
    assert {error["field"] for error in reply.json()["errors"]} == {"sampling.temprature", "training.ppo.minibatches"}


def test_unknown_fields_and_numbers_that_are_none_are_refused(api: Api) -> None:
    program = api("admin")
    assert program.post("/api/v1/projects", json={**NEW, "colour": "red"}).status_code == 422
    nan = b'{"name": "A", "base_model": "b", "rating_share": NaN}'
    assert program.post("/api/v1/projects", content=nan, headers={"content-type": "application/json"}).status_code == 422
    huge = {**NEW, "overlap": 2**70}
    assert program.post("/api/v1/projects", json=huge).status_code == 422


def test_members_list_their_projects_and_the_owner_all(api: Api) -> None:
    assert [item["slug"] for item in api("annotate", who="Mary").get("/api/v1/projects").json()["items"]] == ["demo"]
    first = api("admin").get("/api/v1/projects", params={"limit": 1}).json()
    rest = api("admin").get("/api/v1/projects", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [item["slug"] for item in first["items"] + rest["items"]] == ["demo", "other"]
    assert rest["next_cursor"] is None


def test_only_the_owner_changes_the_base_model(api: Api) -> None:
    refused = api("admin", who="Grace").patch("/api/v1/projects/demo", json={"base_model": "org/other"})
    assert refused.status_code == 403
    assert api("admin").get("/api/v1/projects/demo").json()["base_model"] == "models/tiny"
    assert api("admin").patch("/api/v1/projects/demo", json={"base_model": "org/other"}).json()["base_model"] == "org/other"


def test_only_admins_change_a_project_and_only_the_owner_makes_one(api: Api) -> None:
    assert api("admin", who="Grace").post("/api/v1/projects", json=NEW).status_code == 403
    assert api("admin", who="Alan").patch("/api/v1/projects/demo", json={"overlap": 2}).status_code == 403
    assert api("admin", who="Grace").patch("/api/v1/projects/demo", json={"overlap": 2}).json()["overlap"] == 2
    assert api("admin", who="Eve").patch("/api/v1/projects/demo", json={"overlap": 2}).status_code == 404
