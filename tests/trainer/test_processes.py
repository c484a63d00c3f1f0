"""Several processes of one run: they come to what one comes to, and end in order where one of them is lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.resume import make_base
from tests.trainer.forked import do_in_processes
from tests.trainer.ppo import test_run as ppo
from tests.trainer.preference import test_run as preference
from tests.trainer.sft import test_run as sft
from trainer.__main__ import EXIT_LOST, main
from trainer.contract.folder import EXIT_DONE, EXIT_REFUSED, EXIT_RETRY, read_jsonl
from trainer.ppo import run as ppo_run
from trainer.ppo.rollout import write_answers

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.timeout(900)]

SAME = 1e-5
TIMES = ("time", "time/generate_s", "time/score_s", "time/train_s")
Make = Callable[[Path], Path]  # makes a run's folder


@pytest.fixture(scope="module")
def made(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Make]:
    """A run of each kind that several processes can do, over models with attention."""
    place = tmp_path_factory.mktemp("models")
    base, reward = make_base(place / "base"), ppo.make_reward(place / "reward", llama_folder)

    def demonstrated(path: Path) -> Path:
        run = sft.folder(path, str(llama_folder), epochs=1, batch_size=5, block_tokens=64, look_every=2)
        sft.demonstrations(run, "Green tea.", 24)
        return run.path

    def sampled(path: Path) -> Path:
        path.mkdir()
        config = {"per_prompt": 2, "max_new_tokens": 9, "batch_size": 3}
        spec = {"kind": "sample", "config": config, "inputs": {"policy": str(base)}}
        (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
        asked = [{"prompt_id": at, "messages": [{"role": "user", "content": f"Say {at}"}]} for at in range(5)]
        preference.write(path / "prompts.jsonl", asked)
        return path

    looked_at: dict[str, Any] = {"heldout_every": 1, "heldout_answers": 1, "updates": 3, "learning_rate": 1e-3}
    return {
        "ppo": lambda path: ppo.make_run(path, llama_folder, reward, **looked_at),
        "shaped": lambda path: ppo.make_run(path, llama_folder, reward, partial_scores=True, **looked_at),
        "dpo": lambda path: preference.make(path, base, epochs=1),
        "kto": lambda path: preference.make(path, base, epochs=1, method="kto"),
        "sft": demonstrated,
        "sample": sampled,
    }


def kind_of(name: str) -> str:
    return {"shaped": "ppo", "dpo": "preference", "kto": "preference"}.get(name, name)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = next((folder / "checkpoint").glob("*model.safetensors"))
    return load_file(found)


def figures(folder: Path) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name not in TIMES} for row in read_jsonl(folder / "metrics.jsonl")]


def assert_alike(one: Path, other: Path) -> None:
    theirs = weights(other)
    for name, tensor in weights(one).items():
        assert torch.allclose(tensor, theirs[name], atol=SAME, rtol=SAME), (name, float((tensor - theirs[name]).abs().max()))
    for row, beside in zip(figures(one), figures(other), strict=True):
        assert row == pytest.approx(beside, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("name", "count"), [*product(["ppo", "dpo", "kto", "sft"], [2, 3]), ("shaped", 2)])
def test_n_processes_come_to_what_one_comes_to(tmp_path: Path, made: dict[str, Make], name: str, count: int) -> None:
    kind = kind_of(name)
    alone, shared = made[name](tmp_path / "alone"), made[name](tmp_path / "shared")
    assert main([kind, str(alone)]) == EXIT_DONE
    assert do_in_processes(count, kind, shared) == [EXIT_DONE] * count
    assert_alike(alone, shared)
    assert len(figures(alone)) >= 3


@pytest.mark.parametrize("count", [2, 3])
def test_prompts_are_shared_out_and_answered_as_by_one(tmp_path: Path, made: dict[str, Make], count: int) -> None:
    alone, shared = made["sample"](tmp_path / "alone"), made["sample"](tmp_path / "shared")
    assert main(["sample", str(alone)]) == EXIT_DONE
    assert do_in_processes(count, "sample", shared) == [EXIT_DONE] * count

    def answers(folder: Path) -> list[Any]:
        return sorted((row["prompt_id"], row["index"], row["token_ids"]) for row in read_jsonl(folder / "generations.jsonl"))

    assert answers(alone) == answers(shared)
    assert len(answers(alone)) == 10


def test_where_one_is_lost_the_run_ends_and_any_number_goes_on(tmp_path: Path, made: dict[str, Make]) -> None:
    whole, broken = made["ppo"](tmp_path / "whole"), made["ppo"](tmp_path / "broken")
    assert main(["ppo", str(whole)]) == EXIT_DONE

    def die_in_the_third_rollout(number: int) -> None:
        begun = iter(range(100))

        def written(*given: Any) -> Any:
            if next(begun) == 3:  # the first looks how long answers are
                os._exit(9)
            return write_answers(*given)

        if number == 1:
            vars(ppo_run)["write_answers"] = written

    assert do_in_processes(2, "ppo", broken, die_in_the_third_rollout) == [EXIT_LOST, 9]
    assert not (broken / "result.json").exists()
    assert list((broken / "state").iterdir())
    assert len(figures(broken)) == 2
    assert shares(broken), "what was killed cleans nothing up"
    assert do_in_processes(3, "ppo", broken) == [EXIT_DONE] * 3
    assert not shares(broken)
    assert_alike(whole, broken)


def shares(folder: Path) -> list[Path]:
    """The copies of the run that other processes have made."""
    return list(folder.glob("share-*"))


def test_all_hear_what_there_is_to_do(tmp_path: Path, made: dict[str, Make]) -> None:
    """What is done is not done again, and what is at work elsewhere is left alone; nobody waits for the first."""
    folder = made["sample"](tmp_path / "run")
    assert main(["sample", str(folder)]) == EXIT_DONE
    assert do_in_processes(2, "sample", folder) == [EXIT_DONE] * 2
    (folder / "result.json").unlink()
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert do_in_processes(2, "sample", folder) == [EXIT_RETRY, EXIT_DONE]
    assert do_in_processes(2, "ask", folder) == [EXIT_REFUSED] * 2


def test_torchrun_does_it(tmp_path: Path, made: dict[str, Make]) -> None:
    folder = made["sample"](tmp_path / "run")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "trainer"]
    ended = subprocess.run([*command, "sample", str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(list(read_jsonl(folder / "generations.jsonl"))) == 10
    assert not shares(folder)
    shutil.rmtree(folder)
