import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from tests.trainer.lm.machine.test_weight_layouts import insist_on_halves
from trainer.contract.folder import Cancelled
from trainer.lm.backbone import Backbone, BackboneError, attach_lora, reference, trainable_parameters
from trainer.lm.decoders import fused
from trainer.lm.decoders.decoder import Decoder
from trainer.lm.decoders.fused import FusedDecoder, _effective_weight
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.decoders.own_forward import PlainDecoder
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.generate import Generated, draw, generate
from trainer.lm.loading import load_backbone
from trainer.lm.machine.weight_layouts import Linear, laid_out
from trainer.lm.recorded_states import RecordedStates
from trainer.lm.simple_lm import train_tokenizer

PROMPTS = [[0, 40, 41, 42, 43], [0, 40, 41], [0, 40, 41, 50, 51, 52, 53, 54], [0, 40, 41, 42, 43], [0, 40, 7], [0, 40, 41, 42]]


@pytest.fixture
def llama(llama_folder: Path) -> Backbone:
    """With adapters that matter."""
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    torch.manual_seed(1)
    for parameter in trainable_parameters(backbone):
        parameter.data.normal_(0, 0.2)
    return backbone


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=259, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, eos_token_id=1, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(folder)
    train_tokenizer([], 259).save_pretrained(folder)
    return folder


def answer(
    backbone: Backbone, prompts: list[list[int]] = PROMPTS, temperature: float = 1.0, batch_size: int = 8, tokens: int = 20
) -> list[Generated]:
    return generate(
        backbone,
        prompts,
        max_new_tokens=tokens,
        temperature=temperature,
        generator=torch.Generator().manual_seed(0),
        batch_size=batch_size,
    )


@torch.no_grad()
def greedy_without_cache(backbone: Backbone, prompt: list[int], tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(backbone.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == backbone.tokenizer.eos_token_id:
            break
    return ids[len(prompt) :]


@torch.no_grad()
def next_logits(backbone: Backbone, ids: list[int]) -> Tensor:
    out: Tensor = backbone.model(input_ids=torch.tensor([ids])).logits[0, -1]
    return out


def test_greedy_answers_equal_those_of_full_passes_one_prompt_at_a_time(
    llama: Backbone, simple_lm_folder: Path, gpt2_folder: Path
) -> None:
    for backbone in (llama, load_backbone(str(simple_lm_folder)), load_backbone(str(gpt2_folder))):
        given = answer(backbone, temperature=0)
        assert [each.ids for each in given] == [greedy_without_cache(backbone, prompt, 20) for prompt in PROMPTS]


@pytest.mark.parametrize("kind", ["fused", "fused halves", "plain"])
def test_a_cached_batch_that_loses_rows_has_the_logits_of_full_passes(
    llama: Backbone, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "fused halves":
        insist_on_halves(monkeypatch)
        # The frozen weights as a model published in bfloat16 has them.
        for name, parameter in llama.model.named_parameters():
            if "lora_" not in name:
                parameter.data = parameter.data.bfloat16().float()
    decoder: Decoder = PlainDecoder(llama) if kind == "plain" else FusedDecoder(llama)
    rows = [list(prompt) for prompt in PROMPTS]
    with torch.no_grad():
        logits = decoder.start(rows, room=6)
        for step, keep in enumerate(([0, 1, 2, 3, 4, 5], [0, 5, 2, 3, 4], [0, 4, 2, 3], [3], [0])):
            for row, own in zip(logits, rows, strict=True):
                torch.testing.assert_close(row, next_logits(llama, own), atol=1e-4, rtol=0)
            rows, logits = [rows[index] for index in keep], logits[keep]
            decoder.keep(keep)
            tokens = torch.arange(len(rows)) + 60 + step
            rows = [[*row, int(token)] for row, token in zip(rows, tokens, strict=True)]
            logits = decoder.step(tokens)


def test_what_adapters_add_to_a_bfloat16_trunk_is_not_rounded_away_and_the_rest_is_close(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = load_backbone(str(llama_folder), "bfloat16")
    attach_lora(narrow, rank=4, layers=2, seed=0)
    for parameter in trainable_parameters(narrow):
        parameter.data.normal_(0, 0.004, generator=torch.Generator().manual_seed(1))
    module = narrow.plain.model.layers[3].mlp.up_proj
    added = _effective_weight(module) - module.get_base_layer().weight.float()
    torch.testing.assert_close(added, module.get_delta_weight("default").detach(), atol=1e-7, rtol=1e-3)
    laid: list[torch.dtype] = []

    def noting(weight: Tensor, bias: Tensor | None) -> Linear:
        laid.append(weight.dtype)
        return laid_out(weight, bias)

    monkeypatch.setattr(fused, "laid_out", noting)
    decoder = make_decoder(narrow)
    assert laid == [torch.bfloat16] * 8 + [torch.float32] * 8  # four maps a layer, two layers adapted
    with torch.no_grad():
        decoder.start(PROMPTS, room=2)
        tokens = torch.arange(len(PROMPTS)) + 60
        written = decoder.step(tokens)
        rows = [[*prompt, int(token)] for prompt, token in zip(PROMPTS, tokens, strict=True)]
        passed = torch.stack([next_logits(narrow, row) for row in rows])
    # Both round in bfloat16, in another order: of eight random models .019 apart at most (rms), of 1,500 logits one by .082.
    apart = written - passed.float()
    assert float(apart.square().mean().sqrt()) < 0.025
    assert float(apart.abs().max()) < 0.1


@pytest.mark.parametrize("prompts", [PROMPTS, [[7, 8, 9, *prompt] for prompt in PROMPTS]], ids=["own beginnings", "a shared one"])
def test_a_recording_holds_what_a_pass_over_the_answers_would_compute(llama: Backbone, prompts: list[list[int]]) -> None:
    watched = [0, 2, 4]
    recording = RecordedStates(watched)
    given = generate(
        llama,
        prompts,
        max_new_tokens=12,
        temperature=1.0,
        generator=torch.Generator().manual_seed(0),
        batch_size=4,
        recording=recording,
    )
    assert given == answer(llama, prompts, tokens=12)
    for index, (prompt, each) in enumerate(zip(prompts, given, strict=True)):
        with torch.no_grad():
            expected = llama.model(input_ids=torch.tensor([prompt + each.ids]), output_hidden_states=True).hidden_states
        for layer in watched:
            torch.testing.assert_close(recording.states(layer, index), expected[layer][0], atol=1e-4, rtol=1e-4)


def test_layers_that_cannot_be_watched_are_refused(simple_lm_folder: Path) -> None:
    with pytest.raises(ValueError, match="simple_lm cannot be watched"):
        make_decoder(load_backbone(str(simple_lm_folder)), watch=[1])


def test_neither_batch_size_nor_order_nor_neighbours_change_an_answer(llama: Backbone, simple_lm_folder: Path) -> None:
    for backbone in (llama, load_backbone(str(simple_lm_folder))):
        whole = answer(backbone)
        assert whole == answer(backbone, batch_size=1) == answer(backbone, batch_size=4)
        assert backbone is not llama or whole[0] != whole[3]  # equal prompts draw different numbers
        seeds = range(len(PROMPTS))
        own = [
            generate(
                backbone,
                [PROMPTS[index] for index in order],
                max_new_tokens=20,
                temperature=1.0,
                generator=[torch.Generator().manual_seed(index) for index in order],
                batch_size=4,
            )
            for order in (list(seeds), list(reversed(seeds)))
        ]
        assert own[0] == own[1][::-1]


def test_the_decoder_follows_the_adapters_as_they_train_and_as_they_are_turned_off(llama: Backbone) -> None:
    def first_logits() -> Tensor:
        with torch.no_grad():
            return make_decoder(llama).start(PROMPTS[:1], 1)[0]

    for _ in range(2):
        torch.testing.assert_close(first_logits(), next_logits(llama, PROMPTS[0]), atol=1e-4, rtol=0)
        with reference(llama):
            base = first_logits()
            torch.testing.assert_close(base, next_logits(llama, PROMPTS[0]), atol=1e-4, rtol=0)
        assert (first_logits() - base).abs().max() > 0.01
        for parameter in trainable_parameters(llama):
            parameter.data.mul_(1.5)


def test_the_end_token_is_kept_and_none_is_added(simple_lm_folder: Path) -> None:
    backbone = load_backbone(str(simple_lm_folder))
    end = backbone.tokenizer.eos_token_id
    given = answer(backbone, PROMPTS * 8, tokens=40)
    assert {each.finish_reason for each in given} == {"eos", "length"}
    for each in given:
        assert end not in each.ids[:-1]
        assert (each.ids[-1] == end) == (each.finish_reason == "eos")
        assert len(each.ids) == 40 or each.finish_reason == "eos"


def test_an_answer_may_end_with_its_first_token_and_padding_may_be_that_token(llama: Backbone) -> None:
    always_end = [[0, 1, 1, 1], [0, 1]]  # pad == eos == 1: real tokens of the prompt all the same
    given = answer(llama, always_end, temperature=0, tokens=5)
    assert [each.ids for each in given] == [greedy_without_cache(llama, prompt, 5) for prompt in always_end]


def test_sampling_follows_the_softmax_at_the_temperature_and_nothing_else() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5] + [-math.inf] * 600)  # not a multiple of the block
    for temperature in (0.5, 1.0):
        tokens, _ = draw(
            logits.expand(40_000, -1),
            temperature,
            torch.rand(40_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        )
        share = torch.bincount(tokens, minlength=605) / 40_000
        torch.testing.assert_close(share, torch.softmax(logits / temperature, 0), atol=0.008, rtol=0)


def test_the_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 1000, generator=generator) * 3
    uniform = torch.rand(64, dtype=torch.float64, generator=generator)
    expected = torch.searchsorted(torch.softmax(logits.double() / 0.7, 1).cumsum(1), uniform[:, None], right=True).squeeze(1)
    assert torch.equal(draw(logits, 0.7, uniform)[0], expected)


def test_a_draw_says_the_log_probability_with_which_it_drew() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 1000, generator=generator) * 3
    tokens, said = draw(logits, 0.7, torch.rand(64, dtype=torch.float64, generator=generator))
    expected = torch.log_softmax(logits.double() / 0.7, 1).gather(1, tokens[:, None]).squeeze(1)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=0)


def test_answers_keep_the_log_probabilities_that_a_forward_pass_finds(llama: Backbone) -> None:
    generator = torch.Generator().manual_seed(2)
    given = generate(llama, PROMPTS, max_new_tokens=6, temperature=0.7, generator=generator, batch_size=3)
    with torch.no_grad():
        found = response_logprobs(llama, pack(PROMPTS, [one.ids for one in given]), 0.7).logprobs
    for row, one in enumerate(given):
        assert one.logprobs is not None
        torch.testing.assert_close(torch.tensor(one.logprobs), found[row, : len(one.ids)].cpu(), atol=1e-4, rtol=0)


def test_a_token_without_probability_is_never_drawn_not_even_at_the_edges() -> None:
    logits = torch.full((4, 1024), -math.inf)
    logits[:, 300] = 0.0
    logits[:, 700] = 0.0
    uniform = torch.tensor([0.0, 0.5, math.nextafter(0.5, 0.0), math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(logits, 1.0, uniform)[0].tolist() == [300, 700, 300, 700]


def test_every_row_is_announced_once_when_it_ends(simple_lm_folder: Path) -> None:
    announced: dict[int, Generated] = {}

    def announce(index: int, each: Generated) -> None:
        assert index not in announced
        announced[index] = each

    given = generate(
        load_backbone(str(simple_lm_folder)),
        PROMPTS,
        max_new_tokens=30,
        temperature=0.7,
        generator=torch.Generator().manual_seed(0),
        batch_size=4,
        on_done=announce,
    )
    assert [announced[index] for index in range(len(PROMPTS))] == given


def test_a_check_that_raises_stops_within_a_step(llama: Backbone) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(
            llama,
            PROMPTS,
            max_new_tokens=9,
            temperature=1.0,
            generator=torch.Generator().manual_seed(0),
            batch_size=8,
            check=check,
        )


def test_weights_that_overflowed_are_reported_not_sampled(simple_lm_folder: Path) -> None:
    backbone = load_backbone(str(simple_lm_folder))
    backbone.model.head.weight.data[3] = math.nan
    with pytest.raises(FloatingPointError):
        answer(backbone)


def test_what_does_not_fit_the_context_is_refused_in_words(llama: Backbone) -> None:
    with pytest.raises(BackboneError, match="context of 512 tokens"):
        answer(llama, [[0] * 500])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_row_whose_logits_are_not_finite_is_never_drawn_from(temperature: float, bad: float) -> None:
    logits = torch.zeros(2, 300)
    logits[1, 7] = bad
    with pytest.raises(FloatingPointError):
        draw(logits, temperature, torch.full((2,), 0.5, dtype=torch.float64))
