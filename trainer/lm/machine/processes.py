"""The processes of one run: which of them this one is, what falls to it, and what they tell each other.

`torchrun --nproc-per-node N -m trainer ppo RUN_DIR` starts the same command N times. Every process draws the same random numbers
and knows all labels, answers and figures; what takes long (writing, reading, gradients) is dealt out by place, never drawn by
process, and put together again, so that N processes do what one does, to rounding. Alone, nothing here does anything. What the
processes agree on is PyTorch's (torch.distributed). docs/decisions/0051.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.contract.environment import die_with, session_gives_way
from trainer.contract.folder import Lost
from trainer.lm.machine.device import take_gpu

ALONE: Final = (0, 1)

T = TypeVar("T")
P = ParamSpec("P")


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun started; alone where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    die_with(os.getppid())  # torchrun may be killed: nobody would stop them, or begin again
    if os.getsid(0) == os.getpid():  # it gives each process a session of its own
        session_gives_way()
    take_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    _heard(dist.init_process_group)()
    try:
        yield
    finally:
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def several() -> bool:
    return place() != ALONE


def first() -> bool:
    """Whether this is the process that writes the run's folder."""
    return place()[0] == 0


def dealt(pieces: Iterable[T]) -> list[T]:
    """The pieces that fall to this process: all where it is alone."""
    number, count = place()
    return list(pieces)[number::count]


def together(own: T) -> list[T]:
    """What each process has, by its number. All call it alike."""
    if not several():
        return [own]
    found: list[Any] = [None] * place()[1]
    _heard(dist.all_gather_object)(found, own)
    return found


def undealt(own: Sequence[T]) -> list[T]:
    """The pieces of all processes, in the order in which they were dealt."""
    hands = together(list(own))
    return [hands[at % len(hands)][at // len(hands)] for at in range(sum(map(len, hands)))]


def in_parts(work: Callable[[], Sequence[T]]) -> list[T]:
    """`undealt` of what the work makes of the pieces of each process. A FloatingPointError of one is raised in all."""
    if not several():
        return list(work())
    own: Sequence[T] = []
    failed: FloatingPointError | None = None
    try:
        own = work()
    except FloatingPointError as error:
        failed = error
    for other in together(str(failed) if failed else None):
        if other is not None:
            raise FloatingPointError(other) from failed
    return undealt(own)


def said_by_first(ask: Callable[[], T]) -> T:
    """What the first process is told when it asks; the others do not ask."""
    return together(ask() if first() else None)[0]  # type: ignore[return-value]


def summed(number: float) -> float:
    """Over all processes; a number alone is returned as it is."""
    return sum(together(number)) if several() else number


def add_up_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Let the gradients of all processes be their sum; none at all counts as zero."""
    if not several():
        return
    flat = torch.cat([(one.grad if one.grad is not None else torch.zeros_like(one)).flatten().float() for one in parameters])
    _heard(dist.all_reduce)(flat)
    parts = torch.split(flat, [one.numel() for one in parameters])
    for one, grad in zip(parameters, parts, strict=True):
        one.grad = grad.view_as(one).to(one.dtype)


def united(own: Tensor) -> Tensor:
    """The sum over all processes, in place: the whole of what each has filled some rows of and left 0 elsewhere."""
    if several():
        _heard(dist.all_reduce)(own)
    return own


def _heard(call: Callable[P, T]) -> Callable[P, T]:
    """The call, which raises Lost where the others cannot be heard: what torch says of that is a RuntimeError of many words."""

    def with_others(*given: P.args, **named: P.kwargs) -> T:
        try:
            return call(*given, **named)
        except RuntimeError as error:
            raise Lost from error

    return with_others
