"""The sizes of a causal language model that its memory follows from, as its config.json describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LARGEST_FILE: Final = 2**20
LAYER_BY_LAYER: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})  # run by our own layers: docs/scale.md

# What families call their sizes.
_NAMES: Final = {
    "width": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "layers", "decoder_layers"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads",),
    "head_width": ("head_dim",),
    "inner": ("intermediate_size", "n_inner", "ffn_dim"),
    "experts": ("num_local_experts", "num_experts"),
    "vocabulary": ("vocab_size",),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers of a model's parts; those of experts are counted with every layer."""

    width: int  # of the states
    layers: int
    heads: int  # 0: without attention
    kv_heads: int
    head_width: int
    inner: int  # of a layer's two or three large matrices
    experts: int  # at least 1
    vocabulary: int
    tied: bool  # whether the vocabulary's head is the embedding
    sixteen_bits: bool  # whether it was published in a type of 16 bits
    ours: bool  # whether its layers are run one by one
    learns_whole: bool  # whether all its weights are trained, as those of a SimpleLM are

    @property
    def of_layer(self) -> int:
        """Parameters of one layer."""
        attention = 2 * self.width * self.head_width * (self.heads + self.kv_heads)
        return attention + 3 * self.experts * self.width * self.inner

    @property
    def of_head(self) -> int:
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        return self.layers * self.of_layer + self.of_head * (1 if self.tied else 2)

    def adapters(self, rank: int, layers: int) -> int:
        """Parameters of adapters on the top `layers` layers (0: all), on every matrix that is not an expert's."""
        attention = 2 * (2 * self.width + self.head_width * (self.heads + self.kv_heads))
        inner = 3 * (self.width + self.inner) if self.experts == 1 else 0
        return rank * (attention + inner) * self.adapted(layers)

    def adapted(self, layers: int) -> int:
        """How many layers that is."""
        return min(layers or self.layers, self.layers)


def read_shape(folder: Path) -> Shape | None:
    """Of the model in a folder; of a policy's adapters, of the base that its manifest names. None where nothing says it."""
    if (folder / "adapter_config.json").is_file():
        base = (_read(folder / "manifest.json") or {}).get("base") or {}
        places = [Path(str(base.get("source", ""))), folder / str(base.get("relative", "-"))]
        folder = next((place for place in places if (place / "config.json").is_file()), folder)
    described = _read(folder / "config.json")
    if described is None:
        return None
    converted = (_read(folder / "manifest.json") or {}).get("converted_from")
    return shape_of(described, sixteen_bits=converted is not None)


def shape_of(described: Mapping[str, Any], *, sixteen_bits: bool = False) -> Shape | None:
    """From a config.json; `sixteen_bits` where its weights are known to be so whatever it says. None where sizes are missing."""
    inner = described.get("text_config")
    own = {**described, **inner} if isinstance(inner, Mapping) else dict(described)
    found = {name: _first(own, names) for name, names in _NAMES.items()}
    width, layers, vocabulary = found["width"], found["layers"], found["vocabulary"]
    if width is None or layers is None or vocabulary is None:
        return None
    heads = found["heads"] or 0
    kind = str(own.get("model_type", ""))
    return Shape(
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=found["kv_heads"] or heads,
        head_width=found["head_width"] or (width // heads if heads else 0),
        inner=found["inner"] or 4 * width,
        experts=found["experts"] or 1,
        vocabulary=vocabulary,
        tied=bool(own.get("tie_word_embeddings", kind == "gpt2")),
        sixteen_bits=sixteen_bits or str(own.get("dtype") or own.get("torch_dtype")) in ("bfloat16", "float16"),
        learns_whole=kind == "simple_lm",
        ours=kind in LAYER_BY_LAYER and not own.get("sliding_window"),
    )


def _first(described: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    sizes = (described.get(name) for name in names)
    return next((size for size in sizes if type(size) is int and size > 0), None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return None
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
