"""A conversation as token ids: by the model's own chat template, on a day that stands still, a person's words as text.

Knows a tokenizer; no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from functools import lru_cache, partial
from typing import Any

from transformers.utils.chat_template_utils import _compile_jinja_template

from trainer.contract.environment import MOST_CHARACTERS, MOST_MEGABYTES, MOST_SECONDS
from trainer.contract.folder import Refused
from trainer.contract.messages import Message
from trainer.lm.integrity.watchdog import RanAway, ended, watched

MOST_SAID = 300  # characters of what an error says
SAID = "zebra"  # what the assistant says in the conversation that shows how a template ends a turn


def templated_ids(tokenizer: Any, messages: Sequence[dict[str, str]], day: date) -> list[int]:
    """Ids up to where the model begins to answer, by the tokenizer's own template. Raises whatever the template raises, and
    RanAway where it does not come to an end.
    """
    _tamed(tokenizer).globals["strftime_now"] = datetime.combine(day, time()).strftime
    return list(
        tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True)
    )


def plain_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """The same for a model without a template: a line per turn. What the tokenizer puts before a text stays, such as a BOS;
    what it puts after one would end the text there.
    """
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    text = "\n".join([*lines, "Assistant:"])
    own = text_ids(tokenizer, text)
    with _read():
        whole = list(tokenizer(text, split_special_tokens=True)["input_ids"])
    before = next((at for at in range(len(whole) - len(own) + 1) if whole[at : at + len(own)] == own), 0)
    return whole[:before] + own


def text_ids(tokenizer: Any, text: str, prompt: int | str | None = None, *, control: bool = False) -> list[int]:
    """Ids of what a person wrote, nothing put around it; a control token's name in it is text like any other, or with `control`
    that token. Raises Refused, naming the `prompt` that it belongs to, where the tokenizer cannot read it.
    """
    as_text = {} if control else {"split_special_tokens": True}
    with _read(prompt):
        return list(tokenizer(text, add_special_tokens=False, **as_text)["input_ids"])


def turn_end(tokenizer: Any) -> int | None:
    """The first control token that the template writes after what an assistant said: the model ends its turns with it, whatever
    the metadata name. None where it writes none, or there is no template. Raises RanAway.
    """
    return _turn_end(tokenizer, tokenizer.chat_template)


@lru_cache(maxsize=4)
def _turn_end(tokenizer: Any, template: str | dict[str, str] | None) -> int | None:
    if template is None:
        return None
    conversation = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": SAID}]
    for messages in (conversation, [*conversation, conversation[0]]):  # some write the end only before what follows
        try:
            _tamed(tokenizer)
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception:  # a template may refuse any conversation, and says so when it is given a real one
            continue
        _, said, after = text.rpartition(SAID)
        ids = text_ids(tokenizer, after, control=True) if said else []
        end = next((token for at, token in enumerate(ids) if _is_control(tokenizer, token, at == 0)), None)
        if end is not None:
            return int(end)
    return None


def _tamed(tokenizer: Any) -> Any:
    """The tokenizer's template as transformers compiles it, once for each text, and from now on renders it: watched.

    Constant expressions are computed when it is compiled, so that is watched, too. transformers has an argument for neither,
    nor for the day that `strftime_now` says.
    """
    with _bounded():
        template = _compile_jinja_template(tokenizer.get_chat_template())
    template.render = partial(_render, template)
    return template


def _render(template: Any, **values: Any) -> str:
    pieces, characters = [], 0
    with _bounded():
        for piece in template.generate(**values):
            characters += len(piece)
            if characters > MOST_CHARACTERS:
                raise RanAway
            pieces.append(piece)
    return "".join(pieces)


def first_line(error: BaseException) -> str:
    """What an error says of itself, or else what it is."""
    return str(error).strip().partition("\n")[0][:MOST_SAID] or type(error).__name__


@contextmanager
def _read(prompt: int | str | None = None) -> Iterator[None]:
    """Turn whatever a tokenizer raises into one sentence. Libraries in Rust raise panics, which are no Exception."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, RanAway):
        raise
    except BaseException as error:
        if prompt is None:
            raise Refused(Message("text_not_read", error=first_line(error))) from error
        raise Refused(Message("text_of_prompt_not_read", prompt=prompt, error=first_line(error))) from error


@contextmanager
def _bounded() -> Iterator[None]:
    with ended(2 * MOST_SECONDS + 1), watched(MOST_SECONDS, MOST_MEGABYTES * 2**20):
        yield


def _is_control(tokenizer: Any, token: int, next_to_words: bool) -> bool:
    """Whether this is no text: marked as special, or added to the vocabulary and written right after the words."""
    added = tokenizer.added_tokens_decoder.get(token)
    if added is None:
        return token in tokenizer.all_special_ids
    return bool(added.special or (next_to_words and not added.content.isspace()))
