"""Several processes of one run, as torchrun starts them, but forked from this one, which has torch in memory already."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from trainer.__main__ import main


def do_in_processes(count: int, kind: str, folder: Path, before: Callable[[int], None] = lambda _number: None) -> list[int]:
    """The exit statuses of `trainer kind folder`, by the processes' numbers; each does `before(number)` first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [_begun(number, count, port, kind, folder, before) for number in range(count)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _begun(number: int, count: int, port: int, kind: str, folder: Path, before: Callable[[int], None]) -> int:
    if child := os.fork():
        return child
    status = 70
    try:
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
        torch.set_num_threads(1)
        before(number)
        status = main([kind, str(folder)])
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(status)
