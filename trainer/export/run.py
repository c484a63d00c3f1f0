"""Checkpoints of ours as folders that plain transformers opens; runs by hand or from `tastemaker checkpoint export`.

    python -m trainer.export.run policy CHECKPOINT OUT        for AutoModelForCausalLM: adapters merged into the base
    python -m trainer.export.run classifier REWARD OUT        for AutoModelForSequenceClassification, one output

A fine-tuned reward becomes a classifier with the same scores. One that also reads the frozen base, as a head, or in what criteria
and flags add, is distilled (`trainer.export.distil`), and its card says how close that came. What OUT holds
already, if made from the same checkpoint, is left as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from trainer.contract.folder import Refused, day_beside, keep_private
from trainer.contract.messages import Message
from trainer.export.distil import distil
from trainer.export.reward_template import reward_template, stopped_clock
from trainer.files import checkpoint
from trainer.files.card import write_card
from trainer.lm.backbone import Backbone, BackboneError
from trainer.lm.loading import load_backbone
from trainer.reward.adapter import head_token
from trainer.reward.data import read_labels
from trainer.reward.score_weights import OVERALL
from trainer.reward.scorer import Scorer, load_scorer

LAYOUT = "3"  # rises when what is written changes, so that an export of before is written anew


def export_policy(source: Path, out: Path) -> bool:
    """Write the policy as one model with its tokenizer; False when it is there already. Raises BackboneError, CheckpointError."""
    origin = _origin(source, "Merged")
    if _is_there(out, origin):
        return False
    backbone = load_backbone(str(source))
    manifest = _manifest(source, origin, "policy", "full")
    tokenizer = copy.deepcopy(backbone.tokenizer)
    if isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = stopped_clock(tokenizer.chat_template, day_beside(source))

    def write(inner: Path) -> None:
        backbone.model.save_pretrained(str(inner))
        tokenizer.save_pretrained(str(inner))
        write_card(inner, manifest, source.parent)

    checkpoint.save(out, write, manifest | {"base": None})  # it stands alone: nothing else is needed to open it
    return True


def export_classifier(source: Path, out: Path, answers: Path | None = None) -> bool:
    """Write the reward as a sequence classifier with one output; False when it is there already.

    What cannot be merged is distilled on the answers in the folder `answers` (panel.jsonl and the label files of a reward run),
    by default on those of the run that made it. Raises BackboneError, CheckpointError, and Refused when there are too few.
    """
    scorer = load_scorer(source, dtype="float32")
    scorer.backbone.day = day_beside(source)
    wary = bool(scorer.disagreement and scorer.members)
    merged = scorer.adapter is not None and not scorer.others and not wary  # else the score also reads the frozen base
    origin = _origin(source, "Merged" if merged else "Distilled")
    if _is_there(out, origin):
        return False
    figures: dict[str, Any] = {}
    if scorer.adapter is not None and merged:
        at_nought, at_one = _scores_of(scorer, torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        with scorer.adapter.installed(scorer.backbone):
            model = classifier(scorer.backbone, scorer.adapter.head * (at_one - at_nought), -at_nought)
    else:
        model_of(scorer.backbone)  # before the work: is there such a class?
        student = distil(scorer, read_labels(answers or source.parent), _say)
        figures = student.fidelity
        model = classifier(student.backbone, student.head, student.offset)
    manifest = _manifest(source, origin, "reward", "classifier") | ({"fidelity": figures} if figures else {})
    tokenizer = tokenizer_of(scorer.backbone, model.config.pad_token_id)

    def write(inner: Path) -> None:
        model.save_pretrained(str(inner))
        tokenizer.save_pretrained(str(inner))
        write_card(inner, manifest, source.parent, figures or None)

    checkpoint.save(out, write, manifest | {"base": None})
    return True


def classifier(backbone: Backbone, head: Tensor, offset: float) -> Any:
    """A sequence classifier whose one output is `final state of the last token @ head`; the score is that less `offset`.

    Its padding token is never the end token, because transformers reads the last token that is not padding.
    """
    config = backbone.plain.config.__class__.from_dict(backbone.plain.config.to_dict())
    config.num_labels, config.id2label, config.label2id = 1, {0: "score"}, {"score": 0}
    config.problem_type = "regression"  # so that nobody squashes what is a score
    config.score_offset = offset
    config.pad_token_id = _padding(backbone.tokenizer, head_token(backbone))
    config.dtype = backbone.dtype
    model = model_of(backbone, config)
    model.base_model.load_state_dict(backbone.plain.base_model.state_dict())
    with torch.no_grad():
        model.score.weight.copy_(head[None])
    return model.eval()


def model_of(backbone: Backbone, config: Any = None) -> Any:
    """A new classifier of the backbone's architecture. Raises BackboneError where transformers has none."""
    try:
        model = AutoModelForSequenceClassification.from_config(config or backbone.plain.config)
    except ValueError:
        kind = backbone.plain.config.model_type
        raise BackboneError(Message("no_classifier", kind=kind)) from None
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise BackboneError(Message("head_elsewhere", architecture=type(model).__name__))
    return model


def tokenizer_of(backbone: Backbone, padding: int) -> Any:
    """The backbone's tokenizer for a classifier: its template ends a conversation where the head reads, and nothing else is put
    around a text, as the template writes all there is.
    """
    tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.chat_template = reward_template(tokenizer, tokenizer.convert_ids_to_tokens(head_token(backbone)), backbone.day)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    tokenizer.padding_side = "right"
    for addition in ("add_bos_token", "add_eos_token"):
        if getattr(tokenizer, addition, False):
            setattr(tokenizer, addition, False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return tokenizer


def _padding(tokenizer: Any, end: int) -> int:
    """A token that pads and never ends: the tokenizer's own if it can, else another special one, else the first."""
    others = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *tokenizer.all_special_ids, 0, 1]
    return next(int(token) for token in others if token is not None and token != end)


def _scores_of(scorer: Scorer, rewards: Tensor) -> Tensor:
    """Scores of latent rewards of a scorer that weighs nothing else: a straight line."""
    return scorer.mix.score({OVERALL: (rewards - scorer.settings["panel_mean"]) / scorer.settings["panel_deviation"]})


def _origin(source: Path, how: str) -> dict[str, str]:
    checkpoint.verify(source)
    return {"how": how, "sha256": checkpoint.sha256_of(source / checkpoint.MANIFEST), "layout": LAYOUT}


def _is_there(out: Path, origin: Mapping[str, str]) -> bool:
    with contextlib.suppress(checkpoint.CheckpointError):
        there = checkpoint.verify(out).get("exported_from") or {}
        if there.get("sha256") == origin["sha256"]:
            return bool(there == origin)  # else it was written in another layout, and is written anew
    if out.exists() and any(out.iterdir()):
        raise Refused(Message("folder_taken", folder=str(out)))
    return False


def _manifest(source: Path, origin: Mapping[str, str], kind: str, form: str) -> dict[str, Any]:
    found = checkpoint.read_manifest(source)
    if found["kind"] != kind:
        raise Refused(Message("holds_another_kind", folder=str(source), found=found["kind"], wanted=kind))
    return {
        "kind": kind,
        "form": form,
        "base": found.get("base"),
        "exported_from": dict(origin),
        "figures": found.get("figures") or {},
    }


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    keep_private()
    parser = argparse.ArgumentParser(
        prog="python -m trainer.export.run", description="Write a checkpoint for plain transformers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {"policy": "for AutoModelForCausalLM", "classifier": "for AutoModelForSequenceClassification"}.items():
        command = commands.add_parser(name, help=words)
        command.add_argument("checkpoint", type=Path, help="the checkpoint's folder")
        command.add_argument("out", type=Path, help="the folder to write")
        if name == "classifier":
            command.add_argument("--answers", type=Path, help="a folder with panel.jsonl: answers to distil a head on")
    given = parser.parse_args(arguments)
    try:
        if given.command == "policy":
            written = export_policy(given.checkpoint, given.out)
        else:
            written = export_classifier(given.checkpoint, given.out, given.answers)
    except (BackboneError, checkpoint.CheckpointError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{given.out} {'is written' if written else 'holds it already'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
