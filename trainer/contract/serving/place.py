"""Where the warm process is found: at a socket in the data folder. Whoever may open that folder may ask, and nobody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from trainer.contract.folder import make

LONGEST_PATH: Final = 100  # bytes of a socket's address; the kernel takes 107, that of macOS 103


def folder_of(data: Path) -> Path:
    return data.resolve() / "warm"


def ask_for(data: Path) -> None:
    """Say that somebody asks: where the process is not there a worker starts it, and where it is it stays."""
    folder = folder_of(data)
    make(folder)
    (folder / "asked").touch()


def asked_at(data: Path) -> float | None:
    """When somebody asked last, in seconds since 1970; None: nobody did."""
    try:
        return (folder_of(data) / "asked").stat().st_mtime
    except FileNotFoundError:
        return None


@contextmanager
def socket_path(data: Path) -> Iterator[str]:
    """The socket's address while the block runs: its path, or where that is too long for the kernel one by way of its folder."""
    folder = folder_of(data)
    path = str(folder / "socket")
    if len(path.encode()) <= LONGEST_PATH:
        yield path
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/socket"
    finally:
        os.close(handle)
