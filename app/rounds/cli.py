"""`tastemaker round` and `tastemaker sft`: start a round, or train on a text, from the command line."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from app.database.engine import read_session, write_session
from app.errors import Archived, Invalid
from app.language.run_messages import told
from app.projects.service import get_project
from app.rounds import service
from app.runs import estimates, run_files
from app.settings import Settings

LOOK_S = 1.0


def add_round_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", help="the project's slug, as in its address")
    parser.add_argument("--config", default="{}", help='settings per stage, as JSON: {"ppo": {"updates": 8}}')
    parser.add_argument(
        "--start", type=int, metavar="ID", help="the policy checkpoint to go on from; by default the promoted one"
    )
    parser.add_argument(
        "--methods",
        default="ppo",
        metavar="NAMES",
        help="what trains the policy, with commas: ppo, preference (on labels alone), or both, each for a candidate",
    )
    parser.add_argument("--wait", action="store_true", help="stay until the round waits for a decision, or has ended")


def run_round(engine: Engine, arguments: argparse.Namespace) -> int:
    """0 when the round has started, or with --wait has a candidate. Raises Refusal."""
    config, methods = _object(arguments.config), arguments.methods.split(",")
    with write_session(engine) as session:
        project = get_project(session, arguments.project)
        round_ = service.start_round(session, project, "admin", None, config, arguments.start, methods=methods)
        expected = estimates.expected_times(session, project, round_.config)
        round_id, number, labels = round_.id, round_.number, round_.label_count
    minutes = sum(stage.seconds for stage in expected.values()) / 60
    print(f"Round {number} started on {labels} labels; it takes about {minutes:.0f} min.", flush=True)
    return _wait(engine, round_id) if arguments.wait else 0


def add_sft_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", help="the project's slug, as in its address")
    parser.add_argument("file", type=Path, nargs="?", help="plain text as .txt, or conversations as .jsonl")
    parser.add_argument("--rewrites", action="store_true", help="train on what annotators wrote instead of an answer")
    parser.add_argument(
        "--base",
        type=int,
        metavar="ID",
        help="the policy checkpoint to train; by default the promoted one for rewrites, else a new SimpleLM",
    )
    parser.add_argument("--config", default="{}", help='settings as JSON: {"epochs": 3}')


def run_sft(engine: Engine, settings: Settings, arguments: argparse.Namespace) -> int:
    """Copies the text, if there is one, into the data folder and queues the run. Raises Refusal, and OSError for the file."""
    data, file = settings.data.resolve(), arguments.file
    if file is None and not arguments.rewrites:
        raise Invalid("Give a file to train on, or --rewrites.", {"file": "missing"})
    with read_session(engine) as session:
        project = get_project(session, arguments.project)
        slug, is_archived = project.slug, project.archived_at is not None
    if is_archived:
        raise Archived
    if file is not None and file.resolve().parent != run_files.texts_folder(data, slug):
        run_files.save_text(data, slug, file.name, file.read_bytes())
    inputs = {"text": file.name if file else None, "rewrites": arguments.rewrites, "base": arguments.base}
    with write_session(engine) as session:
        project = get_project(session, slug)
        run = service.queue_run(session, project, "sft", _object(arguments.config), inputs, None)
        print(f"Run {run.id} waits for the worker.")
    return 0


def _wait(engine: Engine, round_id: int) -> int:
    said = ""
    while True:
        with read_session(engine) as session:
            round_ = service.get_round(session, round_id)
            state, reason = round_.state, told(round_.reason)
            runs = service.runs_of_round(session, round_id)
            doing = f"{runs[-1].kind} {runs[-1].step}/{runs[-1].total} {told(runs[-1].message)}"
        if state == "decision":
            print("The new policy's answers are there; decide over it on the round's page.")
            return 0
        if state == "evaluation":
            print("The new policy's answers are there; people judge them now, blind.")
            return 0
        if state not in service.OPEN:
            print(f"The round ended {state}. {reason}")
            return 0 if state == "done" else 1
        if doing != said:
            print(doing, flush=True)
            said = doing
        time.sleep(LOOK_S)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid("--config is a JSON object.", {"--config": "not a JSON object"})
    return found
