"""The words a page offers to judge by: those in force, and retired ones that what is said there already uses.

So that who corrects a verdict, or sends a form that was opened before the words changed, loses nothing they said: a retired
criterion they judged by is there to be kept or changed, and a question that was reworded since stands as it was answered.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from app.guidelines.starting_point import told
from app.labels.answers.rubric import VERSION
from app.models import Project
from app.models.criteria import asked, offered, wordings
from app.queue.claim import ServedTask

Values = Mapping[str, Any]  # of the fields, by name: app/labels/forms.py
Item = Mapping[str, Any]
_FIELDS: Final = ("criteria", "flags", "rubric", "spans")


def on_page(task: ServedTask, project: Project, values: Values) -> ServedTask:
    """The task with the words for who has said `values`; a ranking has no rubric and no marks."""
    used = _used(values)
    criteria = told(_with_used(task.criteria, project.retired["criteria"], used["criteria"]))
    if task.kind == "ranking":
        return replace(task, criteria=criteria)
    free = [item | {"required": False} for item in project.retired["rubric"]]  # a retired question binds nobody
    rubric = [_as_answered(item, values) for item in _with_used(project.rubric, free, used["rubric"])]
    return replace(task, criteria=criteria, rubric=rubric, span_reasons=reasons_on_page(project, values))


def flags_on_page(project: Project, values: Values) -> list[Any]:
    """The flags for who has said `values`."""
    return told(_with_used(project.flags, project.retired["flags"], _used(values)["flags"]))


def reasons_on_page(project: Project, values: Values) -> list[Any]:
    """Why passages may be marked, for who has said `values`."""
    return offered(_with_used(project.span_reasons, project.retired["span_reasons"], _used(values)["spans"]))


def _with_used(in_force: Iterable[Item], retired: Iterable[Item], used: Collection[str]) -> list[Any]:
    here = list(in_force)
    return [*here, *(item for item in retired if item["key"] in used)]


def _used(values: Values) -> Mapping[str, set[str]]:
    """Keys by field, of all that is said. Fields that no page of ours sends name nothing."""
    used: dict[str, set[str]] = defaultdict(set)
    for name, value in values.items():
        field, _dot, rest = name.partition(".")
        if field not in _FIELDS or not value:
            continue
        if field == "flags":
            found: Collection[str] = value
        elif field == "spans":
            found = _reasons_in(value)
        else:
            key, _dot, part = rest.partition(".")
            found = () if part == VERSION else (key,)
        used[field].update(found)
    return used


def _reasons_in(marked: str) -> set[str]:
    try:
        spans = json.loads(marked)
    except (ValueError, RecursionError):  # the version of a reason, or nothing that a page of ours sends
        return set()
    if not isinstance(spans, list):
        return set()
    named = [span.get("reason") for span in spans if isinstance(span, dict)]
    return {reason for reason in named if isinstance(reason, str)}


def _as_answered(item: Item, values: Values) -> dict[str, Any]:
    """What whoever answers sees of a question: in the words that were answered, where it has been."""
    (shown,) = asked([item])
    start = f"rubric.{item['key']}."
    version = str(values.get(f"{start}{VERSION}", ""))
    answered = any(value for name, value in values.items() if name.startswith(start) and name != f"{start}{VERSION}")
    if answered and version in map(str, range(1, item["version"])):
        return shown | {"name": wordings(item)[int(version) - 1], "version": int(version)}
    return shown
