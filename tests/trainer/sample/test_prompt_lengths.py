"""Counting tokens as sampling reads them, without the weights."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.byte_tokens import byte_tokens
from tests.trainer.lm.test_chat_template import TOO_LONG
from trainer.lm.backbone import BackboneError, chat_ids
from trainer.lm.loading import load_backbone
from trainer.sample.prompt_lengths import lengths, main

__all__ = ["byte_tokens"]


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_conversation_has_as_many_tokens_as_sampling_reads(llama_folder: Path) -> None:
    conversations = [asked("Why?"), [*asked("Hello"), {"role": "assistant", "content": "Hi."}, *asked("How are you?")]]
    tokenizer = load_backbone(str(llama_folder)).tokenizer
    assert lengths(str(llama_folder), conversations) == [len(chat_ids(tokenizer, one)) for one in conversations]


def test_it_ends_at_the_first_that_is_short_enough(byte_tokens: Path) -> None:
    conversations = [asked("x" * 90), asked("x" * 10), asked("x")]
    whole = lengths(str(byte_tokens), conversations)
    assert whole[0] is not None
    assert whole[1] == whole[0] - 80
    assert lengths(str(byte_tokens), conversations, most=whole[1]) == whole[:2]


def test_what_the_template_refuses_has_no_length(byte_tokens: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strict"
    folder.mkdir()
    for file in byte_tokens.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}"
    )
    assert lengths(str(folder), [[{"role": "system", "content": "Be brief."}], asked("abc")]) == [None, 3]
    (folder / "chat_template.jinja").write_text(TOO_LONG)
    with pytest.raises(BackboneError):
        lengths(str(folder), [asked("abc")])


def test_it_answers_in_one_line_of_json(
    byte_tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(asked("abc")).encode() + b"\n")))
    assert main([str(byte_tokens), str(os.getppid())]) == 0
    assert json.loads(capsys.readouterr().out) == lengths(str(byte_tokens), [asked("abc")])


def test_a_model_that_is_not_here_is_not_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["org/a-model-that-nobody-fetched", str(os.getppid())]) == 2
    assert capsys.readouterr().out == ""
