"""Lineage over the API: a checkpoint's labels, their digest computed anew."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.folder import digest_of
from trainer.files.checkpoint import save
from trainer.files.program import code_version

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]


def test_a_checkpoint_leads_to_its_labels(engine: Engine, settings: Settings, cast: Cast, api: Api, as_user: AsUser) -> None:
    files = ("preferences.jsonl", "ratings.jsonl")
    with write_session(engine) as session:
        run = factories.make_run(session, cast.demo, "reward", state="done", label_count=2, config={"folds": 5})
        folder = settings.runs / str(run.id)
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_text("{}\n")
        run.label_digest = digest_of(folder, *files)
        reward = factories.make_checkpoint(session, cast.demo, kind="reward", run_id=run.id, label_digest=run.label_digest)
        run_id, reward_id, digest = run.id, reward.id, run.label_digest

    reply = api("export", who="Grace").get(f"/api/v1/checkpoints/{reward_id}/data").json()
    assert reply["program"] is None  # no manifest says it
    (found,) = reply["items"]
    assert found == {
        "run_id": run_id,
        "kind": "reward",
        "config": {"folds": 5},
        "label_count": 2,
        "files": list(files),
        "digest": digest,
        "digest_now": digest,
        "is_the_same": True,
    }
    page = as_user("Grace").get(f"/checkpoints/{reward_id}").text
    assert "Compute it anew" in page
    checked = as_user("Grace").get(f"/checkpoints/{reward_id}?check=true").text
    assert "its files are the same now" in checked
    (folder / "ratings.jsonl").write_text("changed\n")
    assert "its files are others now" in as_user("Grace").get(f"/checkpoints/{reward_id}?check=true").text
    assert api("export", who="Grace").get("/api/v1/labels/9999/learners").status_code == 404


def test_a_checkpoint_tells_which_program_wrote_it(
    engine: Engine, settings: Settings, cast: Cast, api: Api, as_user: AsUser
) -> None:
    folder = settings.runs / "7" / "checkpoint"
    save(folder, lambda place: None, {"kind": "policy"})
    with write_session(engine) as session:
        policy_id = factories.make_checkpoint(session, cast.demo, source=str(folder)).id
    assert api("export", who="Grace").get(f"/api/v1/checkpoints/{policy_id}/data").json()["program"] == code_version()
    assert code_version() in as_user("Grace").get(f"/checkpoints/{policy_id}").text.split("<h2")[0]
