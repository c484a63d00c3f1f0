"""What runs, rounds and checkpoints say, in the reader's language and with numbers as the reader writes them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from app.language import formats
from app.language.languages import N_, gettext, known
from trainer.contract.config import label_of
from trainer.contract.messages import Kind, Message, filled


def told(message: Message | None) -> str:
    """The message's sentence; nothing for none. What an earlier version stored, or a library said, is told as it was written."""
    return filled(message, known, _shown) if message else ""


def _shown(kind: Kind, value: Any) -> str:
    if kind == "setting":
        return known(label_of(value))
    if kind == "name":
        return retold(str(value))
    return formats.percent(value) if kind == "share" else formats.number(value)


SENTENCES: Final = (  # what PPO still says in English
    N_("Opening the models"),
    N_("Seeing how long answers are"),
    N_("numbers were not finite: back to update %(number)s at half the rate"),
    N_("score %(score)s, KL %(kl)s nats per answer, length %(length)s"),
    N_("all updates are done"),
    N_(
        "all updates are done, under a price that kept answers near the length they had: where your labels are about length, set "
        "length_control to off"
    ),
    N_("KL reached %(kl)s nats per answer, past the limit of %(limit)s: the policy before that is kept"),
    N_("entropy fell to %(entropy)s nats per token, under the floor of %(floor)s: the policy before that is kept"),
    N_(
        "since update %(best)s the overall score rose from %(score)s to %(risen)s while the judge, which learned from "
        "other labels, fell from %(judged)s to %(fallen)s: the policy of update %(kept)s is kept"
    ),
    N_(
        "answers came to %(ratio)s of the mean length they had, and a price on length did not bring them back: the last policy "
        "that kept its length is kept. Where the labels are about length, set length_control to off"
    ),
    N_("%(reason)s. That is the policy the run began with: nothing was learned that could be kept"),
    N_(
        "training left the finite numbers %(times)s times, each time from the last checkpoint at half the learning rate: set a "
        "lower learning_rate, and look at the reward model's scores"
    ),
    N_("The policy cannot be trained: %(error)s. Is the model it starts from whole?"),
    N_("The reward model cannot be used: %(error)s"),
)


def retold(text: str) -> str:
    """The sentence in the reader's language, its parts too; the text itself where nobody wrote that sentence here."""
    if not text:
        return text
    exact = known(text)
    if exact != text:
        return exact
    for sentence, pattern in _patterns():
        if found := pattern.fullmatch(text):
            return gettext(sentence, **{name: retold(value) for name, value in found.groupdict().items()})
    return text


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """The sentences with places to fill in, the ones with most words first."""
    found = [
        (sentence, re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+?)", re.escape(sentence)).replace("%%", "%"), re.DOTALL))
        for sentence in SENTENCES
        if "%(" in sentence
    ]
    return sorted(found, key=lambda pair: -len(pair[0]))
