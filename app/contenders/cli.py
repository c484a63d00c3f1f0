"""`tastemaker import --answers`: answers that were written elsewhere, from a file or from standard input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqlalchemy import Engine

from app.contenders.answers import read_answers
from app.contenders.bringing_in import import_answers
from app.database.engine import read_session
from app.projects.service import get_project
from app.prompts.importers import MAX_BYTES


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """0 when the answers are in, 1 when a bad line kept everything out. Raises Refusal, and OSError for the file."""
    data = sys.stdin.buffer.read(MAX_BYTES + 1) if arguments.file == "-" else Path(arguments.file).read_bytes()
    rows = read_answers(data, arguments.format, arguments.file)
    with read_session(engine) as session:
        project_id = get_project(session, arguments.project).id
    report = import_answers(engine, project_id, rows, skip_bad_lines=arguments.skip_bad_lines)
    for bad in report.rejected:
        print(f"line {bad.line}: {bad.why}", file=sys.stderr)
    if report.rejected and not arguments.skip_bad_lines:
        print(report.refusal(), file=sys.stderr)
        return 1
    told = f"{report.created} created, {report.duplicates} there already, {len(report.rejected)} left out"
    print(f"{told}; {report.prompts} new prompts")
    return 0
