import errno
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from trainer.contract.config import ConfigError, SampleConfig
from trainer.contract.folder import Cancelled, RunFolder, make, read_jsonl, write_atomic
from trainer.contract.messages import Message
from trainer.files import checkpoint


def folder(path: Path, **spec: Any) -> RunFolder:
    (path / "run.json").write_text(json.dumps({"kind": "sample", **spec}), encoding="utf-8")
    return RunFolder(path)


def progress(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.file("progress.json").read_text(encoding="utf-8"))
    return found


def test_a_folder_says_what_to_do(tmp_path: Path) -> None:
    run = folder(tmp_path, config={"per_prompt": 3}, inputs={"policy": "x"})
    assert run.config == SampleConfig(per_prompt=3)
    assert run.inputs == {"policy": "x"}
    with pytest.raises(ConfigError, match="per_promt"):
        folder(tmp_path, config={"per_promt": 3})


def test_paths_inside_the_folder_become_absolute_and_hub_ids_stay(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    run = folder(tmp_path)
    assert run.resolve("model") == str(tmp_path / "model")
    assert run.resolve(str(tmp_path)) == str(tmp_path)
    assert run.resolve("owner/name") == "owner/name"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was brought to the disk, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def noting(handle: int) -> None:
        paths.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    return paths


def test_a_result_is_written_once_the_rows_it_tells_of_are_on_the_disk(tmp_path: Path, synced: list[Path]) -> None:
    """A power cut would else leave a run that is done and lacks its last answers."""
    run = folder(tmp_path)
    run.append("generations.jsonl", [{"prompt_id": 7}])
    run.finish("done")
    assert synced[0] == tmp_path / "generations.jsonl"
    assert [path.name.partition(".")[0] for path in synced[1:]] == ["result", tmp_path.name.partition(".")[0]]


def test_folders_that_are_made_survive_a_power_cut(tmp_path: Path, synced: list[Path]) -> None:
    make(tmp_path / "a" / "b" / "c")
    assert set(synced) == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}
    make(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_a_state_is_on_the_disk_with_the_folder_of_all_states(tmp_path: Path, synced: list[Path]) -> None:
    checkpoint.save_state(tmp_path / "state", 1, {"step": 1})
    assert {tmp_path, tmp_path / "state"} <= set(synced)


def test_a_disk_that_keeps_no_folder_durable_takes_files_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some shares in a network do; of a file it would be a failure."""
    fsync, refused = os.fsync, [stat.S_ISDIR]

    def refusing(handle: int) -> None:
        if refused[0](os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refusing)
    write_atomic(tmp_path / "a.json", "{}")
    assert (tmp_path / "a.json").read_text() == "{}"
    refused[0] = stat.S_ISREG
    with pytest.raises(OSError, match="Invalid argument"):
        write_atomic(tmp_path / "b.json", "{}")


def test_progress_estimates_the_time_left_from_what_this_process_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("trainer.contract.folder.time.monotonic", lambda: now)
    run = folder(tmp_path)
    run.progress(50, 100, Message("written", text="resumed"))
    assert progress(run)["eta_s"] is None  # steps done by an earlier process say nothing about speed
    now = 110.0
    run.progress(60, 100, Message("written", text="going on"))
    assert progress(run) | {"updated_at": ""} == {
        "step": 60,
        "total": 100,
        "message": {"code": "written", "arguments": {"text": "going on"}},
        "rate_per_s": 1.0,
        "eta_s": 40.0,
        "updated_at": "",
    }


def test_what_comes_before_the_first_step_is_no_part_of_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("trainer.contract.folder.time.monotonic", lambda: now)
    run = folder(tmp_path)
    run.progress(0, 10, Message("opening_model"))
    now = 60.0
    run.progress(0, 10, Message("writing_answers"))
    now = 62.0
    run.progress(1, 10, Message("writing_answers"))
    assert progress(run)["eta_s"] == 18.0


def test_a_cancel_file_and_a_signal_both_stop_at_the_next_check(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.check()
    run.file("cancel").touch()
    with pytest.raises(Cancelled):
        run.check()
    run.file("cancel").unlink()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        run.catch_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Cancelled):
            run.check()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_rows_are_appended_and_read_back(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert list(read_jsonl(run.file("rows.jsonl"))) == []
    run.append("rows.jsonl", [{"text": "zwei\nZeilen ß"}])
    run.append("rows.jsonl", [{"text": "b"}, {"text": "c"}])
    assert [row["text"] for row in read_jsonl(run.file("rows.jsonl"))] == ["zwei\nZeilen ß", "b", "c"]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "one")
    write_atomic(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_result_is_the_last_word(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.finish("done", figure=1.5)
    assert json.loads(run.file("result.json").read_text(encoding="utf-8")) == {"status": "done", "figure": 1.5}
