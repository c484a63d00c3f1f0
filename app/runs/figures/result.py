"""What a run found, in words: each figure of its result with its label, in the order that matters, the others for experts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.language import formats
from app.language.languages import N_, _, known
from app.language.run_messages import told
from trainer.contract.messages import from_json


@dataclass(frozen=True)
class Figure:
    """One figure in words. `interval`: NAME_low and NAME_high beside it are its 95 % interval, and stand in its line."""

    label: str
    help: str = ""
    form: Literal["number", "share", "seconds"] = "number"
    interval: bool = False
    for_experts: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a page. `label` is empty for a figure that has none: `name`, as the run calls it, stands alone then."""

    name: str
    label: str
    help: str
    value: str


_LENGTH = N_("Tokens, mean over answers. A token is a piece of a word.")
_SCORE = N_("Mean over answers: 0 is the base model's, and 1 is one deviation of its answers.")
_JUDGED = N_("By a more cautious estimate than training sought: a second reward model's, where labels are kept for one.")
_LOSS = N_("Nats per token: how much each piece of the text surprises the model. Less is better.")
_LABEL_LOSS = N_("Less is better. DPO begins at 0.69, where it is undecided, and KTO at 0.5.")
_SURPRISE = N_("Nats: how unlikely the model held what people said. Less is better; a coin's guess is 0.69.")
_P_VALUE = N_("How often guesses would agree with people as often, with judgements of one prompt taken together.")

# Of every kind of run; those to read stand after its own.
EVERY_RUN: Final[dict[str, Figure]] = {
    "refused_prompts": Figure(N_("Prompts left out: the model refuses them"), N_("Its chat template cannot write them.")),
    "too_long_prompts": Figure(N_("Prompts left out: too long"), N_("They do not fit into what the model can read.")),
    "not_finite_prompts": Figure(N_("Prompts left out: the model's numbers break down")),
    "furthest_step": Figure(N_("Furthest step"), N_("Of all attempts at this run."), for_experts=True),
}

OUTSIDE: Final = "outside/"  # begins the names of figures of rewards outside of the model
NOTICES: Final = ("more_cut", "not_watched")

# By kind of run; in each, what answers the reader's first question stands first.
FIGURES: Final[dict[str, dict[str, Figure]]] = {
    "sample": {
        "generations": Figure(N_("Answers written")),
        "score": Figure(N_("Score of the reward model, the answers that were kept"), _SCORE),
        "mean_score": Figure(N_("Score of the reward model, all that were drawn"), N_("What single answers would have scored.")),
        "kl_nats_at_most": Figure(
            N_("Distance from single answers (KL), at most"),
            N_("Nats per answer, of choosing the best of n: log n - (n - 1) / n. Training that goes further should score more."),
        ),
        "tokens": Figure(N_("Tokens written"), N_("A token is a piece of a word."), for_experts=True),
        "seconds": Figure(N_("Time spent writing"), form="seconds", for_experts=True),
    },
    "ask": {
        "generations": Figure(N_("Answers written")),
        "unanswered_prompts": Figure(N_("Prompts that it did not answer")),
        "cost_usd": Figure(
            N_("Cost in US dollars"), N_("By the prices that the owner gave, of the tokens that the other side counted.")
        ),
        "prompt_tokens": Figure(N_("Tokens of prompts"), N_("As the other side counts them.")),
        "answer_tokens": Figure(
            N_("Tokens of answers"), N_("As the other side counts them; answers of no use are paid for, too.")
        ),
        "seconds": Figure(N_("Time spent asking"), form="seconds", for_experts=True),
    },
    "reward": {
        "accuracy": Figure(
            N_("Agrees with people on comparisons"),
            N_("On prompts it had not seen, where people preferred one answer. Guessing reaches 50%%."),
            "share",
            interval=True,
        ),
        "rating_accuracy": Figure(
            N_("Agrees with people on ratings"),
            N_("Which of two answers was rated higher, on prompts it had not seen. Guessing reaches 50%%."),
            "share",
            interval=True,
        ),
        "ceiling": Figure(
            N_("A perfect model would agree with them at most"),
            N_("With one person's verdict, on average, as people differ among themselves. No model can agree more often."),
            "share",
            interval=True,
        ),
        "agreement": Figure(N_("People agree with each other"), form="share", interval=True),
        "agreement_pairs": Figure(N_("Pairs of verdicts that rests on")),
        "labels": Figure(N_("Labels used")),
        "prompts": Figure(N_("Prompts they are about")),
        "comparisons": Figure(N_("Comparisons among them")),
        "decided": Figure(N_("Comparisons in which one answer was preferred")),
        "decided_prompts": Figure(N_("Prompts they are about"), for_experts=True),
        "ties": Figure(N_("Ties")),
        "both_bad": Figure(N_("Both bad")),
        "ratings": Figure(N_("Ratings among them")),
        "rating_pairs": Figure(N_("Pairs of ratings that differ"), N_("By one person, of two answers to the same prompt.")),
        "rating_prompts": Figure(N_("Prompts they are about"), for_experts=True),
        "rankings": Figure(N_("Rankings among them")),
        "ranking_pairs": Figure(N_("Pairs that rankings tell apart")),
        "ranking_accuracy": Figure(
            N_("Agrees with people on rankings"),
            N_("The share of an order's pairs that it has the same way round, on average, on prompts it had not seen."),
            "share",
        ),
        "earlier_tests": Figure(
            N_("Tests against guessing before this one"),
            N_("Since a reward model of the project last passed. Each makes the next one stricter."),
        ),
        "p_value": Figure(N_("p value against guessing, comparisons"), _P_VALUE, for_experts=True),
        "rating_p_value": Figure(N_("p value against guessing, ratings"), _P_VALUE, for_experts=True),
        "least_p_value": Figure(N_("Least p value that so many comparisons could give"), for_experts=True),
        "rating_least_p_value": Figure(N_("Least p value that so many ratings could give"), for_experts=True),
        "rewrites": Figure(N_("Rewrites"), N_("Each counts as preferred to the answer it improves.")),
        "skipped": Figure(N_("Labels that could not be used")),
        "judged_answers": Figure(N_("Answers that were judged")),
        "cut_answers": Figure(N_("Judged answers that the length limit cut")),
        "shortened_answers": Figure(N_("Answers of which only a part was read")),
        "flagged": Figure(N_("Answers with a flag that costs")),
        "judge_labels": Figure(N_("Labels kept for the judge"), N_("A second reward model learns from these alone.")),
        "judge_accuracy": Figure(N_("The judge, on labels it never saw"), form="share"),
        "length_correlation": Figure(
            N_("Correlation of reward with log length"), N_("Far from 0, it likes answers for being long or for being short.")
        ),
        "longer_wins": Figure(N_("The longer answer won"), form="share"),
        "shorter_accuracy": Figure(N_("Right where the shorter answer won"), form="share"),
        "shorter_decided": Figure(N_("Comparisons in which the shorter answer won")),
        "longer_accuracy": Figure(N_("Right where the longer answer won"), form="share"),
        "longer_decided": Figure(N_("Comparisons in which the longer answer won")),
        "rewrite_accuracy": Figure(N_("Right on rewrites"), form="share"),
        "nll": Figure(N_("Surprise at a verdict"), _SURPRISE, for_experts=True),
        "ranking_nll": Figure(
            N_("Surprise at a ranking"), N_("Nats: how unlikely the model held what people said."), for_experts=True
        ),
        "rating_nll": Figure(
            N_("Surprise at a rating"), N_("Nats: how unlikely the model held what people said."), for_experts=True
        ),
        "ece": Figure(
            N_("Calibration error"),
            N_("How far what it holds likely is from what happens, on average."),
            "share",
            for_experts=True,
        ),
        "temperature": Figure(
            N_("Temperature that calibrates it"),
            N_("Above 1 it is too sure of itself, below 1 not sure enough."),
            for_experts=True,
        ),
        "judge_correlation": Figure(N_("Correlation of judge and reward"), for_experts=True),
        "nll_without_reliability": Figure(N_("Surprise taking everyone at their word"), _SURPRISE, for_experts=True),
        "nll_with_reliability": Figure(N_("Surprise weighing annotators by reliability"), _SURPRISE, for_experts=True),
        "accuracy_without_reliability": Figure(N_("Right taking everyone at their word"), form="share", for_experts=True),
        "accuracy_with_reliability": Figure(N_("Right weighing annotators by reliability"), form="share", for_experts=True),
        "people_weighed": Figure(N_("People whose reliability was weighed"), for_experts=True),
        "people_counting_less": Figure(
            N_("People who count less"), N_("A verdict of theirs says less than half of what a sure one does."), for_experts=True
        ),
        "people_turned_round": Figure(
            N_("People who mean the opposite"), N_("Their verdicts are taken the other way round."), for_experts=True
        ),
        "taste_p_value": Figure(
            N_("Chance that tastes are one"),
            N_(
                "How often people who are all alike would seem to differ so much. Tastes are told apart to try it at 0.1 or less."
            ),
            for_experts=True,
        ),
        "taste_gain": Figure(
            N_("Surprise saved by telling tastes apart"),
            N_("Nats a verdict. Kept where it is surely above 0."),
            interval=True,
            for_experts=True,
        ),
        "nll_without_taste": Figure(N_("Surprise with one taste for all"), _SURPRISE, for_experts=True),
        "nll_with_taste": Figure(N_("Surprise telling tastes apart"), _SURPRISE, for_experts=True),
        "accuracy_without_taste": Figure(N_("Right with one taste for all"), form="share", for_experts=True),
        "accuracy_with_taste": Figure(N_("Right telling tastes apart"), form="share", for_experts=True),
        "taste_larger": Figure(N_("People in the larger group of taste"), for_experts=True),
        "taste_smaller": Figure(N_("People in the smaller group of taste"), for_experts=True),
        "adapter_accuracy": Figure(
            N_("Right with adapters"), N_("Layers trained on top of the base model."), "share", for_experts=True
        ),
        "head_accuracy": Figure(
            N_("Right without adapters"), N_("What is read off the base model as it is."), "share", for_experts=True
        ),
        "compared_on": Figure(N_("Judgements the two were compared on"), for_experts=True),
        "panel_mean": Figure(
            N_("Reward of the base's answers, mean"), N_("Scores are moved so that this is 0."), for_experts=True
        ),
        "panel_deviation": Figure(
            N_("Reward of the base's answers, deviation"), N_("Scores are stretched so that this is 1."), for_experts=True
        ),
        "fit_s": Figure(N_("Time spent fitting"), form="seconds", for_experts=True),
        "seconds": Figure(N_("Time in all"), form="seconds", for_experts=True),
    },
    "ppo": {
        "heldout_gain": Figure(
            N_("Gain on held-out prompts"),
            N_("Mean score of the answers to them, less that of the first answers to the same prompts."),
        ),
        "heldout_gain_at_least": Figure(
            N_("Gain on held-out prompts, at least"), N_("What the labels are sure of, where some of their prompts are left out.")
        ),
        "judged_before": Figure(N_("Score by the judge, before"), _JUDGED),
        "judged": Figure(N_("Score by the judge, after")),
        "score_before": Figure(N_("Score of the reward model, before"), _SCORE),
        "score": Figure(N_("Score of the reward model, after"), N_("The policy was trained for this, so it says least.")),
        "length_before": Figure(N_("Length of answers, before"), _LENGTH),
        "length": Figure(N_("Length of answers, after")),
        "truncated_before": Figure(N_("Answers cut at the longest length, before"), form="share"),
        "truncated": Figure(N_("Answers cut at the longest length, after"), form="share"),
        "kl_nats_per_answer": Figure(
            N_("Distance from the reference (KL)"),
            N_("Nats per answer: how much more likely its answers are to itself than to the reference. Further is riskier."),
        ),
        "taken_back": Figure(
            N_("Steps back"),
            N_("How often the policy had moved too far, and was mixed with the one that the round began with."),
            for_experts=True,
        ),
        "demonstrations": Figure(N_("Demonstrations"), N_("Rewrites whose words it learned from beside.")),
        "cut_demonstrations": Figure(N_("Demonstrations without an end: too long"), for_experts=True),
        "updates": Figure(N_("Updates that the policy kept"), N_("In each it answers prompts and learns from their scores.")),
        "entropy": Figure(
            N_("Entropy"),
            N_("Nats per token: how open each next piece is. A fall means that it repeats itself."),
            for_experts=True,
        ),
        "beta": Figure(N_("Weight of the KL penalty"), N_("Beta: what a nat of distance costs of the score."), for_experts=True),
        "rollbacks": Figure(
            N_("Returns to an earlier state"),
            N_("After figures that were no finite numbers, at half the rate."),
            for_experts=True,
        ),
    },
    "preference": {
        "preferred_accuracy": Figure(
            N_("Sides with people"),
            N_(
                "On prompts it had not seen: how often training moved it towards the preferred answer. Guessing reaches 50%%. "
                "The same labels chose the step that is kept, so it is a little too good."
            ),
            "share",
            interval=True,
        ),
        "kl_nats_per_answer": Figure(
            N_("Distance from the reference (KL)"),
            N_("Nats per answer: how much more likely its answers are to itself than to the reference. Further is riskier."),
        ),
        "length_before": Figure(N_("Length of answers, before"), _LENGTH),
        "length": Figure(N_("Length of answers, after")),
        "labels": Figure(N_("Labels used")),
        "prompts": Figure(N_("Prompts they are about")),
        "rewrites": Figure(N_("Rewrites"), N_("Each counts as preferred to the answer it improves.")),
        "demonstrations": Figure(N_("Demonstrations"), N_("Rewrites whose words it learned from beside.")),
        "cut_demonstrations": Figure(N_("Demonstrations without an end: too long"), for_experts=True),
        "heldout_loss_before": Figure(N_("Loss on held-out labels, before"), _LABEL_LOSS, for_experts=True),
        "heldout_loss": Figure(N_("Loss on held-out labels, after"), for_experts=True),
        "examples": Figure(
            N_("Examples it learned from"), N_("Comparisons for DPO, answers judged one by one for KTO."), for_experts=True
        ),
        "heldout_examples": Figure(N_("Examples held out"), for_experts=True),
        "kept_step": Figure(
            N_("Step that was kept"), N_("Of those looked at, the one with the least loss on held-out labels."), for_experts=True
        ),
        "steps": Figure(N_("Steps taken"), for_experts=True),
        "entropy": Figure(
            N_("Entropy"),
            N_("Nats per token: how open each next piece is. A fall means that it repeats itself."),
            for_experts=True,
        ),
    },
    "sft": {
        "heldout_loss_before": Figure(N_("Loss on held-out text, before"), _LOSS),
        "heldout_loss": Figure(N_("Loss on held-out text, after")),
        "train_loss": Figure(N_("Loss on the text"), _LOSS),
        "documents": Figure(N_("Texts it learned from")),
        "heldout_documents": Figure(N_("Texts held out")),
        "kept_step": Figure(N_("Step that was kept"), N_("The one with the least loss on held-out text.")),
        "steps": Figure(N_("Steps taken")),
        "tokens": Figure(N_("Tokens it learned from"), N_("A token is a piece of a word."), for_experts=True),
        "sequences": Figure(N_("Pieces the texts were cut into"), for_experts=True),
        "cut_sequences": Figure(N_("Pieces without an end: too long"), for_experts=True),
        "rows": Figure(N_("Rows the pieces were packed into"), for_experts=True),
    },
}


def notices_of(result: Mapping[str, Any]) -> list[str]:
    """What a run says of itself, in words, beside how it ended."""
    return [told(from_json(result[name])) for name in NOTICES if result.get(name)]


def figures_of(kind: str, result: Mapping[str, Any]) -> tuple[list[Line], list[Line]]:
    """The numbers of a run's result: those to read, in the order that matters, and those for experts, unknown ones last."""
    named = FIGURES[kind] | EVERY_RUN
    numbers = {name: value for name, value in result.items() if _is_number(value)}
    ends = {f"{name}_{end}" for name, figure in named.items() if figure.interval and name in numbers for end in ("low", "high")}
    plain = [_line(name, one, result) for name, one in named.items() if name in numbers and not one.for_experts]
    experts = [_line(name, one, result) for name, one in named.items() if name in numbers and one.for_experts]
    outside = [_outside_line(name, value) for name, value in numbers.items() if name.startswith(OUTSIDE)]
    plain += outside
    ends |= {line.name for line in outside}
    unknown = [name for name in numbers if name not in named and name not in ends]
    return plain, experts + [Line(name, "", "", formats.number(numbers[name])) for name in unknown]


def _outside_line(name: str, value: Any) -> Line:
    """Of a reward outside of the model, whose name somebody else gave it."""
    reward, _slash, when = name.removeprefix(OUTSIDE).partition("/")
    label = _("Outside reward %(name)s, before", name=reward) if when else _("Outside reward %(name)s, after", name=reward)
    return Line(name, label, _("Mean over answers, in its own unit."), formats.number(value))


def _line(name: str, figure: Figure, result: Mapping[str, Any]) -> Line:
    value = _said(figure, result[name])
    low, high = result.get(f"{name}_low"), result.get(f"{name}_high")
    if figure.interval and _is_number(low) and _is_number(high):
        value = _("%(value)s (95%% interval %(low)s to %(high)s)", value=value, low=_said(figure, low), high=_said(figure, high))
    return Line(name, known(figure.label), known(figure.help) % {} if figure.help else "", value)


def _said(figure: Figure, value: Any) -> str:
    says: dict[str, Callable[[Any], str]] = {"number": formats.number, "share": formats.percent, "seconds": formats.duration}
    return says[figure.form](value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
