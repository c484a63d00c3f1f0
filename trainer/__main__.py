"""`python -m trainer {sample,ask,reward,ppo,preference,sft} RUN_DIR`: do one run; all it needs is in its folder.

Exit status: 0 done, 2 refused (result.json says why), 3 cancelled (its state is saved; starting it again goes on), 75 another
process is at work in the folder. Anything else is a crash, and starting it again goes on from the last saved state.
TASTEMAKER_THREADS sets the processor cores used, TASTEMAKER_TENSORBOARD writes TensorBoard events into the folder.

`torchrun --nproc-per-node N -m trainer KIND RUN_DIR` does it in N processes, with one result. The first has the folder; the
others read a copy in it, which goes with them, or, where they are killed, when the run is started again.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import gc
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, reduce
from pathlib import Path

from trainer.contract.config import CONFIGS, ConfigError
from trainer.contract.english import SpokenError, english
from trainer.contract.environment import wanted_threads
from trainer.contract.folder import (
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_REFUSED,
    EXIT_RETRY,
    UNFINISHED,
    Cancelled,
    Lost,
    Refused,
    RunFolder,
    forget_unfinished,
    keep_private,
    write_atomic,
)
from trainer.contract.messages import Message, as_json
from trainer.files import tensorboard
from trainer.worker.executors.command import TUNING, WITHOUT_TORCH

EXIT_LOST = 1
OF_THE_FIRST = ("lock", "log.txt", "process.json", "progress.json", "result.json", "cancel", "checkpoint")  # in a run's folder
SHARE = "share-"  # begins the name of another process's copy of it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # crashing again and again would change nothing


def main(arguments: Sequence[str]) -> int:
    """Do the run and return its exit status."""
    keep_private()
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Do one run.")
    parser.add_argument("kind", choices=sorted(CONFIGS))
    parser.add_argument("folder", type=Path, metavar="RUN_DIR")
    given = parser.parse_args(arguments)
    if not (given.folder / "run.json").is_file():
        print(f"error: {given.folder} holds no run.json, so it is not a run folder", file=sys.stderr)
        return EXIT_REFUSED
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return _first(given.kind, given.folder)
    from trainer.lm.machine import processes

    if given.kind in WITHOUT_TORCH:
        print(f"error: a run of kind {given.kind} is done by one process", file=sys.stderr)
        return EXIT_REFUSED
    with processes.joined():
        if processes.first():
            return _first(given.kind, given.folder, lambda answer: bool(processes.together(answer)))
        return EXIT_DONE if not processes.together(None)[0] else _other(given.kind, given.folder)


def _first(kind: str, path: Path, tell: Callable[[bool], bool] = bool) -> int:
    """Do the run, as the only process or the first; the others are told whether there is anything to do."""
    with (path / "lock").open("a") as lock:  # the kernel lets go of it when this process ends, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(False)
            print(f"error: another process is at work in {path}", file=sys.stderr)
            return EXIT_RETRY
        forget_unfinished(path)  # not what is young: whoever started this may just be writing process.json
        for left in path.glob(f"{SHARE}*{UNFINISHED}"):  # by processes that were killed; those of this run have not begun
            shutil.rmtree(left, ignore_errors=True)
        if _is_done(path):
            tell(False)
            print(f"{path} is done already; {path / 'result.json'} holds the result")
            return EXIT_DONE
        (path / "result.json").unlink(missing_ok=True)  # the last word of an attempt that was cancelled or refused
        tell(True)
        return _do(kind, path, path)


def _other(kind: str, path: Path) -> int:
    """Do one's share of a run whose first process is another. It is that one whom signals stop, and this one ends with it."""
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(prefix=SHARE, suffix=UNFINISHED, dir=path) as place:
        own = Path(place, "run")
        shutil.copytree(
            path, own, ignore=lambda _at, names: [one for one in names if one in OF_THE_FIRST or one.endswith(UNFINISHED)]
        )
        return _do(kind, own, path)


def _do(kind: str, path: Path, home: Path) -> int:
    try:
        folder = RunFolder(path, home)
        if folder.kind != kind:
            raise Refused(Message("wrong_kind", kind=folder.kind))
        if path == home:
            folder.catch_signals()
        tensorboard.require()
    except (ConfigError, Refused, KeyError, ValueError) as error:
        return _refuse(kind, path, error)
    if kind not in WITHOUT_TORCH:
        _use_threads()
    work = _work(kind)
    try:
        work(folder)
    except (SpokenError, ConfigError) as error:
        return _refuse(kind, path, error)
    except (MemoryError, RuntimeError) as error:
        from trainer.lm.integrity.loaded_whole import is_lack_of_memory

        if not is_lack_of_memory(error):
            raise
        return _refuse(kind, path, Refused(Message("run_out_of_memory")))  # a second try would need as much
    except Cancelled as stop:
        folder.finish("cancelled", reason=Message("cancelled_resumable"), **stop.figures)
        return EXIT_CANCELLED
    except Lost:
        if path == home:
            print("error: another process of this run is gone; started again, in any number, it goes on", file=sys.stderr)
        return EXIT_LOST
    except Exception as error:
        if _disk_error(error) not in NO_ROOM:
            raise
        with suppress(OSError):  # there may not be room for the reason, either
            return _refuse(kind, path, error)
        return EXIT_REFUSED
    return EXIT_DONE


def _work(kind: str) -> Callable[[RunFolder], None]:
    """What does a run of this kind. Imported only now, because it loads torch."""
    gc.disable()  # of the half million objects that come now nothing is garbage, and to look for some takes a second
    try:
        return _imported(kind)
    finally:
        gc.freeze()
        gc.enable()


def _imported(kind: str) -> Callable[[RunFolder], None]:
    """PPO is handed what opens its rewards here."""
    if kind == "ppo":
        from trainer.outside.opening import open_rewards
        from trainer.ppo.run import run
        from trainer.reward.scorer import load_scorer

        return partial(run, open_reward=load_scorer, open_outside=partial(open_rewards, environment=os.environ))
    work: Callable[[RunFolder], None] = importlib.import_module(f"trainer.{kind}.run").run
    return work


def _refuse(kind: str, path: Path, error: Exception) -> int:
    reason = _reason(kind, error)
    figures = error.figures if isinstance(error, Refused) else {}
    result = figures | {"status": "refused", "reason": as_json(reason)}
    write_atomic(path / "result.json", json.dumps(result, indent=1, ensure_ascii=False))
    print(f"refused: {english(reason)}", file=sys.stderr)
    return EXIT_REFUSED


def _reason(kind: str, error: Exception) -> Message:
    if isinstance(error, SpokenError):
        return error.message
    if isinstance(error, ConfigError):
        each = [Message("setting_unusable", setting=f"{kind}.{name}", problem=why) for name, why in error.problems.items()]
        return reduce(lambda first, second: Message("both", first=first, second=second), each)
    if _disk_error(error) in NO_ROOM:
        return Message("folder_not_written", error=str(error))
    if isinstance(error, KeyError):
        return Message("not_in_run_json", name=str(error.args[0]))
    return Message("written", text=str(error))


def _disk_error(error: Exception) -> int | None:
    """The system's number of what a disk refused; safetensors has it in its words alone."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def _is_done(path: Path) -> bool:
    try:
        result = json.loads((path / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(result.get("status") == "done")


def _use_threads() -> None:
    import torch

    try:
        wanted = wanted_threads(os.environ)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if wanted:
        torch.set_num_threads(wanted)


if __name__ == "__main__":
    if not TUNING.keys() <= os.environ.keys():  # started by hand: these are read only when a process begins
        os.execve(sys.executable, [sys.executable, "-m", "trainer", *sys.argv[1:]], {**TUNING, **os.environ})
    sys.exit(main(sys.argv[1:]))
