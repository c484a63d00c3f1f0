"""The losses by hand, by finite differences, and however a step is cut."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.ppo.losses import clipped_share, policy_loss, sampler_weights, value_loss

ONE = torch.ones(1, 1, dtype=torch.bool)


def cell(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [  # d loss / d logprob is -advantage * ratio where the unclipped side counts, 0 where the clipped one does
        (1.5, 2.0, -2.4, 0.0),  # good token, already far more likely: no further credit
        (1.5, -2.0, 3.0, 3.0),  # bad token made more likely: full blame
        (0.5, 2.0, -1.0, -1.0),  # good token made less likely: full pull back
        (0.5, -2.0, 1.6, 0.0),  # bad token, already far less likely: no further credit
        (1.1, 2.0, -2.2, -2.2),  # inside the clip, either sign
        (0.9, -2.0, 1.8, 1.8),
    ],
)
def test_policy_loss_for_every_sign_and_clip(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    old = cell(-1.3)
    logprobs = (old + math.log(ratio)).requires_grad_()
    value = policy_loss(logprobs, old, cell(advantage), ONE, clip=0.2, tokens=1)
    torch.autograd.backward(value)
    assert value.item() == pytest.approx(loss, abs=1e-12)
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [  # the value at rollout is 1.0 and may move by .2
        (1.5, 2.0, 0.32, 0.0),  # moved past the clip towards the target: counted at 1.2, no gradient
        (0.5, 2.0, 1.125, -1.5),  # moved away from the target: the plain error is the larger
        (1.1, 2.0, 0.405, -0.9),  # inside the clip
        (0.5, 0.0, 0.32, 0.0),  # past the clip, target below
        (1.5, 0.0, 1.125, 1.5),
    ],
)
def test_value_loss_for_every_side_and_clip(value: float, target: float, loss: float, gradient: float) -> None:
    predicted = cell(value).requires_grad_()
    result = value_loss(predicted, cell(1.0), cell(target), ONE, clip=0.2, tokens=1)
    torch.autograd.backward(result)
    assert result.item() == pytest.approx(loss, abs=1e-12)
    assert predicted.grad is not None
    assert predicted.grad.item() == pytest.approx(gradient, abs=1e-12)


def random_step(seed: int = 0) -> dict[str, Tensor]:
    """A step of 8 answers of 1 to 6 tokens, away from the kinks of the clips, in float64."""
    generator = torch.Generator().manual_seed(seed)
    old, values, returns, advantages = torch.randn(4, 8, 6, generator=generator, dtype=torch.float64)
    moves = torch.tensor([-0.5, -0.1, 0.1, 0.5], dtype=torch.float64)
    policy_moves, value_moves = moves[torch.randint(4, (2, 8, 6), generator=generator)]
    lengths = torch.tensor([1, 6, 2, 5, 3, 4, 6, 1])
    return {
        "logprobs": old + policy_moves,
        "old_logprobs": old,
        "advantages": advantages,
        "values": values + value_moves,
        "old_values": values,
        "returns": returns,
        "mask": torch.arange(6) < lengths[:, None],
    }


def both_losses(step: dict[str, Tensor], logprobs: Tensor, values: Tensor, tokens: int) -> Tensor:
    policy = policy_loss(logprobs, step["old_logprobs"], step["advantages"], step["mask"], 0.2, tokens)
    return policy + 0.1 * value_loss(values, step["old_values"], step["returns"], step["mask"], 0.2, tokens)


def test_gradients_equal_finite_differences() -> None:
    step = random_step()
    inputs = (step["logprobs"].requires_grad_(), step["values"].requires_grad_())
    assert torch.autograd.gradcheck(lambda logprobs, values: both_losses(step, logprobs, values, 28), inputs)


@pytest.mark.parametrize("cuts", [[8], [4, 4], [1] * 8, [3, 5], [7, 1]])
def test_a_step_cut_into_pieces_or_processes_has_the_same_gradient(cuts: list[int]) -> None:
    step = random_step()
    weight = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tokens = int(step["mask"].sum())

    def gradient(pieces: list[int]) -> Tensor:
        scale = torch.ones(6, dtype=torch.float64, requires_grad=True)
        start = 0
        for size in pieces:
            piece = {name: rows[start : start + size] for name, rows in step.items()}
            torch.autograd.backward(both_losses(piece, piece["logprobs"] * scale, piece["values"] * (scale * weight), tokens))
            start += size
        assert scale.grad is not None
        return scale.grad

    torch.testing.assert_close(gradient(cuts), gradient([8]), rtol=1e-12, atol=1e-14)


def test_what_stands_after_eos_changes_neither_loss_nor_gradient() -> None:
    step = random_step()
    results = []
    for filling in (0.0, 1e3, float("inf"), float("nan")):
        logprobs = torch.where(step["mask"], step["logprobs"], filling).requires_grad_()
        values = torch.where(step["mask"], step["values"], filling).requires_grad_()
        loss = both_losses(step, logprobs, values, 28)
        torch.autograd.backward(loss)
        results.append((loss.detach(), logprobs.grad, values.grad))
    for result in results[1:]:
        for before, after in zip(results[0], result, strict=True):
            assert before is not None
            assert after is not None
            assert torch.equal(before, after)


def test_a_step_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        policy_loss(cell(0), cell(0), cell(0), ~ONE, 0.2, tokens=0)
    with pytest.raises(ValueError, match="at least one token"):
        value_loss(cell(0), cell(0), cell(0), ~ONE, 0.2, tokens=0)


def test_clipped_share_counts_both_sides() -> None:
    assert clipped_share(torch.tensor([-0.3, -0.1, 0.0, 0.25]), 0.2) == 0.5


def test_truncated_weights_by_hand() -> None:
    """Twice and four times as likely in training, cap 3: 2 and 3; half as likely: .5; outside the mask nothing, NaN or not."""
    off = torch.tensor([[2.0, 4.0, 0.5, 1.0]], dtype=torch.float64).log()
    mask = torch.tensor([[True, True, True, False]])
    sampler = torch.where(mask, -1.0, math.nan)
    weights = sampler_weights(off - 1, sampler, mask, cap=3.0)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([[2.0, 3.0, 0.5, 0.0]], dtype=torch.float64))
    loss = policy_loss(off - 1, off - 1, torch.tensor([[1.0, -2.0, 4.0, math.nan]]).double(), mask, 0.2, 3, weights)
    assert loss.item() == pytest.approx(-(2.0 - 6.0 + 2.0) / 3)


def test_a_sampler_that_is_off_by_rounding_alone_changes_nothing() -> None:
    old, mask = torch.full((2, 3), -1.0), torch.ones(2, 3, dtype=torch.bool)
    assert sampler_weights(old, old + 0.049, mask, cap=2.0) is None
    assert sampler_weights(old, old + 0.051, mask, cap=2.0) is not None
    assert sampler_weights(old, old + 1.0, mask, cap=0) is None
    assert sampler_weights(old, None, mask, cap=2.0) is None


def test_weights_make_the_expected_gradient_of_a_tilted_sampler_the_true_one() -> None:
    """Six arms, enumerated: a sum over arms, each as often as the sampler draws it, is the gradient in expectation."""
    logits = torch.tensor([0.3, -0.2, 0.5, 0.0, -0.6, 0.1], dtype=torch.float64, requires_grad=True)
    worth = torch.tensor([1.0, -0.5, 0.2, 2.0, 0.7, -1.0], dtype=torch.float64)
    policy = logits.log_softmax(0)
    (true,) = torch.autograd.grad(-(policy.exp() * worth).sum(), logits, retain_graph=True)
    sampler = (logits.detach() + torch.tensor([0.4, -0.3, 0.0, -0.5, 0.2, 0.1])).log_softmax(0)
    old, mask = policy.detach()[:, None], torch.ones(6, 1, dtype=torch.bool)
    advantages = (worth - (policy.detach().exp() * worth).sum())[:, None]

    def expected(weights: Tensor | None) -> Tensor:
        arms = torch.stack(
            [
                policy_loss(policy[arm, None, None], old[arm, None], advantages[arm, None], ONE, 0.2, 1, part)
                for arm, part in enumerate([None] * 6 if weights is None else weights[:, None])
            ]
        )
        return torch.autograd.grad((sampler.exp() * arms).sum(), logits, retain_graph=True)[0]

    torch.testing.assert_close(expected(sampler_weights(old, sampler[:, None], mask, cap=10.0)), true, atol=1e-9, rtol=0)
    assert float((expected(None) - true).norm() / true.norm()) > 0.1
