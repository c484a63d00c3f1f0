"""How many answers to the demo's own prompts end by themselves, and when people have their first task: `python bench/endings.py`.

A sample run of the demo's model and settings as an installation starts it, `--answers` to each of the first prompts. A pair is
there to be judged once both answers to a prompt are written. With `--prompts FILE` and `--tokens N` as they were in an earlier
version: `git show VERSION:app/demo/demo_prompts.jsonl`. Progress on stderr, one JSON line last on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from app.demo.demo import SAMPLING
from app.prompts.importers import read_prompts
from app.prompts.service import PromptRow
from bench.installation import default_model, say
from trainer.contract.config import SampleConfig, config_dict
from trainer.contract.folder import read_jsonl
from trainer.worker.executors.command import TUNING

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = options.model or default_model(folder)
        rows = read_prompts(options.prompts.read_text("utf-8"), "jsonl")
        asked = [row.messages for row in rows if isinstance(row, PromptRow)][: options.count]
        run = folder / "run"
        run.mkdir()
        written = [json.dumps({"prompt_id": number, "messages": messages}) for number, messages in enumerate(asked)]
        (run / "prompts.jsonl").write_text("\n".join(written) + "\n", "utf-8")
        config = config_dict(SampleConfig(max_new_tokens=options.tokens, per_prompt=options.answers, seed=options.seed))
        (run / "run.json").write_text(json.dumps({"kind": "sample", "config": config, "inputs": {"policy": str(model)}}))
        say(f"{len(asked)} prompts, {options.answers} answers to each, {options.tokens} tokens at most")
        first_pair_s = _sample(run)
        print(json.dumps(_figures(run, options.tokens) | {"first_pair_s": first_pair_s}))
    return 0


def _sample(run: Path) -> float:
    """Seconds from the start of the run's process until both answers to one prompt are written."""
    began, first = time.monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "trainer", "sample", str(run)], cwd=ROOT, stdout=sys.stderr)
    while process.poll() is None:
        time.sleep(0.05)
        if not first and (run / "generations.jsonl").exists():
            answered = [row["prompt_id"] for row in read_jsonl(run / "generations.jsonl")]
            first = time.monotonic() - began if len(answered) > len(set(answered)) else 0.0
    if process.returncode:
        raise SystemExit(f"the sample run ended with status {process.returncode}")
    return round(first, 1)


def _figures(run: Path, most: int) -> dict[str, Any]:
    answers = list(read_jsonl(run / "generations.jsonl"))
    ended = sum(row["finish_reason"] == "eos" for row in answers)
    tokens = sum(len(row["token_ids"]) for row in answers)
    result = json.loads((run / "result.json").read_text())
    return {
        "answers": len(answers),
        "most_tokens": most,
        "ended": round(ended / len(answers), 3),
        "mean_tokens": round(tokens / len(answers), 1),
        "seconds": round(result["seconds"], 1),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--prompts", type=Path, default=ROOT / "app/demo/demo_prompts.jsonl", help="prompts as JSON Lines")
    parser.add_argument("--count", type=int, default=1000, help="how many of the prompts, from the first")
    parser.add_argument("--answers", type=int, default=2, help="answers to each prompt")
    parser.add_argument("--tokens", type=int, default=SAMPLING["max_new_tokens"], help="the longest answer")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    if not TUNING.keys() <= os.environ.keys():  # read by the C library when a process begins, as the supervisor does it
        os.execve(sys.executable, [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]], {**TUNING, **os.environ})
    sys.exit(main())
