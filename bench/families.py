"""A whole round of every family of models: `python bench/families.py`.

Each family of docs/scale.md, tiny and with random weights, goes the way that a team's own model goes, over HTTP against a server
and a worker: project, prompts, answers, labels, a round of reward and PPO, promotion, the labels exported, and the promoted
policy exported as plain transformers opens it, which then writes. What cannot be a base is refused when its project is made. One
JSON line a family; the exit status says whether each went all the way, or was refused in one sentence.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.installation import Installation, say
from tests.trainer.lm.architectures import FAMILIES, REFUSED, make_folder

PATIENCE_S = 600
LABELS = 280
SUBJECTS = ("the sea", "a clock", "rain", "bread", "an island", "the moon", "iron", "a fox", "snow", "paper")
ASKED = ("What is", "Why do people speak of", "How would you draw", "Who first saw", "When does one need", "Tell me about")
SHORT: dict[str, Any] = {  # random models have no last word, and their entropy is high
    "sampling": {"per_prompt": 2, "max_new_tokens": 12},
    "training": {"ppo": {"updates": 2, "episodes": 16, "max_new_tokens": 12}},
    "rating_share": 0.0,
    "overlap": 1,
    "queue_low_mark": 1,
    "repeat_share": 0.0,
    "evaluation": {"on": False},
}


def letters(text: str) -> int:
    """The taste: plain letters, of which random bytes have few."""
    return sum(sign.isascii() and sign.isalpha() for sign in text)


def judge(house: Installation, slug: str) -> None:
    """The next task, without a mistake: whether a model learns is not asked here."""
    task = house.send("POST", f"{slug}/tasks/next")
    left, right = (letters(task[side]["text"]) for side in ("left", "right"))
    choice = "tie" if left == right else "left" if left > right else "right"
    house.send("POST", f"/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), "choice": choice})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="families whose name begins like this")
    options = parser.parse_args()
    named = {**FAMILIES, **REFUSED}
    chosen = [name for name in named if name.startswith(options.only or "")]
    with tempfile.TemporaryDirectory(prefix="tastemaker-families-") as folder:
        place = Path(folder)
        bases = {name: make_folder(place / f"model-{number}", named[name]) for number, name in enumerate(chosen)}
        house = Installation(place / "installation", make_folder(place / "demo", FAMILIES["Llama"]))
        try:
            house.start_web()
            house.sign_in()
            house.start_worker()
            lines = [told(house, name, base) for name, base in bases.items()]
        finally:
            house.stop()
    return 0 if all(line["went"] == ("refused" if line["family"] in REFUSED else "all the way") for line in lines) else 1


def told(house: Installation, name: str, base: Path) -> dict[str, Any]:
    say(name)
    began = time.monotonic()
    line = {"family": name} | whole_round(house, name, base)
    line["seconds"] = round(time.monotonic() - began)
    print(json.dumps(line), flush=True)
    return line


def whole_round(house: Installation, name: str, base: Path) -> dict[str, Any]:
    """How far the family went, and what was said where it went no further."""
    reply = house.api.post("/projects", json={"name": name, "base_model": str(base)} | SHORT)
    if reply.status_code == 422:
        return {"went": "refused", "said": reply.json()["errors"]}
    project = reply.raise_for_status().json()
    slug = f"/projects/{project['slug']}"
    prompts = "\n".join(json.dumps({"prompt": f"{asked} {subject}?"}) for asked in ASKED for subject in SUBJECTS)
    house.send("POST", f"{slug}/prompts", content=prompts, headers={"content-type": "application/x-ndjson"})
    config = {"checkpoint": project["policy_id"], "split": "train", "per_prompt": 12, "seed": 1}
    sampled = house.send("POST", f"{slug}/runs", json={"kind": "sample", "config": config})
    run = house.wait(f"/runs/{sampled['id']}", frozenset({"done", "failed"}), PATIENCE_S)
    if run["state"] != "done":
        return {"went": "no answers", "said": run["reason"]}
    for _ in range(LABELS):
        judge(house, slug)
    started = house.send("POST", f"{slug}/rounds", json={})
    round_ = house.wait(f"/rounds/{started['id']}", frozenset({"done", "decision", "refused", "failed", "cancelled"}), PATIENCE_S)
    if round_["candidate_id"] is None:
        return {"went": f"round {round_['state']}", "said": round_["reason"]}
    house.send("POST", f"/checkpoints/{round_['candidate_id']}/promote", json={"confirm": True})
    exported = house.run("export", project["slug"], "--format", "labels").decode().count("\n")
    plain = base.with_name(f"{base.name}-exported")
    house.run("checkpoint", "export", str(round_["candidate_id"]), "--out", str(plain))
    ppo = next(run for run in round_["runs"] if run["kind"] == "ppo")["result"]
    return {
        "went": "all the way" if exported >= LABELS and writes(plain) else "not exported",
        "labels": exported,
        "reward": next(run for run in round_["runs"] if run["kind"] == "reward")["result"].get("accuracy"),
        "kl_nats": ppo["kl_nats_per_answer"],
    }


def writes(folder: Path) -> bool:
    """Whether transformers alone opens the model and writes with it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([tokenizer("What is rain?")["input_ids"]])
    return bool(model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] > ids.shape[1])


if __name__ == "__main__":
    sys.exit(main())
