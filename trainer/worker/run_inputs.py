"""What a run of each kind is given: the files that it reads, and what its run.json says of models and labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.models import Checkpoint, Contender, OutsideModel, Project, Prompt, Round, Run
from app.prompts.lengths import prompts_to_watch
from app.runs.checkpoints import get_checkpoint, newest_reward, require_weights, root_of
from app.runs.lineage import label_index
from app.runs.lineage.data_set import digested_files
from app.runs.lineage.label_index import label_files
from app.runs.run_files import run_folder, text_file
from app.runs.runs import get_run, prompts_to_answer
from app.settings import Settings
from trainer.contract.folder import digest_of
from trainer.contract.messages import Message
from trainer.worker.label_files import freeze_coverage, freeze_labels, freeze_panel, freeze_people, freeze_rewrites, write_rows

SHOWN_PROMPTS = 32  # holdout prompts that a policy in training answers for people to read; settings say how many


def write_inputs(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    """Write the files of a run into its folder; returns the inputs of its run.json. Raises Refusal where it cannot be done."""
    return _WRITERS[run.kind](session, settings, run, folder)


def _write_sample(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    policy = usable(session, run.inputs["checkpoint"])
    _write_prompts(folder / "prompts.jsonl", prompts_to_answer(session, run.project_id, run.inputs))
    inputs = {"policy": model_spec(settings.data, policy.source)}
    if policy.parent_id is None and policy.run_id is None:  # the base itself, whose states a reward model will read
        inputs["cache"] = str(settings.cache)
    reward = run.inputs.get("reward") or run.inputs.get("scored_by")  # by which answers are chosen, or only scored
    if reward is not None:
        inputs["reward"] = model_spec(settings.data, usable(session, reward).source)
    return inputs


def _write_ask(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    contender = session.get_one(Contender, run.inputs["contender"])
    model = session.get_one(OutsideModel, contender.outside_id)
    if model.archived_at is not None:
        raise Conflict(Message("model_outside_archived", model=model.name))
    _write_prompts(folder / "prompts.jsonl", prompts_to_answer(session, run.project_id, run.inputs))
    inputs: dict[str, Any] = {name: getattr(model, name) for name in ("address", "model", "key_variable", "own_network")}
    if model.prompt_price is not None:
        inputs["usd_per_million"] = {"prompt_tokens": model.prompt_price, "answer_tokens": model.answer_price}
    return inputs


def _write_reward(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    base = root_of(session, usable(session, run.inputs["policy"]))
    digest, count = freeze_labels(session, base, run.project_id, folder)
    freeze_people(session, run.project_id, folder)
    freeze_panel(session, base.id, folder)
    freeze_coverage(session, base.id, run.project_id, folder)
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
    start = usable(session, run.inputs["start"])
    reward = usable(session, run.inputs["reward"])
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
    return inputs | (_rewrites(session, run, folder) if run.config.get("ptx_weight") else {})


def _write_preference(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    start = usable(session, run.inputs["start"])
    base = root_of(session, start)
    digest, count = _rounds_labels(session, settings, run, folder) or freeze_labels(session, base, run.project_id, folder)
    asked = prompts_to_answer(session, run.project_id, {"split": "holdout"})[:SHOWN_PROMPTS]
    _write_prompts(folder / "panel_prompts.jsonl", asked)
    if run.config.get("ptx_weight"):
        freeze_rewrites(session, run.project_id, folder, top_rated=_top_rated(run))  # parts of labels that are counted
        digest = digest_of(folder, *digested_files(folder, "preference", demonstrations=True))
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
    wanted = label_files(learned)
    there = [shutil.copyfile(learned / name, folder / name) for name in wanted if (learned / name).is_file()]
    if len(there) < len(wanted) or digest_of(folder, *wanted) != reward.label_digest:
        raise Conflict(Message("labels_of_round_gone", number=reward.run_id))
    label_index.write(folder, label_index.labels_of(learned))
    return reward.label_digest, get_run(session, reward.run_id).label_count or 0


def _write_sft(session: Session, settings: Settings, run: Run, folder: Path) -> dict[str, Any]:
    if run.inputs["text"]:
        slug = session.get_one(Project, run.project_id).slug
        source = text_file(settings.data.resolve(), slug, run.inputs["text"])
        shutil.copyfile(source, folder / ("demonstrations.jsonl" if source.suffix == ".jsonl" else "text.txt"))
    base = run.inputs.get("base")
    inputs: dict[str, Any] = {"base": model_spec(settings.data, usable(session, base).source) if base else None}
    if run.inputs.get("rewrites"):
        inputs |= _rewrites(session, run, folder)
    return inputs


def _rewrites(session: Session, run: Run, folder: Path) -> dict[str, Any]:
    count = freeze_rewrites(session, run.project_id, folder, top_rated=_top_rated(run))
    return {"label_digest": digest_of(folder, *digested_files(folder, run.kind, demonstrations=True)), "label_count": count}


def _top_rated(run: Run) -> bool:
    return bool(run.config.get("ptx_top_rated"))  # runs of before, and of next tokens alone, have no such setting


def _write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    write_rows(path, ({"prompt_id": prompt.id, "messages": prompt.messages} for prompt in prompts))


_WRITERS = {
    "sample": _write_sample,
    "ask": _write_ask,
    "reward": _write_reward,
    "ppo": _write_ppo,
    "preference": _write_preference,
    "sft": _write_sft,
}


def usable(session: Session, checkpoint_id: int) -> Checkpoint:
    """The checkpoint; also what was queued before its weights were removed is told so. Raises Conflict."""
    return require_weights(get_checkpoint(session, checkpoint_id))


def model_spec(data: Path, source: str) -> str:
    """A checkpoint's source as the trainer opens it: the data folder may have moved, hub ids stay."""
    local = data.resolve() / source
    return str(local) if local.exists() else source
