"""A model without an end writes answers of one length, also where its chat template names an end."""

from __future__ import annotations

from pathlib import Path

from bench.never_end import never_end
from bench.resume import make_base
from trainer.lm.backbone import eos_ids
from trainer.lm.chat_template import turn_end
from trainer.lm.loading import load_backbone


def test_no_token_ends_an_answer(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    backbone = load_backbone(str(tmp_path / "base"))
    assert turn_end(backbone.tokenizer) is not None
    assert eos_ids(backbone)
    never_end(backbone)
    assert eos_ids(backbone) == set()
