"""How many tokens the base model reads of each prompt, and what the settings of a project leave out for it.

The counting is done by a process of its own (trainer/sample/prompt_lengths.py): a worker counts what nobody has counted yet, and
an import looks at what it brings where nothing of the project may be short enough.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import ColumnElement, Engine, Integer, SQLColumnExpression, bindparam, func, literal, or_, select, union, update
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.database.slices import Slices, giving_way
from app.database.taking_turns import hold
from app.language.formats import count, number
from app.language.languages import _, known
from app.models import Generation, Label, Project, Prompt
from app.prompts.service import BadLine, PromptRow, prompt_digest, prompt_split
from app.runs.run_settings import context_tokens, expected_config
from app.runs.usable_labels import usable_labels
from trainer.contract.config import PPOConfig, RewardConfig, SampleConfig, label_of
from trainer.contract.environment import needed

REFUSED: Final = 0  # tokens of a prompt that the model's chat template has no place for
COUNTED_AT_ONCE: Final = 5_000  # prompts of one process of a worker
COUNTED_FOR_ONE: Final = 50_000  # for an import; more are left to the worker
LABELS_LOOKED_AT: Final = 20_000  # the newest, for what a reward model would cut of their answers
PATIENCE_S: Final = 60.0  # for the count of an import; what takes longer is left to the worker
# A token has a byte or more, and what a chat template puts around a prompt rarely fills half of what a prompt may have.
SURELY_SHORT: Final = 0.5  # bytes of a prompt for each token that it may have, up to which nobody counts

_of_imports = ThreadPoolExecutor(1, thread_name_prefix="count of an import")
_one_at_a_time = threading.Lock()

_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Room:
    """The most tokens a prompt may have, by what leaves out the longer ones; `answered` is None where the model does not say."""

    practised: int  # ppo.max_prompt_tokens
    answered: int | None  # what the model holds, less sample.max_new_tokens
    answer: int  # sample.max_new_tokens


@dataclass(frozen=True)
class Lengths:
    """The training prompts in use, by what becomes of them."""

    room: Room
    all: int
    uncounted: int
    not_practised: int  # longer than training takes; they are answered all the same
    not_answered: int  # no answer fits behind them
    refused: int  # by the model's chat template
    shortest: int | None  # tokens, of those that were counted
    watched: int  # held-out prompts that are not known to be left out

    @property
    def all_too_long(self) -> str:
        """The sentence for where none can be trained on; nothing where one can, or some are still to be counted."""
        if not self.all or self.uncounted or self.not_practised + self.refused < self.all:
            return ""
        return told_too_long(self.room, self.shortest)


def room_of(project: Project) -> Room:
    """What the project's settings leave for a prompt."""
    ppo, sample = expected_config(project, "ppo", {}), expected_config(project, "sample", {})
    if not isinstance(ppo, PPOConfig) or not isinstance(sample, SampleConfig):
        raise TypeError(f"{ppo} and {sample} are of other kinds of runs")
    context = context_tokens(project.base_model)
    answered = None if context is None else max(0, context - sample.max_new_tokens)
    return Room(ppo.max_prompt_tokens, answered, sample.max_new_tokens)


def lengths_of(session: Session, project: Project, practised: int | None = None) -> Lengths:
    """How many of the project's training prompts its settings leave out: counted in an index, as far as a worker has counted.

    `practised`: the most tokens that a round trains on, where it is not the project's own setting.
    """
    room = room_of(project)
    room = room if practised is None else replace(room, practised=practised)
    tokens = _tokens(project)
    figures = (
        func.count(),
        func.count().filter(tokens.is_(None)),
        func.count().filter(tokens > room.practised),
        func.count().filter(tokens > (2**31 - 1 if room.answered is None else room.answered)),
        func.count().filter(tokens == REFUSED),
        func.min(tokens).filter(tokens != REFUSED),
    )
    mine = (Prompt.project_id == project.id, Prompt.split == "train", Prompt.archived_at.is_(None))
    watched = session.scalar(select(func.count()).where(*_to_watch(project, room.practised))) or 0
    return Lengths(room, *session.execute(select(*figures).where(*mine)).one(), watched)


def prompts_to_watch(session: Session, project: Project, practised: int, most: int) -> list[Prompt]:
    """The first held-out prompts that are not known to be left out, where a round trains on prompts of `practised` tokens."""
    return list(session.scalars(select(Prompt).where(*_to_watch(project, practised)).order_by(Prompt.id).limit(most)))


def _to_watch(project: Project, practised: int) -> tuple[ColumnElement[bool], ...]:
    tokens = _tokens(project)
    held_out = (Prompt.project_id == project.id, Prompt.split == "holdout", Prompt.archived_at.is_(None))
    return *held_out, or_(tokens.is_(None), tokens.between(1, practised))


def _tokens(project: Project) -> SQLColumnExpression[int | None]:
    """What was counted of a prompt; nothing, while that is what another base model would read of it."""
    return Prompt.tokens if project.counts_of == project.base_model else literal(None, Integer)


def read_in_part(session: Session, project: Project) -> int:
    """Answers that the reward model would read a part of, because of `reward.max_tokens`: of those to the newest labels, and to
    prompts that were counted. With nought nothing is cut that the base model can hold, and so nothing that it wrote.
    """
    config = expected_config(project, "reward", {})
    if not isinstance(config, RewardConfig) or not config.max_tokens:
        return 0
    newest = usable_labels(project.id).with_only_columns(Label.left_generation_id, Label.right_generation_id)
    labels = newest.order_by(Label.id.desc()).limit(LABELS_LOOKED_AT).subquery()
    judged = union(select(labels.c.left_generation_id), select(labels.c.right_generation_id)).subquery()
    long = (
        select(func.count())
        .select_from(Generation)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Generation.id.in_(select(judged)))
        .where(_tokens(project) + func.json_array_length(Generation.token_ids) > config.max_tokens)
    )
    return session.scalar(long) or 0


def all_too_long(engine: Engine, project_id: int, rows: Sequence[PromptRow | BadLine] = ()) -> str:
    """Why the project can train on none of its prompts, with the setting that says so; nothing where it can, or nobody can tell.

    `rows`: what was just imported. To be called outside of any transaction: where none of it is surely short it takes seconds.
    """
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        room, base_model, tokens = room_of(project), project.base_model, _tokens(project)
    came = (row for row in giving_way(rows) if isinstance(row, PromptRow))
    if any(_surely_short(row, room.practised) for row in came) or not _is_here(base_model):
        return ""
    with read_session(engine) as session:
        mine = (Prompt.project_id == project_id, Prompt.split == "train", Prompt.archived_at.is_(None))
        of_known = func.min(tokens).filter(tokens != REFUSED)
        total, shortest = session.execute(select(func.count(), of_known).where(*mine)).one()
        if not total or (shortest is not None and shortest <= room.practised):
            return ""
        uncounted = select(Prompt.messages).where(*mine, tokens.is_(None))
        if (session.scalar(select(func.count()).select_from(uncounted.subquery())) or 0) > COUNTED_FOR_ONE:
            return ""
        sized = [(_bytes_of(messages), messages) for messages in giving_way(session.scalars(uncounted))]
    sized.sort(key=lambda one: one[0])
    if sized and sized[0][0] <= SURELY_SHORT * room.practised:
        return ""
    conversations = [messages for _bytes, messages in sized]
    found = count_tokens(base_model, conversations, room.practised) if conversations else []
    counted = [tokens for tokens in found or () if tokens]
    if found is None or any(tokens <= room.practised for tokens in counted):
        return ""
    every = counted if shortest is None else [*counted, shortest]
    return told_too_long(room, min(every, default=None))


async def told_of_import(engine: Engine, project_id: int, rows: Sequence[PromptRow | BadLine], created: int) -> str:
    """`all_too_long` for a request that imported `rows`, in none of the threads that serve the others.

    One at a time in a process: each starts another with a tokenizer. Whoever comes meanwhile hears nothing, and a worker counts.
    """
    if not created or not _one_at_a_time.acquire(blocking=False):
        return ""
    at_work = _of_imports.submit(copy_context().run, all_too_long, engine, project_id, rows)
    at_work.add_done_callback(lambda _at_work: _one_at_a_time.release())  # also where whoever asked has left
    return await asyncio.wrap_future(at_work)


def told_too_long(room: Room, shortest: int | None) -> str:
    """The sentence for a project of which no prompt has fewer than `shortest` tokens; None: the template refuses all."""
    if shortest is None:
        return _(
            "The model's chat template refuses every prompt of this project, so that no round can train. Import other prompts, "
            "or use another base model."
        )
    if room.answered is not None and shortest > room.answered:
        return _(
            "No prompt of this project leaves the model room for an answer: the shortest has %(shortest)s, and with "
            "“%(setting)s” at %(answer)s a prompt may have %(most)s. Make that smaller, or import shorter prompts.",
            shortest=count(shortest, "token"),
            setting=known(label_of("sample.max_new_tokens")),
            answer=number(room.answer),
            most=number(room.answered),
        )
    return _(
        "All prompts of this project are too long to train on: “%(setting)s” is %(most)s, and the shortest of them has "
        "%(shortest)s. The model answers them, but no round can train. Raise the setting, or import shorter prompts.",
        setting=known(label_of("ppo.max_prompt_tokens")),
        most=count(room.practised, "token"),
        shortest=count(shortest, "token"),
    )


def _surely_short(row: PromptRow, most: int) -> bool:
    return _bytes_of(row.messages) <= SURELY_SHORT * most and prompt_split(prompt_digest(row.messages)) == "train"


def _bytes_of(messages: Sequence[Any]) -> int:
    return sum(len(message["content"].encode()) for message in messages)


def _is_here(base_model: str) -> bool:
    """Whether its tokenizer may be on this machine: hub models are in a cache, of which nobody here knows."""
    return not base_model.startswith(("/", "~", ".")) or Path(base_model).expanduser().exists()


def count_tokens(base_model: str, conversations: Sequence[Sequence[Mapping[str, str]]], most: int) -> list[int | None] | None:
    """Tokens of each, up to the first that has at most `most`; None where they cannot be counted here, or not in time."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
        write_conversations(given, conversations)
        process = counting(base_model, given, taken, most)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(process)
        return read_counts(taken) if process.returncode == 0 else None


# What a worker counts


def uncounted(session: Session, project_id: int, most: int = COUNTED_AT_ONCE) -> list[tuple[int, str, list[dict[str, str]]]]:
    """(id, digest, messages) of prompts that nobody counted, as many as one process counts."""
    columns = (Prompt.id, Prompt.digest, Prompt.messages)
    waiting = select(*columns).where(Prompt.project_id == project_id, Prompt.tokens.is_(None))
    return [(id, digest, messages) for id, digest, messages in session.execute(waiting.order_by(Prompt.id).limit(most))]


def void_other_counts(engine: Engine, project_id: int) -> None:
    """Take back, in slices, what was counted by another base model than the project has now. Until then nobody reads it."""
    counted = (Prompt.project_id == project_id, Prompt.tokens.is_not(None))
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        base_model = project.base_model
        if project.counts_of == base_model:
            return
        ids = session.scalars(select(Prompt.id).where(*counted)).all()
    slices = Slices(engine)
    for some in slices.of(ids):
        with slices.write() as session:
            session.execute(update(Prompt).where(Prompt.id.in_(some)).values(tokens=None))
    with write_session(engine) as session:
        project = hold(session, session.get_one(Project, project_id))
        if project.base_model == base_model and session.scalar(select(Prompt.id).where(*counted).limit(1)) is None:
            project.counts_of = base_model


def store_counts(session: Session, project_id: int, base_model: str, counts: Sequence[tuple[int, str, int | None]]) -> None:
    """Keep (id, digest, tokens) of prompts whose texts are still those that were counted, if the project still has that model."""
    project = hold(session, session.get_one(Project, project_id))
    if not base_model == project.base_model == project.counts_of:
        return
    change = update(Prompt).where(Prompt.id == bindparam("its_id"), Prompt.digest == bindparam("its_digest"))
    rows = [{"its_id": id, "its_digest": digest, "counted": tokens or REFUSED} for id, digest, tokens in counts]
    session.connection().execute(change.values(tokens=bindparam("counted")), rows)


def write_conversations(file: IO[bytes], conversations: Iterable[Sequence[Mapping[str, str]]]) -> None:
    for messages in giving_way(conversations):
        file.write(json.dumps(messages).encode() + b"\n")
    file.seek(0)


def read_counts(file: IO[bytes]) -> list[int | None] | None:
    """What the process wrote; None where that is nothing that can be read."""
    file.seek(0)
    lines = file.read().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def counting(base_model: str, given: IO[bytes], taken: IO[bytes], most: int | None = None) -> subprocess.Popen[bytes]:
    """A process that counts the conversations in one file into another."""
    command = [sys.executable, "-m", "trainer.sample.prompt_lengths", base_model, str(os.getpid())]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [*command, *([] if most is None else [str(most)])],
        stdin=given,
        stdout=taken,
        stderr=subprocess.DEVNULL,
        env=needed(os.environ) | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started, where it is still at work."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
