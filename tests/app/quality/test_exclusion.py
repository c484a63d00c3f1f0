"""Withdrawing a person's labels from training: in one step, nothing of them changes, and it can be undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, NotFound
from app.models import AuditEntry, Checkpoint, Exclusion, Label, Project, Run
from app.quality import exclusion
from app.quality.routes import ROUNDS
from app.runs.lineage import label_index
from app.runs.usable_labels import usable_label_count
from app.settings import Settings
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.rounds import told
from trainer.worker.label_files import freeze_labels

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]


def frozen(engine: Engine, cast: Cast, folder: Path) -> tuple[str, int]:
    folder.mkdir()
    with read_session(engine) as session:
        base = session.get_one(Checkpoint, session.get_one(Project, cast.demo).policy_id)
        return freeze_labels(session, base, cast.demo, folder)


def test_they_leave_the_next_data_set_change_its_digest_and_come_back(engine: Engine, cast: Cast, tmp_path: Path) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for person in (cast.mary, cast.alan, cast.mary):
            judge(session, project, person, choice="left")
        rows = [label.__dict__.copy() for label in session.scalars(select(Label).order_by(Label.id))]
    before = frozen(engine, cast, tmp_path / "before")
    with write_session(engine) as session:
        exclusion.exclude(session, session.get_one(Project, cast.demo), cast.mary, " Guessed. ", cast.grace)
        judge(session, session.get_one(Project, cast.demo), cast.mary, choice="right")
    with read_session(engine) as session:
        assert usable_label_count(session, cast.demo) == 1, "those to come, too"
        kept = [label.__dict__ for label in session.scalars(select(Label).order_by(Label.id).limit(3))]
        assert [{k: v for k, v in one.items() if k[0] != "_"} for one in kept] == [
            {k: v for k, v in one.items() if k[0] != "_"} for one in rows
        ]
    without = frozen(engine, cast, tmp_path / "without")
    assert (before[1], without[1]) == (3, 1)
    assert before[0] != without[0]
    with write_session(engine) as session:
        exclusion.include(session, session.get_one(Project, cast.demo), cast.mary, cast.grace)
    with read_session(engine) as session:
        assert usable_label_count(session, cast.demo) == 4
        actions = session.execute(select(AuditEntry.action, AuditEntry.subject, AuditEntry.details).order_by(AuditEntry.id)).all()
    assert actions[-2:] == [("labels.excluded", "Mary", {"reason": "Guessed."}), ("labels.included", "Mary", {})]


def test_exports_to_train_on_leave_them_out_and_the_export_of_labels_does_not(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for person in (cast.mary, cast.alan):
            judge(session, project, person, choice="left")
    grace = api("export", who="Grace")

    def lines(format: str) -> tuple[int, str]:
        reply = grace.get(f"/api/v1/projects/demo/export?format={format}")
        return len(reply.text.splitlines()), reply.headers["etag"]

    both, tag = lines("preference")
    with write_session(engine) as session:
        exclusion.exclude(session, session.get_one(Project, cast.demo), cast.mary, "Guessed.", cast.grace)
    one, other_tag = lines("preference")
    assert (both, one) == (2, 1)
    assert tag != other_tag
    assert lines("labels")[0] == 2


def test_without_a_reason_nothing_is_withdrawn_by_any_door(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    with write_session(engine) as session:
        judge(session, session.get_one(Project, cast.demo), cast.mary, choice="left")
    page = as_user("Grace").post(f"/projects/demo/annotators/{cast.mary}/exclusion", data={"reason": " "})
    call = api("admin", who="Grace").put(f"/api/v1/projects/demo/annotators/{cast.mary}/exclusion", json={})
    assert (page.status_code, call.status_code) == (422, 422)
    assert "Say why their labels are to train nothing." in page.text
    with read_session(engine) as session:
        assert session.scalars(select(Exclusion)).all() == []


def test_twice_changes_nothing(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.mary, choice="left")
        with pytest.raises(Conflict):
            exclusion.include(session, project, cast.mary, cast.grace)
        exclusion.exclude(session, project, cast.mary, "Guessed.", cast.grace)
        with pytest.raises(Conflict):
            exclusion.exclude(session, project, cast.mary, "Guessed.", cast.grace)
        with pytest.raises(NotFound):
            exclusion.exclude(session, project, cast.eve, "Guessed.", cast.grace)


def test_the_page_lists_the_rounds_that_learned_from_them_and_undoes_it(
    engine: Engine, cast: Cast, as_user: As, settings: Settings
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        label = judge(session, project, cast.mary, choice="left")
        rounds = told.tell(session, project, settings.runs, state="done")
        label_id, reward = label.id, rounds.reward
        session.get_one(Run, reward).label_digest = "0" * 64
    folder = settings.runs / str(reward)
    folder.mkdir(parents=True, exist_ok=True)
    label_index.write(folder, {label_id, 999_999})
    grace, here = as_user("Grace"), f"/projects/demo/annotators/{cast.mary}"
    assert "learned from 1 of theirs, among 2 labels" in grace.get(here).text
    assert "Look in all rounds" not in grace.get(here).text
    with write_session(engine) as session:  # a run of so many rounds later
        for number in range(2, ROUNDS + 2):
            later = told.tell(session, session.get_one(Project, cast.demo), settings.runs, state="done", number=number)
            frozen = select(Run).where(Run.round_id == later.round, Run.kind == "reward")
            session.scalars(frozen).one().label_digest = "1" * 64
    assert "learned from 1" not in grace.get(here).text, "the latest alone"
    assert "Look in all rounds" in grace.get(here).text
    assert "learned from 1 of theirs" in grace.get(f"{here}?every_round=true").text
    assert grace.post(f"{here}/exclusion", data={"reason": "Guessed"}).status_code == 303
    page = grace.get(here).text
    assert "Their labels train nothing" in page
    assert "Guessed" in page
    assert "trains nothing" in grace.get("/projects/demo/agreement").text
    assert grace.post(f"{here}/exclusion/removal").status_code == 303
    assert "Withdraw their labels" in grace.get(here).text
