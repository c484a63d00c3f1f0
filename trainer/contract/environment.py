"""What a process that opens a model finds around it: the variables that it needs and no other, and so much memory.

A model is a stranger's file. The process that reads it is told no database address, no key and no password, so that whatever it
might be made to say or write holds none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TOKEN: Final = "HF_TOKEN"  # for who fetches a model; a run finds what was fetched

NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "GLIBC_TUNABLES"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HF_HOME", "HF_ENDPOINT", "HF_XET_CACHE", "HUGGINGFACE_HUB_CACHE", "TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS"),
        *("TASTEMAKER_THREADS", "TASTEMAKER_TENSORBOARD"),
    }
)
PREFIXES: Final = (
    *("LC_", "XDG_", "PYTHON", "MALLOC_"),
    *("HF_HUB_", "TRANSFORMERS_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "HSA_"),
    *("TORCH", "PYTORCH_", "TRITON_", "ATEN_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "DNNL_", "ONEDNN_", "GLOO_"),
)

CONTAINER: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def needed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environment` that Python, torch, transformers and the hub's client read."""
    return {name: value for name, value in environment.items() if name in NAMES or name.startswith(PREFIXES)}


def memory_bytes() -> int:
    """The memory of the machine, or less where it is a container that may take less."""
    most = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # not a container, or "max"
            most.append(int(file.read_text(encoding="ascii")))
    return min(most)
