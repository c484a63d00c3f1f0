"""Whether a killed run goes on bit for bit: `python bench/resume.py [--steps 20] [--kind ppo]`.

For each kind of run that trains (`reward` with adapters, `sft`, `ppo`, `preference` by DPO and by KTO; with "-ptx" in its name
on demonstrations, too) one run goes through undisturbed; then, for every step k, one of the same inputs is killed by SIGKILL
right after optimiser step k and started again. The SHA-256 of the final weights must be the undisturbed run's, and so must that
of a second undisturbed run. A table on stderr, one JSON line on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import LlamaConfig, LlamaForCausalLM

from bench.installation import say
from trainer.__main__ import main as trainer_main
from trainer.files import checkpoint
from trainer.lm.simple_lm import train_tokenizer
from trainer.preference import run as preference
from trainer.reward import adapter
from trainer.sft import run as sft

KINDS = ("reward", "sft", "ppo", "ppo-ptx", "dpo", "dpo-ptx", "kto")
RUN_KIND = {"ppo-ptx": "ppo", "dpo": "preference", "dpo-ptx": "preference", "kto": "preference"}
WORDS = ["the", "sea", "bread", "green", "moon", "walks", "slowly", "under", "old", "maps", "while", "rain", "falls"]


def main() -> int:
    options = _options()
    kinds = options.kind or KINDS
    with tempfile.TemporaryDirectory(prefix="tastemaker-resume-") as place:
        base = make_base(Path(place) / "base")
        line: dict[str, Any] = {"steps": options.steps}
        for kind in kinds:
            whole, again, rows = table(Path(place), base, kind, options.steps, range(1, options.steps + 1))
            for step, digest in rows:
                say(f"{kind:6} killed after step {step:2}  {digest[:16]}  {'same' if digest == whole else 'DIFFERENT'}")
            same = sum(digest == whole for _, digest in rows)
            line[kind] = {"sha256": whole, "kill_points": len(rows), "same": same, "another_folder_same": again == whole}
    print(json.dumps(line))
    return 0 if all(line[kind]["same"] == options.steps and line[kind]["another_folder_same"] for kind in kinds) else 1


def table(place: Path, base: Path, kind: str, steps: int, kill_after: Iterable[int]) -> tuple[str, str, list[tuple[int, str]]]:
    """Digests of an undisturbed run, of another, and of each run killed after a step (counted from 1) and started again."""
    undisturbed = []
    for name in ("whole", "again"):
        folder = make_run(place / kind / name, base, kind, steps)
        attempt(kind, folder)
        undisturbed.append(weights_digest(folder))
    rows = []
    for step in kill_after:
        folder = make_run(place / kind / f"killed-{step}", base, kind, steps)
        if attempt(kind, folder, step) != -signal.SIGKILL:
            raise RuntimeError(f"the {kind} run ended before step {step}")
        attempt(kind, folder)
        rows.append((step, weights_digest(folder)))
    return undisturbed[0], undisturbed[1], rows


def attempt(kind: str, folder: Path, kill_after: int = 0) -> int:
    """Do the run in a process of its own, killed after so many of its optimiser steps (0: never); its exit code."""
    child = multiprocessing.get_context("fork").Process(target=_work, args=(kind, folder, kill_after))
    child.start()
    child.join()
    assert child.exitcode is not None
    if not kill_after and child.exitcode:
        raise RuntimeError(f"the {kind} run in {folder} ended with exit code {child.exitcode}: {folder / 'log.txt'}")
    return child.exitcode


def _work(kind: str, folder: Path, kill_after: int) -> None:
    with (folder / "log.txt").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    torch.set_num_threads(1)
    sft.SAVE_EVERY_S = adapter.SAVE_EVERY_S = (
        preference.SAVE_EVERY_S
    ) = -1.0  # after every step, so that it is a state that is gone on from
    taken = 0

    def count(*_given: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(count)
    os._exit(trainer_main([RUN_KIND.get(kind, kind), str(folder)]))


def weights_digest(folder: Path) -> str:
    """One SHA-256 over those of all weight files of a run's checkpoint."""
    files = checkpoint.verify(folder / "checkpoint")["files"]
    weights = sorted((name, digest) for name, digest in files.items() if name.endswith(".safetensors"))
    return hashlib.sha256(json.dumps(weights).encode()).hexdigest()


def make_base(folder: Path) -> Path:
    """A random Llama of three layers over bytes."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([], 259)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    LlamaForCausalLM(LlamaConfig(vocab_size=259, initializer_range=0.2, **sizes, **ids)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_run(folder: Path, base: Path, kind: str, steps: int) -> Path:
    """A run folder whose training takes exactly `steps` optimiser steps (of a reward run: those on all labels come after)."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    questions = [[{"role": "user", "content": f"Say something, please: {number}"}] for number in range(12)]

    def answer() -> dict[str, Any]:
        return {"text": " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 6))), "token_ids": None}

    config: dict[str, Any]
    inputs: dict[str, Any] = {"base": str(base), "start": None, "reward": None, "cache": None}
    if kind == "sft":
        talks = [[*asked, {"role": "assistant", "content": answer()["text"]}] for asked in questions * 4]
        _write(folder / "demonstrations.jsonl", [{"messages": talk} for talk in talks])
        config = {"epochs": steps, "batch_size": 48, "block_tokens": 96, "patience": 0}
    elif RUN_KIND.get(kind) == "preference":
        _write(folder / "preferences.jsonl", _labels(questions, 48, answer))
        _write(folder / "panel_prompts.jsonl", [{"prompt_id": 1, "messages": questions[0]}])
        config = {
            "method": kind.removesuffix("-ptx"),
            "epochs": steps,
            "batch_size": 1000,
            "microbatch": 8,
            "looks": 5,
            "look_answers": 4,
        }
        config |= {"lora_rank": 2, "lora_layers": 1, "learning_rate": 0.01, "max_new_tokens": 8, "kl_stop_nats": 1e6}
    elif kind == "reward":
        _write(folder / "preferences.jsonl", _labels(questions[:8], 16, answer))
        config = {"method": "lora", "epochs": steps // 2, "batch_size": 16, "folds": 2, "lora_rank": 2, "lora_layers": 1}
        config |= {"judge_share": 0.0, "min_labels": 8, "learning_rate": 0.01}
    else:
        reward = folder.parent / "reward"
        if not reward.exists():
            make_run(reward, base, "reward", 2)
            attempt("reward", reward)
        inputs["reward"] = str(reward / "checkpoint")
        _write(folder / "prompts.jsonl", [{"prompt_id": number, "messages": asked} for number, asked in enumerate(questions)])
        config = {"updates": steps, "episodes": 6, "epochs": 1, "minibatches": 1, "microbatch": 3, "max_new_tokens": 5}
        config |= {"lora_rank": 2, "lora_layers": 1, "learning_rate": 0.01, "checkpoint_every": 1, "panel_prompts": 1}
        config |= {"kl_stop_nats": 1e6, "entropy_floor_nats": -1.0, "early_stop_kl_nats": 1e6}
    if kind.endswith("-ptx"):  # more than a step takes, and no multiple of that
        some = questions[:7] if kind == "ppo-ptx" else [*questions * 5, *questions[:10]]
        talks = [[*asked, {"role": "assistant", "content": answer()["text"]}] for asked in some]
        _write(folder / "rewrites.jsonl", [{"messages": talk} for talk in talks])
        config |= {"ptx_weight": 0.5} | ({"batch_size": 48} if kind == "dpo-ptx" else {})
    (folder / "run.json").write_text(
        json.dumps({"kind": RUN_KIND.get(kind, kind), "config": config, "inputs": inputs}), encoding="utf-8"
    )
    return folder


def _labels(questions: list[Any], count: int, answer: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons, won by the answer that speaks more of the moon."""
    labels = []
    for number in range(count):
        left, right = answer(), answer()
        moons = [one["text"].count("moon") for one in (left, right)]
        choice = "tie" if moons[0] == moons[1] else "left" if moons[0] > moons[1] else "right"
        asked = {"label_id": number, "prompt_id": number % len(questions), "messages": questions[number % len(questions)]}
        labels.append({**asked, "left": left, "right": right, "choice": choice, "strength": None, "annotator": "one"})
    return labels


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether a killed run goes on bit for bit.")
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps of each run (an even number)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="repeat it for several; all by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
