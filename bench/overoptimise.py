"""Over-optimisation in a minute, with and without guards: `python bench/overoptimise.py [--svg docs/over-optimisation.svg]`.

A planted gold reward likes even tokens and hates repetition; the proxy that PPO is given is blind to repetition. Without guards
the proxy keeps rising while the gold reward falls (Gao et al. 2022, arXiv:2210.10760); with them a judge, the gold reward under
noise, ends the run and the policy it liked is kept. Draws both runs as one picture; one JSON line on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.drawing import chart, svg
from bench.resume import make_base
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.lm.backbone import attach_lora
from trainer.lm.loading import load_backbone
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train

PROMPTS = [Prompt(index, [65, 66, 67 + index]) for index in range(16)]
CONFIG: dict[str, Any] = {
    "updates": 40,
    "episodes": 64,
    "microbatch": 64,
    "minibatches": 2,
    "max_new_tokens": 8,
    "learning_rate": 0.02,
    "temperature": 1.0,
    "beta": 0.0,
    "adaptive_kl": False,
    "early_stop_kl_nats": 10.0,
    "length_control": "off",
    "entropy_floor_nats": -1.0,
    "kl_stop_nats": 1e6,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Over-optimisation with and without guards.")
    parser.add_argument("--svg", type=Path, help="where to draw the picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tastemaker-overoptimise-") as place:
        base = make_base(Path(place) / "base")
        free, _ = learn(Path(place) / "free", base, judge_window=0)
        guarded, result = learn(Path(place) / "guarded", base, judge_window=3)
    if options.svg:
        options.svg.write_text(picture(free, guarded, result["updates"]), encoding="utf-8")
    kept = guarded[result["updates"]]
    line = {
        "reason": result["reason"],
        "kept_update": result["updates"],
        "gold_before": round(free[0]["rollout/judged"], 3),
        "gold_with_guards": round(kept["rollout/judged"], 3),
        "gold_without": round(free[-1]["rollout/judged"], 3),
        "proxy_with_guards": round(kept["rollout/score"], 3),
        "proxy_without": round(free[-1]["rollout/score"], 3),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(line))
    return 0 if result["reason"]["code"] == "judge_parted" and line["gold_with_guards"] > line["gold_without"] else 1


def proxy(_prompts: Ids, answers: Ids) -> Tensor:
    return torch.tensor([6 * sum(token % 2 == 0 for token in given) / len(given) - 3 for given in answers])


def gold(prompts: Ids, answers: Ids) -> Tensor:
    """The proxy's liking, less what repetition costs, which the proxy does not see."""
    return proxy(prompts, answers) - torch.tensor([8 * (1 - len(set(given)) / len(given)) for given in answers])


class Noisy:
    """The gold reward as an honest judge knows it: right on average."""

    def __init__(self) -> None:
        self.draw = torch.Generator().manual_seed(1)

    def __call__(self, prompts: Ids, answers: Ids) -> Tensor:
        return gold(prompts, answers) + torch.randn(len(answers), generator=self.draw)


def learn(folder: Path, base: Path, **config: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A run's metrics, a row per update, and its result."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"kind": "ppo", "config": CONFIG | config, "inputs": {}}), encoding="utf-8")
    run = RunFolder(folder)
    assert isinstance(run.config, PPOConfig)
    backbone = load_backbone(str(base))
    attach_lora(backbone, rank=8, layers=0, seed=0)
    with contextlib.redirect_stdout(sys.stderr):
        result = train(run, run.config, backbone, Rule(proxy, Noisy()), PROMPTS, [])
    return list(read_jsonl(folder / "metrics.jsonl")), result


def picture(free: list[dict[str, Any]], guarded: list[dict[str, Any]], kept: int) -> str:
    """The four curves over updates; those with guards end where the run ended."""
    title = "The proxy rises while the gold reward falls, unless a guard ends the run"
    drawing = chart(title, "update", "mean reward", dots_size=2)
    for name, rows in (("without guards", free), ("with guards", guarded)):
        drawing.add(f"proxy, {name}", [(row["step"], round(row["rollout/score"], 2)) for row in rows])
        drawing.add(f"gold, {name}", [(row["step"], round(row["rollout/judged"], 2)) for row in rows])
    drawing.add("kept", [(kept, round(guarded[kept]["rollout/judged"], 2))], dots_size=7)
    return svg(drawing)


if __name__ == "__main__":
    sys.exit(main())
