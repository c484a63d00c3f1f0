"""`tastemaker prune`: what of the run folders could be freed, and freeing it once somebody says so."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from sqlalchemy import Engine, select

from app.database.engine import read_session
from app.disk.files import KINDS
from app.disk.pruning import Piece, free, plan
from app.errors import Invalid
from app.models import Project, utc_now
from app.projects.service import get_project
from app.settings import Settings

LONGEST_DAYS = 36_500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", metavar="SLUG", help="this project alone; by default every one")
    parser.add_argument(
        "--older-than",
        type=int,
        metavar="DAYS",
        help="of runs that ended so many days ago; by default what each project keeps, and none of those that keep for ever",
    )
    parser.add_argument("--yes", action="store_true", help="free it without asking")


def run(engine: Engine, settings: Settings, given: argparse.Namespace) -> int:
    """0 when all went that was to go, or nothing was; 1 when something was left. Raises Refusal."""
    if given.older_than is not None and not 0 <= given.older_than <= LONGEST_DAYS:
        raise Invalid("--older-than takes a number of days.", {"older-than": f"0 to {LONGEST_DAYS}"})
    planned = _planned(engine, settings, given)
    total = sum(piece.octets for _slug, pieces in planned.values() for piece in pieces)
    print(f"{'project':<30}{'what':<12}{'files':>8}{'bytes':>18}")
    for slug, pieces in planned.values():
        for kind in KINDS:
            of_kind = [piece.octets for piece in pieces if piece.kind == kind]
            if of_kind:
                print(f"{slug:<30}{kind:<12}{len(of_kind):>8}{sum(of_kind):>18,}")
    print(f"{'together':<30}{'':<12}{sum(len(pieces) for _, pieces in planned.values()):>8}{total:>18,}")
    if not total:
        return 0
    if not given.yes and not _agreed():
        print("Nothing was removed. Say --yes to free it.", file=sys.stderr)
        return 0
    done = [free(engine, settings.data.resolve(), project_id, pieces) for project_id, (_slug, pieces) in planned.items()]
    print(f"Freed {sum(freed.octets for freed in done):,} bytes.")
    left = [one for freed in done for one in freed.left]
    for path, why in left:
        print(f"{path} could not be removed: {why}. Its weights count as gone; the next prune tries again.", file=sys.stderr)
    return 1 if left else 0


def _planned(engine: Engine, settings: Settings, given: argparse.Namespace) -> dict[int, tuple[str, list[Piece]]]:
    with read_session(engine) as session:
        if given.project is not None:
            projects = [get_project(session, given.project)]
        else:
            projects = list(session.scalars(select(Project).where(Project.deleted_at.is_(None)).order_by(Project.slug)))
        found = {}
        for project in projects:
            days = given.older_than if given.older_than is not None else project.keep_days
            if days is not None:
                before = utc_now() - timedelta(days=days)
                found[project.id] = (project.slug, plan(session, settings.data.resolve(), project, before))
    return found


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("Free it? What goes does not come back. [y/N] ").strip().lower() in ("y", "yes")
