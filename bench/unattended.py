"""Rounds without hands with simulated people: `python bench/unattended.py --prompts FILE`.

`make run` on SmolLM2, and people who do nothing but judge what the queue hands them over HTTP: their labels start each round,
their blind verdicts decide it. Before the second round an admin takes every guard away and sets beta to 0, so that its candidate
is harmed by its own reward; for the third all is as before. Nobody starts, promotes or rejects anything. By the taste itself,
without noise, each decision is right or wrong. `FILE`: prompts to import (JSON Lines), of which one in five is held out; from the
demo's own 37 no evaluation sees much. One JSON line per round; a summary as the last line.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from bench.annotators import last_words, taste_of, work_in_turn
from bench.beside_base import Answer, interval, win_rates
from bench.installation import SLUG, Installation, default_model, say, simple_model
from bench.loop import PATIENCE_S, PEOPLE, answers_of, rounded
from bench.reading import Reader
from bench.tastes import Sensible, opened

HARMED: dict[str, Any] = {  # nothing holds this policy: no price on KL, no guard, steps three times as long
    "adaptive_kl": False,
    "beta": 0.0,
    "kl_stop_nats": 1e6,
    "learning_rate": 3e-3,
    "early_stop_kl_nats": 1e6,
    "entropy_floor_nats": -1.0,
    "heldout_every": 0,
    "judge_window": 0,
    "length_control": "off",
}
ASKED_AT_ONCE = 8  # verdicts between two looks at the round
MOST_ROUNDS = 8  # of which some may be refused for too few labels
MOST_VERDICTS = 3000  # on one round's candidates
ENDED = frozenset({"done", "refused", "failed", "cancelled"})


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-unattended-") as folder:
        place = options.data or Path(folder)
        model = simple_model(place) if options.simple else options.model or default_model(place)
        torch.set_num_threads(int(os.environ.get("TASTEMAKER_THREADS", 2)))
        house = Installation(place / "unattended", model)
        began = time.monotonic()
        try:
            house.start_whole()
            house.sign_in()
            lines = Unattended(house, Reader(model), options).all()
        finally:
            house.stop()
    print(json.dumps(summary(lines) | {"seconds": round(time.monotonic() - began)}))
    return 0 if all(line["right"] for line in lines) and {line["harmed"] for line in lines} == {False, True} else 1


class Unattended:
    """An installation whose people judge, and whose rounds go by themselves."""

    def __init__(self, house: Installation, reader: Reader, options: argparse.Namespace) -> None:
        self.house, self.options = house, options
        sampling = {"per_prompt": 2, "max_new_tokens": options.answers_tokens, "temperature": 0.7, "batch_size": 32}
        changes = {"rating_share": 0.0, "overlap": 1, "queue_low_mark": 1, "sampling": sampling}
        project = house.send("PATCH", f"/projects/{SLUG}", json=changes)
        house.send(
            "POST",
            f"/projects/{SLUG}/prompts",
            content=prompts_in(options.prompts),
            headers={"content-type": "application/x-ndjson"},
        )
        first = house.sample(project["policy_id"], "train", seed=1)
        house.wait(f"/runs/{first}", frozenset({"done"}), PATIENCE_S)
        self.people = house.annotators(PEOPLE)
        answers = answers_of(house, checkpoint=project["policy_id"], split="train")
        pairs = [(one.prompt, one.text) for own in answers.values() for one in own]
        score, _ = opened(options.preference, reader, Path("none"), Path("none"), [])
        self.sensible = Sensible(score, reader, pairs)
        self.sensible.prepare(pairs)
        self.taste = taste_of(self.sensible, [(own[0].prompt, [one.text for one in own]) for own in answers.values()])
        self.given = 0

    def all(self) -> list[dict[str, Any]]:
        """The lines of the rounds that people decided: as usual, harmed, as usual."""
        evaluation = {"on": True, "share": 0.9, "budget": self.options.verdicts, "promotes": True}
        triggers = {"on": True, "labels": self.options.labels}
        self.house.send("PATCH", f"/projects/{SLUG}", json={"evaluation": evaluation, "triggers": triggers})
        lines: list[dict[str, Any]] = []
        plan = [False, True, False]
        for _ in range(MOST_ROUNDS):
            if len(lines) == len(plan):
                break
            harmed = plan[len(lines)]
            ppo = (HARMED if harmed else {}) | ({"updates": self.options.updates} if self.options.updates else {})
            self.house.send("PATCH", f"/projects/{SLUG}", json={"training": {"ppo": ppo}})
            round_ = self._round()
            if round_["state"] == "done":
                lines.append({"harmed": harmed} | self._told(round_))
                print(json.dumps(lines[-1]), flush=True)
            else:
                say(f"round {round_['number']} {round_['state']}: {round_['reason']}")
        return lines

    def _round(self) -> dict[str, Any]:
        """People judge until a round has begun by itself, and again while it asks them; the round once it has ended."""
        before = self._newest()
        while (round_ := self._newest()) == before or round_ is None:
            self._judge()
        path, asked = f"/rounds/{round_['id']}", 0
        while round_["state"] not in ENDED:
            round_ = self.house.wait(path, ENDED | {"evaluation", "decision"}, PATIENCE_S)
            if round_["state"] == "decision" or asked > MOST_VERDICTS:
                raise RuntimeError(f"round {round_['number']} waits for somebody: {round_['state']} after {asked} verdicts")
            if round_["state"] == "evaluation":
                self._judge()
                asked += ASKED_AT_ONCE
                round_ = self.house.send("GET", path)
        found: dict[str, Any] = round_
        return found

    def _judge(self) -> None:
        self.given += work_in_turn(self.house.url, SLUG, self.people, self.taste, ASKED_AT_ONCE, PATIENCE_S, seed=self.given)

    def _newest(self) -> dict[str, Any] | None:
        found = self.house.send("GET", f"/projects/{SLUG}/rounds", params={"limit": 1})["items"]
        return found[0] if found else None

    def _told(self, round_: dict[str, Any]) -> dict[str, Any]:
        """What people said of the candidates, what is true of them, and what somebody hears who would promote all the same."""
        evaluation = self.house.send("GET", f"/evaluations/{round_['evaluation_id']}")
        answers = self._answers(evaluation)
        baseline = answers[evaluation["baseline"]["id"]]
        line: dict[str, Any] = {"round": round_["number"], "labels": round_["label_count"], "decision": round_["decision"]}
        line |= {"reason": round_["reason"], "verdicts": evaluation["given"], "prompts": evaluation["planned"]}
        for one in evaluation["candidates"]:
            name = "candidate" if one["promotable"] else "best_of_4"
            own = answers[one["contender"]["id"]]
            met = {number: texts for number, texts in own.items() if number in baseline}
            wins = win_rates(met, baseline, self.sensible)
            line[name] = {
                "said": one["words"],
                "wins": rounded(statistics.fmean(wins)),
                "interval": [*map(rounded, interval(wins))],
            }
            if one["promotable"]:
                line["alarm"] = one["alarm"]
        ppo = next(run for run in round_["runs"] if run["kind"] == "ppo")
        line["score"] = [rounded(ppo["result"][name]) for name in ("score_before", "score") if name in ppo["result"]]
        line["nats"] = rounded(ppo["result"]["kl_nats_per_answer"])
        line["right"] = round_["decision"] == ("promoted" if line["candidate"]["interval"][0] > 0.5 else "rejected")
        if line["alarm"]:
            reply = self.house.api.post(f"/checkpoints/{round_['candidate_id']}/promote", json={"confirm": True})
            line["promoted_all_the_same"] = [reply.status_code, reply.json().get("detail", reply.text)]
        return line

    def _answers(self, evaluation: dict[str, Any]) -> dict[int, dict[int, list[Answer]]]:
        """By contender and prompt, of held-out prompts."""
        wanted = {evaluation["baseline"]["id"], *(one["contender"]["id"] for one in evaluation["candidates"])}
        found: dict[int, dict[int, list[Answer]]] = {number: defaultdict(list) for number in wanted}
        for item in self.house.pages(f"/projects/{SLUG}/generations", split="holdout"):
            if item["contender_id"] in wanted:
                tokens, cut = len(item["token_ids"]), item["finish_reason"] == "length"
                one = Answer(last_words(item["messages"]), item["text"], tokens, cut)
                found[item["contender_id"]][item["prompt_id"]].append(one)
        self.sensible.prepare([(one.prompt, one.text) for by in found.values() for own in by.values() for one in own])
        return found


def prompts_in(path: Path) -> str:
    """Lines of `prompt` as an import takes them."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return "\n".join(json.dumps({"prompt": json.loads(line)["prompt"]}) for line in lines)


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "bench": "unattended",
        "rounds": len(lines),
        "decisions": [line["decision"] for line in lines],
        "right": sum(line["right"] for line in lines),
        "alarms": sum(bool(line["alarm"]) for line in lines),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True, help="prompts to import, one JSON object with `prompt` a line")
    parser.add_argument("--preference", default="structured", help="one of bench/preferences.py, or module:function")
    parser.add_argument("--labels", type=int, default=250, help="new labels that start a round (default 250)")
    parser.add_argument("--verdicts", type=int, default=240, help="budget of verdicts on each candidate (default 240)")
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--simple", action="store_true", help="a SimpleLM, for a quick look at all of it")
    parser.add_argument("--data", type=Path, help="keep the installation in this folder")
    parser.add_argument("--answers-tokens", type=int, default=64, help="longest answer (default 64)")
    parser.add_argument("--updates", type=int, help="PPO updates of each round (default: the trainer's)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
