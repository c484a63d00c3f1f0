"""Whether a run fits the memory of what it computes on, asked once its model is open and before it does anything."""

from __future__ import annotations

from pathlib import Path

from trainer.contract.folder import Refused
from trainer.contract.memory.fitting import recomputes, why_not
from trainer.contract.memory.forecast import Config
from trainer.contract.memory.shape import read_shape, shape_of
from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone
from trainer.lm.machine.device import machine_of


def make_room(backbone: Backbone, kind: str, config: Config, texts: int = 0) -> None:
    """Have layers computed twice where the run is told to, or would not fit otherwise. Raises Refused where it does not even so.

    `texts`: how many are read again and again, or watched, where that is known.
    """
    shape = (read_shape(Path(backbone.source)) if backbone.source else None) or shape_of(backbone.plain.config.to_dict())
    if shape is None:  # nothing is known of it, so that only trying tells
        backbone.recompute = getattr(config, "recompute", "off") == "on"
        return
    machine = machine_of(backbone.device)
    if (found := why_not(kind, config, shape, machine, texts)) is not None:
        raise Refused(Message("setting_unusable", setting=f"{kind}.{found[0]}", problem=found[1]))
    backbone.recompute = recomputes(config, shape, machine, texts)
