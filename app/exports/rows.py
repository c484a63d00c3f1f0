"""What one label becomes in each format: pure functions from a judged task to rows.

A column has the same type in every row and every file, because libraries take it from the first rows they see: no value is null,
no list is empty, an object always has the same keys. A number that nobody gave is 0 (scores, strengths and ids begin at 1), a
text that nobody wrote is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from app.exports import rankings
from app.exports.of_answers import (
    NO_RUBRIC,
    Reasons,
    Rubric,
    columns_of_answers,
    rubric_cell,
    rubric_column,
    span_columns,
)
from trainer.contract.offline_config import BAD_RATING, GOOD_RATING, TOP_RATING

Format = Literal["preference", "ratings", "rankings", "kto", "sft", "labels"]
FORMATS: tuple[Format, ...] = ("preference", "ratings", "rankings", "kto", "sft", "labels")
Row = dict[str, Any]
# Comparable between people: an answer's id, "tie" or "both_bad"; of a rating the number; of a ranking what it implies.
Verdict = str | int | rankings.Pairs | None
SCORES = ("1", "2", "3", "4", "5")
SOFT: dict[str, tuple[str, ...]] = {  # what the shares of each format are of, beside `n`
    "preference": ("chosen", "rejected", "tie", "both_bad"),
    "ratings": SCORES,
    "labels": ("left", "right", "tie", "both_bad", *SCORES),
}


class Answer(NamedTuple):
    generation_id: int
    checkpoint_id: int  # 0: none of ours wrote it
    text: str
    cut: bool  # by the limit on its length
    best_of: int  # of how many a reward model chose it; 1: it is as it was drawn


NO_ANSWER = Answer(0, 0, "", False, 0)  # where a rating's second would be


class Judged(NamedTuple):
    """One label with what it was about. A rating's only answer stands left."""

    label_id: int
    task_id: int
    annotator: str
    kind: str
    choice: str | None
    strength: int | None
    overall: int | None
    criteria: Mapping[str, Any]
    flags: Mapping[str, Sequence[str]]
    rubric: Mapping[str, Mapping[str, str | int]]
    spans: Mapping[str, Any] | None
    rewrite: Mapping[str, str] | None
    comment: str
    prompt_id: int
    external_id: str | None
    split: str
    extra: str  # as JSON
    messages: list[Any]
    left: Answer
    right: Answer | None
    created_at: datetime
    settled: bool  # a reviewer's verdict on what people differed on
    details: Row  # what only the format `labels` shows
    ranking: Row | None = None  # as the label has it
    ranked: Sequence[Answer] = ()  # a ranking's answers, as they were shown
    verdicts: Sequence[Verdict] = ()  # of all people on the task, this one among them unless it is a reviewer's

    def chosen_and_rejected(self) -> tuple[Answer, Answer]:
        if self.right is None or self.choice not in ("left", "right"):
            raise ValueError(f"label {self.label_id} prefers neither answer")
        return (self.left, self.right) if self.choice == "left" else (self.right, self.left)


def agreement(verdicts: Sequence[Verdict]) -> float:
    """The share of labels that give a task's most frequent verdict; one label agrees with itself."""
    return max(Counter(verdicts).values()) / len(verdicts)


def soft_label(judged: Judged, format: Format, answers: Mapping[str, int]) -> Row:
    """How many people judged the task, and the share of them that said each thing; `answers` are the ids of what was chosen from.

    0 where a thing is no answer to a task of this kind.
    """
    rating = judged.kind == "rating"
    meant: dict[str, Verdict] = {one: one for one in SOFT[format]} | dict(answers)
    meant = {name: (int(name) if name in SCORES else None) if rating else verdict for name, verdict in meant.items()}
    times, n = Counter(judged.verdicts), len(judged.verdicts)
    shares = {name: round(times[verdict] / n, 6) if n and verdict is not None else 0.0 for name, verdict in meant.items()}
    return {"n": n} | shares


def _right_id(judged: Judged) -> int:
    return judged.right.generation_id if judged.right is not None else 0


def rows_of(
    judged: Judged, format: Format, criteria: Sequence[str], rubric: Rubric = NO_RUBRIC, reasons: Reasons = ()
) -> Iterator[Row]:
    """The rows of one label in a format; `criteria` are the project's keys, which every rating row shows; so of the next two."""
    if format == "preference":
        yield from _preference(judged)
    elif format == "ratings":
        yield from _rating(judged, criteria, rubric, reasons)
    elif format == "rankings":
        yield from _ranking(judged)
    elif format == "kto":
        yield from _kto(judged)
    elif format == "sft":
        yield from _sft(judged)
    else:
        yield _label(judged, criteria, rubric, reasons)


def _preference(judged: Judged) -> Iterator[Row]:
    """A comparison that prefers an answer; of a ranking each two answers that it tells apart: `implied` of them in all."""
    if judged.choice in ("left", "right"):
        yield _preferred(judged, *judged.chosen_and_rejected(), implied=0)
    pairs = rankings.implied(judged.ranking, judged.ranked) if judged.ranking else []
    for chosen, rejected in pairs:
        yield _preferred(judged, chosen, rejected, implied=len(pairs))


def _preferred(judged: Judged, chosen: Answer, rejected: Answer, *, implied: int) -> Row:
    return {
        "prompt": judged.messages,
        "chosen": _said(chosen),
        "rejected": _said(rejected),
        **_origin(judged),
        "strength": judged.strength or 0,
        "soft_label": _soft_preference(judged, chosen.generation_id, rejected.generation_id),
        "implied": implied,
        "created_at": rfc3339(judged.created_at),
        "chosen_checkpoint": chosen.checkpoint_id,
        "rejected_checkpoint": rejected.checkpoint_id,
        "chosen_cut": chosen.cut,
        "rejected_cut": rejected.cut,
        "chosen_best_of": chosen.best_of,
        "rejected_best_of": rejected.best_of,
        **_source(judged),
    }


def _soft_preference(judged: Judged, chosen: int, rejected: int) -> Row:
    if judged.ranking is None:
        return soft_label(judged, "preference", {"chosen": chosen, "rejected": rejected})
    return rankings.shares(judged.verdicts, chosen, rejected)


def _ranking(judged: Judged) -> Iterator[Row]:
    if judged.ranking is None:
        return
    places, flags = rankings.places(judged.ranking), rankings.flagged(judged.ranking, judged.flags)
    yield {
        "prompt": judged.messages,
        "answers": [
            _shown(answer) | place | {"flags": ticked} for answer, place, ticked in zip(judged.ranked, places, flags, strict=True)
        ],
        "ranking": rankings.in_words(judged.ranking),
        "all_bad": judged.ranking["all_bad"],
        **_origin(judged),
        "created_at": rfc3339(judged.created_at),
        **_source(judged),
    }


def _rating(judged: Judged, criteria: Sequence[str], rubric: Rubric, reasons: Reasons) -> Iterator[Row]:
    if judged.kind != "rating":
        return
    yield {
        "prompt": judged.messages,
        "response": _said(judged.left),
        "overall": judged.overall,
        "criteria": {key: judged.criteria.get(key, 0) for key in criteria},
        **rubric_column(judged.rubric, rubric, ("response",)),
        **span_columns(judged.spans, reasons),
        "soft_label": soft_label(judged, "ratings", {}),
        **_origin(judged),
        "created_at": rfc3339(judged.created_at),
        "checkpoint": judged.left.checkpoint_id,
        "cut": judged.left.cut,
        "best_of": judged.left.best_of,
        **_source(judged),
    }


def _kto(judged: Judged) -> Iterator[Row]:
    for answer, desirable in _desirability(judged):
        yield {
            "prompt": judged.messages,
            "completion": _said(answer),
            "label": desirable,
            **_origin(judged),
            "created_at": rfc3339(judged.created_at),
            "checkpoint": answer.checkpoint_id,
            "cut": answer.cut,
            "best_of": answer.best_of,
            **_source(judged),
        }


def _desirability(judged: Judged) -> Iterator[tuple[Answer, bool]]:
    if judged.overall is not None:
        if judged.overall >= GOOD_RATING or judged.overall <= BAD_RATING:
            yield judged.left, judged.overall >= GOOD_RATING
    elif judged.choice in ("left", "right"):
        chosen, rejected = judged.chosen_and_rejected()
        yield chosen, True
        yield rejected, False
    elif judged.choice == "both_bad" and judged.right is not None:
        yield judged.left, False
        yield judged.right, False
    elif judged.ranking is not None:
        yield from rankings.desirability(judged.ranking, judged.ranked)


def _sft(judged: Judged) -> Iterator[Row]:
    if judged.rewrite is not None:
        text, source = judged.rewrite["text"], "rewrite"
    elif judged.overall == TOP_RATING:
        text, source = judged.left.text, "rating"
    else:
        return
    messages = [*judged.messages, {"role": "assistant", "content": text}]
    row: Row = {"messages": messages, "source": source, **_origin(judged)}
    yield row | {"created_at": rfc3339(judged.created_at)} | _source(judged)


def _label(judged: Judged, criteria: Sequence[str], rubric: Rubric, reasons: Reasons) -> Row:
    return {
        **_origin(judged),
        "kind": judged.kind,
        "choice": judged.choice or "",
        "strength": judged.strength or 0,
        "overall": judged.overall or 0,
        "ranking": rankings.in_words(judged.ranking) if judged.ranking else "",
        "ranked_ids": ", ".join(str(answer.generation_id) for answer in judged.ranked),
        "ranked_flags": _ranked_flags(judged),
        "criteria": {key: _criterion(judged.criteria.get(key)) for key in criteria},
        **rubric_column(judged.rubric, rubric, ("left", "right", "response")),
        **span_columns(judged.spans, reasons),
        "flags": {"left": _flags(judged, "left", "response"), "right": _flags(judged, "right")},
        "rewrite": dict(judged.rewrite or {"side": "", "text": ""}),
        "comment": judged.comment,
        "prompt": judged.messages,
        "left": _shown(judged.left),
        "right": _shown(judged.right or NO_ANSWER),
        **judged.details,
        "soft_label": soft_label(judged, "labels", {"left": judged.left.generation_id, "right": _right_id(judged)}),
        "created_at": rfc3339(judged.created_at),
        **_source(judged),
    }


def _criterion(value: str | int | None) -> Row:
    """A comparison chooses by a criterion, a rating scores it."""
    return {"choice": value if isinstance(value, str) else "", "score": value if isinstance(value, int) else 0}


def _flags(judged: Judged, *sides: str) -> str:
    return ", ".join(flag for side in sides for flag in judged.flags.get(side, ()))


def _ranked_flags(judged: Judged) -> str:
    """`3: unsafe, untrue; 4: hateful`, answers by number as they were shown."""
    if judged.ranking is None:
        return ""
    flags = rankings.flagged(judged.ranking, judged.flags)
    return "; ".join(f"{number}: {ticked}" for number, ticked in enumerate(flags, start=1) if ticked)


def _shown(answer: Answer) -> Row:
    return {
        "generation_id": answer.generation_id,
        "checkpoint": answer.checkpoint_id,
        "text": answer.text,
        "cut": answer.cut,
        "best_of": answer.best_of,
    }


def _said(answer: Answer) -> list[Row]:
    return [{"role": "assistant", "content": answer.text}]


def _origin(judged: Judged) -> Row:
    return {"label_id": judged.label_id, "task_id": judged.task_id, "annotator": judged.annotator}


def _source(judged: Judged) -> Row:
    """Which prompt it is, and all that its owner said of it: `extra` as JSON, since its keys are anybody's."""
    return {
        "prompt_id": judged.prompt_id,
        "external_id": judged.external_id or "",
        "split": judged.split,
        "extra": judged.extra,
    }


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# The same rows as cells


def columns_of(format: Format, criteria: Sequence[str], rubric: Rubric = NO_RUBRIC, reasons: Reasons = ()) -> list[str]:
    """The header of the CSV; `flat` fills exactly these."""
    origin, source = ["label_id", "task_id", "annotator"], ["prompt_id", "external_id", "split", "extra"]
    asks = columns_of_answers(rubric, reasons)
    if format == "preference":
        sides = [f"{side}_{part}" for part in ("checkpoint", "cut", "best_of") for side in ("chosen", "rejected")]
        return ["prompt", "chosen", "rejected", *origin, "strength", *_soft(format), "implied", "created_at", *sides, *source]
    if format == "ratings":
        asked = ["prompt", "response", "overall", *criteria, *asks, *_soft(format)]
        return [*asked, *origin, "created_at", "checkpoint", "cut", "best_of", *source]
    if format == "rankings":
        return ["prompt", "answers", "ranking", "all_bad", *origin, "created_at", *source]
    if format == "kto":
        return ["prompt", "completion", "label", *origin, "created_at", "checkpoint", "cut", "best_of", *source]
    if format == "sft":
        return ["prompt", "completion", "source", *origin, "created_at", *source]
    shown = [f"{side}_{part}" for side in ("left", "right") for part in ("text", "checkpoint", "generation_id", "cut", "best_of")]
    return [
        *(
            *origin,
            "version",
            "supersedes_label_id",
            "current",
            "withdrawn",
            "surplus",
            "overruled",
            "kind",
            "choice",
            "strength",
            "overall",
            "ranking",
            "ranked_ids",
            "ranked_flags",
        ),
        *("criteria", *asks, "flags", "rewrite_side", "rewrite_text", "comment", "prompt", *shown),
        *("purpose", "served_reason", "reward_checkpoint", "guideline_version", "interface_version"),
        *("wall_ms", "active_ms", "client_id", *_soft(format), "created_at", *source),
    ]


def _soft(format: Format) -> list[str]:
    return [f"soft_label_{name}" for name in ("n", *SOFT[format])]


def flat(row: Row) -> Row:
    """A row with conversations as readable text and objects as single cells, for CSV."""
    cells = dict(row)
    if "messages" in cells:
        *prompt, answer = cells.pop("messages")
        cells |= {"prompt": prompt, "completion": [answer]}
    if "soft_label" in cells:
        cells |= {f"soft_label_{name}": value for name, value in cells.pop("soft_label").items()}
    if "answers" in cells:
        cells["answers"] = "\n\n".join(f"{at}: {answer['text']}" for at, answer in enumerate(cells["answers"], start=1))
    if "rubric" in cells:
        cells["rubric"] = rubric_cell(cells["rubric"])
    for name in ("prompt", "chosen", "rejected", "response", "completion"):
        if name in cells:
            cells[name] = transcript(cells[name])
    if "kind" in cells:
        said = {key: item["choice"] or item["score"] for key, item in cells["criteria"].items()}
        cells["criteria"] = "; ".join(f"{key}: {value}" for key, value in said.items() if value)
        cells["flags"] = "; ".join(f"{side}: {flags}" for side, flags in cells["flags"].items() if flags)
        for name in ("left", "right", "rewrite"):
            cells |= {f"{name}_{part}": value for part, value in cells.pop(name).items()}
    elif "criteria" in cells:
        cells |= cells.pop("criteria")
    return cells


def transcript(messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation as a person reads it: one message as it is, several with who said them."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
