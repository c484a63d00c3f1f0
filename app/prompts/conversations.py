"""One item of an import made a prompt: the shapes in which conversations are published, and what is kept besides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from app.assignment.audiences import checked_skills, checked_tags, language_named
from app.errors import Invalid
from app.language.formats import listed, number
from app.language.languages import _
from app.models.values import Unusable
from app.prompts.service import BadLine, Message, PromptRow
from trainer.contract.texts import trimmed

MAX_MESSAGES = 64
MAX_CHARACTERS = 20_000  # of one conversation: far more than a small model can read
MAX_EXTERNAL_ID = 200
MAX_EXTRA = 4_000  # characters of JSON: what else an item says, kept for its owner
ROLES: Final = ("system", "user", "assistant")
EXTERNAL_ID: Final = "external_id"
LANGUAGE, TAGS, SKILLS = "language", "tags", "skills"
SPEAKERS: Final = {"human": "user", "gpt": "assistant", "bing": "assistant", "bard": "assistant", "chatgpt": "assistant"}

_SURROGATE = re.compile("[\ud800-\udfff]")


class _NotAPrompt(Exception):
    """Why one line is refused."""


def prompt_row(line: int, item: Any) -> PromptRow | BadLine:
    """The prompt of an item: a text, or an object in one of `SHAPES`; other keys are kept as they are, as far as they fit."""
    if isinstance(item, str):
        item = {"text": item}
    try:
        if not isinstance(item, dict):
            raise _NotAPrompt(_('This must be an object such as {"text": "..."} or {"messages": [...]}.'))
        given = {str(key): value for key, value in item.items() if value is not None}
        found = SHAPES[_shape(given)](given)
        others = {key: value for key, value in given.items() if key not in {*found.used, EXTERNAL_ID}}
        extra, left_out = _extra(others if found.answer is None else {**others, "answer": found.answer})
        return PromptRow(line, _conversation(found.turns), _external_id(given), extra, left_out, *_for_whom(given))
    except _NotAPrompt as reason:
        return BadLine(line, str(reason))


def checked_conversation(messages: list[dict[str, str]]) -> list[Message]:
    """A conversation written by hand, as an import would take it. Raises Invalid."""
    found = prompt_row(1, {"messages": messages})
    if isinstance(found, BadLine):
        raise Invalid(_("This is no prompt. Nothing was changed."), {"content": found.why})
    return found.messages


class Found(NamedTuple):
    """What a shape holds: the keys it uses, the turns up to the one to answer, and an answer that came along."""

    used: set[str]
    turns: Any
    answer: Any = None


def _text(given: Mapping[str, Any]) -> Found:
    return Found({"text"}, [{"role": "user", "content": given["text"]}])


def _prompt(given: Mapping[str, Any]) -> Found:
    """A text, or messages, as trainers of preferences read them."""
    prompt = given["prompt"]
    return Found({"prompt"}, prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}])


def _messages(given: Mapping[str, Any]) -> Found:
    return Found({"messages"}, given["messages"])


def _instruction(given: Mapping[str, Any]) -> Found:
    """Alpaca's: an instruction, and what it is about."""
    about = given.get("input", "")
    if not isinstance(about, str) or not isinstance(given["instruction"], str):
        raise _NotAPrompt(_("instruction and input must be text."))
    text = f"{given['instruction']}\n\n{trimmed(about)}" if about.strip() else given["instruction"]
    return Found({"instruction", "input"}, [{"role": "user", "content": text}])


def _conversations(name: str) -> Callable[[Mapping[str, Any]], Found]:
    """ShareGPT's: who said what, most often up to an answer, which is no part of the prompt."""

    def read(given: Mapping[str, Any]) -> Found:
        turns = given[name]
        if isinstance(turns, list):
            turns = [_turn(turn) for turn in turns]
            if len(turns) > 1 and isinstance(turns[-1], dict) and turns[-1].get("role") == "assistant":
                return Found({name}, turns[:-1], turns[-1].get("content"))
        return Found({name}, turns)

    return read


def _turn(turn: Any) -> Any:
    if isinstance(turn, dict) and turn.keys() >= {"from", "value"}:
        return {
            "role": SPEAKERS.get(turn["from"], turn["from"]) if isinstance(turn["from"], str) else "",
            "content": turn["value"],
        }
    return turn


SHAPES: Final[dict[str, Callable[[Mapping[str, Any]], Found]]] = {
    "text": _text,
    "prompt": _prompt,
    "messages": _messages,
    "instruction": _instruction,
    "conversations": _conversations("conversations"),
    "conversation": _conversations("conversation"),
}


def _shape(given: Mapping[str, Any]) -> str:
    found = [name for name in SHAPES if name in given]
    if len(found) == 1:
        return found[0]
    if found == ["text", "instruction"] and "output" in given:  # Alpaca's own files repeat all of it as one text
        return "instruction"
    if found:
        raise _NotAPrompt(_("Give one of %(names)s, not several.", names=listed(found)))
    if given.keys() - {EXTERNAL_ID}:
        names = listed(_quoted(name) for name in list(given)[:5])
        raise _NotAPrompt(_("Give either text or messages; there is only %(names)s.", names=names))
    raise _NotAPrompt(_("Give either text or messages."))


# What a conversation must be


def _conversation(raw: Any) -> list[Message]:
    if not isinstance(raw, list) or not raw:
        raise _NotAPrompt(_("messages must be a list with at least one message."))
    if len(raw) > MAX_MESSAGES:
        raise _NotAPrompt(_("This conversation has more than %(most)s messages.", most=MAX_MESSAGES))
    messages = [_message(place, message) for place, message in enumerate(raw, start=1)]
    if messages[-1]["role"] != "user":
        raise _NotAPrompt(_("The last message must be the user's: it is what the model answers."))
    if any(message["role"] == "system" for message in messages[1:]):
        raise _NotAPrompt(_("A system message can only come first."))
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(turns)):
        raise _NotAPrompt(_("User and assistant must take turns, and the user begins."))
    if sum(len(message["content"]) for message in messages) > MAX_CHARACTERS:
        raise _NotAPrompt(_("This is longer than %(longest)s characters.", longest=number(MAX_CHARACTERS)))
    return messages


def _message(place: int, message: Any) -> Message:
    said = {key: value for key, value in message.items() if value is not None} if isinstance(message, dict) else {}
    if said.keys() != {"role", "content"}:
        raise _NotAPrompt(_("Message %(number)s must have role and content and nothing else.", number=place))
    role, content = said["role"], said["content"]
    if not isinstance(role, str) or role not in ROLES:
        raise _NotAPrompt(_("Message %(number)s: the role must be one of %(roles)s.", number=place, roles=listed(ROLES)))
    if not isinstance(content, str):
        raise _NotAPrompt(_("Message %(number)s: the content must be text.", number=place))
    if not content.strip():
        raise _NotAPrompt(_("The text is empty."))
    _check_characters(content)
    return {"role": role, "content": trimmed(content)}


def _external_id(item: Mapping[str, Any]) -> str | None:
    value = item.get(EXTERNAL_ID)
    if value is None or value == "":  # as our own exports write it
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_EXTERNAL_ID:
        raise _NotAPrompt(_("external_id must be a text of at most %(most)s characters.", most=MAX_EXTERNAL_ID))
    _check_characters(value)
    return value


def _for_whom(item: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """Its language, tags and skills. What was called a language or tags and is none (a text, an object) stays beside the prompt
    alone: published sets use these words for other things, too. Skills are a condition, and are refused.
    """
    try:
        skills = checked_skills(item.get(SKILLS, ""))
    except Unusable as problem:
        raise _NotAPrompt(str(problem)) from None
    try:
        tags = checked_tags(item.get(TAGS, ""))
    except Unusable:
        tags = []
    return language_named(item.get(LANGUAGE)), tuple(tags), tuple(skills)


def _check_characters(text: str) -> None:
    if "\0" in text:
        raise _NotAPrompt(_("This holds a NUL character, which cannot be stored."))
    if _SURROGATE.search(text):
        raise _NotAPrompt(_("This holds half a character (a lone surrogate), which cannot be stored."))


def _extra(others: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What else the item says, and the names of what is too long to keep or cannot be stored."""
    kept: dict[str, Any] = {}
    left_out = []
    room = MAX_EXTRA
    for name, value in others.items():
        try:
            text = json.dumps({name: value}, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            text = "\0"
        if len(text) > room or "\0" in text or "\\u0000" in text or _SURROGATE.search(text):
            left_out.append(_quoted(name))
        else:
            kept[name] = value
            room -= len(text)
    return kept, tuple(left_out)


def _quoted(name: str) -> str:
    return '"' + "".join(character if character.isprintable() else "?" for character in name[:40]) + '"'
