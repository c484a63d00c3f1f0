"""The background process: `python -m trainer.worker.supervisor` claims runs, has each started, and keeps the rows true.

One run at a time, one loop, no threads but a heartbeat while something takes long, and a courier. Every write about a run carries
its fence, the number of its claim: a worker that lost its run, because nothing was heard of it for too long, can no longer change
anything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.database.failures import is_passing
from app.errors import Refusal
from app.models import Run, Worker, utc_now
from app.queue import asking
from app.removal.taking_out import take_out
from app.runs.limits import limits_of
from app.runs.runs import WRITES_ANSWERS, get_run, hold_run
from app.settings import Settings, get_settings
from app.start import in_one_sentence, open_database
from trainer.contract.environment import RAN_AWAY, give_way, template_ran_away
from trainer.contract.folder import EXIT_CANCELLED, EXIT_DONE, EXIT_REFUSED, EXIT_RETRY, keep_private
from trainer.contract.messages import Message, reason_of
from trainer.worker import claim, freeze, results
from trainer.worker.chores import Looks, ask_what_is_due, free_the_disk, look_after_projects, measure_the_disk, tidy_the_queue
from trainer.worker.claim import MOST_ATTEMPTS, Claimed, give_back
from trainer.worker.courier import Courier
from trainer.worker.executors.choice import executor_of
from trainer.worker.executors.command import environment_of, tidy
from trainer.worker.failures import crashed, living_on, said, why_not_prepared
from trainer.worker.heartbeat import BEAT_S, LostRun, beating
from trainer.worker.held import Held
from trainer.worker.warm import Warm

LOOK_S = 0.5  # between two looks at the run or for work
CHORES_S = 5.0  # between two looks at triggers and queues
REMOVAL_S = 0.3  # of each look, while there is something to take out
CANCEL_GRACE_S = 3.0  # a cancelled run is killed after this
SAVE_GRACE_S = 20.0  # a run that is to be continued may take longer to save its state
ORPHAN_GRACE_S = 5.0  # asked, then killed: twice this is well under claim.DEAD_AFTER, and nobody says that we live meanwhile
MOST_FAILURES = 3  # looks in a row that failed for what a run wrote, and it is given up
GENERATIONS_AT_ONCE = 64  # rows of one transaction


class Supervisor:
    """`tick()` does what is to be done now; `run()` repeats it until told to stop."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._limits = limits_of(settings)
        self._executor = executor_of(settings)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = claim.sign_of_life(settings, self.name)
        self._held: Held | None = None
        self._beat_at = self._chores_at = self._removal_at = 0.0
        self._looks = Looks()
        self._courier = Courier(engine)
        self._warm = Warm(settings.data, environment_of(settings, ()))
        self._claimed: Claimed | None = None  # until it has begun
        with write_session(engine) as session:
            session.add(Worker(name=self.name))

    def run(self, stopping: Callable[[], bool]) -> None:
        while not stopping():
            with living_on("a look"):
                self.tick()
            time.sleep(LOOK_S)
        with living_on("leaving"):
            self.close()

    def tick(self) -> None:
        self._say_alive()
        if self._held is not None:
            self._watch(self._held)
        with self._heard_of():
            with living_on("asking what is due"):
                ask_what_is_due(self._engine, self._looks)
            with living_on("a chore"):
                self._do_chores()
        with living_on("taking out what was deleted"):
            self._take_out_deleted()
        if self._held is None:
            self._take_next()
        with living_on("telling what was announced"):
            self._courier.look()
        with living_on("keeping the warm process"):
            self._warm.look(beside_a_run=self._held is not None)

    def close(self) -> None:
        """Give the run back, saved as far as it got, and leave."""
        self._warm.close()
        if self._held is not None:
            self._hand_back(self._held)
        self._looks.count.end()
        self._courier.close()
        with write_session(self._engine) as session:
            session.execute(delete(Worker).where(Worker.name == self.name))
        self._lock.end()

    # Claiming

    def _take_next(self) -> None:
        if self._claimed is None:
            self._claimed = claim.next_claim(self._engine, self._settings, self.name)
        if self._claimed is not None:
            self._begin(self._claimed)
            self._claimed = None

    def _begin(self, claimed: Claimed) -> None:
        """Start the run, or end it with the reason why it cannot be. Where the database does not answer, it is still to begin."""
        try:
            self._start(claimed)
        except LostRun:
            pass  # whoever took it over goes on with the folder
        except Exception as error:
            if is_passing(error):
                raise
            with contextlib.suppress(LostRun), write_session(self._engine) as session:
                run = self._mine_with_project(session, claimed.run_id, claimed.fence)
                results.record_end(session, run, "failed", why_not_prepared(error))

    def _start(self, claimed: Claimed) -> None:
        run_id, fence = claimed.run_id, claimed.fence
        with beating(self._engine, self.name, run_id, fence) as beat:
            prepared = freeze.prepare(self._engine, self._settings, run_id, fence, beat.still_ours)
            self._executor.end_left_behind(prepared.folder, ORPHAN_GRACE_S)
            tidy(prepared.folder)
        with write_session(self._engine) as session:
            run = self._mine_with_project(session, run_id, fence)
            freeze.publish(prepared)  # only who holds the run writes its folder
            freeze.record_frozen(session, run, prepared)
        with read_session(self._engine) as session:  # of its earlier claims; now only we store
            stored = results.stored_generations(session, run_id)
        environment = environment_of(self._settings, prepared.outside, prepared.key_variable)
        self._held = Held(
            run_id,
            claimed.project_id,
            claimed.kind,
            fence,
            prepared.folder,
            self._executor.start(claimed.kind, prepared.folder, environment),
            results.NewGenerations(prepared.folder, stored),
        )

    # Watching

    def _watch(self, held: Held) -> None:
        try:
            # Asked first: what the run wrote before it ended is then there to be read.
            code = held.work.poll()
            self._obey_cancel(held)
            if code is None:
                self._obey_limits(held)
                self._store_generations(held)
                self._tell_progress(held)
            else:
                with beating(self._engine, self.name, held.run_id, held.fence):
                    self._store_all(held)
                    self._finish(held, code)
            held.failures = 0
        except LostRun:
            self._let_go(held)
        except Exception as error:
            held.failures += not is_passing(error)
            if held.failures < MOST_FAILURES:
                raise
            print(f"Run {held.run_id} is given up:\n{traceback.format_exc()}", file=sys.stderr)
            self._give_up(held, error)

    def _let_go(self, held: Held) -> None:
        held.work.kill()
        held.work.wait(CANCEL_GRACE_S)
        self._held = None

    def _give_up(self, held: Held, error: Exception) -> None:
        """What the run wrote cannot be stored, however often one tries: it has failed."""
        self._let_go(held)
        why = Message("not_stored", error=said(error))
        with contextlib.suppress(LostRun), write_session(self._engine) as session:
            results.close_run(self._mine(session, held.run_id, held.fence), "failed", why)
        with living_on("what follows a run"), write_session(self._engine) as session:  # else the next look at its project does it
            results.go_on(session, hold_run(session, held.run_id))

    def _store_all(self, held: Held) -> None:
        while self._store_generations(held):
            pass

    def _store_generations(self, held: Held) -> bool:
        """Make rows of answers, and have them asked about, so that people can begin while the rest is being written."""
        if held.kind not in WRITES_ANSWERS:
            return False
        if not held.unstored:
            held.unstored = held.generations.read(GENERATIONS_AT_ONCE)
        if not held.unstored:
            return False
        with write_session(self._engine) as session:
            results.store_generations(session, self._mine(session, held.run_id, held.fence), held.unstored)
        held.unstored = []
        with write_session(self._engine) as session:
            asking.note_due(session, held.project_id)
        return True

    def _tell_progress(self, held: Held) -> None:
        progress = results.read_progress(held.folder)
        waits_for = held.work.waits_for()
        if waits_for is not None:
            progress["message"] = waits_for
        if progress == held.told and time.monotonic() < held.beat_at:
            return
        with write_session(self._engine) as session:
            run = self._mine(session, held.run_id, held.fence)
            if progress.get("step", 0) > run.result.get("furthest_step", 0):  # of all attempts: each begins with lower ones
                run.result = {"furthest_step": progress["step"]}
                run.attempts = 1  # it moves: earlier crashes were not its fault
            if run.cancel_requested_at is not None:
                progress.pop("message", None)
            for name, value in progress.items():
                setattr(run, name, value)
            run.heartbeat_at = utc_now()
        held.told, held.beat_at = progress, time.monotonic() + BEAT_S

    def _obey_cancel(self, held: Held) -> None:
        if held.cancelled_at is None:
            with read_session(self._engine) as session:
                if get_run(session, held.run_id).cancel_requested_at is None:
                    return
            held.cancelled_at = time.monotonic()
            (held.folder / "cancel").touch()
            held.work.stop()
        elif time.monotonic() - held.cancelled_at > CANCEL_GRACE_S:
            held.work.kill()

    def _obey_limits(self, held: Held) -> None:
        """End a run that takes too much: at once for its memory, which others need, and with its state saved for its time."""
        if held.exceeded is not None:
            if time.monotonic() - held.exceeded_at > SAVE_GRACE_S:
                held.work.kill()
            return
        held.exceeded = self._limits.exceeded(held.work.memory_bytes(), held.began)
        if held.exceeded is not None:
            held.exceeded_at = time.monotonic()
            if held.exceeded.code == "run_took_memory":
                held.work.kill()
            else:
                held.work.stop()

    def _finish(self, held: Held, code: int) -> None:
        result = results.read_result(held.folder)
        with write_session(self._engine) as session:
            run = self._mine_with_project(session, held.run_id, held.fence)
            if code == EXIT_DONE:
                results.record_done(session, run, held.folder)
            elif code == EXIT_REFUSED:
                results.record_end(session, run, "failed", reason_of(result) or Message("refused_without_reason"), result)
            elif run.cancel_requested_at is not None:
                results.record_end(session, run, "cancelled", Message("cancelled"), result)
            elif held.exceeded is not None:
                results.record_end(session, run, "failed", held.exceeded, result)
            elif code == -RAN_AWAY:
                results.record_end(session, run, "failed", template_ran_away(), result)  # as it would the next time
            elif code in (EXIT_CANCELLED, EXIT_RETRY):  # retry: the process of an earlier claim has not left the folder yet
                give_back(run, blameless=True)
            elif run.attempts >= MOST_ATTEMPTS:
                results.record_end(session, run, "failed", crashed(code, MOST_ATTEMPTS, results.last_words(held.folder)), result)
            else:
                give_back(run, blameless=False)
        self._held = None

    def _hand_back(self, held: Held) -> None:
        """Stop the run where it can go on, and let any worker have it."""
        with beating(self._engine, self.name, held.run_id, held.fence):
            self._hand_back_alive(held)

    def _hand_back_alive(self, held: Held) -> None:
        held.work.stop()
        code = held.work.wait(SAVE_GRACE_S)
        if code is None:
            held.work.kill()
            code = held.work.wait(SAVE_GRACE_S)
        try:
            self._store_all(held)
            if code in (EXIT_DONE, EXIT_REFUSED):
                self._finish(held, code)
                return
            with write_session(self._engine) as session:
                run = self._mine_with_project(session, held.run_id, held.fence)
                if run.cancel_requested_at is not None:
                    results.record_end(session, run, "cancelled", Message("cancelled"))
                else:
                    give_back(run, blameless=True)
        except LostRun:
            pass  # whoever has it now goes on with the folder
        self._held = None

    def _mine_with_project(self, session: Session, run_id: int, fence: int) -> Run:
        """The run and, before it, its project: what begins or ends moves a round on. Raises LostRun."""
        hold_run(session, run_id)
        return self._mine(session, run_id, fence)

    def _mine(self, session: Session, run_id: int, fence: int) -> Run:
        """The run, held, if its fence is still ours. Raises LostRun."""
        mine = select(Run).where(Run.id == run_id, Run.fence == fence, Run.state == "running")
        run = session.scalar(mine.with_for_update(key_share=True))
        if run is None:
            raise LostRun(run_id)
        return run

    # Chores

    def _heard_of(self) -> contextlib.AbstractContextManager[object]:
        """While chores take long nobody takes over our run; whether somebody did is seen when it is watched again."""
        run = self._held or self._claimed
        if run is None:
            return contextlib.nullcontext()
        return beating(self._engine, self.name, run.run_id, run.fence, at_once=False)

    def _say_alive(self) -> None:
        if time.monotonic() < self._beat_at:
            return
        with write_session(self._engine) as session:
            worker = session.get(Worker, self.name)
            if worker is None:  # of a database that was brought back from a copy
                worker = Worker(name=self.name)
                session.add(worker)
            worker.heartbeat_at = utc_now()
            worker.message = Message("worker_busy", number=self._held.run_id) if self._held else Message("worker_idle")
            if self._claimed is not None:
                ours = (Run.id == self._claimed.run_id, Run.fence == self._claimed.fence)
                session.execute(update(Run).where(*ours).values(heartbeat_at=utc_now()))
        self._beat_at = time.monotonic() + BEAT_S

    def _do_chores(self) -> None:
        if time.monotonic() >= self._chores_at:
            self._chores_at = time.monotonic() + CHORES_S
            look_after_projects(self._engine, self._looks)
            free_the_disk(self._engine, self._settings.data.resolve(), self._looks)
            measure_the_disk(self._engine, self._settings.data.resolve(), self._looks)
            tidy_the_queue(self._engine, self._looks)

    def _take_out_deleted(self) -> None:
        """A little at a time of what deleted projects left, so that runs are watched meanwhile."""
        if time.monotonic() >= self._removal_at and not take_out(self._engine, self._settings.data.resolve(), REMOVAL_S):
            self._removal_at = time.monotonic() + CHORES_S


def main() -> int:
    """Work until SIGTERM or Ctrl-C."""
    keep_private()
    give_way()
    told_to_stop = False

    def stop(number: int, frame: object) -> None:
        nonlocal told_to_stop
        told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    settings = get_settings()
    try:
        engine = open_database(settings)
        with in_one_sentence(settings):
            supervisor = Supervisor(engine, settings)
    except Refusal as refusal:
        print(refusal.detail, file=sys.stderr)
        return 1
    supervisor.run(lambda: told_to_stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
