"""The description of the API: what the framework writes of it, made true by the table of rules and by how refusals are sent.

The framework knows the routes; it does not know that a path's project is read by the gate, who may call, and that every refusal
is problem+json. All three follow from the path, the method and `RULES`, so no route has to repeat them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.settings import Settings
from app.web.permissions import RULES, Level, Rule
from app.web.security import session_cookie

PROBLEM_JSON: Final = "application/problem+json"
PROBLEM: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Why a call was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened and what to do, for a person."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    },
}
FIELD_ERROR: Final[dict[str, Any]] = {
    "title": "FieldError",
    "type": "object",
    "required": ["field", "message"],
    "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
}
RETRY_AFTER: Final[dict[str, Any]] = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
PATH_PARAMETERS: Final = {"slug": "The project's name in addresses."}

DESCRIPTION: Final = """Errors are problem+json. Lists are pages: pass `next_cursor` of one as `cursor` of the next, until it is
null. Times are RFC 3339 in UTC. A key acts as its person, within its scopes; the scope `admin` covers the others.

A key may make so many calls a minute, at once or spread, and an address ten times as many: 6,000 and 60,000 unless the
installation says otherwise. What is more is refused with 429 and `Retry-After`, in seconds."""

_WHO: Final = {
    Level.PUBLIC: "Open to all.",
    Level.SIGNED_IN: "For everyone who has a key.",
    Level.ANNOTATOR: "For the project's annotators, reviewers and admins.",
    Level.REVIEWER: "For the project's reviewers and admins.",
    Level.ADMIN: "For the project's admins.",
    Level.ANY_ADMIN: "For the admins of any project.",
    Level.OWNER: "For the owner of the installation.",
}
_REFUSED: Final = {
    400: "The address or the body could not be read.",
    401: "No key, or one that is not valid any more.",
    403: "The person or the key may not do this.",
    404: "There is no such thing, or it is of a project the person does not belong to.",
    409: "It clashes with what is already there, or came too late. Nothing was changed.",
    413: "The body is too large.",
    422: "Something of what was sent cannot be used; `errors` names each field.",
    429: "More calls than one key or address may make a minute. Nothing was changed; try again after `Retry-After` seconds.",
    503: "Too many are here at once, or the database is busy. Nothing was changed; try again.",
}

_TOLD_WHEN: Final = {429, 503}


class DescribedApp(FastAPI):
    """The application whose `openapi.json` says what it sends."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            settings: Settings = self.state.settings
            _complete(super().openapi(), session_cookie(settings))
        assert self.openapi_schema is not None
        return self.openapi_schema


def operation_id(route: APIRoute) -> str:
    """The name of the function, which generated clients call theirs."""
    return route.name


def operations(description: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of every call described."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _complete(description: dict[str, Any], cookie: str) -> None:
    """Add to the framework's description, in place, what it does not know."""
    description["info"]["description"] = DESCRIPTION
    components = description.setdefault("components", {})
    components["securitySchemes"] = _security_schemes(cookie)
    schemas = components.setdefault("schemas", {})
    for unsent in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unsent, None)
    schemas |= {"Problem": PROBLEM, "FieldError": FIELD_ERROR}
    for method, path, operation in operations(description):
        rule = RULES[method, path]
        _declare_parameters(path, operation)
        _declare_security(method, operation, rule)
        _declare_refusals(method, path, operation, rule)


def _security_schemes(cookie: str) -> dict[str, Any]:
    return {
        "key": {"type": "http", "scheme": "bearer", "bearerFormat": "tm_<id>_<secret>", "description": "An API key."},
        "session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "A person signed in by the pages."},
        "form_token": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRF-Token",
            "description": "With a session, the token our pages carry; a key needs none.",
        },
    }


def _declare_parameters(path: str, operation: dict[str, Any]) -> None:
    """What the gate reads of the path, the framework does not see in the function's signature."""
    declared = operation.setdefault("parameters", [])
    known = {parameter["name"] for parameter in declared if parameter["in"] == "path"}
    missing = [name for name in re.findall(r"\{(\w+)\}", path) if name not in known]
    declared[:0] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": PATH_PARAMETERS[name]}
        for name in missing
    ]


def _declare_security(method: str, operation: dict[str, Any], rule: Rule) -> None:
    words = [operation.get("description", ""), _WHO[rule.level]]
    if rule.level == Level.PUBLIC:
        operation["security"] = []
    else:
        scopes = [rule.scope] if rule.scope else []
        session: dict[str, list[str]] = {"session": []} if method == "GET" else {"session": [], "form_token": []}
        operation["security"] = [{"key": scopes}, session]
        words[1] += f" A key needs the scope `{rule.scope}`." if rule.scope else ""
    operation["description"] = "\n\n".join(filter(None, words))


def _declare_refusals(method: str, path: str, operation: dict[str, Any], rule: Rule) -> None:
    """Every status the gate, the framework and the services refuse with, as it is sent."""
    responses = operation["responses"]
    sent = (
        {429, 503}
        | ({400, 413, 422} if "requestBody" in operation else set())
        | ({400, 422} if operation["parameters"] else set())
    )
    sent |= {401, 403} if rule.level > Level.PUBLIC else set()
    sent |= {404} if "{" in path else set()
    sent |= {409} if method != "GET" else set()
    for status in sorted(sent | {int(status) for status in responses if int(status) >= HTTPStatus.BAD_REQUEST}):
        told = responses.get(str(status), {})
        content = told.get("content", {}).get("application/json", {})
        by_framework = "ValidationError" in str(content)
        words = _REFUSED[status] if by_framework else told.get("description", _REFUSED[status])
        ours = content if content and not by_framework else {"schema": {"$ref": "#/components/schemas/Problem"}}
        responses[str(status)] = {"description": words, "content": {PROBLEM_JSON: ours}}
        if status in _TOLD_WHEN:
            responses[str(status)]["headers"] = {"Retry-After": RETRY_AFTER}
    operation["responses"] = dict(sorted(responses.items()))
