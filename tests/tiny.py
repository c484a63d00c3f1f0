"""A model for tests: a SimpleLM pretrained within seconds on text that a fixed seed makes up from templates.

It answers anything with a few plain English sentences, of which the number, the length and the manner vary, and ends them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch

from trainer.contract.folder import RunFolder
from trainer.sft import run as sft

THINGS = "a garden,the sea,good bread,old maps,a small dog,the moon,green tea,a long walk,winter rain,honey bees,a red kite"
ASKS = (
    "Tell me about {thing}.",
    "What should I know about {thing}?",
    "Write a few words on {thing}.",
    "Why do people like {thing}?",
    "Explain {thing} to a child.",
)
OPENINGS = (
    "Many people enjoy {thing}.",
    "Here is what I know about {thing}.",
    "You may find that {thing} can make a day better.",
    "It is simple: {thing} is worth your time.",
    "Perhaps {thing} is not for everyone.",
)
MIDDLES = (
    "It is calm and quiet.",
    "You can see it in the morning, when the air is cool.",
    "It needs care, time, and a little luck.",
    "Some say it is old, and some say it is new.",
    "You will learn more if you look closely.",
    "It costs very little.",
    "Children often ask about it, and they are right to ask.",
    "There are three things to know: the colour, the size, and the sound.",
    "- It is light.\n- It is strong.\n- It lasts.",
)
ENDINGS = ("That is all.", "I hope this helps you.", "Enjoy it.", "Ask me again if you want more.", "Try it, and see.")


def text(documents: int = 500, seed: int = 0) -> str:
    """Conversations of one question and one answer, parted by blank lines; about 150 characters each."""
    draw = random.Random(seed)
    made = []
    for _ in range(documents):
        thing = draw.choice(THINGS.split(","))
        parts = [draw.choice(OPENINGS).format(thing=thing), *draw.sample(MIDDLES, draw.choice((0, 1, 1, 2, 3)))]
        if draw.random() < 0.5:
            parts.append(draw.choice(ENDINGS))
        made.append(f"User:\n{draw.choice(ASKS).format(thing=thing)}\nAssistant:\n{' '.join(parts)}")
    return "\n\n".join(made) + "\n"


def make_simple_lm(folder: Path, epochs: int = 6) -> Path:
    """Pretrain the model in a run folder of its own; returns the checkpoint, which any loader of ours opens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(text(), encoding="utf-8")
    config = {"epochs": epochs, "vocab_size": 400, "learning_rate": 0.01, "batch_size": 16, "block_tokens": 64}
    (folder / "run.json").write_text(json.dumps({"kind": "sft", "config": config, "inputs": {"base": None}}), encoding="utf-8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model gains nothing from a second core, and beside other work it loses much
    try:
        sft.run(RunFolder(folder))
    finally:
        torch.set_num_threads(threads)
    return folder / "checkpoint"
