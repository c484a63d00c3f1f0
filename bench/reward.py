"""The reward run on real human judgements: `python bench/reward.py --data DIR`.

DIR holds `pairs_hh_harmless.jsonl.gz` and `pairs_tulu1.jsonl.gz`. Each becomes an ordinary run folder, so that what is measured
is what a project gets: held-out accuracy over five folds by prompt. With `ratings_scratchplot_1to5.jsonl.gz` there too, ratings
are foretold with each annotator's leniency and without. One JSON line is printed last.
With `--work DIR` the answers already read stay there, and a second call goes on where the first was stopped.

With `--train FILE --test FILE` the line has our figures on given training and test pairs instead, for a comparison with a peer
on the same ones.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import gzip
import json
import random
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.installation import ROOT, default_model, say

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.contract.config import RewardConfig
    from trainer.lm.backbone import Backbone
    from trainer.reward.data import Labels

SETS = ("pairs_hh_harmless", "pairs_tulu1")
RATINGS = "ratings_scratchplot_1to5"
FOLDS = 5
NO_TIES = -30.0  # log of Davidson's nu
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
FIGURES = (
    *("comparisons", "prompts", "accuracy", "accuracy_low", "accuracy_high", "nll", "ece", "temperature", "longer_wins"),
    *("shorter_accuracy", "length_correlation", "groups", "form", "seconds", "fit_s"),
)


def conversation(prompt: str) -> list[dict[str, str]]:
    """Messages of a prompt: the turns of a "Human: ... Assistant:" transcript, or one message."""
    parts = TURN.split(prompt.strip())
    if len(parts) < 3 or parts[0].strip():
        return [{"role": "user", "content": prompt.strip()}]
    turns = [(speaker, text.strip()) for speaker, text in zip(parts[1::2], parts[2::2], strict=True) if text.strip()]
    return [{"role": "user" if speaker == "Human" else "assistant", "content": text} for speaker, text in turns]


def pairs(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def fill(folder: Path, rows: list[dict[str, Any]], base: Path, cache: Path, config: dict[str, Any]) -> None:
    """Write a reward run: the chosen answer stands left or right by chance."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "preferences.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            sides = [{"text": row["chosen"], "token_ids": None}, {"text": row["rejected"], "token_ids": None}]
            choice = draw.choice(("left", "right"))
            left, right = sides if choice == "left" else sides[::-1]
            label = {
                "label_id": number,
                "prompt_id": number,
                "messages": conversation(row["prompt"]),
                "left": left,
                "right": right,
            }
            file.write(json.dumps(label | {"choice": choice, "strength": None, "annotator": "people"}, ensure_ascii=False) + "\n")
    spec = {"kind": "reward", "config": config, "inputs": {"base": str(base.resolve()), "cache": str(cache.resolve())}}
    (folder / "run.json").write_text(json.dumps(spec), encoding="utf-8")


def measure(name: str, data: Path, work: Path, base: Path, limit: int, config: dict[str, Any]) -> dict[str, Any]:
    """The figures of one set, or what went wrong."""
    rows = list(pairs(data / f"{name}.jsonl.gz"))
    random.Random(1).shuffle(rows)
    rows = rows[:limit] if limit else rows
    length = "length" if config["length_covariate"] else "plain"
    folder = work / f"{name}-{len(rows)}-{config['method']}-{length}-{config['max_tokens']}-{config['dtype']}"
    fill(folder, rows, base, work / "cache", config)
    say(f"{name}: {len(rows)} pairs in {folder}")
    status = subprocess.run([sys.executable, "-m", "trainer", "reward", str(folder)], cwd=ROOT, stdout=sys.stderr).returncode
    result = json.loads((folder / "result.json").read_text(encoding="utf-8")) if (folder / "result.json").exists() else {}
    if status != 0:
        return {"status": result.get("status", "failed"), "reason": result.get("reason", f"exit status {status}")}
    return {name: result.get(name) for name in FIGURES} | {"pairs_per_s": round(result["comparisons"] / result["seconds"], 2)}


class Fitted(NamedTuple):
    """A reward fitted to training pairs."""

    rewards: Callable[[Labels], Tensor]  # of every answer
    temperature: float  # what its differences are to be divided by, from training pairs
    seconds: float  # from the pairs' texts to the reward


def compared(
    train: list[dict[str, Any]],
    test: list[dict[str, Any]],
    base: Path,
    cache: Path,
    max_tokens: int = 256,
    method: str = "head",
    dtype: str = "auto",
) -> dict[str, Any]:
    """Our reward fitted to `train` and asked about `test`, both rows of a pairs file whose two answers differ.

    `margins` are the rewards of chosen less rejected answers, a number for each row of `test`; `pairs_per_s` counts training
    pairs over the time from their texts to the fitted reward, unless the cache has them already.
    """
    from trainer.contract.config import RewardConfig
    from trainer.lm.loading import load_backbone
    from trainer.reward import validation

    config = RewardConfig(max_tokens=max_tokens, judge_share=0.0, dtype=dtype)
    fit = {"head": _fitted_head, "lora": _fitted_adapters}[method]
    fitted = fit(labels_of(train), load_backbone(str(base), dtype), cache, config)
    asked = labels_of(test)
    rewards = fitted.rewards(asked)
    left, right = ([getattr(label, side) for label in asked.comparisons] for side in ("left", "right"))
    margins = (rewards[left] - rewards[right]) * validation.signs(asked.comparisons)
    figures = held_out_figures(margins / fitted.temperature, [row["prompt"] for row in test])
    return {
        "trained_on": len(train),
        "tested_on": len(test),
        **figures,
        "temperature": fitted.temperature,
        "pairs_per_s": round(len(train) / fitted.seconds, 2),
        "margins": margins.tolist(),
    }


def held_out_figures(margins: Tensor, prompts: list[str]) -> dict[str, float | None]:
    """Accuracy of rewards of chosen less rejected answers, (N,), its interval by resampling prompts, and of the probabilities
    that they stand for, `sigmoid(margin)`, the calibration error and the negative log-likelihood in nats a pair.
    """
    import torch

    from trainer.reward import validation

    hits = validation.correct(margins)
    low, high = validation.interval(hits, prompts)
    confidence = torch.sigmoid(margins.double().abs())
    return {
        "accuracy": validation.mean(hits),
        "accuracy_low": low,
        "accuracy_high": high,
        "ece": validation.diagram(confidence, hits.double())[0],
        "nll": validation.mean(-torch.nn.functional.logsigmoid(margins.double())),
    }


def _fitted_head(labels: Labels, backbone: Backbone, cache: Path, config: RewardConfig) -> Fitted:
    """The head on the frozen base; its temperature is what its own held-out folds of the training pairs ask for."""
    from trainer.reward import validation
    from trainer.reward.held_out import cross_validate, join, split_prompts
    from trainer.reward.people.standards import fitted_head

    started = time.monotonic()
    features = features_of(backbone, labels, cache, config)
    head = fitted_head(features, labels, config)
    seconds = time.monotonic() - started
    folds, _ = cross_validate(labels, split_prompts(labels, config), lambda rest: fitted_head(features, rest, config), features)
    own = join(folds)
    heat = validation.temperature(own.delta * validation.signs(own.comparisons))
    return Fitted(lambda asked: head.reward(features_of(backbone, asked, cache, config)), heat, seconds)


def _fitted_adapters(labels: Labels, backbone: Backbone, _cache: Path, config: RewardConfig) -> Fitted:
    """Adapters and a head on the end token, alone; where no pair is a tie there is nothing to learn about ties."""
    import torch

    from trainer.reward.adapter import train
    from trainer.reward.data import encode_all
    from trainer.reward.head.model import Head

    started = time.monotonic()
    people = Head({}, torch.zeros(0, 0), NO_TIES, None, [], 1.0)
    sequences = encode_all(backbone, labels.answers, config.max_tokens)
    with tempfile.TemporaryDirectory() as states:
        tuned = train(backbone, sequences, labels, config, people, _say_step, Path(states))
    seconds = time.monotonic() - started
    return Fitted(lambda asked: tuned.rewards(encode_all(backbone, asked.answers, config.max_tokens), lambda: None), 1.0, seconds)


def _say_step(done: int, total: int, loss: float) -> None:
    if done % 10 == 0 or done == total:
        say(f"adapters: step {done} of {total}, loss {loss:.3f}")


def ratings(data: Path, base: Path, cache: Path, dtype: str) -> dict[str, Any]:
    """Held-out log-likelihood of a rating, in nats, by the ordinal model with leniency and noise per annotator and without;
    five folds by story, each criterion a reward of its own; the interval of the gain resamples stories.
    """
    import torch

    from trainer.contract.config import RewardConfig
    from trainer.lm.loading import load_backbone
    from trainer.reward import validation
    from trainer.reward.data import Answer, Labels, Rating
    from trainer.reward.data import folds as dealt
    from trainer.reward.head.fitting import fit
    from trainer.reward.head.label_rows import HeadSettings
    from trainer.reward.held_out import predict

    rows = list(pairs(data / f"{RATINGS}.jsonl.gz"))
    texts = list(dict.fromkeys((row["prompt"], row["response"]) for row in rows))
    answers = [Answer((("user", prompt),), text, None) for prompt, text in texts]
    at = {text: number for number, text in enumerate(texts)}
    features = features_of(load_backbone(str(base), dtype), Labels(answers=answers), cache, RewardConfig())
    split = dealt([str(number) for number in range(len(texts))], FOLDS)
    found: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    stories: list[str] = []
    for criterion in sorted({row["criterion"] for row in rows}):
        mine = [row for row in rows if row["criterion"] == criterion]
        numbers = [at[row["prompt"], row["response"]] for row in mine]
        given = [
            Rating(number, int(row["rating"]), str(row["annotator"]), str(number))
            for number, row in zip(numbers, mine, strict=True)
        ]
        for fold in range(FOLDS):
            inside = [rating for rating in given if split[rating.prompt_key] == fold]
            outside = [rating for rating in given if split[rating.prompt_key] != fold]
            stories += [rating.prompt_key for rating in inside]
            for leniency, parts in found.items():
                head = fit(features, [], outside, HeadSettings(leniency=leniency))
                parts.append(predict(Labels(ratings=inside), fold, head.reward(features), head).rating_loglik)
    lenient, plain = (torch.cat(found[way]) for way in (True, False))
    low, high = validation.bootstrap(lenient - plain, stories)
    return {
        "ratings": len(stories),
        "loglik_with_leniency": validation.mean(lenient),
        "loglik_without": validation.mean(plain),
        "gain": validation.mean(lenient - plain),
        "gain_low": low,
        "gain_high": high,
    }


def labels_of(rows: list[dict[str, Any]]) -> Labels:
    """Pairs as labels, by way of the file that a run would read."""
    from trainer.reward.data import read_labels

    with tempfile.TemporaryDirectory() as temporary:
        fill(Path(temporary), rows, Path(temporary), Path(temporary), {})
        return read_labels(Path(temporary))


def features_of(backbone: Backbone, labels: Labels, cache: Path, config: RewardConfig) -> dict[str, Tensor]:
    """Group -> (answers, D), read by the base or found in the cache."""
    import torch

    from trainer.reward.data import encode_all
    from trainer.reward.features import FeatureCache, choose_layers, groups, pooled_states

    layers = choose_layers(backbone)
    sequences = encode_all(backbone, labels.answers, config.max_tokens)
    means = pooled_states(backbone, sequences, layers, FeatureCache(cache, backbone, layers))
    lengths = torch.tensor([len(item.response_ids) for item in sequences], dtype=torch.float32)
    return groups(means, lengths, config.length_covariate)


def main() -> int:
    parser = argparse.ArgumentParser(description="Held-out accuracy of the reward run on real human judgements.")
    parser.add_argument("--data", type=Path, default=Path("data/judgements"), help="the folder with the pairs_*.jsonl.gz files")
    parser.add_argument("--pairs", type=int, default=0, help="use this many pairs of each set, drawn by a fixed seed; 0 is all")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated names")
    parser.add_argument("--method", choices=("head", "lora"), default="head")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="arithmetic of the frozen model")
    parser.add_argument("--max-tokens", type=int, default=256, help="prompt and answer are cut to this many")
    parser.add_argument("--no-ratings", action="store_true", help="leave the ratings out")
    parser.add_argument("--no-length", action="store_true", help="do not offer length to the head")
    parser.add_argument("--base", type=Path, help="a model folder; by default SmolLM2-135M-Instruct")
    parser.add_argument("--work", type=Path, help="keep run folders and read answers here")
    parser.add_argument("--train", type=Path, help="fit to this pairs file alone and say how it does on --test")
    parser.add_argument("--test", type=Path, help="the pairs file that --train is asked about")
    given = parser.parse_args()
    if bool(given.train) != bool(given.test):
        parser.error("--train and --test go together")
    if given.train:
        with tempfile.TemporaryDirectory() as temporary:
            place = given.work or Path(temporary)
            base = given.base or default_model(place)
            train, test = ([row for row in pairs(one) if row["chosen"] != row["rejected"]] for one in (given.train, given.test))
            found = compared(train, test, base, place / "cache", given.max_tokens, given.method, given.dtype)
        print(json.dumps(found | {"peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}))
        return 0
    missing = [name for name in filter(None, given.sets.split(",")) if not (given.data / f"{name}.jsonl.gz").exists()]
    if missing:
        say(f"{given.data} does not hold {', '.join(name + '.jsonl.gz' for name in missing)}: nothing was measured")
        print(json.dumps({"status": "absent", "missing": missing}))
        return 2
    config = {
        "method": given.method,
        "length_covariate": not given.no_length,
        "max_tokens": given.max_tokens,
        "dtype": given.dtype,
    }
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        base = given.base or default_model(work)
        found = {name: measure(name, given.data, work, base, given.pairs, config) for name in given.sets.split(",") if name}
        if (given.data / f"{RATINGS}.jsonl.gz").exists() and not given.no_ratings:
            found[RATINGS] = ratings(given.data, base, work / "cache", given.dtype)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
