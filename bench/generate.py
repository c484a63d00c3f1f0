"""Writing answers, beside transformers' own `generate`: `python bench/generate.py [--dtype bfloat16]`.

Prompts of 32 tokens, 64 new tokens each that cannot end early, pure sampling at temperature 1, batches of 16 and 64. The two
take turns, so that the ratio holds where the machine's speed drifts. Progress on stderr, one JSON line last on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.installation import default_model, say
from bench.never_end import never_end
from trainer.lm.backbone import Backbone
from trainer.lm.generate import generate
from trainer.lm.loading import load_backbone
from trainer.worker.executors.command import TUNING

PROMPT_TOKENS, ANSWER_TOKENS = 32, 64
BATCHES = (16, 64)


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-generate-") as place:
        backbone = load_backbone(str(options.model or default_model(Path(place))), options.dtype)
    never_end(backbone)
    figures: dict[str, object] = {}
    for batch in BATCHES:
        prompts = torch.randint(100, 40_000, (batch, PROMPT_TOKENS), generator=torch.Generator().manual_seed(batch))
        ours, theirs = _in_turn(partial(_ours, backbone, prompts), partial(_theirs, backbone, prompts), options.rounds)
        figures |= {
            f"ours_tokens_per_s_{batch}": round(batch * ANSWER_TOKENS / statistics.median(ours), 1),
            f"transformers_tokens_per_s_{batch}": round(batch * ANSWER_TOKENS / statistics.median(theirs), 1),
            f"ratio_{batch}": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        }
        say(json.dumps(figures))
    figures |= {"dtype": options.dtype, "threads": torch.get_num_threads()}
    figures["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(figures))
    return 0


def _in_turn(one: Callable[[], None], other: Callable[[], None], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of both, after one run of each to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for work, kept in zip((one, other), times, strict=True):
            began = time.monotonic()
            work()
            if number:
                kept.append(time.monotonic() - began)
    return times


def _ours(backbone: Backbone, prompts: Tensor) -> None:
    answers = generate(
        backbone,
        prompts.tolist(),
        max_new_tokens=ANSWER_TOKENS,
        temperature=1.0,
        generator=torch.Generator().manual_seed(0),
        batch_size=len(prompts),
    )
    assert sum(len(answer.ids) for answer in answers) == len(prompts) * ANSWER_TOKENS


def _theirs(backbone: Backbone, prompts: Tensor) -> None:
    with torch.no_grad():
        out = backbone.plain.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=ANSWER_TOKENS,
            pad_token_id=0,
        )
    assert out.shape == (len(prompts), PROMPT_TOKENS + ANSWER_TOKENS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="a model folder; by default SmolLM2-135M-Instruct, converted if need be")
    parser.add_argument("--rounds", type=int, default=3, help="timed turns of each")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="arithmetic of both")
    return parser.parse_args()


if __name__ == "__main__":
    if not TUNING.keys() <= os.environ.keys():  # read by the C library when a process begins, as the supervisor does it
        os.execve(sys.executable, [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]], {**TUNING, **os.environ})
    sys.exit(main())
