"""The forms of the pages about those who judge, as the browser sends them."""

from __future__ import annotations

from typing import Literal

from app.web.json_types import FormBody, Id, Line, Text

Verdict = Literal["", "first", "second", "tie", "both_bad", "1", "2", "3", "4", "5"]


class ExclusionForm(FormBody):
    reason: Line = ""


class GoldForm(FormBody):
    """`verdict`: what is right of the task; none: what all said of it."""

    task: Id
    verdict: Verdict = ""


class SharesForm(FormBody):
    repeat_share: Text
    gold_share: Text
    gold_pauses: bool = False
