"""From log-probabilities, scores and values to advantages: pure functions, no model, no files.

Every tensor is (B, T): B answers, T the longest answer's tokens. `mask` is bool and True on the tokens the policy chose, up to
and including EOS; it comes from lengths, never from `ids != pad`. Symbols and papers: docs/math.md.

`gae`, `rloo`, `grpo` and `reinforce` are interchangeable: the same arguments, the same two results, `ESTIMATORS` names them. Each
may ignore what it does not need.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_DEVIATION = 1e-4  # of a group's returns, added to it: what differs by less is rounding


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """`log p - log q` at tokens sampled from p: unbiased for KL(p || q), may be negative. (B, T) nats.

    The estimator for a penalty in the reward: its policy gradient is the gradient of the KL (arXiv 2506.09477).
    """
    return logprobs - reference_logprobs


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """`q/p - 1 - log(q/p)`, (B, T) nats: unbiased and never negative, so a good *measurement*; its gradient is biased, both ways.

    Schulman, "Approximating KL Divergence", 2020.
    """
    log_ratio = reference_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def shaped_rewards(penalty: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """`-penalty_t` at every token, plus the answer's score at its last chosen token. (B, T).

    penalty: (B, T), beta times the k1 estimate of KL per token. scores: (B,). Ziegler et al. 2019, arXiv:1909.08593, eq. 2.
    Raises ValueError on an answer without tokens, which has no place for its score.
    """
    lengths = mask.sum(dim=1)
    if (lengths == 0).any():
        raise ValueError("every answer needs at least one token")
    rewards = torch.where(mask, -penalty, torch.zeros_like(penalty))
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    rewards[torch.arange(len(last)), last] += scores
    return rewards


def with_potentials(rewards: Tensor, potentials: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Rewards plus `gamma Phi(s_{t+1}) - Phi(s_t)`, with potentials (B, T) of the states before each token, 0 at the end. (B, T).

    Where Phi is 0 before the first token the whole answer's return stays the same at gamma 1, and so does the best policy; what a
    token changed is paid where it stands. Ng, Harada & Russell 1999, "Policy invariance under reward transformations".
    """
    then = torch.cat([potentials[:, 1:], torch.zeros_like(potentials[:, :1])], 1)  # 0 after the last token, outside the mask
    return torch.where(mask, rewards + gamma * then - potentials, 0.0)


def gae(
    rewards: Tensor,  # (B, T) KL-shaped, the score on the last token
    values: Tensor,  # (B, T) V of the state *before* each token
    mask: Tensor,  # (B, T) bool
    prompts: Tensor,  # (B,) int64, equal for answers to the same prompt
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the returns `advantage + value` they imply; both (B, T), 0 outside the mask.

    The value after the last token is 0: the episode ends there, cut or not.
    Schulman et al. 2016, arXiv:1506.02438, eq. 16.
    """
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    advantages = torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        advantages[:, t] = torch.where(mask[:, t], advantage, 0.0)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        next_advantage = torch.where(mask[:, t], advantage, next_advantage)
    return advantages, torch.where(mask, advantages + values, 0.0)


def reinforce(
    rewards: Tensor, values: Tensor, mask: Tensor, prompts: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """REINFORCE with a learned baseline: what came after a token, less V before it; and the returns. Shapes as in `gae`.

    Williams 1992; Sutton & Barto 2018, section 13.4. It is `gae` at lambda 1: no bias from V, more variance.
    """
    return gae(rewards, values, mask, prompts, gamma, 1.0)


def rloo(
    rewards: Tensor, values: Tensor, mask: Tensor, prompts: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """REINFORCE leave-one-out: the whole answer's return less the mean of the *other* answers to its prompt, on every token.

    Ahmadian et al. 2024, arXiv:2402.14740, eq. 7. No value is used; the returns, from each token on, still teach the value head.
    Raises ValueError for a prompt with a single answer, which has nothing to compare with.
    """
    whole, returns = _returns(rewards, mask, gamma)
    same, count = _groups(prompts, whole)
    baseline = (same @ whole - whole) / (count - 1)
    return torch.where(mask, (whole - baseline)[:, None], 0.0), returns


def grpo(
    rewards: Tensor, values: Tensor, mask: Tensor, prompts: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Group relative: the whole answer's return less the mean of all answers to its prompt, over their deviation, on every token.

    Shao et al. 2024, arXiv:2402.03300, section 4.1.2. Departure: KL is in the return, by k1, before anything is divided; theirs
    is a k3 term beside scores that alone were normalised, which moves the optimum (docs/decisions/0024). Answers that earned the
    same, to much less than 1e-4, have advantages near 0. Values and errors as in `rloo`.
    """
    whole, returns = _returns(rewards, mask, gamma)
    same, count = _groups(prompts, whole)
    above = whole - same @ whole / count
    deviation = (same @ above.square() / count).sqrt()
    return torch.where(mask, (above / (deviation + LEAST_DEVIATION))[:, None], 0.0), returns


def _returns(rewards: Tensor, mask: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """The whole answers' returns (B,), and those from each token on (B, T)."""
    returns, _ = gae(rewards, torch.zeros_like(rewards), mask, torch.empty(0), gamma, 1.0)
    first = mask.int().argmax(1, keepdim=True)
    return returns.gather(1, first)[:, 0], returns


def _groups(prompts: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) 1 where two answers are to the same prompt, and (B,) how many there are to it. Raises ValueError where it is one."""
    same = (prompts[:, None] == prompts[None, :]).to(like.dtype)
    count = same.sum(1)
    if (count < 2).any():
        raise ValueError("comparing answers needs at least two answers to every prompt")
    return same, count


ESTIMATORS = {"gae": gae, "rloo": rloo, "grpo": grpo, "reinforce": reinforce}


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the masked entries of the *whole* rollout, 0 elsewhere. (B, T).

    Never per micro-batch, whose mean would depend on how the work was cut. Equal entries become 0.
    """
    chosen = values[mask]
    scaled = (values - chosen.mean()) * (chosen.var(correction=0) + 1e-8).rsqrt()
    return torch.where(mask, scaled, 0.0)


def scaled(estimator: str, values: Tensor, mask: Tensor) -> Tensor:
    """Advantages as the policy's loss takes them: whitened, but GRPO's as they are, in deviations of their groups already.

    Where every group of a rollout earned the same, whitening would blow up the rounding that `LEAST_DEVIATION` holds down.
    """
    return values if estimator == "grpo" else whiten(values, mask)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the masked entries; a scalar. Raises ValueError on an empty mask, whose mean would be NaN."""
    if not mask.any():
        raise ValueError("the mask is empty")
    return values[mask].mean()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over the mask: 1 is perfect, a constant earns 0; NaN without variance."""
    variance = returns[mask].var(correction=0)
    if variance == 0:
        return float("nan")
    return float(1 - (returns - values)[mask].var(correction=0) / variance)


def adapted_beta(beta: float, kl_nats: float, target_nats: float, answers: int, horizon: int) -> float:
    """The KL weight after one rollout of `answers` answers whose mean KL was `kl_nats` per answer.

    A proportional controller on the relative error, cut at +-20 %. Ziegler et al. 2019, arXiv:1909.08593, section 2.2.
    """
    error = min(max(kl_nats / target_nats - 1, -0.2), 0.2)
    return beta * (1 + error * answers / horizon)
