from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.lm.simple_lm import SimpleLM, SimpleLMConfig, train_tokenizer


@pytest.fixture
def model() -> SimpleLM:
    torch.manual_seed(0)
    made: SimpleLM = SimpleLM(SimpleLMConfig(vocab_size=50, embedding_size=8, hidden_size=12, layers=2)).eval()
    return made


IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def test_the_smallest_model_is_as_described() -> None:
    config = SimpleLMConfig()
    assert (config.vocab_size, config.embedding_size, config.hidden_size, config.num_hidden_layers) == (1000, 64, 128, 1)
    parameters = sum(parameter.numel() for parameter in SimpleLM(config).parameters())
    assert parameters == 1000 * 64 + 4 * 128 * (64 + 128 + 2) + 128 * 1000 + 1000


def test_transformers_auto_classes_open_a_saved_model(model: SimpleLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    train_tokenizer([], 259).save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is SimpleLM
    assert again.config.layers == 2
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    assert AutoTokenizer.from_pretrained(tmp_path).decode([1]) == "<|eos|>"


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_on_either_side_changes_nothing(model: SimpleLM, side: str) -> None:
    left, right = {"left": (3, 0), "right": (0, 2), "both": (1, 2)}[side]
    ids = torch.full((2, left + 4 + right), 3)
    mask = torch.zeros_like(ids)
    ids[:, left : left + 4] = IDS
    mask[:, left : left + 4] = 1
    mask[1, left + 3] = 0  # the second row is one shorter
    plain = model(IDS, output_hidden_states=True, use_cache=True)
    shorter = model(IDS[1:, :3], use_cache=True)
    padded = model(ids, attention_mask=mask, output_hidden_states=True, use_cache=True)
    torch.testing.assert_close(padded.logits[0, left : left + 4], plain.logits[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(padded.logits[1, left : left + 3], shorter.logits[0], atol=1e-6, rtol=0)
    for ours, theirs in zip(padded.hidden_states, plain.hidden_states, strict=True):
        torch.testing.assert_close(ours[0, left : left + 4], theirs[0], atol=1e-6, rtol=0)
    for (h, c), (h2, c2) in zip(padded.past_key_values.layers, shorter.past_key_values.layers, strict=True):
        torch.testing.assert_close((h[:, 1], c[:, 1]), (h2[:, 0], c2[:, 0]), atol=1e-6, rtol=0)


def test_going_on_from_the_state_equals_reading_everything_again(model: SimpleLM) -> None:
    whole = model(IDS).logits
    first = model(IDS[:, :2], use_cache=True)
    rest = model(IDS[:, 2:], past_key_values=first.past_key_values, attention_mask=torch.ones_like(IDS)).logits
    torch.testing.assert_close(rest, whole[:, 2:], atol=1e-6, rtol=0)
    first.past_key_values.reorder_cache(torch.tensor([1]))
    torch.testing.assert_close(model(IDS[1:, 2:], past_key_values=first.past_key_values).logits, whole[1:, 2:], atol=1e-6, rtol=0)


def test_hidden_states_are_the_embedding_and_each_layer(model: SimpleLM) -> None:
    hidden = model(IDS, output_hidden_states=True).hidden_states
    assert [tuple(layer.shape) for layer in hidden] == [(2, 4, 8), (2, 4, 12), (2, 4, 12)]
    assert torch.equal(model.head(hidden[-1]), model(IDS).logits)
    torch.testing.assert_close(model(IDS, logits_to_keep=1).logits, model(IDS).logits[:, -1:], atol=1e-6, rtol=0)


def test_the_loss_is_that_of_the_next_token(model: SimpleLM) -> None:
    labels = IDS.clone()
    labels[0] = -100
    expected = -torch.log_softmax(model(IDS).logits[1, :3], -1).gather(1, IDS[1, 1:, None]).mean()
    torch.testing.assert_close(model(IDS, labels=labels).loss, expected)


def test_bytes_carry_any_text_and_merges_shorten_it() -> None:
    text = "Żółć 🐈 naïve \n\t x"
    plain = train_tokenizer([], 259)
    assert len(plain) == 259
    assert len(plain(text)["input_ids"]) == len(text.encode())
    assert plain.decode(plain(text)["input_ids"]) == text
    learned = train_tokenizer(["the cat and the hat"] * 9, 280)
    assert 259 < len(learned) <= 280
    assert len(learned("the cat")["input_ids"]) < 7
    assert learned.decode(learned(text)["input_ids"]) == text
