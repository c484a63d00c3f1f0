"""A process that opens a model is told where things lie, and no secret."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from trainer.contract import environment
from trainer.contract.environment import memory_bytes, needed, read_pairs, wanted_threads, with_rewards


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
        "TOKENIZERS_PARALLELISM": "false",
        "HF_TOKEN_PATH": "/keys/hub",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_XET_HIGH_PERFORMANCE": "1",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "MIOPEN_FIND_MODE": "FAST",
        "DO_NOT_TRACK": "1",
    }
    secrets = {
        "TASTEMAKER_DATABASE_URL": "postgresql+psycopg://taste:secret@localhost/taste",
        "TASTEMAKER_TEST_POSTGRES": "postgresql+psycopg://taste:secret@localhost/taste",
        "PGPASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HF_TOKEN": "hf_secret",
        "TASTEMAKER_KEY": "tm_1_secret",
        "TASTEMAKER_REWARDS": "tone=https://reward.example.org/?secret",
        "TASTEMAKER_REWARD_KEYS": "tone=secret",
        "NVIDIA_API_KEY": "secret",
        "HF_HUB_SECRET": "secret",
        "TRANSFORMERS_password": "secret",
        "GPU_CLOUD_CREDENTIALS": "secret",
        "SSH_AUTH_SOCK": "/run/agent",
    }
    assert needed(needs | secrets) == needs


@pytest.mark.parametrize(
    ("groups", "around", "file"),
    [
        ("0::/system.slice/worker.service\n", "system.slice", "memory.max"),
        ("0::/\n", "", "memory.max"),
        ("1:cpu:/\n4:memory:/docker/named-on-the-host\n0::/\n", "memory", "memory.limit_in_bytes"),
        ("5:hugetlb,memory:/a/b\n", "memory/a/b", "memory.limit_in_bytes"),
    ],
)
def test_the_memory_is_the_machines_or_what_a_group_around_may_take(
    groups: str, around: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "GROUPS", tmp_path)
    monkeypatch.setattr(environment, "OWN_GROUP", tmp_path / "own")
    assert memory_bytes() == psutil.virtual_memory().total
    (tmp_path / "own").write_text(groups)
    limit = tmp_path / around / file
    limit.parent.mkdir(parents=True, exist_ok=True)
    limit.write_text("max\n")
    assert memory_bytes() == psutil.virtual_memory().total
    limit.write_text("1073741824\n")
    assert memory_bytes() == 2**30


DIES_WITH = "import sys, time; from trainer.contract.environment import die_with; die_with(int(sys.argv[1])); print(flush=True); "
PARENT = (
    "import os, subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1] + 'time.sleep(60)', str(os.getpid())], stdout=subprocess.PIPE); "
    "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
)


@pytest.mark.skipif(sys.platform != "linux", reason="nowhere else does a process learn that its parent died")
def test_a_process_ends_with_the_one_that_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, DIES_WITH], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.communicate()
    assert child.wait(10) is None  # no child of ours, so nobody says with what it ended
    assert not child.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="nowhere else does a process learn that its parent died")
def test_a_process_whose_parent_died_first_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", DIES_WITH, str(os.getpid() + 1)], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")


def test_a_run_is_told_of_the_rewards_that_it_names_and_of_no_other() -> None:
    addresses = {"tone": "https://tone.example.org/a=b?c=d", "facts": "http://127.0.0.1:9", "other": "https://other.example.org"}
    keys = {"tone": "k=3y", "other": "0ther"}
    told = with_rewards(addresses, keys, ("tone", "facts", "installed"))
    assert told == {
        "TASTEMAKER_REWARDS": "facts=http://127.0.0.1:9 tone=https://tone.example.org/a=b?c=d",
        "TASTEMAKER_REWARD_KEYS": "tone=k=3y",
    }
    assert read_pairs(told["TASTEMAKER_REWARDS"]) == {name: addresses[name] for name in ("facts", "tone")}
    assert read_pairs(told["TASTEMAKER_REWARD_KEYS"]) == {"tone": "k=3y"}
    assert with_rewards(addresses, keys, ()) == {}


@pytest.mark.parametrize(
    "text", ["secret", "=secret", "tone=", "Tone=secret", "a,b=secret", "tone=secret tone=secret", "1=secret"]
)
def test_pairs_that_cannot_be_read_are_refused_without_their_values(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be name=value|has no value") as refused:
        read_pairs(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("said", [{}, {"TASTEMAKER_THREADS": ""}, {"TASTEMAKER_THREADS": "0"}])
def test_nothing_and_0_leave_the_threads_to_pytorch(said: dict[str, str]) -> None:
    assert wanted_threads(said) == 0
    assert wanted_threads({"TASTEMAKER_THREADS": "3"}) == 3


@pytest.mark.parametrize("said", ["-1", "many", "1.5", "\u00b2"])
def test_threads_that_are_no_number_are_named(said: str) -> None:
    with pytest.raises(ValueError, match="TASTEMAKER_THREADS is"):
        wanted_threads({"TASTEMAKER_THREADS": said})
