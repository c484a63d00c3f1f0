import random

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.trainer.tiny import letters, llama_policy, simple_policy
from trainer.lm.backbone import Backbone
from trainer.sft.documents import Sequence
from trainer.sft.packing import Row, epoch_batches, keeps_apart, loss_sum, mean_loss, pack, passes, predicted, row_length


def texts(count: int, vocab: int = 40, longest: int = 20, seed: int = 0) -> list[Sequence]:
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        length = draw.randint(2, longest)
        made.append(Sequence([draw.randrange(vocab) for _ in range(length)], draw.randint(1, length - 1)))
    return made


def gpt2() -> Backbone:
    """Learned positions and a head tied to the embedding: not one of the models whose layers we run ourselves."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)
    return Backbone(GPT2LMHeadModel(config).eval(), letters(40, 2), "tiny", "0", torch.float32)


@torch.no_grad()
def by_hand(model: Backbone, sequences: list[Sequence]) -> float:
    total = 0.0
    for sequence in sequences:
        log_p = torch.log_softmax(model.model(torch.tensor([sequence.ids])).logits[0].double(), -1)
        total -= sum(float(log_p[at - 1, sequence.ids[at]]) for at in range(sequence.first, len(sequence.ids)))
    return total


@pytest.mark.parametrize("model", [llama_policy(), gpt2()], ids=["llama", "gpt2"])
def test_packed_texts_have_the_loss_and_gradient_they_have_alone(model: Backbone) -> None:
    sequences = texts(9)
    rows = pack(sequences, 24)
    assert max(map(len, rows)) > 1
    assert keeps_apart(model)
    parameters = [parameter for parameter in model.model.parameters() if parameter.requires_grad]
    packed, alone = loss_sum(model, rows, True), loss_sum(model, [[sequence] for sequence in sequences], False)
    gradients = [torch.autograd.grad(loss, parameters) for loss in (packed, alone)]
    with torch.no_grad():
        assert float(packed) == pytest.approx(by_hand(model, sequences), rel=1e-5)
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


def test_a_neighbour_in_the_row_changes_nothing() -> None:
    model = llama_policy()
    first, second = texts(2)
    other = Sequence([7] * len(second.ids), second.first)
    with torch.no_grad():
        difference = [float(loss_sum(model, [[first, one]], True) - loss_sum(model, [[one]], False)) for one in (second, other)]
    assert difference[0] == pytest.approx(difference[1], abs=1e-4)


def test_a_recurrent_model_would_leak_and_gets_rows_of_one_text() -> None:
    model = simple_policy(40, 2)
    assert not keeps_apart(model)
    sequences = texts(9)
    alone = mean_loss(model, [[sequence] for sequence in sequences], packed=False)
    assert alone * sum(len(s.ids) - s.first for s in sequences) == pytest.approx(by_hand(model, sequences), rel=1e-5)


def test_packing_loses_no_text_keeps_to_the_block_and_wastes_little() -> None:
    sequences = texts(300, longest=60)
    rows = pack(sequences, 64)
    assert sorted(sequence for row in rows for sequence in row) == sorted(sequences)
    assert max(map(row_length, rows)) <= 64
    assert sum(map(row_length, rows)) / (64 * len(rows)) > 0.95
    assert pack(sequences, 64) == rows


def test_an_epoch_visits_every_row_once_in_an_order_of_its_seed() -> None:
    rows: list[Row] = [[sequence] for sequence in texts(101, longest=60)]
    for by_length in (True, False):
        batches = epoch_batches(rows, 8, torch.Generator().manual_seed(1), by_length)
        assert sorted(index for batch in batches for index in batch) == list(range(101))
        assert len(batches) == 13
        assert batches == epoch_batches(rows, 8, torch.Generator().manual_seed(1), by_length)
        assert batches != epoch_batches(rows, 8, torch.Generator().manual_seed(2), by_length)
    grouped = epoch_batches(rows, 8, torch.Generator().manual_seed(1), by_length=True)
    lengths = [[row_length(rows[index]) for index in batch] for batch in grouped]
    spread = [max(batch) - min(batch) for batch in lengths]
    assert max(spread) < 15  # of 58


def test_a_pass_is_bounded_and_does_not_change_the_sum() -> None:
    model = llama_policy()
    rows = pack(texts(12), 24)
    whole = float(loss_sum(model, rows, True))
    parts = list(passes(rows, 50))
    assert len(parts) > 1
    assert [row for part in parts for row in part] == rows
    assert all(len(part) * max(map(row_length, part)) <= 50 for part in parts)
    assert sum(float(loss_sum(model, part, True)) for part in parts) == pytest.approx(whole, rel=1e-5)
    assert mean_loss(model, rows, True) == pytest.approx(whole / predicted(rows), rel=1e-5)
