"""The cast of the trainer's tests: the web side's database for the bridge, and real models that are small.

The bridge and the supervisor stand between both worlds, so their tests use the web side's database and cast.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.app.conftest import app, built_app, cast, empty_database, engine, settings
from tests.tiny import make_simple_lm
from tests.trainer.reward.reward_runs import make_folder, prefers_moons
from trainer.contract.folder import RunFolder
from trainer.lm.simple_lm import train_tokenizer
from trainer.reward import run as reward

__all__ = ["app", "built_app", "cast", "empty_database", "engine", "settings"]


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 4 layers over bytes, as a folder; like SmolLM2 it pads with its end-of-answer token."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    tokenizer = train_tokenizer([], 259)
    tokenizer.pad_token = tokenizer.eos_token
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=259,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                initializer_range=0.2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def simple_lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained SimpleLM, as the sft run leaves it."""
    return make_simple_lm(tmp_path_factory.mktemp("simple_lm"))


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, simple_lm_folder: Path) -> RunFolder:
    """A finished run on people who like the moon."""
    folder = make_folder(tmp_path_factory.mktemp("reward") / "1", simple_lm_folder, prefers_moons)
    reward.run(folder)
    return folder


@pytest.fixture(scope="session")
def llama_done(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> RunFolder:
    folder = make_folder(tmp_path_factory.mktemp("reward") / "1", llama_folder, prefers_moons)
    reward.run(folder)
    return folder


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> RunFolder:
    """A finished run that keeps adapters."""
    folder = make_folder(
        tmp_path_factory.mktemp("reward") / "1",
        llama_folder,
        prefers_moons,
        40,
        method="lora",
        lora_rank=2,
        lora_layers=2,
        learning_rate=1e-2,
    )
    reward.run(folder)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models are quicker on one core, and a neighbour on the other disturbs nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Models this small gain nothing from a second core, and beside other work they lose much."""
    torch.set_num_threads(1)
