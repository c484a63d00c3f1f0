"""Chat completions in OpenAI's words: what is asked of a model outside, and what is read of its reply.

An answer is made a text as ours are, so that nothing but what it says tells who wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainer.contract.messages import Message
from trainer.contract.texts import said

MOST_CHARACTERS: Final = 20_000  # of one answer, as of one that is brought in
LIMITS: Final = ("max_tokens", "max_completion_tokens")  # names of the length limit: the common one, and OpenAI's newer one
MOST_TOLD: Final = 300  # characters of what a refusal says


@dataclass(frozen=True, slots=True)
class Answer:
    """`prompt_tokens` and `answer_tokens` are what the other side counted; 0 where it did not say."""

    text: str
    finish_reason: str  # "eos" or "length"
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What an answer has grown by; the last one says how it ended: "eos" or "length"."""

    text: str
    finish_reason: str = ""


def question(
    messages: Sequence[Mapping[str, str]],
    *,
    model: str,
    temperature: float,
    most_tokens: int,
    limit: str = LIMITS[0],
    stream: bool = False,
) -> bytes:
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": one["role"], "content": one["content"]} for one in messages],
        "temperature": temperature,
        limit: most_tokens,
    }
    return json.dumps(asked | ({"stream": True} if stream else {})).encode("ascii")


def read_answer(reply: bytes) -> Answer:
    """Its first choice; a reply that is none of a chat has an answer without a text."""
    found = _object(reply)
    choice, content = _first_choice(found, "message")
    text = said(content.replace("\r\n", "\n")) if isinstance(content, str) else ""
    cut = choice.get("finish_reason") == "length" or len(text) > MOST_CHARACTERS
    usage = _usage(found)
    return Answer(said(text[:MOST_CHARACTERS]), "length" if cut else "eos", *usage)


def read_piece(line: bytes) -> Piece:
    """Of a streamed reply, a line of server-sent events. A line that says nothing is an empty piece."""
    choice, content = _first_choice(_object(line.removeprefix(b"data:")), "delta")
    ended = {None: "", "length": "length"}.get(choice.get("finish_reason"), "eos")
    return Piece(content if isinstance(content, str) else "", ended)


def wants_other_limit(limit: str, refusal: bytes) -> bool:
    """Whether a refusal says that the length limit has the newer name there."""
    return limit == LIMITS[0] and LIMITS[1].encode() in refusal


def why_refused(status: int, refusal: bytes, key: str | None) -> Message:
    """What a refusal says of itself, without the key, which some repeat."""
    error = _object(refusal).get("error")
    told = error.get("message") if isinstance(error, dict) else error
    words = " ".join(told.split()) if isinstance(told, str) else ""
    words = (words.replace(key, "…") if key else words)[:MOST_TOLD]
    return Message("model_outside_said", status=status, said=words) if words else Message("outside_status", status=status)


def _first_choice(found: Mapping[str, Any], holder: str) -> tuple[Mapping[str, Any], Any]:
    """The first choice of a reply, and the content of its message or its delta."""
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    held = choice.get(holder)
    return choice, held.get("content") if isinstance(held, dict) else None


def _usage(found: Mapping[str, Any]) -> tuple[int, int]:
    usage = found.get("usage")
    counted = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    prompt, answer = (one if type(one) is int and 0 <= one < 2**53 else 0 for one in counted)
    return prompt, answer


def _object(reply: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
