"""A model of which only the tokenizer is there, a token a byte: for tests that count tokens. Import `byte_tokens`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.lm.simple_lm import train_tokenizer

CONTEXT = 512  # tokens that it holds


@pytest.fixture(scope="module")
def byte_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template writes a line per turn: "User: ...", and "Assistant:" at the end."""
    folder = tmp_path_factory.mktemp("bytes")
    train_tokenizer([], 259).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": CONTEXT}))
    return folder
