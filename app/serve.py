"""The web process: uvicorn on the application."""

from __future__ import annotations

import gc
import resource
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.database.capacity import Capacity, open_connections, require_connections
from app.database.upgrade import require_head
from app.main import capacity_of, create_app
from app.settings import Settings
from app.web.sockets.guard import GuardedServer, guarded

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
    open_connections(app.state.engine, capacity_of(settings))
    server = GuardedServer(configured(app, settings), at_stop=app.state.looks.end)
    signal.signal(signal.SIGTERM, _stay)
    try:
        server.run()
    finally:
        app.state.uses.finish()
        app.state.failures.finish()
        app.state.instant_reads.close()
        app.state.engine.dispose()
    return 0 if server.started else 1


def _stay(number: int, frame: FrameType | None) -> None:
    """Once it has stopped serving, uvicorn sends the signal once more, which would end the process before it has put away."""


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """What X-Forwarded-For and -Proto say of a client is believed only where a proxy sends it that the settings name."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=guarded(most_connections(capacity_of(settings)), settings.trusted_proxies),
        ws="none",  # nothing of ours asks for one, and it would leave the guard's eyes
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
    )


def most_connections(capacity: Capacity) -> int:
    """As many as the house is made for, or as files may be open here: three quarters, as the database and the pages need some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = capacity.sockets * 3 // 2
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return capacity.sockets if soft == resource.RLIM_INFINITY else min(capacity.sockets, soft * 3 // 4)
