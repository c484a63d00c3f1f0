"""Tables to folder: what a run is to work on, frozen into files that are put into its place whole, run.json last.

Reads in read sessions, writes outside of any transaction.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.database.engine import read_session
from app.models import Project, Round, Run
from app.runs.run_files import run_folder
from app.runs.runs import WRITES_ANSWERS, get_run
from app.settings import Settings
from trainer.contract.coverage.clusters import ASKED
from trainer.contract.folder import make, to_disk, write_atomic
from trainer.contract.ppo_config import MOST_OUTSIDE
from trainer.contract.setting import weights_by_name
from trainer.worker.results import read_result
from trainer.worker.run_inputs import write_inputs

STATE_OF = "state_of"  # a file: the number of the failed run whose state this one went on from


@dataclass(frozen=True)
class Prepared:
    """A run folder that is ready to start, and what it froze."""

    folder: Path
    label_digest: str | None
    label_count: int | None
    outside: tuple[str, ...] = ()  # names of rewards outside of the model that it is paid by
    key_variable: str | None = None  # that holds the key of the model outside that it asks
    written: Path | None = field(default=None, compare=False)  # where it lies until `publish`; none: it was there already


def prepare(
    engine: Engine, settings: Settings, run_id: int, fence: int = 0, still_ours: Callable[[], None] = lambda: None
) -> Prepared:
    """Write the run's folder, or take it as it is when an earlier attempt did: what was frozen stays frozen.

    It is written beside its place, in a folder of this claim's own: a worker that has lost the run disturbs nobody. `still_ours`
    raises where it has. Raises Refusal, with a reason for the person who asked.
    """
    folder = run_folder(settings.runs, run_id)
    if (folder / "run.json").exists():
        return _prepared(folder, folder)
    _forget_claims(settings.runs, run_id, fence)
    written = settings.runs / f".{run_id}-{fence}"
    try:
        shutil.rmtree(written, ignore_errors=True)
        make(settings.runs)
        written.mkdir()
        _freeze(engine, settings, run_id, written, still_ours)
    except BaseException:
        shutil.rmtree(written, ignore_errors=True)
        raise
    return _prepared(folder, written)


def publish(prepared: Prepared) -> None:
    """Put the folder into its place, whole. The caller holds the run, so that nobody else does at the same time."""
    if prepared.written is not None:
        if not (prepared.folder / "run.json").exists():
            shutil.rmtree(prepared.folder, ignore_errors=True)
            prepared.written.rename(prepared.folder)
            to_disk(prepared.folder.parent)
        shutil.rmtree(prepared.written, ignore_errors=True)
    _forget_stop(prepared.folder)


def _prepared(folder: Path, written: Path) -> Prepared:
    specification = json.loads((written / "run.json").read_text(encoding="utf-8"))
    inputs, config = specification["inputs"], specification["config"]
    outside = tuple(weights_by_name("outside", config.get("outside", ""), MOST_OUTSIDE))
    where = written if written != folder else None
    return Prepared(folder, inputs.get("label_digest"), inputs.get("label_count"), outside, inputs.get("key_variable"), where)


def _forget_claims(runs: Path, run_id: int, fence: int) -> None:
    """What earlier claims left unfinished."""
    for left in runs.glob(f".{run_id}-*"):
        number = left.name.partition("-")[2]
        if number.isdigit() and int(number) < fence:
            shutil.rmtree(left, ignore_errors=True)


def _freeze(engine: Engine, settings: Settings, run_id: int, folder: Path, still_ours: Callable[[], None]) -> None:
    """run.json comes last, once all else is on the disk, so a folder that has one is whole."""
    with read_session(engine) as session:
        run = get_run(session, run_id)
        inputs = write_inputs(session, settings, run, folder)
        day = session.get_one(Project, run.project_id).created_at.date().isoformat()
        specification = {"kind": run.kind, "config": run.config, "day": day, "inputs": inputs}
        failed = run_folder(settings.runs, run.retry_of_id) if run.retry_of_id is not None else None
    if failed is not None and run.kind not in WRITES_ANSWERS:  # whose answers are rows of the run that wrote them
        _take_state(failed, folder, specification)
    still_ours()
    for path in folder.rglob("*"):  # what was copied, too
        to_disk(path)
    write_atomic(folder / "run.json", json.dumps(specification, ensure_ascii=False, indent=1))


def _take_state(failed: Path, folder: Path, specification: Mapping[str, Any]) -> None:
    """Let a run that does a failed one again go on from its state, where both are to do the very same.

    New labels or another setting make another run, for which the state says nothing; how often others were tested meanwhile and
    which prompts there are makes none (only the gate and the map of prompts ask, at the end). One that went on from a state and
    failed as well may have been given the fault with it, so whoever does that one again begins anew.
    """
    if not (failed / "state").is_dir() or (failed / STATE_OF).exists():
        return
    theirs = json.loads((failed / "run.json").read_text(encoding="utf-8"))
    if _less_tests(theirs) != _less_tests(specification):
        return
    frozen = [path.name for path in folder.iterdir() if path.name != ASKED]
    _same, other, missing = filecmp.cmpfiles(failed, folder, frozen, shallow=False)
    if other or missing:
        return
    try:
        shutil.copytree(failed / "state", folder / "state")
    except (FileNotFoundError, shutil.Error):  # it is being freed at this moment: the run begins anew
        shutil.rmtree(folder / "state", ignore_errors=True)
        return
    for name in ("metrics.jsonl", "samples.jsonl"):
        if (failed / name).is_file():
            shutil.copyfile(failed / name, folder / name)
    (folder / STATE_OF).write_text(failed.name, encoding="utf-8")


def _less_tests(specification: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {name: value for name, value in specification["inputs"].items() if name != "earlier_tests"}
    return {**specification, "inputs": inputs}


def record_frozen(session: Session, run: Run, prepared: Prepared) -> None:
    """Note what the run learns from; labels that came while it was queued are in, and its round says so too."""
    run.label_digest, run.label_count = prepared.label_digest, prepared.label_count
    if run.kind == "reward" and run.round_id is not None and prepared.label_count is not None:
        session.get_one(Round, run.round_id).label_count = prepared.label_count


def _forget_stop(folder: Path) -> None:
    """A run that was stopped to be continued must not read the old request to stop."""
    (folder / "cancel").unlink(missing_ok=True)
    if read_result(folder).get("status") == "cancelled":
        (folder / "result.json").unlink()
