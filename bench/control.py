"""A PPO run asked for again under other seeds and settings, to see whether its control holds: KL, readability, what people win.

    python bench/control.py RUN [--seeds 0 1 2 3] [--set kl_controller=ziegler] [--preference second_person] [--read FILE]

RUN is the folder of a finished PPO run, for instance `DATA/PREFERENCE/runs/4` of `python bench/loop.py --data DATA`, of which
nothing is changed. Each seed is a process of its own, as the worker starts it. The policy that each run kept answers the held-out
prompts, four times each, as does the base; by the preference every new answer meets every old one to the same prompt. `--read`
keeps the texts of both, to be read. One JSON line a seed; a summary as the last line.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.installation import say
from bench.preferences import Preference
from bench.reading import Reader
from bench.tastes import Sensible, opened
from trainer.contract.config import PPOConfig
from trainer.contract.english import english
from trainer.contract.folder import EXIT_DONE, EXIT_REFUSED, RunFolder, read_jsonl
from trainer.contract.messages import from_json
from trainer.lm.backbone import chat_ids
from trainer.lm.generate import generate
from trainer.lm.loading import load_policy

HELD_OUT_ANSWERS = 4  # per held-out prompt and model
BATCH = 32
WITHIN = 0.25  # of its target, KL should end
FIGURES = (
    *("kl/exact_nats_per_answer", "kl/beta", "rollout/score", "rollout/length_ratio", "rollout/truncated"),
    *("rollout/fluency", "rollout/repetition", "heldout/relevance", "heldout/fluency", "heldout/gain", "heldout/gain_at_least"),
)

Answers = dict[int, list[str]]  # of each held-out prompt


def main() -> None:
    options = _options()
    base = RunFolder(options.run)
    model = base.resolve(base.inputs["base"])
    lines, score = [], None
    with tempfile.TemporaryDirectory(prefix="tastemaker-control-") as place:
        old = answers_of(base, model, seed=1) if options.preference else {}
        if options.preference:
            reader, pairs = Reader(Path(model)), list(asked_and_said(base, old))
            asked = list(dict.fromkeys(prompt for prompt, _ in pairs))
            score = Sensible(
                opened(options.preference, reader, options.judgements, Path(place) / "cache", asked)[0], reader, pairs
            )
            score.prepare(pairs)
        for seed in options.seeds:
            folder = again(options.run, Path(place) / str(seed), {"seed": seed} | dict(options.set or []))
            lines.append({"seed": seed} | told(folder))
            if score and folder.file("checkpoint").exists():
                new = answers_of(base, str(folder.file("checkpoint")), seed=2)
                score.prepare(list(asked_and_said(base, new)))
                lines[-1]["win_rate"] = round(statistics.fmean(wins(base, new, old, score)), 3)
                if options.read:
                    keep(options.read, seed, base, new, old)
            print(json.dumps(lines[-1]), flush=True)
    print(json.dumps(summary(lines)))


def again(run: Path, place: Path, settings: dict[str, Any]) -> RunFolder:
    """Do the run again in a new folder, with other settings. Raises RuntimeError where it fails."""
    place.mkdir(parents=True)
    for name in ("prompts.jsonl", "panel_prompts.jsonl"):
        shutil.copy(run / name, place)
    spec = json.loads((run / "run.json").read_text(encoding="utf-8"))
    there = RunFolder(run)
    spec["inputs"] = {name: there.resolve(value) if isinstance(value, str) else value for name, value in spec["inputs"].items()}
    spec["config"] |= settings
    (place / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    with (place / "log.txt").open("w", encoding="utf-8") as log:
        status = subprocess.run(
            [sys.executable, "-m", "trainer", "ppo", str(place)], stdout=log, stderr=log, check=False
        ).returncode
    if status not in (EXIT_DONE, EXIT_REFUSED):
        raise RuntimeError(f"the run ended with status {status}: {(place / 'log.txt').read_text()[-2000:]}")
    return RunFolder(place)


def told(folder: RunFolder) -> dict[str, Any]:
    """How the run ended: its last rollout's figures, and those of the update that was kept."""
    result = json.loads(folder.file("result.json").read_text(encoding="utf-8"))
    rows = list(read_jsonl(folder.file("metrics.jsonl")))
    config = folder.config
    assert isinstance(config, PPOConfig)
    kl = rows[-1]["kl/exact_nats_per_answer"]
    ends = {name: [_rounded(rows[0].get(name)), _rounded(rows[-1].get(name))] for name in FIGURES}
    return {
        "reason": english(from_json(result["reason"])),
        "kept": result.get("updates"),
        "updates": rows[-1]["step"],
        "kl_over_target": round(kl / config.kl_target_nats, 3),
        "kl_of_each": [round(row["kl/exact_nats_per_answer"], 2) for row in rows],
        "gain_at_least_of_each": [
            _rounded(row["heldout/gain_at_least"]) for row in rows if row.get("heldout/gain_at_least") is not None
        ],
        "taken_back": result.get("taken_back"),
        "seconds": round(sum(row["time/generate_s"] + row["time/score_s"] + row["time/train_s"] for row in rows)),
    } | ends


def answers_of(run: RunFolder, model: str, seed: int) -> Answers:
    """What a model answers to the held-out prompts, sampled as the run sampled."""
    config = run.config
    assert isinstance(config, PPOConfig)
    backbone = load_policy(model)
    rows = list(prompts_of(run))
    ids = [chat_ids(backbone.tokenizer, row["messages"], run.day) for row in rows for _ in range(HELD_OUT_ANSWERS)]
    draw = torch.Generator().manual_seed(seed)
    given = generate(
        backbone, ids, max_new_tokens=config.max_new_tokens, temperature=config.temperature, generator=draw, batch_size=BATCH
    )
    texts = [backbone.tokenizer.decode(one.ids, skip_special_tokens=True) for one in given]
    return {row["prompt_id"]: texts[at * HELD_OUT_ANSWERS : (at + 1) * HELD_OUT_ANSWERS] for at, row in enumerate(rows)}


def prompts_of(run: RunFolder) -> Iterator[dict[str, Any]]:
    return read_jsonl(run.file("panel_prompts.jsonl"))


def asked_and_said(run: RunFolder, answers: Answers) -> Iterator[tuple[str, str]]:
    """Each answer with what its prompt asked last."""
    for row in prompts_of(run):
        yield from ((row["messages"][-1]["content"], text) for text in answers[row["prompt_id"]])


def wins(run: RunFolder, new: Answers, old: Answers, score: Preference) -> list[float]:
    """For each held-out prompt, how often a new answer is liked better than an old one; ties count half."""
    found = []
    for row in prompts_of(run):
        asked = row["messages"][-1]["content"]
        ours, theirs = ([score(asked, text) for text in answers[row["prompt_id"]]] for answers in (new, old))
        found.append(statistics.fmean((one > other) + 0.5 * (one == other) for one in ours for other in theirs))
    return found


def keep(path: Path, seed: int, run: RunFolder, new: Answers, old: Answers) -> None:
    with path.open("a", encoding="utf-8") as file:
        for row in prompts_of(run):
            number = row["prompt_id"]
            file.write(
                f"== seed {seed}: {row['messages'][-1]['content']}\n-- base: {old[number][0]}\n-- kept: {new[number][0]}\n\n"
            )


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rates = [line["win_rate"] for line in lines if "win_rate" in line]
    return {
        "bench": "control",
        "seeds": len(lines),
        "within_a_quarter": sum(abs(line["kl_over_target"] - 1) <= WITHIN for line in lines),
        "kl_over_target": [line["kl_over_target"] for line in lines],
        "win_rates": rates,
        "win_rate_mean": round(statistics.fmean(rates), 3) if rates else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished PPO run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--set", type=setting, action="append", help="a setting of PPO, name=value; repeat it for several")
    parser.add_argument("--preference", help="who wins by it: one of bench/tastes.py, or module:function")
    parser.add_argument("--judgements", type=Path, default=Path("data/judgements"), help="human judgements, for `people`")
    parser.add_argument("--read", type=Path, help="write answers of base and policy here")
    return parser.parse_args()


if __name__ == "__main__":
    say(__doc__.splitlines()[0])
    main()
