"""DPO on given pairs: how fast, and whether it knows better of pairs that it did not train on: `python bench/dpo.py --data DIR`.

DIR holds `pairs_tulu1.jsonl.gz`. What is timed is what a preference run does: both answers of every pair are read under the
reference, then all are trained on, in batches; no label is held out within, so that the last step is what is asked afterwards.
With `--train FILE --test FILE` those pairs instead, for a comparison with a peer on the same ones. One JSON line last on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import contextlib
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.installation import default_model, say
from bench.reward import conversation, held_out_figures, pairs
from trainer.contract.config import PreferenceConfig
from trainer.contract.folder import RunFolder
from trainer.lm.backbone import Backbone, attach_lora
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.preference.data import Material, Pair, Text, encode
from trainer.preference.log_ratios import LogRatios
from trainer.preference.look import Asked
from trainer.preference.objectives import DPO, budget_of
from trainer.preference.run import train
from trainer.reward.data import Answer
from trainer.worker.executors.command import TUNING

UNBOUNDED = 1e6
SET = "pairs_tulu1"
EVERY = 5  # of so many pairs one is asked afterwards


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-dpo-") as place:
        backbone = load_backbone(str(options.base or default_model(Path(place))), options.dtype)
        folder = _run_folder(Path(place) / "run", options)
        config = folder.config
        assert isinstance(config, PreferenceConfig)
        attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
        rows, asked = _parts(options)
        learned, held = encode_pairs(backbone, rows, config), encode_pairs(backbone, asked, config)
        say(f"{len(learned)} pairs to train on, {len(held)} to ask about")
        began = time.monotonic()
        with contextlib.redirect_stdout(sys.stderr):
            ended = train(folder, config, backbone, material(learned), DPO, [Asked(0, learned[0][1].prompt_ids)], LeftOut())
        seconds = time.monotonic() - began
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        margins = implicit_margins(backbone, held, config)
    figures = {
        "train_s": round(seconds, 2),
        "pairs_per_s": round(config.epochs * len(learned) / seconds, 2),
        "peak_rss_mib": peak,
        "steps": ended["steps"],
        "kl_nats_per_answer": round(ended["kl_nats_per_answer"], 2),
        **held_out_figures(torch.tensor(margins), [asked[number]["prompt"] for number, _, _ in held]),
        "margins": margins,
        "settings": {
            "pairs": len(learned),
            "asked": len(held),
            "batch_size": config.batch_size,
            "lora_layers": config.lora_layers,
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        },
    }
    print(json.dumps(figures))
    return 0


def encode_pairs(backbone: Backbone, rows: list[dict[str, Any]], config: PreferenceConfig) -> list[tuple[int, Text, Text]]:
    """Each row's number with its chosen and its rejected answer, as a run reads them; without those that a run leaves out."""
    answers = [
        Answer(tuple((turn["role"], turn["content"]) for turn in conversation(row["prompt"])), row[side], None)
        for row in rows
        for side in ("chosen", "rejected")
    ]
    texts = encode(backbone, answers, config, LeftOut())
    sides = zip(texts[::2], texts[1::2], strict=True)
    return [
        (number, chosen, rejected)
        for number, (chosen, rejected) in enumerate(sides)
        if chosen is not None and rejected is not None and chosen != rejected
    ]


def material(rows: list[tuple[int, Text, Text]]) -> Material[Pair]:
    """All pairs to train on; none is held out."""
    texts = [text for _, chosen, rejected in rows for text in (chosen, rejected)]
    return Material(texts, [Pair(2 * at, 2 * at + 1) for at in range(len(rows))], prompts=len(rows), judgements=len(rows))


def implicit_margins(backbone: Backbone, rows: list[tuple[int, Text, Text]], config: PreferenceConfig) -> list[float]:
    """beta times the log-ratio of each chosen answer less that of the rejected one."""
    texts = [text for _, chosen, rejected in rows for text in (chosen, rejected)]
    ratios = LogRatios(backbone, texts, config.temperature, budget_of(config), lambda: None, lambda _done: None)
    with torch.no_grad():
        found = torch.cat([ratios.of(part) for part in torch.split(torch.arange(len(texts)), config.microbatch)])
    margins: list[float] = (config.beta * (found[::2] - found[1::2])).tolist()
    return margins


def _parts(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pairs to train on, and to ask about; no prompt of the set stands in both."""
    if options.train:
        return list(pairs(options.train)), list(pairs(options.test))
    rows = list(pairs(options.data / f"{SET}.jsonl.gz"))
    prompts = sorted({row["prompt"] for row in rows})
    held = set(prompts[::EVERY])
    learned = [row for row in rows if row["prompt"] not in held]
    return learned[: options.pairs or None], [row for row in rows if row["prompt"] in held]


def _run_folder(path: Path, options: argparse.Namespace) -> RunFolder:
    path.mkdir()
    config = {
        "method": "dpo",
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "temperature": 1.0,  # as a peer knows it
        "lora_layers": options.lora_layers,
        "dtype": options.dtype,
        # It is looked at before and after with one answer each, and no guard may cut the work short.
        "looks": 1,
        "look_answers": 1,
        "kl_stop_nats": UNBOUNDED,
    }
    (path / "run.json").write_text(json.dumps({"kind": "preference", "config": config, "inputs": {}}), encoding="utf-8")
    return RunFolder(path)


def _options() -> argparse.Namespace:
    defaults = PreferenceConfig()
    parser = argparse.ArgumentParser(description="How fast DPO trains, and what it knows of pairs it did not train on.")
    parser.add_argument("--data", type=Path, default=Path("data/judgements"), help=f"the folder with {SET}.jsonl.gz")
    parser.add_argument("--pairs", type=int, default=240, help="to train on; 0 is all")
    parser.add_argument("--train", type=Path, help="train on this pairs file, and say how it does on --test")
    parser.add_argument("--test", type=Path, help="the pairs file that --train is asked about")
    parser.add_argument("--base", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--lora-layers", type=int, default=defaults.lora_layers, help="adapted layers, 0 for every layer")
    parser.add_argument(
        "--dtype", default=defaults.dtype, choices=("auto", "float32", "bfloat16"), help="arithmetic of the trunk"
    )
    given = parser.parse_args()
    if bool(given.train) != bool(given.test):
        parser.error("--train and --test go together")
    return given


if __name__ == "__main__":
    if not TUNING.keys() <= os.environ.keys():  # read by the C library when a process begins, as the supervisor does it
        os.execve(sys.executable, [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]], {**TUNING, **os.environ})
    sys.exit(main())
