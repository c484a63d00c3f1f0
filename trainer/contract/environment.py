"""What a process that opens a model finds around it: the variables that it needs and no other, so much memory and time.

A model is a stranger's file. The process that reads it is told no database address, no key and no password, so that whatever it
might be made to say or write holds none. What computes for long gives way to the web process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Final

from trainer.contract.messages import Message

MOST_SECONDS: Final = 5.0  # of computing, for one conversation; an honest chat template takes milliseconds
MOST_MEGABYTES: Final = 512
MOST_CHARACTERS: Final = 2_000_000  # a hundred times the longest conversation there can be
RAN_AWAY: Final = signal.SIGPROF  # ends a process whose chat template nothing else could end
EXIT_RAN_AWAY: Final = 3  # of a process that only counts tokens, and could still end such a template itself

GIVES_WAY: Final = 10  # of 19: a tenth of a processor that others want, all of one that nobody wants
GIVES_WAY_TO_RUNS: Final = 15  # a quarter of what a run gets that wants it, too
GOES_FIRST: Final = 500  # of 1000
GOES_BEFORE_RUNS: Final = 800

TOKEN: Final = "HF_TOKEN"  # for who fetches a model; a run finds what was fetched

RUN_MEMORY: Final = "TASTEMAKER_RUN_MEMORY_GB"  # that a run may take; 0 or nothing: most of the machine's
SHARE: Final = 0.9  # of the machine's memory, where nothing says how much

THREADS: Final = "TASTEMAKER_THREADS"  # of the processor that a process computes with; 0 or nothing: PyTorch decides

NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "GLIBC_TUNABLES"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("TZDIR", "LOCPATH", "OPENSSL_CONF"),
        *("HF_HOME", "HF_ENDPOINT", "HF_TOKEN_PATH", "HUGGINGFACE_HUB_CACHE", "TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS"),
        *("DISABLE_TELEMETRY", "DO_NOT_TRACK"),
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE"),  # not NVIDIA_API_KEY
        *(THREADS, "TASTEMAKER_TENSORBOARD", RUN_MEMORY),
    }
)
PREFIXES: Final = (
    *("LC_", "XDG_", "PYTHON", "MALLOC_"),
    *("HF_HUB_", "HF_XET_", "TRANSFORMERS_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NCCL_"),
    *("ROCM_", "ROCR_", "ROCBLAS_", "HIP_", "HSA_", "MIOPEN_", "GPU_", "ZE_", "ONEAPI_"),
    *("TORCH", "PYTORCH_", "TRITON_", "ATEN_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "DNNL_", "ONEDNN_", "GLOO_"),
    *("VECLIB_", "BLIS_", "NUMEXPR_"),
)
SECRET: Final = re.compile("TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
NO_SECRET: Final = frozenset({"TOKENIZERS_PARALLELISM", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_TOKEN_PATH"})  # switches, a place

# Rewards outside of the model: the addresses that the owner named, "name=https://... other=https://...", and their keys
# likewise. A run that names some is told of these, and no other process is.
REWARDS: Final = "TASTEMAKER_REWARDS"
REWARD_KEYS: Final = "TASTEMAKER_REWARD_KEYS"
REWARD_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
ENTRY_POINTS: Final = "tastemaker.rewards"  # the group under which installed packages offer others

GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUP: Final = Path("/proc/self/cgroup")

_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


def wanted_threads(environment: Mapping[str, str]) -> int:
    """So many as this process is told to compute with; 0 where PyTorch decides. Raises ValueError."""
    wanted = environment.get(THREADS) or "0"
    if not (wanted.isascii() and wanted.isdecimal()):
        raise ValueError(f"{THREADS} is {wanted!r}; it must be a whole number, 0 or more")
    return int(wanted)


def needed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment` that Python, torch, transformers and the hub's client read, but none named like a secret."""
    asked = {name: value for name, value in environment.items() if name in NAMES or name.startswith(PREFIXES)}
    return {name: value for name, value in asked.items() if name in NO_SECRET or not SECRET.search(name)}


def read_pairs(text: str) -> dict[str, str]:
    """Name -> value, of "name=value other=value". Raises ValueError, which repeats no value: it may be a key."""
    found: dict[str, str] = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        if not equals or not REWARD_NAME.fullmatch(name):
            raise ValueError(
                "must be name=value, with a space before the next; a name is a small letter, then such, digits, _ or -"
            )
        if not value or name in found:
            raise ValueError(f"{name!r} has no value, or two")
        found[name] = value
    return found


def with_rewards(addresses: Mapping[str, str], keys: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The variables that tell a run of those rewards that it names, and of no other."""
    told = {REWARDS: addresses, REWARD_KEYS: keys}
    named = sorted(set(names))
    found = {variable: " ".join(f"{name}={pairs[name]}" for name in named if name in pairs) for variable, pairs in told.items()}
    return {variable: text for variable, text in found.items() if text}


@lru_cache(maxsize=1)
def installed_rewards() -> Mapping[str, metadata.EntryPoint]:
    """The rewards that packages offer which are installed beside us, by their names; nothing of them is loaded."""
    found = metadata.entry_points(group=ENTRY_POINTS)
    return {one.name: one for one in found if REWARD_NAME.fullmatch(one.name)}


def go_first(badness: int = GOES_FIRST) -> None:
    """When memory runs out in spite of all, the kernel takes this process, not the web process or the database (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(str(badness).encode("ascii"))


def die_with(parent: int) -> None:
    """This process gets SIGTERM when the thread ends that started it, or has ended already: nobody would listen (Linux)."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGTERM)


def give_way(niceness: int = GIVES_WAY) -> None:
    """The web process, and whoever else is less nice, has the processor before this one and all that it starts."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():  # else the session is others', too: a terminal's
        session_gives_way()


def session_gives_way() -> None:
    """Of a process that leads a session, and gives way: the session does so to others.

    Where Linux shares processors between sessions (autogroup), a process's own niceness counts for nothing outside of its own.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness < GIVES_WAY:
        return
    with contextlib.suppress(OSError):
        for _ in range(3):
            try:
                Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
                return
            except BlockingIOError:  # some session's was set within the last tenth of a second
                time.sleep(0.1)


def template_ran_away() -> Message:
    """Why nothing can be asked of a model whose chat template takes more than that."""
    return Message("template_runs_away", seconds=MOST_SECONDS, most=MOST_CHARACTERS, megabytes=MOST_MEGABYTES)


def memory_bytes() -> int:
    """The memory of the machine, or less where this process is in a control group (a container, systemd) that may take less."""
    most = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _limits():
        with contextlib.suppress(OSError, ValueError):  # in a container not there by this path, or "max"
            most.append(int(file.read_text(encoding="ascii")))
    return min(most)


def run_memory_bytes() -> float:
    """What one run may take of it, as the supervisor holds it to (docs/decisions/0019)."""
    return float(os.environ.get(RUN_MEMORY) or 0) * 2**30 or SHARE * memory_bytes()


def _limits() -> Iterator[Path]:
    """The files with the memory limits of the control group of this process and of all around it, of both versions (Linux)."""
    try:
        groups = OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in groups:
        _number, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = GROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = GROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / path.lstrip("/")
        yield from (group / name for group in (own, *own.parents) if group.is_relative_to(root))
