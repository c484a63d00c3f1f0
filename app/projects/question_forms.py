"""The form of the questions page: rows of criteria, flags, rubric, reasons for marks, to be added, moved, taken away; the mix.

Every button of a row sends the whole form; the page comes back with the row moved and nothing saved. So it works without
scripts, and nothing a person typed is lost on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Literal, cast

from app.guidelines.starting_point import as_stored, told
from app.language.formats import listed
from app.language.languages import N_, _, known
from app.models import Project
from app.projects.checks import MAX_CRITERIA, MAX_FLAGS, MAX_REASONS, MAX_RUBRIC, RESERVED_KEYS
from app.projects.service import ProjectValues
from app.web.forms import SEEN, Words, number_of, share_of

Row = dict[str, str]
Kind = Literal["criteria", "flags", "rubric", "span_reasons"]

PARTS: Final[dict[Kind, tuple[str, ...]]] = {
    "criteria": ("key", "name", "description", "anchor1", "anchor5"),
    "flags": ("key", "name", "description", "weight"),
    "rubric": ("key", "name", "description", "required"),
    "span_reasons": ("key", "name", "description", "tone"),
}
MOST: Final[dict[Kind, int]] = {
    "criteria": MAX_CRITERIA,
    "flags": MAX_FLAGS,
    "rubric": MAX_RUBRIC,
    "span_reasons": MAX_REASONS,
}
LABELS: Final = {
    "criteria": N_("Criteria"),
    "flags": N_("Flags"),
    "rubric": N_("Rubric"),
    "span_reasons": N_("Reasons for marks"),
    "overlap": N_("Labels per task"),
    "extra_seats": N_("More where people differ"),
    "rating_share": N_("Ratings"),
    "ranking_share": N_("Rankings"),
    "ranking_answers": N_("Answers in a ranking"),
    "queue_low_mark": N_("Refill below"),
    "text_display": N_("Text of answers"),
}
DISPLAYS: Final = {
    "written": N_("as it was written, every sign of it"),
    "markdown": N_("as Markdown: headings, lists, code, tables; no pictures, no links to follow"),
}
LOOK: Final = "look"  # the button that only works out the cost again
_ROW: Final = re.compile(r"(criteria|flags|rubric|span_reasons)\.(\d{1,3})\.name")
_ACTION: Final = re.compile(r"(criteria|flags|rubric|span_reasons)\.(add|up|down|remove|restore)(?:\.([a-z0-9_]{1,40}))?")


@dataclass(slots=True)
class Questions:
    """The form as it stands on the page, saved or not."""

    rows: dict[Kind, list[Row]]
    words: Words  # the other fields
    focus: str = ""  # the control to go on from after a row was moved


def questions_of(project: Project) -> Questions:
    """The form as the project stands."""
    return Questions(
        rows={
            "criteria": [_criterion_row(criterion) for criterion in told(project.criteria)],
            "flags": [_flag_row(flag) for flag in told(project.flags)],
            "rubric": [_rubric_row(item) for item in project.rubric],
            "span_reasons": [_reason_row(item) for item in project.span_reasons],
        },
        words={
            "overlap": str(project.overlap),
            "extra_seats": str(project.extra_seats),
            "rating_share": f"{project.rating_share * 100:g}",
            "ranking_share": f"{project.ranking_share * 100:g}",
            "ranking_answers": str(project.ranking_answers),
            "queue_low_mark": str(project.queue_low_mark),
            "text_display": project.text_display,
        },
    )


def read_questions(words: Words) -> Questions:
    """The form as it was sent: rows in the order of their numbers."""
    rows: dict[Kind, list[Row]] = {kind: [] for kind in PARTS}
    found = sorted((match[1], int(match[2])) for name in words if (match := _ROW.fullmatch(name)))
    for kind, number in found:
        row = {part: words.get(f"{kind}.{number}.{part}", "").strip() for part in PARTS[cast(Kind, kind)]}
        rows[cast(Kind, kind)].append(row)
    return Questions(rows, {name: words.get(name, "") for name in LABELS if name not in PARTS})


def fields_of(questions: Questions, seen: str = "") -> Words:
    """The form as one text per field: what one person changed and another as well is found out by them."""
    rows: Words = {kind: json.dumps(questions.rows[kind], sort_keys=True) for kind in PARTS}
    return rows | questions.words | ({SEEN: seen} if seen else {})


def merged(questions: Questions, stored: Questions, changed: Set[str]) -> Questions:
    """What the person changed, and everything else as it stands."""
    return Questions(
        {kind: (questions if kind in changed else stored).rows[kind] for kind in PARTS},
        {name: (questions if name in changed else stored).words[name] for name in stored.words},
        questions.focus,
    )


def field_words(name: str, text: str) -> str:
    """A field's value in a sentence; rows by their names."""
    if name in PARTS:
        return listed(row["name"] for row in json.loads(text))
    return known(DISPLAYS[text]) if text in DISPLAYS else text


def as_text(questions: Questions) -> str:
    """The form line by line, to compare it with what is stored."""
    rows = (" · ".join(row[part] for part in PARTS[kind]) for kind in PARTS for row in questions.rows[kind])
    others = (
        _("%(field)s: %(sentence)s", field=known(label), sentence=field_words(name, questions.words.get(name, "")))
        for name, label in LABELS.items()
        if name not in PARTS
    )
    return "\n".join([*rows, *others])


def act(questions: Questions, action: str, retired: Mapping[str, list[dict[str, Any]]]) -> bool:
    """Do what a row's button says: add, move, take away or bring back a row. False for a button that is none of these."""
    if action == LOOK:
        return True
    match = _ACTION.fullmatch(action)
    if match is None:
        return False
    kind, verb, target = cast(Kind, match[1]), match[2], match[3] or ""
    rows = questions.rows[kind]
    if verb == "add" and len(rows) < MOST[kind]:
        rows.append(dict.fromkeys(PARTS[kind], "") | _BEGINS.get(kind, {}))
        questions.focus = f"{kind}.{len(rows) - 1}.name"
    elif verb == "restore" and len(rows) < MOST[kind]:
        back = [item for item in told(retired[kind]) if item["key"] == target and all(row["key"] != target for row in rows)]
        rows += [_ROWS[kind](item) for item in back]
        questions.focus = f"{kind}.{len(rows) - 1}.name" if back else ""
    elif target.isdigit() and int(target) < len(rows):
        questions.focus = _move(rows, kind, int(target), verb)
    return True


def values_of(questions: Questions, used: Mapping[Kind, Set[str]]) -> ProjectValues:
    """What the form asks for. A new row takes its key from its name unless it says one; an empty new row is no row.

    `used` are keys that labels may speak of: none is given again to a question that may mean something else.
    """
    words, known, keyed = questions.words, RESERVED_KEYS, dict[str, list[tuple[Row, str]]]()
    rewarded: Final[dict[Kind, str]] = {"criteria": "criterion", "rubric": "question", "span_reasons": "reason"}
    known |= {key for kind in rewarded for key in used[kind]} | {row["key"] for kind in rewarded for row in questions.rows[kind]}
    for kind, noun in rewarded.items():  # a model is rewarded for each by its key
        keyed[kind] = list(_keyed(questions.rows[kind], noun, known))
        known |= {key for _row, key in keyed[kind]}
    values: dict[str, Any] = {
        "criteria": as_stored(
            _shared(row, key) | {"anchors": {"1": row["anchor1"], "5": row["anchor5"]}} for row, key in keyed["criteria"]
        ),
        "flags": as_stored(
            _shared(row, key) | {"weight": number_of(row["weight"])}
            for row, key in _keyed(questions.rows["flags"], "flag", used["flags"])
        ),
        "rubric": [_shared(row, key) | {"required": bool(row["required"])} for row, key in keyed["rubric"]],
        "span_reasons": [_shared(row, key) | {"tone": row["tone"]} for row, key in keyed["span_reasons"]],
        "overlap": number_of(words.get("overlap", "")),
        "extra_seats": number_of(words.get("extra_seats", "")),
        "rating_share": share_of(words.get("rating_share", "")),
        "ranking_share": share_of(words.get("ranking_share", "")),
        "ranking_answers": number_of(words.get("ranking_answers", "")),
        "queue_low_mark": number_of(words.get("queue_low_mark", "")),
        "text_display": words.get("text_display", ""),
    }
    return cast(ProjectValues, values)


def _keyed(rows: list[Row], noun: str, used: Set[str]) -> Iterator[tuple[Row, str]]:
    """The rows somebody filled in, each with its key: its own, or one made of its name, which may be in any script."""
    taken = {row["key"] for row in rows} | used
    for row in rows:
        if not any(text for part, text in row.items() if part not in ("weight", "required", "tone")):
            continue
        key = row["key"] or re.sub(r"[^a-z0-9]+", "_", row["name"].lower()).strip("_")[:40]
        if not row["key"] and (not key[:1].isalpha() or key in taken):
            key = next(free for number in count(1) if (free := f"{noun}_{number}") not in taken)
        taken.add(key)
        yield row, key


def _shared(row: Row, key: str) -> dict[str, Any]:
    return {"key": key, "name": row["name"], "description": row["description"]}


def _move(rows: list[Row], kind: Kind, number: int, verb: str) -> str:
    """Returns the control to go on from."""
    if verb == "remove":
        rows.pop(number)
        return f"{kind}.{min(number, len(rows) - 1)}.name" if rows else f"{kind}.add"
    to = number + (-1 if verb == "up" else 1)
    if verb in ("up", "down") and 0 <= to < len(rows):
        rows[number], rows[to] = rows[to], rows[number]
        at_the_end = to == (0 if verb == "up" else len(rows) - 1)
        return f"{kind}.{to}.name" if at_the_end else f"{kind}.{verb}.{to}"
    return f"{kind}.{number}.name"


def _criterion_row(criterion: Mapping[str, Any]) -> Row:
    anchors = criterion["anchors"]
    plain = {part: str(criterion[part]) for part in ("key", "name", "description")}
    return plain | {"anchor1": anchors.get("1", ""), "anchor5": anchors.get("5", "")}


def _flag_row(flag: Mapping[str, Any]) -> Row:
    return {part: str(flag[part]) for part in ("key", "name", "description")} | {"weight": f"{flag['weight']:g}"}


def _reason_row(item: Mapping[str, Any]) -> Row:
    return {part: str(item[part]) for part in PARTS["span_reasons"]}


def _rubric_row(item: Mapping[str, Any]) -> Row:
    return {part: str(item[part]) for part in ("key", "name", "description")} | {"required": "yes" if item["required"] else ""}


_ROWS: Final[dict[Kind, Callable[[Mapping[str, Any]], Row]]] = {
    "criteria": _criterion_row,
    "flags": _flag_row,
    "rubric": _rubric_row,
    "span_reasons": _reason_row,
}
_BEGINS: Final[dict[Kind, Row]] = {"flags": {"weight": "1"}, "span_reasons": {"tone": "bad"}}  # a new row, but for its words
