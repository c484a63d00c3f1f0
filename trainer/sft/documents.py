"""What an sft run reads: documents of plain text, or conversations, as token sequences that say which tokens to predict.

Knows files and a tokenizer; no model, no optimiser.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from trainer.contract.folder import Refused, RunFolder
from trainer.contract.messages import Message
from trainer.contract.texts import json_lines, text_of, trimmed
from trainer.lm.backbone import Backbone, end_id
from trainer.lm.chat_template import text_ids
from trainer.lm.left_out import LeftOut


class Demonstration(NamedTuple):
    """A conversation whose assistant is to be learned from, and where it stands."""

    turns: list[dict[str, str]]
    name: str  # its file and line


Document = str | Demonstration

CONVERSATIONS = ("demonstrations.jsonl", "rewrites.jsonl")
HELD_OUT = 0.05
HELD_OUT_FEWEST = 8  # of a small set, as long as that is at most a fifth: one document's loss would say little
FEWEST_TO_SPLIT = 10


class Sequence(NamedTuple):
    """Token ids and the index of the first one that is to be predicted, at least 1."""

    ids: list[int]
    first: int
    cut: bool = False  # an answer whose end did not fit


def read_documents(folder: RunFolder) -> list[Document]:
    """Texts of text.txt, parted by blank lines, and the conversations of demonstrations.jsonl and rewrites.jsonl, where they are.

    Raises Refused, naming the line, on what is not UTF-8 or breaks the format, and when there is nothing at all.
    """
    documents: list[Document] = []
    text = folder.file("text.txt")
    if text.exists():
        parts = re.split(r"\n\s*\n", text_of(text.name, text.read_bytes()))
        documents += [document for part in parts if (document := trimmed(part))]
    documents += conversations(folder)
    if not documents:
        raise Refused(Message("no_text", files=", ".join(("text.txt", *CONVERSATIONS))))
    return documents


def conversations(folder: RunFolder) -> list[Demonstration]:
    """Those of demonstrations.jsonl and rewrites.jsonl, where they are. Raises Refused as above."""
    found: list[Demonstration] = []
    for name in CONVERSATIONS:
        if folder.file(name).exists():
            with folder.file(name).open("rb") as file:
                rows = [_demonstration(name, number, row) for number, row in json_lines(name, file)]
            found += [row for row in rows if row.turns]
    return found


def split(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Documents to train on, and to hold out, chosen by a hash; none are held out of fewer than ten.

    A twentieth, or up to eight where that is at most a fifth. A conversation goes by its prompt, so that another answer to a
    held-out prompt is never trained on.
    """
    digests = [hashlib.sha256(_key(document).encode("utf-8", "surrogatepass")).hexdigest() for document in documents]
    distinct = sorted(set(digests))
    count = max(math.ceil(len(distinct) * HELD_OUT), min(len(distinct) // 5, HELD_OUT_FEWEST))
    out = set(distinct[:count]) if len(distinct) >= FEWEST_TO_SPLIT else set()
    return (
        [document for document, digest in zip(documents, digests, strict=True) if digest not in out],
        [document for document, digest in zip(documents, digests, strict=True) if digest in out],
    )


def encode(model: Backbone, documents: list[Document], block: int, left_out: LeftOut) -> list[Sequence]:
    """Each text as pieces of at most `block` tokens, its end included; a conversation as one sequence per assistant turn.

    Of a conversation only the assistant's tokens are predicted, and what lies past `block` tokens is cut; a turn whose prompt
    leaves no room, or is refused by the chat template, is left out. Neighbouring pieces of a text share a token, so that each of
    its tokens but the first is predicted once.
    """
    sequences: list[Sequence] = []
    for document in documents:
        sequences += _pieces(model, document, block) if isinstance(document, str) else _turns(model, document, block, left_out)
    return sequences


def _pieces(model: Backbone, text: str, block: int) -> list[Sequence]:
    tokenizer = model.tokenizer
    end = end_id(model) if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    begin = [] if tokenizer.bos_token_id in (None, end) else [tokenizer.bos_token_id]
    ids = [*begin, *text_ids(tokenizer, text, control=True), end]
    return [Sequence(ids[at : at + block], 1) for at in range(0, len(ids) - 1, block - 1)]


def _turns(model: Backbone, demonstration: Demonstration, block: int, left_out: LeftOut) -> Iterator[Sequence]:
    for turn, message in enumerate(demonstration.turns):
        if message["role"] != "assistant" or turn == 0:
            continue
        prompt = left_out.chat_ids(model, demonstration.name, demonstration.turns[:turn])
        if prompt is not None and len(prompt) >= block:
            left_out.too_long(demonstration.name, block - 1)
        elif prompt is not None:
            ids = [*prompt, *text_ids(model.tokenizer, message["content"], demonstration.name), end_id(model)]
            yield Sequence(ids[:block], len(prompt), len(ids) > block)


def _demonstration(file: str, number: int, row: Any) -> Demonstration:
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
        for message in messages
    ):
        raise Refused(Message("row_unusable", file=file, row=number, problem=Message("turns_unreadable")))
    return Demonstration([{"role": message["role"], "content": message["content"]} for message in messages], f"{file}:{number}")


def _key(document: Document) -> str:
    """What a document is held out by: the text, or the turns before the assistant's first."""
    if isinstance(document, str):
        return document
    turns = document.turns
    first = next((turn for turn, message in enumerate(turns) if message["role"] == "assistant"), len(turns))
    return repr(turns[:first])
