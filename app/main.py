"""The web application: settings, layers, rooms, refusals."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from fastapi import Depends, FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.db import make_engine
from app.gate import enforce, path_templates
from app.headers import ResponseHeaders
from app.origin import SameSite
from app.pages import StaticPages
from app.problems import add_handlers
from app.rules import V1
from app.settings import Settings, get_settings
from app.uses import UseLog

ROOMS = ("labeling", "accounts", "projects", "prompts", "rounds", "exports")  # routes are tried in this order: the busiest first
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
        dependencies=[Depends(enforce)],
    )
    app.state.settings = settings
    app.state.engine = make_engine(settings.url)
    app.state.uses = UseLog(app.state.engine)
    for room in ROOMS:
        if find_spec(f"app.{room}.api"):
            app.include_router(import_module(f"app.{room}.api").router, prefix=V1)
        if find_spec(f"app.{room}.routes"):
            app.include_router(import_module(f"app.{room}.routes").router, include_in_schema=False)
    app.mount("/static", StaticPages(), name="static")
    app.state.templates = path_templates(app)
    add_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)
    app.add_middleware(SameSite, settings=settings)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts, www_redirect=False)
    app.add_middleware(ResponseHeaders, settings=settings)
    return app
