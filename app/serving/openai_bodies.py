"""Chat completions as OpenAI's clients ask for and read them. What is not done here is refused, unless it asks for nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import Invalid
from app.language.languages import _
from app.prompts.conversations import prompt_row
from app.prompts.service import BadLine
from app.serving.bodies import seeds
from app.serving.warm_process import Answer
from app.web.json_types import Body, Line, Text
from trainer.contract.serving.questions import LARGEST_SEED, MOST_ANSWERS, MOST_TOKENS, Models, Turn, Writing

LONGEST_BY_ITSELF: Final = 512  # tokens of an answer where nobody says how long it may be
FINISH: Final = {"eos": "stop", "length": "length", "": None}
# What asks for nothing, and so may be said: of every other value the name is told.
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
}
NOTED_BY_NOBODY: Final = ("user", "metadata", "safety_identifier", "prompt_cache_key")  # about the caller, not about the answer


class PartIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Text


class MessageIn(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[PartIn]
    name: Line | None = None


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


class CompletionIn(BaseModel):
    """Fields that are not named are looked at by name: see `NEUTRAL`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: Line
    messages: list[MessageIn] = Field(min_length=1, max_length=100)
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None  # the answers are kept, so that feedback may name them

    def asked_of(self, models: Models) -> Writing:
        """Raises Invalid for what cannot be done."""
        _refuse_what_is_not_done(self.model_extra or {})
        return Writing(
            models,
            conversation_of(self.messages),
            self.max_completion_tokens or self.max_tokens or LONGEST_BY_ITSELF,
            1.0 if self.temperature is None else self.temperature,
            self.top_p or 1.0,
            seeds(self.seed, self.n or 1),
        )


def _refuse_what_is_not_done(others: Mapping[str, Any]) -> None:
    for name, value in others.items():
        if value is None or name in NOTED_BY_NOBODY or any(value == one for one in NEUTRAL.get(name, ())):
            continue
        known = name if name in NEUTRAL else _("a parameter that is not known here")
        raise Invalid(_("This is not done here: %(name)s.", name=known), {name: _("not supported")} if name in NEUTRAL else {})


def conversation_of(messages: Sequence[MessageIn]) -> list[Turn]:
    """As models read it. Raises Invalid."""
    turns = [{"role": "system" if one.role == "developer" else one.role, "content": _text(one.content)} for one in messages]
    found = prompt_row(1, {"messages": turns})
    if isinstance(found, BadLine):
        raise Invalid(_("This conversation cannot be answered."), {"messages": found.why})
    return [Turn(role=message["role"], content=message["content"]) for message in found.messages]


def _text(content: str | Sequence[PartIn]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


# Replies


@dataclass(frozen=True)
class Completion:
    """What all pieces of a reply share."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, prompt_tokens: int, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": None,
                "finish_reason": FINISH[answer.finish_reason],
            }
            for index, answer in enumerate(answers)
        ]
        usage = usage_of(prompt_tokens, sum(answer.tokens for answer in answers))
        return self._head("chat.completion") | {"choices": choices, "usage": usage}

    def chunk(self, index: int, delta: Mapping[str, str], finish_reason: str = "") -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": FINISH[finish_reason]}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def last_chunk(self, prompt_tokens: int, tokens: int) -> dict[str, Any]:
        """What the whole took, for whoever asked for that."""
        return self._head("chat.completion.chunk") | {"choices": [], "usage": usage_of(prompt_tokens, tokens)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage_of(prompt_tokens: int, tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}
