"""Sends what is announced, in a thread for each address that has something due: no look and no run waits for a receiver."""

from __future__ import annotations

import threading
import time
from importlib import import_module
from typing import Final

from sqlalchemy import Engine

from app.models import utc_now
from app.webhooks.delivering import deliver, due_webhooks
from trainer.worker.failures import living_on

LOOK_S: Final = 1.0
ARRIVING_S: Final = 2.0  # for what is on its way when the worker ends; another sends later what did not arrive


class Courier:
    """`look()` never waits. What a thread has not sent when its worker ends, another sends later."""

    def __init__(self, engine: Engine) -> None:
        import_module("httpx2")  # here: a run that is started while another thread imports would inherit the lock, held
        self._engine = engine
        self._threads: dict[int, threading.Thread] = {}  # by webhook
        self._look_at = 0.0

    def look(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        self._threads = {webhook_id: thread for webhook_id, thread in self._threads.items() if thread.is_alive()}
        for webhook_id in due_webhooks(self._engine, utc_now()):
            if webhook_id not in self._threads:
                thread = threading.Thread(target=self._send, args=(webhook_id,), name=f"webhook {webhook_id}", daemon=True)
                self._threads[webhook_id] = thread
                thread.start()

    def close(self) -> None:
        """Let what is on its way arrive."""
        end = time.monotonic() + ARRIVING_S
        for thread in self._threads.values():
            thread.join(max(0.0, end - time.monotonic()))

    def _send(self, webhook_id: int) -> None:
        with living_on(f"telling webhook {webhook_id}"):
            deliver(self._engine, webhook_id)
