from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from trainer.contract.folder import Refused, read_jsonl
from trainer.files import tensorboard
from trainer.files.metrics import Metrics


def read_events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) as TensorBoard reads them: files in their order, each dropping what it says it does again."""
    found: list[tuple[int, str, float]] = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):  # a record: length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log"):
                found = [row for row in found if row[0] < event.step]
            found += [(event.step, value.tag, round(value.simple_value, 4)) for value in event.summary.value]
    return found


def test_events_say_what_the_lines_say_and_forget_what_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_TENSORBOARD", "true")
    metrics = Metrics(tmp_path / "metrics.jsonl")
    for step in range(3):
        metrics.write(step, {"losses/train_loss": 3.0 - step, "charts/nothing": float("nan")})
    metrics.rewind(1)
    metrics.write(1, {"losses/train_loss": 0.5})
    assert [(row["step"], row["losses/train_loss"]) for row in read_jsonl(tmp_path / "metrics.jsonl")] == [(0, 3.0), (1, 0.5)]
    assert read_events(tmp_path / "tensorboard") == [(0, "losses/train_loss", 3.0), (1, "losses/train_loss", 0.5)]


def test_a_line_that_a_crash_cut_short_stops_no_run(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    for step in range(3):
        metrics.write(step, {"a": 1.0})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "ti')
    metrics.rewind(2)
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [0, 1]


def test_nobody_who_does_not_ask_gets_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "0", "false"):
        monkeypatch.setenv("TASTEMAKER_TENSORBOARD", value)
        Metrics(tmp_path / "metrics.jsonl").write(0, {"losses/train_loss": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_run_without_the_package_is_told_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    tensorboard.require()  # nobody asked
    monkeypatch.setenv("TASTEMAKER_TENSORBOARD", "1")
    with pytest.raises(Refused, match="pip install tensorboardX"):
        tensorboard.require()
