"""A process that opens a model is told where things lie, and no secret."""

from pathlib import Path

import psutil
import pytest

from trainer.contract import environment
from trainer.contract.environment import memory_bytes, needed


def test_what_a_run_needs_is_passed_on_and_no_address_and_no_secret_is() -> None:
    needs = {
        "PATH": "/bin",
        "HF_HOME": "/models",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "https_proxy": "http://proxy:3128",
        "TASTEMAKER_TENSORBOARD": "1",
    }
    secrets = {
        "TASTEMAKER_DATABASE_URL": "postgresql+psycopg://taste:secret@localhost/taste",
        "TASTEMAKER_TEST_POSTGRES": "postgresql+psycopg://taste:secret@localhost/taste",
        "PGPASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HF_TOKEN": "hf_secret",
        "TASTEMAKER_KEY": "tm_1_secret",
        "SSH_AUTH_SOCK": "/run/agent",
    }
    assert needed(needs | secrets) == needs


def test_the_memory_is_the_machines_or_what_its_container_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CONTAINER", (tmp_path / "memory.max",))
    assert memory_bytes() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert memory_bytes() == 2**30
