"""The web application: settings, layers, rooms, refusals."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.accounts.api import router as accounts_api
from app.accounts.language_routes import router as language_pages
from app.accounts.routes import router as accounts_pages
from app.accounts.sign_in import Doorman
from app.db import InstantReads, make_engine
from app.exports.api import router as exports_api
from app.exports.routes import router as exports_pages
from app.gate import enforce, path_templates
from app.group_commit import WriteGroup
from app.headers import ResponseHeaders
from app.labeling.api import router as labeling_api
from app.labeling.routes import router as labeling_pages
from app.languages import SpeaksLanguage
from app.origin import SameSite
from app.pages import StaticPages
from app.problems import add_handlers
from app.projects.api import router as projects_api
from app.projects.routes import router as projects_pages
from app.prompts.api import router as prompts_api
from app.prompts.routes import router as prompts_pages
from app.rounds.api import router as rounds_api
from app.rounds.routes import router as rounds_pages
from app.rounds.sft_routes import router as sft_pages
from app.rules import V1
from app.settings import Settings, get_settings
from app.styleguide import router as styleguide
from app.uses import UseLog

MAX_BODY = 1_000_000  # bytes; a route that takes an import says so with `max_body_size=`


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on the settings' database, which must be at head."""
    settings = settings or get_settings()
    app = FastAPI(
        title="Tastemaker",
        version="1",
        openapi_url=f"{V1}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # nobody listens, and each request would ask
        dependencies=[Depends(enforce)],
    )
    connect(app, settings)
    for calls in (labeling_api, accounts_api, projects_api, prompts_api, rounds_api, exports_api):
        app.include_router(calls, prefix=V1)  # tried in this order: the busiest first
    for pages in (
        *(labeling_pages, accounts_pages, language_pages, projects_pages, prompts_pages),
        *(rounds_pages, sft_pages, exports_pages, styleguide),
    ):
        app.include_router(pages, include_in_schema=False)
    app.mount("/static", StaticPages(), name="static")
    app.state.templates = path_templates(app)
    add_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)
    app.add_middleware(SameSite)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False)
    app.add_middleware(ResponseHeaders)
    app.add_middleware(SpeaksLanguage)
    return app


def connect(app: FastAPI, settings: Settings) -> None:
    """Give the application its database and what lives as long as that."""
    app.state.settings = settings
    app.state.engine = make_engine(settings.url)
    app.state.instant_reads = InstantReads(app.state.engine)
    app.state.uses = UseLog(app.state.engine)
    app.state.doorman = Doorman(app.state.engine)
    app.state.write_group = WriteGroup(app.state.engine)
