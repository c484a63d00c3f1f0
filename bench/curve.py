"""How a reward's accuracy grows with labels, head and adapters: `python bench/curve.py --data DIR`.

DIR is what `python bench/loop.py --data DIR` kept: the base model's answers to training and to held-out prompts. Simulated people
compare training answers, 15 % of their verdicts turned round; each reward is asked about every pair of answers to a held-out
prompt, as the noise-free preference orders them. Curves are of the same labels, the first N of one draw. One JSON line last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select
from torch import Tensor

from app.database.engine import make_engine, read_session
from app.models import Generation, Prompt
from bench.annotators import last_words, taste_of
from bench.installation import default_model, say
from bench.loop import agreement
from bench.preferences import PREFERENCES, Preference
from bench.reward import features_of
from trainer.contract.config import RewardConfig
from trainer.lm.backbone import Backbone
from trainer.lm.loading import load_backbone
from trainer.reward.adapter import train
from trainer.reward.data import Answer, Comparison, Labels, encode_all
from trainer.reward.people.standards import fitted_head

COUNTS = (50, 100, 200, 400, 1000)


def read(data: Path, split: str) -> list[Answer]:
    """The base model's answers of a kept installation."""
    engine = make_engine(f"sqlite:///{data / 'base' / 'tastemaker.db'}")
    with read_session(engine) as session:
        rows = session.execute(
            select(Prompt.messages, Generation.text, Generation.token_ids)
            .join(Generation, Generation.prompt_id == Prompt.id)
            .where(Prompt.split == split)
            .order_by(Generation.id)
        ).all()
    engine.dispose()
    return [Answer(tuple((turn["role"], turn["content"]) for turn in messages), text, tuple(ids)) for messages, text, ids in rows]


def judge(answers: Sequence[Answer], score: Preference, count: int) -> list[Comparison]:
    """So many verdicts on pairs of different answers to one prompt, each pair once, spread over the prompts."""
    draw = random.Random(0)
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for number, answer in enumerate(answers):
        by_prompt[answer.prompt_key].append(number)
    taste = taste_of(score, [(prompt_of(answers[some[0]]), [answers[one].text for one in some]) for some in by_prompt.values()])
    pairs = [
        (key, left, right)
        for key, some in by_prompt.items()
        for left, right in combinations(some, 2)
        if answers[left].text != answers[right].text
    ]
    if len(pairs) < count:
        raise SystemExit(f"there are {len(pairs)} pairs of answers, too few for {count} comparisons")
    draw.shuffle(pairs)
    found = []
    for key, left, right in pairs[:count]:
        task = {
            "prompt": {"messages": [dict(zip(("role", "content"), turn, strict=True)) for turn in answers[left].messages]},
            "left": {"text": answers[left].text},
            "right": {"text": answers[right].text},
        }
        found.append(Comparison(left, right, taste.verdict(task, draw), None, "people", key))
    return found


def accuracy(answers: Sequence[Answer], score: Preference, rewards: Tensor) -> float:
    """How often rewards order two answers to one prompt as the preference does."""
    by_prompt: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for answer, reward in zip(answers, rewards.tolist(), strict=True):
        by_prompt[answer.prompt_key].append((score(prompt_of(answer), answer.text), reward))
    right, pairs = agreement(by_prompt.values())
    return round(right / pairs, 3)


def prompt_of(answer: Answer) -> str:
    return last_words([{"role": role, "content": content} for role, content in answer.messages])


def tuned_rewards(
    base: Path, labels: Labels, features: dict[str, Tensor], asked: Sequence[Answer], config: RewardConfig, state: Path
) -> Tensor:
    """Rewards of `asked` by adapters trained on these labels."""
    backbone = load_backbone(str(base), config.dtype)
    sequences = encode_all(backbone, labels.answers, config.max_tokens)
    people = fitted_head(features, labels, config)
    tuned = train(backbone, sequences, labels, config, people, lambda _done, _total, _loss: None, state)
    return tuned.rewards(encode_all(backbone, asked, config.max_tokens), lambda: None)


def main() -> int:
    options = _options()
    config = RewardConfig(epochs=options.epochs, max_tokens=256)
    with tempfile.TemporaryDirectory(prefix="tastemaker-curve-") as place:
        base = options.model or default_model(Path(place))
        backbone: Backbone = load_backbone(str(base), config.dtype)
        answers, asked = read(options.data, "train"), read(options.data, "holdout")
        say(f"{len(answers)} answers to judge, {len(asked)} held out")
        cache = options.data / "curve-cache"
        features, seen = (features_of(backbone, Labels(answers=some), cache, config) for some in (answers, asked))
        figures: dict[str, Any] = {}
        for name in options.preference or list(PREFERENCES):
            score = PREFERENCES[name]
            verdicts = judge(answers, score, max(options.counts))
            for count in options.counts:
                labels = Labels(answers=answers, comparisons=verdicts[:count])
                began = time.monotonic()
                head = fitted_head(features, labels, config)
                line = {"head": accuracy(asked, score, head.reward(seen)), "head_s": round(time.monotonic() - began, 1)}
                if options.adapters:
                    began = time.monotonic()
                    rewards = tuned_rewards(base, labels, features, asked, config, Path(place) / f"{name}-{count}")
                    line |= {"adapters": accuracy(asked, score, rewards), "adapters_s": round(time.monotonic() - began, 1)}
                figures[f"{name}-{count}"] = line
                say(f"{name}, {count} comparisons: {json.dumps(line)}")
    ways = ("head", "adapters") if options.adapters else ("head",)
    for count in options.counts:
        lines = [line for key, line in figures.items() if key.endswith(f"-{count}")]
        figures[f"mean-{count}"] = {way: round(sum(line[way] for line in lines) / len(lines), 3) for way in ways}
    print(json.dumps(figures | {"threads": torch.get_num_threads()}))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that bench/loop.py kept")
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 of the set-up)")
    parser.add_argument("--preference", action="append", choices=list(PREFERENCES), help="repeat it for several; default all")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="numbers of comparisons")
    parser.add_argument("--adapters", action="store_true", help="train adapters, too, which takes minutes a point")
    parser.add_argument("--epochs", type=int, default=1, help="of the adapters")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
