"""What people said, as files that a run reads: verdicts, rewrites, and the answers on which a reward model is normalised."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.orm import Session, aliased

from app.database.slices import ASKED_AT_ONCE
from app.exports.service import pseudonyms
from app.models import Checkpoint, Generation, Label, Project, Prompt, drawn_alone
from app.quality.noise.checked import checked
from app.runs.lineage import label_index
from app.runs.lineage.label_index import DEMONSTRATIONS, RANKINGS, label_files, noted
from app.runs.usable_labels import usable_demonstrations, usable_labels, usable_rewrites
from trainer.contract.coverage.clusters import ASKED, MOST_PROMPTS
from trainer.contract.folder import digest_of

CAME_OF_CHECKS = ("asked_again", "same", "known", "right")
SPREAD, MODULUS = 20_011, 32_749  # a prime: neighbours come far apart; products fit into 32 bits
PANEL_ANSWERS = 256  # of the reference policy, on which every reward model is normalised


def freeze_labels(session: Session, base: Checkpoint, project_id: int, folder: Path) -> tuple[str, int]:
    """Write preferences.jsonl and ratings.jsonl, and rankings.jsonl where there are any; returns their common SHA-256 and
    the number of labels.

    Token ids of answers say the same to models that come from `base` alone; other answers are known by their text.
    """
    kin = _descendants(session, base, project_id)
    ids: set[int] = set()
    count = write_rows(folder / "preferences.jsonl", noted(_judgements(session, project_id, "comparison", kin), ids))
    write_rows(folder / "preferences.jsonl", noted(_improvements(session, project_id, kin), ids), "a")
    count += write_rows(folder / "ratings.jsonl", noted(_judgements(session, project_id, "rating", kin), ids))
    if rankings := write_rows(folder / RANKINGS, noted(_rankings(session, project_id, kin), ids)):
        count += rankings
    else:
        (folder / RANKINGS).unlink()  # so that what nobody ranked for reads, and hashes, as it always has
    label_index.write(folder, ids)
    return digest_of(folder, *label_files(folder)), count


def freeze_rewrites(session: Session, project_id: int, folder: Path, *, top_rated: bool = False) -> int:
    """Write rewrites.jsonl, a demonstration a line, with `top_rated` also of answers that were rated 5; returns how many."""
    ids: set[int] = set()
    count = write_rows(folder / DEMONSTRATIONS, noted(_demonstrations(session, project_id, top_rated), ids))
    label_index.add(folder, ids)
    return count


def freeze_panel(session: Session, base_id: int, folder: Path) -> None:
    """Write panel.jsonl."""
    write_rows(folder / "panel.jsonl", _panel(session, base_id))


def freeze_coverage(session: Session, base_id: int, project_id: int, folder: Path) -> None:
    """Write the prompts in use among which clusters are to be found; of many always the same draw."""
    write_rows(folder / ASKED, _to_place(session, base_id, project_id))


def freeze_people(session: Session, project_id: int, folder: Path) -> None:
    """Write people.jsonl: what came of each person's repeats and known answers."""
    people = pseudonyms(session, project_id)
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for one in checked(session, project_id):
        asked, right = ("known", "right") if one.gold else ("asked_again", "same")
        counts[one.user_id].update({asked: 1, right: int(one.right)})
    rows = (
        {"annotator": people[user_id], **{name: found[name] for name in CAME_OF_CHECKS}}
        for user_id, found in sorted(counts.items())
    )
    write_rows(folder / "people.jsonl", rows)


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
    people, tones = pseudonyms(session, project_id), _tones(session, project_id)
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
        if label.rubric:  # so that other rows read as they always have
            shared["rubric"] = label.rubric
        if label.spans:
            reasons = {key: tones[key] for key in label.spans["reasons"] if key in tones}
            shared["spans"] = label.spans | {"reasons": reasons}
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


def _tones(session: Session, project_id: int) -> dict[str, str]:
    """Whether a mark with a reason, by its key, speaks for or against an answer: as the project says today."""
    project = session.get_one(Project, project_id)
    return {item["key"]: item["tone"] for item in (*project.retired["span_reasons"], *project.span_reasons)}


def _rankings(session: Session, project_id: int, kin: set[int]) -> Iterator[dict[str, Any]]:
    """One row per ranking, in the order in which they came; its answers as they were shown, numbered from 1."""
    people = pseudonyms(session, project_id)
    rows = session.execute(usable_labels(project_id).where(Label.kind == "ranking").order_by(Label.id)).all()
    for some in (rows[at : at + 500] for at in range(0, len(rows), 500)):
        shown = {answer for label, _task, _prompt in some for answer in (label.ranking or {})["shown"]}
        answers = {one.id: one for one in session.scalars(select(Generation).where(Generation.id.in_(shown)))}
        for label, _task, prompt in some:
            said = label.ranking or {}
            yield {
                "label_id": label.id,
                "prompt_id": prompt.id,
                "messages": prompt.messages,
                "annotator": people[label.annotator_id],
                "answers": [_answer(answers[one], kin) for one in said["shown"]],
                **{part: said[part] for part in ("order", "last", "all_bad")},
                "flags": label.flags,
            }


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


def _demonstrations(session: Session, project_id: int, top_rated: bool) -> Iterator[dict[str, Any]]:
    """One demonstration per label that has one, in the order in which they came: what its author wrote, else what was rated."""
    people = pseudonyms(session, project_id)
    wanted = usable_demonstrations(project_id, top_rated=top_rated).order_by(Label.id)
    for label, _task, prompt, rated in session.execute(wanted.execution_options(yield_per=500)):
        text = label.rewrite["text"] if label.rewrite is not None else rated.text
        yield {
            "label_id": label.id,
            "prompt_id": prompt.id,
            "messages": [*prompt.messages, {"role": "assistant", "content": text}],
            "annotator": people[label.annotator_id],
        }


def _to_place(session: Session, base_id: int, project_id: int) -> Iterator[dict[str, Any]]:
    """Each prompt with the base model's first answer, which the base has read by writing it, or none."""
    drawn = (
        select(Prompt)
        .where(Prompt.project_id == project_id, Prompt.archived_at.is_(None))
        .order_by(Prompt.digest)
        .limit(MOST_PROMPTS)
    )
    prompts = session.scalars(drawn).all()
    for some in (prompts[at : at + ASKED_AT_ONCE] for at in range(0, len(prompts), ASKED_AT_ONCE)):
        first = _first_answers(base_id, Generation.prompt_id.in_([prompt.id for prompt in some]))
        answers = {one.prompt_id: one for one in session.scalars(select(Generation).where(Generation.id.in_(first)))}
        for prompt in some:
            answer = answers.get(prompt.id)
            response = None if answer is None else _answer(answer, {base_id})
            yield {"prompt_id": prompt.id, "messages": prompt.messages, "response": response}


def _first_answers(base_id: int, *of: ColumnElement[bool]) -> Select[int]:
    """Ids of the answer that the base model drew first to each prompt, alone. The one that ended first would be the shortest."""
    order = (Generation.run_id.is_(None), Generation.run_id, Generation.number)
    place = func.row_number().over(partition_by=Generation.prompt_id, order_by=order).label("place")
    drawn = (
        select(Generation.id, place)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.checkpoint_id == base_id, drawn_alone(), *of)
        .subquery()
    )
    return select(drawn.c.id).where(drawn.c.place == 1)


def _panel(session: Session, base_id: int) -> Iterator[dict[str, Any]]:
    """The base model's first answer to each of so many prompts, from all over the project: none of them chosen, the same at every
    refit but for prompts that came meanwhile. Those with the lowest numbers are often of one kind, and labelled first.
    """
    first = _first_answers(base_id, Prompt.split == "train")
    rows = session.execute(
        select(Generation, Prompt)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.id.in_(first))
        .order_by((Generation.prompt_id % MODULUS) * SPREAD % MODULUS, Generation.prompt_id)
        .limit(PANEL_ANSWERS)
    )
    for generation, prompt in sorted(rows, key=lambda row: row[1].id):
        yield {"prompt_id": prompt.id, "messages": prompt.messages, "response": _answer(generation, {base_id})}


def _answer(generation: Generation, kin: set[int]) -> dict[str, Any]:
    """What was said, with its tokens where one of `kin` wrote it; `cut` only where the length limit ended it, so that other
    rows read as they always have.
    """
    ids = generation.token_ids if generation.checkpoint_id in kin else None
    answer = {"text": generation.text, "token_ids": ids or None}
    return answer | {"cut": True} if generation.finish_reason == "length" else answer


def write_rows(path: Path, rows: Iterable[dict[str, Any]], mode: str = "w") -> int:
    """Write rows; returns how many. Mode "a" adds to those there."""
    count = 0
    with path.open(mode, encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
