"""`tastemaker checkpoint export ID`: a checkpoint as plain transformers opens it, made by a process of the trainer's."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.database.engine import read_session
from app.errors import Conflict, NotFound
from app.models import Generation, Prompt
from app.runs import run_files
from app.runs.checkpoints import get_checkpoint, require_weights
from app.settings import Settings
from trainer.contract.environment import needed

MOST_ANSWERS = 5_000  # of the newest runs; what a head is distilled on


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    export = commands.add_parser(
        "export",
        help="write a policy as one merged model, a reward model as a sequence classifier, for plain transformers",
    )
    export.add_argument("checkpoint", type=int, metavar="ID", help="the checkpoint's number, as in its address")
    export.add_argument(
        "--out", type=Path, help="the folder to write; by default beside the checkpoint, where its page offers it"
    )


def run_checkpoint(engine: Engine, settings: Settings, arguments: argparse.Namespace) -> int:
    """0 when it is written, or was there already; else the trainer's exit status, after its own words. Raises Refusal."""
    with read_session(engine) as session, tempfile.TemporaryDirectory() as answers:
        checkpoint = require_weights(get_checkpoint(session, arguments.checkpoint))
        at = run_files.checkpoint_folder(settings.data.resolve(), checkpoint.source)
        if at is None:
            raise NotFound("The files of this checkpoint are not on this machine.")
        out = arguments.out
        if out is None:
            if checkpoint.run_id is None:
                raise Conflict("This is a model as it came: transformers opens it already. Say --out FOLDER to copy it.")
            out = run_files.export_folder(settings.runs, checkpoint.run_id)
        command = [sys.executable, "-m", "trainer.export.run", "policy", str(at), str(out)]
        if checkpoint.kind == "reward":
            _write_answers(session, checkpoint.project_id, Path(answers) / "panel.jsonl")
            command[3:4] = ["classifier"]
            command += ["--answers", answers]
        session.rollback()  # nothing waits for the work
        return subprocess.run(command, check=False, env=needed(os.environ)).returncode


def _write_answers(session: Session, project_id: int, path: Path) -> None:
    """Answers of the project's newest runs, in the form of a reward run's panel.

    Of the run that not all fit of, those drawn first: those that came last would be its longest.
    """
    rows = session.execute(
        select(Generation.text, Prompt.id, Prompt.messages)
        .join(Prompt, Prompt.id == Generation.prompt_id)
        .where(Prompt.project_id == project_id)
        .order_by(func.coalesce(Generation.run_id, 0).desc(), Generation.number, Generation.id)
        .limit(MOST_ANSWERS)
    )
    with path.open("w", encoding="utf-8") as file:
        for text, prompt_id, messages in rows:
            row = {"prompt_id": prompt_id, "messages": messages, "response": {"text": text, "token_ids": None}}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
