"""The reward run on real human judgements: `python bench/reward.py --data DIR`.

DIR holds `pairs_hh_harmless.jsonl.gz` and `pairs_tulu1.jsonl.gz`. Each becomes an ordinary run folder, so that what is measured
is what a project gets: held-out accuracy over five folds by prompt. One JSON line is printed last.
With `--work DIR` the answers already read stay there, and a second call goes on where the first was stopped.
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
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.installation import ROOT, default_model, say

SETS = ("pairs_hh_harmless", "pairs_tulu1")
TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
FIGURES = (
    *("comparisons", "prompts", "accuracy", "accuracy_low", "accuracy_high", "nll", "ece", "temperature", "longer_wins"),
    *("shorter_accuracy", "length_correlation", "groups", "form", "seconds"),
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
    folder = work / f"{name}-{len(rows)}-{config['method']}-{'length' if config['length_covariate'] else 'plain'}"
    fill(folder, rows, base, work / "cache", config)
    say(f"{name}: {len(rows)} pairs in {folder}")
    status = subprocess.run([sys.executable, "-m", "trainer", "reward", str(folder)], cwd=ROOT, stdout=sys.stderr).returncode
    result = json.loads((folder / "result.json").read_text(encoding="utf-8")) if (folder / "result.json").exists() else {}
    if status != 0:
        return {"status": result.get("status", "failed"), "reason": result.get("reason", f"exit status {status}")}
    return {name: result.get(name) for name in FIGURES}


def main() -> int:
    parser = argparse.ArgumentParser(description="Held-out accuracy of the reward run on real human judgements.")
    parser.add_argument("--data", type=Path, default=Path("data/judgements"), help="the folder with the pairs_*.jsonl.gz files")
    parser.add_argument("--pairs", type=int, default=0, help="use this many pairs of each set, drawn by a fixed seed; 0 is all")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated names")
    parser.add_argument("--method", choices=("head", "lora"), default="head")
    parser.add_argument("--no-length", action="store_true", help="do not offer length to the head")
    parser.add_argument("--base", type=Path, help="a model folder; by default SmolLM2-135M-Instruct")
    parser.add_argument("--work", type=Path, help="keep run folders and read answers here")
    given = parser.parse_args()
    missing = [name for name in given.sets.split(",") if not (given.data / f"{name}.jsonl.gz").exists()]
    if missing:
        say(f"{given.data} does not hold {', '.join(name + '.jsonl.gz' for name in missing)}: nothing was measured")
        print(json.dumps({"status": "absent", "missing": missing}))
        return 2
    config = {"method": given.method, "length_covariate": not given.no_length}
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        base = given.base or default_model(work)
        found = {name: measure(name, given.data, work, base, given.pairs, config) for name in given.sets.split(",")}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
