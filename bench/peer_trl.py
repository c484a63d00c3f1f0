"""TRL beside ours, in one run on one machine: `python bench/peer_trl.py --data DIR [--part ppo|learn|reward|all]`.

ppo     one update of 32 answers of 48 tokens to prompts of 32, four epochs in minibatches of eight: TRL's PPOTrainer, ours with
        every layer adapted, and ours as it is set by default.
learn   the same with a planted reward, the share of even token ids: what every update's rollout earned by it, and at what KL.
reward  TRL's RewardTrainer and ours on the same pairs, cut to the same token ids, asked about the same held-out prompts.

TRL lives in a virtual environment of its own, made on the first call (network; PyTorch is large) and found again in `--work`.
Every measurement is a process of its own, one at a time. One JSON line each on stdout, and a summary with ratios last.
With `--keep` accuracies are compared without speeds: what TRL said of a fold and what our base read stay in `--work`, so that a
bench of hours goes on where it was stopped, and a change of ours is compared without TRL's hours. Our adapters train every time.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import gzip
import hashlib
import json
import random
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.installation import ROOT, default_model, say
from bench.peer_figures import STAGES, Figures, per_update, pooled, ratios
from bench.ppo import ANSWER_TOKENS, EPISODES, EPOCHS, PLANTED_SCALE, PROMPT_TOKENS, passages
from bench.reward import FOLDS, SETS, conversation, pairs
from trainer.contract.config import PPOConfig, RewardConfig
from trainer.lm.backbone import LORA_ALPHA_PER_RANK, Backbone
from trainer.lm.loading import load_backbone
from trainer.reward.data import Answer, encode_all
from trainer.reward.data import folds as dealt
from trainer.worker.executors.command import TUNING

PEER = "trl==1.12.0"  # the last release with trl.experimental.ppo
SHARED = ("torch", "peft", "transformers", "tokenizers", "numpy", "safetensors")  # the same versions as ours
PARTS = ("ppo", "learn", "reward")
SIDE = ROOT / "bench" / "peer_trl_side.py"
METHODS = ("head", "lora")  # of our reward
SPEEDS = ("pairs_per_s", "peak_rss_mib", "train_s")
NEVER_SAMPLED = "<gh_stars>"  # of SmolLM2's vocabulary; TRL knows padding by its token alone


def main() -> int:
    options = _options()
    parts = PARTS if options.part == "all" else (options.part,)
    missing = [name for name in options.sets if not (options.data / f"{name}.jsonl.gz").exists()] if "reward" in parts else []
    if missing:
        say(f"{options.data} does not hold {', '.join(name + '.jsonl.gz' for name in missing)}: nothing was measured")
        print(json.dumps({"status": "absent", "missing": missing}))
        return 2
    options.work.mkdir(parents=True, exist_ok=True)
    sides = Sides(environment(options.work), options)
    summary = {part: {"ppo": time_ppo, "learn": learn, "reward": judge}[part](sides, options) for part in parts}
    print(json.dumps({"summary": summary, "threads": options.threads, "dtype": options.dtype, "tuned_peer": options.tune_peer}))
    return 0


def environment(work: Path, peer: str = PEER) -> Path:
    """The Python of this TRL's virtual environment in `work`. What its packages were asked to be lies in it, written last."""
    packages = wanted(peer)
    folder = work / peer.replace("==", "-")
    python, stamp = folder / "bin" / "python", folder / "wanted.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != packages:
        say(f"Making TRL's environment in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *packages.split()]
        for command in ([sys.executable, "-m", "venv", str(folder)], install):
            subprocess.run(command, check=True, stdout=sys.stderr)
        stamp.write_text(packages, encoding="utf-8")
    return python


def wanted(peer: str = PEER) -> str:
    """What TRL's environment is asked to hold, a line each."""
    return "\n".join([peer, *pins((ROOT / "requirements.txt").read_text(encoding="utf-8"), SHARED)])


def pins(requirements: str, names: Sequence[str]) -> list[str]:
    """The lines of a requirements file that pin these packages. Raises ValueError where one is not pinned."""
    found = {line.partition("==")[0]: line.strip() for line in requirements.splitlines() if "==" in line}
    if absent := [name for name in names if name not in found]:
        raise ValueError(f"not pinned: {', '.join(absent)}")
    return [found[name] for name in names]


class Sides:
    """Runs TRL and ours, each measurement in a process of its own, and prints a line for each."""

    def __init__(self, python: Path, options: argparse.Namespace) -> None:
        self.python, self.work = python, options.work
        self.model = options.model or default_model(options.work)
        self.threads, self.tune_peer, self.keep = options.threads, options.tune_peer, options.keep

    def trl(self, line: Figures, job: Figures) -> Figures:
        """What bench/peer_trl_side.py says of this job; `line` says which measurement it is."""
        place = self.work / "job.json"
        common = {
            "model": str(self.model),
            "output": str(self.work / "trl-output"),
            "threads": self.threads,
            **_adapters(job),
        }
        place.write_text(json.dumps(common | job), encoding="utf-8")
        command = [str(self.python), str(SIDE), str(place)]
        return self._run(line | {"side": "trl"}, command, TUNING if self.tune_peer else {})

    def kept_trl(self, line: Figures, job: Figures, weights: str) -> Figures:
        """As `trl`, but with --keep from the file that an earlier call left, where nothing was different that could change what
        TRL says: its versions and its script, the job, the model's weights (their digest).
        """
        side = SIDE.read_text(encoding="utf-8")
        told = json.dumps([wanted(), side, weights, _adapters(job), job], sort_keys=True)
        place = self.work / "kept" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
        if self.keep and place.exists():
            figures: Figures = json.loads(place.read_text(encoding="utf-8"))
            self._print(line | {"side": "trl", "kept": True}, figures)
            return figures
        figures = self.trl(line, job)
        if self.keep:
            place.parent.mkdir(exist_ok=True)
            part = place.with_suffix(".part")
            part.write_text(json.dumps(figures), encoding="utf-8")
            part.replace(place)
        return figures

    def ours(self, line: Figures, script: str, *arguments: object) -> Figures:
        """What one of our own benches says."""
        command = [sys.executable, str(ROOT / "bench" / script), *map(str, arguments)]
        return self._run(line, command, TUNING)  # as the supervisor starts a run

    def _run(self, line: Figures, command: list[str], tuning: dict[str, str]) -> Figures:
        say(f"== {' '.join(map(str, line.values()))}")
        environment = {
            "OMP_NUM_THREADS": str(self.threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **tuning,
        }
        done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        self._print(line, figures)
        return figures

    def _print(self, line: Figures, figures: Figures) -> None:
        left_out = {"margins", *(SPEEDS if self.keep and line["part"] == "reward" else ())}
        print(json.dumps(line | {name: value for name, value in figures.items() if name not in left_out}), flush=True)


def _adapters(job: Figures) -> Figures:
    """What every job of TRL's is told besides: how its adapters count, and what it may take for padding."""
    return {"pad_token": NEVER_SAMPLED, "lora_alpha": LORA_ALPHA_PER_RANK * job["lora_rank"]}


# PPO


def time_ppo(sides: Sides, options: argparse.Namespace) -> Figures:
    """Seconds of an update by stage and peak memory, the three ways taking turns; medians over the rounds."""
    measured: dict[str, list[Figures]] = {}
    for number in range(options.rounds):
        line: Figures = {"part": "ppo", "round": number}
        turn = {
            "trl": per_update(sides.trl(line, ppo_job(sides, options, options.updates + 1))),
            "every_layer": our_ppo(sides, options, line | {"side": "every_layer"}, "--lora-layers", 0),
            "best": our_ppo(sides, options, line | {"side": "best"}),
        }
        for side, figures in turn.items():
            measured.setdefault(side, []).append(figures)
    names = ("update_s", *STAGES, "peak_rss_mib")
    found = {
        side: {name: round(statistics.median(row[name] for row in rows), 2) for name in names} for side, rows in measured.items()
    }
    return found | {f"trl_over_{side}": ratios(found["trl"], found[side]) for side in ("every_layer", "best")}


def learn(sides: Sides, options: argparse.Namespace) -> Figures:
    """The planted reward's mean in every rollout, as a share of the most it can be, and the KL of the policy that wrote it, in
    nats per answer, ours exact and TRL's sampled; the last row is after `--learn-updates`.
    """
    line: Figures = {"part": "learn"}
    updates = options.learn_updates
    found = {
        "trl": sides.trl(line, ppo_job(sides, options, updates + 1) | {"planted": PLANTED_SCALE}),
        "every_layer": our_ppo(
            sides, options, line | {"side": "every_layer"}, "--planted", "--updates", updates, "--lora-layers", 0
        ),
        "best": our_ppo(sides, options, line | {"side": "best"}, "--planted", "--updates", updates),
    }
    return {
        side: {
            "shares": (shares := [round(score / PLANTED_SCALE, 3) for score in figures["scores"][: updates + 1]]),
            "gain": round(shares[-1] - shares[0], 3),
            "kl": figures["kl"][: updates + 1],
        }
        for side, figures in found.items()
    }


def ppo_job(sides: Sides, options: argparse.Namespace, updates: int) -> Figures:
    """What TRL needs to be told for the same work, at our settings wherever it has the setting."""
    config = PPOConfig()
    return {
        "kind": "ppo",
        "updates": updates,
        "episodes": options.episodes,
        "prompt_tokens": PROMPT_TOKENS,
        "answer_tokens": options.answer_tokens,
        "epochs": EPOCHS,
        "minibatches": config.minibatches,
        "temperature": config.temperature,
        "beta": config.beta,
        "learning_rate": options.trl_learning_rate,
        "lora_rank": config.lora_rank,
        "lora_layers": 0,
        "value": options.trl_value,
        "planted": 0.0,
        "dtype": options.dtype,
        "seed": options.seed,
        "prompts": passages(load_backbone(str(sides.model)).tokenizer, options.episodes),
    }


def our_ppo(sides: Sides, options: argparse.Namespace, line: Figures, *arguments: object) -> Figures:
    """A run of bench/ppo.py; arguments given last count."""
    size = ("--episodes", options.episodes, "--answer-tokens", options.answer_tokens, "--updates", options.updates)
    same = ("--model", sides.model, "--dtype", options.dtype, "--seed", options.seed)
    return sides.ours(line, "ppo.py", *same, *size, *arguments)


# The reward model


def judge(sides: Sides, options: argparse.Namespace) -> Figures:
    """Each set's held-out figures by TRL, by our head and by our adapters, over the same folds."""
    return {name: judge_set(sides, options, name) for name in options.sets}


def judge_set(sides: Sides, options: argparse.Namespace, name: str) -> Figures:
    config, backbone = RewardConfig(), load_backbone(str(sides.model))
    rows = [row for row in pairs(options.data / f"{name}.jsonl.gz") if row["chosen"] != row["rejected"]]
    found: dict[str, list[Figures]] = {}
    asked: list[Figures] = []
    longer: list[float] = []
    for fold in range(options.folds):
        train, test = split(rows, fold, options.pairs, options.test_pairs)
        (encoded, _), (held, wins) = (encode_pairs(backbone, part, config.max_tokens) for part in (train, test))
        line = {"part": "reward", "set": name, "fold": fold, "trained_on": len(train), "tested_on": len(test)}
        job = {
            "kind": "reward",
            "train": encoded,
            "test": held,
            "epochs": config.epochs,
            "batch_size": config.batch_size,
            "learning_rate": options.trl_reward_rate,
            "lora_rank": config.lora_rank,
            "lora_layers": config.lora_layers,
            "dtype": options.dtype,
            "seed": config.seed,
        }
        theirs = sides.kept_trl(line, job, backbone.sha256) | {"temperature": 1.0}
        files = [
            write_pairs(sides.work / f"{part}.jsonl.gz", part_rows) for part, part_rows in (("train", train), ("test", test))
        ]
        ours = {
            method: sides.ours(
                line | {"side": method},
                "reward.py",
                *("--train", files[0], "--test", files[1], "--base", sides.model, "--method", method, "--dtype", options.dtype),
                *(("--work", sides.work) if options.keep else ()),
            )
            for method in options.methods
        }
        for side, figures in {"trl": theirs, **ours}.items():
            found.setdefault(side, []).append(figures)
        asked += test
        longer += wins
    return pooled(found, [row["prompt"] for row in asked], speeds=not options.keep) | {
        "longer_wins": round(statistics.fmean(longer), 3),
        "shorter_wins": round(1 - statistics.fmean(longer), 3),
    }


def split(rows: list[Figures], fold: int, limit: int, test_limit: int) -> tuple[list[Figures], list[Figures]]:
    """Training and test pairs of a fold: by prompt, at most so many of each (0 is all), drawn by a fixed seed."""
    of = dealt([row["prompt"] for row in rows], FOLDS)
    train = [row for row in rows if of[row["prompt"]] != fold]
    test = [row for row in rows if of[row["prompt"]] == fold]
    random.Random(fold).shuffle(train)
    random.Random(fold).shuffle(test)
    return train[: limit or None], test[: test_limit or None]


def encode_pairs(backbone: Backbone, rows: list[Figures], max_tokens: int) -> tuple[list[dict[str, list[int]]], list[float]]:
    """Token ids of both answers under their prompts, cut as our runs cut them and with the end token that both score at; and
    whether the chosen answer is the longer one, a half where neither is.
    """
    prompts = [tuple((turn["role"], turn["content"]) for turn in conversation(row["prompt"])) for row in rows]
    end = backbone.tokenizer.eos_token_id
    chosen, rejected = (
        encode_all(backbone, [Answer(prompt, row[side], None) for prompt, row in zip(prompts, rows, strict=True)], max_tokens)
        for side in ("chosen", "rejected")
    )
    ids = [
        {
            "chosen_ids": [*good.prompt_ids, *good.response_ids, end],
            "rejected_ids": [*bad.prompt_ids, *bad.response_ids, end],
        }
        for good, bad in zip(chosen, rejected, strict=True)
    ]
    lengths = [(len(good.response_ids), len(bad.response_ids)) for good, bad in zip(chosen, rejected, strict=True)]
    return ids, [float(good > bad) + 0.5 * (good == bad) for good, bad in lengths]


def write_pairs(path: Path, rows: list[Figures]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="TRL beside ours in one run: a PPO update, learning, the reward model.")
    parser.add_argument("--data", type=Path, default=Path("data/judgements"), help="the folder with the pairs_*.jsonl.gz files")
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "peer-trl", help="TRL's environment is made and kept here")
    parser.add_argument("--model", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the models, on both sides")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--updates", type=int, default=1, help="ppo: updates timed, after one that warms up")
    parser.add_argument("--rounds", type=int, default=1, help="ppo: turns of each way")
    parser.add_argument("--seed", type=int, default=PPOConfig().seed, help="PPO's, of either side")
    parser.add_argument("--learn-updates", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="answers per update, a multiple of 4")
    parser.add_argument("--answer-tokens", type=int, default=ANSWER_TOKENS)
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="reward: names of pairs files")
    parser.add_argument("--pairs", type=int, default=480, help="reward: training pairs of a fold, on both sides; 0 is all")
    parser.add_argument("--test-pairs", type=int, default=0, help="reward: held-out pairs of a fold; 0 is all")
    parser.add_argument("--folds", type=int, choices=range(1, FOLDS + 1), default=1, help=f"reward: of {FOLDS}, by prompt")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="reward: ours, of these")
    parser.add_argument("--keep", action="store_true", help="reward: use what is in --work from before, and say no speeds")
    parser.add_argument("--trl-learning-rate", type=float, default=PPOConfig().learning_rate, help="PPO's; by default as ours")
    parser.add_argument("--trl-reward-rate", type=float, default=1e-3, help="RewardTrainer's, for adapters")
    parser.add_argument("--trl-value", choices=("lora", "full"), default="lora", help="how TRL's value model trains")
    parser.add_argument("--tune-peer", action="store_true", help="start TRL with our runs' settings of the C library, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
