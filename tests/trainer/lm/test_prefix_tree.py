from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, MistralConfig, Qwen2Config

from trainer.lm.backbone import Backbone, attach_lora, trainable_parameters
from trainer.lm.batched_reading import read
from trainer.lm.forward import llama_like
from trainer.lm.loading import load_backbone
from trainer.lm.prefix_tree import LEAST_SHARED, PrefixTree, tree_batches, tree_states

OPENING = [7, *range(20, 40)]  # what every prompt begins with


def texts() -> list[list[int]]:
    """Two prompts with three and two answers, one text twice, one that another goes on from, and one alone."""
    one, other = [*OPENING, *range(50, 65)], [*OPENING, *range(80, 90)]
    return [
        [*one, 101, 102, 103],
        [*other, 111],
        [*one, 101, 102, 104, 105],  # shares two tokens more, too few for a branch of their own
        [*other, *range(120, 140)],
        [*one, 101, 102, 103],
        one,
        [201, 202],
    ]


@pytest.fixture
def backbone(llama_folder: Path) -> Backbone:
    return load_backbone(str(llama_folder))


@pytest.mark.parametrize("family", [MistralConfig, Qwen2Config])
def test_other_families_texts_have_the_states_that_they_have_alone(family: type[Any], llama_folder: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        family(
            vocab_size=259,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=1,
            sliding_window=None,
        )
    )
    other = replace(load_backbone(str(llama_folder)), model=model.eval())
    assert llama_like(other)
    with torch.no_grad():
        at = read(other, texts())
        for row, text in enumerate(texts()):
            torch.testing.assert_close(at(row, slice(None)), alone(other, text), atol=1e-5, rtol=1e-4)


@pytest.fixture
def adapted(backbone: Backbone) -> Backbone:
    attach_lora(backbone, rank=4, layers=2, seed=0)
    torch.manual_seed(1)
    for parameter in trainable_parameters(backbone):
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return backbone


def alone(backbone: Backbone, text: list[int]) -> Tensor:
    found: Tensor = backbone.plain.model(input_ids=torch.tensor([text])).last_hidden_state[0]
    return found


def test_a_shared_beginning_stands_once_and_every_text_can_be_read_off_the_tree() -> None:
    tree = PrefixTree(texts())

    for text, path in zip(texts(), tree.paths, strict=True):
        assert tree.ids[path].tolist() == text
        assert tree.positions[path].tolist() == list(range(len(text)))
    opening, one, other = len(OPENING), 15, 10
    assert len(tree.ids) == opening + one + 3 + 4 + other + 1 + 20 + 2
    assert torch.equal(tree.paths[0], tree.paths[4])  # the same text twice
    assert LEAST_SHARED > 2


def test_every_text_has_the_states_that_it_has_alone(adapted: Backbone) -> None:
    with torch.no_grad():
        at = read(adapted, texts())
        for row, text in enumerate(texts()):
            expected = alone(adapted, text)
            assert expected.std() > 0.1
            torch.testing.assert_close(at(row, slice(None)), expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(at(row, slice(-1, None)), expected[-1:], atol=1e-5, rtol=1e-4)


def test_every_layers_input_is_shown_as_transformers_counts_them(backbone: Backbone) -> None:
    text = texts()[3]
    expected = backbone.plain(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states
    seen: dict[int, Tensor] = {}

    with torch.no_grad():
        read(backbone, texts(), lambda layer, at: seen.update({layer: at(3, slice(None))}))

    assert list(seen) == list(range(len(expected)))
    for layer, states in seen.items():
        torch.testing.assert_close(states, expected[layer][0], atol=1e-5, rtol=1e-4)


def test_a_model_whose_layers_run_as_one_shows_those_that_are_asked_for(simple_lm_folder: Path) -> None:
    simple, text, seen = load_backbone(str(simple_lm_folder)), [5, 6, 7, 8], []
    expected = simple.plain(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states

    with torch.no_grad():
        at = read(simple, [text, text[:2]], lambda layer, _at: seen.append(layer), 0)

    torch.testing.assert_close(at(0, slice(None)), expected[0][0], atol=1e-5, rtol=1e-4)
    assert seen == [0]
    assert len(expected) > 1


@pytest.mark.parametrize("top", [0, 2, 4])
def test_reading_stops_at_the_layer_that_is_asked_for(top: int, backbone: Backbone) -> None:
    text, seen, ran = texts()[3], [], []
    expected = backbone.plain(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states
    assert len(expected) == 5
    for index, layer in enumerate(backbone.plain.model.layers):
        layer.register_forward_hook(lambda *_said, index=index: ran.append(index))

    with torch.no_grad():
        at = read(backbone, texts(), lambda layer, _at: seen.append(layer), top)

    torch.testing.assert_close(at(3, slice(None)), expected[top][0], atol=1e-5, rtol=1e-4)
    assert seen == list(range(top + 1))
    assert ran == list(range(top))


def test_the_gradient_is_that_of_texts_read_alone_and_nothing_is_kept_of_frozen_layers(adapted: Backbone) -> None:
    trained = trainable_parameters(adapted)
    weights = torch.arange(1.0, len(texts()) + 1)
    seen: dict[int, bool] = {}

    tree = PrefixTree(texts())
    states = tree_states(adapted, tree, lambda layer, states: seen.update({layer: states.requires_grad}))
    ends = torch.stack([states[path[-1]].sum() for path in tree.paths])
    found = torch.autograd.grad((ends * weights).sum(), trained)

    each = torch.stack([alone(adapted, text)[-1].sum() for text in texts()])
    expected = torch.autograd.grad((each * weights).sum(), trained)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    assert seen == {0: False, 1: False, 2: False, 3: True, 4: True}  # layers 2 and 3 are adapted: their outputs carry it


def test_the_model_attends_as_before_afterwards_also_after_an_exception(backbone: Backbone) -> None:
    before = backbone.plain.config._attn_implementation

    def fail(_layer: int, _states: Tensor) -> None:
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        tree_states(backbone, PrefixTree(texts()), fail)

    assert backbone.plain.config._attn_implementation == before == "eager"


def test_batches_hold_every_text_once_keep_prompts_together_and_to_the_limit() -> None:
    found = list(tree_batches(texts(), 70))

    assert sorted(index for batch in found for index in batch) == list(range(len(texts())))
    assert {0, 2, 4, 5} <= set(found[0])
    assert all(len(PrefixTree([texts()[index] for index in batch]).ids) <= 70 + LEAST_SHARED * len(batch) for batch in found)
    assert list(tree_batches(texts(), 1)) == [[index] for batch in found for index in batch]  # one text at least

    prompt = list(range(40))
    answers = [[*prompt, 100 + number] for number in range(30)]
    assert list(map(len, tree_batches(answers, 50))) == [10, 10, 10]  # 40 of the prompt and one of each answer, every time
    assert [len(PrefixTree([answers[index] for index in batch]).ids) for batch in tree_batches(answers, 50)] == [50, 50, 50]


def test_texts_that_go_on_from_each_other_by_a_token_do_not_nest_one_call_a_token() -> None:
    nested = [list(range(2, 3 + count)) for count in range(1500)]
    tree = PrefixTree(nested)
    assert all(tree.ids[path].tolist() == text for path, text in zip(tree.paths, nested, strict=True))
    assert len(tree.ids) <= LEAST_SHARED * len(nested)  # what is too short to share is read twice


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        PrefixTree([[1], []])
