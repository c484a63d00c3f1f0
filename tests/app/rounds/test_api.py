"""The API of rounds, runs and checkpoints: what a program may do, and what it can never reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Checkpoint, Project, Run
from app.runs import run_files
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import label_task, make_labels
from trainer.contract.messages import Message

V1 = "/api/v1"
Api = Callable[..., TestClient]


@pytest.fixture
def admin(api: Api, cast: Cast) -> TestClient:
    """Grace's program."""
    return api("admin", who="Grace")


@pytest.fixture
def labels(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        make_labels(session, session.get_one(Project, cast.demo), 30, cast.mary)


@pytest.fixture
def run_id(engine: Engine, cast: Cast, settings: Settings) -> int:
    """A PPO run with something in its folder."""
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, "ppo", state="running").id
    folder = settings.runs / str(run_id)
    folder.mkdir(parents=True)
    rows = [{"step": step, "time": "2026-01-01T00:00:00Z", "losses/policy_loss": step / 2, "kl": None} for step in range(4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "losses/pol')
    (folder / "log.txt").write_text("Loading\n[1/4] update\n")
    return run_id


@pytest.fixture
def checkpoint_id(engine: Engine, cast: Cast, settings: Settings) -> int:
    """A checkpoint with one file its manifest names and one it does not."""
    folder = settings.runs / "9" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "notes.txt").write_text("not ours to give")
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "kind": "policy", "files": {"weights.safetensors": "abc"}}))
    with write_session(engine) as session:
        return factories.make_checkpoint(session, cast.demo, source="runs/9/checkpoint").id


def test_an_admin_starts_a_round_and_reads_it(admin: TestClient, labels: None) -> None:
    started = admin.post(f"{V1}/projects/demo/rounds", json={"config": {"ppo": {"updates": 4}}})
    assert started.status_code == 202
    body = started.json()
    assert (body["state"], body["trigger"], body["config"]["ppo"]["updates"]) == ("reward", "admin", 4)
    assert [run["kind"] for run in body["runs"]] == ["reward"]
    assert admin.get(f"{V1}/rounds/{body['id']}").json() == body
    assert admin.get(f"{V1}/projects/demo/rounds").json()["items"] == [body]


def test_a_round_needs_no_body(admin: TestClient, labels: None) -> None:
    assert admin.post(f"{V1}/projects/demo/rounds").status_code == 202


def test_a_second_round_is_refused_with_a_reason(admin: TestClient, labels: None) -> None:
    admin.post(f"{V1}/projects/demo/rounds")
    refused = admin.post(f"{V1}/projects/demo/rounds")
    assert refused.status_code == 409
    assert "Round 1 is still running" in refused.json()["detail"]


def test_a_wrong_setting_is_marked(admin: TestClient) -> None:
    refused = admin.post(f"{V1}/projects/demo/runs", json={"kind": "ppo", "config": {"clip": "wide"}})
    assert refused.status_code == 422
    assert refused.json()["detail"] == "Clip range ε: This must be a number."


def test_a_sample_run_takes_its_checkpoint_and_split_beside_its_settings(admin: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo, split="holdout")
        policy = session.get_one(Project, cast.demo).policy_id
    queued = admin.post(
        f"{V1}/projects/demo/runs", json={"kind": "sample", "config": {"checkpoint": policy, "split": "holdout", "per_prompt": 3}}
    )
    assert queued.status_code == 202
    assert queued.json()["inputs"] == {"checkpoint": policy, "split": "holdout"}
    assert queued.json()["config"]["per_prompt"] == 3


def test_a_queued_run_is_cancelled_at_once(admin: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo)
    run = admin.post(f"{V1}/projects/demo/runs", json={"kind": "sample"}).json()
    assert admin.post(f"{V1}/runs/{run['id']}/cancel").json()["state"] == "cancelled"
    assert admin.post(f"{V1}/runs/{run['id']}/cancel").status_code == 409


def test_what_a_run_says_comes_as_a_sentence_and_as_a_code(admin: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        ending = Message("crashed_silently", times=3, ending=Message("killed", signal="SIGKILL"))
        run_id = factories.make_run(session, cast.demo, state="failed", message=ending).id
        silent = factories.make_run(session, cast.demo).id
        earlier = factories.make_run(session, cast.demo, message=factories.written("Out of memory.")).id
    run = admin.get(f"{V1}/runs/{run_id}").json()
    assert run["message"] == "It crashed 3 times in a row. The last time it was killed by SIGKILL. Its log is empty."
    killed = {"code": "killed", "arguments": {"signal": "SIGKILL"}}
    assert run["coded_message"] == {"code": "crashed_silently", "arguments": {"times": 3, "ending": killed}}
    there = admin.get(f"{V1}/runs/{run_id}", headers={"accept-language": "zh-TW"}).json()["message"]
    assert there == "它連續當掉 3 次。最後一次是被 SIGKILL 終止的。沒有留下紀錄。"
    nothing = admin.get(f"{V1}/runs/{silent}").json()
    assert (nothing["message"], nothing["coded_message"]) == ("", None)
    written = admin.get(f"{V1}/runs/{earlier}").json()
    assert (written["message"], written["coded_message"]["code"]) == ("Out of memory.", "written")


def test_metrics_come_by_name_and_step_and_a_half_written_line_waits(admin: TestClient, run_id: int) -> None:
    everything = admin.get(f"{V1}/runs/{run_id}/metrics").json()
    assert everything["names"] == ["kl", "losses/policy_loss"]
    assert [row["step"] for row in everything["items"]] == [0, 1, 2, 3]
    some = admin.get(f"{V1}/runs/{run_id}/metrics", params={"name": "losses/policy_loss", "since_step": 2}).json()
    assert [(row["step"], row["values"]) for row in some["items"]] == [
        (2, {"losses/policy_loss": 1.0}),
        (3, {"losses/policy_loss": 1.5}),
    ]


def test_the_log_is_plain_text(admin: TestClient, run_id: int) -> None:
    log = admin.get(f"{V1}/runs/{run_id}/log")
    assert log.headers["content-type"].startswith("text/plain")
    assert log.text == "Loading\n[1/4] update\n"


def test_a_run_that_has_not_begun_has_no_log_and_no_metrics(admin: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, "reward", state="queued").id
    assert admin.get(f"{V1}/runs/{run_id}/log").text == ""
    assert admin.get(f"{V1}/runs/{run_id}/metrics").json() == {"names": [], "items": []}


def test_a_checkpoint_gives_the_files_its_manifest_names(admin: TestClient, checkpoint_id: int) -> None:
    assert admin.get(f"{V1}/checkpoints/{checkpoint_id}/files/weights.safetensors").content == b"weights"
    assert admin.get(f"{V1}/checkpoints/{checkpoint_id}/files/manifest.json").json()["kind"] == "policy"


def test_an_export_is_given_once_it_was_made(admin: TestClient, engine: Engine, cast: Cast, settings: Settings) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo).id
        made = factories.make_checkpoint(session, cast.demo, run_id=run_id, source=f"runs/{run_id}/checkpoint").id
        bare = factories.make_checkpoint(session, cast.demo).id
    address = f"{V1}/checkpoints/{made}/export"
    assert admin.get(f"{address}/config.json").status_code == 404
    folder = settings.runs / str(run_id) / "export"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "notes.txt").write_text("not ours to give")
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "kind": "policy", "files": {"config.json": "abc"}}))
    assert admin.get(f"{address}/config.json").content == b"{}"
    for other in ("notes.txt", "../checkpoint/config.json", "..%2f..%2f..%2ftastemaker.db"):
        assert admin.get(f"{address}/{other}").status_code in (403, 404), other
    assert admin.get(f"{V1}/checkpoints/{bare}/export/config.json").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "../../../tastemaker.db", "..%2f..%2f..%2ftastemaker.db", "%2fetc%2fpasswd", "manifest.json/..", "nothing"],
)
def test_a_checkpoint_gives_no_other_file(admin: TestClient, checkpoint_id: int, name: str) -> None:
    assert admin.get(f"{V1}/checkpoints/{checkpoint_id}/files/{name}").status_code in (403, 404)


def test_a_manifest_that_names_a_path_outside_gives_nothing(admin: TestClient, checkpoint_id: int, settings: Settings) -> None:
    folder = settings.runs / "9" / "checkpoint"
    outside = "../../../tastemaker.db"
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "kind": "policy", "files": {outside: "abc"}}))
    assert admin.get(f"{V1}/checkpoints/{checkpoint_id}/files/..%2f..%2f..%2ftastemaker.db").status_code == 404


def test_a_checkpoint_shows_its_lineage(admin: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        base = session.get_one(Project, cast.demo).policy_id
        child = factories.make_checkpoint(session, cast.demo, parent_id=base).id
        grandchild = factories.make_checkpoint(session, cast.demo, parent_id=child).id
    shown = admin.get(f"{V1}/checkpoints/{grandchild}").json()
    assert shown["lineage"] == [child, base]
    assert shown["is_policy"] is False
    promoted = admin.post(f"{V1}/checkpoints/{grandchild}/promote").json()
    assert promoted["is_policy"] is True


def test_generations_come_page_by_page_for_one_checkpoint(admin: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        policy = session.get_one(Project, cast.demo).policy_id
        assert policy is not None
        other = factories.make_checkpoint(session, cast.demo).id
        prompt = factories.make_prompt(session, cast.demo, split="holdout")
        wanted = [factories.make_generation(session, prompt, policy).id for _ in range(3)]
        factories.make_generation(session, prompt, other)
    query: dict[str, str | int] = {"checkpoint": policy, "split": "holdout", "limit": 2}
    first = admin.get(f"{V1}/projects/demo/generations", params=query).json()
    second = admin.get(f"{V1}/projects/demo/generations", params=query | {"cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in first["items"] + second["items"]] == wanted
    assert second["next_cursor"] is None


@pytest.mark.parametrize("who", ["Mary", "Eve"])
def test_nobody_who_annotates_learns_which_model_wrote_what(
    api: Api, engine: Engine, cast: Cast, run_id: int, checkpoint_id: int, who: str
) -> None:
    program = api("annotate", "export", "admin", who=who)
    with write_session(engine) as session:
        assert session.get_one(Run, run_id).project_id == session.get_one(Checkpoint, checkpoint_id).project_id
    for path in (
        "projects/demo/generations",
        "projects/demo/checkpoints",
        "projects/demo/rounds",
        "projects/demo/runs",
        f"runs/{run_id}",
        f"runs/{run_id}/log",
        f"runs/{run_id}/metrics",
        f"runs/{run_id}/samples",
        f"checkpoints/{checkpoint_id}",
        f"checkpoints/{checkpoint_id}/files/manifest.json",
    ):
        assert program.get(f"{V1}/{path}").status_code in (403, 404), path


def test_a_reviewer_reads_but_starts_nothing(api: Api, labels: None) -> None:
    program = api("admin", who="Alan")
    assert program.get(f"{V1}/projects/demo/rounds").status_code == 200
    assert program.post(f"{V1}/projects/demo/rounds").status_code == 403


def test_a_text_is_put_once_and_then_an_sft_run_takes_it(admin: TestClient, settings: Settings) -> None:
    wanting = admin.post(f"{V1}/projects/demo/runs", json={"kind": "sft", "config": {"text": "tales.txt"}})
    assert wanting.status_code == 404
    assert admin.put(f"{V1}/projects/demo/texts/tales.txt", content="Once upon a time.").status_code == 201
    assert (settings.data / "texts" / "demo" / "tales.txt").read_text() == "Once upon a time."
    assert admin.put(f"{V1}/projects/demo/texts/tales.txt", content="Again").status_code == 409
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        refused = admin.put(f"{V1}/projects/demo/texts/other.txt", content="Once upon a time.".encode(encoding))
        assert (refused.status_code, "not UTF-8" in refused.text) == (422, True), encoding
    queued = admin.post(f"{V1}/projects/demo/runs", json={"kind": "sft", "config": {"text": "tales.txt"}})
    assert queued.json()["inputs"] == {"text": "tales.txt", "rewrites": False, "base": None}


def test_a_project_has_so_many_texts(admin: TestClient, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "MOST_TEXTS", 2)
    put = [admin.put(f"{V1}/projects/demo/texts/{name}.txt", content="Once upon a time.") for name in "abc"]
    assert [reply.status_code for reply in put] == [201, 201, 409]
    assert "This project has 2 texts, and that is the most." in put[-1].json()["detail"]
    assert api("admin", who="Eve").put(f"{V1}/projects/other/texts/c.txt", content="Once.").status_code == 201


def test_a_text_is_of_one_project_and_another_neither_sees_nor_takes_it(
    admin: TestClient, api: Api, as_user: Callable[[str], TestClient], settings: Settings
) -> None:
    assert admin.put(f"{V1}/projects/demo/texts/tales.txt", content="Ours.").status_code == 201
    eve = api("admin", who="Eve")
    taken = eve.post(f"{V1}/projects/other/runs", json={"kind": "sft", "config": {"text": "tales.txt"}})
    assert taken.status_code == 404
    assert "tales.txt" in as_user("Grace").get("/projects/demo/sft").text
    assert "tales.txt" not in as_user("Eve").get("/projects/other/sft").text
    assert as_user("Eve").post("/projects/other/sft", data={"source": "tales.txt"}).status_code == 404
    for nowhere in ("a\0b.txt", "\u6708" * 120 + ".txt", "../demo/tales.txt"):
        assert as_user("Eve").post("/projects/other/sft", data={"source": nowhere}).status_code == 404
        wanted = {"kind": "sft", "config": {"text": nowhere}}
        assert eve.post(f"{V1}/projects/other/runs", json=wanted).status_code in (404, 422)
    assert eve.put(f"{V1}/projects/other/texts/tales.txt", content="Theirs.").status_code == 201, "the name is free there"
    assert (settings.data / "texts" / "demo" / "tales.txt").read_text() == "Ours."


@pytest.mark.parametrize(("encoding", "line"), [("utf-16", 1), ("utf-16-le", 1), ("cp1252", 3)])
@pytest.mark.parametrize("name", ["tales.txt", "tales.jsonl"])
def test_a_text_in_another_encoding_is_refused_at_the_door_with_its_line(
    admin: TestClient, settings: Settings, name: str, encoding: str, line: int
) -> None:
    refused = admin.put(f"{V1}/projects/demo/texts/{name}", content="Once\n\nthe fox’s den.".encode(encoding))
    assert (refused.status_code, refused.json()["detail"]) == (422, f"{name} is not UTF-8: line {line}")
    assert not list(settings.data.glob("texts/demo/*"))
    assert admin.put(f"{V1}/projects/demo/texts/{name}", content="the fox’s den.".encode("utf-8-sig")).status_code == 201


@pytest.mark.parametrize("name", ["..%2fescape.txt", "%2e%2e%2fescape.txt", "evil.exe", "..txt", "a%00.txt"])
def test_a_text_has_a_plain_name(admin: TestClient, settings: Settings, name: str) -> None:
    assert admin.put(f"{V1}/projects/demo/texts/{name}", content="x").status_code in (400, 403, 404, 405, 422)
    assert not list(settings.data.glob("**/escape.txt"))


def test_what_the_next_round_waits_for_and_how_long_it_would_take(admin: TestClient) -> None:
    following = admin.get(f"{V1}/projects/demo/next-round").json()
    assert "30 more labels" in following["waits_for"]
    assert {stage for stage, expected in following["expected"].items() if not expected["measured"]} == {"reward", "ppo", "sample"}


def test_a_round_starts_from_the_policy_that_was_asked_for(admin: TestClient, engine: Engine, cast: Cast, labels: None) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        tuned = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id).id
        stray = factories.make_checkpoint(session, demo.id).id
    refused = admin.post(f"{V1}/projects/demo/rounds", json={"start": stray})
    assert (refused.status_code, "grew out of the project's base model" in refused.json()["detail"]) == (422, True)
    started = admin.post(f"{V1}/projects/demo/rounds", json={"start": tuned})
    assert (started.status_code, started.json()["start_policy_id"]) == (202, tuned)


def test_an_sft_run_of_rewrites_goes_on_from_the_policy(admin: TestClient, engine: Engine, cast: Cast) -> None:
    def queue(**config: object) -> Any:
        return admin.post(f"{V1}/projects/demo/runs", json={"kind": "sft", "config": config})

    assert queue(rewrites=True).status_code == 422  # there is none yet
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        task = factories.make_task(session, demo)
        label_task(session, task, cast.mary, rewrite={"side": "left", "text": "Better."})
        policy = demo.policy_id
    assert queue(rewrites="yes").status_code == 422
    assert queue().status_code == 422  # neither a text nor rewrites
    queued = queue(rewrites=True, epochs=4)
    assert queued.json()["inputs"] == {"text": None, "rewrites": True, "base": policy}
    assert queued.json()["config"]["epochs"] == 4
