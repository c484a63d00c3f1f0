"""Writing practice tasks: the question, the answers, the right verdict and why it is right."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from sqlalchemy.orm import Session

from app.database import audit
from app.errors import Invalid
from app.labels.verdict import CHOICES
from app.language.languages import _
from app.models import PracticeTask, Project, utc_now
from app.models.values import is_storable
from app.practice import service
from trainer.contract.texts import trimmed

MAX_TEXT: Final = 50_000
MAX_EXPLANATION: Final = 5_000
ROLES: Final = ("system", "user", "assistant")


class PracticeTaskValues(TypedDict):
    """A practice task as an admin writes it. A comparison has two answers and a choice, a rating one answer and a score."""

    kind: str
    messages: list[dict[str, str]]
    left: str
    right: str | None
    choice: str | None
    overall: int | None
    explanation: str


def add_task(session: Session, project: Project, values: PracticeTaskValues, by: int) -> PracticeTask:
    """Raises Invalid with a sentence per field."""
    task = PracticeTask(project_id=project.id, created_by=by, **_columns(values))
    session.add(task)
    session.flush()
    service.admit_experienced(session, project.id)  # with the first task, practice begins for those who are new
    audit.record(session, by, "practice.added", f"practice task {task.id}", project_id=project.id)
    return task


def change_task(session: Session, task: PracticeTask, values: PracticeTaskValues, by: int) -> None:
    """Answers given before keep whether they were right then. Raises Invalid with a sentence per field."""
    for name, value in _columns(values).items():
        setattr(task, name, value)
    audit.record(session, by, "practice.changed", f"practice task {task.id}", project_id=task.project_id)
    session.flush()


def put_away(session: Session, task: PracticeTask, by: int, *, back: bool = False) -> None:
    """Nobody meets the task any more, until it is brought back. Without it an attempt may be through, with it practice begins."""
    task.archived_at = None if back else task.archived_at or utc_now()
    action = "practice.restored" if back else "practice.archived"
    audit.record(session, by, action, f"practice task {task.id}", project_id=task.project_id)
    session.flush()
    if back:
        service.admit_experienced(session, task.project_id)
    else:
        service.admit_qualified(session, session.get_one(Project, task.project_id))


def _columns(values: PracticeTaskValues) -> dict[str, Any]:
    problems: dict[str, str] = {}
    if values["kind"] not in ("comparison", "rating"):
        problems["kind"] = _("A practice task is a comparison or a rating.")
    if not _is_conversation(values["messages"]):
        problems["messages"] = _("Write what the model was asked; a conversation ends with a message of the user.")
    compares = values["kind"] == "comparison"
    texts = {"left": values["left"], "explanation": values["explanation"]} | ({"right": values["right"]} if compares else {})
    for name, text in texts.items():
        problems |= _text_problem(name, text)
    if compares and values["left"] == values["right"]:
        problems.setdefault("right", _("The two answers are the same."))
    if compares and values["choice"] not in CHOICES:
        problems["choice"] = _("Say which verdict is right.")
    if not compares and values["overall"] not in (1, 2, 3, 4, 5):
        problems["overall"] = _("Say which score is right, from 1 to 5.")
    if problems:
        raise Invalid(_("This practice task is not complete. Nothing was saved."), problems)
    return {
        "kind": values["kind"],
        "messages": values["messages"],
        "left_text": values["left"],
        "right_text": values["right"] if compares else None,
        "choice": values["choice"] if compares else None,
        "overall": None if compares else values["overall"],
        "explanation": trimmed(values["explanation"]),
    }


def _is_conversation(messages: list[dict[str, str]]) -> bool:
    return (
        bool(messages)
        and messages[-1]["role"] == "user"
        and all(message["role"] in ROLES and message["content"].strip() for message in messages)
        and all(is_storable(message["content"]) and len(message["content"]) <= MAX_TEXT for message in messages)
    )


def _text_problem(name: str, text: str | None) -> dict[str, str]:
    longest = MAX_EXPLANATION if name == "explanation" else MAX_TEXT
    if text is None or not text.strip():
        sentence = _("Say why; it is what people learn from.") if name == "explanation" else _("Write the answer.")
        return {name: sentence}
    if len(text) > longest:
        return {name: _("This is longer than %(longest)s characters.", longest=f"{longest:,}")}
    if not is_storable(text):
        return {name: _("This holds a character that cannot be stored.")}
    return {}
