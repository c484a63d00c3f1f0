"""Every architecture writes in a batch what it writes alone, whatever it remembers by."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from tests.trainer.lm.architectures import MADE, make_folder
from tests.trainer.tiny import letters
from trainer.lm.backbone import Backbone, BackboneError
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.decoders.own_forward import LevelDecoder, PlainDecoder
from trainer.lm.decoders.ways import WAYS, find_way
from trainer.lm.generate import generate
from trainer.lm.loading import load_backbone

PROMPTS = [[40, 41, 42, 43, 44], [45, 46], [47, 48, 49, 50, 51, 52, 53], [54, 55], [56, 57, 58]]


def answers(backbone: Backbone) -> list[list[int]]:
    draw = torch.Generator().manual_seed(0)
    given = generate(backbone, PROMPTS, max_new_tokens=8, temperature=1.0, generator=draw, batch_size=8)
    return [each.ids for each in given]


@torch.no_grad()
def alone(backbone: Backbone, prompt: list[int], answer: list[int]) -> list[int]:
    """What a pass over this prompt and answer draws at each place of the answer, with the same random numbers."""
    row = PROMPTS.index(prompt)
    draws = torch.rand(len(PROMPTS), 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[row]
    logits = backbone.plain(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :].double()
    sums = torch.softmax(logits, -1).cumsum(-1)
    return [int(torch.searchsorted(row, uniform, right=True)) for row, uniform in zip(sums, draws, strict=False)]


@pytest.mark.parametrize("name", MADE)
def test_answers_of_a_batch_are_those_of_one_prompt_alone(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(str(make_folder(tmp_path, MADE[name])))
    together = answers(backbone)
    assert max(map(len, together)) == 8
    assert together == [alone(backbone, prompt, given) for prompt, given in zip(PROMPTS, together, strict=True)]


def test_an_answer_that_ends_early_leaves_the_others_of_a_recurrent_model_as_they_were(tmp_path: Path) -> None:
    for name in ("mamba", "lfm2", "rwkv"):
        backbone = load_backbone(str(make_folder(tmp_path / name, MADE[name])))
        longest = answers(backbone)
        ends = longest[1][2]  # from now on the second answer ends at its third token at the latest
        backbone.plain.generation_config.eos_token_id = [1, ends]
        cut = [each[: each.index(ends) + 1] if ends in each else each for each in longest]
        assert min(map(len, cut)) < 8
        assert answers(backbone) == cut


class Leaking(nn.Module):
    """A GPT-2 whose logits also hold the mean of all it was given so far, padding too, and which can therefore not be padded."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.config, self.generation_config = inner, inner.config, inner.generation_config

    def get_input_embeddings(self) -> nn.Module:
        return self.inner.get_input_embeddings()  # type: ignore[no-any-return]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Any = None) -> Any:
        out = self.inner(input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values, use_cache=True)
        before = getattr(out.past_key_values, "given", torch.zeros(len(input_ids), 0, dtype=torch.long))
        given = torch.cat([before, input_ids], 1)
        out.past_key_values.given = given
        means = given.cumsum(1) / torch.arange(1, given.shape[1] + 1)
        out.logits = out.logits + means[:, -input_ids.shape[1] :, None] * torch.arange(out.logits.shape[-1]) / 100
        return out


def leaking(kind: type[Leaking] = Leaking) -> Backbone:
    torch.manual_seed(0)
    inner = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, initializer_range=0.3)).eval()
    return Backbone(kind(inner), letters(40, 2), "tiny", "0", torch.float32)


def test_a_model_that_padding_reaches_is_never_padded_and_one_that_it_does_not_reach_is(tmp_path: Path) -> None:
    assert find_way(leaking()) == "by length"
    gpt2 = load_backbone(str(make_folder(tmp_path, MADE["gpt2"])))
    assert isinstance(make_decoder(gpt2), PlainDecoder)
    assert isinstance(make_decoder(load_backbone(str(make_folder(tmp_path / "m", MADE["mamba"])))), LevelDecoder)


class Mixing(Leaking):
    """One whose rows see each other."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Any = None) -> Any:
        out = super().forward(input_ids, attention_mask, past_key_values)
        out.logits = out.logits + (out.logits.mean(0, keepdim=True) if len(input_ids) > 1 else 0)
        return out


class Forgetful(Leaking):
    """One that returns a memory and ignores it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Any = None) -> Any:
        return self.inner(input_ids=input_ids, use_cache=True)


class Restless(Leaking):
    """One that says something else at every pass."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Any = None) -> Any:
        out = self.inner(input_ids=input_ids, use_cache=True)
        out.logits = out.logits + torch.randn(out.logits.shape)
        return out


def test_rows_that_see_each_other_are_written_one_at_a_time_and_a_memory_that_is_ignored_is_not_relied_on() -> None:
    assert find_way(leaking(Mixing)) == "one at a time"
    assert find_way(leaking(Forgetful)) == "by length, without a memory"


def test_a_model_that_no_way_is_right_for_is_refused_with_its_architecture_named() -> None:
    with pytest.raises(BackboneError, match="a Restless does not write here what it writes alone"):
        make_decoder(leaking(Restless))


def test_the_fast_path_is_not_tried_out(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAYS:
        monkeypatch.setitem(WAYS, name, None)
    make_decoder(load_backbone(str(llama_folder)))
