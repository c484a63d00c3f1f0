"""What every JSON body and form shares: text that any database can hold, bounded numbers, and pages of a list."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from app.errors import Invalid
from app.language.languages import N_, _
from app.language.run_messages import told
from trainer.contract.messages import Message, as_json

MAX_ID = 2**63 - 1  # SQLite's and PostgreSQL's largest integer
MAX_JSON_DEPTH = 20

Item = TypeVar("Item")


def _plain(value: str) -> str:
    """Text that UTF-8 can carry and PostgreSQL can hold: no NUL, no half of a surrogate pair."""
    if "\0" in value:
        raise ValueError(N_("must not contain a NUL character"))
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(N_("must be valid Unicode"))
    return value


def _finite(value: Any, depth: int = 0) -> Any:
    """JSON as the standard has it: no NaN, no infinity, integers a database can hold, text as `_plain` wants it."""
    if depth > MAX_JSON_DEPTH:
        raise ValueError(N_("is nested too deeply"))
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(N_("must not contain NaN or infinity"))
    if isinstance(value, int) and abs(value) > MAX_ID:
        raise ValueError(N_("contains a number that is too large"))
    if isinstance(value, dict):
        for key, item in value.items():
            _finite(key, depth + 1)
            _finite(item, depth + 1)
    if isinstance(value, list):
        for item in value:
            _finite(item, depth + 1)
    return value


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError in the first and the last hours of the calendar, which may have none."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(N_("is outside the calendar")) from error


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Text = Annotated[str, AfterValidator(_plain), Field(max_length=100_000)]
Line = Annotated[str, AfterValidator(_plain), Field(max_length=200)]  # one line: a name, a title
Note = Annotated[str, AfterValidator(str.strip), AfterValidator(_plain), Field(max_length=2000)]  # a few sentences: why
Name = Annotated[str, AfterValidator(str.strip), AfterValidator(_plain), Field(min_length=1, max_length=200)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?$", max_length=80)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_finite)]
Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
Limit = Annotated[int, Field(ge=1, le=500)]


class Body(BaseModel):
    """The base of every request body: unknown fields are refused, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class FormBody(BaseModel):
    """The base of every form of a page. What a form also carries (its token) is ignored; spaces around values are not kept."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Reply(BaseModel):
    """The base of every reply."""

    model_config = ConfigDict(from_attributes=True)


class Coded(BaseModel):
    """What a run, a round or a checkpoint says, for a program: the sentence beside it is for a person."""

    code: str = Field(description="Stays the same; `written` is a text that somebody wrote or a library said.")
    arguments: dict[str, Any] = Field(description="Numbers, texts, or further codes with their arguments.")


# A message of a row twice: `name: Told` is its sentence, `coded_name: CodedMessage = coded("name")` its code.
Told = Annotated[str, BeforeValidator(lambda value: told(value) if isinstance(value, Message | None) else value)]
CodedMessage = Annotated[Coded, BeforeValidator(lambda value: as_json(value) if isinstance(value, Message) else value)]


def coded(name: str) -> Any:
    """The field beside `name` that holds the code of the same message."""
    return Field(validation_alias=AliasChoices(f"coded_{name}", name), description=f"The code behind `{name}`.")


class Page(BaseModel, Generic[Item]):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None = None


def cursor_id(cursor: str | None) -> int | None:
    """The id a cursor stands for: the last one of the page before. Raises Invalid for anything we did not hand out."""
    if cursor is None or cursor == "":
        return None
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= 19 and int(cursor) <= MAX_ID:
        return int(cursor)
    raise Invalid(_("The cursor is not one of ours. Start again without it."), {"cursor": _("unknown cursor")})


def json_dumps(value: Any) -> str:
    """Compact JSON that refuses NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def moment_text(moment: datetime | None) -> str | None:
    """A moment as replies that are built directly write it: RFC 3339 in UTC."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def json_reply(body: dict[str, Any], status: int = 200) -> Response:
    """A reply built directly, without the framework's look at every field."""
    return Response(json_dumps(body), status, media_type="application/json")
