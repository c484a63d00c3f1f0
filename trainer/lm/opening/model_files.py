"""What lies under a model's name, before anything opens it: sentences for files that are no model, or no whole one.

Opens no weights and no pickle. Raises BackboneError alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from trainer.lm.backbone import BackboneError

POINTER = b"version https://git-lfs.github.com/spec/"  # how the stand-in begins that git leaves without LFS
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model")
INDEX = "model.safetensors.index.json"


def weights_of(folder: Path) -> list[Path]:
    """The weight files of a transformers folder, in order of name; each is whole, as far as its own header says."""
    if not (folder / "config.json").exists():
        raise BackboneError(f"{folder} {_instead_of_a_model(folder)}")
    for name in SMALL_FILES:
        if (folder / name).exists():
            _refuse_pointer(folder / name)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BackboneError(f"{folder} {_instead_of_safetensors(folder)}")
    for path in weights:
        _refuse_broken(path)
    if missing := sorted(_shards(folder) - {path.name for path in weights}):
        raise BackboneError(f"{folder} lacks {', '.join(missing)}, which {INDEX} names: the download is not complete")
    return weights


class GgufParts(NamedTuple):
    """What a GGUF file says of itself."""

    tensors: list[Any]  # as gguf's reader describes them
    tokens: int  # names in its vocabulary


def gguf_parts(path: Path) -> GgufParts:
    """The parts of a whole GGUF file that holds all of a model."""
    if not path.is_file():
        raise BackboneError(f"there is no file {path}")
    _refuse_pointer(path)
    if shard := SHARD.search(path.name):
        raise BackboneError(
            f"{path} is part {int(shard[1])} of {int(shard[2])} of a split file: join them first "
            f"(llama-gguf-split --merge {path.name} whole.gguf)"
        )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise BackboneError(f"{path} is not a GGUF file: it begins otherwise")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except Exception as error:  # struct, numpy and gguf each have their own for a file that ends too soon
        raise BackboneError(f"{path} is not whole, or no GGUF file ({type(error).__name__}): download it again") from error
    count = reader.fields.get("split.count")
    if count is not None and int(count.parts[count.data[0]][0]) > 1:
        raise BackboneError(f"{path} is one part of a split file: join its parts first (llama-gguf-split --merge)")
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    return GgufParts(list(reader.tensors), len(tokens.data) if tokens is not None else 0)


def refuse_file(path: Path) -> None:
    """Say what a file is that somebody gave for a model's folder."""
    _refuse_pointer(path)
    kind = "a database" if _begins(path, b"SQLite format 3") else "a file"
    raise BackboneError(
        f"{path} is {kind}, not a model: give a transformers folder, a .gguf file, or a hub id such as owner/name"
    )


def others_adapters(folder: Path) -> BackboneError:
    """What to say of adapters that no run of ours saved."""
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    return BackboneError(
        f"{folder} holds adapters (LoRA) for {base or 'a base it does not name'}, not a model: merge them into their base first "
        "(peft: merge_and_unload, then save_pretrained, the tokenizer too) and give the folder that comes out"
    )


def _instead_of_a_model(folder: Path) -> str:
    if any(folder.glob("*.gguf")):
        return "holds .gguf files: give the path of one of them, not of the folder"
    return "holds no config.json, so it is not a transformers model folder"


def _instead_of_safetensors(folder: Path) -> str:
    pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern) if path.name != "training_args.bin")
    if not pickled:
        return "holds no *.safetensors file, so there are no weights"
    return (
        f"holds its weights in {pickled[0]} only, a format that can run code when it is opened; for safety it is not. "
        "Convert the model to safetensors first: transformers' save_pretrained writes them"
    )


def _shards(folder: Path) -> set[str]:
    if not (folder / INDEX).exists():
        return set()
    _refuse_pointer(folder / INDEX)
    try:
        return set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BackboneError(f"{folder / INDEX} is not the index of sharded weights: download it again") from None


def _refuse_broken(path: Path) -> None:
    """A safetensors file says in its header where its last tensor ends."""
    _refuse_pointer(path)
    size = path.stat().st_size
    if size == 0:
        raise BackboneError(f"{path} is empty: download it again")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            raise BackboneError(f"{path} is not whole, or no safetensors file: download it again")
        try:
            header = json.loads(file.read(length))
            end = (
                8
                + length
                + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise BackboneError(f"{path} is no safetensors file: its header cannot be read") from None
    if size < end:
        raise BackboneError(f"{path} is not whole: {size:,} of {end:,} bytes are there. Download it again")


def _refuse_pointer(path: Path) -> None:
    if _begins(path, POINTER):
        what = "weights" if path.suffix in (".safetensors", ".gguf") else "the file itself"
        raise BackboneError(f"{path} is a Git LFS pointer, not {what}: run git lfs pull where it was cloned")


def _begins(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error.strerror}") from error
