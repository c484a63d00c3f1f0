"""The only file that knows both tables and run folders: it freezes rows into files, and turns files back into rows.

Reading is done in read sessions, files are written outside of any transaction, and rows come back in short transactions, so
that nothing ever waits for a run. The caller holds the fence; here nobody asks who owns a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, case, func, select
from sqlalchemy.orm import Session, aliased

from app.db import read_session
from app.exports.service import pseudonyms
from app.labeling import queue
from app.models import Checkpoint, Generation, Label, Project, Prompt, Round, Run, utc_now
from app.rounds import service
from app.rounds.checkpoints import get_checkpoint, root_of
from app.rounds.folder import log_tail, run_folder, text_file
from app.rounds.labels import usable_labels, usable_rewrites
from app.rounds.runs import get_run, prompts_to_answer
from app.settings import Settings
from trainer.folder import digest_of, write_atomic

PANEL_ANSWERS = 64  # of the reference policy, on which every reward model is normalised
SHOWN_PROMPTS = 32  # holdout prompts a PPO run may show; its setting panel_prompts takes the first of them


@dataclass(frozen=True)
class Prepared:
    """A run folder that is ready to start, and what it froze."""

    folder: Path
    label_digest: str | None
    label_count: int | None


# Tables to folder


def prepare(engine: Engine, settings: Settings, run_id: int) -> Prepared:
    """Write the run's folder, or take it as it is when an earlier attempt did: what was frozen stays frozen.

    run.json comes last, so a folder that has one is whole. Raises Refusal, with a reason for the person who asked.
    """
    folder = run_folder(settings.runs, run_id)
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with read_session(engine) as session:
            run = get_run(session, run_id)
            inputs = _WRITERS[run.kind](session, settings, run, folder)
            specification = {"kind": run.kind, "config": run.config, "inputs": inputs}
        write_atomic(folder / "run.json", json.dumps(specification, ensure_ascii=False, indent=1))
    _forget_stop(folder)
    inputs = json.loads((folder / "run.json").read_text(encoding="utf-8"))["inputs"]
    return Prepared(folder, inputs.get("label_digest"), inputs.get("label_count"))


def record_frozen(session: Session, run: Run, prepared: Prepared) -> None:
    """Note what the run learns from; labels that came while it was queued are in, and its round says so too."""
    run.label_digest, run.label_count = prepared.label_digest, prepared.label_count
    if run.kind == "reward" and run.round_id is not None and prepared.label_count is not None:
        session.get_one(Round, run.round_id).label_count = prepared.label_count


def _write_sample(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    policy = get_checkpoint(session, run.inputs["checkpoint"])
    _write_prompts(folder / "prompts.jsonl", prompts_to_answer(session, run.project_id, run.inputs))
    inputs = {"policy": model_spec(settings.data, policy.source)}
    if policy.parent_id is None and policy.run_id is None:  # the base itself, whose states a reward model will read
        inputs["cache"] = str(settings.cache)
    return inputs


def _write_reward(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    base = root_of(session, get_checkpoint(session, run.inputs["policy"]))
    digest, count = freeze_labels(session, run.project_id, folder)
    _write(folder / "panel.jsonl", _panel(session, base.id))
    inputs = {
        "base": model_spec(settings.data, base.source),
        "base_checkpoint": base.id,
        "cache": str(settings.cache),
        "flag_costs": {flag["key"]: flag["weight"] for flag in session.get_one(Project, run.project_id).flags},
        "label_digest": digest,
        "label_count": count,
    }
    earlier = _last_reward(session, run.project_id, base.id) if run.config["method"] == "warm" else None
    if earlier is not None:
        inputs["earlier"] = model_spec(settings.data, earlier.source)
    return inputs


def _last_reward(session: Session, project_id: int, base_id: int) -> Checkpoint | None:
    """The project's newest reward model on this base, where a warm refit begins."""
    found: Checkpoint | None = session.scalar(
        select(Checkpoint)
        .where(Checkpoint.project_id == project_id)
        .where(Checkpoint.kind == "reward")
        .where(Checkpoint.parent_id == base_id)
        .order_by(Checkpoint.id.desc())
        .limit(1)
    )
    return found


def _write_ppo(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    start = get_checkpoint(session, run.inputs["start"])
    reward = get_checkpoint(session, run.inputs["reward"])
    base = root_of(session, start)
    _write_prompts(folder / "prompts.jsonl", prompts_to_answer(session, run.project_id, {"split": "train"}))
    shown = prompts_to_answer(session, run.project_id, {"split": "holdout"})[:SHOWN_PROMPTS]
    _write_prompts(folder / "panel_prompts.jsonl", shown)
    return {
        "base": model_spec(settings.data, base.source),
        "start": model_spec(settings.data, start.source) if start.id != base.id else None,
        "reward": model_spec(settings.data, reward.source),
        "cache": str(settings.cache),
    }


def _write_sft(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    if run.inputs["text"]:
        source = text_file(settings.data.resolve(), run.inputs["text"])
        shutil.copyfile(source, folder / ("demonstrations.jsonl" if source.suffix == ".jsonl" else "text.txt"))
    base = run.inputs.get("base")
    inputs: dict[str, Any] = {"base": model_spec(settings.data, get_checkpoint(session, base).source) if base else None}
    if run.inputs.get("rewrites"):
        count = _write(folder / "rewrites.jsonl", _rewrites(session, run.project_id))
        inputs |= {"label_digest": digest_of(folder, "rewrites.jsonl"), "label_count": count}
    return inputs


_WRITERS = {"sample": _write_sample, "reward": _write_reward, "ppo": _write_ppo, "sft": _write_sft}


def model_spec(data: Path, source: str) -> str:
    """A checkpoint's source as the trainer opens it: the data folder may have moved, hub ids stay."""
    local = data.resolve() / source
    return str(local) if local.exists() else source


def freeze_labels(session: Session, project_id: int, folder: Path) -> tuple[str, int]:
    """Write preferences.jsonl and ratings.jsonl; returns their common SHA-256 and the number of labels."""
    count = _write(folder / "preferences.jsonl", _judgements(session, project_id, "comparison"))
    _write(folder / "preferences.jsonl", _improvements(session, project_id), "a")
    count += _write(folder / "ratings.jsonl", _judgements(session, project_id, "rating"))
    return digest_of(folder, "preferences.jsonl", "ratings.jsonl"), count


def _judgements(session: Session, project_id: int, kind: str) -> Iterator[dict[str, Any]]:
    """One row per label, in the order in which they came."""
    people = pseudonyms(session, project_id)
    left, right = aliased(Generation), aliased(Generation)
    rows = session.execute(
        usable_labels(project_id)
        .add_columns(left, right)
        .join(left, left.id == Label.left_generation_id)
        .outerjoin(right, right.id == Label.right_generation_id)
        .where(Label.kind == kind)
        .order_by(Label.id)
        .execution_options(yield_per=500)
    )
    for label, _task, prompt, first, second in rows:
        shared = {
            "label_id": label.id,
            "prompt_id": prompt.id,
            "messages": prompt.messages,
            "annotator": people[label.annotator_id],
        }
        if kind == "comparison":
            yield shared | {
                "left": _answer(first),
                "right": _answer(second),
                "choice": label.choice,
                "strength": label.strength,
                "criteria": label.criteria,
                "flags": label.flags,
            }
        else:
            flags = label.flags.get("response", [])
            yield shared | {"response": _answer(first), "overall": label.overall, "criteria": label.criteria, "flags": flags}


def _improvements(session: Session, project_id: int) -> Iterator[dict[str, Any]]:
    """Each rewrite as what it also says: that its text beats the answer that it was made from."""
    people = pseudonyms(session, project_id)
    rows = session.execute(
        usable_rewrites(project_id)
        .add_columns(Generation)
        .join(
            Generation,
            Generation.id
            == case((Label.rewrite["side"].as_string() == "right", Label.right_generation_id), else_=Label.left_generation_id),
        )
        .order_by(Label.id)
        .execution_options(yield_per=500)
    )
    for label, _task, prompt, original in rows:
        rewrite: dict[str, str] = label.rewrite or {}
        yield {
            "label_id": label.id,
            "prompt_id": prompt.id,
            "messages": prompt.messages,
            "annotator": people[label.annotator_id],
            "left": {"text": rewrite["text"], "token_ids": None},
            "right": _answer(original),
            "choice": "left",
            "strength": None,
            "source": "rewrite",
        }


def _rewrites(session: Session, project_id: int) -> Iterator[dict[str, Any]]:
    """One demonstration per label that has a rewrite, in the order in which they came."""
    people = pseudonyms(session, project_id)
    for label, _task, prompt in session.execute(usable_rewrites(project_id).order_by(Label.id).execution_options(yield_per=500)):
        rewrite: dict[str, str] = label.rewrite or {}
        yield {
            "label_id": label.id,
            "prompt_id": prompt.id,
            "messages": [*prompt.messages, {"role": "assistant", "content": rewrite["text"]}],
            "annotator": people[label.annotator_id],
        }


def _panel(session: Session, base_id: int) -> Iterator[dict[str, Any]]:
    """The base model's first answer to each of the first prompts: the same answers at every refit."""
    first = (
        select(func.min(Generation.id))
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.checkpoint_id == base_id)
        .where(Prompt.split == "train")
        .group_by(Generation.prompt_id)
    )
    rows = session.execute(
        select(Generation, Prompt)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.id.in_(first))
        .order_by(Generation.prompt_id)
        .limit(PANEL_ANSWERS)
    )
    for generation, prompt in rows:
        yield {"prompt_id": prompt.id, "messages": prompt.messages, "response": _answer(generation)}


def _answer(generation: Generation) -> dict[str, Any]:
    return {"text": generation.text, "token_ids": generation.token_ids or None}


def _write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    _write(path, ({"prompt_id": prompt.id, "messages": prompt.messages} for prompt in prompts))


def _write(path: Path, rows: Iterable[dict[str, Any]], mode: str = "w") -> int:
    """Write rows, durably, before run.json says that the folder is whole; returns how many. Mode "a" adds to those there."""
    count = 0
    with path.open(mode, encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _forget_stop(folder: Path) -> None:
    """A run that was stopped to be continued must not read the old request to stop."""
    (folder / "cancel").unlink(missing_ok=True)
    if read_result(folder).get("status") == "cancelled":
        (folder / "result.json").unlink()


# Folder to tables


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
                row = json.loads(line)
                key = (row["prompt_id"], row["index"])
                if key not in self._seen:
                    self._seen.add(key)
                    rows.append(row)
        return rows


def stored_generations(session: Session, run_id: int) -> list[tuple[int, int]]:
    """(prompt id, number) of the answers of a run that are rows already."""
    rows = session.execute(select(Generation.prompt_id, Generation.number).where(Generation.run_id == run_id))
    return [(prompt_id, number) for prompt_id, number in rows]


def store_generations(session: Session, run: Run, rows: list[dict[str, Any]]) -> None:
    """Turn answers into rows, in the order in which they were written."""
    settings = {name: run.config[name] for name in ("temperature", "max_new_tokens")}
    session.add_all(
        Generation(
            prompt_id=row["prompt_id"],
            checkpoint_id=run.inputs["checkpoint"],
            run_id=run.id,
            number=row["index"],
            settings=settings,
            seed=row["seed"],
            text=row["text"],
            token_ids=row["token_ids"],
            finish_reason=row["finish_reason"],
        )
        for row in rows
    )
    session.flush()


def ask_about(session: Session, project_id: int) -> None:
    """Let the queue turn answers nobody was asked about into tasks."""
    queue.make_tasks(session, session.get_one(Project, project_id))


def read_progress(folder: Path) -> dict[str, Any]:
    """step, total, message and eta_s of progress.json, as columns of a run; empty while there is none."""
    found = _json(folder / "progress.json")
    return {name: found[name] for name in ("step", "total", "message", "eta_s") if name in found}


def read_result(folder: Path) -> dict[str, Any]:
    """result.json; empty while there is none. Numbers that are not finite read as null."""
    return _json(folder / "result.json")


def last_words(folder: Path) -> str:
    """The last line of the log, for a person who asks why."""
    lines = [line.strip() for line in log_tail(folder, 4096).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "It wrote nothing."


def record_done(session: Session, run: Run, folder: Path) -> None:
    """The run has ended well: its result, its checkpoint, and the next stage of its round."""
    run.result = read_result(folder)
    run.state, run.ended_at, run.eta_s = "done", utc_now(), None
    run.step = run.total
    if run.kind == "sample":
        count = session.scalar(select(func.count(Generation.id)).where(Generation.run_id == run.id)) or 0
        run.result = run.result | {"generations": count}
    if (folder / "checkpoint" / "manifest.json").exists():
        session.add(_checkpoint(session, run, folder))
    run.message = str(run.result.get("reason") or "Done")
    session.flush()
    _advance(session, run)


def record_end(session: Session, run: Run, state: str, message: str, result: dict[str, Any] | None = None) -> None:
    """The run has ended otherwise: `state` is failed or cancelled, the message says why to the person who asked."""
    run.state, run.ended_at, run.eta_s, run.message = state, utc_now(), None, message
    run.result = result or {}
    session.flush()
    _advance(session, run)


def _advance(session: Session, run: Run) -> None:
    if run.round_id is not None:
        service.advance_round(session, session.get_one(Round, run.round_id))


def _checkpoint(session: Session, run: Run, folder: Path) -> Checkpoint:
    kind = "reward" if run.kind == "reward" else "policy"
    parent = {"reward": "policy", "ppo": "start", "sft": "base"}[run.kind]
    parent_id = run.inputs.get(parent)
    if run.kind == "reward":
        parent_id = root_of(session, get_checkpoint(session, run.inputs["policy"])).id
    round_ = session.get(Round, run.round_id) if run.round_id is not None else None
    of = f"round {round_.number}" if round_ else f"run {run.id}"
    label_digest = run.label_digest
    if run.kind == "ppo":
        label_digest = get_checkpoint(session, run.inputs["reward"]).label_digest
    return Checkpoint(
        project_id=run.project_id,
        kind=kind,
        name=f"{'Reward model' if kind == 'reward' else 'Policy'} of {of}",
        parent_id=parent_id,
        run_id=run.id,
        source=f"{folder.parent.name}/{folder.name}/checkpoint",
        digest=hashlib.sha256((folder / "checkpoint" / "manifest.json").read_bytes()).hexdigest(),
        label_digest=label_digest,
        metrics={name: value for name, value in run.result.items() if isinstance(value, int | float | str | list | dict)},
    )


def _json(path: Path) -> dict[str, Any]:
    """A JSON object written atomically by the run; NaN and infinity, which tables and the API refuse, become null."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
