"""What the best of four of the base wins, asked again of a loop that was kept: by its reward, and by the taste itself.

    python bench/best_of_four.py DATA NAME [NAME ...] --round DATA/NAME [--judgements DIR]

DATA is the folder of `python bench/loop.py --data DATA --preference NAME`; `--round` the installation in it whose newest reward
scores the base's held-out answers. One JSON line: with the halves as the answers were drawn, over random halves, for each NAME
what somebody would win who knew that taste, and by how much the scores deviate. Nothing of the folder is changed.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.beside_base import Answer, interval, win_rates_of_best
from bench.installation import SLUG, Installation, default_model
from bench.loop import answers_of, kept_base_answers, reward_of, rounded
from bench.reading import Reader
from bench.tastes import Sensible, opened

HALVES = 200  # random ones


def main() -> None:
    options = _options()
    before = kept_base_answers(options.data)
    if before is None:
        raise SystemExit(f"{options.data} holds no base answers of bench/loop.py.")
    model = default_model(options.data)
    with tempfile.TemporaryDirectory(prefix="tastemaker-best-") as place:
        copy = shutil.copytree(options.round, Path(place) / "copy")
        house = Installation(copy, model)
        house.key = before.key
        try:
            house.start_web()
            newest = max(one["id"] for one in house.pages(f"/projects/{SLUG}/checkpoints") if one["kind"] == "reward")
            answers = answers_of(house, reward_of(house, newest), run=before.held_out_run, split="holdout")
            usual = [(one.prompt, one.text) for own in answers_of(house, run=1, split="train").values() for one in own]
        finally:
            house.stop()
        print(json.dumps(figures(answers, usual, Reader(model), options, Path(place) / "cache")))


def figures(
    answers: dict[int, list[Answer]], usual: list[tuple[str, str]], reader: Reader, options: argparse.Namespace, cache: Path
) -> dict[str, object]:
    prompts = list(dict.fromkeys(prompt for prompt, _ in usual))
    found: dict[str, object] = {"bench": "best_of_four", "prompts": len(answers), "known": {}}
    known: dict[str, float] = {}
    for name in options.names:
        taste = Sensible(opened(name, reader, options.judgements, cache, prompts)[0], reader, usual)
        taste.prepare([(one.prompt, one.text) for own in answers.values() for one in own])
        told = {
            number: [replace(one, reward=taste(one.prompt, one.text)) for one in own] for number, own in answers.items()
        }  # by who knows it
        known[name] = rounded(statistics.fmean(win_rates_of_best(told, taste)))
        if name == options.names[0]:
            wins = win_rates_of_best(answers, taste)
            draw = random.Random(0)
            drawn = [
                statistics.fmean(win_rates_of_best({at: draw.sample(own, len(own)) for at, own in answers.items()}, taste))
                for _ in range(HALVES)
            ]
            found |= {"taste": name, "best_of_4": rounded(statistics.fmean(wins)), "interval": [*map(rounded, interval(wins))]}
            rewards = [one.reward for own in answers.values() for one in own]
            found |= {"scale": rounded(statistics.stdev(rewards))}  # of new answers; 1 is wanted
            found |= {"random_halves": rounded(statistics.fmean(drawn)), "deviation": rounded(statistics.stdev(drawn))}
    return found | {"known": known}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="+", help="tastes; the first is that of the round")
    parser.add_argument("--round", type=Path, required=True, help="the installation whose newest reward scores")
    parser.add_argument("--judgements", type=Path, default=Path("data/judgements"), help="human judgements, for `people`")
    return parser.parse_args()


if __name__ == "__main__":
    main()
