"""Answers of one length, for benches that count tokens: a model that no token ends."""

from __future__ import annotations

from trainer.lm.backbone import Backbone


def never_end(backbone: Backbone) -> None:
    """Take away what ends an answer: the settings' tokens, and the template, whose turns end with a token of their own."""
    backbone.tokenizer.eos_token = backbone.tokenizer.chat_template = None
    backbone.plain.generation_config.eos_token_id = None
    backbone.plain.config.eos_token_id = None
