"""The worker: one run has one owner, a dead owner's run goes on, and what a person cancels stops within seconds.

Runs here are real processes on a SimpleLM of a few thousand weights.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from sqlalchemy import Engine, func, select

from app.database import slices
from app.database.engine import read_session, write_session
from app.models import Generation, Project, Round, Run, Seat, Task, Worker, utc_now
from app.queue import asking
from app.rounds import service
from app.runs.checkpoints import get_checkpoint
from app.settings import Settings, get_settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import make_labels
from trainer.contract import folder as folders
from trainer.contract.environment import GIVES_WAY, template_ran_away
from trainer.contract.messages import Message
from trainer.contract.serving.place import ask_for
from trainer.lm.simple_lm import SimpleLM, SimpleLMConfig, train_tokenizer
from trainer.worker import chores, freeze, heartbeat, supervisor
from trainer.worker import claim as claiming
from trainer.worker.executors.command import tidy
from trainer.worker.executors.local import LocalWork
from trainer.worker.heartbeat import LostRun
from trainer.worker.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 240.0  # with a worker that gives way to everybody, on a machine full of tests
patient = pytest.mark.timeout(300)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """One thread: a model this small only loses by more."""
    return settings.model_copy(update={"threads": 1})


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level SimpleLM with random weights."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    SimpleLM(SimpleLMConfig(vocab_size=259, embedding_size=8, hidden_size=16)).save_pretrained(folder)
    train_tokenizer(["a"], 259).save_pretrained(folder)
    return folder


@pytest.fixture
def prompts(engine: Engine, cast: Cast, tiny_model: Path) -> int:
    """The project `demo` on the tiny model, with prompts and no wish of its own for more answers."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.base_model = str(tiny_model)
        project.sampling = {"per_prompt": 2, "max_new_tokens": 8, "batch_size": 4}
        project.queue_low_mark = 0
        assert project.policy_id is not None
        get_checkpoint(session, project.policy_id).source = str(tiny_model)
        return len([factories.make_prompt(session, project.id) for _ in range(6)])


@pytest.fixture
def make_worker(engine: Engine, settings: Settings) -> Iterator[Callable[[], Supervisor]]:
    made: list[Supervisor] = []

    def make() -> Supervisor:
        made.append(Supervisor(engine, settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def queue_sample(engine: Engine, cast: Cast, **config: object) -> int:
    with write_session(engine) as session:
        return service.queue_run(session, session.get_one(Project, cast.demo), "sample", config, {}, cast.grace).id


def run_row(engine: Engine, run_id: int) -> Run:
    with read_session(engine) as session:
        return service.get_run(session, run_id)


def tick_until(one: Supervisor, met: Callable[[], bool], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not met():
        assert time.monotonic() < deadline, "it did not happen in time"
        one.tick()
        time.sleep(0.05)


def pid_of(one: Supervisor) -> int:
    assert one._held is not None
    assert isinstance(one._held.work, LocalWork)
    return one._held.work.pid


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TASTEMAKER_DATA": str(settings.data),
        "TASTEMAKER_THREADS": str(settings.threads),
        "TASTEMAKER_EXECUTOR": settings.executor,
        "TASTEMAKER_PROCESSES": str(settings.processes),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen([sys.executable, "-m", "trainer.worker.supervisor"], env=environment, start_new_session=True)


# Claims


def claim(one: Supervisor, engine: Engine, run: Run) -> int | None:
    """The fence of a claim that succeeded."""
    with write_session(engine) as session:
        claimed = claiming.take(session, one.name, run.id, run.fence, run.state)
        return claimed.fence if claimed else None


def test_of_two_workers_that_see_a_run_one_gets_it(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    seen = run_row(engine, queue_sample(engine, cast))
    first, second = make_worker(), make_worker()
    assert claim(first, engine, seen) == 1
    assert claim(second, engine, seen) is None
    assert run_row(engine, seen.id).owner == first.name


def test_a_run_is_left_to_a_worker_that_lives_and_taken_from_a_dead_one(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    seen = run_row(engine, queue_sample(engine, cast))
    living, other = make_worker(), make_worker()
    claim(living, engine, seen)
    with read_session(engine) as session:
        assert claiming.abandoned(session, other._settings, other.name) is None
        living._lock.file.close()  # what the kernel does when a process dies
        found = claiming.abandoned(session, other._settings, other.name)
        assert found is not None
        assert found.id == seen.id


def test_a_worker_of_another_machine_is_given_half_a_minute(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast)
    with write_session(engine) as session:
        run = service.get_run(session, run_id)
        run.state, run.owner, run.heartbeat_at = "running", "elsewhere-1-abc", utc_now() - timedelta(seconds=25)
    one = make_worker()
    with read_session(engine) as session:
        assert claiming.abandoned(session, one._settings, one.name) is None
    with write_session(engine) as session:
        service.get_run(session, run_id).heartbeat_at = utc_now() - timedelta(seconds=31)
    with read_session(engine) as session:
        assert claiming.abandoned(session, one._settings, one.name) is not None


def test_a_worker_that_lost_its_run_can_write_nothing_about_it(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    slow, quick = make_worker(), make_worker()
    run_id = queue_sample(engine, cast)
    fence = claim(slow, engine, run_row(engine, run_id))
    assert fence == 1
    assert claim(quick, engine, run_row(engine, run_id)) == 2
    with write_session(engine) as session, pytest.raises(LostRun):
        slow._mine(session, run_id, fence)


def test_a_run_lost_before_it_started_does_not_stop_the_worker(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queue_sample(engine, cast)
    prepare = freeze.prepare

    def slowly(*given: Any) -> freeze.Prepared:
        with write_session(engine) as session:
            service.get_run(session, run_id).fence += 1  # another worker claims it meanwhile
        return prepare(*given)

    monkeypatch.setattr(freeze, "prepare", slowly)
    one = make_worker()
    one.tick()
    assert one._held is None
    assert run_row(engine, run_id).fence == 2


def test_a_freeze_that_takes_long_is_not_taken_for_death(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "DEAD_AFTER", timedelta(seconds=1))
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.1)
    run_id = queue_sample(engine, cast)
    prepare, seen = freeze.prepare, []
    one, other = make_worker(), make_worker()

    def slowly(*given: Any) -> freeze.Prepared:
        for _ in range(25):
            time.sleep(0.1)
            with read_session(engine) as session:
                seen.append(claiming.abandoned(session, other._settings, other.name))
        return prepare(*given)

    monkeypatch.setattr(freeze, "prepare", slowly)
    one.tick()
    assert seen == [None] * 25
    assert (run_row(engine, run_id).fence, run_row(engine, run_id).owner) == (1, one.name)
    assert one._held is not None


def test_who_lost_the_run_while_it_froze_publishes_nothing(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor], monkeypatch: Any
) -> None:
    run_id = queue_sample(engine, cast)
    prepare = freeze.prepare

    def lose(*given: Any) -> freeze.Prepared:
        prepared = prepare(*given)
        with write_session(engine) as session:
            service.get_run(session, run_id).fence += 1
        return prepared

    monkeypatch.setattr(freeze, "prepare", lose)
    make_worker().tick()
    assert not (settings.runs / str(run_id)).exists()


def test_a_run_whose_folder_is_still_worked_in_waits_and_that_is_no_crash(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    """By a process of an earlier claim, on whatever machine: the kernel keeps the lock for as long as it lives."""
    run_id = queue_sample(engine, cast)
    one = make_worker()
    folder = settings.runs / str(run_id)
    folder.mkdir(parents=True)
    prepared = freeze.prepare(engine, settings, run_id)
    freeze.publish(prepared)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tick_until(one, lambda: run_row(engine, run_id).fence == 5)
        assert run_row(engine, run_id).attempts <= 1
    tick_until(one, lambda: run_row(engine, run_id).state == "done")


def test_the_fourth_attempt_without_a_step_forward_is_not_made(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast)
    with write_session(engine) as session:
        service.get_run(session, run_id).attempts = 3
    make_worker().tick()
    run = run_row(engine, run_id)
    assert run.state == "failed"
    assert run.message == Message("worker_died")


def test_a_worker_takes_the_run_whose_turn_it_is(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    """The project served longest ago, and in it what was asked for first while its queue is full enough."""
    with write_session(engine) as session:
        served = factories.make_run(session, cast.other, "reward", heartbeat_at=utc_now())
        theirs = factories.make_run(session, served.project_id, "sample", state="queued").id
        demo = session.get_one(Project, cast.demo)
        mine = service.queue_run(session, demo, "sample", {}, {}, None).id
    one = make_worker()
    one.tick()
    assert (run_row(engine, mine).state, run_row(engine, theirs).state) == ("running", "queued")


# Chores


def test_a_low_queue_is_refilled_without_anybody_asking(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).queue_low_mark = 1
    make_worker()._do_chores()
    with read_session(engine) as session:
        refill = session.scalars(select(Run).where(Run.project_id == cast.demo)).one()
    assert (refill.kind, refill.created_by, len(refill.inputs["prompt_ids"])) == ("sample", None, prompts)


def open_tasks(engine: Engine) -> int:
    with read_session(engine) as session:
        return session.scalar(select(func.count(Task.id))) or 0


def test_a_due_trigger_starts_a_round(engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        make_labels(session, project, 30, cast.mary)
        project.triggers_on, project.trigger_labels = True, 30
    make_worker()._do_chores()
    with read_session(engine) as session:
        assert session.scalars(select(Round.trigger)).all() == ["labels"]


def test_a_project_whose_settings_cannot_be_used_does_not_stop_the_others(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).training = {"reward": {"min_labels": -1}}
        other = session.get_one(Project, cast.other)
        make_labels(session, other, 30, cast.eve)
        other.triggers_on, other.trigger_labels = True, 30
    make_worker()._do_chores()
    with read_session(engine) as session:
        assert session.scalars(select(Round.project_id)).all() == [cast.other]


@pytest.mark.parametrize("low", [False, True])
def test_projects_with_much_to_be_asked_take_turns(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch, *, low: bool
) -> None:
    """None keeps the worker for longer than a look may take, and none waits until another one is through."""
    monkeypatch.setattr(slices, "FIRST", 1)
    monkeypatch.setattr(chores, "ASKING_S", 0.0)
    with write_session(engine) as session:
        for project_id in (cast.demo, cast.other):
            project = session.get_one(Project, project_id)
            project.rating_share, project.queue_low_mark = 1.0, 9 if low else 0
            if project.policy_id is None:
                project.policy_id = factories.make_checkpoint(session, project_id).id
            for _ in range(3):
                factories.make_generation(session, factories.make_prompt(session, project_id), project.policy_id)
            if not low:
                asking.note_due(session, project_id)
    looks, made = chores.Looks(), []
    for _ in range(2 if low else 4):  # a queue that is low is asked about once, and refilled
        (chores.look_after_projects if low else chores.ask_what_is_due)(engine, looks)
        with read_session(engine) as session:
            made.append(session.scalars(select(Task.project_id).order_by(Task.id)).all())
    assert made == [[cast.demo, cast.other, cast.demo, cast.other][: count + 1] for count in range(len(made))]


def test_a_run_is_not_lost_while_a_chore_takes_long(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def long_chore(*given: object) -> None:
        with write_session(engine) as session:
            service.get_run(session, run_id).heartbeat_at = utc_now() - timedelta(seconds=31)
        time.sleep(0.5)
        with read_session(engine) as session:
            assert claiming.abandoned(session, one._settings, "another") is None
        done.append(True)

    run_id = queue_sample(engine, cast, per_prompt=1000, max_new_tokens=24)
    one = make_worker()
    tick_until(one, lambda: one._held is not None)
    done: list[bool] = []
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    monkeypatch.setattr(supervisor, "ask_what_is_due", long_chore)
    one.tick()
    assert done, "what a chore raises is only printed"


def test_a_living_worker_says_so(engine: Engine, make_worker: Callable[[], Supervisor]) -> None:
    one = make_worker()
    one.tick()
    with read_session(engine) as session:
        found = session.get_one(Worker, one.name)
        assert utc_now() - found.heartbeat_at < timedelta(seconds=5)


# Whole runs


def test_people_can_begin_while_a_run_goes_on_and_cancelling_it_takes_less_than_five_seconds(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=1000, max_new_tokens=24)
    one = make_worker()
    tick_until(one, lambda: open_tasks(engine) > 0)
    assert run_row(engine, run_id).state == "running"
    with write_session(engine) as session:
        service.cancel_run(session, service.get_run(session, run_id), cast.grace)
    asked = time.monotonic()
    tick_until(one, lambda: run_row(engine, run_id).state == "cancelled")
    assert time.monotonic() - asked < 5


def test_a_run_that_is_killed_is_started_again_and_loses_nothing(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=60, max_new_tokens=24)
    one = make_worker()
    tick_until(one, lambda: run_row(engine, run_id).step > 0)
    assert one._held is not None
    one._held.work.kill()
    tick_until(one, lambda: run_row(engine, run_id).state == "done")
    with read_session(engine) as session:
        pairs = session.execute(select(Generation.prompt_id, Generation.number)).all()
    assert len(pairs) == len(set(pairs)) == prompts * 60
    run = run_row(engine, run_id)
    assert (run.fence, run.step, run.eta_s, run.result["generations"]) == (2, run.total, None, prompts * 60)


def test_a_run_that_its_chat_template_had_ended_is_not_begun_again(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=1000)
    one = make_worker()
    one.tick()
    assert one._held is not None
    os.kill(pid_of(one), signal.SIGPROF)
    tick_until(one, lambda: run_row(engine, run_id).state in ("queued", "failed"))
    run = run_row(engine, run_id)
    assert (run.state, run.fence, run.message) == ("failed", 1, template_ran_away())


def test_a_disk_that_is_slow_fails_no_run(
    engine: Engine,
    settings: Settings,
    cast: Cast,
    prompts: int,
    make_worker: Callable[[], Supervisor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run begins while its worker still writes down which process it is."""
    to_disk, replace = folders.to_disk, Path.replace

    def slow(path: Path) -> None:
        time.sleep(4 if path.name.startswith("process.json") else 0)
        to_disk(path)

    def slow_too(path: Path, target: Path) -> Path:
        time.sleep(4 if target.name == "process.json" else 0)
        return replace(path, target)

    monkeypatch.setattr(folders, "to_disk", slow)
    monkeypatch.setattr(Path, "replace", slow_too)
    run_id = queue_sample(engine, cast)
    tick_until(make_worker(), lambda: run_row(engine, run_id).state in ("done", "failed"))
    assert (run_row(engine, run_id).state, run_row(engine, run_id).fence) == ("done", 1)


def test_what_a_killed_run_had_begun_to_write_is_gone_before_the_next_begins(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast)
    freeze.publish(freeze.prepare(engine, settings, run_id))
    left = settings.runs / str(run_id) / "metrics.jsonl.17.tmp"
    left.write_text("half")
    with (left.parent / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tidy(left.parent)
        assert left.exists()  # somebody may be writing it
    make_worker().tick()
    assert not left.exists()


def test_a_process_that_cannot_be_found_again_is_not_left_at_work(tmp_path: Path) -> None:
    (tmp_path / "process.json").mkdir()
    before = set(psutil.Process().children())
    with pytest.raises(OSError):
        LocalWork([sys.executable, "-c", "input()"], tmp_path, {})
    assert set(psutil.Process().children()) <= before


def test_the_third_crash_in_a_row_is_the_last_and_a_step_forward_breaks_the_row(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=1000)
    with write_session(engine) as session:
        service.get_run(session, run_id).attempts = 2
    one = make_worker()
    tick_until(one, lambda: run_row(engine, run_id).step > 0)
    assert run_row(engine, run_id).attempts == 1
    with write_session(engine) as session:
        run = service.get_run(session, run_id)
        run.attempts, run.result = 3, {"furthest_step": run.total}
    assert one._held is not None
    one._held.work.kill()
    tick_until(one, lambda: run_row(engine, run_id).state == "failed")
    why = run_row(engine, run_id).message
    assert why is not None
    assert (why.code, why.arguments["times"], why.arguments["ending"]) == ("crashed", 3, Message("killed", signal="SIGKILL"))


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"run_memory_gb": 0.05}, Message("run_took_memory", gigabytes=0.05)),
        ({"run_hours": 1 / 3600}, Message("run_took_time", hours=1 / 3600)),
    ],
    ids=["memory", "time"],
)
def test_a_run_that_takes_more_than_it_may_is_ended_at_once_with_a_sentence(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, limit: dict[str, float], why: Message
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=1000)
    one = Supervisor(engine, settings.model_copy(update=limit))
    tick_until(one, lambda: run_row(engine, run_id).state != "queued" and one._held is None)
    run = run_row(engine, run_id)
    one.close()
    assert (run.state, run.attempts, run.fence) == ("failed", 1, 1)
    assert run.message == why


def test_a_run_is_told_no_secret_and_is_the_first_to_go_when_memory_runs_out(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASTEMAKER_DATABASE_URL", "postgresql+psycopg://taste:secret@localhost/taste")
    monkeypatch.setenv("PGPASSWORD", "secret")
    queue_sample(engine, cast, per_prompt=1000)
    one = make_worker()
    one.tick()
    assert one._held is not None
    process = Path("/proc") / str(pid_of(one))
    told = (process / "environ").read_bytes()
    assert b"TASTEMAKER_THREADS=1" in told
    assert b"secret" not in told
    assert (process / "oom_score_adj").read_text().strip() == "500"


def test_a_run_is_told_of_the_rewards_that_it_names_and_of_no_other(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASTEMAKER_REWARDS", "tone=https://tone.example.org facts=https://facts.example.org")
    monkeypatch.setenv("TASTEMAKER_REWARD_KEYS", "tone=s3cret facts=t00")
    get_settings.cache_clear()
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        factories.make_checkpoint(session, project.id, kind="reward", source="runs/1/checkpoint", parent_id=project.policy_id)
        run_id = service.queue_run(session, project, "ppo", {"outside": "tone=0.5"}, {}, cast.grace).id
    named = Settings(data=settings.data)
    get_settings.cache_clear()
    monkeypatch.delenv("TASTEMAKER_REWARDS")
    monkeypatch.delenv("TASTEMAKER_REWARD_KEYS")
    one = Supervisor(engine, named)
    one.tick()
    assert one._held is not None
    told = (Path("/proc") / str(pid_of(one)) / "environ").read_bytes().split(b"\0")
    one._held.work.kill()
    assert b"TASTEMAKER_REWARDS=tone=https://tone.example.org" in told
    assert b"TASTEMAKER_REWARD_KEYS=tone=s3cret" in told
    frozen = (settings.runs / str(run_id) / "run.json").read_text()
    assert json.loads(frozen)["config"]["outside"] == "tone=0.5"
    assert "example.org" not in frozen
    assert "s3cret" not in frozen
    one.close()


def test_steps_that_an_earlier_attempt_had_done_do_not_break_a_row_of_crashes(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor]
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=1000)
    with write_session(engine) as session:
        run = service.get_run(session, run_id)
        run.attempts, run.result = 2, {"furthest_step": 6000}
    one = make_worker()
    tick_until(one, lambda: run_row(engine, run_id).step > 0)
    assert run_row(engine, run_id).attempts == 3
    assert one._held is not None
    one._held.work.kill()
    tick_until(one, lambda: run_row(engine, run_id).state == "failed")


def test_a_worker_that_stops_gives_its_run_back_and_the_next_goes_on(
    engine: Engine, cast: Cast, prompts: int, make_worker: Callable[[], Supervisor], settings: Settings
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=60, max_new_tokens=32)
    first = Supervisor(engine, settings)
    tick_until(first, lambda: run_row(engine, run_id).step > 0)
    first.close()
    run = run_row(engine, run_id)
    assert (run.state, run.owner, run.attempts) == ("queued", None, 0)
    tick_until(make_worker(), lambda: run_row(engine, run_id).state == "done")
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Generation.id))) == prompts * 60


@patient
@pytest.mark.parametrize(("executor", "processes"), [("local", 1), ("torchrun", 2)])
def test_kill_9_of_the_worker_costs_nothing_but_time(
    engine: Engine, settings: Settings, cast: Cast, prompts: int, executor: str, processes: int
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=60, max_new_tokens=32)
    settings = settings.model_copy(update={"executor": executor, "processes": processes})
    process = start_worker(settings)
    deadline = time.monotonic() + PATIENCE_S
    while run_row(engine, run_id).step == 0:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    other = Supervisor(engine, settings)
    tick_until(other, lambda: run_row(engine, run_id).state == "done", PATIENCE_S)
    other.close()
    with read_session(engine) as session:
        pairs = session.execute(select(Generation.prompt_id, Generation.number)).all()
        seats = session.scalar(select(func.count(Seat.id)))
        tasks = session.scalar(select(func.count(Task.id)))
    assert len(pairs) == len(set(pairs)) == prompts * 60
    assert seats == tasks


def test_a_run_says_what_it_waits_for_and_can_be_cancelled_meanwhile(
    engine: Engine, settings: Settings, cast: Cast, prompts: int
) -> None:
    run_id = queue_sample(engine, cast)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        one = Supervisor(engine, settings.model_copy(update={"executor": "ray", "ray_address": address}))
        tick_until(one, lambda: (said := run_row(engine, run_id).message) is not None and said.code == "cluster_silent")
        assert run_row(engine, run_id).state == "running"
        with write_session(engine) as session:
            service.cancel_run(session, service.get_run(session, run_id), cast.grace)
        tick_until(one, lambda: run_row(engine, run_id).state == "cancelled")
        one.close()


@patient
def test_the_worker_ends_on_sigterm(settings: Settings, engine: Engine) -> None:
    process = start_worker(settings)
    deadline = time.monotonic() + PATIENCE_S
    while not _workers(engine):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert _workers(engine) == []


def niceness(pid: int) -> tuple[int, int]:
    """Of a process, and of its session where the kernel shares processors between sessions."""
    group = Path("/proc") / str(pid) / "autogroup"
    own = psutil.Process(pid).nice()
    return own, int(group.read_text().split()[-1]) if group.exists() else own


@patient
@pytest.mark.parametrize(("executor", "processes"), [("local", 1), ("torchrun", 2)])
def test_the_worker_and_its_runs_give_way_to_the_web(
    settings: Settings, engine: Engine, cast: Cast, prompts: int, executor: str, processes: int
) -> None:
    run_id = queue_sample(engine, cast, per_prompt=1000)
    settings = settings.model_copy(update={"executor": executor, "processes": processes})
    worker = start_worker(settings)  # in a session of its own, as `tastemaker up` does it
    try:
        deadline = time.monotonic() + PATIENCE_S
        while run_row(engine, run_id).step == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        runs = [one for one in psutil.Process(worker.pid).children(recursive=True) if "trainer" in one.cmdline()]
        assert len(runs) == processes
        assert {niceness(pid) for pid in (worker.pid, *(one.pid for one in runs))} == {(GIVES_WAY, GIVES_WAY)}
    finally:
        worker.kill()
        worker.wait()


def _workers(engine: Engine) -> list[str]:
    with read_session(engine) as session:
        return list(session.scalars(select(Worker.name)))


def test_the_worker_never_loads_torch() -> None:
    code = "import sys, trainer.worker.supervisor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# Models that answer at once


@patient
def test_whoever_asks_a_model_has_a_process_of_this_worker_that_knows_no_secret(
    settings: Settings, make_worker: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASTEMAKER_DATABASE_URL", "postgresql://user:hunter2@localhost/x")
    worker = make_worker()
    tick_until(worker, lambda: worker._warm.pid is None)
    ask_for(settings.data)
    tick_until(worker, lambda: worker._warm.pid is not None)
    pid = worker._warm.pid
    assert pid is not None
    if sys.platform == "linux":
        assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()
    worker.close()
    assert not psutil.pid_exists(pid)
