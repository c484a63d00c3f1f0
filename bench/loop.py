"""The whole loop with simulated people: `python bench/loop.py`.

People with a hidden taste (`tastes.py`) compare answers on the real server over HTTP, 15 % of their verdicts flipped; two answers
that make no sense are both bad to them. A round is triggered through the API; its model is judged on held-out prompts by the
taste itself, without noise, beside the base and the best of four of the base's answers under the same reward. With `--method` it
is trained by another than PPO, or by several in turn, each in a copy of the installation. One JSON line per taste and method, and
a summary as the last line. With `--data DIR` the base's answers stay there, and a later call starts from them. With `--ranked 4`
each label is a ranking of four answers, perceived with noise by which 15 % of pairs are turned round.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench import beside_base
from bench.annotators import last_words, taste_of, work
from bench.beside_base import Answer
from bench.control import setting, told
from bench.installation import SLUG, Installation, default_model, say, simple_model
from bench.preferences import ABOUT_LENGTH
from bench.reading import Reader
from bench.tastes import TASTES, Sensible, opened
from trainer.contract.english import english
from trainer.contract.folder import RunFolder
from trainer.contract.messages import from_json

PEOPLE = 4
SPARE = 1.04  # answers are written for so many more comparisons than are wanted: some pairs are the same text twice
HELD_OUT_ANSWERS = 8  # per held-out prompt and model
BASE = "base.json"
PATIENCE_S = 45 * 60.0
Rewards = Callable[[Sequence[dict[str, Any]]], list[float]]  # of generations as the API tells them
METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # by what a round trains, and that stage's settings
    "ppo": ("ppo", {}),
    "grpo": ("ppo", {"advantage": "grpo", "answers_per_prompt": 4}),
    "dpo": ("preference", {"method": "dpo"}),
    "kto": ("preference", {"method": "kto"}),
}
RUN_ENDED = frozenset({"done", "failed", "cancelled"})
ROUND_ENDED = frozenset({"decision", "done", "refused", "failed", "cancelled"})


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-loop-") as folder:
        place = options.data or Path(folder)
        model = simple_model(place) if options.simple else options.model or default_model(place)
        base = kept_base_answers(place)
        if base is None:
            say("== the base model's answers, which every preference judges")
            base = write_base_answers(place, model, options)
        torch.set_num_threads(int(os.environ.get("TASTEMAKER_THREADS", 2)))
        reader, lines = Reader(model), []
        for name, method in product(options.preference or list(TASTES), options.method or ["ppo"]):
            say(f"== {name}, {method}")
            data = place / (name.replace(":", "-") + ("" if method == "ppo" else f"-{method}"))
            shutil.copytree(base.data, data)
            lines.append(loop(name, method, data, model, base, reader, options))
            print(json.dumps(lines[-1]), flush=True)
    print(json.dumps(_summary(lines)), flush=True)
    return 0 if all("refused" not in line for line in lines) else 1


class BaseAnswers(NamedTuple):
    """A data folder with the base model's answers in it, from which every preference starts."""

    data: str
    key: str
    policy_id: int
    held_out_run: int
    seconds: float


def kept_base_answers(place: Path) -> BaseAnswers | None:
    """Those that an earlier call left in this folder."""
    kept = place / BASE
    return BaseAnswers(**json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else None


def write_base_answers(place: Path, model: Path, options: argparse.Namespace) -> BaseAnswers:
    """Set up the demo project and let its base model answer the training prompts and the held-out ones."""
    began = time.monotonic()
    data = place / "base"
    house = Installation(data, model)
    try:
        house.start_web()
        house.sign_in()
        project = _settle(house, options)
        base = project["policy_id"]
        runs = [house.sample(base, "train", seed=1), house.sample(base, "holdout", per_prompt=HELD_OUT_ANSWERS, seed=1)]
        house.start_worker()
        for run_id in runs:
            ended_well(house.wait(f"/runs/{run_id}", RUN_ENDED, PATIENCE_S))
    finally:
        house.stop()
    written = BaseAnswers(str(data), house.key, base, runs[1], time.monotonic() - began)
    (place / BASE).write_text(json.dumps(written._asdict()), encoding="utf-8")
    return written


def loop(
    name: str, method: str, data: Path, model: Path, before: BaseAnswers, reader: Reader, options: argparse.Namespace
) -> dict[str, Any]:
    """One installation, one taste, one round; the line of figures. Its seconds count the base model's answers, too."""
    began = time.monotonic()
    stage = METHODS[method][0]
    house = Installation(data, model)
    house.key = before.key
    try:
        house.start_web()
        house.start_worker()
        people = house.annotators(PEOPLE)
        answers = answers_of(house, checkpoint=before.policy_id, split="train")
        pairs = [(one.prompt, one.text) for own in answers.values() for one in own]
        prompts = list(dict.fromkeys(prompt for prompt, _ in pairs))
        score, stated = opened(name, reader, options.judgements, Path(before.data).with_name("cache"), prompts)
        sensible = Sensible(score, reader, pairs)
        sensible.prepare(pairs)
        taste = taste_of(sensible, [(own[0].prompt, [one.text for one in own]) for own in answers.values()])
        labels = work(house.url, SLUG, people, taste, options.labels, patience_s=60)
        say(f"{labels} labels in {time.monotonic() - began:.0f} s")

        line: dict[str, Any] = {"preference": name, "method": method, "labels": labels, **stated}
        line["nonsense_of_base"] = rounded(statistics.fmean(sensible.nonsense(*pair) for pair in pairs))
        started = house.send("POST", f"/projects/{SLUG}/rounds", json=asked_for(name, method, options))
        round_ = house.wait(f"/rounds/{started['id']}", ROUND_ENDED, PATIENCE_S)
        stages = {"base_answers": round(before.seconds), **{run["kind"]: _seconds(run) for run in round_["runs"]}}
        if round_["reward_id"] is not None:
            old = answers_of(house, reward_of(house, round_["reward_id"]), run=before.held_out_run, split="holdout")
            sensible.prepare([(one.prompt, one.text) for own in old.values() for one in own])
            right, count = agreement([[(sensible(one.prompt, one.text), one.reward) for one in own] for own in old.values()])
            line |= {"reward_accuracy": rounded(right / count), "reward_pairs": count}
            line["scale"] = rounded(statistics.stdev(one.reward for own in old.values() for one in own))  # 1 is wanted
        if round_["state"] != "decision":
            seconds = round(before.seconds + time.monotonic() - began)
            return line | {"refused": round_["reason"], "seconds": seconds, "seconds_per_stage": stages}

        candidate = round_["candidate_id"]
        extra = house.sample(candidate, "holdout", per_prompt=HELD_OUT_ANSWERS, seed=2)
        ended_well(house.wait(f"/runs/{extra}", RUN_ENDED, PATIENCE_S))
        new = answers_of(house, run=extra, split="holdout")
        line |= beside_base.compared(new, old, sensible, reader)
        if options.read:
            beside_base.write(options.read, name, new, old, sensible)
        house.send("POST", f"/checkpoints/{candidate}/promote", json={"confirm": True})
        run = next(run for run in round_["runs"] if run["kind"] == stage)
        folder = RunFolder(data / "runs" / str(run["id"]))
        line |= {
            "kl_per_sequence": rounded(run["result"]["kl_nats_per_answer"]),
            "kl_measured_on": {"ppo": "training rollout", "preference": "held-out prompts"}[stage],
            "updates": run["result"]["updates" if stage == "ppo" else "kept_step"],
            "run": told(folder) if stage == "ppo" else told_of_labels(folder),
            "seconds": round(before.seconds + time.monotonic() - began),
            "seconds_per_stage": stages,
        }
        return line | {"reached": beside_base.reached(line)}
    finally:
        house.stop()


def _settle(house: Installation, options: argparse.Namespace) -> dict[str, Any]:
    """The demo project, set to comparisons or rankings by one person each, on answers of the wanted length."""
    prompts = len(house.pages(f"/projects/{SLUG}/prompts", split="train"))
    per_prompt = (options.ranked or 2) * math.ceil(options.labels * SPARE / prompts)
    sampling = {"per_prompt": per_prompt, "max_new_tokens": options.answers_tokens, "temperature": 0.7, "batch_size": 32}
    changes = {"rating_share": 0.0, "overlap": 1, "queue_low_mark": 1, "sampling": sampling, "evaluation": {"on": False}}
    if options.ranked:
        changes |= {"ranking_share": 1.0, "ranking_answers": options.ranked}
    project: dict[str, Any] = house.send("PATCH", f"/projects/{SLUG}", json=changes)
    return project


def asked_for(name: str, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """The round as it is asked for. Its own answers to the training prompts are for people to judge next; nobody here does."""
    stage, settings = METHODS[method]
    if stage == "ppo":
        settings = settings | ppo_settings(name, options.updates) | dict(options.set or [])
    return {"methods": [stage], "config": {"sample": {"per_prompt": 2}, stage: settings}}


def ppo_settings(name: str, updates: int | None) -> dict[str, Any]:
    """PPO's for people of this taste."""
    found: dict[str, Any] = {"updates": updates} if updates else {}
    return found | ({"length_control": "off"} if name in ABOUT_LENGTH else {})


def answers_of(house: Installation, reward: Rewards | None = None, **query: Any) -> dict[int, list[Answer]]:
    """By prompt id in the order in which they were drawn, with what a reward gives them."""
    items = sorted(house.pages(f"/projects/{SLUG}/generations", **query), key=lambda item: item["number"])  # ids: the short first
    found: dict[int, list[Answer]] = defaultdict(list)
    for item, given in zip(items, reward(items) if reward else [0.0] * len(items), strict=True):
        cut = item["finish_reason"] == "length"
        found[item["prompt_id"]].append(Answer(last_words(item["messages"]), item["text"], len(item["token_ids"]), cut, given))
    return dict(found)


# Judging


def reward_of(house: Installation, reward_id: int) -> Rewards:
    """What a reward checkpoint gives answers."""
    from trainer.lm.backbone import chat_ids
    from trainer.reward.scorer import load_scorer

    checkpoint = house.send("GET", f"/checkpoints/{reward_id}")
    scorer = load_scorer(house.data / "runs" / str(checkpoint["run_id"]) / "checkpoint")

    def rewards(items: Sequence[dict[str, Any]]) -> list[float]:
        prompts = [chat_ids(scorer.backbone.tokenizer, item["messages"]) for item in items]
        cut = [item["finish_reason"] == "length" for item in items]
        given: list[float] = scorer.score(prompts, [item["token_ids"] for item in items], cut).tolist()
        return given

    return rewards


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


def told_of_labels(folder: RunFolder) -> dict[str, Any]:
    """How a preference run ended: the reason, the step that was kept, and what it says of held-out labels."""
    result = json.loads(folder.file("result.json").read_text(encoding="utf-8"))
    names = ("steps", "kept_step", "examples", "preferred_accuracy", "heldout_loss_before", "heldout_loss")
    return {"reason": english(from_json(result["reason"]))} | {name: result.get(name) for name in names}


def _seconds(run: dict[str, Any]) -> int:
    began, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at"))
    return round((ended - began).total_seconds())


def ended_well(run: dict[str, Any]) -> None:
    if run["state"] != "done":
        raise RuntimeError(f"a {run['kind']} run ended {run['state']}: {run['message']}")


def rounded(value: float) -> float:
    return round(value, 3)


def _summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean accuracy, and how many tastes were learned as they should be."""
    accuracies = [line["reward_accuracy"] for line in lines if "reward_accuracy" in line]
    wins = [line["win_rate"] for line in lines if "win_rate" in line]
    reached = [line["reached"] for line in lines if "reached" in line]
    return {
        "loops": len(lines),
        "reward_accuracy_mean": rounded(statistics.fmean(accuracies)) if accuracies else None,
        "win_rates_of_70_percent": sum(win >= 0.7 for win in wins),
        "reached": {name: sum(goals[name] for goals in reached) for name in reached[0]} if reached else None,
        "seconds_longest": round(max(line["seconds"] for line in lines)),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preference", action="append", help="one of bench/tastes.py or module:function; repeat it for several")
    parser.add_argument("--method", action="append", choices=tuple(METHODS), help="what trains; repeat it for several (ppo)")
    parser.add_argument("--judgements", type=Path, default=Path("data/judgements"), help="human judgements, for `people`")
    parser.add_argument("--read", type=Path, help="append 50 answers of each beside the base's to this file")
    parser.add_argument("--labels", type=int, default=200, help="labels to give (default 200)")
    parser.add_argument("--ranked", type=int, help="answers that each label puts in order (default: each compares two)")
    parser.add_argument("--set", type=setting, action="append", help="a setting of PPO, name=value; repeat it for several")
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--simple", action="store_true", help="a SimpleLM, for a quick look at the whole loop")
    parser.add_argument("--data", type=Path, help="keep the installations in this folder")
    parser.add_argument("--answers-tokens", type=int, default=128, help="longest answer (default 128)")
    parser.add_argument("--updates", type=int, help="PPO updates (default: the trainer's)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
