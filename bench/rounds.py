"""Round after round with simulated people: `python bench/rounds.py [--svg docs/five-rounds.svg]`.

As bench/loop.py: people with a hidden taste judge on the real server over HTTP, some of their verdicts flipped, those about
nonsense "both bad". But they judge what the policy in force writes, and a round trains that policy further; then it is compared
blind, by the taste without noise, with the policy before it on held-out prompts, and promoted if it wins more often. Each round's
labels are fresh, on the answers of the policies at hand. One JSON line per round: win rate against the base, how far the round
went from where it began and how far its policy is from the base, beside what it may; a summary as the last line, and a picture.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import beside_base, loop
from bench.annotators import Taste, taste_of, work_in_turn
from bench.drawing import chart, svg
from bench.installation import SLUG, Installation, default_model, say, simple_model
from bench.loop import PATIENCE_S, PEOPLE, BaseAnswers, answers_of, ended_well, reward_of, rounded
from bench.reading import Reader
from bench.tastes import Sensible, opened
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder, read_jsonl

Line = dict[str, Any]


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-rounds-") as folder:
        place = options.data or Path(folder)
        model = simple_model(place) if options.simple else options.model or default_model(place)
        base = loop.kept_base_answers(place) or loop.write_base_answers(place, model, options)
        torch.set_num_threads(int(os.environ.get("TASTEMAKER_THREADS", 2)))
        data = place / f"rounds-{options.preference.replace(':', '-')}"
        shutil.copytree(base.data, data)
        house = Installation(data, model)
        house.key = base.key
        lines = []
        try:
            house.start_web()
            house.start_worker()
            for line in Rounds(house, base, Reader(model), options).all():
                lines.append(line)
                print(json.dumps(line), flush=True)
                if options.svg:  # after each, so that a run of hours that is stopped leaves one
                    options.svg.write_text(picture(lines, options.preference), encoding="utf-8")
        finally:
            house.stop()
    print(json.dumps(summary(lines)))
    return 0 if all("refused" not in line for line in lines) else 1


class Rounds:
    """One installation and its people, round after round."""

    def __init__(self, house: Installation, base: BaseAnswers, reader: Reader, options: argparse.Namespace) -> None:
        self.house, self.base, self.reader, self.options = house, base, reader, options
        self.people = house.annotators(PEOPLE)
        self.policy = base.policy_id
        self.per_prompt: int = house.send("GET", f"/projects/{SLUG}")["sampling"]["per_prompt"]
        self.current = self.base_held_out()  # answers of the policy in force to held-out prompts
        self.sensible, self.taste = self._taste()

    def all(self) -> Iterator[Line]:
        labels = 0
        for number in range(1, self.options.rounds + 1):
            began = time.monotonic()
            self._read(checkpoint=self.policy, split="train")
            labels += work_in_turn(
                self.house.url, SLUG, self.people, self.taste, self.options.labels, PATIENCE_S, seed=number * PEOPLE
            )
            say(f"== round {number}: {labels} labels in all")
            line = {"round": number, "labels": labels} | self.round()
            yield line | {"seconds": round(time.monotonic() - began)}

    def round(self) -> Line:
        """One round on all labels so far; its candidate takes the policy's place where it wins."""
        ppo = loop.ppo_settings(self.options.preference, self.options.updates)
        config = {"sample": {"per_prompt": self.per_prompt}, "ppo": ppo}
        started = self.house.send("POST", f"/projects/{SLUG}/rounds", json={"config": config})
        round_ = self.house.wait(f"/rounds/{started['id']}", loop.ROUND_ENDED, PATIENCE_S)
        if round_["state"] != "decision":
            return {"refused": round_["reason"]}
        candidate = round_["candidate_id"]
        extra = self.house.sample(candidate, "holdout", per_prompt=loop.HELD_OUT_ANSWERS, seed=1 + round_["number"])
        ended_well(self.house.wait(f"/runs/{extra}", loop.RUN_ENDED, PATIENCE_S))
        new = answers_of(self.house, run=extra, split="holdout")
        old = self.base_held_out(round_["reward_id"])
        line = beside_base.compared(new, old, self.sensible, self.reader)
        wins = statistics.fmean(beside_base.win_rates(new, self.current, self.sensible))
        better = wins > 0.5
        if better:
            self.house.send("POST", f"/checkpoints/{candidate}/promote", json={"confirm": True})
            self.policy, self.current = candidate, new
        else:
            self.house.send("POST", f"/rounds/{round_['id']}/reject", json={"reason": "it does not win"})
        ppo_run = next(run for run in round_["runs"] if run["kind"] == "ppo")
        moved = moves(RunFolder(self.house.data / "runs" / str(ppo_run["id"])))
        return line | {"win_rate_against_previous": rounded(wins), "promoted": better} | moved

    def base_held_out(self, reward_id: int | None = None) -> dict[int, list[beside_base.Answer]]:
        """The base's answers to held-out prompts, with what a reward model gives them."""
        reward = reward_of(self.house, reward_id) if reward_id else None
        return answers_of(self.house, reward, run=self.base.held_out_run, split="holdout")

    def _taste(self) -> tuple[Sensible, Taste]:
        """The people's taste, whose usual differences are those between answers of the base."""
        answers = answers_of(self.house, checkpoint=self.policy, split="train")
        pairs = [(one.prompt, one.text) for own in answers.values() for one in own]
        prompts = list(dict.fromkeys(prompt for prompt, _ in pairs))
        cache = Path(self.base.data).with_name("cache")
        score, _ = opened(self.options.preference, self.reader, self.options.judgements, cache, prompts)
        sensible = Sensible(score, self.reader, pairs)
        sensible.prepare(pairs)
        return sensible, taste_of(sensible, [(own[0].prompt, [one.text for one in own]) for own in answers.values()])

    def _read(self, **query: Any) -> None:
        """What is to be judged, read at once instead of one by one."""
        self.sensible.prepare([(one.prompt, one.text) for own in answers_of(self.house, **query).values() for one in own])


def moves(folder: RunFolder) -> Line:
    """How far a PPO run's policy is from where the run began and from the base, in nats per answer, and what it may be."""
    config = folder.config
    assert isinstance(config, PPOConfig)
    result = json.loads(folder.file("result.json").read_text(encoding="utf-8"))
    rows = {row["step"]: row for row in read_jsonl(folder.file("metrics.jsonl"))}
    kept = rows[result["updates"]]
    from_start, from_base = kept["kl/exact_nats_per_answer"], kept["kl/from_base_nats_per_answer"]
    return {
        "kept_update": result["updates"],
        "reason": result["reason"]["code"],
        "kl_from_start": rounded(from_start),
        "kl_from_base": rounded(from_base),
        "within_budgets": from_start <= config.stop_nats and from_base <= config.base_budget_nats,
        "budgets": {"target": config.kl_target_nats, "stop": config.stop_nats, "base": config.base_budget_nats},
    }


def summary(lines: Sequence[Line]) -> Line:
    """What is asked of several rounds: more wins with each, within what it may move, and none refused."""
    whole = [line for line in lines if "refused" not in line]
    wins = [line["win_rate"] for line in whole]
    return {
        "bench": "rounds",
        "rounds": len(lines),
        "refused": [line["refused"] for line in lines if "refused" in line],
        "promoted": sum(line["promoted"] for line in whole),
        "win_rates": wins,
        "rises": sum(later > earlier for earlier, later in zip([0.5, *wins], wins, strict=False)),
        "kl_from_start": [line["kl_from_start"] for line in whole],
        "kl_from_base": [line["kl_from_base"] for line in whole],
        "within_budgets": sum(line["within_budgets"] for line in whole),
        "seconds": sum(line["seconds"] for line in lines),
    }


def picture(lines: Sequence[Line], taste: str) -> str:
    """Wins against the base after each round with their intervals, and how far each went, on an axis of its own."""
    whole = [line for line in lines if "refused" not in line]
    settings = {
        "range": (0, 1),
        "secondary_range": (0, _top(whole)),
        "x_labels": list(range(len(lines) + 1)),
        "allow_interruptions": True,
        "legend_at_bottom_columns": 2,
    }
    drawing = chart(f"Round after round by fresh labels, people's taste: {taste}", "round", "wins; nats (right)", **settings)
    drawing.add("wins against the base", [(0, 0.5), *((line["round"], line["win_rate"]) for line in whole)])
    ends: list[tuple[float | None, float | None]] = []
    for line in whole:
        ends += [(line["round"], end) for end in line["win_rate_interval"]] + [(None, None)]
    drawing.add("95 %", ends, dots_size=1)
    for name, key in (("KL from where the round began", "kl_from_start"), ("KL from the base", "kl_from_base")):
        points = [(0, 0), *((line["round"], line[key]) for line in whole)]
        drawing.add(name, points, secondary=True, stroke_style={"dasharray": "4, 4"})
    return svg(drawing)


def _top(lines: Sequence[Line]) -> int:
    """Nats at the top of their axis: ten steps of whole nats."""
    return 10 * math.ceil(max([1.0, *(float(line["kl_from_base"]) for line in lines)]) / 10)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=200, help="labels before each round (default 200)")
    parser.add_argument("--ranked", type=int, help="answers that each label puts in order (default: each compares two)")
    parser.add_argument("--preference", default="second_person", help="one of bench/tastes.py or module:function")
    parser.add_argument("--judgements", type=Path, default=Path("data/judgements"), help="human judgements, for `people`")
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--simple", action="store_true", help="a SimpleLM, for a quick look at all rounds")
    parser.add_argument("--data", type=Path, help="keep the installation in this folder")
    parser.add_argument("--answers-tokens", type=int, default=64, help="longest answer (default 64)")
    parser.add_argument("--updates", type=int, help="PPO updates of each round (default: the trainer's)")
    parser.add_argument("--svg", type=Path, help="where to draw the picture")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
