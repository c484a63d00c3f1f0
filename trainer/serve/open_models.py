"""The models that are open: each policy with its decoder and the rewards that judge on it, the least used let go first.

A policy and its reward share the base in memory. What is kept is bounded by a share of the machine's memory, so that training
beside it finds its own; the policy that is asked stays, however large it is.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from trainer.contract.environment import memory_bytes
from trainer.contract.serving.questions import Models
from trainer.lm.backbone import Backbone
from trainer.lm.decoders.decoder import Decoder
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.loading import load_policy
from trainer.reward.scorer import Scorer, load_scorer

SHARE: Final = 0.25  # of the memory, for all that is open
COPIES: Final = 2  # of the weights: the model's own, and as they are laid out for decoding


@dataclass
class OpenPolicy:
    """A policy as it answers: its decoder holds the weights as they were when it was opened."""

    backbone: Backbone
    decoder: Decoder
    scorers: dict[str, Scorer] = field(default_factory=dict)  # by the reward's folder

    @property
    def bytes(self) -> int:
        weights = self.backbone.model.parameters()
        return COPIES * int(sum(one.numel() * one.element_size() for one in weights))


class OpenModels:
    """Opens what is asked for, and keeps it as long as there is room."""

    def __init__(self, data: Path, room_bytes: float | None = None) -> None:
        self._data = data.resolve()
        self._room = SHARE * memory_bytes() if room_bytes is None else room_bytes
        self._open: OrderedDict[tuple[str, str], OpenPolicy] = OrderedDict()  # the least used first

    def policy(self, models: Models) -> OpenPolicy:
        """Raises BackboneError with the reason why it cannot be opened."""
        spec, dtype = self._spec(models.policy), self._dtype(models.reward)
        found = self._open.get((spec, dtype))
        if found is None:
            backbone = load_policy(spec, dtype)
            found = self._open[spec, dtype] = OpenPolicy(backbone, make_decoder(backbone))
            self._make_room()
        self._open.move_to_end((spec, dtype))
        found.backbone.day = date.fromisoformat(models.day)
        return found

    def scorer(self, models: Models) -> Scorer:
        """The reward on the policy's own base. Raises BackboneError or CheckpointError with the reason."""
        policy, folder = self.policy(models), self._spec(models.reward)
        if folder not in policy.scorers:
            policy.scorers = {folder: load_scorer(folder, policy.backbone)}  # the one before was superseded
        scorer = policy.scorers[folder]
        scorer.backbone.day = policy.backbone.day
        return scorer

    def _make_room(self) -> None:
        while len(self._open) > 1 and sum(one.bytes for one in self._open.values()) > self._room:
            self._open.popitem(last=False)

    def _spec(self, source: str) -> str:
        """A hub id stays; a path within the data folder is taken from there, as that may have moved."""
        local = self._data / source
        return str(local) if local.exists() else source

    def _dtype(self, reward: str) -> str:
        """A reward with adapters is merged into the policy's weights, and bfloat16 would swallow it."""
        return "float32" if reward and (Path(self._spec(reward)) / "adapter_config.json").exists() else "auto"
