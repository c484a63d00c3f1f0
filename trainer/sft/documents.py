"""What an sft run reads: documents of plain text, or conversations, as token sequences that say which tokens to predict.

Knows files and a tokenizer; no model, no optimiser.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from trainer.contract.folder import Refused, RunFolder, read_jsonl
from trainer.contract.messages import Message
from trainer.contract.trimming import trimmed
from trainer.lm.backbone import Backbone, ConversationRefused, chat_ids, end_id
from trainer.lm.chat_template import text_ids

Conversation = list[dict[str, str]]
Document = str | Conversation

CONVERSATIONS = ("demonstrations.jsonl", "rewrites.jsonl")
HELD_OUT = 0.05
HELD_OUT_FEWEST = 8  # of a small set, as long as that is at most a fifth: one document's loss would say little
FEWEST_TO_SPLIT = 10


class Sequence(NamedTuple):
    """Token ids and the index of the first one that is to be predicted, at least 1."""

    ids: list[int]
    first: int


def read_documents(folder: RunFolder) -> list[Document]:
    """Texts of text.txt, parted by blank lines, and the conversations of demonstrations.jsonl and rewrites.jsonl, where they are.

    Raises Refused, naming the row, on a conversation that breaks the format, and when there is nothing at all.
    """
    documents: list[Document] = []
    text = folder.file("text.txt")
    if text.exists():
        documents += [trimmed(part) for part in re.split(r"\n\s*\n", _text(text))]
    for name in CONVERSATIONS:
        try:
            rows = enumerate(read_jsonl(folder.file(name)), start=1)
            documents += [_conversation(name, number, row) for number, row in rows]
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise Refused(Message("not_json_lines", file=name, error=str(error))) from error
    documents = [document for document in documents if document]
    if not documents:
        raise Refused(Message("no_text", files=", ".join(("text.txt", *CONVERSATIONS))))
    return documents


def _text(path: Path) -> str:
    held = path.read_bytes()
    try:
        return held.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Refused(Message("not_utf8", file=path.name, line=held.count(b"\n", 0, error.start) + 1)) from error


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


def encode(model: Backbone, documents: list[Document], block: int) -> list[Sequence]:
    """Each text as pieces of at most `block` tokens, its end included; a conversation as one sequence per assistant turn.

    Of a conversation only the assistant's tokens are predicted, and what lies past `block` tokens is cut. Neighbouring pieces
    of a text share a token, so that each of its tokens but the first is predicted once.
    """
    tokenizer, turn_ends = model.tokenizer, end_id(model)
    end = turn_ends if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    begin = [] if tokenizer.bos_token_id in (None, end) else [tokenizer.bos_token_id]
    sequences = []
    for document in documents:
        if isinstance(document, str):
            ids = [*begin, *tokenizer(document, add_special_tokens=False)["input_ids"], end]
            sequences += [Sequence(ids[at : at + block], 1) for at in range(0, len(ids) - 1, block - 1)]
            continue
        for turn, message in enumerate(document):
            if message["role"] == "assistant" and turn > 0:
                try:
                    prompt = chat_ids(tokenizer, document[:turn], model.day)
                except ConversationRefused:  # of one demonstration; the others teach as they are
                    continue
                answer = [*text_ids(tokenizer, message["content"]), turn_ends]
                if len(prompt) < block:
                    sequences.append(Sequence([*prompt, *answer][:block], len(prompt)))
    return sequences


def _conversation(file: str, number: int, row: Any) -> Conversation:
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
        for message in messages
    ):
        raise Refused(Message("row_unusable", file=file, row=number, problem=Message("turns_unreadable")))
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _key(document: Document) -> str:
    """What a document is held out by: the text, or the turns before the assistant's first."""
    if isinstance(document, str):
        return document
    first = next((turn for turn, message in enumerate(document) if message["role"] == "assistant"), len(document))
    return repr(document[:first])
