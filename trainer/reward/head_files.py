"""The files of a reward checkpoint's heads, and the scale that the scores of each are put on. Knows no model and no text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.files import checkpoint
from trainer.reward.adapter import FineTuned
from trainer.reward.head.model import Group, Head
from trainer.reward.score_weights import FLAGS, OVERALL

PARTS = ("centre", "spread", "weights")
POSTERIOR = ("groups", "shrink", "precision")  # of a Head, kept as tensors
JUDGE = "judge"  # the files of the second head, `judge.safetensors` and `judge.json`
CRITERION = "criterion-"  # and of each criterion's
MEMBER = "member-"  # and of the heads that each learned the overall verdict without one fold of the prompts
RESERVED = frozenset({OVERALL, JUDGE, FLAGS})  # heads of their own, so no criterion's key


@dataclass(frozen=True)
class ScaledHead:
    """A head and the scale that its scores are put on."""

    head: Head
    settings: dict[str, Any]  # as in its .json file

    def score(self, features: dict[str, Tensor]) -> Tensor:
        """(B,) float32 scores."""
        return normalised(pessimistic(self.head, features, float(self.settings.get("pessimism", 0.0))), self.settings)


def read_heads(folder: Path) -> dict[str, ScaledHead]:
    """The heads of a checkpoint by what they speak of: overall (not where adapters do), judge, flags, and each criterion."""
    names = {OVERALL: "head", JUDGE: JUDGE, FLAGS: FLAGS}
    names |= {path.stem.removeprefix(CRITERION): path.stem for path in sorted(folder.glob(f"{CRITERION}*.json"))}
    there = {key: name for key, name in names.items() if (folder / f"{name}.json").exists()}
    settings = {key: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for key, name in there.items()}
    return {key: _read_head(folder, name, settings[key]) for key, name in there.items() if "groups" in settings[key]}


def read_members(folder: Path) -> list[ScaledHead]:
    """The heads that each learned the overall verdict without one fold of the prompts; none in a checkpoint before them."""
    names = sorted((path.stem for path in folder.glob(f"{MEMBER}*.json")), key=lambda name: int(name.removeprefix(MEMBER)))
    return [_read_head(folder, name, json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))) for name in names]


def jackknife_deviation(members: Tensor) -> Tensor:
    """(N,) the standard error of an estimate, from those (N, K) that were made without one of K groups of the data each.

    The delete-a-group jackknife: Kott 2001, J. Official Statistics 17(4), eq. 2.
    """
    spread: Tensor = members.std(1, correction=0)
    return spread * math.sqrt(max(members.shape[1] - 1, 0))


def earlier_heads(checkpoint_folder: str) -> dict[str, Head]:
    """The heads a warm refit may begin at; none where the folder is not a whole checkpoint any more."""
    try:
        checkpoint.verify(Path(checkpoint_folder))
    except checkpoint.CheckpointError:
        return {}
    return {key: scaled.head for key, scaled in read_heads(Path(checkpoint_folder)).items()}


def write_head(folder: Path, head: Head, settings: dict[str, Any], name: str = "head") -> None:
    """Write `NAME.safetensors` and `NAME.json`; `settings` are max_tokens, pessimism, panel_mean, panel_deviation, ..."""
    tensors = {f"{key}.{part}": getattr(group, part) for key, group in head.groups.items() for part in PARTS}
    tensors |= {f"{key}.axis": group.axis for key, group in head.groups.items() if group.axis is not None}
    tensors |= {"shrink": head.shrink} | ({"precision": head.precision} if head.precision is not None else {})
    save_file({key: tensor.float().contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    people = {field.name: getattr(head, field.name) for field in fields(head) if field.name not in POSTERIOR}
    described = {"groups": {key: {"prior": group.prior} for key, group in head.groups.items()}, "people": people, **settings}
    (folder / f"{name}.json").write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")


def write_adapter(folder: Path, tuned: FineTuned, settings: dict[str, Any]) -> None:
    """Write a fine-tuned reward: the adapter's files, its linear head, and `head.json`."""
    tuned.write(folder)
    (folder / "head.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def pessimistic(head: Head, features: dict[str, Tensor], pessimism: float) -> Tensor:
    """(N,) float64 rewards less `pessimism` posterior deviations of their difference to an average labelled answer.

    Of a checkpoint from before heads were fitted without folds; today's has members, and what they disagree by is taken off.
    """
    rewards = head.reward(features)
    return rewards if pessimism == 0 else rewards - pessimism * head.deviation(features)


def normalised(rewards: Tensor, settings: dict[str, Any]) -> Tensor:
    """Rewards -> float32 scores on the panel's scale."""
    scores: Tensor = (rewards - settings["panel_mean"]) / settings["panel_deviation"]
    return scores.float()


def _read_head(folder: Path, name: str, settings: dict[str, Any]) -> ScaledHead:
    tensors = load_file(folder / f"{name}.safetensors")
    loaded = {
        key: Group(prior=entry["prior"], axis=tensors.get(f"{key}.axis"), **{part: tensors[f"{key}.{part}"] for part in PARTS})
        for key, entry in settings["groups"].items()
    }
    return ScaledHead(Head(loaded, tensors["shrink"], **settings["people"], precision=tensors.get("precision")), settings)
