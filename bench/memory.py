"""What one PPO update takes of memory at its peak, beside what was foretold: `python bench/memory.py [--model PATH]`.

Each size is a process of its own: a rollout of that many answers, what is measured of it, and the optimiser's steps over it, with
answers that cannot end early. The peak is the process's resident memory as the kernel counts it (VmHWM), weights and libraries
included. `--answers 16 --prompt 512 --answer 256` measures that one size instead. One JSON line last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import contextlib
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.installation import default_model, say
from bench.never_end import never_end
from bench.ppo import UNBOUNDED, random_scorer
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder
from trainer.contract.memory.fitting import expected
from trainer.contract.memory.forecast import MIB
from trainer.contract.memory.shape import read_shape
from trainer.lm.backbone import attach_lora
from trainer.lm.loading import load_backbone
from trainer.lm.machine.device import machine_of
from trainer.lm.machine.fit import make_room
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train
from trainer.worker.executors.command import TUNING


class Size(NamedTuple):
    answers: int
    prompt: int  # tokens
    answer: int  # tokens
    layers: int = 4  # adapted; 0: all
    recompute: str = "off"


SIZES = [Size(8, 32, 24), Size(8, 256, 16), Size(4, 256, 16, layers=0), Size(4, 256, 16, layers=0, recompute="on")]


def main() -> int:
    options = _options()
    if options.one:
        print(json.dumps(measured(options.model, Size(*json.loads(options.one)))))
        return 0
    own = Size(options.answers, options.prompt, options.answer, options.lora_layers, options.recompute)
    with tempfile.TemporaryDirectory(prefix="tastemaker-memory-") as place:
        model = options.model or default_model(Path(place))
        found = [_in_a_process(model, size) for size in ([own] if options.answers else SIZES)]
    print(json.dumps({"sizes": found, "worst": max((abs(one["foretold_over_peak"] - 1) for one in found), default=None)}))
    return 0


def measured(model: Path, size: Size) -> dict[str, Any]:
    """One update in this process, and its peak so far."""
    began, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="tastemaker-memory-") as place:
        run = _run_folder(Path(place) / "run", size)
        config = run.config
        assert isinstance(config, PPOConfig)
        backbone = load_backbone(str(model), config.dtype)
        attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
        make_room(backbone, "ppo", config)
        never_end(backbone)
        reward = random_scorer(Path(place) / "reward", backbone)
        draw = torch.Generator().manual_seed(0)
        words = backbone.plain.get_input_embeddings().weight.shape[0]
        prompts = [Prompt(at, torch.randint(words, (size.prompt,), generator=draw).tolist()) for at in range(size.answers)]
        with contextlib.redirect_stdout(sys.stderr):
            train(run, config, backbone, reward, prompts, [])
    shape, machine = read_shape(model), machine_of(backbone.device)
    assert shape is not None
    foretold = expected(config, shape, machine)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        **size._asdict(),
        "recomputed": backbone.recompute,
        "peak_mib": round(peak),
        "foretold_mib": round(foretold.peak / MIB),
        "foretold_over_peak": round(foretold.peak / MIB / peak, 3),
        "parts_mib": {name: round(part / MIB) for name, part in foretold.parts.items()},
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "threads": torch.get_num_threads(),
    }


def _in_a_process(model: Path, size: Size) -> dict[str, Any]:
    say(str(size))
    command = [sys.executable, str(Path(__file__).resolve()), "--model", str(model), "--one", json.dumps(size)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**TUNING, **os.environ}, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    say(f"{found['foretold_mib']} MiB foretold, {found['peak_mib']} taken")
    return found


def _run_folder(path: Path, size: Size) -> RunFolder:
    config = {
        "updates": 1,
        "episodes": size.answers,
        "max_prompt_tokens": size.prompt,
        "max_new_tokens": size.answer,
        "epochs": 1,
        "minibatches": 1,
        "lora_layers": size.layers,
        "recompute": size.recompute,
        "panel_prompts": 0,
        "length_control": "off",  # nothing else is written before
        # No guard may cut the work short.
        "kl_stop_nats": UNBOUNDED,
        "entropy_floor_nats": -1.0,
        "early_stop_kl_nats": UNBOUNDED,
    }
    path.mkdir()
    (path / "run.json").write_text(json.dumps({"kind": "ppo", "config": config, "inputs": {}}), encoding="utf-8")
    return RunFolder(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a PPO update takes of memory, beside what was foretold.")
    parser.add_argument("--model", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--answers", type=int, default=0, help="measure one size alone: answers of the update")
    parser.add_argument("--prompt", type=int, default=512, help="its prompts' tokens")
    parser.add_argument("--answer", type=int, default=256, help="its answers' tokens")
    parser.add_argument("--lora-layers", type=int, default=PPOConfig().lora_layers, help="its adapted layers, 0 for every layer")
    parser.add_argument("--recompute", default="auto", choices=("auto", "on", "off"), help="whether it computes layers twice")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
