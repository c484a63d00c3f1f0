"""Checkpoints that are either whole or not there: atomic folders of safetensors and JSON, each file hashed.

A folder is filled under `<name>.tmp`, every file is synced, `manifest.json` comes last, then the folder is renamed and
its parent synced. Whatever a crash leaves behind has no manifest or the wrong name and is never loaded. This file knows no model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.contract.english import SpokenError
from trainer.contract.folder import UNFINISHED, make, to_disk
from trainer.contract.messages import Message
from trainer.files.program import code_version

FORMAT = 2
READABLE = (1, 2)  # the first had no hash of the manifest itself
MANIFEST = "manifest.json"
OWN_HASH = "manifest_sha256"  # of the manifest's text with noughts in the place of this hash
NOUGHTS = "0" * 64
PROGRAM = "program"  # which version of Tastemaker wrote it


class CheckpointError(SpokenError):
    """The folder is not a whole checkpoint of ours; the text says what is wrong with it."""


def save(folder: Path, write: Callable[[Path], None], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Let `write` fill a folder, then put it in place durably, with the hash of every file; returns the manifest written.

    An existing checkpoint of that name is replaced; until the very end it stays as it was.
    """
    temporary, old = _beside(folder, UNFINISHED), _beside(folder, ".old")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        whole = _fill(temporary, write, manifest)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    temporary.rename(folder)
    to_disk(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return whole


def _fill(temporary: Path, write: Callable[[Path], None], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Everything on the disk, the manifest last."""
    make(temporary.parent)
    temporary.mkdir()
    write(temporary)
    hashes = {}
    for path in _files(temporary):
        to_disk(path)
        hashes[path.relative_to(temporary).as_posix()] = sha256_of(path)
    own: dict[str, Any] = {"format": FORMAT, OWN_HASH: NOUGHTS, PROGRAM: code_version(), "files": hashes}
    whole = own | dict(manifest) | own  # first, whatever a manifest that is saved again holds
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    whole[OWN_HASH] = _hash_of(text)
    (temporary / MANIFEST).write_text(text.replace(NOUGHTS, whole[OWN_HASH], 1), encoding="utf-8")
    to_disk(temporary / MANIFEST)
    for inner in {path.parent for path in _files(temporary)}:
        to_disk(inner)
    return whole


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a whole checkpoint. Raises CheckpointError when any file is missing, changed or additional."""
    manifest = read_manifest(folder)
    expected = manifest["files"]
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder) if path != folder / MANIFEST}
    if missing := expected.keys() - found.keys():
        raise CheckpointError(Message("checkpoint_lacks_files", folder=str(folder), files=", ".join(sorted(missing))))
    if extra := found.keys() - expected.keys():
        raise CheckpointError(Message("checkpoint_has_more_files", folder=str(folder), files=", ".join(sorted(extra))))
    for name, digest in expected.items():
        try:
            changed = sha256_of(found[name]) != digest
        except OSError as error:
            raise CheckpointError(
                Message("model_file_unreadable", file=str(folder / name), error=error.strerror or "")
            ) from error
        if changed:
            raise CheckpointError(Message("checkpoint_file_changed", file=str(folder / name)))
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest alone, without reading the files it names. Raises CheckpointError."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
    except OSError:
        raise CheckpointError(Message("no_manifest", folder=str(folder), file=MANIFEST)) from None
    except ValueError:
        raise CheckpointError(Message("manifest_not_json", file=str(folder / MANIFEST))) from None
    if not isinstance(manifest, dict) or manifest.get("format") not in READABLE or not isinstance(manifest.get("files"), dict):
        raise CheckpointError(Message("manifest_of_another_format", file=str(folder / MANIFEST), format=FORMAT))
    if manifest["format"] > 1 and _hash_of(text.replace(str(manifest.get(OWN_HASH)), NOUGHTS, 1)) != manifest.get(OWN_HASH):
        raise CheckpointError(Message("checkpoint_file_changed", file=str(folder / MANIFEST)))
    return manifest


def newest_valid(parent: Path) -> Path | None:
    """The last folder inside `parent`, in order of name, whose hashes verify; None if there is none."""
    if not parent.is_dir():
        return None
    for folder in sorted((path for path in parent.iterdir() if path.is_dir()), reverse=True):
        if folder.suffix in (UNFINISHED, ".old"):
            continue
        try:
            verify(folder)
        except CheckpointError:
            continue
        return folder
    return None


def save_state(parent: Path, step: int, state: Mapping[str, Any]) -> None:
    """Keep what a run needs to go on exactly: nested dicts and lists of tensors and plain values. Older states are removed."""
    folder = parent / f"{step:08d}"
    save(folder, lambda inner: write_nested(inner, state), {"kind": "state", "step": step})
    for other in parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)


def load_state(parent: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest whole state and its step, or None. The inverse of `save_state`."""
    folder = newest_valid(parent)
    if folder is None:
        return None
    return int(read_manifest(folder)["step"]), read_nested(folder)


def write_nested(folder: Path, state: Mapping[str, Any], name: str = "state") -> None:
    """Write nested values as `name`.json and their tensors as `name`.safetensors, bit for bit."""
    tensors: dict[str, Tensor] = {}
    plain = _flatten(state, "", tensors)
    (folder / f"{name}.json").write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    save_file(tensors, folder / f"{name}.safetensors")


def read_nested(folder: Path, name: str = "state") -> dict[str, Any]:
    """The inverse of `write_nested`; tuples come back as lists."""
    plain = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    nested: dict[str, Any] = _unflatten(plain, load_file(folder / f"{name}.safetensors"))
    return nested


def capture_rng(**generators: torch.Generator) -> dict[str, Tensor]:
    """The states of torch's global generator and of the named ones, for `save_state`."""
    return {"global": torch.get_rng_state()} | {name: generator.get_state() for name, generator in generators.items()}


def restore_rng(states: Mapping[str, Tensor], **generators: torch.Generator) -> None:
    """Set torch's global generator and the named ones to captured states."""
    torch.set_rng_state(states["global"])
    for name, generator in generators.items():
        generator.set_state(states[name])


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _flatten(value: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A clone, because safetensors refuses tensors that share memory.
        tensors[at] = value.detach().contiguous().clone()
        return {"$tensor": at}
    if isinstance(value, Mapping):
        # Pairs, because JSON would turn the integer keys of an optimiser's state into text.
        return {"$pairs": [[key, _flatten(inner, f"{at}/{key}", tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(inner, f"{at}/{index}", tensors) for index, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{at}: a state holds tensors and plain values, not {type(value).__name__}")


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(inner, tensors) for inner in value]
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        return {key: _unflatten(inner, tensors) for key, inner in value["$pairs"]}
    return value


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
