"""The whole loop with simulated people: `python bench/loop.py`.

People with a hidden preference compare answers on the real server over HTTP, 15 % of their verdicts flipped; a round is triggered
through the API; its model is judged on held-out prompts by the preference itself, without noise. One JSON line per preference,
and a summary as the last line.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import math
import random
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from bench.annotators import last_words, taste_of, work
from bench.installation import SLUG, Installation, default_model, say, simple_model
from bench.preferences import ABOUT_LENGTH, PREFERENCES, Preference, find

PEOPLE = 4
SPARE = 1.04  # answers are written for so many more comparisons than are wanted: some pairs are the same text twice
HELD_OUT_ANSWERS = 8  # per held-out prompt and model
PATIENCE_S = 45 * 60.0
RUN_ENDED = frozenset({"done", "failed", "cancelled"})
ROUND_ENDED = frozenset({"decision", "done", "refused", "failed", "cancelled"})
RESAMPLES = 2000


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-loop-") as folder:
        place = options.data or Path(folder)
        model = simple_model(place) if options.simple else options.model or default_model(place)
        say("== the base model's answers, which every preference judges")
        base = write_base_answers(place / "base", model, options)
        lines = []
        for name in options.preference or list(PREFERENCES):
            say(f"== {name}")
            data = place / name.replace(":", "-")
            shutil.copytree(base.data, data)
            lines.append(loop(name, find(name), data, model, base, options))
            print(json.dumps(lines[-1]), flush=True)
    print(json.dumps(_summary(lines)), flush=True)
    return 0 if all("refused" not in line for line in lines) else 1


class BaseAnswers(NamedTuple):
    """A data folder with the base model's answers in it, from which every preference starts."""

    data: Path
    key: str
    policy_id: int
    held_out_run: int
    seconds: float


def write_base_answers(data: Path, model: Path, options: argparse.Namespace) -> BaseAnswers:
    """Set up the demo project and let its base model answer the training prompts and the held-out ones."""
    began = time.monotonic()
    house = Installation(data, model)
    try:
        house.start_web()
        house.sign_in()
        project = _settle(house, options)
        base = project["policy_id"]
        runs = [house.sample(base, "train", seed=1), house.sample(base, "holdout", per_prompt=HELD_OUT_ANSWERS, seed=1)]
        house.start_worker()
        for run_id in runs:
            _done(house.wait(f"/runs/{run_id}", RUN_ENDED, PATIENCE_S))
        return BaseAnswers(data, house.key, base, runs[1], time.monotonic() - began)
    finally:
        house.stop()


def loop(
    name: str, score: Preference, data: Path, model: Path, before: BaseAnswers, options: argparse.Namespace
) -> dict[str, Any]:
    """One installation, one preference, one round; the line of figures. Its seconds count the base model's answers, too."""
    began = time.monotonic()
    house = Installation(data, model)
    house.key = before.key
    try:
        house.start_web()
        house.start_worker()
        people = house.annotators(PEOPLE)
        answers = _answers(house, checkpoint=before.policy_id, split="train")
        taste = taste_of(score, [(one.prompt, one.texts) for one in answers.values()])
        labels = work(house.url, SLUG, people, taste, options.labels, patience_s=60)
        say(f"{labels} labels in {time.monotonic() - began:.0f} s")

        line: dict[str, Any] = {"preference": name, "labels": labels}
        started = house.send("POST", f"/projects/{SLUG}/rounds", json={"config": _stages(name, options)})
        round_ = house.wait(f"/rounds/{started['id']}", ROUND_ENDED, PATIENCE_S)
        stages = {"base_answers": round(before.seconds), **{run["kind"]: _seconds(run) for run in round_["runs"]}}
        if round_["reward_id"] is not None:
            line |= _reward_figures(house, round_["reward_id"], before.policy_id, score)
        if round_["state"] != "decision":
            seconds = round(before.seconds + time.monotonic() - began)
            return line | {"refused": round_["reason"], "seconds": seconds, "seconds_per_stage": stages}

        candidate = round_["candidate_id"]
        extra = house.sample(candidate, "holdout", per_prompt=HELD_OUT_ANSWERS, seed=2)
        _done(house.wait(f"/runs/{extra}", RUN_ENDED, PATIENCE_S))
        old = _answers(house, run=before.held_out_run, split="holdout")
        line |= _compare(_answers(house, run=extra, split="holdout"), old, score)
        house.send("POST", f"/checkpoints/{candidate}/promote", json={"confirm": True})
        ppo = next(run for run in round_["runs"] if run["kind"] == "ppo")["result"]
        return line | {
            "kl_per_sequence": _rounded(ppo["kl_nats_per_answer"]),
            "kl_measured_on": "training rollout",
            "updates": ppo["updates"],
            "seconds": round(before.seconds + time.monotonic() - began),
            "seconds_per_stage": stages,
        }
    finally:
        house.stop()


def _settle(house: Installation, options: argparse.Namespace) -> dict[str, Any]:
    """The demo project, set to comparisons by one person each, on answers of the wanted length."""
    prompts = len(house.pages(f"/projects/{SLUG}/prompts", split="train"))
    per_prompt = 2 * math.ceil(options.labels * SPARE / prompts)
    sampling = {"per_prompt": per_prompt, "max_new_tokens": options.answers_tokens, "temperature": 0.7, "batch_size": 32}
    changes = {"rating_share": 0.0, "overlap": 1, "queue_low_mark": 1, "sampling": sampling}
    project: dict[str, Any] = house.send("PATCH", f"/projects/{SLUG}", json=changes)
    return project


def _stages(name: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings of the round. Its own answers to the training prompts are for people to judge next; nobody here does."""
    ppo: dict[str, Any] = {"updates": options.updates} if options.updates else {}
    if name in ABOUT_LENGTH:
        ppo["length_control"] = "off"
    return {"sample": {"per_prompt": 2}, "ppo": ppo}


@dataclass
class Answered:
    """A prompt and what one model wrote for it."""

    prompt: str
    texts: list[str]
    tokens: int  # of all its answers


def _answers(house: Installation, **query: Any) -> dict[int, Answered]:
    """By prompt id."""
    found: dict[int, Answered] = {}
    for item in house.pages(f"/projects/{SLUG}/generations", **query):
        answered = found.setdefault(item["prompt_id"], Answered(last_words(item["messages"]), [], 0))
        answered.texts.append(item["text"])
        answered.tokens += len(item["token_ids"])
    return found


# Judging


def _compare(new: dict[int, Answered], old: dict[int, Answered], score: Preference) -> dict[str, Any]:
    """Every new answer against every old one to the same held-out prompt; ties count half."""
    wins = []
    for prompt_id, ours in new.items():
        theirs = [score(ours.prompt, text) for text in old[prompt_id].texts]
        mine = [score(ours.prompt, text) for text in ours.texts]
        wins.append(statistics.fmean((one > other) + 0.5 * (one == other) for one in mine for other in theirs))
    low, high = _interval(wins)
    return {
        "win_rate": _rounded(statistics.fmean(wins)),
        "win_rate_interval": [_rounded(low), _rounded(high)],
        "length_ratio": _rounded(sum(one.tokens for one in new.values()) / sum(one.tokens for one in old.values())),
        "held_out_prompts": len(wins),
    }


def _interval(values: list[float]) -> tuple[float, float]:
    """95 % by resampling prompts: answers to one prompt are alike."""
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def _reward_figures(house: Installation, reward_id: int, base: int, score: Preference) -> dict[str, Any]:
    """How often the round's reward model agrees with the preference on pairs of held-out answers.

    Pairs that the preference holds equal are left out; where the rewards are equal, it is right by half.
    """
    import torch

    from trainer.lm.backbone import chat_ids
    from trainer.reward.scorer import load_scorer

    torch.set_num_threads(2)
    checkpoint = house.send("GET", f"/checkpoints/{reward_id}")
    scorer = load_scorer(house.data / "runs" / str(checkpoint["run_id"]) / "checkpoint")
    items = house.pages(f"/projects/{SLUG}/generations", checkpoint=base, split="holdout")
    prompts = [chat_ids(scorer.backbone.tokenizer, item["messages"]) for item in items]
    rewards = scorer.score(prompts, [item["token_ids"] for item in items]).tolist()
    by_prompt: dict[int, list[tuple[float, float]]] = defaultdict(list)  # (by the preference, by the reward model)
    for item, reward in zip(items, rewards, strict=True):
        by_prompt[item["prompt_id"]].append((score(last_words(item["messages"]), item["text"]), reward))
    right, pairs = agreement(by_prompt.values())
    return {"reward_accuracy": _rounded(right / pairs), "reward_pairs": pairs}


def agreement(prompts: Iterable[list[tuple[float, float]]]) -> tuple[float, int]:
    """Pairs of one prompt whose truths differ: how many are ordered alike (equal rewards: half), and how many there are."""
    right, pairs = 0.0, 0
    for answers in prompts:
        for (truth, reward), (other_truth, other_reward) in combinations(answers, 2):
            if truth != other_truth:
                pairs += 1
                right += 0.5 if reward == other_reward else (truth > other_truth) == (reward > other_reward)
    return right, pairs


# Figures


def _seconds(run: dict[str, Any]) -> int:
    began, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at"))
    return round((ended - began).total_seconds())


def _done(run: dict[str, Any]) -> None:
    if run["state"] != "done":
        raise RuntimeError(f"a {run['kind']} run ended {run['state']}: {run['message']}")


def _rounded(value: float) -> float:
    return round(value, 3)


def _summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the acceptance asks: the mean accuracy, and how many preferences were learned."""
    accuracies = [line["reward_accuracy"] for line in lines if "reward_accuracy" in line]
    wins = [line["win_rate"] for line in lines if "win_rate" in line]
    return {
        "preferences": len(lines),
        "reward_accuracy_mean": _rounded(statistics.fmean(accuracies)) if accuracies else None,
        "win_rates_of_70_percent": sum(win >= 0.7 for win in wins),
        "seconds_longest": round(max(line["seconds"] for line in lines)),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preference", action="append", help="one of the registry or module:function; repeat it for several")
    parser.add_argument("--labels", type=int, default=200, help="comparisons to give (default 200)")
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--simple", action="store_true", help="a SimpleLM, for a quick look at the whole loop")
    parser.add_argument("--data", type=Path, help="keep the installations in this folder")
    parser.add_argument("--answers-tokens", type=int, default=48, help="longest answer (default 48)")
    parser.add_argument("--updates", type=int, help="PPO updates (default: the trainer's)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
