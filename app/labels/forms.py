"""The annotating page's form: names of its fields, read into a verdict and written back from a label.

A field of several parts has a dot in its name: `criteria.accuracy`, `flags.left`, `rewrite.right`. Marks are a list as JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData

from app.errors import Invalid
from app.labels.answers.rubric import VERSION, without_gaps
from app.labels.answers.spans import REASONS, spans_of
from app.labels.bodies import LabelIn, WithdrawIn
from app.labels.verdict import Verdict
from app.language.languages import _
from app.models import Label
from app.queue.bodies import SkipIn
from app.web.field_errors import sentence


async def submitted(request: Request) -> FormData:
    """The form, read before anything else is done."""
    return await request.form()


Submitted = Annotated[FormData, Depends(submitted)]
_BODY: Final[TypeAdapter[Any]] = TypeAdapter(LabelIn)
_NUMBERS: Final = ("strength", "overall", "active_ms", "wall_ms")
_ABOUT_SKIPPING: Final = ("reason", "reason_words")


def verdict_of(form: FormData) -> Verdict:
    """Raises Invalid for a form that no page of ours sends, or one with two rewrites."""
    texts = {name: value for name, value in form.multi_items() if isinstance(value, str) and value != "" and "." not in name}
    for name in ("csrf_token", *_ABOUT_SKIPPING):
        texts.pop(name, None)
    if form.get("all_bad") or any(name.startswith("place.") for name in form):
        return _validated(_ranking(form, texts))
    body: dict[str, Any] = {name: _number(value) if name in _NUMBERS else value for name, value in texts.items()}
    is_rating = "overall" in body
    criteria = _parts(form, "criteria")
    body["criteria"] = {key: _number(value) if is_rating else value for key, value in criteria.items()}
    flags = flags_of(form)
    body["flags"] = flags.get("response", []) if is_rating else flags
    body["rubric"] = rubric_of(form)
    body |= spans_in(form)
    body |= _rewrite(form, is_rating)
    if "choice" not in body and not is_rating:
        raise Invalid(_("Choose an answer first, then save."), {"choice": _("Choose A, B, tie or both bad.")})
    if body.get("choice") in ("tie", "both_bad"):
        body.pop("strength", None)  # chosen for A or B before the mind was changed
    return _validated(body)


def _validated(body: dict[str, Any]) -> Verdict:
    try:
        verdict: Verdict = _BODY.validate_python(body).verdict()
    except ValidationError as error:
        raise Invalid(_("This verdict cannot be saved as it is. Nothing was stored."), _sentences(error)) from error
    return verdict


def _ranking(form: FormData, texts: dict[str, str]) -> dict[str, Any]:
    """Places that the lists have: 1 is the best, the same place means equal; `last` is the worst."""
    body: dict[str, Any] = {name: _number(value) if name in _NUMBERS else value for name, value in texts.items()}
    body["all_bad"] = body.pop("all_bad", "") == "yes"
    places: dict[int, list[int | str]] = defaultdict(list)
    last: list[int | str] = []
    for number, place in _parts(form, "place").items():
        if place == "last":
            last.append(_number(number))
        elif isinstance(at := _number(place), int):
            places[at].append(_number(number))
    order = [places[at] for at in sorted(places)]
    if body["all_bad"]:
        order, last = [], []
    elif not order and not last:
        raise Invalid(_("Give an answer a place first, then save."), {"ranking": _("One at least, or say that all are bad.")})
    return body | {"ranking": order, "last": last, "flags": flags_of(form)}


def flags_of(form: FormData) -> dict[str, list[str]]:
    """Keys of the flags that are ticked, by side."""
    flags: dict[str, list[str]] = defaultdict(list)
    for name, value in form.multi_items():
        if name.startswith("flags.") and isinstance(value, str):
            flags[name.removeprefix("flags.")].append(value)
    return dict(flags)


def rubric_of(form: FormData) -> dict[str, dict[str, str | int]]:
    """By question what was said about each answer, and the version of it that the page showed."""
    said: dict[str, dict[str, str | int]] = defaultdict(dict)
    for name, value in _parts(form, "rubric").items():
        key, _dot, part = name.partition(".")
        said[key][part] = _number(value) if part == VERSION else value
    return dict(without_gaps(said))


def spans_in(form: FormData) -> dict[str, Any]:
    """What is marked by side, and the versions of the reasons that the page offered; nothing where it offered none."""
    sent, start = _parts(form, "spans"), f"{REASONS}."
    offered = {name.removeprefix(start): _number(version) for name, version in sent.items() if name.startswith(start)}
    try:
        marked = {side: json.loads(text) for side, text in sent.items() if not side.startswith(start)}
        return {"spans": {REASONS: offered, **marked}} if offered else {}
    except (ValueError, RecursionError) as error:
        raise Invalid(
            _("This verdict cannot be saved as it is. Nothing was stored."),
            {"spans": _("What is marked cannot be read. Open the task again and mark it once more.")},
        ) from error


def skip_reason_of(form: FormData) -> str:
    """Why somebody skips: the reason they ticked and what they wrote, either of them or none. Raises Invalid when too long."""
    said = [value.strip() for name in _ABOUT_SKIPPING if isinstance(value := form.get(name), str) and value.strip()]
    try:
        return SkipIn(reason=": ".join(said)).reason
    except ValidationError as error:
        raise Invalid(_("This reason cannot be saved. Use up to 1,000 characters of plain text.")) from error


def client_id_of(form: FormData) -> str:
    """The id under which a verdict is withdrawn. Raises Invalid for one that no page of ours sends."""
    try:
        return WithdrawIn.model_validate({"client_id": form.get("client_id")}).client_id.lower()
    except ValidationError as error:
        raise Invalid(_("This verdict cannot be withdrawn from here. Open it again and try once more.")) from error


def tasks_in_hand(form: FormData) -> frozenset[int]:
    """The tasks a page has already, of those it fetched ahead and those whose verdicts are on their way."""
    named = [value for value in form.getlist("besides") if isinstance(value, str)]
    return frozenset(int(value) for value in named[:100] if value.isascii() and value.isdigit() and len(value) < 19)


def values_of(label: Label | None) -> dict[str, Any]:
    """What the form shows for a label given before; the empty form for none. A list stands for ticked boxes."""
    values: dict[str, Any] = {"choice": "", "strength": "", "overall": "", "comment": ""}
    if label is None:
        return values
    values |= {"choice": label.choice or "", "strength": str(label.strength or ""), "overall": str(label.overall or "")}
    values["comment"] = label.comment
    if label.ranking is not None:
        values["all_bad"] = "yes" if label.ranking["all_bad"] else ""
        values |= {f"place.{number}": "last" for number in label.ranking["last"]}
        values |= {f"place.{one}": str(at) for at, group in enumerate(label.ranking["order"], start=1) for one in group}
    values |= {f"criteria.{key}": str(value) for key, value in label.criteria.items()}
    values |= {f"flags.{side}": list(flags) for side, flags in label.flags.items()}
    values |= {f"rubric.{key}.{part}": value for key, said in (label.rubric or {}).items() for part, value in said.items()}
    values |= {f"spans.{side}": json.dumps(marked) for side, marked in spans_of(label.spans).items()}
    if label.rewrite:
        values[f"rewrite.{label.rewrite['side']}"] = label.rewrite["text"]
    return values


def values_again(form: FormData) -> dict[str, Any]:
    """The form as it was sent, to be shown again."""
    values = values_of(None)
    for name in form:
        sent = [value for value in form.getlist(name) if isinstance(value, str)]
        values[name] = sent if name.startswith("flags.") else sent[-1] if sent else ""
    return values


def _rewrite(form: FormData, is_rating: bool) -> dict[str, Any]:
    """The box that was written in; they begin empty."""
    written = {side: text.replace("\r\n", "\n") for side, text in _parts(form, "rewrite").items()}
    if len(written) > 1:
        raise Invalid(_("Rewrite one answer, not both. Nothing was stored."), {"rewrite": _("Empty one of the two boxes.")})
    for side, text in written.items():
        return {"rewrite": text if is_rating else {"side": side, "text": text}}
    return {}


def _parts(form: FormData, field: str) -> dict[str, str]:
    start = f"{field}."
    return {
        name.removeprefix(start): value
        for name, value in form.multi_items()
        if name.startswith(start) and isinstance(value, str) and value.strip()
    }


def _number(text: str) -> int | str:
    """The number the text is; else the text, for the check to refuse."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else text


def _sentences(error: ValidationError) -> Mapping[str, str]:
    return {str(problem["loc"][1] if len(problem["loc"]) > 1 else "form")[:40]: sentence(problem) for problem in error.errors()}
