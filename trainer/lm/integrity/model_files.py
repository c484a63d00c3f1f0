"""What lies under a model's name, before anything opens it: sentences for files that are no model, or no whole one.

Opens no weights and no pickle. Raises BackboneError alone.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from trainer.contract.messages import Message
from trainer.lm.backbone import BackboneError

POINTER = b"version https://git-lfs.github.com/spec/"  # how the stand-in begins that git leaves without LFS
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model")
INDEX = "model.safetensors.index.json"
MB: Final = 1_000_000
MOST_MB: Final = 256  # of a tokenizer or an index, which are read whole; the largest known have a seventh of that
MOST_MB_OF_SETTINGS: Final = 16
MOST_HEADER: Final = 100 * MB  # what the library takes, too
READ_WHOLE: Final = (".json", ".txt", ".model", ".jinja")


class Weights(NamedTuple):
    """The weight files of a folder."""

    paths: list[Path]  # in order of name
    numbers: int  # that they hold, all together


def weights_of(folder: Path) -> Weights:
    """The weight files of a transformers folder; each is whole, as far as its own header says."""
    if not (folder / "config.json").exists():
        raise BackboneError(_instead_of_a_model(folder))
    for name in SMALL_FILES:
        if (folder / name).exists():
            _refuse_pointer(folder / name)
    refuse_giants(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BackboneError(without_safetensors(folder))
    numbers = sum(refuse_broken(path) for path in weights)
    if missing := sorted(_shards(folder) - {path.name for path in weights}):
        raise BackboneError(Message("model_shards_missing", folder=str(folder), files=", ".join(missing)))
    return Weights(weights, numbers)


def refuse_giants(folder: Path) -> None:
    """Refuse files that would be read whole and have a size no such file has."""
    for path in (*folder.iterdir(), *folder.glob("additional_chat_templates/*")):
        if path.suffix in READ_WHOLE and path.is_file():
            _refuse_giant(path)


class GgufParts(NamedTuple):
    """What a GGUF file says of itself."""

    tensors: list[Any]  # as gguf's reader describes them
    tokens: int  # names in its vocabulary
    numbers: int  # in its tensors


def gguf_parts(path: Path) -> GgufParts:
    """The parts of a whole GGUF file that holds all of a model."""
    if not path.is_file():
        raise BackboneError(Message("model_no_file", file=str(path)))
    _refuse_pointer(path)
    if SHARD.search(path.name):
        raise BackboneError(Message("gguf_split", file=str(path)))
    if not _begins(path, b"GGUF"):
        raise BackboneError(Message("gguf_other", file=str(path)))
    for name in SMALL_FILES:  # beside it, where transformers looks for what the file does not say
        if (path.parent / name).is_file():
            _refuse_giant(path.parent / name)
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except Exception as error:  # struct, numpy and gguf each have their own for a file that ends too soon
        raise BackboneError(Message("gguf_broken", file=str(path), error=type(error).__name__)) from error
    count = reader.fields.get("split.count")
    if count is not None and int(count.parts[count.data[0]][0]) > 1:
        raise BackboneError(Message("gguf_split", file=str(path)))
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    numbers = sum(int(tensor.n_elements) for tensor in reader.tensors)
    return GgufParts(list(reader.tensors), len(tokens.data) if tokens is not None else 0, numbers)


def refuse_file(path: Path) -> None:
    """Say what a file is that somebody gave for a model's folder."""
    _refuse_pointer(path)
    if _begins(path, b"SQLite format 3"):
        raise BackboneError(Message("model_is_a_database", file=str(path)))
    raise BackboneError(Message("model_is_a_file", file=str(path)))


def others_adapters(folder: Path) -> BackboneError:
    """What to say of adapters that no run of ours saved."""
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    if not base:
        return BackboneError(Message("others_adapters_unnamed", folder=str(folder)))
    return BackboneError(Message("others_adapters", folder=str(folder), base=str(base)))


def _instead_of_a_model(folder: Path) -> Message:
    if any(folder.glob("*.gguf")):
        return Message("model_ggufs_inside", folder=str(folder))
    return Message("model_no_configuration", folder=str(folder))


def without_safetensors(folder: Path) -> Message:
    """What to say of a folder that holds no weights we open."""
    pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern) if path.name != "training_args.bin")
    if not pickled:
        return Message("model_no_weights", folder=str(folder))
    return Message("model_pickled", folder=str(folder), file=pickled[0])


def _shards(folder: Path) -> set[str]:
    if not (folder / INDEX).exists():
        return set()
    _refuse_pointer(folder / INDEX)
    try:
        return set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BackboneError(Message("model_index_unreadable", file=str(folder / INDEX))) from None


def refuse_broken(path: Path) -> int:
    """A safetensors file says in its header where its last tensor ends; how many numbers it holds is returned."""
    _refuse_pointer(path)
    size = path.stat().st_size
    if size == 0:
        raise BackboneError(Message("model_file_empty", file=str(path)))
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header: Any = json.loads(file.read(length)) if length <= min(size - 8, MOST_HEADER) else None
            tensors = [entry for name, entry in header.items() if name != "__metadata__"]
            end = 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
            numbers = int(sum(math.prod(entry["shape"]) for entry in tensors))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise BackboneError(Message("model_file_broken", file=str(path))) from None
    if size < end:
        raise BackboneError(Message("model_file_cut", file=str(path), there=size, wanted=end))
    return numbers


def _refuse_giant(path: Path) -> None:
    settings = path.suffix == ".jinja" or path.name.endswith("config.json") or path.name == "manifest.json"
    megabytes, most = path.stat().st_size / MB, MOST_MB_OF_SETTINGS if settings else MOST_MB
    if megabytes > most:
        raise BackboneError(Message("model_file_too_large", file=str(path), megabytes=megabytes, most=most))


def _refuse_pointer(path: Path) -> None:
    if _begins(path, POINTER):
        if path.suffix in (".safetensors", ".gguf"):
            raise BackboneError(Message("model_weights_pointer", file=str(path)))
        raise BackboneError(Message("model_file_pointer", file=str(path)))


def _begins(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError as error:
        raise BackboneError(Message("model_file_unreadable", file=str(path), error=error.strerror or "")) from error
