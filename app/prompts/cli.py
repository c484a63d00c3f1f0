"""`tastemaker import`: prompts from a file or from standard input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqlalchemy import Engine

from app.database.engine import read_session
from app.projects.service import get_project
from app.prompts import importers
from app.prompts.lengths import all_too_long
from app.prompts.service import import_prompts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", help="the project's slug, as in its address")
    parser.add_argument("file", help="a file of JSON, JSON Lines, CSV or plain text; - reads standard input")
    parser.add_argument("--answers", action="store_true", help="it holds answers of other models, each with its prompt")
    parser.add_argument("--format", choices=importers.FORMATS, help="by default told by what it holds")
    parser.add_argument("--skip-bad-lines", action="store_true", help="import the good lines even where others are bad")


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """0 when the prompts are in, 1 when a bad line kept everything out. Raises Refusal, and OSError for the file."""
    data = sys.stdin.buffer.read(importers.MAX_BYTES + 1) if arguments.file == "-" else Path(arguments.file).read_bytes()
    rows = importers.read_upload(data, arguments.format, arguments.file)
    with read_session(engine) as session:
        project_id = get_project(session, arguments.project).id
    report = import_prompts(engine, project_id, rows, skip_bad_lines=arguments.skip_bad_lines)
    for bad in report.rejected:
        print(f"line {bad.line}: {bad.why}", file=sys.stderr)
    if report.rejected and not arguments.skip_bad_lines:
        print(report.refusal(), file=sys.stderr)
        return 1
    if report.left_out:
        print(f"too long to keep: {', '.join(report.left_out)}", file=sys.stderr)
    if nearly := report.nearly_there():
        print(nearly, file=sys.stderr)
    if too_long := all_too_long(engine, project_id, rows):
        print(too_long, file=sys.stderr)
    print(f"{report.created} created, {report.duplicates} there already, {len(report.rejected)} left out")
    return 0
