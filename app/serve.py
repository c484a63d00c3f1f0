"""The web process: uvicorn on the application."""

from __future__ import annotations

import gc

import uvicorn
from fastapi import FastAPI

from app.database.capacity import require_connections
from app.database.upgrade import require_head
from app.main import capacity_of, create_app
from app.settings import Settings

GRACE_S = 5  # for requests in flight when the process is told to stop


def application(settings: Settings | None = None) -> FastAPI:
    """The application as a process serves it: what is there at the start is never looked through for garbage again."""
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    return app


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status. Raises Unavailable unless the database is at head."""
    app = application(settings)
    require_head(app.state.engine)
    require_connections(app.state.engine, capacity_of(settings))
    server = uvicorn.Server(configured(app, settings))
    server.run()
    app.state.uses.finish()
    app.state.failures.finish()
    app.state.instant_reads.close()
    app.state.engine.dispose()
    return 0 if server.started else 1


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """What X-Forwarded-For and -Proto say of a client is believed only where a proxy sends it that the settings name."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
    )
