"""Models that answer at once, asked over HTTP: `python bench/serving.py [--requests 200] [--alone] [--simple]`.

A whole installation on SmolLM2 with a reward model fitted to 60 made-up comparisons. First the process is warm: 16 texts of 200
tokens are scored, one answer of 64 tokens is streamed. Then a PPO run begins, and so many clients at once ask for an answer of 32
tokens each over `/v1/chat/completions`; who is told 503 comes back when `Retry-After` says. Counted is who was answered, who was
ever told anything else, and how fast the run went beside them and alone. Progress on stderr, one JSON line last on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from sqlalchemy import select

from app.database.engine import make_engine, write_session
from app.models import Checkpoint, Project
from app.runs.checkpoints import current_policy
from bench.installation import ROOT, SLUG, Installation, default_model, say, simple_model
from tests.trainer.reward.reward_runs import make_folder, prefers_moons
from trainer.contract.messages import Message
from trainer.lm.loading import load_tokenizer

TEXTS, TEXT_TOKENS = 16, 200
ANSWER_TOKENS = 32
PROMPT = "Tell me about the sea."
REPEATS = 7
PATIENCE_S = 1200.0


@dataclass
class Crowd:
    """What clients were told."""

    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-serving-") as place:
        model = options.model or (simple_model if options.simple else default_model)(Path(place))
        house = Installation(Path(place) / "data", model)
        try:
            figures = _measured(house, Path(place), model, options)
        finally:
            house.stop()
    print(json.dumps(figures | {"threads": torch.get_num_threads(), "cores": os.cpu_count()}))
    return 0


def _measured(house: Installation, place: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    house.start_web()
    house.sign_in()
    reward = _reward(house, place, model)
    house.start_worker()
    _until(lambda: house.send("GET", "/health")["worker"] == "alive")
    figures = _warm(house, model)
    if options.alone:
        return figures
    run = _ppo(house, reward)
    _until(lambda: _steps(house, run) >= 1)
    steps, began = _steps(house, run), time.monotonic()
    _until(lambda: _steps(house, run) >= steps + 2)
    alone = (_steps(house, run) - steps) / (time.monotonic() - began) * 60
    say(f"PPO alone: {alone:.1f} updates a minute; {options.requests} clients ask now")
    steps, began = _steps(house, run), time.monotonic()
    crowd = asyncio.run(_crowd(house, options.requests))
    took = time.monotonic() - began
    beside = (_steps(house, run) - steps) / took * 60
    found = house.send("GET", f"/runs/{run}")
    say(f"The run is {found['state']}: {found['message']}")
    return figures | {
        "requests": options.requests,
        "answered": crowd.answered,
        "lost": len(crowd.lost),
        "replies_by_status": {str(status): count for status, count in sorted(crowd.statuses.items())},
        "refused_without_retry_after": crowd.without_retry_after,
        "all_answered_s": round(took, 1),
        "answer_s_median": round(statistics.median(crowd.waited_s), 1) if crowd.waited_s else None,
        "ppo_state_afterwards": found["state"],
        "ppo_updates_a_minute_alone": round(alone, 2),
        "ppo_updates_a_minute_beside": round(beside, 2),
    }


def _reward(house: Installation, place: Path, model: Path) -> int:
    """A reward model fitted to comparisons by a rule, as a checkpoint of the demo project that beat guessing."""
    say("Fitting a reward model")
    folder = make_folder(place / "reward", model, prefers_moons, labels=60, prompts=20)
    subprocess.run([sys.executable, "-m", "trainer", "reward", str(folder.path)], cwd=ROOT, check=True, stdout=sys.stderr)
    engine = make_engine(f"sqlite:///{house.data / 'tastemaker.db'}")
    with write_session(engine) as session:
        project = session.scalars(select(Project).where(Project.slug == SLUG)).one()
        project.queue_low_mark = 0  # else a run of the demo's own would write answers beside what is measured
        checkpoint = Checkpoint(
            project_id=project.id,
            kind="reward",
            name=Message("reward_of_run", number=0),
            source=str(folder.file("checkpoint")),
            parent_id=current_policy(session, project).id,
            metrics={"gate_passed": True},
        )
        session.add(checkpoint)
        session.flush()
        found = checkpoint.id
    engine.dispose()
    return found


def _warm(house: Installation, model: Path) -> dict[str, Any]:
    tokenizer = load_tokenizer(str(model))
    words = (ROOT / "README.md").read_text("utf-8")
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    texts = [tokenizer.decode(ids[at * TEXT_TOKENS : (at + 1) * TEXT_TOKENS]) for at in range(TEXTS)]
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    body = {"prompt": {"text": PROMPT}, "texts": texts}
    began = time.monotonic()
    house.api.timeout = httpx.Timeout(300)
    house.send("POST", f"/projects/{SLUG}/score", json=body)
    cold = time.monotonic() - began
    seconds = []
    for _ in range(REPEATS):
        began = time.monotonic()
        house.send("POST", f"/projects/{SLUG}/score", json=body)
        seconds.append(time.monotonic() - began)
    first, whole, tokens = _streamed(house)
    figures = {
        "score_first_s": round(cold, 2),
        "score_warm_s_median": round(statistics.median(seconds), 2),
        "score_warm_s_most": round(max(seconds), 2),
        "texts": len(texts),
        "tokens_of_a_text_mean": round(statistics.mean(counts), 1),
        "streamed_first_piece_s": round(first, 2),
        "streamed_whole_s": round(whole, 2),
        "streamed_pieces": tokens,
    }
    say(json.dumps(figures))
    return figures


def _streamed(house: Installation) -> tuple[float, float, int]:
    """Seconds to the first piece of an answer of 64 tokens and to its end, and the pieces."""
    body = {"model": SLUG, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 64, "seed": 1, "stream": True}
    began = time.monotonic()
    first, pieces = 0.0, 0
    with httpx.stream("POST", f"{house.url}/v1/chat/completions", headers=_key(house), json=body, timeout=300) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if '"content":' in line and '"content":""' not in line:
                first = first or time.monotonic() - began
                pieces += 1
    return first, time.monotonic() - began, pieces


def _ppo(house: Installation, reward: int) -> int:
    config = {
        "reward": reward,
        "updates": 5000,
        "episodes": 16,
        "lora_layers": 4,
        "max_new_tokens": 32,
        "learning_rate": 1e-6,
        "heldout_every": 0,
    }
    found: int = house.send("POST", f"/projects/{SLUG}/runs", json={"kind": "ppo", "config": config})["id"]
    say("Waiting for the first update of a PPO run")
    return found


def _steps(house: Installation, run: int) -> int:
    """Updates of the run so far."""
    return len(house.send("GET", f"/runs/{run}/metrics")["items"])


async def _crowd(house: Installation, count: int) -> Crowd:
    crowd = Crowd()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=house.url, headers=_key(house), timeout=600, limits=limits) as client:
        await asyncio.gather(*(_client(client, number, crowd) for number in range(count)))
    return crowd


async def _client(client: httpx.AsyncClient, number: int, crowd: Crowd) -> None:
    body = {"model": SLUG, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": ANSWER_TOKENS, "seed": number}
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        try:
            reply = await client.post("/v1/chat/completions", json=body)
        except httpx.TransportError as error:
            crowd.lost.append(repr(error))
            return
        crowd.statuses[reply.status_code] += 1
        if reply.status_code == 200:
            crowd.answered += bool(reply.json()["choices"][0]["finish_reason"])
            crowd.waited_s.append(time.monotonic() - began)
            return
        if reply.status_code != 503:
            crowd.lost.append(reply.text)
            return
        crowd.without_retry_after += "retry-after" not in reply.headers
        await asyncio.sleep(float(reply.headers.get("retry-after", 1)))
    crowd.lost.append("out of patience")


def _key(house: Installation) -> dict[str, str]:
    return {"authorization": f"Bearer {house.key}"}


def _until(met: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not happen in time")
        time.sleep(0.5)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="clients at once beside the PPO run")
    parser.add_argument("--alone", action="store_true", help="measure the warm process alone, without a PPO run")
    parser.add_argument("--simple", action="store_true", help="a SimpleLM: who is answered and who refused, not how fast")
    parser.add_argument("--model", type=Path, help="another model than SmolLM2-135M-Instruct")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
