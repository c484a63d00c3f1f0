"""How long one PPO update takes: `python bench/ppo.py [--model PATH]`.

32 answers of 48 tokens to different prompts of 32 tokens, four epochs: sampling, log-probabilities under policy and reference,
values, rewards of a head on the base's states, training. Answers cannot end early and prompts share no beginning, so that every
update does the same work. The first update warms up; the figures are means over the others. Progress on stderr, one JSON line
last on stdout. With `--planted` the reward is a rule instead; the line also says what every rollout earned by it, how far from
the base, and how much of the returns the value head foretold; with `--held-out N` also what answers to N other passages earn by
it before and after. `--advantage` takes another estimator than GAE.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import contextlib
import json
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.installation import ROOT, default_model, say
from bench.never_end import never_end
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.contract.memory.forecast import WRITTEN_AT_ONCE
from trainer.files import checkpoint
from trainer.lm.backbone import Backbone, attach_lora
from trainer.lm.generate import generate
from trainer.lm.loading import load_backbone
from trainer.ppo.advantages import ESTIMATORS
from trainer.ppo.reward import Ids, Reward, Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train
from trainer.reward.features import choose_layers
from trainer.reward.head.model import Group, Head
from trainer.reward.head_files import write_head
from trainer.reward.scorer import Scorer, load_scorer
from trainer.worker.executors.command import TUNING

EPISODES, PROMPT_TOKENS, ANSWER_TOKENS, EPOCHS = 32, 32, 48, 4
UNBOUNDED = 1e6
PLANTED_SCALE = 4.0
HELD_OUT_ANSWERS = 8  # to each passage


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-ppo-") as place:
        folder = Path(place)
        backbone = load_backbone(str(options.model or default_model(folder)), options.dtype)
        run = _run_folder(folder / "run", options)
        config = run.config
        assert isinstance(config, PPOConfig)
        attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
        prompts, held_out = told_apart(backbone.tokenizer, config.episodes // config.answers_per_prompt, options.held_out)
        never_end(backbone)
        reward: Reward = Rule(planted) if options.planted else random_scorer(folder / "reward", backbone)
        shares = [even_share(backbone, config, held_out)] if held_out else []
        say(f"{options.updates} updates and one to warm up")
        with contextlib.redirect_stdout(sys.stderr):
            train(run, config, backbone, reward, [Prompt(index, ids) for index, ids in enumerate(prompts)], [])
        shares += [even_share(backbone, config, held_out)] if held_out else []
        rows = list(read_jsonl(run.file("metrics.jsonl")))
    steps = [row for row in rows if "losses/steps" in row][1:]
    stages = {name: [row[f"time/{name}"] for row in steps] for name in ("generate_s", "score_s", "train_s")}
    updates = [sum(times) for times in zip(*stages.values(), strict=True)]
    tokens = options.episodes * (PROMPT_TOKENS + options.answer_tokens)
    figures = {
        "update_s": round(statistics.fmean(updates), 2),
        "update_min_s": round(min(updates), 2),
        **{name: round(statistics.fmean(times), 2) for name, times in stages.items()},
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "tokens_per_s": round(tokens / statistics.fmean(updates), 1),
        "gemm_tflops": round(gemm_tflops(backbone.dtype), 3),
        **(_learned(rows) if options.planted else {}),
        **({"held_out_shares": shares} if shares else {}),
        "settings": {
            "model": backbone.source.rsplit("/", 1)[-1],
            "episodes": options.episodes,
            "prompt_tokens": PROMPT_TOKENS,
            "answer_tokens": options.answer_tokens,
            "epochs": EPOCHS,
            "optimiser_steps": steps[-1]["losses/steps"],
            "lora_layers": config.lora_layers,
            "seed": config.seed,
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
        },
    }
    print(json.dumps(figures))
    return 0


def gemm_tflops(dtype: torch.dtype, rows: int = 2048, width: int = 576, out: int = 1536, times: int = 30) -> float:
    """What the processor reaches in products of the shapes of SmolLM2's layers: the limit that the stages are held against."""
    states, weight = torch.randn(rows, width, dtype=dtype), torch.randn(out, width, dtype=dtype)
    torch.nn.functional.linear(states, weight)
    began = time.perf_counter()
    for _ in range(times):
        torch.nn.functional.linear(states, weight)
    return 2 * rows * width * out * times / (time.perf_counter() - began) / 1e12


def _learned(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Of every rollout, the last one after the last update: what it earned, nats per answer from the base, explained variance."""
    trained = [row for row in rows if "losses/explained_variance" in row]
    return {
        "scores": [round(row["rollout/score"], 4) for row in rows],
        "kl": [round(row["kl/exact_nats_per_answer"], 2) for row in rows],
        "explained_variance": [round(row["losses/explained_variance"], 2) for row in trained],
    }


def even_share(backbone: Backbone, config: PPOConfig, prompts: list[list[int]]) -> float:
    """The planted rule's mean share over HELD_OUT_ANSWERS sampled answers to each of these prompts."""
    answers = generate(
        backbone,
        [prompt for prompt in prompts for _ in range(HELD_OUT_ANSWERS)],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        generator=torch.Generator().manual_seed(config.seed),
        batch_size=WRITTEN_AT_ONCE,
    )
    return round(float(planted([], [answer.ids for answer in answers]).mean()) / PLANTED_SCALE, 4)


def _run_folder(path: Path, options: argparse.Namespace) -> RunFolder:
    path.mkdir()
    config: dict[str, Any] = {
        "updates": options.updates + 1,
        "episodes": options.episodes,
        "max_new_tokens": options.answer_tokens,
        "epochs": EPOCHS,
        "advantage": options.advantage,
        "answers_per_prompt": options.answers_per_prompt,
        "learning_rate": options.learning_rate,
        "lora_layers": options.lora_layers,
        "dtype": options.dtype,
        "seed": options.seed,
        # No guard may cut the work short.
        "kl_stop_nats": UNBOUNDED,
        "entropy_floor_nats": -1.0,
        "early_stop_kl_nats": UNBOUNDED,
        "adaptive_kl": not options.planted,  # where learning is measured KL costs what it costs a peer
    }
    (path / "run.json").write_text(json.dumps({"kind": "ppo", "config": config, "inputs": {}}), encoding="utf-8")
    return RunFolder(path)


def passages(tokenizer: Any, count: int) -> list[list[int]]:
    """Token ids of different passages of the demo project's questions; an edit of those moves what a planted run learns."""
    rows = read_jsonl(ROOT / "app" / "demo" / "demo_prompts.jsonl")
    text = "\n".join(row["text"] for row in rows if "text" in row)  # conversations are left out
    ids = tokenizer(text)["input_ids"]
    starts = torch.linspace(0, len(ids) - PROMPT_TOKENS - 1, count).long().tolist()
    return [ids[start : start + PROMPT_TOKENS] for start in starts]


def told_apart(tokenizer: Any, count: int, held_out: int) -> tuple[list[list[int]], list[list[int]]]:
    """So many passages to train on, and so many others."""
    found = passages(tokenizer, count + held_out)
    others = {round((number + 0.5) * len(found) / held_out - 0.5) for number in range(held_out)}
    return [ids for at, ids in enumerate(found) if at not in others], [found[at] for at in sorted(others)]


def planted(_prompts: Ids, answers: Ids) -> Tensor:
    """PLANTED_SCALE times the share of even token ids in the answer."""
    return torch.tensor([PLANTED_SCALE * sum(token % 2 == 0 for token in given) / len(given) for given in answers])


def random_scorer(folder: Path, backbone: Backbone) -> Scorer:
    """A reward head of random weights on a few layers: what it says does not matter here, what it costs does."""
    width, layers = backbone.plain.config.hidden_size, choose_layers(backbone)
    generator = torch.Generator().manual_seed(0)
    groups = {
        f"layer_{layer}": Group(torch.zeros(width), torch.ones(1), 1.0, torch.randn(width, generator=generator).double())
        for layer in layers[:: max(1, len(layers) // 4)]
    }
    head = Head(groups, torch.zeros(1, width * len(groups), dtype=torch.float64), 0.0, None, [], 1.0)
    settings = {"max_tokens": 256, "pessimism": 0.0, "panel_mean": 0.0, "panel_deviation": 100.0}
    manifest = {"kind": "reward", "form": "head", "base": {"source": backbone.source, "sha256": backbone.sha256}}
    checkpoint.save(folder, lambda inner: write_head(inner, head, settings), manifest)
    return load_scorer(str(folder), backbone)


def _options() -> argparse.Namespace:
    defaults = PPOConfig()
    parser = argparse.ArgumentParser(description="How long one PPO update takes.")
    parser.add_argument("--model", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--updates", type=int, default=2, help="updates timed")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="answers per update, a multiple of 4")
    parser.add_argument("--answer-tokens", type=int, default=ANSWER_TOKENS, help="tokens of every answer")
    parser.add_argument("--planted", action="store_true", help="reward even token ids instead of asking a reward model")
    parser.add_argument("--advantage", default=defaults.advantage, choices=tuple(ESTIMATORS), help="estimator of advantages")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--answers-per-prompt", type=int, default=1, help="of an update's; the estimators of groups need two")
    parser.add_argument("--held-out", type=int, default=0, help="with --planted: passages that only tell what was learned")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of sampling, order and adapters")
    parser.add_argument("--lora-layers", type=int, default=defaults.lora_layers, help="adapted layers, 0 for every layer")
    parser.add_argument(
        "--dtype", default=defaults.dtype, choices=("auto", "float32", "bfloat16"), help="arithmetic of the trunk"
    )
    return parser.parse_args()


if __name__ == "__main__":
    if not TUNING.keys() <= os.environ.keys():  # read by the C library when a process begins, as the supervisor does it
        os.execve(sys.executable, [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]], {**TUNING, **os.environ})
    sys.exit(main())
