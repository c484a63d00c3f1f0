"""Whatever is wrong with a file of a model: it opens, or one sentence says why not. No other exception, and not for long."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.lm.test_loading import write_gguf
from trainer.lm.backbone import BackboneError, attach_lora, chat_ids
from trainer.lm.loading import load_backbone, load_policy, save_policy

ASK = [{"role": "user", "content": "Hello"}]
LONGEST_S = 20.0  # of computing


def spoilt(held: bytes, draw: random.Random) -> bytes:
    """The bytes with one of the things that happen to files, or that somebody does to them."""
    at = draw.randrange(len(held))
    some = held[at : at + draw.randrange(1, 40)]
    return draw.choice(
        [
            held[:at],
            held[:at] + held[at + len(some) :],
            held[:at] + some + held[at:],
            held[:at] + draw.randbytes(len(some)) + held[at + len(some) :],
            held[:at] + b"\xff" * 8 + held[at + 8 :],
            held.replace(b": 1", b": 999999999999", 1),
            held.replace(b"[", b"[" * 5000, 1),
            held.replace(b'"', b'"\x00', 1),
            held.replace(b"3", b"-3"),
            held.replace(b"true", b"null").replace(b"2", b'"2"', draw.randrange(1, 5)),
        ]
    )


def tried(spec: Path, file: Path, times: int, opened: Callable[[str], object]) -> int:
    """How many of so many spoilt files opened after all."""
    held, draw, count = file.read_bytes(), random.Random(file.name), 0
    for _ in range(times):
        file.write_bytes(spoilt(held, draw))
        began = time.process_time()
        with contextlib.suppress(BackboneError):
            opened(str(spec))
            count += 1
        assert time.process_time() - began < LONGEST_S
    file.write_bytes(held)
    return count


def opened_and_asked(spec: str) -> None:
    chat_ids(load_backbone(spec).tokenizer, ASK)


TIMES = [15, pytest.param(300, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])]


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_spoilt_folder_opens_or_says_why_not(llama_folder: Path, tmp_path: Path, name: str, times: int) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    assert tried(folder, folder / name, times, opened_and_asked) < times
    opened_and_asked(str(folder))


@pytest.mark.parametrize("times", TIMES)
def test_a_spoilt_gguf_opens_or_says_why_not(tmp_path: Path, times: int) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    assert tried(tmp_path / "tiny.gguf", tmp_path / "tiny.gguf", times, opened_and_asked) < times


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "manifest.json"])
def test_a_spoilt_checkpoint_says_why_it_does_not_open(llama_folder: Path, tmp_path: Path, name: str, times: int) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=2, layers=1, seed=0)
    save_policy(backbone, tmp_path / "p")
    held = (tmp_path / "p" / name).read_bytes()
    changed = tried(tmp_path / "p", tmp_path / "p" / name, times, load_policy)
    draw = random.Random(name)
    same = sum(spoilt(held, draw) == held for _ in range(times))
    assert changed == same
