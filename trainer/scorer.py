"""A reward checkpoint that scores answers: mean 0 and deviation 1 on the reference panel it was normalised on.

It works on the frozen base inside a policy's backbone, so that policy, reference and reward share one model in memory.

A checkpoint of form `head` is `head.safetensors` and `head.json`; without any of our code its score of an answer, given the
mean hidden states of its tokens under the base (`layer_k` = hidden_states[k]), their sum at layer 0 (`sum_0`) and the log of
their number (`log_length`), is

    t, j = safetensors.torch.load_file("head.safetensors"), json.load(open("head.json"))
    r = sum(((x[g] - t[g + ".centre"]) / t[g + ".spread"]) @ t[g + ".weights"] for g in j["groups"])
    score = (r - j["panel_mean"]) / j["panel_deviation"]

less `pessimism` times the posterior deviation where that is set. Form `lora` is a peft adapter, and a linear head on the final
hidden state of the end token.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer import checkpoint
from trainer.backbone import Backbone, BackboneError, chat_ids, eos_ids, load_backbone, reference
from trainer.data import TokenSequence, by_length, cut
from trainer.features import BATCH_TOKENS, Pooler, groups, layers_of
from trainer.forward import Packed, final_states, pack, with_trunk
from trainer.reward_adapter import FineTuned, end_states
from trainer.reward_head import Group, Head

PARTS = ("centre", "spread", "weights")


class Scorer:
    """Scores answers with either form of reward. Neither batch size nor order nor padding changes a score."""

    def __init__(self, backbone: Backbone, settings: dict[str, Any], head: Head | None, adapter: Adapter | None) -> None:
        self.backbone = backbone
        self.settings = settings
        self.head = head
        self.adapter = adapter
        self.max_tokens = int(settings["max_tokens"])

    @property
    def layers(self) -> list[int]:
        """Layers a `pooler` must visit; empty for an adapter, which needs a pass of its own."""
        return layers_of(self.head.groups) if self.head else []

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> Tensor:
        """(B,) float32 scores of answers (token ids, with their end token or without) to prompts."""
        ends = eos_ids(self.backbone)
        sequences = [
            cut(list(prompt), list(response), ends, self.max_tokens)
            for prompt, response in zip(prompt_ids, response_ids, strict=True)
        ]
        scores = torch.empty(len(sequences))
        for batch in by_length([len(item.prompt_ids) + len(item.response_ids) for item in sequences], BATCH_TOKENS):
            scores[batch] = self._score_batch([sequences[index] for index in batch])
        return scores

    def score_texts(self, answers: Sequence[tuple[Sequence[dict[str, str]], str]]) -> Tensor:
        """(B,) float32 scores of answers given as (messages, text)."""
        tokenizer = self.backbone.tokenizer
        prompts = [chat_ids(tokenizer, messages) for messages, _ in answers]
        end = [min(eos_ids(self.backbone))]  # an empty text is an answer that ended at once
        return self.score(prompts, [tokenizer(text, add_special_tokens=False)["input_ids"] or end for _, text in answers])

    def pooler(self, packed: Packed) -> Pooler:
        """Put its `visit` into a pass of the base over `packed`, then ask `score_pooled`: the score comes free with that pass.

        Only where the pass is the bare base's (a KL reference that is the base) and no sequence is longer than `max_tokens`.
        """
        return Pooler(packed, self.layers, eos_ids(self.backbone))

    def score_pooled(self, pooler: Pooler) -> Tensor:
        """(B,) float32 scores from a pooler that has seen every layer of `layers`."""
        if self.head is None:
            raise ValueError("an adapter's score needs its own pass: use score()")
        return normalised(head_reward(self.head, self.settings, pooler), self.settings)

    def _score_batch(self, sequences: Sequence[TokenSequence]) -> Tensor:
        # Whatever the policy's KL reference is, the reward was learned on the bare base.
        bare = replace(self.backbone, reference_weights=None)
        with torch.no_grad(), reference(bare):
            if self.adapter is not None:
                with self.adapter.installed(bare):
                    return normalised(end_states(bare, sequences) @ self.adapter.head, self.settings)
            packed = pack([item.prompt_ids for item in sequences], [item.response_ids for item in sequences])
            pooler = self.pooler(packed)
            final_states(bare, with_trunk(bare, packed, pooler.visit), pooler.visit)
        return self.score_pooled(pooler)


class Adapter:
    """A fine-tuned reward: weights that stand in for the base's own while it scores, and a linear head."""

    def __init__(self, weights: dict[str, Tensor], head: Tensor) -> None:
        self.weights = weights  # path of a module, or of a parameter -> what takes its place
        self.head = head  # (D,)

    @contextlib.contextmanager
    def installed(self, backbone: Backbone) -> Iterator[None]:
        """Inside, the base computes with these weights; afterwards, also after an exception, with its own again, bit for bit."""
        live = {path: (parameter := _parameter(backbone, path), parameter.data) for path in self.weights}
        try:
            for path, (parameter, _) in live.items():
                parameter.data = self.weights[path]
            yield
        finally:
            for parameter, data in live.values():
                parameter.data = data


def load_scorer(reward_checkpoint: str | Path, backbone: Backbone | None = None) -> Scorer:
    """Open a reward checkpoint on a backbone, or on the base it names. A SimpleLM, of which a policy trains all, gets its own.

    Raises CheckpointError when the folder is not whole or no reward, BackboneError when it was learned on another base.
    """
    folder = Path(reward_checkpoint)
    manifest = checkpoint.verify(folder)
    if manifest.get("kind") != "reward":
        raise checkpoint.CheckpointError(f"{folder} holds a {manifest.get('kind')}, not a reward")
    settings = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "head.safetensors")
    base = _base(folder, manifest["base"], backbone) if backbone else _own_base(folder, manifest["base"])
    if manifest["form"] == "head":
        return Scorer(base, settings, _head(tensors, settings), None)
    return Scorer(base, settings, None, Adapter(_merged(folder, base), tensors["head"]))


def write_head(folder: Path, head: Head, settings: dict[str, Any]) -> None:
    """Write `head.safetensors` and `head.json`; `settings` are max_tokens, pessimism, panel_mean, panel_deviation, ..."""
    tensors = {f"{name}.{part}": getattr(group, part) for name, group in head.groups.items() for part in PARTS}
    save_file(
        {name: tensor.float().contiguous() for name, tensor in (tensors | {"shrink": head.shrink}).items()},
        folder / "head.safetensors",
    )
    people = {name: value for name, value in asdict(head).items() if name not in ("groups", "shrink")}
    described = {"groups": {name: {"prior": group.prior} for name, group in head.groups.items()}, "people": people, **settings}
    (folder / "head.json").write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")


def write_adapter(folder: Path, tuned: FineTuned, settings: dict[str, Any]) -> None:
    """Write a fine-tuned reward: the adapter's files, its linear head, and `head.json`."""
    tuned.write(folder)
    (folder / "head.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def head_reward(head: Head, settings: dict[str, Any], pooler: Pooler) -> Tensor:
    """(B,) float64 rewards of pooled answers, less the pessimism."""
    features = groups(pooler.means, pooler.lengths, with_length=0 in pooler.means)
    return pessimistic(head, features, float(settings["pessimism"]))


def pessimistic(head: Head, features: dict[str, Tensor], pessimism: float) -> Tensor:
    """(N,) float64 rewards less `pessimism` posterior deviations of their difference to an average labelled answer."""
    rewards = head.reward(features)
    return rewards if pessimism == 0 else rewards - pessimism * head.deviation(features)


def normalised(rewards: Tensor, settings: dict[str, Any]) -> Tensor:
    """Rewards -> float32 scores on the panel's scale."""
    scores: Tensor = (rewards - settings["panel_mean"]) / settings["panel_deviation"]
    return scores.float()


def _head(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Head:
    loaded = {
        name: Group(prior=entry["prior"], **{part: tensors[f"{name}.{part}"] for part in PARTS})
        for name, entry in settings["groups"].items()
    }
    return Head(loaded, tensors["shrink"], **settings["people"])


def _base(folder: Path, base: dict[str, Any], backbone: Backbone) -> Backbone:
    """The backbone to score on: the one given, unless all its weights are trained, or may come to be."""
    if getattr(backbone.plain.config, "num_attention_heads", 0):
        if backbone.sha256 != base["sha256"]:
            raise BackboneError(
                f"{folder} was learned on {base['source']}, not on {backbone.source}: fit a reward on this base first"
            )
        return backbone
    return _own_base(folder, base)


def _own_base(folder: Path, base: dict[str, Any]) -> Backbone:
    """The base a reward names: where it was, or, when data moved as a whole, where it is relative to the checkpoint."""
    moved = folder / base.get("relative", "")
    found = load_backbone(base["source"] if Path(base["source"]).exists() or "relative" not in base else str(moved.resolve()))
    if found.sha256 != base["sha256"]:
        raise BackboneError(f"{base['source']} is not the model that {folder} was learned on: its weights have changed")
    return found


def _parameter(backbone: Backbone, path: str) -> torch.nn.Parameter:
    """A parameter of the plain model by its path, also where a policy's adapter has wrapped its module."""
    module_path, _, name = path.rpartition(".")
    module = backbone.plain.get_submodule(module_path)
    found: torch.nn.Parameter = getattr(getattr(module, "base_layer", module), name)
    return found


def _merged(folder: Path, backbone: Backbone) -> dict[str, Tensor]:
    """The weights of a fine-tuned reward: the base's plus the adapter's, or all of a SimpleLM's."""
    if (folder / "weights.safetensors").exists():
        return load_file(folder / "weights.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    pieces = load_file(folder / "adapter_model.safetensors")
    merged = {}
    for name, down in pieces.items():
        if not name.endswith(".lora_A.weight"):
            continue
        path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight") + ".weight"
        up = pieces[name.replace(".lora_A.", ".lora_B.")]
        delta = (up.float() @ down.float()) * (config["lora_alpha"] / config["r"])
        own = _parameter(backbone, path).data
        merged[path] = (own.float() + (delta if delta.shape == own.shape else delta.T)).to(own.dtype)
    return merged
