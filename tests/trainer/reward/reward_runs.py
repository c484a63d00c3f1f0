"""Folders of reward runs: answers of random words, and labels by a rule."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.contract.folder import RunFolder, read_jsonl
from trainer.lm.backbone import Backbone, chat_ids

TEXT = "the sea bread green moon walks slowly under old maps while rain falls and bees hum near a quiet garden wall"
WORDS = TEXT.split()
Judge = Callable[[str, str], str]


def prefers_moons(left: str, right: str) -> str:
    one, other = left.count("moon"), right.count("moon")
    return "tie" if one == other else "left" if one > other else "right"


def make_folder(path: Path, base: Path, judge: Judge, labels: int = 120, prompts: int = 30, **config: Any) -> RunFolder:
    """A reward run whose answers are random words and whose labels are what `judge` says."""
    draw = random.Random(0)
    path.mkdir(parents=True)

    def response() -> dict[str, Any]:
        return {"text": " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 9))), "token_ids": None}

    def messages(number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Say something, please: {number}"}]

    rows = []
    for number in range(labels):
        left, right = response(), response()
        choice = judge(left["text"], right["text"])
        rows.append(
            {
                "label_id": number,
                "prompt_id": number % prompts,
                "messages": messages(number % prompts),
                "left": left,
                "right": right,
            }
            | {"choice": choice, "strength": None, "annotator": f"person {number % 3}"}
        )
    others = range(1000, 1000 + prompts)  # about which there are no labels
    panel = [{"prompt_id": number, "messages": messages(number), "response": response()} for number in others]
    for name, content in (("preferences.jsonl", rows), ("panel.jsonl", panel)):
        (path / name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    settings = {"folds": 3, "reliability": "off", "judge_share": 0.25, "judge_min_labels": 30, "pessimism": 0.0} | config
    spec = {"kind": "reward", "config": settings, "inputs": {"base": str(base), "cache": "../cache"}}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    return RunFolder(path)


def result_of(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.file("result.json").read_text(encoding="utf-8"))
    return found


def panel_ids(folder: RunFolder, backbone: Backbone) -> tuple[list[list[int]], list[list[int]]]:
    rows = list(read_jsonl(folder.file("panel.jsonl")))
    prompts = [chat_ids(backbone.tokenizer, row["messages"]) for row in rows]
    return prompts, [backbone.tokenizer(row["response"]["text"], add_special_tokens=False)["input_ids"] for row in rows]


def rewritten(folder: RunFolder, change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    """Replace each row of preferences.jsonl by what `change` makes of it."""
    found = [row for old in read_jsonl(folder.file("preferences.jsonl")) for row in change(old)]
    folder.file("preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
