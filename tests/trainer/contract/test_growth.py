"""Whatever the trainer reads of people and models takes time that grows with it: files, conversations, tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.growth import PIECES, grows_too_fast
from trainer.contract.folder import RunFolder
from trainer.contract.texts import json_lines, text_of, trimmed
from trainer.lm.chat_template import plain_ids, text_ids
from trainer.lm.simple_lm import train_tokenizer
from trainer.sft.documents import read_documents

TOKENIZER: Final = train_tokenizer(["".join(PIECES), "a b c word word the of and " * 20], 400)
READERS: Final[dict[str, Callable[[str], Any]]] = {
    "the ends of a text": trimmed,
    "a file of text": lambda text: text_of("a.txt", text.encode()),
    "lines of JSON": lambda text: list(json_lines("a.jsonl", [json.dumps(text).encode(), text.encode()])),
    "tokens": lambda text: text_ids(TOKENIZER, text),
    "a conversation's tokens": lambda text: plain_ids(TOKENIZER, [{"role": "user", "content": text}]),
}


@pytest.mark.parametrize("name", READERS)
def test_twice_the_text_takes_at_most_two_and_a_half_times_as_long(name: str) -> None:
    assert not grows_too_fast(READERS[name])


def test_so_do_documents_parted_by_blank_lines(tmp_path: Path) -> None:
    def read(text: str) -> None:
        (tmp_path / "text.txt").write_text(text, "utf-8")
        read_documents(RunFolder(tmp_path))

    assert not grows_too_fast(read, pieces=PIECES[:24])
