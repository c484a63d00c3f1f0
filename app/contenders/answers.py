"""Text in, answers of others out: which prompt, what was said, and by which model, each bad line with its number and the reason.

Uploads are read as those of prompts are. Besides our own shape, UltraFeedback's, Chatbot Arena's and ShareGPT's are read as they
are published; of an item with several answers each becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.database.slices import giving_way
from app.errors import Invalid
from app.language.formats import listed, number
from app.language.languages import _
from app.models.values import Unusable, plain_text
from app.prompts.conversations import SHAPES, prompt_row
from app.prompts.file_formats import Format
from app.prompts.importers import MAX_LINES, open_upload, read_items
from app.prompts.service import BadLine, PromptRow
from app.texts.invisible import shows_nothing
from trainer.contract.texts import said

MAX_CHARACTERS: Final = 20_000  # of one answer
MAX_NAME: Final = 200
KEYS: Final = ("prompt", "prompt_id", "messages", "text", "model")


@dataclass(frozen=True)
class AnswerRow:
    """One answer as read from a file or a request; its prompt is one of the project's, or as it was read."""

    line: int
    prompt: int | PromptRow
    text: str
    model: str


class _NotAnAnswer(Exception):
    """Why one line is refused."""


def read_answers(data: bytes, format: Format | None = None, name: str = "") -> list[AnswerRow | BadLine]:
    """Every answer of an upload; without a format it is told by the content, and by the file's name where that tells nothing.

    Raises Invalid for what is too large, is no text, is plain text, or may be more than one thing.
    """
    text, chosen = open_upload(data, format, name)
    if chosen == "text":
        raise Invalid(_("Answers are read as JSON, JSON Lines, CSV or Parquet: each needs a prompt, a text and a model."))
    return list(giving_way(_flat(text, chosen)))


def _flat(text: str, format: Format) -> Iterator[AnswerRow | BadLine]:
    too_many = _(
        "There are more than %(most)s answers. Split them and import the parts one after the other.", most=number(MAX_LINES)
    )
    for found in read_items(text, format, answer_rows, too_many):
        if isinstance(found, BadLine):
            yield found
        else:
            yield from found


def answer_rows(line: int, item: Any) -> list[AnswerRow] | BadLine:
    """The answers of an item: one in our own shape, several in some that are published."""
    try:
        if not isinstance(item, dict):
            raise _NotAnAnswer(_('This must be an object such as {"prompt": "...", "text": "...", "model": "..."}.'))
        given = {_key(name): value for name, value in item.items() if value is not None}
        return [_row(line, one) for one in _parts(given)]
    except _NotAnAnswer as reason:
        return BadLine(line, str(reason))


def answer_text(value: Any) -> str:
    """An answer that comes from elsewhere, as it is kept. Raises Unusable."""
    text = said(plain_text(value, MAX_CHARACTERS).replace("\r\n", "\n"))
    if shows_nothing(text):
        raise Unusable(_("The text is empty."))
    return text


def _key(name: Any) -> str:
    return str(name).lower() if str(name).lower() in KEYS else str(name)


def _parts(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Each answer of an item in our own shape."""
    if "completions" in given and "instruction" in given:  # UltraFeedback's
        answers = given["completions"]
        if not isinstance(answers, list) or not answers or not all(isinstance(one, dict) for one in answers):
            raise _NotAnAnswer(_("completions must be a list of objects, each with model and response."))
        return [{"prompt": given["instruction"], "text": one.get("response"), "model": one.get("model")} for one in answers]
    if "conversation_a" in given and "conversation_b" in given:  # Chatbot Arena's
        return [_last_turn("messages", given[f"conversation_{side}"], given.get(f"model_{side}")) for side in "ab"]
    for name in ("conversations", "conversation"):  # ShareGPT's
        if name in given and "text" not in given:
            return [_last_turn(name, given[name], given.get("model"))]
    return [given]


def _last_turn(shape: str, turns: Any, model: Any) -> Mapping[str, Any]:
    """A conversation whose last turn is the answer."""
    found = SHAPES["conversations" if shape == "messages" else shape]({"conversations": turns, "conversation": turns})
    if found.answer is None:
        raise _NotAnAnswer(_("The conversation must end with the model's answer to somebody."))
    return {"prompt": {"messages": found.turns}, "text": found.answer, "model": model}


def _row(line: int, given: Mapping[str, Any]) -> AnswerRow:
    missing = [name for name in ("text", "model") if name not in given or given[name] is None]
    if missing:
        raise _NotAnAnswer(_("There is no %(missing)s here, only %(names)s.", missing=listed(missing), names=_names(given)))
    text = _checked("text", answer_text, given["text"])
    model = _checked("model", _model_name, given["model"])
    return AnswerRow(line, _prompt(line, given), text, model)


def _model_name(value: Any) -> str:
    name = plain_text(value, MAX_NAME).strip()
    if shows_nothing(name):
        raise _NotAnAnswer(_("The model has no name."))
    return name


def _checked(name: str, check: Callable[[Any], str], value: Any) -> str:
    try:
        return check(value)
    except Unusable as reason:
        raise _NotAnAnswer(_("%(name)s cannot be used: %(why)s", name=name, why=reason)) from None


def _prompt(line: int, given: Mapping[str, Any]) -> int | PromptRow:
    named = [name for name in ("prompt", "prompt_id", "messages") if name in given]
    if len(named) > 1:
        raise _NotAnAnswer(_("Give one of %(names)s, not several.", names=listed(named)))
    if not named:
        raise _NotAnAnswer(_("Give prompt, prompt_id or messages; there is only %(names)s.", names=_names(given)))
    value = given[named[0]]
    if named == ["prompt_id"]:
        digits = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if not (digits.isascii() and digits.isdigit() and 0 < int(digits[:20]) < 2**31):
            raise _NotAnAnswer(_("prompt_id must be the number of a prompt."))
        return int(digits)
    if named == ["messages"] or isinstance(value, list):
        value = {"messages": value}
    found = prompt_row(line, value)
    if isinstance(found, BadLine):
        raise _NotAnAnswer(_("The prompt cannot be used: %(why)s", why=found.why))
    return found


def _names(given: Mapping[str, Any]) -> str:
    shown = ("".join(sign if sign.isprintable() else "?" for sign in name[:40]) for name in list(given)[:5])
    return listed(f'"{name}"' for name in shown)
