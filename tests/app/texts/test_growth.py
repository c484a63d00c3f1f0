"""One text must not stop the house: whatever reads what people and models write takes time that grows with the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import Engine, select
from starlette.datastructures import FormData

from app.database.engine import read_session, write_session
from app.database.searching import says
from app.exports.csv_text import csv_lines
from app.exports.rows import Answer, Format, Judged, columns_of, flat, rows_of
from app.labels.forms import verdict_of
from app.labels.verdict import Rewrite, Verdict
from app.models import Project, Prompt
from app.models.values import name_digest, plain_text
from app.prompts.conversations import checked_conversation, prompt_row
from app.prompts.file_formats import guess_format
from app.prompts.importers import FORMATS as UPLOADS
from app.prompts.importers import read_upload
from app.prompts.service import prompt_digest
from app.texts.composed import composed
from app.texts.diff import changed_lines, unified
from app.texts.highlighting import LANGUAGES, LONGEST_CODE, LONGEST_LINE
from app.texts.safe_html import LONGEST_ANSWER, LONGEST_MARKDOWN, as_written, begin_page, render_markdown, shown, shown_alike
from app.texts.spreadsheet_cells import original_cell, plain_cell
from app.web.forms import edit_of, seen_of
from app.web.json_types import json_dumps
from tests.app import factories
from tests.app.conftest import Cast
from tests.growth import BEFORE, PIECES, grows_too_fast, took_s

# Whatever it holds, one text keeps the program busy no longer; a page shows two or three.
LONGEST_S: Final = 0.4


def messages_of(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def exported(text: str, format: Format) -> tuple[bytes, str]:
    """A label about this text, by somebody who wrote it everywhere they could, as the lines of both kinds of file."""
    answer = Answer(1, 1, text, False, 1)
    kind, choice, overall = ("rating", None, 5) if format in ("ratings", "sft") else ("comparison", "left", None)
    said: dict[str, Any] = {"strength": 1, "overall": overall, "criteria": {}, "flags": {}, "rewrite": None, "comment": text}
    about: dict[str, Any] = {
        "external_id": text,
        "split": "train",
        "extra": json_dumps({"why": text}),
        "messages": messages_of(text),
    }
    when = datetime(2026, 1, 1, tzinfo=UTC)
    judged = Judged(
        1, 1, "annotator-1", kind, choice, prompt_id=1, left=answer, right=answer, created_at=when, details={}, **said, **about
    )
    rows = list(rows_of(judged, format, ()))
    header = columns_of(format, ())
    return b"".join(map(orjson.dumps, rows)), csv_lines([flat(row).get(name) for name in header] for row in rows)


READERS: Final[dict[str, Callable[[str], Any]]] = {
    "as written": as_written,
    "shown as written": lambda text: shown(text, "written"),
    "what is too long for Markdown": lambda text: shown(5 * text, "markdown"),
    "guidelines that are too long": lambda text: render_markdown.__wrapped__(5 * text),
    "differences": lambda text: changed_lines(text, text[1:] + "x"),
    "differences of a line": lambda text: changed_lines("x\n" + text, text),
    "differences for programs": lambda text: unified.__wrapped__("x\n" + text, text, ("a", "b")),
    "a spreadsheet's cell": plain_cell,
    "a cell given back": original_cell,
    "composed": composed,
    **{f"an upload of {kind}": partial(lambda kind, text: read_upload(text.encode(), kind), kind) for kind in (None, *UPLOADS)},
    "a table": lambda text: read_upload(f"text,b\n{text}".encode(), "csv"),
    "a document": lambda text: read_upload(json_dumps([{"text": text, "why": text}]).encode(), "jsonl"),
    "the format of an upload": guess_format,
    "a prompt": lambda text: prompt_row(1, {"text": text, "why": text, "external_id": text}),
    "a prompt of Alpaca's": lambda text: prompt_row(1, {"instruction": text, "input": text}),
    "a prompt changed by hand": lambda text: checked_conversation(messages_of(text)),
    "a prompt's digest": lambda text: prompt_digest(messages_of(text)),
    "a form": lambda text: edit_of({"a": text, "seen": text}, {"a": text, "seen": seen_of({"a": text})}),
    "a verdict's form": lambda text: verdict_of(FormData([("choice", "left"), ("rewrite.left", text), ("comment", text)])),
    "a verdict's digest": lambda text: Verdict("id", rewrite=Rewrite("left", text), comment=text).digest(1, 1),
    "a value": lambda text: plain_text(text, len(text)),
    "a name": name_digest,
    **{f"an export of {format}": partial(exported, format=format) for format in ("labels", "preference", "sft")},
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("pieces", [PIECES[::2], pytest.param(PIECES[1::2], marks=pytest.mark.nightly)], ids=["some", "others"])
def test_twice_the_text_takes_at_most_two_and_a_half_times_as_long(name: str, pieces: Sequence[str]) -> None:
    assert not grows_too_fast(READERS[name], pieces=pieces)


@pytest.mark.nightly
@pytest.mark.parametrize("name", READERS)
def test_so_it_does_inside_of_json(name: str) -> None:
    assert not grows_too_fast(READERS[name], before=BEFORE[1:])


def test_the_measure_sees_a_look_ahead_across_lines() -> None:
    looks_ahead = re.compile(r"(^|\n)(?=\s*=)")  # as the CSV export once had: 39 s for fifty thousand line ends
    found = grows_too_fast(lambda text: looks_ahead.sub("'", text), characters=2_000, pieces=("\n", "a", "= "), before=BEFORE)
    assert found
    assert all("'\\n' again and again" in one for one in found)


def test_searching_a_prompt_takes_time_that_grows_with_it(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        prompt_id = factories.make_prompt(session, project.id).id

    def search(text: str) -> None:
        with write_session(engine) as session:
            session.get_one(Prompt, prompt_id).messages = messages_of(text)
        with read_session(engine) as session:
            begin = text[:99] + "x"
            session.scalars(select(Prompt.id).where(says(Prompt.messages, begin))).all()

    assert not grows_too_fast(search, pieces=PIECES[::3])


def longest(piece: str, characters: int) -> str:
    return (piece * (characters // len(piece) + 1))[:characters]


@pytest.mark.parametrize("characters", [599, 1_199, 20_000])
def test_differences_take_no_time_whatever_is_compared(characters: int) -> None:
    for piece in PIECES:
        text = longest(piece, characters)
        for other in (text[1:] + "x", longest("x" + piece, characters)):
            changed_lines.cache_clear()
            assert took_s(partial(changed_lines, text), other) < LONGEST_S, piece


AT_NIGHT = sorted({"c", "csharp", "diff", "java", "kotlin", "swift"} & LANGUAGES)
TRIED = ["", "python", *(pytest.param(one, marks=pytest.mark.nightly) for one in AT_NIGHT)]


@pytest.mark.parametrize("language", TRIED)
def test_code_takes_no_time_whatever_it_is(language: str) -> None:
    for piece in PIECES:
        line = longest(piece, LONGEST_LINE - 1) + "\n"
        code = f"```{language}\n{longest(piece if piece == chr(10) else line, LONGEST_CODE)}\n```\n"
        for read, most in ((partial(shown, display="markdown"), LONGEST_ANSWER), (render_markdown, LONGEST_MARKDOWN)):
            assert took_s(read, longest(code, most)) < LONGEST_S, piece


@pytest.mark.parametrize("pieces", [PIECES[::2], pytest.param(PIECES[1::2], marks=pytest.mark.nightly)], ids=["some", "others"])
def test_markdown_takes_no_time_whatever_it_is(pieces: Sequence[str]) -> None:
    for piece in pieces:
        assert took_s(render_markdown, longest(piece, LONGEST_MARKDOWN)) < LONGEST_S, piece
        begin_page()
        assert took_s(lambda text: shown_alike([text, text[1:]], "markdown"), longest(piece, LONGEST_ANSWER)) < LONGEST_S, piece
