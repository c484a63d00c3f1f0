from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from trainer.lm.backbone import Backbone, attach_lora, reference, trainable_parameters
from trainer.lm.forward import Packed, compared_logprobs, final_states, pack, response_logprobs, with_trunk
from trainer.lm.loading import load_backbone
from trainer.lm.simple_lm import train_tokenizer

PROMPTS = [[0, 40, 41, 42, 43], [0, 40, 41], [0, 40, 41, 50, 51, 52, 53, 54], [0, 40, 41, 42]]
ANSWERS = [[60, 61, 62], [63, 64, 65, 66, 67, 1], [68], [69, 70, 71, 1]]
TEMPERATURE = 0.7


def prepared(folder: Path) -> Backbone:
    """With weights to train that differ from the reference's."""
    backbone = load_backbone(str(folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable_parameters(backbone):
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return backbone


@pytest.fixture
def llama(llama_folder: Path) -> Backbone:
    return prepared(llama_folder)


@pytest.fixture(params=["llama", "simple_lm", "gpt2"])
def any_model(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    if request.param != "gpt2":
        return prepared(request.getfixturevalue(f"{request.param}_folder"))
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=259, n_embd=16, n_layer=3, n_head=2, initializer_range=0.3)).save_pretrained(tmp_path)
    train_tokenizer([], 259).save_pretrained(tmp_path)
    return prepared(tmp_path)


def one_by_one(backbone: Backbone) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities and entropies of each answer by the model's own forward, alone and unpadded."""
    logprobs, entropies = [], []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        logits = backbone.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        log_p = torch.log_softmax(logits / TEMPERATURE, -1)
        logprobs.append(log_p.gather(1, torch.tensor(answer)[:, None]).squeeze(1))
        entropies.append(-(log_p.exp() * log_p).sum(1))
    return logprobs, entropies


def gradients(backbone: Backbone, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, trainable_parameters(backbone), retain_graph=True))


def test_a_packed_pass_gives_what_the_model_gives_for_each_answer_alone(any_model: Backbone) -> None:
    packed = pack(PROMPTS, ANSWERS)
    with torch.no_grad():
        expected, entropies = one_by_one(any_model)
        for given in (packed, with_trunk(any_model, packed)):
            found = response_logprobs(any_model, given, TEMPERATURE)
            assert found.mask.sum(1).tolist() == [3, 6, 1, 4]
            for row, (logprobs, entropy) in enumerate(zip(expected, entropies, strict=True)):
                torch.testing.assert_close(found.logprobs[row, : len(logprobs)], logprobs, atol=1e-5, rtol=0)
                torch.testing.assert_close(found.entropy[row, : len(entropy)], entropy, atol=1e-5, rtol=0)
            assert not found.logprobs[~found.mask].any()


def test_gradients_are_those_of_the_models_own_forward(any_model: Backbone) -> None:
    packed = with_trunk(any_model, pack(PROMPTS, ANSWERS))
    weights = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    expected, _ = one_by_one(any_model)
    direct = torch.stack([(row * weights[index, : len(row)]).sum() for index, row in enumerate(expected)]).sum()
    found = response_logprobs(any_model, packed, TEMPERATURE)
    for ours, theirs in zip(gradients(any_model, (found.logprobs * weights).sum()), gradients(any_model, direct), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert not found.entropy.requires_grad


def test_rows_of_a_pack_are_the_rows_of_the_result(any_model: Backbone) -> None:
    packed = with_trunk(any_model, pack(PROMPTS, ANSWERS))
    with torch.no_grad():
        whole = response_logprobs(any_model, packed, TEMPERATURE)
        part = response_logprobs(any_model, packed.rows(torch.tensor([2, 0])), TEMPERATURE)
    assert part.logprobs.shape == (2, 6)
    torch.testing.assert_close(part.logprobs, whole.logprobs[[2, 0]], atol=1e-5, rtol=0)
    torch.testing.assert_close(part.states, whole.states[[2, 0]], atol=1e-5, rtol=0)


def test_what_stands_after_an_answer_matters_to_nothing(any_model: Backbone) -> None:
    packed = pack(PROMPTS, ANSWERS)
    at = torch.arange(packed.ids.shape[1])
    after = at >= (packed.prompt_lengths + packed.response_lengths)[:, None]
    scrambled = Packed(
        packed.prefix, torch.where(after, 99, packed.ids), packed.prompt_lengths, packed.response_lengths, packed.width
    )
    ours, theirs = (response_logprobs(any_model, given, TEMPERATURE) for given in (packed, scrambled))
    assert torch.equal(ours.logprobs, theirs.logprobs)
    for a, b in zip(gradients(any_model, ours.logprobs.sum()), gradients(any_model, theirs.logprobs.sum()), strict=True):
        assert torch.equal(a, b)


def test_a_trunk_serves_policy_and_reference_alike(llama: Backbone) -> None:
    packed = pack(PROMPTS, ANSWERS)
    trunk = with_trunk(llama, packed)
    with torch.no_grad(), reference(llama):
        expected = one_by_one(llama)[0]
        found = response_logprobs(llama, trunk, TEMPERATURE)
    policy = response_logprobs(llama, trunk, TEMPERATURE)
    for row, logprobs in enumerate(expected):
        torch.testing.assert_close(found.logprobs[row, : len(logprobs)], logprobs, atol=1e-5, rtol=0)
    assert (policy.logprobs - found.logprobs).abs().max() > 0.01


def test_visitors_see_transformers_hidden_states_of_every_layer(llama: Backbone) -> None:
    packed = pack([PROMPTS[1]], [ANSWERS[1]])
    seen: dict[int, Tensor] = {}
    with torch.no_grad():
        final_states(llama, with_trunk(llama, packed, seen.__setitem__), seen.__setitem__)
        expected = llama.model(input_ids=torch.tensor([PROMPTS[1] + ANSWERS[1]]), output_hidden_states=True).hidden_states
    assert sorted(seen) == list(range(5))
    for index, states in enumerate(expected):
        torch.testing.assert_close(seen[index], states[:, len(packed.prefix) :], atol=1e-5, rtol=1e-5)


def test_the_state_given_to_a_value_head_is_the_one_before_the_token(any_model: Backbone) -> None:
    with torch.no_grad():
        found = response_logprobs(any_model, pack(PROMPTS, ANSWERS), TEMPERATURE)
        hidden = any_model.model(input_ids=torch.tensor([PROMPTS[0] + ANSWERS[0]]), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(found.states[0, :3], hidden[0, 4:7], atol=1e-5, rtol=1e-5)


def test_policy_and_reference_are_compared_over_the_whole_vocabulary(any_model: Backbone) -> None:
    packed = pack(PROMPTS, ANSWERS)
    with torch.no_grad():
        own = response_logprobs(any_model, packed, TEMPERATURE)
        with reference(any_model):
            theirs = response_logprobs(any_model, packed, TEMPERATURE)
            log_q = [distribution(any_model, *row) for row in zip(PROMPTS, ANSWERS, strict=True)]
        log_p = [distribution(any_model, *row) for row in zip(PROMPTS, ANSWERS, strict=True)]
    kl = torch.cat([(p.exp() * (p - q)).sum(1) for p, q in zip(log_p, log_q, strict=True)])
    found, states = compared_logprobs(any_model, packed, TEMPERATURE)
    assert torch.equal(found.logprobs, own.logprobs[own.mask])  # the ratio of the first step is exactly 1
    torch.testing.assert_close(found.entropy, own.entropy[own.mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.ref_logprobs, theirs.logprobs[own.mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.exact_kl, kl, atol=1e-5, rtol=0)
    assert kl.mean() > 0.01
    assert torch.equal(states, own.states[own.mask])


def distribution(backbone: Backbone, prompt: list[int], answer: list[int]) -> Tensor:
    """(T, V) log-probabilities before each token of one answer, from the model's own forward."""
    logits = backbone.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits / TEMPERATURE, -1)


def test_a_shared_prefix_leaves_every_prompt_a_token_of_its_own() -> None:
    packed = pack([[1, 2, 3], [1, 2, 3]], [[9], [8]])
    assert (packed.prefix.tolist(), packed.prompt_lengths.tolist(), packed.ids.tolist()) == ([1, 2], [1, 1], [[3, 9], [3, 8]])
    with pytest.raises(ValueError, match="at least one token"):
        pack([[1]], [[]])


def test_a_bfloat16_trunk_keeps_float32_logits_close_to_the_full_ones(llama_folder: Path) -> None:
    packed = pack(PROMPTS, ANSWERS)
    with torch.no_grad():
        wide = response_logprobs(load_backbone(str(llama_folder)), packed, TEMPERATURE)
        narrow = response_logprobs(load_backbone(str(llama_folder), "bfloat16"), packed, TEMPERATURE)
    assert narrow.logprobs.dtype == torch.float32
    apart = (narrow.logprobs - wide.logprobs)[packed.mask]
    assert float(apart.abs().max()) < 0.1  # nats; .041 here, .097 at most of eight random models
    assert float(apart.square().mean().sqrt()) < 0.04  # .022 here, .040 at most


def test_a_bfloat16_head_that_is_trained_is_read_as_it_is_now(simple_lm_folder: Path) -> None:
    backbone = load_backbone(str(simple_lm_folder), "bfloat16")
    attach_lora(backbone, rank=4, layers=0, seed=0)  # of a SimpleLM all weights are trained
    weight = backbone.plain.get_output_embeddings().weight
    packed = pack(PROMPTS, ANSWERS)
    before = response_logprobs(backbone, packed, TEMPERATURE).logprobs
    (gradient,) = torch.autograd.grad(before.sum(), [weight])
    assert float(gradient.abs().max()) > 0
    with torch.no_grad():
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(weight.dtype))
    assert not torch.allclose(response_logprobs(backbone, packed, TEMPERATURE).logprobs, before, atol=0.1)
