"""The forms of the pages of adjudication, as the browser sends them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.web.json_types import FormBody, Id, Text

Words = Annotated[Text, Field(max_length=2000)]


class DoubtForm(FormBody):
    label: Id
    comment: Words = ""


class AnswerForm(FormBody):
    answer: Words = ""
