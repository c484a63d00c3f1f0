"""Tables to folder: what a run is to work on, frozen into files. Reads in read sessions, writes outside of any transaction."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.database.engine import read_session
from app.errors import Conflict
from app.exports.service import pseudonyms
from app.models import Checkpoint, Generation, Label, Project, Prompt, Round, Run, drawn_alone
from app.prompts.lengths import prompts_to_watch
from app.runs.checkpoints import get_checkpoint, newest_reward, root_of
from app.runs.run_files import run_folder, text_file
from app.runs.runs import get_run, prompts_to_answer
from app.runs.usable_labels import usable_labels, usable_rewrites
from app.settings import Settings
from trainer.contract.folder import digest_of, make, to_disk, write_atomic
from trainer.contract.messages import Message
from trainer.contract.ppo_config import MOST_OUTSIDE
from trainer.contract.setting import weights_by_name
from trainer.worker.results import read_result

PANEL_ANSWERS = 64  # of the reference policy, on which every reward model is normalised
LABEL_FILES = ("preferences.jsonl", "ratings.jsonl")
STATE_OF = "state_of"  # a file: the number of the failed run whose state this one went on from
SHOWN_PROMPTS = 32  # holdout prompts that a policy in training answers for people to read; settings say how many


@dataclass(frozen=True)
class Prepared:
    """A run folder that is ready to start, and what it froze."""

    folder: Path
    label_digest: str | None
    label_count: int | None
    outside: tuple[str, ...] = ()  # names of rewards outside of the model that it is paid by
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
    return Prepared(folder, inputs.get("label_digest"), inputs.get("label_count"), outside, where)


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
        inputs = _WRITERS[run.kind](session, settings, run, folder)
        day = session.get_one(Project, run.project_id).created_at.date().isoformat()
        specification = {"kind": run.kind, "config": run.config, "day": day, "inputs": inputs}
        failed = run_folder(settings.runs, run.retry_of_id) if run.retry_of_id is not None else None
    if failed is not None and run.kind != "sample":  # whose answers are rows of the run that wrote them
        _take_state(failed, folder, specification)
    still_ours()
    for path in folder.rglob("*"):  # what was copied, too
        to_disk(path)
    write_atomic(folder / "run.json", json.dumps(specification, ensure_ascii=False, indent=1))


def _take_state(failed: Path, folder: Path, specification: Mapping[str, Any]) -> None:
    """Let a run that does a failed one again go on from its state, where both are to do the very same.

    New labels or another setting make another run, for which the state says nothing; how often others were tested meanwhile
    makes none (only the gate asks, at the end). One that went on from a state and failed as
    well may have been given the fault with it, so whoever does that one again begins anew.
    """
    if not (failed / "state").is_dir() or (failed / STATE_OF).exists():
        return
    theirs = json.loads((failed / "run.json").read_text(encoding="utf-8"))
    if _less_tests(theirs) != _less_tests(specification):
        return
    frozen = [path.name for path in folder.iterdir()]
    _same, other, missing = filecmp.cmpfiles(failed, folder, frozen, shallow=False)
    if other or missing:
        return
    shutil.copytree(failed / "state", folder / "state")
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


def _write_sample(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    policy = get_checkpoint(session, run.inputs["checkpoint"])
    _write_prompts(folder / "prompts.jsonl", prompts_to_answer(session, run.project_id, run.inputs))
    inputs = {"policy": model_spec(settings.data, policy.source)}
    if policy.parent_id is None and policy.run_id is None:  # the base itself, whose states a reward model will read
        inputs["cache"] = str(settings.cache)
    if run.inputs.get("reward") is not None:
        inputs["reward"] = model_spec(settings.data, get_checkpoint(session, run.inputs["reward"]).source)
    return inputs


def _write_reward(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    base = root_of(session, get_checkpoint(session, run.inputs["policy"]))
    digest, count = freeze_labels(session, base, run.project_id, folder)
    _write(folder / "panel.jsonl", _panel(session, base.id))
    inputs = {
        "base": model_spec(settings.data, base.source),
        "base_checkpoint": base.id,
        "cache": str(settings.cache),
        "flag_costs": {flag["key"]: flag["weight"] for flag in session.get_one(Project, run.project_id).flags},
        "label_digest": digest,
        "label_count": count,
        "earlier_tests": _earlier_tests(session, run),
    }
    earlier = newest_reward(session, run.project_id, base.id) if run.config["method"] == "warm" else None  # where it begins
    if earlier is not None:
        inputs["earlier"] = model_spec(settings.data, earlier.source)
    return inputs


def _earlier_tests(session: Session, run: Run) -> int:
    """How often the project's reward models were held against chance since one last passed, tests under way included; a run
    that had too little to tell held none. Runs from before they said so (`tested`) count.

    Who has passed is no noise and has spent no error, so that the next test begins anew. docs/decisions/0027.
    """
    others = (Run.project_id == run.project_id, Run.kind == "reward", Run.id != run.id)
    passed = select(func.max(Run.id)).where(*others, Run.state == "done", Run.result["gate_passed"].as_boolean().is_(True))
    since = session.scalar(passed) or 0
    asked = or_(Run.state == "running", and_(Run.state == "done", Run.result["tested"].as_boolean().is_not(False)))
    tests = select(func.count()).select_from(Run).where(*others, Run.id > since, asked)
    return session.scalar(tests) or 0


def _write_ppo(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    start = get_checkpoint(session, run.inputs["start"])
    reward = get_checkpoint(session, run.inputs["reward"])
    base = root_of(session, start)
    _write_prompts(folder / "prompts.jsonl", prompts_to_answer(session, run.project_id, {"split": "train"}))
    project, practised = session.get_one(Project, run.project_id), run.config["max_prompt_tokens"]
    _write_prompts(folder / "panel_prompts.jsonl", prompts_to_watch(session, project, practised, SHOWN_PROMPTS))
    inputs = {
        "base": model_spec(settings.data, base.source),
        "start": model_spec(settings.data, start.source) if start.id != base.id else None,
        "reward": model_spec(settings.data, reward.source),
        "cache": str(settings.cache),
    }
    return inputs | (_write_rewrites(session, run, folder) if run.config.get("ptx_weight") else {})


def _write_preference(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    start = get_checkpoint(session, run.inputs["start"])
    base = root_of(session, start)
    digest, count = _rounds_labels(session, settings, run, folder) or freeze_labels(session, base, run.project_id, folder)
    asked = prompts_to_answer(session, run.project_id, {"split": "holdout"})[:SHOWN_PROMPTS]
    _write_prompts(folder / "panel_prompts.jsonl", asked)
    if run.config.get("ptx_weight"):
        _write_rewrites(session, run, folder)  # parts of labels that are counted
        digest = digest_of(folder, "preferences.jsonl", "ratings.jsonl", "rewrites.jsonl")
    return {
        "base": model_spec(settings.data, base.source),
        "start": model_spec(settings.data, start.source) if start.id != base.id else None,
        "label_digest": digest,
        "label_count": count,
    }


def _rounds_labels(session: Session, settings: Settings, run: Run, folder: Path) -> tuple[str, int] | None:
    """The very labels that the reward of the run's round learned from: digest and count; None outside of a round.

    Raises Conflict where they are gone, or are not what they were.
    """
    round_ = session.get_one(Round, run.round_id) if run.round_id is not None else None
    reward = get_checkpoint(session, round_.reward_id) if round_ is not None and round_.reward_id is not None else None
    if reward is None or reward.run_id is None:
        return None
    learned = run_folder(settings.runs, reward.run_id)
    there = [shutil.copyfile(learned / name, folder / name) for name in LABEL_FILES if (learned / name).is_file()]
    if len(there) < len(LABEL_FILES) or digest_of(folder, *LABEL_FILES) != reward.label_digest:
        raise Conflict(Message("labels_of_round_gone", number=reward.run_id))
    return reward.label_digest, get_run(session, reward.run_id).label_count or 0


def _write_sft(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    if run.inputs["text"]:
        slug = session.get_one(Project, run.project_id).slug
        source = text_file(settings.data.resolve(), slug, run.inputs["text"])
        shutil.copyfile(source, folder / ("demonstrations.jsonl" if source.suffix == ".jsonl" else "text.txt"))
    base = run.inputs.get("base")
    inputs: dict[str, Any] = {"base": model_spec(settings.data, get_checkpoint(session, base).source) if base else None}
    if run.inputs.get("rewrites"):
        inputs |= _write_rewrites(session, run, folder)
    return inputs


def _write_rewrites(session: Session, run: Run, folder: Path) -> dict[str, Any]:
    count = _write(folder / "rewrites.jsonl", _rewrites(session, run.project_id))
    return {"label_digest": digest_of(folder, "rewrites.jsonl"), "label_count": count}


_WRITERS = {
    "sample": _write_sample,
    "reward": _write_reward,
    "ppo": _write_ppo,
    "preference": _write_preference,
    "sft": _write_sft,
}


def model_spec(data: Path, source: str) -> str:
    """A checkpoint's source as the trainer opens it: the data folder may have moved, hub ids stay."""
    local = data.resolve() / source
    return str(local) if local.exists() else source


def freeze_labels(session: Session, base: Checkpoint, project_id: int, folder: Path) -> tuple[str, int]:
    """Write preferences.jsonl and ratings.jsonl; returns their common SHA-256 and the number of labels.

    Token ids of answers say the same to models that come from `base` alone; other answers are known by their text.
    """
    kin = _descendants(session, base, project_id)
    count = _write(folder / "preferences.jsonl", _judgements(session, project_id, "comparison", kin))
    _write(folder / "preferences.jsonl", _improvements(session, project_id, kin), "a")
    count += _write(folder / "ratings.jsonl", _judgements(session, project_id, "rating", kin))
    return digest_of(folder, *LABEL_FILES), count


def _descendants(session: Session, base: Checkpoint, project_id: int) -> set[int]:
    """The base and the project's checkpoints that come from it."""
    kin = {base.id}
    for own, parent in session.execute(
        select(Checkpoint.id, Checkpoint.parent_id).where(Checkpoint.project_id == project_id).order_by(Checkpoint.id)
    ):  # a child is younger than its parent
        if parent in kin:
            kin.add(own)
    return kin


def _judgements(session: Session, project_id: int, kind: str, kin: set[int]) -> Iterator[dict[str, Any]]:
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
                "left": _answer(first, kin),
                "right": _answer(second, kin),
                "choice": label.choice,
                "strength": label.strength,
                "criteria": label.criteria,
                "flags": label.flags,
            }
        else:
            flags = label.flags.get("response", [])
            yield shared | {"response": _answer(first, kin), "overall": label.overall, "criteria": label.criteria, "flags": flags}


def _improvements(session: Session, project_id: int, kin: set[int]) -> Iterator[dict[str, Any]]:
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
            "right": _answer(original, kin),
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
    """The base model's first answer to each of the first prompts: the same answers at every refit, none of them chosen."""
    first = (
        select(func.min(Generation.id))
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.checkpoint_id == base_id, drawn_alone())
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
        yield {"prompt_id": prompt.id, "messages": prompt.messages, "response": _answer(generation, {base_id})}


def _answer(generation: Generation, kin: set[int]) -> dict[str, Any]:
    """What was said, with its tokens where one of `kin` wrote it; `cut` only where the length limit ended it, so that other
    rows read as they always have.
    """
    ids = generation.token_ids if generation.checkpoint_id in kin else None
    answer = {"text": generation.text, "token_ids": ids or None}
    return answer | {"cut": True} if generation.finish_reason == "length" else answer


def _write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    _write(path, ({"prompt_id": prompt.id, "messages": prompt.messages} for prompt in prompts))


def _write(path: Path, rows: Iterable[dict[str, Any]], mode: str = "w") -> int:
    """Write rows; returns how many. Mode "a" adds to those there."""
    count = 0
    with path.open(mode, encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _forget_stop(folder: Path) -> None:
    """A run that was stopped to be continued must not read the old request to stop."""
    (folder / "cancel").unlink(missing_ok=True)
    if read_result(folder).get("status") == "cancelled":
        (folder / "result.json").unlink()
