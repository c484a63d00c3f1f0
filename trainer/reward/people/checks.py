"""`people.jsonl` -> what repeats and known answers say of each person. They train nothing but how far each is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from trainer.contract.folder import Refused, read_jsonl
from trainer.contract.messages import Message

PEOPLE: Final = "people.jsonl"


class Checks(NamedTuple):
    """Of one person, how often."""

    asked_again: int = 0
    same: int = 0  # said
    known: int = 0  # was asked of which the right answer is known
    right: int = 0


def read_checks(folder: Path) -> dict[str, Checks]:
    """By pseudonym; nothing for a run of before. Raises Refused where a row breaks the format."""
    found = {}
    for number, row in enumerate(read_jsonl(folder / PEOPLE), start=1):
        try:
            checks = Checks(*(int(row[name]) for name in Checks._fields))
            found[str(row["annotator"])] = checks
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(_unusable(number, str(error))) from error
        if not (0 <= checks.same <= checks.asked_again and 0 <= checks.right <= checks.known):
            raise Refused(_unusable(number, "more were right than were asked"))
    return found


def _unusable(row: int, problem: str) -> Message:
    return Message("row_unusable", file=PEOPLE, row=row, problem=Message("written", text=problem))
