"""Folder to tables: what a run has written, as rows, in short transactions. The caller holds the fence."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import func, select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.models import Checkpoint, Generation, Round, Run, drawn, utc_now
from app.models.values import storable
from app.prompts.service import prompt_digest
from app.queue import asking
from app.rounds import service
from app.runs.checkpoints import get_checkpoint, root_of
from app.runs.left_out import DIGESTS, Why
from app.runs.run_files import log_tail
from app.runs.runs import WRITES_ANSWERS
from trainer.contract.folder import read_jsonl
from trainer.contract.messages import Message, from_json, reason_of

_ANSWER = frozenset({"prompt_id", "index", "seed", "text", "token_ids", "finish_reason"})


class NewGenerations:
    """The answers a sample run has written since the last look, each given once."""

    def __init__(self, folder: Path, stored: Iterable[tuple[int, int]]) -> None:
        self._path = folder / "generations.jsonl"
        self._offset = 0
        self._seen = set(stored)  # (prompt id, number)

    def read(self, most: int) -> list[dict[str, Any]]:
        """Up to `most` new rows. Only whole lines count: the last one may be in the middle of being written."""
        rows: list[dict[str, Any]] = []
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return rows
        with file:
            file.seek(self._offset)
            while len(rows) < most and (line := file.readline()).endswith(b"\n"):
                self._offset = file.tell()
                row = _answer_in(line)
                if row is None:
                    print(f"{self._path}: a line that is no answer is left out.", file=sys.stderr)
                elif (key := (row["prompt_id"], row["index"])) not in self._seen:
                    self._seen.add(key)
                    rows.append(row)
        return rows


def _answer_in(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.keys() >= _ANSWER else None


def stored_generations(session: Session, run_id: int) -> list[tuple[int, int]]:
    """(prompt id, number) of the answers of a run that are rows already."""
    rows = session.execute(select(Generation.prompt_id, Generation.number).where(Generation.run_id == run_id))
    return [(prompt_id, number) for prompt_id, number in rows]


def store_generations(session: Session, run: Run, rows: list[dict[str, Any]]) -> None:
    """Turn answers into rows, in the order in which they were written. What cannot be stored is left out, and the log says so.

    What a model writes may hold any character: those that no database takes are replaced in the text, and stay in the tokens.
    """
    if not _stored(session, run, rows):
        for row in rows:
            if not _stored(session, run, [row]):
                print(f"Run {run.id}: an answer to prompt {row['prompt_id']} cannot be stored; it is left out.", file=sys.stderr)


def _stored(session: Session, run: Run, rows: list[dict[str, Any]]) -> bool:
    settings = {name: run.config[name] for name in ("temperature", "max_new_tokens")}
    if run.config.get("best_of", 1) > 1:
        settings |= {"best_of": run.config["best_of"], "reward": run.inputs["reward"]}
    elif run.inputs.get("scored_by") is not None:
        settings["scored_by"] = run.inputs["scored_by"]
    checkpoint_id = run.inputs.get("checkpoint")  # none: a model outside was asked
    if checkpoint_id is not None:
        contender_id = contender_of(session, get_checkpoint(session, checkpoint_id), drawn(settings)).id
    else:
        contender_id = run.inputs["contender"]
    try:
        with session.begin_nested():
            session.add_all(
                Generation(
                    prompt_id=row["prompt_id"],
                    contender_id=contender_id,
                    checkpoint_id=checkpoint_id,
                    run_id=run.id,
                    number=row["index"],
                    settings=settings | {name: row[name] for name in ("score", "mean_score") if name in row},
                    seed=row["seed"],
                    text=storable(row["text"]),
                    token_ids=row["token_ids"],
                    finish_reason=row["finish_reason"],
                )
                for row in rows
            )
    except (DataError, IntegrityError, OverflowError):  # its prompt is gone, a number is too large, it is stored already
        return False
    return True


def read_progress(folder: Path) -> dict[str, Any]:
    """step, total, message and eta_s of progress.json, as columns of a run; empty while there is none."""
    found = _json(folder / "progress.json")
    columns = {name: found[name] for name in ("step", "total", "eta_s") if name in found}
    return columns | ({"message": from_json(found["message"])} if "message" in found else {})


def read_result(folder: Path) -> dict[str, Any]:
    """result.json; empty while there is none. Numbers that are not finite read as null.

    Of prompts that a sampling left out it also has the digests of their texts as they were frozen: somebody may change one.
    """
    result = _json(folder / "result.json")
    ids = {prompt_id: why for why in get_args(Why) for prompt_id in result.get(f"{why}_prompt_ids") or []}
    digests = {
        prompt_digest(row["messages"]): ids[row["prompt_id"]]
        for row in (read_jsonl(folder / "prompts.jsonl") if ids else ())
        if row["prompt_id"] in ids
    }
    return result | ({DIGESTS: digests} if digests else {})


def last_words(folder: Path) -> str:
    """The last line of the log, for a person who asks why; empty when nothing was written."""
    lines = [line.strip() for line in log_tail(folder, 4096).splitlines() if line.strip()]
    last: str = storable(lines[-1][:300]) if lines else ""
    return last


def record_done(session: Session, run: Run, folder: Path) -> None:
    """The run has ended well: its result, its checkpoint, and the next stage of its round."""
    run.result = read_result(folder)
    run.state, run.ended_at, run.eta_s = "done", utc_now(), None
    run.step = run.total
    if run.kind in WRITES_ANSWERS:
        count = session.scalar(select(func.count(Generation.id)).where(Generation.run_id == run.id)) or 0
        run.result = run.result | {"generations": count}
    if (folder / "checkpoint" / "manifest.json").exists():
        session.add(_checkpoint(session, run, folder))
    run.message = reason_of(run.result) or Message("done")
    session.flush()
    go_on(session, run)


def record_end(session: Session, run: Run, state: str, message: Message, result: dict[str, Any] | None = None) -> None:
    """The run has ended otherwise: `state` is failed or cancelled, the message says why to the person who asked."""
    close_run(run, state, message, result)
    session.flush()
    go_on(session, run)


def close_run(run: Run, state: str, message: Message, result: dict[str, Any] | None = None) -> None:
    """The row alone; what follows is for `go_on`."""
    run.state, run.ended_at, run.eta_s, run.message = state, utc_now(), None, message
    run.result = result or {}


def go_on(session: Session, run: Run) -> None:
    """What waited for a run that has ended: tasks of its answers, the next stage of its round."""
    if run.kind in WRITES_ANSWERS:
        asking.note_due(session, run.project_id)  # what waited for answers of this run waits for them no longer
    if run.round_id is not None:
        service.advance_round(session, session.get_one(Round, run.round_id))


def _checkpoint(session: Session, run: Run, folder: Path) -> Checkpoint:
    kind = "reward" if run.kind == "reward" else "policy"
    parent = {"reward": "policy", "ppo": "start", "preference": "start", "sft": "base"}[run.kind]
    parent_id = run.inputs.get(parent)
    if run.kind == "reward":
        parent_id = root_of(session, get_checkpoint(session, run.inputs["policy"])).id
    round_ = session.get(Round, run.round_id) if run.round_id is not None else None
    label_digest = run.label_digest
    if run.kind == "ppo":
        label_digest = get_checkpoint(session, run.inputs["reward"]).label_digest
        if run.label_digest is not None:  # of demonstrations that it learned from beside
            label_digest = hashlib.sha256(f"{label_digest or ''}{run.label_digest}".encode()).hexdigest()
    return Checkpoint(
        project_id=run.project_id,
        kind=kind,
        name=_name(kind, run, round_),
        parent_id=parent_id,
        run_id=run.id,
        source=f"{folder.parent.name}/{folder.name}/checkpoint",
        digest=hashlib.sha256((folder / "checkpoint" / "manifest.json").read_bytes()).hexdigest(),
        label_digest=label_digest,
        metrics={name: value for name, value in run.result.items() if isinstance(value, int | float | str | list | dict)},
    )


def _name(kind: str, run: Run, round_: Round | None) -> Message:
    if kind == "reward":
        return Message("reward_of_round", number=round_.number) if round_ else Message("reward_of_run", number=run.id)
    if round_ is None:
        return Message("policy_of_run", number=run.id)
    if round_.methods == ("ppo",):
        return Message("policy_of_round", number=round_.number)
    method = "PPO" if run.kind == "ppo" else run.config["method"].partition("_")[0].upper()  # of several: DPO, KTO
    return Message("policy_of_round_by", number=round_.number, method=method)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object written atomically by the run, as tables and the API can hold it: NaN and infinity become null."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (FileNotFoundError, ValueError):
        return {}
    return storable(found) if isinstance(found, dict) else {}
