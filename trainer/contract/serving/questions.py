"""What the warm process is asked, and how much of it.

`POST /writing` and `POST /scores` take a `Writing` and a `Scoring` as JSON. Writing is answered by lines of JSON:
{"prompt_tokens": 17}, then {"index": 0, "text": "..."} as each answer grows, the last of each with {"finish_reason":
"eos"|"length", "tokens": 12, "token_ids": [...]}. Scoring is answered by one line, {"scores": [{"score", "deviation",
"shortened"}]}. Whatever is refused is a message, {"code", "arguments"}: with 422 for what was asked, with 503 where too many
ask; once a reply has begun a line {"refused": message, "later": bool}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_WAITING: Final = 32  # requests that wait, beside those that are answered; one more is refused
MOST_TOKENS: Final = 1024  # of an answer
MOST_PROMPT_TOKENS: Final = 4096
MOST_ANSWERS: Final = 8  # to one conversation
LARGEST_SEED: Final = 2**31 - 1
MOST_TEXTS: Final = 64  # that are scored together
MOST_ROOM: Final = 8_192  # tokens of all answers that are written together and of their prompts: their keys and values are kept


Turn = dict[str, str]  # one message of a conversation: {"role": ..., "content": ...}


@dataclass(frozen=True)
class Models:
    """Which policy is asked, and which reward judges it: specs as the trainer opens them, or paths within the data folder."""

    policy: str
    reward: str  # empty: none
    day: str  # that chat templates write: the project's, as in its runs


@dataclass(frozen=True)
class Writing:
    """Answers to be written: one for each seed, each as if it were alone."""

    models: Models
    messages: list[Turn]
    max_tokens: int
    temperature: float  # 0 takes the likeliest
    top_p: float  # 1 leaves nothing out
    seeds: list[int]


@dataclass(frozen=True)
class Scoring:
    """Texts to be scored as answers to a conversation."""

    models: Models
    messages: list[Turn]
    texts: list[str]
