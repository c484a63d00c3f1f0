"""What a run leaves out of what it was given because its model can do nothing with it: one by one, counted and named.

Alike in every kind of run: the same figures in result.json, the same sentences for people. Whatever else there is, is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

from trainer.contract.messages import Message, as_json
from trainer.lm.backbone import Backbone, BackboneError, ConversationRefused, TemplateRanAway, chat_ids

MOST_NAMED: Final = 100  # in a result
MOST_SAID: Final = 10  # in a sentence
MOST_RUNAWAYS: Final = 3  # conversations with which a template does not end, each of which takes seconds

Name = int | str  # a prompt's id, or a row of a file that has none


class LeftOut:
    """Names of prompts by why they were left out, each with the reason of the first."""

    def __init__(self) -> None:
        self._runaways = 0
        self._names: dict[str, dict[Name, Message]] = {"refused": {}, "too_long": {}, "not_finite": {}}

    def __bool__(self) -> bool:
        return any(self._names.values())

    def chat_ids(self, backbone: Backbone, name: Name, messages: Sequence[dict[str, str]]) -> list[int] | None:
        """Token ids of a conversation as the model is asked it; None, and noted, where its chat template refuses it.

        Raises BackboneError where the template does not come to an end, again and again.
        """
        try:
            return chat_ids(backbone.tokenizer, messages, backbone.day)
        except ConversationRefused as error:
            self._runaways += isinstance(error, TemplateRanAway)
            if self._runaways >= MOST_RUNAWAYS:
                raise BackboneError(error.message) from None
            self._names["refused"][name] = error.message
            return None

    def too_long(self, name: Name, most: int) -> None:
        """Note a prompt of more than `most` tokens."""
        self._names["too_long"][name] = Message("prompt_too_long", tokens=most)

    def not_finite(self, name: Name) -> None:
        """Note a prompt with an answer for which the model's numbers are not finite."""
        self._names["not_finite"][name] = Message("answers_not_finite")

    def why(self, otherwise: Message) -> Message:
        """Why nothing is left: what the template says, or else what is given here."""
        return next(iter(self._names["refused"].values()), otherwise)

    @property
    def figures(self) -> dict[str, Any]:
        """For result.json: `refused_prompts`, `too_long_prompts`, `not_finite_prompts` where there are any, which, and why."""
        found: dict[str, Any] = {}
        for kind, names in self._names.items():
            if names:
                found[f"{kind}_prompts"] = len(names)
                found[f"{kind}_prompt_ids"] = list(names)[:MOST_NAMED]
                found[f"{kind}_because"] = as_json(next(iter(names.values())))
        return found

    def said(self) -> Message | None:
        """All of it, for people; None where there is nothing to say."""
        told = [_told(names) for names in self._names.values() if names]
        return reduce(_both, told) if told else None

    def after(self, reason: Message) -> Message:
        """Why a run ended, and then what it left out."""
        told = self.said()
        return reason if told is None else _both(reason, told)


def _told(names: Mapping[Name, Message]) -> Message:
    said = ", ".join(map(str, list(names)[:MOST_SAID])) + (", …" if len(names) > MOST_SAID else "")
    return Message("left_out", left_out=len(names), names=said, because=next(iter(names.values())))


def _both(first: Message, second: Message) -> Message:
    return Message("both", first=first, second=second)
