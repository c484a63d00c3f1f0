"""What the frozen base thinks while it reads an answer: hidden states averaged over the answer's tokens, layer by layer.

Computed in one pass over the texts, or free beside a pass that somebody makes anyway (`Pooler.visit`), and cached on disk by
the base's weights and the text's ids. Knows no label and no reward.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer.contract.folder import forget_unfinished, whole
from trainer.lm.backbone import Backbone, eos_ids, layer_count, reference
from trainer.lm.batched_reading import StatesOf, batches, read
from trainer.lm.forward import Packed, llama_like
from trainer.lm.machine.device import HOST
from trainer.lm.recorded_states import RecordedStates
from trainer.reward.data import TokenSequence, content_length

LAYERS_AT_MOST = 12
DEPTH = 0.75  # share of the layers of a deep model that can stop there (docs/decisions/0012)
SUM, LENGTH = "sum_0", "log_length"
SHARD_TEXTS = 64
VERSION = 2  # part of the cache's key: raise it when the same ids would give other numbers


class Pooler:
    """Averages each wanted layer over the answers' tokens while forward passes run, of all rows or of some at a time.

    The end token is left out, so that an answer has the same features whether or not its end was kept. Averages are on the host.
    """

    def __init__(self, packed: Packed, layers: Iterable[int], ends: set[int]) -> None:
        at = torch.arange(packed.ids.shape[1])
        starts, lengths = packed.prompt_lengths.tolist(), packed.response_lengths.tolist()
        rows = packed.ids.tolist()
        kept = [
            content_length(row[start : start + length], ends) for row, start, length in zip(rows, starts, lengths, strict=True)
        ]
        self.lengths = torch.tensor(kept)  # (B,) tokens averaged over
        inside = (at >= packed.prompt_lengths[:, None]) & (at < (packed.prompt_lengths + self.lengths)[:, None])
        self._weights = inside.float() / self.lengths[:, None]  # (B, L)
        self.means: dict[int, Tensor] = dict.fromkeys(layers, torch.empty(0))

    def visit(self, layer: int, states: Tensor, rows: Tensor) -> None:
        """Take `hidden_states[layer]`, (n, L, D), of the rows (n,) that a pass runs over, if it is wanted."""
        if layer not in self.means:
            return
        weights = self._weights[rows, : states.shape[1]].to(states.device)
        means = torch.bmm(weights[:, None], states.detach().float())[:, 0].to(HOST)  # (n, D)
        if len(self.means[layer]) == 0:
            self.means[layer] = means.new_empty(len(self.lengths), means.shape[1])
        self.means[layer][rows] = means


class FeatureCache:
    """Pooled states on disk, one folder per base and choice of layers, in shards that appear whole or not at all.

    Several runs may write at once. A shard that cannot be read is dropped and computed again: a cache holds nothing dear.
    """

    def __init__(self, folder: Path, backbone: Backbone, layers: Sequence[int]) -> None:
        self.layers = list(layers)
        key = json.dumps([VERSION, backbone.sha256, str(backbone.dtype), list(layers)])
        self.folder = folder / f"features-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        self._where: dict[str, Path] = {}
        forget_unfinished(self.folder)
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as shard:
                    self._where |= dict.fromkeys(shard.keys(), path)
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)

    def __contains__(self, digest: str) -> bool:
        return digest in self._where

    def read(self, digests: Iterable[str], part: slice = slice(None)) -> Iterator[tuple[str, Tensor]]:
        """The cached rows among `digests`, or this part of each, which alone is read; each shard opened once and none held."""
        wanted: dict[Path, list[str]] = {}
        for digest in digests:
            if digest in self._where:
                wanted.setdefault(self._where[digest], []).append(digest)
        for path, keys in wanted.items():
            with safe_open(path, "pt") as shard:
                for key in keys:
                    yield key, shard.get_slice(key)[part]

    def write(self, rows: Mapping[str, Tensor]) -> None:
        """Keep rows, by digest."""
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{hashlib.sha256(' '.join(sorted(rows)).encode()).hexdigest()[:32]}.safetensors"
        with whole(path) as unfinished:
            save_file(dict(rows), unfinished)
        self._where |= dict.fromkeys(rows, path)


def choose_layers(backbone: Backbone) -> list[int]:
    """Indices into `hidden_states` (0 is the embedding): all of a shallow model, a dozen at most of a deep one, spread over what
    is worth reading: all of it, or the lower DEPTH where that spares the layers above.
    """
    count = layer_count(backbone.plain.config)
    if count < LAYERS_AT_MOST:
        return list(range(count + 1))
    top = int(count * DEPTH) if llama_like(backbone) else count
    return sorted({round(index * top / (LAYERS_AT_MOST - 1)) for index in range(LAYERS_AT_MOST)})


def pooled_states(
    backbone: Backbone,
    sequences: Sequence[TokenSequence],
    layers: Sequence[int],
    cache: FeatureCache | None = None,
    tick: Callable[[int, int], None] = lambda _done, _total: None,
    place: Path | None = None,  # a file that holds them where they may be many; in memory without
) -> dict[int, Tensor]:
    """Layer -> (N, D) float32 means over each answer's tokens, under the reference. Each different text runs once, if at all.

    In a file each layer lies by itself, so that whoever reads some of them has only those in memory, which the kernel may drop
    again. `tick(done, total)` counts texts after every batch; what it raises (a cancelled run) comes through once the work so far
    is in the cache.
    """
    digests = [sequence.digest for sequence in sequences]
    unique = dict(zip(digests, sequences, strict=True))
    places: dict[str, list[int]] = {}
    for row, digest in enumerate(digests):
        places.setdefault(digest, []).append(row)
    widths = _widths(backbone, sequences[0], layers)
    table = table_in(place, len(digests), widths)

    def put(digest: str, row: Tensor) -> None:
        for layer, part in zip(table, torch.split(row, widths), strict=True):
            layer[places[digest]] = part

    missing = [digest for digest in unique if cache is None or digest not in cache]
    for digest, kept in cache.read(unique) if cache else ():
        put(digest, kept)
    fresh: dict[str, Tensor] = {}
    done = len(unique) - len(missing)
    tick(done, len(unique))
    try:
        for batch in batches(backbone, [unique[digest].ids for digest in missing]):
            keys = [missing[index] for index in batch]
            with reference(backbone):
                means = answer_means(backbone, [unique[key] for key in keys], layers)
            flat = torch.cat([means[layer] for layer in layers], 1)
            for index, key in enumerate(keys):
                put(key, flat[index])
            if cache:
                fresh |= {key: flat[index].clone() for index, key in enumerate(keys)}
            if cache and len(fresh) >= SHARD_TEXTS:
                cache.write(fresh)
                fresh = {}
            done += len(keys)
            tick(done, len(unique))
    finally:
        if cache:
            cache.write(fresh)
    return dict(zip(layers, table, strict=True))


def table_in(place: Path | None, rows: int, widths: Sequence[int]) -> list[Tensor]:
    """(rows, width) for each of the widths, in memory or in a file that this run begins anew."""
    if place is None:
        return [torch.empty(rows, width) for width in widths]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    numbers = torch.from_file(str(place), shared=True, size=rows * sum(widths), dtype=torch.float32)
    parts = torch.split(numbers, [rows * width for width in widths])
    return [part.view(rows, width) for part, width in zip(parts, widths, strict=True)]


def recorded_means(recording: RecordedStates, index: int, sequence: TokenSequence, layers: Sequence[int]) -> Tensor:
    """(sum of D,) float32: a row of the cache for one answer, from what the base's layers saw while they wrote it."""
    own = slice(len(sequence.prompt_ids), len(sequence.prompt_ids) + len(sequence.response_ids))
    return torch.cat([recording.states(layer, index)[own].float().mean(0) for layer in layers]).to(HOST)


def groups(means: Mapping[int, Tensor], lengths: Tensor, with_length: bool) -> dict[str, Tensor]:
    """Group name -> (N, D) features of a reward head, from each layer's means and the answers' lengths (N,) in tokens.

    A mean hides how long an answer is and how often a word occurs, so `with_length` adds the log length and the sum of the
    embeddings as groups of their own, which whoever fits can see, weigh and leave out.
    """
    found = {f"layer_{layer}": mean for layer, mean in means.items()}
    if with_length:
        found |= {SUM: means[0] * lengths[:, None], LENGTH: lengths.float().log()[:, None]}
    return found


def layers_of(names: Iterable[str]) -> list[int]:
    """The layers that groups are made from."""
    wanted = {0 if name in (SUM, LENGTH) else int(name.removeprefix("layer_")) for name in names}
    return sorted(wanted)


def answer_means(backbone: Backbone, sequences: Sequence[TokenSequence], layers: Sequence[int]) -> dict[int, Tensor]:
    """Layer -> (N, D) float32 means over each answer's tokens, its end token left out, as the backbone is now; no gradient."""
    ends = eos_ids(backbone)
    own = [slice(len(item.prompt_ids), len(item.prompt_ids) + content_length(item.response_ids, ends)) for item in sequences]
    means: dict[int, Tensor] = {}

    def visit(layer: int, at: StatesOf) -> None:
        if layer in layers:
            means[layer] = torch.stack([at(row, tokens).float().mean(0) for row, tokens in enumerate(own)]).to(HOST)

    with torch.no_grad():
        read(backbone, [item.ids for item in sequences], visit, max(layers, default=0))
    return means


def _widths(backbone: Backbone, sequence: TokenSequence, layers: Sequence[int]) -> list[int]:
    """Widths of the hidden states, asked of the model itself: an embedding may be narrower than the layers above it."""
    shortest = TokenSequence(sequence.prompt_ids[:1], sequence.response_ids[:1])
    with reference(backbone):
        means = answer_means(backbone, [shortest], layers)
    return [means[layer].shape[1] for layer in layers]
