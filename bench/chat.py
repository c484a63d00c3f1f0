"""A talk on SmolLM2, as an annotator waits for it: `python bench/chat.py [--turns 5] [--simple]`.

A whole installation; each turn is said over the API, both continuations of 64 tokens are streamed, the left one goes on. Told
is how long it took until the first words stood there and until both answers did; the first turn, for which the model is opened,
apart. Progress on stderr, one JSON line last on stdout.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from bench.installation import SLUG, Installation, default_model, say, simple_model

TOKENS = 64
SAID = ("Tell me about the sea.", "And the moon?", "What has one to do with the other?", "How do you know?", "Tell me more.")


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tastemaker-chat-") as place:
        model = options.model or (simple_model if options.simple else default_model)(Path(place))
        house = Installation(Path(place) / "data", model)
        try:
            figures = _measured(house, options.turns)
        finally:
            house.stop()
    print(json.dumps(figures | {"cores": os.cpu_count(), "load_1_min": round(os.getloadavg()[0], 1)}))
    return 0


def _measured(house: Installation, turns: int) -> dict[str, Any]:
    house.start_web()
    house.sign_in()
    house.send("PATCH", f"/projects/{SLUG}", json={"chat_on": True, "sampling": {"max_new_tokens": TOKENS}})
    prompts = [prompt["id"] for prompt in house.pages(f"/projects/{SLUG}/prompts")]
    house.send("POST", f"/projects/{SLUG}/prompts/archive", json={"ids": prompts})  # else a run would write beside
    house.start_worker()
    while house.send("GET", "/health")["worker"] != "alive":
        time.sleep(0.2)
    chat = house.send("POST", f"/projects/{SLUG}/chats", json={"client_id": str(uuid.uuid4())})["id"]
    waited = [_turn(house, chat, number) for number in range(1, turns + 1)]
    (cold_first, cold_whole), *warm = waited
    return {
        "turns": turns,
        "tokens_of_an_answer_most": TOKENS,
        "opened_first_words_s": cold_first,
        "opened_both_s": cold_whole,
        "first_words_s_median": round(statistics.median(first for first, _ in warm), 2),
        "both_s_median": round(statistics.median(whole for _, whole in warm), 2),
        "both_s_most": max(whole for _, whole in warm),
    }


def _turn(house: Installation, chat: int, number: int) -> tuple[float, float]:
    """Seconds until something stood there and until both answers did; while the model is being opened it is said again."""
    body = {"client_id": str(uuid.uuid4()), "text": SAID[(number - 1) % len(SAID)]}
    began = time.monotonic()
    while (said := _said(house, chat, body)) is None:
        time.sleep(1)
    first, whole, last = said[0] - began, said[1] - began, said[2]
    if not last.get("done"):
        raise RuntimeError(f"the turn was not answered: {last}")
    say(f"Turn {number}: first words after {first:.2f} s, both answers after {whole:.2f} s")
    if last["reply"] is None:
        choice = {"client_id": str(uuid.uuid4()), "turn": number, "choice": "left"}
        house.send("POST", f"/chats/{chat}/choice", json=choice)
    return round(first, 2), round(whole, 2)


def _said(house: Installation, chat: int, body: dict[str, str]) -> tuple[float, float, dict[str, Any]] | None:
    """When the first words came and when the last event did, and that event; None where the models are away."""
    key = {"authorization": f"Bearer {house.key}"}
    first, last = 0.0, {}
    with httpx.stream("POST", f"{house.url}/api/v1/chats/{chat}/turns", headers=key, json=body, timeout=300) as reply:
        if reply.status_code == 503:
            return None
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line:
                last = json.loads(line.removeprefix("data: "))
                first = first or (time.monotonic() if last.get("left") else 0.0)
    return first, time.monotonic(), last


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--simple", action="store_true", help="a SimpleLM: whether it works, not how fast")
    parser.add_argument("--model", type=Path, help="another model than SmolLM2-135M-Instruct")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
