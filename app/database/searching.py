"""What every list that is searched shares: how many rows fit, counted so far and no further, and words inside of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Select, Text, and_, cast, exists, func, literal_column, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

COUNT_TO: Final = 10_000  # a large project's page is as fast as a small one's
# What stands before the content of each message; inside of one, its quotation marks are escaped.
_AROUND: Final = tuple(f'{{"role": "{role}", "content": ' for role in ("system", "user", "assistant"))


@dataclass(frozen=True, slots=True)
class Total:
    """How many fit; with `more`, at least so many."""

    count: int
    more: bool


def count_fitting(session: Session, table: type[Any], conditions: list[Any]) -> Total:
    """How many rows of the table meet every condition, up to COUNT_TO."""
    fitting: Select[Any] = select(literal_column("1")).select_from(table).where(*conditions).limit(COUNT_TO + 1)
    found = session.scalar(select(func.count()).select_from(fitting.subquery())) or 0
    return Total(min(found, COUNT_TO), found > COUNT_TO)


def total_of(found: int, page_rows: int, cursor: str | None, count: Callable[[], Total]) -> Total:
    """How many fit, once a page of a list is there, one row more than it shows: asked only where the page does not say it.

    What is rare costs a look at every row, and is on one page: so it is looked for once.
    """
    return Total(found, False) if not cursor and found <= page_rows else count()


def says(messages: InstrumentedAttribute[list[Any]], words: str) -> ColumnElement[bool]:
    """Whether the content of one of a conversation's messages has these words in it.

    The whole JSON is looked at first, which is cheap: however it is written, they stand behind the name of that field. Words that
    our own JSON has around a content, too, are looked for without that. Whatever is left is taken apart: the words may be in one
    of JSON's escapes.
    """
    escaped = json.dumps(words)[1:-1]
    written = cast(messages, Text)
    found = [_holds(written, 'content"', escaped)]
    around = [around for around in _AROUND if escaped.lower() in around]
    if around:
        bare: ColumnElement[str] = written
        for one in around:  # each of them costs as much as the search
            bare = func.replace(bare, one, "")
        found.append(_holds(bare, escaped))
    message = _JsonElements(messages).table_valued("value")
    content = message.c.value.op("->>", return_type=Text())("content")
    return and_(*found, exists().select_from(message).where(_holds(content, words)))


def _holds(text: ColumnElement[str], *parts: str) -> ColumnElement[bool]:
    """Whether the text has these parts in it, one behind the other, whatever their case (SQLite knows that of Latin letters)."""
    escaped = (part.replace("/", "//").replace("%", "/%").replace("_", "/_") for part in parts)
    return _InAnyCase(text, "%".join(("", *escaped, "")))


def lists_word(column: InstrumentedAttribute[Any], word: str) -> ColumnElement[bool]:
    """Whether a list inside of a JSON column holds this word, of letters, digits and underscores.

    Behind a word in a list stands a comma or the list's end; behind the name of a field, a colon.
    """
    written = cast(column, Text)
    return or_(*(written.contains(f'"{word}"{end}', autoescape=True) for end in ",]"))


class _InAnyCase(FunctionElement[bool]):
    """A text and a pattern. SQLite's LIKE asks for no case; to lower a million texts first would take as long as the search."""

    type = Boolean()
    inherit_cache = True


@compiles(_InAnyCase, "sqlite")
def _like(element: _InAnyCase, compiler: SQLCompiler, **how: Any) -> str:
    text, pattern = element.clauses
    return f"(({compiler.process(text, **how)}) LIKE {compiler.process(pattern, **how)} ESCAPE '/')"


@compiles(_InAnyCase, "postgresql")
def _ilike(element: _InAnyCase, compiler: SQLCompiler, **how: Any) -> str:
    text, pattern = element.clauses
    return f"(({compiler.process(text, **how)}) ILIKE {compiler.process(pattern, **how)} ESCAPE '/')"


class _JsonElements(FunctionElement[Any]):
    """The elements of a JSON list, as a table with the column `value`; the databases name it differently."""

    inherit_cache = True


@compiles(_JsonElements, "sqlite")
def _json_each(element: _JsonElements, compiler: SQLCompiler, **how: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **how)})"


@compiles(_JsonElements, "postgresql")
def _json_array_elements(element: _JsonElements, compiler: SQLCompiler, **how: Any) -> str:
    return f"json_array_elements({compiler.process(element.clauses, **how)})"
