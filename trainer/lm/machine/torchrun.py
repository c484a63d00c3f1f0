"""`python -m trainer.lm.machine.torchrun N KIND RUN_DIR`: torchrun on this machine, with the exit status of what ended first.

torchrun ends with 1 for whatever reason; who started the run asks whether it was refused, cancelled or killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from trainer.contract.folder import EXIT_CANCELLED, EXIT_DONE

AT_ONCE_S: Final = 2  # what ends so soon after the first may be what the first's end took with it, or the other way round


def main(arguments: Sequence[str]) -> int:
    """Do the run in so many processes; negative where a signal ended it."""
    count, kind, folder = arguments
    try:
        run.main(["--standalone", "--nproc-per-node", count, "-m", "trainer", kind, folder])
    except ChildFailedError as error:
        return ended_first([(one.timestamp, one.exitcode) for one in error.failures.values()])
    except SignalException:  # told to stop, and so were they
        return EXIT_DONE if _status(Path(folder)) == "done" else EXIT_CANCELLED
    return EXIT_DONE


def ended_first(endings: Sequence[tuple[float, int]]) -> int:
    """Of when and how processes ended that did not end well, the status that tells why.

    A signal's goes before what it brought about in the others; SIGTERM is what torchrun itself ends the others with, and
    SIGABRT may be what a lost connection makes of another.
    """
    first = min(when for when, _ in endings)
    early = [status for when, status in endings if when <= first + AT_ONCE_S]
    signals = [status for status in early if status < 0 and -status != signal.SIGTERM]
    return next((status for status in signals if -status != signal.SIGABRT), [*signals, early[0]][0])


def _status(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "result.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError):
        return None


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL needs no leave
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
