"""TRL's DPO and GRPO beside ours, in one run: `python bench/peer_trl_preference.py --data DIR [--part dpo|grpo|all]`.

dpo    the same pairs in the same token ids: pairs a second, memory, and how often the implicit reward is right about pairs to
       other prompts. The last step's, on either side. With `--kept DIR`, the base's answers that bench/loop.py kept, compared by
       people with a planted taste who err in 15 % of their verdicts, and asked about without error.
grpo   updates of 32 answers of 48 tokens, four to a prompt, four epochs in minibatches of eight: seconds an update, memory, and
       what answers to other prompts earn of a planted reward (bench/ppo.py) before and after. KL is k3 in the loss on TRL's side
       and k1 in the return on ours (docs/decisions/0024).

The settings are ours wherever TRL has them. With `--layers`, so many adapted layers from the top on both sides, each number in
turn; 0 is every layer. TRL lives in an environment of its own (bench/peer_trl.py). One JSON line for each measurement, and a
summary with ratios last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch

from bench import curve
from bench.dpo import encode_pairs
from bench.installation import ROOT, say
from bench.peer_figures import Figures, gains, ratios
from bench.peer_trl import Sides, environment, split, write_pairs
from bench.ppo import ANSWER_TOKENS, EPISODES, EPOCHS, HELD_OUT_ANSWERS, PLANTED_SCALE, told_apart
from bench.preferences import find
from bench.reward import held_out_figures, pairs
from trainer.contract.config import PPOConfig, PreferenceConfig
from trainer.lm.loading import load_backbone
from trainer.reward.data import Answer

PEER = "trl==1.16.0"
PARTS = ("dpo", "grpo")
GROUP = 4  # answers to a prompt


def main() -> int:
    options = _options()
    parts = PARTS if options.part == "all" else (options.part,)
    if "dpo" in parts and not options.kept and not (options.data / f"{options.set}.jsonl.gz").exists():
        say(f"{options.data} does not hold {options.set}.jsonl.gz: nothing was measured")
        print(json.dumps({"status": "absent", "missing": [options.set]}))
        return 2
    options.work.mkdir(parents=True, exist_ok=True)
    options.keep = options.tune_peer = False
    sides = Sides(environment(options.work, PEER), options)
    summary = {
        f"{part}_{layers or 'every'}": {"dpo": dpo, "grpo": grpo}[part](sides, options, layers)
        for part in parts
        for layers in options.layers
    }
    print(json.dumps({"summary": summary, "threads": options.threads, "dtype": options.dtype}))
    return 0


def dpo(sides: Sides, options: argparse.Namespace, layers: int) -> Figures:
    """Both sides on one fold of the pairs."""
    config, backbone = PreferenceConfig(temperature=1.0), load_backbone(str(sides.model))
    train, test = planted_pairs(options) if options.kept else human_pairs(options)
    learned, asked = (encode_pairs(backbone, part, config) for part in (train, test))
    line: Figures = {"part": "dpo", "layers": layers, "trained_on": len(learned), "tested_on": len(asked)}
    given = [
        [
            {"prompt_ids": chosen.prompt_ids, "chosen_ids": chosen.response_ids, "rejected_ids": rejected.response_ids}
            for _, chosen, rejected in part
        ]
        for part in (learned, asked)
    ]
    job = {
        "kind": "dpo",
        "train": given[0],
        "test": given[1],
        "epochs": options.epochs,
        "batch_size": config.batch_size,
        "microbatch": config.microbatch // 2,  # of pairs; ours counts answers
        "learning_rate": options.dpo_rate,
        "beta": config.beta,
        "precompute": options.precompute,
        "lora_rank": config.lora_rank,
        "lora_layers": layers,
        "dtype": options.dtype,
        "seed": config.seed,
    }
    files = [write_pairs(sides.work / f"{name}.jsonl.gz", part) for name, part in (("train", train), ("test", test))]
    same = ("--base", sides.model, "--dtype", options.dtype, "--lora-layers", layers)
    length = ("--epochs", options.epochs, "--learning-rate", options.dpo_rate)
    found = {
        "trl": sides.trl(line, job),
        "ours": sides.ours(line | {"side": "ours"}, "dpo.py", "--train", files[0], "--test", files[1], *same, *length),
    }
    prompts = [test[number]["prompt"] for number, _, _ in asked]
    margins = {side: torch.tensor(figures["margins"], dtype=torch.float64) for side, figures in found.items()}
    speeds = {side: {name: figures[name] for name in ("pairs_per_s", "peak_rss_mib", "steps")} for side, figures in found.items()}
    return {
        **{side: speeds[side] | held_out_figures(margins[side], prompts) for side in found},
        "ours_less_trl": gains(margins["ours"], margins["trl"], prompts),
        "times_the_pairs_per_s": round(speeds["ours"]["pairs_per_s"] / speeds["trl"]["pairs_per_s"], 2),
        "times_less_memory": ratios(speeds["trl"], speeds["ours"])["peak_rss_mib"],
    }


def human_pairs(options: argparse.Namespace) -> tuple[list[Figures], list[Figures]]:
    """Pairs of a file to train on, and those of one of five folds by prompt."""
    rows = [row for row in pairs(options.data / f"{options.set}.jsonl.gz") if row["chosen"] != row["rejected"]]
    return split(rows, options.fold, options.pairs, 0)


def planted_pairs(options: argparse.Namespace) -> tuple[list[Figures], list[Figures]]:
    """Verdicts of people with a planted taste on answers to training prompts, as rows of a pairs file; and as many pairs of
    answers to held-out prompts as the taste itself orders them.
    """
    score = find(options.preference)
    answers, held_out = (
        [one for one in curve.read(options.kept, split) if len(one.messages) == 1] for split in ("train", "holdout")
    )
    told = curve.judge(answers, score, options.pairs)
    train = [_row(answers, label.left, label.right) for label in told if label.choice == "left"]
    train += [_row(answers, label.right, label.left) for label in told if label.choice == "right"]
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for number, answer in enumerate(held_out):
        by_prompt[answer.prompt_key].append(number)
    test = []
    for one, other in (pair for some in by_prompt.values() for pair in combinations(some, 2)):
        liked, other_liked = (score(held_out[at].messages[0][1], held_out[at].text) for at in (one, other))
        if liked != other_liked:
            test.append(_row(held_out, *((one, other) if liked > other_liked else (other, one))))
    for rows in (train, test):
        random.Random(0).shuffle(rows)
    return train, test[: options.pairs]


def _row(answers: Sequence[Answer], chosen: int, rejected: int) -> Figures:
    return {"prompt": answers[chosen].messages[0][1], "chosen": answers[chosen].text, "rejected": answers[rejected].text}


def grpo(sides: Sides, options: argparse.Namespace, layers: int) -> Figures:
    """Both sides for the planted reward, with the same prompts and held-out ones."""
    config = PPOConfig()
    prompts, held_out = told_apart(load_backbone(str(sides.model)).tokenizer, EPISODES // GROUP, options.held_out)
    line: Figures = {"part": "grpo", "layers": layers}
    updates = options.updates + 1  # the first warms up
    job = {
        "kind": "grpo",
        "updates": updates,
        "episodes": EPISODES,
        "answers_per_prompt": GROUP,
        "answer_tokens": ANSWER_TOKENS,
        "epochs": EPOCHS,
        "minibatches": config.minibatches,
        "temperature": config.temperature,
        "beta": config.beta,
        "learning_rate": options.learning_rate,
        "planted": PLANTED_SCALE,
        "prompts": prompts,
        "held_out": held_out,
        "held_out_answers": HELD_OUT_ANSWERS,
        "lora_rank": config.lora_rank,
        "lora_layers": layers,
        "dtype": options.dtype,
        "seed": options.seed,
    }
    same = ("--model", sides.model, "--dtype", options.dtype, "--lora-layers", layers, "--seed", options.seed)
    group = ("--planted", "--advantage", "grpo", "--answers-per-prompt", GROUP, "--held-out", options.held_out)
    theirs = sides.trl(line, job)
    theirs |= {"update_s": round(statistics.fmean(theirs["update_s"][1:]), 2)}
    ours = sides.ours(
        line | {"side": "ours"},
        "ppo.py",
        *(*same, *group, "--updates", options.updates, "--learning-rate", options.learning_rate),
    )
    ours["kl"] = ours["kl"][-1]
    names = ("update_s", "peak_rss_mib", "kl", "held_out_shares")
    found = {side: {name: figures[name] for name in names} for side, figures in (("trl", theirs), ("ours", ours))}
    cost = ({name: figures[name] for name in names[:2]} for figures in found.values())
    return found | {"trl_over_ours": ratios(*cost), "answers_held_out": options.held_out * HELD_OUT_ANSWERS, "updates": updates}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="TRL's DPO and GRPO beside ours in one run.")
    parser.add_argument("--data", type=Path, default=Path("data/judgements"), help="the folder with the pairs_*.jsonl.gz files")
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--layers", type=int, nargs="+", default=[PPOConfig().lora_layers, 0], help="adapted on both sides")
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "peer-trl", help="TRL's environment is made and kept here")
    parser.add_argument("--model", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the models, on both sides")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", default="pairs_tulu1", help="dpo: the name of a pairs file")
    parser.add_argument("--kept", type=Path, help="dpo: the folder that bench/loop.py kept, instead of that file")
    parser.add_argument("--preference", default="second_person", help="dpo: with --kept, one of bench/preferences.py")
    parser.add_argument("--pairs", type=int, default=240, help="dpo: to train on")
    parser.add_argument("--fold", type=int, default=0, help="dpo: which of five by prompt is asked about")
    parser.add_argument("--epochs", type=int, default=1, help="dpo")
    parser.add_argument("--dpo-rate", type=float, default=PreferenceConfig().learning_rate, help="dpo: of both sides")
    parser.add_argument("--precompute", action="store_true", help="dpo: let TRL read the reference once, as ours does")
    parser.add_argument("--updates", type=int, default=3, help="grpo: updates timed, after one that warms up")
    parser.add_argument("--held-out", type=int, default=16, help="grpo: prompts that only tell what was learned")
    parser.add_argument("--learning-rate", type=float, default=PPOConfig().learning_rate, help="grpo: of both sides")
    parser.add_argument("--seed", type=int, default=PPOConfig().seed, help="grpo: of both sides")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
