"""The web application: settings, layers, rooms, refusals."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.accounts import api as accounts_api
from app.accounts import language_routes, link_routes, people_api, people_routes
from app.accounts import routes as accounts_routes
from app.accounts.installation import api as installation_api
from app.accounts.installation import routes as installation_routes
from app.accounts.keys import api as keys_api
from app.accounts.keys import routes as keys_routes
from app.accounts.second_factor import routes as second_factor_routes
from app.accounts.sign_in import routes as sign_in_routes
from app.accounts.sign_in.doorman import Doorman
from app.accounts.sign_in.failures import FailureLog
from app.accounts.sign_in.hashing import Hashing
from app.assignment import api as assignment_api
from app.assignment import routes as assignment_routes
from app.audit import api as audit_api
from app.audit import own_routes
from app.audit import routes as audit_routes
from app.chats import api as chats_api
from app.chats import routes as chats_routes
from app.contenders import api as contenders_api
from app.contenders import import_api as answers_api
from app.contenders import import_routes as answers_routes
from app.contenders import routes as contenders_routes
from app.contenders.outside import api as outside_api
from app.contenders.outside import routes as outside_routes
from app.coverage import api as coverage_api
from app.coverage import routes as coverage_routes
from app.database.capacity import Capacity
from app.database.engine import InstantReads, make_engine
from app.database.group_commit import WriteGroup
from app.database.second_try import SecondTry
from app.disk import api as disk_api
from app.evaluation import api as evaluation_api
from app.evaluation import routes as evaluation_routes
from app.evaluation.leaderboard import api as leaderboard_api
from app.evaluation.leaderboard import routes as leaderboard_routes
from app.exports import api as exports_api
from app.exports import routes as exports_routes
from app.feedback import api as feedback_api
from app.feedback import routes as feedback_routes
from app.feedback import v1_api as feedback_v1
from app.guidelines import api as guidelines_api
from app.guidelines import editor_routes
from app.guidelines import routes as guidelines_routes
from app.labels import api as labels_api
from app.labels import history_routes, preview_routes
from app.labels import routes as labels_routes
from app.language.languages import SpeaksLanguage
from app.overview import my_work_api, my_work_routes
from app.overview import routes as overview_routes
from app.practice import api as practice_api
from app.practice import authoring_routes, settings_routes
from app.practice import routes as practice_routes
from app.projects import api as projects_api
from app.projects import question_routes
from app.projects import routes as projects_routes
from app.projects.base_model import Looks
from app.prompts import api as prompts_api
from app.prompts import proposal_routes, proposals_api
from app.prompts import routes as prompts_routes
from app.prompts.marks import api as marks_api
from app.prompts.marks import routes as marks_routes
from app.quality import api as quality_api
from app.quality import routes as quality_routes
from app.quality.adjudication import api as adjudication_api
from app.quality.adjudication import routes as adjudication_routes
from app.quality.gold import api as gold_api
from app.quality.gold import routes as gold_routes
from app.quality.hours import api as hours_api
from app.quality.hours import routes as hours_routes
from app.queue import api as queue_api
from app.queue import given_api
from app.queue.explained import api as queue_explained_api
from app.queue.explained import routes as queue_explained_routes
from app.removal import api as removal_api
from app.removal import routes as removal_routes
from app.rounds import api as rounds_api
from app.rounds import preference_routes, sft_routes
from app.rounds import routes as rounds_routes
from app.rounds.evaluations import routes as evaluations_routes
from app.rounds.unattended import api as unattended_api
from app.rounds.unattended import routes as unattended_routes
from app.runs import api as runs_api
from app.runs import routes as runs_routes
from app.runs.limits import limits_of
from app.runs.lineage import api as lineage_api
from app.serving import api as serving_api
from app.serving import openai_api, playground_routes
from app.serving.warm_process import WarmProcess
from app.settings import Settings, get_settings
from app.web import styleguide
from app.web.error_replies import add_handlers
from app.web.gate import enforce, gated, path_templates
from app.web.last_used import UseLog
from app.web.middleware.headers import ResponseHeaders
from app.web.middleware.origin import SameSite
from app.web.middleware.too_large import TooLargeInWords
from app.web.middleware.waiting_room import Room, WaitingRoom
from app.web.openapi import DescribedApp, operation_id
from app.web.pages import StaticPages
from app.web.permissions import OPENAI, V1
from app.web.rate_limit import RateLimit
from app.web.watch import api as health_api
from app.web.watch import csp_reports
from app.web.watch.health import HealthWatch
from app.webhooks import api as webhooks_api
from app.webhooks import routes as webhooks_routes
from trainer.contract.serving.questions import MOST_WAITING

# Tried in this order: the busiest first, and a fixed address before one that takes any word in its place.
CALLS = (
    *(queue_api, labels_api, guidelines_api, practice_api, accounts_api, keys_api, people_api, audit_api, projects_api),
    *(installation_api, my_work_api, prompts_api, rounds_api, evaluation_api, contenders_api, answers_api, given_api),
    outside_api,
    *(proposals_api, chats_api, runs_api, lineage_api, leaderboard_api, serving_api, removal_api, exports_api, health_api),
    *(feedback_api, quality_api, gold_api, adjudication_api, hours_api, webhooks_api, unattended_api),
    *(assignment_api, marks_api, queue_explained_api, coverage_api, disk_api),
)
PAGES = (
    *(labels_routes, history_routes, guidelines_routes, practice_routes, preview_routes, authoring_routes),
    *(
        sign_in_routes,
        second_factor_routes,
        link_routes,
        accounts_routes,
        keys_routes,
        people_routes,
        installation_routes,
        audit_routes,
        own_routes,
        webhooks_routes,
        csp_reports,
        language_routes,
    ),
    *(projects_routes, removal_routes, question_routes, editor_routes, settings_routes),
    *(
        my_work_routes,
        overview_routes,
        chats_routes,
        assignment_routes,
        marks_routes,
        proposal_routes,
        feedback_routes,
        coverage_routes,
        prompts_routes,
        answers_routes,
        contenders_routes,
        outside_routes,
        playground_routes,
        rounds_routes,
        unattended_routes,
        evaluations_routes,
        evaluation_routes,
        runs_routes,
        preference_routes,
        sft_routes,
        leaderboard_routes,
        quality_routes,
        gold_routes,
        adjudication_routes,
        hours_routes,
        queue_explained_routes,
        exports_routes,
        styleguide,
    ),
)

MAX_BODY = 1_000_000  # bytes; a route that takes an import says so with `max_body_size=`
JUDGING = re.compile(
    rf"{V1}/(projects/[^/]+/tasks/next|tasks/[^/]+/(label|skip|return|renew|withdraw))|/tasks/[^/]+/(label|skip)"
)
ASKING_MODELS = re.compile(
    rf"{V1}/projects/[^/]+/(score|generate)|({V1})?/chats/[^/]+/turns|{OPENAI}/chat/completions|/projects/[^/]+/playground(/answer)?"
)
LETTING_IN = ("/sign-in", "/invitations/", "/password/", "/account/password", "/account/second-factor")
WITHOUT_A_PLACE = ("/static/", f"{V1}/health")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on the settings' database, which must be at head."""
    settings = settings or get_settings()
    app = DescribedApp(
        title="Tastemaker",
        version="1",
        openapi_url=f"{V1}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # nobody listens, and each request would ask
        dependencies=[Depends(enforce)],
        lifespan=_with_threads,
    )
    connect(app, settings)
    for calls in CALLS:
        app.include_router(gated(calls.router), prefix=V1)
    app.include_router(gated(openai_api.router), prefix=OPENAI, include_in_schema=False)  # described by OpenAI
    app.include_router(gated(feedback_v1.router), prefix=OPENAI, include_in_schema=False)
    for pages in PAGES:
        app.include_router(gated(pages.router), include_in_schema=False)
    app.mount("/static", StaticPages(), name="static")
    app.state.templates = path_templates(app)
    add_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(SecondTry)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)
    app.add_middleware(TooLargeInWords)
    app.add_middleware(WaitingRoom, room_for=rooms(capacity_of(settings)))
    app.add_middleware(SameSite)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False)
    app.add_middleware(ResponseHeaders)
    app.add_middleware(SpeaksLanguage)
    return app


def connect(app: FastAPI, settings: Settings) -> None:
    """Give the application its database and what lives as long as that."""
    app.state.settings = settings
    app.state.looks = Looks(limits_of(settings))
    app.state.refuse_unusable_model = app.state.looks.refuse_unusable
    capacity = capacity_of(settings)
    app.state.engine = make_engine(settings.url, capacity)
    app.state.instant_reads = InstantReads(app.state.engine)
    app.state.rate_limit = RateLimit(settings)
    app.state.uses = UseLog(app.state.engine)
    app.state.hashing = Hashing()
    app.state.failures = FailureLog(app.state.engine)
    app.state.doorman = Doorman(app.state.engine, app.state.hashing, app.state.failures)
    app.state.health = HealthWatch(app.state.engine, settings.data)
    app.state.warm = WarmProcess(settings.data)
    app.state.write_group = WriteGroup(app.state.engine, capacity.threads)


def capacity_of(settings: Settings) -> Capacity:
    return Capacity(settings.at_once)


@asynccontextmanager
async def _with_threads(app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = capacity_of(app.state.settings).threads
    yield


# Who needs a place of which room


def rooms(capacity: Capacity) -> Callable[[str, str], Room | None]:
    """Verdicts, and claims of programs, have one of their own, so that no list holds back who judges; a browser claims with the
    page that shows the task, among everything else. Whoever asks a model waits for it, not for the database: for as many as the
    warm process takes in, and as many again, who are told by it that it is full. Whoever signs in has one, so that no crowd at
    the door holds back who is inside. Static files and the question how we are need none."""
    judging = Room(capacity.judging, 8 * capacity.judging)
    letting_in = Room(capacity.letting_in, 4 * capacity.at_once, patience_s=4.0)
    asking_models = Room(2 * MOST_WAITING, 0)
    everything_else = Room(capacity.at_once, 6 * capacity.at_once)

    def room_for(method: str, path: str) -> Room | None:
        if path.startswith(WITHOUT_A_PLACE):
            return None
        if method == "POST" and JUDGING.fullmatch(path):
            return judging
        if method == "POST" and ASKING_MODELS.fullmatch(path):
            return asking_models
        if method == "POST" and path.startswith(LETTING_IN):
            return letting_in
        return everything_else

    return room_for
