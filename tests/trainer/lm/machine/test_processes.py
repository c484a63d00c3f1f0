"""A step's gradient does not depend on how many processes share its answers.

What several need of the mathematics is shown here with two real ones: losses that divide by the tokens of the whole step,
whitening over the whole rollout, and gradients that add up. Whole runs: tests/trainer/test_processes.py.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from tests.trainer.tiny import llama_policy
from trainer.lm.backbone import trainable_parameters
from trainer.lm.forward import pack, response_logprobs
from trainer.ppo.advantages import whiten
from trainer.ppo.losses import policy_loss

PROMPTS = [[5, 6, *range(7, 8 + row % 3)] for row in range(6)]
ANSWERS = [[3 + (row * 7 + at) % 30 for at in range(count)] for row, count in enumerate([1, 6, 2, 5, 3, 6])]
RAW = torch.linspace(-2, 3, 36).reshape(6, 6)  # advantages before whitening


def gradient(rows: slice, tokens: int, moved: Tensor) -> Tensor:
    """The flat gradient of the clipped objective on some of the answers of a step of so many tokens."""
    backbone = llama_policy()
    found = response_logprobs(backbone, pack(PROMPTS[rows], ANSWERS[rows]), 0.7)
    width = found.mask.shape[1]
    old = found.logprobs.detach() - 0.05  # inside the clip, so that every token counts
    loss = policy_loss(found.logprobs, old, moved[rows, :width], found.mask, clip=0.2, tokens=tokens)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, trainable_parameters(backbone))])


def share(rank: int, place: Path) -> None:
    """One of two processes: it knows its own answers, and of the others what is reduced or gathered."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
    rows = (slice(0, 2), slice(2, 6))[rank]  # as uneven as answers are
    mine = torch.tensor([len(answer) for answer in ANSWERS[rows]])
    tokens = mine.sum()
    distributed.all_reduce(tokens)
    both: list[tuple[Tensor, Tensor] | None] = [None, None]
    distributed.all_gather_object(both, (mine, RAW[rows]))
    lengths, raw = (torch.cat([part[index] for part in both if part is not None]) for index in (0, 1))
    total = gradient(rows, int(tokens), whiten(raw, torch.arange(6) < lengths[:, None]))
    distributed.all_reduce(total)
    torch.save(total, place / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_thread")
def test_two_processes_take_the_step_that_one_would(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=share, args=(rank, tmp_path)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lengths = torch.tensor([len(answer) for answer in ANSWERS])
    alone = gradient(slice(0, 6), int(lengths.sum()), whiten(RAW, torch.arange(6) < lengths[:, None]))
    assert float(alone.abs().max()) > 1e-3
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, atol=1e-6, rtol=1e-4)
