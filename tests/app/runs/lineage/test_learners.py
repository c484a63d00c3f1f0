"""What learned from a verdict: runs, the version that they saw, and what came of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.labels.record import record_label
from app.labels.verdict import Verdict
from app.models import Label, Project, Round, utc_now
from app.runs.lineage import label_index
from app.runs.lineage.learners import learners_of
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]


def learned_round(session: Session, settings: Settings, project: Project, label_ids: list[int]) -> Round:
    """A round whose reward model learned from these labels, and whose policy was trained against it."""
    begun = {"trigger": "admin", "label_count": len(label_ids), "start_policy_id": project.policy_id or 0}
    round_ = Round(project_id=project.id, number=4, state="decision", **begun)
    session.add(round_)
    session.flush()
    of_round = {"round_id": round_.id, "state": "done"}
    run = factories.make_run(session, project.id, "reward", label_digest="d" * 64, label_count=len(label_ids), **of_round)
    (settings.runs / str(run.id)).mkdir(parents=True)
    label_index.write(settings.runs / str(run.id), label_ids)
    reward = factories.make_checkpoint(session, project.id, kind="reward", run_id=run.id)
    ppo = factories.make_run(session, project.id, "ppo", inputs={"reward": reward.id}, **of_round)
    factories.make_checkpoint(session, project.id, run_id=ppo.id)
    return round_


def test_a_verdict_leads_to_what_learned_from_it(
    engine: Engine, settings: Settings, cast: Cast, api: Api, as_user: AsUser
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        learned, other = (judge(session, project, cast.mary).id for _ in range(2))
        number = learned_round(session, settings, project, [learned]).id

        (found,) = learners_of(session, [session.get_one(Label, learned)], settings.runs)
        assert (found.round.id if found.round else None, found.version) == (number, 1)
        assert [checkpoint.kind for checkpoint in found.checkpoints] == ["reward", "policy"]
        assert learners_of(session, [session.get_one(Label, other)], settings.runs) == []
        checkpoints = [checkpoint.id for checkpoint in found.checkpoints]
        run_id = found.run.id

    export = api("export", who="Grace")
    assert export.get(f"/api/v1/labels/{learned}/learners").json() == {
        "items": [{"run_id": run_id, "kind": "reward", "round_id": number, "version": 1, "checkpoint_ids": checkpoints}]
    }
    page = as_user("Grace").get(f"/labels/{learned}").text
    assert all(f'href="/checkpoints/{one}"' in page for one in checkpoints)
    assert f'href="/rounds/{number}"' in page
    assert "No run has learned from it yet." in as_user("Grace").get(f"/labels/{other}").text
    own = as_user("Mary").get(f"/labels/{learned}").text
    assert "/checkpoints/" not in own
    assert "learned from it" not in own


def test_an_earlier_version_is_named(engine: Engine, settings: Settings, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        task = factories.make_task(session, project)
        first = judge(session, project, cast.mary, task=task).id
        learned_round(session, settings, project, [first])
        correction = Verdict(str(uuid.uuid4()), choice="tie")
        record_label(session.connection(), task.id, cast.mary, correction, interface="test", now=utc_now())
        versions = session.scalars(select(Label).where(Label.task_id == task.id)).all()
        assert len(versions) == 2
        assert [one.version for one in learners_of(session, versions, settings.runs)] == [1]
