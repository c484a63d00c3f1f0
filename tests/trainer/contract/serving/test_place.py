"""Where the warm process is found."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from trainer.contract.serving.place import LONGEST_PATH, ask_for, asked_at, folder_of, socket_path


def test_a_question_is_noted_for_the_worker(tmp_path: Path) -> None:
    assert asked_at(tmp_path) is None
    ask_for(tmp_path)
    first = asked_at(tmp_path)
    assert first is not None
    assert abs(first - time.time()) < 5
    time.sleep(0.02)
    ask_for(tmp_path)
    assert (asked_at(tmp_path) or 0) > first


def test_a_socket_in_a_deep_folder_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * LONGEST_PATH)
    ask_for(deep)
    with socket_path(deep) as path, socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        one.listen()
        with socket_path(deep) as again, socket.socket(socket.AF_UNIX) as other:
            assert len(again.encode()) <= LONGEST_PATH
            other.connect(again)
    assert (folder_of(deep) / "socket").is_socket()
