"""What people said of single answers beside their verdict, as columns of a row: the rubric's questions, and marks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.labels.answers.spans import REASONS, told

Row = dict[str, Any]
Rubric = Mapping[str, Sequence[str]]  # the keys of a project's questions, each with its words in every version
NO_RUBRIC: Rubric = MappingProxyType({})
Reasons = Sequence[Mapping[str, Any]]  # for marks, as the project has them


def columns_of_answers(rubric: Rubric, reasons: Reasons) -> list[str]:
    return [*(["rubric"] if rubric else ()), *(["span_reasons", "spans"] if reasons else ())]


def rubric_column(answers: Mapping[str, Mapping[str, str | int]], rubric: Rubric, sides: Sequence[str]) -> Row:
    """Each question in the words that were answered, and what was said of each side; no column where nothing is ever asked."""
    if not rubric:
        return {}
    return {"rubric": {key: _answered(answers.get(key, {}), words, sides) for key, words in rubric.items()}}


def _answered(said: Mapping[str, str | int], wordings: Sequence[str], sides: Sequence[str]) -> Row:
    question = wordings[int(said["version"]) - 1] if said else ""
    return {"question": question} | {side: said.get(side, "") for side in sides}


def rubric_cell(rubric: Mapping[str, Row]) -> str:
    return "; ".join(_in_words(key, said) for key, said in rubric.items() if said["question"])


def _in_words(key: str, said: Row) -> str:
    """`sourced: left yes, right cannot_say`"""
    parts = (value if side == "response" else f"{side} {value}" for side, value in said.items() if side != "question" and value)
    return f"{key}: {', '.join(parts)}"


def span_columns(spans: Mapping[str, Any] | None, reasons: Reasons) -> Row:
    """The reasons that could be given, and the marks as a JSON list, so that the column has one type in every file.

    Both are empty where nobody was asked to mark; there is no column where nobody ever is.
    """
    if not reasons:
        return {}
    offered: Mapping[str, int] = (spans or {}).get(REASONS, {})
    marks = [{"side": one.side, **one.span, "words": one.words} for one in told(spans, reasons)]
    return {"span_reasons": ", ".join(offered), "spans": json.dumps(marks, ensure_ascii=False) if offered else ""}
