"""Folding away what nothing refers to: the forecast is what is freed, and everything that is named stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.disk import pruning
from app.disk.pruning import free, plan
from app.errors import Conflict
from app.models import AuditEntry, Checkpoint, Project, Round, Run, utc_now
from app.rounds.promotion import promote
from app.runs.checkpoints import require_weights, starting_policies
from app.runs.lineage.data_set import data_sets
from app.runs.runs import queue_run
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.disk.loop import make_round, octets
from tests.postgres import engine as on_postgres
from tests.postgres import server
from trainer.worker.chores import Looks, free_the_disk
from trainer.worker.run_inputs import write_inputs

__all__ = ["on_postgres", "server"]
V1 = "/api/v1"


def rounds(engine: Engine, settings: Settings, project_id: int, count: int = 4, promoted: int = 2) -> list[int]:
    """Candidates of rounds that ended 40, 39, ... days ago; one of them was promoted."""
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        return [
            make_round(session, project, settings.data, number, days_ago=41 - number, promoted=number == promoted).id
            for number in range(1, count + 1)
        ]


def planned(engine: Engine, settings: Settings, project_id: int, days: float = 7) -> list[pruning.Piece]:
    with read_session(engine) as session:
        return plan(session, settings.data, session.get_one(Project, project_id), utc_now() - timedelta(days=days))


def pruned(engine: Engine, project_id: int) -> set[int]:
    with read_session(engine) as session:
        gone = select(Checkpoint.id).where(Checkpoint.project_id == project_id, Checkpoint.pruned_at.is_not(None))
        return set(session.scalars(gone))


def weights_of(engine: Engine, settings: Settings, checkpoint_id: int) -> Path:
    with read_session(engine) as session:
        return settings.data / session.get_one(Checkpoint, checkpoint_id).source / "adapter_model.safetensors"


def prune(engine: Engine, settings: Settings, project_id: int, days: float = 7) -> pruning.Freed:
    return free(engine, settings.data, project_id, planned(engine, settings, project_id, days))


def test_the_forecast_is_what_is_freed_to_the_byte(engine: Engine, settings: Settings, cast: Cast) -> None:
    rounds(engine, settings, cast.demo)
    before = octets(settings.data)
    foretold = planned(engine, settings, cast.demo)
    assert before == octets(settings.data), "looking changes nothing"
    freed = free(engine, settings.data, cast.demo, foretold)
    assert sum(piece.octets for piece in foretold) == freed.octets == before - octets(settings.data) > 0
    assert planned(engine, settings, cast.demo) == [], "and a second prune has nothing to do"
    with read_session(engine) as session:
        noted = session.scalars(select(AuditEntry.details).where(AuditEntry.action == "disk.pruned")).all()
    assert [one["bytes"] for one in noted] == [freed.octets]


def test_what_was_promoted_stays_with_its_lineage_and_so_does_the_newest_reward(
    engine: Engine, settings: Settings, cast: Cast
) -> None:
    candidates = rounds(engine, settings, cast.demo)
    prune(engine, settings, cast.demo)
    with read_session(engine) as session:
        rewards = session.scalars(select(Checkpoint.id).where(Checkpoint.kind == "reward").order_by(Checkpoint.id)).all()
    assert pruned(engine, cast.demo) == {candidates[0], candidates[2], candidates[3], rewards[0], rewards[2]}
    for kept in (candidates[1], rewards[1], rewards[3]):
        assert weights_of(engine, settings, kept).is_file()
    assert not list(settings.data.glob("runs/*/state")), "states of ended runs are of no use"
    for kept_always in ("metrics.jsonl", "result.json", "checkpoint/manifest.json"):
        assert len(list(settings.data.glob(f"runs/*/{kept_always}"))) == 8


def test_what_is_young_stays_and_so_does_what_a_round_decided_lately(engine: Engine, settings: Settings, cast: Cast) -> None:
    rounds(engine, settings, cast.demo)
    assert planned(engine, settings, cast.demo, days=60) == []
    with write_session(engine) as session:
        for run in session.scalars(select(Run).where(Run.kind == "ppo")):
            run.ended_at = utc_now() - timedelta(days=90)
    assert {piece.kind for piece in planned(engine, settings, cast.demo, days=60)} == {"states"}, "its round ended after that"


def test_what_a_run_waits_to_work_with_stays(engine: Engine, settings: Settings, cast: Cast) -> None:
    first, *_others = rounds(engine, settings, cast.demo)
    foretold = planned(engine, settings, cast.demo)
    with write_session(engine) as session:  # after the list was shown
        prompt = factories.make_prompt(session, cast.demo)
        queue_run(session, session.get_one(Project, cast.demo), "sample", {}, {"checkpoint": first, "split": "all"}, None)
        assert prompt.id
    freed = free(engine, settings.data, cast.demo, foretold)
    assert weights_of(engine, settings, first).is_file()
    assert first not in pruned(engine, cast.demo)
    assert freed.octets < sum(piece.octets for piece in foretold)


def test_a_model_that_another_project_builds_on_stays(engine: Engine, settings: Settings, cast: Cast) -> None:
    first, *_others = rounds(engine, settings, cast.demo)
    with write_session(engine) as session:
        source = session.get_one(Checkpoint, first).source
        session.get_one(Project, cast.other).base_model = str(settings.data.resolve() / source)
    prune(engine, settings, cast.demo)
    assert first not in pruned(engine, cast.demo)


def test_every_door_says_that_the_weights_are_gone(
    engine: Engine, settings: Settings, cast: Cast, api: Callable[..., TestClient], as_user: Callable[[str], TestClient]
) -> None:
    first, *_others = rounds(engine, settings, cast.demo)
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo)
        waiting = factories.make_run(session, cast.demo, "sample", inputs={"checkpoint": first, "split": "all"})
        waiting_id = waiting.id
    prune(engine, settings, cast.demo)
    said = f"The weights of checkpoint {first} were removed"
    with write_session(engine) as session:
        project, policy = session.get_one(Project, cast.demo), session.get_one(Checkpoint, first)
        for door in (
            lambda: promote(session, policy, cast.ada),
            lambda: queue_run(session, project, "sample", {}, {"checkpoint": first, "split": "all"}, None),
            lambda: write_inputs(session, settings, session.get_one(Run, waiting_id), settings.data),
            lambda: require_weights(policy),
        ):
            with pytest.raises(Conflict, match=said):
                door()
        assert first not in {one.id for one in starting_policies(session, project)}
    ada = api("admin", who="Ada")
    for address in ("files/adapter_model.safetensors", "export/model.safetensors"):
        reply = ada.get(f"{V1}/checkpoints/{first}/{address}")
        assert (reply.status_code, said in reply.json()["detail"]) == (409, True), address
    assert ada.get(f"{V1}/checkpoints/{first}/files/manifest.json").status_code == 200
    assert ada.get(f"{V1}/checkpoints/{first}").json()["pruned_at"] is not None
    page = as_user("Ada").get(f"/checkpoints/{first}").text
    assert "to free the disk" in page
    assert "Promote" not in page.replace("Promoted", "")


def test_links_and_files_with_a_second_name_stay(engine: Engine, settings: Settings, cast: Cast, tmp_path: Path) -> None:
    first, _second, third, fourth = rounds(engine, settings, cast.demo)
    elsewhere = tmp_path / "mine.safetensors"
    os.link(weights_of(engine, settings, first), elsewhere)
    linked = weights_of(engine, settings, third)
    linked.unlink()
    linked.symlink_to(elsewhere)
    folder = weights_of(engine, settings, fourth).parent
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    foretold, before = planned(engine, settings, cast.demo), octets(settings.data)
    assert not {first, third, fourth} & {piece.checkpoint_id for piece in foretold}
    assert free(engine, settings.data, cast.demo, foretold).octets == before - octets(settings.data)
    assert linked.is_file()
    assert (tmp_path / "moved" / "adapter_model.safetensors").is_file()


def test_one_file_that_cannot_be_removed_holds_up_no_other(
    engine: Engine, settings: Settings, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_others = rounds(engine, settings, cast.demo)
    stuck, unlink = weights_of(engine, settings, first), Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:  # who runs the tests may be root, whom no permission stops
        patched.setattr(Path, "unlink", refuse)
        freed = prune(engine, settings, cast.demo)
    assert [path for path, _why in freed.left] == [stuck]
    assert len(freed.pieces) > 5
    assert [piece.path for piece in prune(engine, settings, cast.demo, days=365).pieces] == [stuck], "the next one takes it"


def test_two_at_once_free_each_file_once(engine: Engine, settings: Settings, cast: Cast) -> None:
    rounds(engine, settings, cast.demo)
    foretold = planned(engine, settings, cast.demo)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _one: free(engine, settings.data, cast.demo, foretold), range(2)))
    assert sum(freed.octets for freed in both) == sum(piece.octets for piece in foretold)
    assert [freed.left for freed in both] == [[], []]


def _twenty_rounds(engine: Engine, settings: Settings, project_id: int) -> None:
    """With a week's retention, and a round a day of which the third, tenth and seventeenth are promoted."""
    sizes = []
    for number in range(1, 21):
        with write_session(engine) as session:
            project = session.get_one(Project, project_id)
            project.keep_days = 7
            for run in session.scalars(select(Run).where(Run.project_id == project_id)):
                run.ended_at = (run.ended_at or utc_now()) - timedelta(days=1)
            for round_ in session.scalars(select(Round).where(Round.project_id == project_id)):
                round_.ended_at = (round_.ended_at or utc_now()) - timedelta(days=1)
            make_round(session, project, settings.data, number, days_ago=0, promoted=number in (3, 10, 17))
        free_the_disk(engine, settings.data, Looks())
        sizes.append(sum(path.stat().st_size for path in settings.data.glob("runs/*/*/**/*.safetensors")))
    grown = [later - earlier for earlier, later in pairwise(sizes)]
    assert min(grown[:6]) == 2300, "a round's weights and state"
    assert sizes[19] < sizes[7] + 3 * 2300, "what was promoted since, and nothing else"
    assert sum(one > 0 for one in grown[8:]) <= 2
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        for one in session.scalars(select(Checkpoint).where(Checkpoint.project_id == project_id, Checkpoint.run_id.is_not(None))):
            there = (settings.data / one.source / "adapter_model.safetensors").is_file()
            assert there is (one.pruned_at is None), "the database knows what is there"
            assert there or one.promoted_at is None
            assert (settings.data / one.source / "manifest.json").is_file()
            assert all(found.is_the_same for found in data_sets(session, one, settings.runs)), "and its labels can be checked"


def test_twenty_rounds_level_off_and_lose_nothing_that_is_referred_to(
    engine: Engine, settings: Settings, cast: Cast, api: Callable[..., TestClient], as_user: Callable[[str], TestClient]
) -> None:
    _twenty_rounds(engine, settings, cast.demo)
    ada, page = api("admin", who="Ada"), as_user("Ada")
    with read_session(engine) as session:
        ids = session.scalars(select(Checkpoint.id).where(Checkpoint.project_id == cast.demo)).all()
    assert len(ids) == 41
    for checkpoint_id in ids:
        assert ada.get(f"{V1}/checkpoints/{checkpoint_id}").status_code == 200
        assert page.get(f"/checkpoints/{checkpoint_id}?check=true").status_code == 200


def test_twenty_rounds_on_postgresql(on_postgres: Engine, server: str, tmp_path: Path) -> None:
    with write_session(on_postgres) as session:
        project_id = factories.make_project(session).id
    _twenty_rounds(on_postgres, Settings(data=tmp_path, database_url=server), project_id)
