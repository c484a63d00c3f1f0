"""What verdicts say about those who gave them, beside other programs: `python bench/quality.py --data FOLDER`.

On judgements of others (llmfao, DICES-350, scratchplot, tulu1; files of JSON lines, gzip): Krippendorff's alpha beside
`krippendorff`, Bradley-Terry beside `evalica`, Dawid-Skene beside `crowd-kit`, and how many of its labels are the experts'. What
differs is named, and the exit status is 1. Then a made-up crowd's figures are counted as a worker counts them, its labels in
memory. With `--arena-rank PYTHON`, the Python of an environment of its own where `arena-rank` is installed (it wants another
NumPy), the leaderboard's intervals over llmfao's models beside arena-rank's. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import gzip
import json
import math
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import krippendorff
import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene, MajorityVote
from evalica import Winner, bradley_terry

from app.evaluation.leaderboard.ranking import MADE_UP, Met, rank
from app.quality.columns import NAMES, UNKNOWN, Columns
from app.quality.counting import count
from app.quality.measures.agreement import Level, alpha
from app.quality.measures.by_person import Floats, Ints
from app.quality.measures.dawid_skene import accuracies, dawid_skene
from app.quality.measures.discrimination import Judged, discriminations, strengths
from bench.installation import say
from trainer.contract.intervals import NORMAL_95

ALIKE: Final = 1e-9  # alphas
ARENA_SIDE: Final = Path(__file__).with_name("arena_side.py")
ALIKE_WIDTH: Final = 1e-3  # of an interval's width, by the same method
ALIKE_STRENGTH: Final = 1e-4  # log strengths; evalica stops sooner than we do
EXPERTS: Final = 0.69  # of DICES-350's items, Dawid-Skene says what the experts say

OVERLAP: Final = 3  # people to a task of the made-up crowd

Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """One set's verdicts, by number."""

    items: Ints
    people: Ints
    values: Ints
    names: list[str]  # of the items


def rows(data: Path, name: str) -> list[Row]:
    path = data / f"{name}.jsonl.gz"
    if not path.is_file():
        raise SystemExit(f"There is no {path}: --data names the folder that holds it.")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def numbered(found: Sequence[Row], value: str, order: Sequence[Any]) -> Said:
    names, items = np.unique([row["item"] for row in found], return_inverse=True)
    _, people = np.unique([row["annotator"] for row in found], return_inverse=True)
    return Said(items, people, np.array([order.index(row[value]) for row in found]), list(names))


def table(said: Said) -> Floats:
    """(people, items) as `krippendorff` takes it; not a number where somebody said nothing."""
    found = np.full((int(said.people.max()) + 1, int(said.items.max()) + 1), np.nan)
    found[said.people, said.items] = said.values
    return found


def alphas(data: Path) -> dict[str, dict[str, float]]:
    ratings = rows(data, "ratings_scratchplot_1to5")
    votes = ["b", "tie", "a"]
    sets: dict[str, tuple[Said, Level]] = {
        "llmfao": (numbered(rows(data, "votes_llmfao"), "choice", votes), "nominal"),
        "dices350": (numbered(rows(data, "labels_dices350"), "label", ["No", "Unsure", "Yes"]), "nominal"),
        "tulu1": (numbered(rows(data, "votes_tulu1"), "choice", votes), "nominal"),
    }
    for criterion in sorted({row["criterion"] for row in ratings}):
        mine = [row for row in ratings if row["criterion"] == criterion]
        sets[f"scratchplot {criterion}"] = (numbered(mine, "rating", [1, 2, 3, 4, 5]), "ordinal")
    levels: dict[Level, tuple[Level, ...]] = {"nominal": ("nominal", "ordinal"), "ordinal": ("ordinal",)}
    return {f"{name} {one}": _alpha(said, one) for name, (said, level) in sets.items() for one in levels[level]}


def _alpha(said: Said, level: Level) -> dict[str, float]:
    began = time.perf_counter()
    ours = alpha(said.items, said.values, level)
    took = time.perf_counter() - began
    theirs = krippendorff.alpha(reliability_data=table(said), level_of_measurement=level)
    assert ours.value is not None
    assert ours.low is not None
    assert ours.high is not None
    return {
        "alpha": round(ours.value, 4),
        "low": round(ours.low, 4),
        "high": round(ours.high, 4),
        "verdicts": ours.n,
        "differs": abs(ours.value - theirs),
        "ours_s": round(took, 3),
    }


def models_of_llmfao(data: Path) -> tuple[Judged, int]:
    pairs = {row["item"]: (row["model_a"], row["model_b"]) for row in rows(data, "items_llmfao")}
    votes = rows(data, "votes_llmfao")
    names = sorted({model for pair in pairs.values() for model in pair})
    place = {name: number for number, name in enumerate(names)}
    _, judge = np.unique([vote["annotator"] for vote in votes], return_inverse=True)
    first, second = (np.array([place[pairs[vote["item"]][side]] for vote in votes]) for side in (0, 1))
    won = np.array([{"a": 1.0, "b": 0.0, "tie": 0.5}[vote["choice"]] for vote in votes])
    return Judged(first, second, won, judge), len(names)


def strengths_of_models(data: Path) -> dict[str, float]:
    """Beside evalica, all judges alike; then each judge's discrimination."""
    said, models = models_of_llmfao(data)
    judges = int(said.judge.max()) + 1
    ours = strengths(said, models, np.ones(judges), ridge=0.0)
    winners = [{1.0: Winner.X, 0.0: Winner.Y, 0.5: Winner.Draw}[won] for won in said.won]
    firsts, seconds = ([f"{number:03}" for number in side] for side in (said.first, said.second))
    scores = bradley_terry(firsts, seconds, winners, tolerance=1e-12, limit=1_000_000).scores
    theirs = np.log(scores.sort_index().to_numpy())
    began = time.perf_counter()
    sharp, _ = discriminations(said, models, judges)
    took = time.perf_counter() - began
    apart = [one for one in sharp if one.enough and one.low is not None and one.high is not None and not one.low < 1 < one.high]
    return {
        "models": models,
        "judges": judges,
        "differs": float(np.abs(ours - (theirs - theirs.mean())).max()),
        "judges_of_30": sum(one.enough for one in sharp),
        "apart_from_average": len(apart),
        "ours_s": round(took, 2),
    }


def intervals_of_models(data: Path, python: Path) -> dict[str, Any]:
    """The leaderboard's, which are the curvature's, beside arena-rank's curvature and the sandwich that it shows.

    The same verdicts for both: each model's made-up tie with the base is among arena-rank's, too.
    """
    said, models = models_of_llmfao(data)
    names = [f"{number:03}" for number in range(models)]
    winners = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}
    met = [(names[a], names[b], winners[won]) for a, b, won in zip(said.first, said.second, said.won.tolist(), strict=True)]
    assert MADE_UP == 1.0
    met += [(name, names[0], "tie") for name in names[1:]]
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as job:
        json.dump({"met": met, "base": names[0]}, job)
        job.flush()
        told = subprocess.run([str(python), str(ARENA_SIDE), job.name], check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = json.loads(told.splitlines()[-1])
    counts = Counter((a, b, winner) for a, b, winner in met[: len(said.won)])
    pairs = [
        Met(int(a), int(b), 0, *(float(counts[a, b, winner]) for winner in ("model_a", "tie", "model_b")))
        for a, b in sorted({(a, b) for a, b, _winner in counts})
    ]
    ours = {one.contender: tuple(map(_log_odds, (one.rate, one.lower, one.upper))) for one in rank(pairs, range(models), 0)}
    ratios = {
        method: np.array([(ours[int(name)][2] - ours[int(name)][1]) / 2 / NORMAL_95 / theirs[name][method] for name in names[1:]])
        for method in ("curvature", "sandwich")
    }
    return {
        "models": models,
        "strength_differs": max(abs(ours[int(name)][0] - theirs[name]["strength"]) for name in names[1:]),
        "width_differs": float(np.abs(ratios["curvature"] - 1).max()),
        "of_sandwich": [round(float(of(ratios["sandwich"])), 3) for of in (np.min, np.median, np.max)],
    }


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def truths_of_dices(data: Path) -> dict[str, float]:
    """Beside crowd-kit, and the experts, who are never unsure: verdicts that are count for nothing."""
    order = ["No", "Yes"]
    found = [row for row in rows(data, "labels_dices350") if row["label"] in order]
    said = numbered(found, "label", order)
    expert = {row["item"]: row["expert_gold"] for row in rows(data, "items_dices350")}
    gold = np.array([order.index(expert[name]) for name in said.names])
    sizes = (len(said.names), int(said.people.max()) + 1, len(order))
    began = time.perf_counter()
    ours = dawid_skene(said.items, said.people, said.values, sizes)
    took = time.perf_counter() - began
    frame = pd.DataFrame({"task": said.items, "worker": said.people, "label": said.values})
    theirs = DawidSkene(n_iter=100).fit_predict(frame).sort_index().to_numpy()
    majority = MajorityVote().fit_predict(frame).sort_index().to_numpy()
    right = [one.value for one in accuracies(said.items, said.people, said.values, ours) if one.value is not None]
    return {
        "items": len(gold),
        "labels_that_differ": int((ours.labels != theirs).sum()),
        "experts": round(float((ours.labels == gold).mean()), 4),
        "experts_majority": round(float((majority == gold).mean()), 4),
        "accuracy_least": round(min(right), 3),
        "accuracy_most": round(max(right), 3),
        "ours_s": round(took, 2),
    }


def crowd(labels: int, people: int) -> Columns:
    """Three people to a task, a quarter of them ratings, among answers of 20 contenders; four of five say what is true."""
    draw = np.random.default_rng(0)
    tasks = labels // OVERLAP
    task = np.repeat(np.arange(tasks), OVERLAP)
    n = len(task)
    truth = np.repeat(2 * draw.integers(0, 2, tasks), OVERLAP)
    outcome = np.where(draw.random(n) < 0.8, truth, draw.integers(0, 4, n))
    swapped = draw.random(n) < 0.5
    rated = np.repeat(draw.random(tasks) < 0.25, OVERLAP)
    made: dict[str, Ints] = dict.fromkeys(NAMES, np.zeros(n, np.int64))
    made |= {name: draw.integers(0, 20, n) for name in ("left_contender", "right_contender")}
    made |= {name: draw.integers(100, 1000, n) for name in ("left_bytes", "right_bytes")}
    made |= {
        "label": np.arange(1, n + 1),
        "task": task,
        "person": 1 + (task * 7 + np.tile(draw.permutation(people)[:OVERLAP], tasks)) % people,
        "choice": np.where(rated, UNKNOWN, np.where(swapped & (outcome % 2 == 0), 2 - outcome, outcome)),
        "overall": np.where(rated, np.clip(truth + draw.integers(1, 4, n), 1, 5), 0),
        "left": 2 * task + 1 + swapped,
        "right": 2 * task + 2 - swapped,
        "spent_ms": draw.integers(1_000, 60_000, n),
        "criteria": draw.integers(0, 3, n),
    }
    return Columns(**made, said=[{}, {"fluency": "left"}, {"accuracy": 3}])


def counted(labels: int, people: int) -> dict[str, float]:
    """Seconds of the figures of a whole crowd, and how much of them the processor worked."""
    columns = crowd(labels, people)
    began, worked = time.perf_counter(), time.process_time()
    found = count(columns, {})
    return {
        "labels": found.labels,
        "people": len(found.people),
        "pairs": len(found.pairs),
        "s": round(time.perf_counter() - began, 2),
        "processor_s": round(time.process_time() - worked, 2),
    }


def broken(found: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    problems = [f"alpha of {name} differs" for name, one in found["alpha"].items() if one["differs"] > ALIKE]
    if found["bradley_terry"]["differs"] > ALIKE_STRENGTH:
        problems.append("Bradley-Terry differs")
    beside = found.get("arena_rank", {"strength_differs": 0.0, "width_differs": 0.0})
    if beside["strength_differs"] > ALIKE_STRENGTH or beside["width_differs"] > ALIKE_WIDTH:
        problems.append("intervals differ from arena-rank's")
    if found["dawid_skene"]["labels_that_differ"]:
        problems.append("Dawid-Skene differs")
    if found["dawid_skene"]["experts"] < EXPERTS:
        problems.append("Dawid-Skene is further from the experts")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the judgements")
    parser.add_argument("--arena-rank", type=Path, metavar="PYTHON", help="of an environment that has arena-rank")
    parser.add_argument("--labels", type=int, default=200_000, help="of the made-up crowd")
    parser.add_argument("--people", type=int, default=200)
    given = parser.parse_args()
    data: Path = given.data
    found: dict[str, Any] = {
        "alpha": alphas(data),
        "bradley_terry": strengths_of_models(data),
        "dawid_skene": truths_of_dices(data),
        "counting": counted(given.labels, given.people),
    }
    if given.arena_rank:
        found["arena_rank"] = intervals_of_models(data, given.arena_rank)
    problems = broken(found)
    for problem in problems:
        say(problem)
    print(json.dumps({"bench": "quality", **found, "problems": problems}))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
