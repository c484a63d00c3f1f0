"""`tastemaker import`: prompts from a file or from standard input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqlalchemy import Engine

from app.database.engine import write_session
from app.projects.service import get_project
from app.prompts import importers
from app.prompts.service import import_prompts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", help="the project's slug, as in its address")
    parser.add_argument("file", help="a .jsonl, .csv or .txt file; - reads standard input")
    parser.add_argument("--format", choices=importers.FORMATS, help="by default told by the file's name; standard input is text")
    parser.add_argument("--skip-bad-lines", action="store_true", help="import the good lines even where others are bad")


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """0 when the prompts are in, 1 when a bad line kept everything out. Raises Refusal, and OSError for the file."""
    data = sys.stdin.buffer.read(importers.MAX_BYTES + 1) if arguments.file == "-" else Path(arguments.file).read_bytes()
    format = arguments.format or importers.guess_format(arguments.file)
    rows = list(importers.read_prompts(importers.decode_upload(data), format))
    with write_session(engine) as session:
        project = get_project(session, arguments.project)
        report = import_prompts(session, project, rows, skip_bad_lines=arguments.skip_bad_lines)
    for bad in report.rejected:
        print(f"line {bad.line}: {bad.why}", file=sys.stderr)
    if report.rejected and not arguments.skip_bad_lines:
        print(f"Nothing was imported: {len(report.rejected)} of {len(rows)} lines cannot be used.", file=sys.stderr)
        return 1
    print(f"{report.created} created, {report.duplicates} there already, {len(report.rejected)} left out")
    return 0
