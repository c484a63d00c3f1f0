"""The program `tastemaker`: `up | serve | work | admin-link | import | export | round | checkpoint | sft | backup | prune`.

Each command loads what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database.failures import SAYS_ALL, in_words, said_by, what_a_disk_did
from app.errors import Refusal
from app.settings import Settings, get_settings
from trainer.contract.folder import keep_private

Command = Callable[[Settings, argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status. What a person should know goes to stderr in one line, without a traceback."""
    keep_private()
    given = _parser().parse_args(arguments)
    command: Command = given.command
    settings = get_settings()
    try:
        return command(settings, given)
    except Refusal as refusal:
        for field, message in refusal.fields.items():
            print(f"{field}: {message}", file=sys.stderr)
        print(refusal.detail, file=sys.stderr)
        return 1
    except OSError as error:
        unavailable = in_words(error, settings.data) if error.filename is None else None  # a write that failed names none
        print(unavailable.detail if unavailable else f"{error.filename or 'failed'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        unavailable = in_words(error, settings.data)
        if unavailable is None:
            raise
        says_all = what_a_disk_did(error, settings.data) in SAYS_ALL
        print(unavailable.detail if says_all else f"{unavailable.detail} ({said_by(error)})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    from app.disk.cli import add_arguments as add_prune_arguments
    from app.exports.cli import add_arguments as add_export_arguments
    from app.prompts.cli import add_arguments as add_import_arguments
    from app.rounds.cli import add_round_arguments, add_sft_arguments
    from app.runs.checkpoint_cli import add_checkpoint_arguments

    parser = argparse.ArgumentParser(prog="tastemaker", description="Turns human taste into better language models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(command=command)
        return added

    add("up", _up, "run the web process and the worker together")
    serve = add("serve", _serve, "run the web process alone")
    serve.add_argument("--quiet", action="store_true", help="do not say where it is")
    add("work", _work, "run the worker alone")
    add("admin-link", _admin_link, "print a new one-time link that makes its user the owner")
    add_import_arguments(add("import", _import, "import prompts, or answers of other models, from a file"))
    add_export_arguments(add("export", _export, "write a project's labels to a file"))
    add_round_arguments(add("round", _round, "start a round of a project"))
    add_checkpoint_arguments(add("checkpoint", _checkpoint, "write a checkpoint as plain transformers opens it"))
    add_sft_arguments(add("sft", _sft, "train a language model on a text or on what annotators rewrote"))
    add_prune_arguments(add("prune", _prune, "show what the run folders could free, and free it with --yes"))
    backup = add("backup", _backup, "copy the database while it is in use, and verify the copy")
    backup.add_argument("file", type=Path, help="where to; never overwritten")
    return parser


# Serving


def _up(settings: Settings, given: argparse.Namespace) -> int:
    from app.start import prepare, refuse_taken_address, welcome
    from app.up import up

    refuse_taken_address(settings)  # first: another Tastemaker's link must not end
    prepare(settings)
    return up(settings, welcome(settings))


def _serve(settings: Settings, given: argparse.Namespace) -> int:
    from app.serve import serve
    from app.start import announce, prepare, refuse_taken_address

    refuse_taken_address(settings)
    prepare(settings)
    if not given.quiet and (line := announce(settings)):
        print(line, flush=True)
    return serve(settings)


def _work(settings: Settings, given: argparse.Namespace) -> int:
    from app.up import work

    return work()


# On the machine


def _admin_link(settings: Settings, given: argparse.Namespace) -> int:
    from app.start import new_owner_link

    print(new_owner_link(settings))
    print("It works once, for 24 hours. Links printed before have stopped working.", file=sys.stderr)
    return 0


def _backup(settings: Settings, given: argparse.Namespace) -> int:
    from app.database.backup import back_up

    size = back_up(settings.url, given.file)
    print(f"{given.file}: {size / 1e6:.1f} MB, complete and checked.")
    return 0


def _import(settings: Settings, given: argparse.Namespace) -> int:
    from app.contenders.cli import run as run_of_answers
    from app.prompts.cli import run

    return run_of_answers(_engine(settings), given) if given.answers else run(_engine(settings), given)


def _export(settings: Settings, given: argparse.Namespace) -> int:
    from app.exports.cli import run

    return run(_engine(settings), given)


def _round(settings: Settings, given: argparse.Namespace) -> int:
    from app.rounds.cli import run_round

    return run_round(_engine(settings), given)


def _checkpoint(settings: Settings, given: argparse.Namespace) -> int:
    from app.runs.checkpoint_cli import run_checkpoint

    return run_checkpoint(_engine(settings), settings, given)


def _sft(settings: Settings, given: argparse.Namespace) -> int:
    from app.rounds.cli import run_sft

    return run_sft(_engine(settings), settings, given)


def _prune(settings: Settings, given: argparse.Namespace) -> int:
    from app.disk.cli import run

    return run(_engine(settings), settings, given)


def _engine(settings: Settings) -> Engine:
    from app.start import open_database

    return open_database(settings)


if __name__ == "__main__":
    sys.exit(main())
