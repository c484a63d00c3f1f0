"""A configuration may ask for anything; what is no model of that size, and what is code, is refused before it costs anything."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.lm.test_loading import write_gguf
from trainer.contract import environment
from trainer.lm.backbone import BackboneError
from trainer.lm.integrity import described, model_files
from trainer.lm.integrity.watchdog import watched
from trainer.lm.loading import load_backbone

ROOT = Path(__file__).resolve().parents[4]


def described_as(llama_folder: Path, folder: Path, **changes: Any) -> str:
    shutil.copytree(llama_folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 2**24, "head_dim": 2**20}, r"describes a model of [\d,]+ numbers, and its files hold [\d,]+"),
        ({"vocab_size": 10**12}, r"describes a model of [\d,]+ numbers"),
        ({"intermediate_size": 2**40}, r"describes a model of [\d,]+ numbers"),
        ({"hidden_size": 2**62}, "could not be opened as a causal language model"),
        ({"num_hidden_layers": 10**9}, "is too large to be laid out"),
    ],
    ids=["width", "vocabulary", "middle", "past the integers", "depth"],
)
def test_a_configuration_larger_than_its_files_is_refused_before_memory_is_taken(
    llama_folder: Path, tmp_path: Path, changes: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(described, "LAYOUT_S", 2.0)
    monkeypatch.setattr(described, "LAYOUT_BYTES", 2**29)
    spec = described_as(llama_folder, tmp_path / "m", **changes)
    before = psutil.Process().memory_info().rss
    with pytest.raises(BackboneError, match=said):
        load_backbone(spec)
    assert psutil.Process().memory_info().rss - before < 2**30
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_model_that_no_memory_here_could_hold_is_refused_with_both_sizes(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "memory.max").write_text("50000")
    (tmp_path / "own").write_text("0::/")
    monkeypatch.setattr(environment, "GROUPS", tmp_path)
    monkeypatch.setattr(environment, "OWN_GROUP", tmp_path / "own")
    for spec in (llama_folder, tmp_path / "tiny.gguf"):
        with pytest.raises(BackboneError, match=r"needs [\d.e-]+ GiB of memory, and there are [\d.e-]+ GiB here"):
            load_backbone(str(spec))


def test_a_gguf_whose_metadata_describe_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "LAYOUT_S", 2.0)
    monkeypatch.setattr(described, "LAYOUT_BYTES", 2**29)
    write_gguf(tmp_path / "deep.gguf", blocks=10**9)
    with pytest.raises(BackboneError, match="is too large to be laid out"):
        load_backbone(str(tmp_path / "deep.gguf"))


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_implementation": "somebody/attention"},
        {"_attn_implementation": "somebody/attention@main:run"},
        {"attn_implementation": {"text_config": "paged|somebody/attention"}},
        {"text_config": {"experts_implementation": "somebody/experts"}},
    ],
    ids=["by name", "by its inner name", "of a part", "of experts"],
)
def test_kernels_of_the_hub_are_refused(llama_folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BackboneError, match=r"asks for code from the hub \((paged\|)?somebody/[a-z@:]+\), which is never run"):
        load_backbone(described_as(llama_folder, tmp_path / "m", **changes))


def test_no_kernel_is_fetched_even_where_the_package_for_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "kernels-0.18.2.dist-info").mkdir()
    (tmp_path / "kernels-0.18.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n")
    asked = (
        "import trainer.lm.loading\n"
        "from transformers.integrations import hub_kernels\n"
        "from transformers.utils.import_utils import is_kernels_available\n"
        "print(is_kernels_available(), hub_kernels.lazy_load_kernel('causal-conv1d'))"
    )
    path = f"{tmp_path}:{ROOT}"
    done = subprocess.run([sys.executable, "-c", asked], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("False None", 0), done.stderr


def test_a_model_that_needs_code_of_its_own_is_told_apart(llama_folder: Path, tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    spec = described_as(llama_folder, tmp_path / "m", model_type="evil", auto_map=auto_map)
    with pytest.raises(BackboneError, match="needs code of its own, which is never run here"):
        load_backbone(spec)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "vocab.txt"])
def test_a_file_that_would_be_read_whole_and_is_far_too_large_is_named(llama_folder: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    with (folder / name).open("a") as file:
        file.truncate(300 * model_files.MB)  # takes no room on disk
    with pytest.raises(BackboneError, match=rf"{name} has 300 MB; a file of this kind is read up to (16|256) MB"):
        load_backbone(str(folder))


def test_a_header_larger_than_any_is_not_read(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    with (folder / "model.safetensors").open("r+b") as file:
        file.write((10**10).to_bytes(8, "little"))
        file.truncate(2 * 10**10)
    with pytest.raises(BackboneError, match="is not a safetensors file, or not a whole one"), watched(20, 2**30):
        load_backbone(str(folder))


def test_weights_that_say_they_are_huge_are_not_hashed_first(llama_folder: Path, tmp_path: Path) -> None:
    """A sparse file of a tebibyte, whose header fits the configuration: hashing it alone would take an hour."""
    spec = described_as(llama_folder, tmp_path / "m", vocab_size=2**33)
    weights = load_file(tmp_path / "m" / "model.safetensors")
    weights["model.embed_tokens.weight"] = torch.zeros(1, 32)
    save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    raw = (tmp_path / "m" / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    start = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    size = 2**33 * 32 * 4
    header["model.embed_tokens.weight"] = {"dtype": "F32", "shape": [2**33, 32], "data_offsets": [start, start + size]}
    text = json.dumps(header).encode()
    with (tmp_path / "m" / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + raw[8 + length :])
        file.truncate(8 + len(text) + start + size)
    with pytest.raises(BackboneError, match="needs 2,048 GiB of memory"):
        load_backbone(spec)
