"""`tastemaker export`: labels to a file or to standard output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqlalchemy import Engine

from app.database.engine import read_session
from app.errors import Invalid
from app.exports.rows import FORMATS
from app.exports.service import ExportQuery, has_rows, prepare_export, read_time, stream_export
from app.projects.service import get_project
from trainer.contract.folder import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", help="the project's slug, as in its address")
    parser.add_argument("--format", choices=FORMATS, default="preference", help="what to export (preference)")
    parser.add_argument("--as", dest="as_", choices=("jsonl", "csv"), default="jsonl", help="how to write it (jsonl)")
    parser.add_argument("--out", help="the file to write; by default standard output")
    parser.add_argument("--since", help="labels from this day or time on")
    parser.add_argument("--until", help="labels before this day or time")
    parser.add_argument("--split", choices=("train", "holdout"), help="labels about these prompts only")
    parser.add_argument(
        "--min-agreement", type=float, default=0.0, help="share of labels that give a task's most frequent verdict"
    )


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """Raises Refusal, and OSError for the file. A file appears whole or not at all."""
    if not 0 <= arguments.min_agreement <= 1:
        raise Invalid("--min-agreement is a share from 0 to 1.")
    query = ExportQuery(
        format=arguments.format,
        as_=arguments.as_,
        since=read_time(arguments.since, "--since"),
        until=read_time(arguments.until, "--until"),
        split=arguments.split,
        min_agreement=arguments.min_agreement,
    )
    with read_session(engine) as session:
        export = prepare_export(session, get_project(session, arguments.project), query)
    if not has_rows(engine, export):
        print("No label makes a row of this.", file=sys.stderr)
    if not arguments.out:
        for chunk in stream_export(engine, export):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return 0
    out = Path(arguments.out)
    with whole(out) as unfinished, unfinished.open("wb") as file:
        for chunk in stream_export(engine, export):
            file.write(chunk)
    return 0
