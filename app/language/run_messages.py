"""Stored sentences in the reader's language: what runs, rounds and checkpoints say was written in English, by processes
that have no reader, and is kept as it was said. A sentence that is not listed here is shown as it was written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from app.language.languages import N_, gettext, known

SENTENCES: Final = (
    # names of checkpoints
    N_("Base model"),
    N_("Policy of round %(number)s"),
    N_("Reward model of round %(number)s"),
    N_("Policy of run %(number)s"),
    N_("Reward model of run %(number)s"),
    # what a run is doing
    N_("Waiting for the worker"),
    N_("Waiting for the worker to go on"),
    N_("Starting"),
    N_("Stopping"),
    N_("Opening the model"),
    N_("Opening the models"),
    N_("Seeing how long answers are"),
    N_("Writing answers"),
    N_("Reading the text"),
    N_("read %(done)s of %(total)s answers"),
    N_("fitted without fold %(number)s of %(folds)s"),
    N_("adapters %(on)s, loss %(loss)s"),
    N_("without fold 1"),
    N_("on all labels"),
    N_("Training: loss %(loss)s nats per token"),
    N_("numbers were not finite: back to update %(number)s at half the rate"),
    N_("score %(score)s, KL %(kl)s nats per answer, length %(length)s"),
    # how it ended
    N_("Done"),
    N_("Trained"),
    N_("Cancelled"),
    N_("Cancelled."),
    N_("Cancelled before it started"),
    N_("It was refused."),
    N_("all updates are done"),
    N_(
        "all updates are done, under a price that kept answers near the length they had: where your labels are about length, set "
        "length_control to off"
    ),
    # why PPO stopped
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
    # whether a reward model may be used
    N_(
        "The reward model may be used: it agrees with people on %(accuracy)s of %(what)s (95 %% interval %(low)s to %(high)s), "
        "better than chance."
    ),
    N_(
        "The reward model is not used: it agrees with people on %(accuracy)s of %(what)s (95 %% interval %(low)s to %(high)s), "
        "which chance could also reach. More labels, or more consistent ones, are needed."
    ),
    N_("%(count)s held-out comparisons"),
    N_("%(count)s pairs of held-out ratings"),
    N_(
        "there are too few judgements to tell: %(comparisons)s comparisons with a preferred side and %(ratings)s pairs of "
        "differing ratings; %(needed)s of either are needed"
    ),
    N_("The run was cancelled. Its state is saved; starting it again goes on from there."),
    N_("The worker died three times while it did this run."),
    N_("There are no prompts to answer. Import prompts first."),
    N_("The loss is no longer a number. A lower learning rate may help."),
    N_("There is no prompt of at most %(tokens)s tokens to practise on. Import shorter ones."),
    N_("There are %(usable)s usable labels; a reward run needs at least %(needed)s. %(missing)s more and it can start."),
    N_(
        "All labels are about %(prompts)s prompts; at least %(needed)s are needed, "
        "because accuracy is measured on prompts that were held out."
    ),
    # how a round ended
    N_("Its %(kind)s run was cancelled."),
    N_("The PPO run left no checkpoint."),
    N_("No training against this reward model: %(reason)s"),
    N_("The round could not go on after its %(kind)s run: %(reason)s"),
    N_("the reward model does not predict held-out verdicts better than chance"),
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
