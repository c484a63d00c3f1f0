"""`python -m trainer.serve.process DATA PARENT`: the warm process. It ends with the worker that started it, by SIGTERM, or itself
once it was told to.

The main thread computes, another talks to clients. Started by `trainer/worker/warm.py`, which says when.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Final

import torch
import uvicorn

from trainer.contract.environment import GIVES_WAY_TO_RUNS, GOES_BEFORE_RUNS, die_with, give_way, go_first, wanted_threads
from trainer.contract.folder import keep_private
from trainer.contract.serving.place import ask_for, folder_of, socket_path
from trainer.serve.application import application
from trainer.serve.engine import Engine
from trainer.serve.jobs import Desk
from trainer.serve.open_models import OpenModels

GRACE_S: Final = 3  # for replies under way when the process is told to end


def listen(data: Path) -> socket.socket:
    """The socket, in the place of one that a process before this left. Only this account may reach it."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_path(data) as path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listening.bind(path)
    listening.listen(128)
    return listening


def threads(wanted: int) -> int:
    """As many as are wanted; where nothing is said (0), all that PyTorch would take but one.

    That one is for those who pass the words on: the clients' thread and the web process. Threads that share out each step of a
    decoder wait for the slowest, so that with a thread more an answer is there later, not sooner.
    """
    return wanted or max(1, torch.get_num_threads() - 1)


def main(arguments: list[str]) -> int:
    data, parent = Path(arguments[0]), int(arguments[1])
    keep_private()
    go_first(GOES_BEFORE_RUNS)
    give_way(GIVES_WAY_TO_RUNS)
    die_with(parent)
    told_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        told_to_stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    torch.set_num_threads(threads(wanted_threads(os.environ)))
    desk = Desk()
    server = uvicorn.Server(
        uvicorn.Config(
            application(desk),
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    folder_of(data).mkdir(parents=True, exist_ok=True)
    listening = listen(data)
    talking = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="clients")
    talking.start()
    engine = Engine(desk, OpenModels(data), lambda: told_to_stop.is_set() or not talking.is_alive(), lambda: ask_for(data))
    engine.run()
    server.should_exit = True
    talking.join(2 * GRACE_S)
    return 0 if told_to_stop.is_set() else 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # there is nothing to save, and to take apart what was imported takes a nice process long
