"""What is kept of rewards fitted to few labels: `python bench/fitted_judge.py [--labels 100 300] [--seeds 0:10] [--svg FILE]`.

A random Llama answers; people compare by a planted gold reward (every token has a worth, a token said again costs), and 15 % of
their verdicts are flipped. A reward run fits a head to N comparisons, a PPO run trains adapters against it, both as the worker
does them: once at the default control, once four times as far. The weights of every update are then asked for 1,024 answers to
prompts that nobody trained on or judged, and gold says what each gained. Of each run: what the kept update has of the largest
gain of any update, and what the last would have had; the largest is found on one half of the answers and measured on the other,
so that it owes nothing to chance. `--set` is a setting of PPO. One JSON line a run, a summary last; `--lines` sums up and draws
those that earlier processes wrote to files.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import contextlib
import json
import math
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.control import setting
from bench.drawing import chart, svg
from bench.installation import say
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.lm.backbone import Backbone, chat_ids, named_trainable
from trainer.lm.forward import Packed
from trainer.lm.generate import Generated, generate
from trainer.lm.loading import load_backbone
from trainer.ppo import run as ppo
from trainer.ppo.reward import Onlooker, Reward, Verdicts
from trainer.reward import run as reward
from trainer.reward.scorer import load_scorer

VOCABULARY, END = 40, 2
SETTINGS: dict[str, Any] = {  # all else of PPO is at its default; a random model writes nothing that could become unreadable
    "max_new_tokens": 24,
    "microbatch": 32,
    "fluency_fall_nats": 1e3,
    "relevance_fall": 1e3,
    "repetition_rise": 1.0,
    "truncation_rise": 1.0,
    "word_rise": 1.0,
    "entropy_floor_nats": -1.0,
}
TRAINED, HELD_OUT, ASKED = 60, 32, 64  # prompts of training, of the run's own looks, of gold's
ANSWERS = 16  # to each prompt that gold asks
FLIPPED = 0.15
REPEATED_COSTS = 1.0
WITHIN = 0.05  # of the best, the aim
NOTHING = 0.05  # deviations of gold; a best gain of less is within the error of both, and no share of it is told
FARTHER = 4.0

Weights = dict[str, Tensor]


@dataclass
class Gold:
    """A planted reward: the worth of an answer's tokens on average, less what repetition costs; deviation 1 on the base's."""

    worth: Tensor  # (VOCABULARY,)
    mean: float = 0.0
    deviation: float = 1.0

    def __call__(self, answers: Sequence[Sequence[int]]) -> Tensor:
        """(B,) of answers as token ids."""
        raw = [float(self.worth[list(given)].mean()) - REPEATED_COSTS * (1 - len(set(given)) / len(given)) for given in answers]
        return (torch.tensor(raw) - self.mean) / self.deviation


class Watched:
    """A reward as it is, which remembers the weights of every policy whose answers it is asked about.

    A step back is looked at again under the same number: the last weights count, as they do for the run.
    """

    def __init__(self, inner: Reward, folder: RunFolder, backbone: Backbone) -> None:
        self.inner, self.folder, self.backbone = inner, folder, backbone
        self.policies: dict[int, Weights] = {}
        self.members: dict[int, Tensor] = {}  # (answers to held-out prompts, K) of each look

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def onlooker(self, backbone: Backbone, packed: Packed, partial: bool = False) -> Onlooker | None:
        metrics = self.folder.file("metrics.jsonl")
        done = sum(1 for _ in read_jsonl(metrics)) if metrics.exists() else 0
        self.policies[done] = {name: value.detach().clone() for name, value in named_trainable(backbone)}
        inner = self.inner.onlooker(backbone, packed, partial)
        return Listening(inner, self.members, done) if inner is not None else None


@dataclass
class Listening:
    """An onlooker as it is, which remembers what the members say of held-out answers."""

    inner: Onlooker
    heard: dict[int, Tensor]
    update: int

    def visit(self, layer: int, states: Tensor, rows: Tensor) -> None:
        self.inner.visit(layer, states, rows)

    def verdicts(self) -> Verdicts:
        said = self.inner.verdicts()
        if said.members is not None and len(said.members) >= PPOConfig().episodes + HELD_OUT:
            self.heard[self.update] = said.members[-HELD_OUT:]
        return said

    def partial(self) -> Tensor:
        return self.inner.partial()


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    lines = [json.loads(row) for path in options.lines or [] for row in path.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if "seed" in line]
    with tempfile.TemporaryDirectory(prefix="tastemaker-fitted-") as place:
        for seed in [] if options.lines else options.seeds:
            world = World(Path(place) / str(seed), seed)
            for labels in options.labels:
                fitted = world.fit(labels)
                for far in options.far:
                    lines.append({"labels": labels, "far": far, "seed": seed} | world.train(labels, far, options.set) | fitted)
                    print(json.dumps(lines[-1]), flush=True)
    if options.svg:
        options.svg.write_text(picture(lines), encoding="utf-8")
    print(json.dumps({"bench": "fitted_judge", "rows": summary(lines)}))


class World:
    """One seed's base, prompts, gold and folders of runs."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.base = make_base(folder / "base", seed)
        self.draw = random.Random(seed)
        words = range(3, VOCABULARY)
        asked = [" ".join(f"w{self.draw.choice(words)}" for _ in range(6)) for _ in range(2 * TRAINED + HELD_OUT + ASKED)]
        prompts: list[dict[str, Any]] = [
            {"prompt_id": number, "messages": [{"role": "user", "content": text}]} for number, text in enumerate(asked)
        ]
        self.trained, self.panel = prompts[:TRAINED], prompts[TRAINED : 2 * TRAINED]
        self.held_out, self.asked = prompts[2 * TRAINED :][:HELD_OUT], prompts[-ASKED:]
        self.backbone = load_backbone(str(self.base))
        worth = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(1000 + seed))
        raw = Gold(worth)(ids(self.answer(self.backbone, self.asked * ANSWERS, seed=3)))
        self.gold = Gold(worth, float(raw.mean()), float(raw.std()))
        self.before = ((raw - raw.mean()) / raw.std()).view(ANSWERS, 2, -1).mean((0, 2))  # of halves of the prompts

    def answer(self, backbone: Backbone, prompts: Sequence[dict[str, Any]], seed: int) -> list[Generated]:
        """Answers as a PPO run of the defaults samples them."""
        config = PPOConfig(**SETTINGS)
        return generate(
            backbone,
            [chat_ids(backbone.tokenizer, row["messages"]) for row in prompts],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            generator=torch.Generator().manual_seed(seed),
            batch_size=512,
        )

    def fit(self, labels: int) -> dict[str, Any]:
        """Let people compare so many pairs of the base's answers, and a reward run learn from it."""
        folder = self.folder / f"reward-{labels}"
        folder.mkdir()
        pairs = [self.trained[number % TRAINED] for number in range(labels)]
        left, right = (ids(self.answer(self.backbone, pairs, seed)) for seed in (1, 2))
        better = (self.gold(left) > self.gold(right)).tolist()
        draw = random.Random(self.seed)
        rows = [
            {
                **asked,
                "label_id": number,
                "left": said(one),
                "right": said(other),
                "choice": "left" if wins != (draw.random() < FLIPPED) else "right",
                "strength": None,
                "annotator": "one",
            }
            for number, (asked, one, other, wins) in enumerate(zip(pairs, left, right, better, strict=True))
        ]
        write(folder / "preferences.jsonl", rows)
        new = ids(self.answer(self.backbone, self.panel, seed=4))
        panel: list[dict[str, Any]] = [row | {"response": said(given)} for row, given in zip(self.panel, new, strict=True)]
        write(folder / "panel.jsonl", panel)
        done = begin(folder, "reward", {"seed": self.seed}, {"base": str(self.base), "cache": "../cache"})
        with contextlib.redirect_stdout(sys.stderr):
            reward.run(done)
        result = json.loads(done.file("result.json").read_text(encoding="utf-8"))
        scorer = load_scorer(str(folder / "checkpoint"))
        given = self.answer(self.backbone, self.asked * ANSWERS, seed=5)
        asked = [chat_ids(self.backbone.tokenizer, prompt["messages"]) for prompt in self.asked * ANSWERS]
        scores = scorer.score(asked, ids(given))
        knows = float(torch.corrcoef(torch.stack([scores, self.gold(ids(given))]))[0, 1])
        return {"accuracy": rounded(result["accuracy"]), "gate_passed": result["gate_passed"], "correlation": rounded(knows)}

    def train(self, labels: int, far: float, settings: Sequence[tuple[str, Any]] | None) -> dict[str, Any]:
        """PPO against that reward; what gold says of each update, and which was kept."""
        folder = self.folder / f"ppo-{labels}-{far:g}"
        folder.mkdir()
        write(folder / "prompts.jsonl", self.trained)
        write(folder / "panel_prompts.jsonl", self.held_out)
        config = SETTINGS | {"seed": self.seed, "kl_target_nats": far * PPOConfig().kl_target_nats} | dict(settings or [])
        inputs = {"base": str(self.base), "start": None, "reward": str(self.folder / f"reward-{labels}" / "checkpoint")}
        done = begin(folder, "ppo", config, inputs)
        seen: list[Watched] = []

        def watched(checkpoint: str, backbone: Backbone) -> Any:
            seen.append(Watched(load_scorer(checkpoint, backbone), done, backbone))
            return seen[-1]

        with contextlib.redirect_stdout(sys.stderr):
            ppo.run(done, watched, lambda _names: {})
        (watch,) = seen
        gains = {number: self.gain(watch.backbone, weights) for number, weights in sorted(watch.policies.items())}
        result = json.loads(done.file("result.json").read_text(encoding="utf-8"))
        rows = {row["step"]: row for row in read_jsonl(done.file("metrics.jsonl"))}
        looks = {step: row for step, row in rows.items() if "heldout/gain" in row}
        whole = {number: float(halves.mean()) for number, halves in gains.items()}
        best, kept, last = largest(gains), whole[result["updates"]], whole[max(whole)]
        return {
            "kept": result["updates"],
            "last": max(gains),
            "best": max(whole, key=lambda number: whole[number]),
            "kept_of_best": rounded(kept / best) if best > NOTHING else None,
            "last_of_best": rounded(last / best) if best > NOTHING else None,
            "kl": rounded(rows[result["updates"]]["kl/exact_nats_per_answer"]),
            "reason": result["reason"]["code"],
            "best_gain": rounded(best),
            "gold": [rounded(whole[number]) for number in sorted(whole)],
            "score": [rounded(rows[number]["rollout/score"]) for number in sorted(whole)],
            "kl_of_each": [rounded(rows[number]["kl/exact_nats_per_answer"]) for number in sorted(whole)],
            "looks": {step: [rounded(row["heldout/gain"]), rounded(row["heldout/gain_at_least"])] for step, row in looks.items()},
            "members": {
                step: [rounded(gain) for gain in (watch.members[step] - watch.members[0]).mean(0).tolist()] for step in looks
            },
            "error": {step: rounded(error(watch.members[step] - watch.members[0])) for step in looks},
        }

    def gain(self, backbone: Backbone, weights: Weights) -> Tensor:
        """(2,) mean gold of a policy's answers to halves of the prompts that gold asks, less the base's; all draw the same."""
        with torch.no_grad():
            for name, parameter in named_trainable(backbone):
                parameter.copy_(weights[name])
        gold = self.gold(ids(self.answer(backbone, self.asked * ANSWERS, seed=3))).view(ANSWERS, 2, -1).mean((0, 2))
        return gold - self.before


def largest(gains: dict[int, Tensor]) -> float:
    """The gain of the best update: found on each half of the answers, measured on the other, on average."""
    found = [max(gains, key=lambda number, half=half: float(gains[number][half])) for half in (0, 1)]  # type: ignore[misc]
    return statistics.fmean(float(gains[number][1 - half]) for half, number in enumerate(found))


def error(gains: Tensor) -> float:
    """The standard error of the mean over prompts (n, K) of what the members make of a gain on average."""
    return float(gains.mean(1).std()) / math.sqrt(len(gains))


def make_base(folder: Path, seed: int) -> Path:
    """A random Llama of six layers over words w0 to w39, which reads a prompt as it is."""
    words = {"<end>" if number == END else f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": END}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, initializer_range=0.2, num_key_value_heads=2, **sizes, **ends))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def begin(folder: Path, kind: str, config: dict[str, Any], inputs: dict[str, Any]) -> RunFolder:
    (folder / "run.json").write_text(json.dumps({"kind": kind, "config": config, "inputs": inputs}), encoding="utf-8")
    return RunFolder(folder)


def summary(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each number of labels and each distance: the mean share of the best gain, and in how many runs it is within 5 %."""
    found = []
    for labels, far, group in grouped(lines):
        row: dict[str, Any] = {"labels": labels, "far": far, "runs": len(group)}
        for name in ("kept", "last"):
            shares = [line[f"{name}_of_best"] for line in group if line["best_gain"] > NOTHING]
            row["nothing_gained"] = len(group) - len(shares)
            row |= {name: rounded(statistics.fmean(shares)), f"{name}_within": sum(share >= 1 - WITHIN for share in shares)}
            row[f"{name}_least"] = min(shares)
        row["kl"] = rounded(statistics.fmean(line["kl"] for line in group))
        row["accuracy"] = rounded(statistics.fmean(line["accuracy"] for line in group))
        found.append(row)
    return found


def grouped(lines: Sequence[dict[str, Any]]) -> Iterator[tuple[int, float, list[dict[str, Any]]]]:
    for labels, far in sorted({(line["labels"], line["far"]) for line in lines}):
        yield labels, far, [line for line in lines if (line["labels"], line["far"]) == (labels, far)]


def picture(lines: Sequence[dict[str, Any]]) -> str:
    """A dot per run: what the kept update has of the largest gold gain, in order, beside what the last would have had."""
    drawing = chart(
        "What is kept of the largest gain, by the planted gold reward",
        "runs, the worst first",
        "share of the best update's gain",
        stroke=False,
        range=(0, 1.3),
        legend_at_bottom_columns=2,
    )
    for labels, far, group in grouped(lines):
        for name in ("kept", "last"):
            shares = sorted(max(0.0, line[f"{name}_of_best"]) for line in group if line["best_gain"] > NOTHING)
            where = "default" if far == 1 else f"{far:g} times as far"
            drawing.add(f"{name}, {labels} labels, {where}", [(place, share) for place, share in enumerate(shares, 1)])
    return svg(drawing)


def said(answer: Sequence[int]) -> dict[str, Any]:
    """An answer as a label's file has it; its text is what people would read."""
    return {"text": " ".join(f"w{token}" for token in answer), "token_ids": list(answer)}


def ids(answers: Sequence[Generated]) -> list[list[int]]:
    return [list(given.ids) for given in answers]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _range(text: str) -> Sequence[int]:
    first, _, end = text.partition(":")
    return range(int(first), int(end)) if end else [int(first)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--seeds", type=_range, default=range(10), help="FIRST:END or one")
    parser.add_argument("--far", type=float, nargs="+", default=[1.0, FARTHER], help="targets of KL, in defaults")
    parser.add_argument("--set", type=setting, action="append", help="a setting of PPO, name=value; repeat it for several")
    parser.add_argument("--lines", type=Path, nargs="+", help="files of earlier lines; nothing is run")
    parser.add_argument("--svg", type=Path, help="where to draw the picture")
    return parser.parse_args()


if __name__ == "__main__":
    say(__doc__.splitlines()[0])
    main()
