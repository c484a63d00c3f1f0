import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import simple_policy
from trainer.contract.config import RewardConfig
from trainer.contract.folder import Cancelled
from trainer.files.checkpoint import load_state, save_state
from trainer.lm import batched_reading
from trainer.lm.backbone import Backbone, attach_lora, trainable_parameters
from trainer.lm.loading import load_backbone
from trainer.reward.adapter import end_states, fit_start, train
from trainer.reward.data import Answer, Comparison, Labels, Rating, TokenSequence
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.model import Head

ANSWER = Answer((), "", None)


def answers() -> list[TokenSequence]:
    """Of very different lengths, in no order."""
    draw = torch.Generator().manual_seed(0)
    lengths = [3, 40, 1, 17, 29, 2, 11]
    return [TokenSequence([0, 40, 41], torch.randint(3, 250, (length,), generator=draw).tolist()) for length in lengths]


def head_of(backbone: Backbone) -> Tensor:
    return torch.linspace(-1, 1, backbone.plain.config.hidden_size)


def rewards_and_gradient(backbone: Backbone, sequences: list[TokenSequence]) -> tuple[Tensor, list[Tensor]]:
    trained = trainable_parameters(backbone)
    rewards = end_states(backbone, sequences) @ head_of(backbone)
    weighed = (rewards * torch.arange(1.0, len(rewards) + 1)).sum()
    return rewards.detach(), list(torch.autograd.grad(weighed, trained, materialize_grads=True))


@pytest.mark.parametrize("model", ["llama_folder", "simple_lm_folder"])
def test_how_answers_are_grouped_into_passes_changes_neither_rewards_nor_gradients(
    model: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = request.getfixturevalue(model)
    backbone = load_backbone(str(folder))
    attach_lora(backbone, rank=4, layers=1, seed=0)
    torch.manual_seed(1)
    for parameter in trainable_parameters(backbone):
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    found = {}
    for tokens in (1, 64, 10_000):  # each answer alone, some together, all together
        monkeypatch.setattr(batched_reading, "BATCH_TOKENS", tokens)
        found[tokens] = rewards_and_gradient(backbone, answers())
    whole, gradient = found.pop(10_000)
    with torch.no_grad():
        each = torch.cat([end_states(backbone, [answer]) for answer in answers()]) @ head_of(backbone)
    assert each.std() > 0.1
    torch.testing.assert_close(whole, each, rtol=1e-4, atol=1e-4)  # each in its place
    for rewards, parts in found.values():
        torch.testing.assert_close(rewards, whole, rtol=1e-4, atol=1e-4)
        for part, all_of_it in zip(parts, gradient, strict=True):
            torch.testing.assert_close(part, all_of_it, rtol=1e-3, atol=1e-3)


def test_an_answer_that_ended_is_read_at_its_end_token_and_one_that_was_cut_at_its_last(llama_folder: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    end = backbone.tokenizer.eos_token_id
    sequences = [TokenSequence([0, 40], [50, 60, 70]), TokenSequence([0, 40], [50, 60, 70], cut=True), *answers()]
    with torch.no_grad():
        found = end_states(backbone, sequences)
        states = backbone.plain(torch.tensor([[0, 40, 50, 60, 70, end]]), output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(found[0], states[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], states[-2], rtol=1e-4, atol=1e-4)


def comparisons_of(rewards: Tensor, pairs: Sequence[tuple[int, int]]) -> list[Comparison]:
    """What somebody says whom these rewards tell the truth about."""
    return [
        Comparison(left, right, "left" if rewards[left] > rewards[right] else "right", None, "somebody", str(left))
        for left, right in pairs
    ]


def random_answers(count: int) -> list[TokenSequence]:
    draw = torch.Generator().manual_seed(2)
    return [TokenSequence([0, 40], torch.randint(3, 250, (8,), generator=draw).tolist()) for _ in range(count)]


@torch.no_grad()
def states_of(backbone: Backbone, sequences: Sequence[TokenSequence]) -> Tensor:
    return torch.cat([end_states(backbone, [one]) for one in sequences])


def test_reading_says_before_each_pass_how_many_answers_are_read() -> None:
    told: list[tuple[int, int]] = []
    with torch.no_grad():
        end_states(simple_policy(vocab=40, eos=2), [TokenSequence([5], [7] * 61)] * 100, lambda *said: told.append(said))
    a_pass = batched_reading.BATCH_TOKENS // 62  # rows of like length, without the end that each is given
    assert told == [(read, 100) for read in range(0, 100, a_pass)]


def test_of_a_pass_only_the_end_states_stay_in_memory() -> None:
    backbone = simple_policy(vocab=40, eos=2)
    sequences = [TokenSequence([5, 6], [7] * 60)] * 200
    held: list[int] = []

    def tick(_done: int, _total: int) -> None:
        states = [one for one in gc.get_objects() if type(one) is Tensor and one.grad_fn is None and one.shape[-1:] == (16,)]
        held.append(sum({one.data_ptr(): one.nbytes() for one in map(Tensor.untyped_storage, states)}.values()))

    with torch.no_grad():
        end_states(backbone, sequences, tick)

    assert len(held) > 5
    assert held[-1] < held[1] * 1.5  # the states of one pass, whichever it was


@pytest.mark.parametrize("kind", ["comparisons", "ratings"])
@pytest.mark.parametrize("model", ["llama_folder", "simple_lm_folder"])
def test_the_head_begins_where_the_labels_put_it_on_the_frozen_base(
    model: str, kind: str, request: pytest.FixtureRequest
) -> None:
    """Planted labels, linear in the end states: the start orders unseen answers so, and rewards average 0 over its own."""
    folder: Path = request.getfixturevalue(model)
    backbone, sequences, seen = load_backbone(str(folder)), random_answers(240), 160
    states = states_of(backbone, sequences)
    planted = (states - states.mean(0)) @ torch.randn(states.shape[1], generator=torch.Generator().manual_seed(3))
    compared = comparisons_of(planted, [(left, left + 1) for left in range(0, seen, 2)])
    scores = 1 + torch.bucketize(planted, planted.quantile(torch.tensor([0.2, 0.4, 0.6, 0.8])))
    rated = [Rating(answer, int(scores[answer]), "somebody", str(answer)) for answer in range(seen)]
    labels = {"comparisons": Labels(comparisons=compared), "ratings": Labels(ratings=rated)}[kind]

    head = fit_start(backbone, sequences, replace(labels, answers=[ANSWER] * 240), HeadSettings(), lambda _done, _total: None)

    rewards = states @ head
    assert torch.corrcoef(torch.stack([planted[seen:], rewards[seen:]]))[0, 1] > 0.6
    assert abs(float(rewards[:seen].mean())) < 0.02 * float(rewards.std())


def train_on(folder: Path, states: Path, reading: Callable[[int, int], None], stop_at: int = -1) -> Tensor:
    """The head of adapters trained for ten steps; cancelled after step `stop_at`."""

    def tick(done: int, _total: int, _loss: float) -> None:
        if done == stop_at:
            raise Cancelled

    backbone, sequences = load_backbone(str(folder)), random_answers(80)
    compared = comparisons_of(states_of(backbone, sequences)[:, 0], [(left, left + 1) for left in range(0, 80, 2)])
    people = Head({}, torch.zeros(0, 0), -30.0, None, [], 1.0)
    config = RewardConfig(lora_rank=2, lora_layers=1, batch_size=4)
    return train(
        backbone, sequences, Labels(answers=[ANSWER] * 80, comparisons=compared), config, people, tick, states, reading
    ).head


def test_a_run_cancelled_while_it_reads_for_its_start_ends_as_if_it_had_not_been(tmp_path: Path, llama_folder: Path) -> None:
    read: list[tuple[int, int]] = []

    def cancel(done: int, total: int) -> None:
        read.append((done, total))
        raise Cancelled

    whole = train_on(llama_folder, tmp_path / "whole", lambda _done, _total: None)
    with pytest.raises(Cancelled):
        train_on(llama_folder, tmp_path / "states", cancel)
    assert read == [(0, 80)]
    assert torch.equal(train_on(llama_folder, tmp_path / "states", lambda _done, _total: None), whole)


def test_a_state_of_two_rates_which_an_earlier_version_left_is_not_taken_up(tmp_path: Path, llama_folder: Path) -> None:
    read: list[int] = []
    whole = train_on(llama_folder, tmp_path / "whole", lambda _done, _total: None)
    with pytest.raises(Cancelled):
        train_on(llama_folder, tmp_path / "states", lambda _done, _total: None, stop_at=3)
    found = load_state(tmp_path / "states")
    assert found is not None
    state = found[1]
    state["optimiser"]["param_groups"] *= 2
    save_state(tmp_path / "states", 3, state)
    resumed = train_on(llama_folder, tmp_path / "states", lambda done, _total: read.append(done))
    assert read[:1] == [0]  # from the start
    assert torch.equal(resumed, whole)
