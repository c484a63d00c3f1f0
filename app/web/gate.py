"""The gate every request passes: who is calling, may they, and did their own page send it.

One indexed query (`app/web/who_asks.py`) finds the credential, its person and their role in the project of the path. The
rules are in `app/web/permissions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Annotated, Any, cast

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import Engine
from starlette.responses import Response

from app.database.capacity import AT_THE_GATE
from app.database.engine import get_engine, read_session, reads_are_instant
from app.database.prepared import Prepared
from app.errors import Archived, NeedsSecondFactor, NotAllowed, NotFound, NotSignedIn
from app.language import languages
from app.language.languages import _
from app.models import Project
from app.models.open_projects import require_open
from app.settings import Settings
from app.web.json_types import MAX_ID
from app.web.last_used import UseLog
from app.web.middleware.headers import REPORTS
from app.web.permissions import ALSO_ARCHIVED, ALSO_BOUND, BEFORE_SECOND_FACTOR, BELOW_CALLS, RULES, Level, Rule
from app.web.rate_limit import RateLimit
from app.web.security import (
    Principal,
    Role,
    current_principal,
    digest,
    form_token_matches,
    parse_key,
    session_cookie,
)
from app.web.who_asks import Credential, Finding, finding_of, statement_for

_threads: RunVar[CapacityLimiter] = RunVar("threads of the gate")

RANKS: dict[Role | None, Level] = {
    None: Level.SIGNED_IN,
    "annotator": Level.ANNOTATOR,
    "reviewer": Level.REVIEWER,
    "admin": Level.ADMIN,
}


# Before the body, and as a dependency


class GatedRoute(APIRoute):
    """A route that asks the gate before anything of the body is looked at: the framework parses it before all dependencies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def ask_and_handle(request: Request) -> Response:
            request.state.passed = False
            await enforce(request)
            request.state.passed = True
            return await handle(request)

        return ask_and_handle


def gated(router: APIRouter) -> APIRouter:
    """The router, each of whose routes is a `GatedRoute`."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            route.__class__ = GatedRoute
    return router


async def enforce(request: Request) -> None:
    """Let the request pass or raise the refusal. Also put on the whole application, so no route can forget it."""
    state = request.state
    if getattr(state, "passed", False):
        return
    state.principal = state.project_id = None
    route = _route(request)
    rule = RULES.get(route)
    if rule is None:
        raise NotAllowed(_("This address has no rule that says who may use it."))
    limit: RateLimit = request.app.state.rate_limit
    if is_call := request.scope["path"].startswith(BELOW_CALLS):
        limit.count_address(request.client.host if request.client else "unknown")
    credential = _credential(request)
    if credential is not None:
        subject = _subject(request, rule)
        engine = get_engine(request)
        statement = statement_for(credential.via, rule.source)
        values = {"credential": credential.id, "subject": subject}
        if reads_are_instant(engine):
            row = request.app.state.instant_reads.row(statement, values)
        else:
            row = await to_thread.run_sync(_row, engine, statement, values, limiter=_own_threads())
        found = finding_of(row, credential)
        state.principal, state.project_id = found.principal, found.project_id
        if found.principal is not None and found.principal.language in languages.LANGUAGES:
            languages.use(found.principal.language)
        if found.principal is not None and found.stale:
            uses: UseLog = request.app.state.uses
            uses.note(credential.via, credential.id)
        if is_call and found.principal is not None and credential.via == "key":
            limit.count_key(found.principal.credential)
        _check(rule, found)
        _check_bound(route, found)
        _check_second_factor(route, found.principal)
        _check_archived(request, route, found)
    elif rule.level > Level.PUBLIC:
        raise NotSignedIn(_how_to_sign_in(request))
    await _check_form_token(request)


def _route(request: Request) -> tuple[str, str]:
    templates: dict[tuple[str, Any], str] = request.app.state.templates
    return request.method, templates[request.method, request.scope["endpoint"]]


def path_templates(app: FastAPI) -> dict[tuple[str, Any], str]:
    """(method, endpoint) -> path template of every route; the same function under two paths would be ambiguous."""
    templates: dict[tuple[str, Any], str] = {}
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute):
            continue
        for method in context.methods or ():
            known = templates.setdefault((method, context.endpoint), cast(str, context.path_format))
            if known != context.path_format:
                raise RuntimeError(
                    f"{context.endpoint} serves both {known} and {context.path_format}: give each its own function"
                )
    return templates


def _check(rule: Rule, found: Finding) -> None:
    if rule.level == Level.PUBLIC:
        return
    principal = found.principal
    if principal is None:
        raise NotSignedIn(_("This sign-in or key is not valid, or it has ended. Please sign in again."))
    if rule.scope is not None and not principal.may(rule.scope):
        raise NotAllowed(_("This key lacks the scope `%(scope)s`.", scope=rule.scope))
    if rule.source is not None and found.project_id is None:
        raise NotFound(_("There is nothing here, or it belongs to a project you are not a member of."))
    if principal.is_owner or rule.level == Level.SIGNED_IN:
        return
    if rule.level == Level.OWNER:
        raise NotAllowed(_("Only the owner of this installation may do that."))
    if rule.level == Level.ANY_ADMIN:
        if not found.is_admin_somewhere:
            raise NotAllowed(_("Only the admin of a project may do that."))
        return
    if principal.role is None:
        raise NotFound(_("There is nothing here, or it belongs to a project you are not a member of."))
    if RANKS[principal.role] < rule.level:
        raise NotAllowed(
            _(
                "That takes the role %(needed)s in this project; yours is %(role)s.",
                needed=rule.level.name.lower(),
                role=principal.role,
            )
        )


def _check_bound(route: tuple[str, str], found: Finding) -> None:
    """A key that is bound to projects finds nothing in others, and does nothing that is not about a project."""
    principal = found.principal
    if principal is None or principal.project_ids is None or RULES[route].level == Level.PUBLIC or route in ALSO_BOUND:
        return
    if RULES[route].source is None:
        raise NotAllowed(_("This key is bound to projects, and this call is not about one of them."))
    if found.project_id not in principal.project_ids:
        raise NotFound(_("There is nothing here, or it belongs to a project you are not a member of."))


def _check_second_factor(route: tuple[str, str], principal: Principal | None) -> None:
    if principal is None or not principal.second_factor_due or RULES[route].level == Level.PUBLIC:
        return
    if route not in BEFORE_SECOND_FACTOR:
        raise NeedsSecondFactor(_("Admins need a second factor here. Set yours up to go on."))


def _check_archived(request: Request, route: tuple[str, str], found: Finding) -> None:
    """A project that is put away is read; only what is on its way, and who belongs to it, may still change.

    Looked at once more by the transaction that changes something: the project may be put away in between.
    """
    if found.principal is None or route[0] in ("GET", "HEAD") or route in ALSO_ARCHIVED:
        return
    if found.principal.archived:
        raise Archived
    if found.project_id is not None:
        request.state.demand = partial(require_open, project_id=found.project_id)


def _how_to_sign_in(request: Request) -> str:
    if request.url.path.startswith(BELOW_CALLS):
        return _("Send an API key as `Authorization: Bearer tm_<id>_<secret>`.")
    return _("Sign in to go on.")


# What the request shows


def _credential(request: Request) -> Credential | None:
    header = request.headers.get("authorization")
    if header is not None and request.scope["path"].startswith(BELOW_CALLS):
        key = parse_key(header)
        return Credential("key", key[0], digest(key[1])) if key else Credential("key", 0, "")
    settings: Settings = request.app.state.settings
    cookie = request.cookies.get(session_cookie(settings))
    return Credential("session", digest(cookie), "") if cookie else None


def _subject(request: Request, rule: Rule) -> str | int | None:
    """The path parameter that leads to the project; an id that is none leads nowhere."""
    if rule.source is None:
        return None
    value = str(request.path_params[rule.parameter])
    if rule.source == "slug":
        return value
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= MAX_ID else 0


async def _check_form_token(request: Request) -> None:
    """A form or script that changes something proves that our page made it. A key is never sent by itself, so needs none."""
    principal = current_principal(request)
    if request.method in ("GET", "HEAD", "OPTIONS") or (principal is not None and principal.via == "key"):
        return
    if request.url.path == REPORTS:  # the browser itself sends it, and it changes nothing
        return
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        field = (await request.form()).get("csrf_token")
        given = field if isinstance(field, str) else None
    if given is None or not form_token_matches(request, given):
        raise NotAllowed(_("This form is too old, or another site sent it. Go back, reload the page and send it again."))


def _own_threads() -> CapacityLimiter:
    """Of the gate, in this event loop: where lists have all threads, whoever judges is still let in."""
    try:
        return _threads.get()
    except LookupError:
        threads = CapacityLimiter(AT_THE_GATE)
        _threads.set(threads)
        return threads


def _row(engine: Engine, statement: Prepared, values: Mapping[str, Any]) -> Any:
    with engine.connect() as connection:
        return statement.first(connection, values)


# The project of the path


async def current_project_id(request: Request) -> int:
    project_id: int | None = request.state.project_id
    if project_id is None:
        raise NotFound(_("There is no such project."))
    return project_id


CurrentProjectId = Annotated[int, Depends(current_project_id)]


def current_project(request: Request, project_id: CurrentProjectId) -> Project:
    """The project of the path as it was when the request came; to change it, get it through the request's own session."""
    with read_session(get_engine(request)) as session:
        project = session.get(Project, project_id)
        if project is None:
            raise NotFound(_("There is no such project."))
        session.expunge(project)
    return project


CurrentProject = Annotated[Project, Depends(current_project)]
