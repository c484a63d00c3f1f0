"""How a refusal reaches its reader: problem+json under /api, as OpenAI's clients expect it under /v1, a page elsewhere.

What came in is never echoed.
"""

from __future__ import annotations

import errno
import logging
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import compile_path

from app.database.failures import CLASHES, PASSING, in_words, is_clash, is_passing, is_worth_another_try
from app.database.second_try import wants_another
from app.errors import Conflict, Invalid, NeedsSecondFactor, NotFound, NotSignedIn, Refusal, TooMany, Unavailable
from app.language.languages import _, known
from app.settings import Settings
from app.web import pages
from app.web.field_errors import sentence
from app.web.middleware.headers import add_headers
from app.web.permissions import BELOW_CALLS, OPENAI

log = logging.getLogger("tastemaker")

SOON = {"Retry-After": "1"}  # seconds

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded", 503: "overloaded"}

_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def refuse(request: Request, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The reply to a refused request."""
    if is_api(request):
        return problem(request, refusal.status, known(refusal.title), refusal.detail, refusal.fields, headers)
    if isinstance(refusal, NotSignedIn) and request.method == "GET":
        return RedirectResponse(f"/sign-in?next={quote(pages.place_now(request))}", status_code=303)
    if isinstance(refusal, NeedsSecondFactor) and request.method == "GET":
        return RedirectResponse("/account/second-factor", status_code=303)
    return error_page(request, refusal.status, known(refusal.title), refusal.detail, refusal.fields, headers)


def is_api(request: Request) -> bool:
    return request.url.path.startswith(BELOW_CALLS)


def problem(
    request: Request,
    status: int,
    title: str,
    detail: str,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """RFC 9457. `errors` names each field that is wrong and why."""
    if request.url.path.startswith(OPENAI + "/"):
        return openai_error(status, detail, fields or {}, headers)
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if fields:
        body["errors"] = [{"field": field, "message": message} for field, message in fields.items()]
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def openai_error(status: int, detail: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Response:
    """The shape that OpenAI's clients make their exceptions of; they know no 422."""
    status = 400 if status == 422 else status
    return JSONResponse({"error": openai_problem(status, detail, fields)}, status_code=status, headers=headers)


def openai_problem(status: int, detail: str, fields: Mapping[str, str]) -> dict[str, str | None]:
    """What is inside of such an error: the first field that is wrong is its `param`."""
    wrong = [_("%(field)s: %(sentence)s", field=field, sentence=words) for field, words in fields.items()]
    why = "\n".join([detail, *wrong])
    return {
        "message": why,
        "type": _OPENAI_TYPES.get(status, "api_error"),
        "param": next(iter(fields), None),
        "code": _OPENAI_CODES.get(status),
    }


def error_page(
    request: Request,
    status: int,
    title: str,
    detail: str,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return pages.render(
        request, "error.html", status=status, headers=headers, title=title, detail=detail, fields=dict(fields or {})
    )


# What the framework and the database raise


def add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(OverflowError, _on_unstorable)
    app.add_exception_handler(UnicodeEncodeError, _on_unstorable)
    app.add_exception_handler(DataError, _on_unstorable)
    for kind in (*CLASHES, *PASSING, DBAPIError):
        if not issubclass(kind, Refusal):
            app.add_exception_handler(kind, _on_database)
    app.add_exception_handler(OSError, _on_disk)
    app.add_exception_handler(Exception, _on_crash)


def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    if isinstance(error, TooMany):
        return refuse(request, error, {"Retry-After": str(error.retry_after_s)})
    return refuse(request, error, SOON if isinstance(error, Unavailable) else None)


def on_http_exception(request: Request, error: Exception) -> Response:
    """404, 405, 413 and the like, which the framework raises by itself."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, OSError):  # a form with a file is put down on a disk while it is read
        return _on_disk(request, error.__cause__)
    if error.status_code == 405 and request.method == "GET" and not is_api(request):
        return RedirectResponse(_page_above(request), status_code=303)
    details = {
        404: NotFound(_("There is nothing at this address.")),
        405: Refusal(_("This address does not answer that method.")),
        413: Refusal(_("That is too large to take at once. Send less, or send it in parts.")),
    }
    refusal = details.get(error.status_code) or Refusal(_("The request could not be understood."))
    title = known(refusal.title)
    if is_api(request):
        return problem(request, error.status_code, title, refusal.detail, headers=error.headers)
    return error_page(request, error.status_code, title, refusal.detail, headers=error.headers)


def _page_above(request: Request) -> str:
    """The nearest page above an address that only takes forms: there a browser stands that shows what a form was answered."""
    templates: dict[tuple[str, Any], str] = request.app.state.templates
    pages_there = [compile_path(path)[0] for (method, _endpoint), path in templates.items() if method == "GET"]
    path = request.url.path
    while path := path.rpartition("/")[0]:
        if any(page.match(path) for page in pages_there):
            return path
    return "/"


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = {_field(item["loc"]): sentence(item) for item in error.errors()}
    return refuse(request, Invalid(_("Some of what was sent cannot be used."), fields))


def _field(place: tuple[int | str, ...]) -> str:
    """`items.3.text`; a name that is not plain was made up by the sender and is not repeated."""
    parts = [str(part) for part in place[1:]] or [str(part) for part in place]
    return ".".join(part if _FIELD.fullmatch(part) else "?" for part in parts)


def _on_unstorable(request: Request, error: Exception) -> Response:
    return refuse(request, Invalid(_("It contains a number or a character that cannot be stored.")))


def _on_database(request: Request, error: Exception) -> Response:
    """Somebody was faster, or the database is not well for a moment. What it refuses as wrong is a bug of ours."""
    if is_worth_another_try(error) and wants_another(request.scope):
        return Response()  # never sent
    if is_passing(error):
        return _on_disk(request, error)
    if not is_clash(error):
        return _on_crash(request, error)
    log.warning("a request clashed with another", exc_info=error)
    return refuse(request, Conflict(_("Somebody changed the same thing at this moment. Nothing was stored; please look again.")))


def _on_disk(request: Request, error: Exception) -> Response:
    """Nothing can be stored, or read, for a reason that whoever looks after the installation may mend."""
    settings: Settings = request.app.state.settings
    refusal = in_words(error, settings.data)
    if refusal is None or not _is_about_our_data(request, error):
        return _on_crash(request, error)
    log.error("database or disk: %s", str(error).partition("\n")[0])  # one line: there is one of each request while it lasts
    return _on_refusal(request, refusal)


def _is_about_our_data(request: Request, error: Exception) -> bool:
    """A single file that is missing, or closed to us, says nothing of the disk: then it is a bug, and its traceback is needed."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM):
        return True
    settings: Settings = request.app.state.settings
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return not settings.data.is_dir()
    return error.filename is None or Path(str(error.filename)).is_relative_to(settings.data)


def _on_crash(request: Request, error: Exception) -> Response:
    """A bug of ours. Its reference is in the log beside the traceback."""
    reference = uuid.uuid4().hex[:12]
    log.error("failure %s at %s", reference, request.scope.get("route"), exc_info=error)
    detail = _(
        "Something failed on our side; nothing you sent is lost unless you were told otherwise. Reference: %(reference)s.",
        reference=reference,
    )
    title = _("That failed")
    response = problem(request, 500, title, detail) if is_api(request) else error_page(request, 500, title, detail)
    settings: Settings = request.app.state.settings
    add_headers(MutableHeaders(raw=response.raw_headers), settings)
    return response
