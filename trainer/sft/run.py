"""The sft run: next-token training. It pretrains a SimpleLM on plain text, or goes on from a base on text or demonstrations.

A model with attention trains adapters like PPO's, so that what comes out descends from the same frozen base as its reward model
and can be a round's starting policy; a SimpleLM trains all its weights (docs/decisions/0007). Some documents are held out: their
loss says which weights are kept, and ends the run when it no longer falls.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainer.contract.config import SFTConfig, config_dict
from trainer.contract.folder import Cancelled, Lost, Refused, RunFolder
from trainer.contract.messages import Message
from trainer.files.checkpoint import load_state, save_state
from trainer.files.metrics import Metrics
from trainer.lm.backbone import Backbone, attach_lora, named_trainable
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_policy, save_policy
from trainer.lm.machine.device import choose_device
from trainer.lm.machine.fit import make_room
from trainer.lm.machine.processes import add_up_gradients, dealt, summed
from trainer.lm.simple_lm import SimpleLM, SimpleLMConfig, train_tokenizer
from trainer.sft.documents import Document, encode, read_documents, split
from trainer.sft.packing import Row, epoch_batches, keeps_apart, loss_sum, mean_loss, pack, passes, predicted

WARM_UP = 0.05  # of the steps
RATE_OF_ALL_WEIGHTS, RATE_OF_ADAPTERS = 3e-3, 5e-4
SAVE_EVERY_S = 120.0
SAY_EVERY_S = 0.5
POINTS = 100  # lines of metrics in a whole run
LOOKS = 10  # at the held-out loss, where the config does not say
MAX_GRAD_NORM = 1.0


def run(folder: RunFolder) -> None:
    """Train as run.json says; the result is a policy checkpoint of the best weights. Resumes from state/ exactly.

    Raises Refused when there is nothing to learn from, or nothing was learned that could be kept.
    """
    config = cast(SFTConfig, folder.config)
    folder.progress(0, 1, Message("reading_text"))
    training, held_out = split(read_documents(folder))
    model = _open(folder, config, training)
    make_room(model, folder.kind, config)
    packed, left_out = keeps_apart(model), LeftOut()
    rows, test = (_rows(model, part, config, packed, left_out) for part in (training, held_out))
    if not rows:
        raise Refused(left_out.why(Message("nothing_fits", setting="sft.block_tokens")), left_out.figures)
    learner = _Learner(model, config, rows, test, packed)
    train(folder, learner)
    figures: dict[str, Any] = left_out.figures | {
        "steps": learner.step,
        "documents": len(training),
        "heldout_documents": len(held_out),
        "sequences": sum(map(len, rows)),
        "cut_sequences": sum(sequence.cut for row in (*rows, *test) for sequence in row),
        "rows": len(rows),
        "tokens": predicted(rows),
        "train_loss": None if learner.broke else learner.train_loss,
    }
    if learner.best is not None:
        figures |= {"kept_step": learner.best.step, "heldout_loss_before": learner.loss_before, "heldout_loss": learner.best.loss}
    reason = learner.keep_best()
    save_policy(model, folder.file("checkpoint"), run={"kind": "sft", "config": config_dict(config)}, figures=figures)
    folder.progress(learner.step, learner.step, Message("sft_trained"))
    folder.finish("done", reason=left_out.after(reason), **figures)
    shutil.rmtree(folder.file("state"), ignore_errors=True)


def train(folder: RunFolder, learner: _Learner) -> None:
    """Step until the run is over or the held-out loss no longer falls. Raises Cancelled with resumable state on disk."""
    states, metrics = folder.file("state"), Metrics(folder.file("metrics.jsonl"))
    metrics.rewind(learner.step + 1 if learner.restore(states) else 0)
    said = saved = time.monotonic()
    try:
        folder.check()
        if learner.test and learner.best is None:
            metrics.write(0, {"losses/heldout_loss": learner.look()})
        while learner.step < learner.total and not learner.stalled:
            folder.check()
            rate = learner.train_step()
            if not math.isfinite(learner.train_loss):
                if learner.best is None or learner.best.step == 0:
                    raise Refused(Message("loss_not_a_number"))
                learner.broke = True
                return
            looks = bool(learner.test) and (learner.step % learner.look_every == 0 or learner.step == learner.total)
            if looks or learner.step % max(1, learner.total // POINTS) == 0 or learner.step == learner.total:
                values = {"losses/train_loss": learner.train_loss, "charts/learning_rate": rate}
                metrics.write(learner.step, values | ({"losses/heldout_loss": learner.look()} if looks else {}))
            now = time.monotonic()
            if now - said > SAY_EVERY_S:
                folder.progress(learner.step, learner.total, Message("sft_training", loss=learner.train_loss))
                said = now
            if now - saved > SAVE_EVERY_S:
                learner.save(states)
                saved = now
    except (Cancelled, Lost):
        learner.save(states)
        raise


@dataclass
class Best:
    """The weights with the lowest held-out loss so far."""

    step: int
    loss: float  # nats per token
    weights: dict[str, Tensor]


class _Learner:
    """Weights, optimiser, position and what the held-out loss has said; the order of each epoch follows from the seed alone."""

    def __init__(self, model: Backbone, config: SFTConfig, rows: list[Row], test: list[Row], packed: bool) -> None:
        self.model, self.config, self.rows, self.test, self.packed = model, config, rows, test, packed
        self.parameters = dict(named_trainable(model))
        self.peak_rate = config.learning_rate or (RATE_OF_ADAPTERS if model.adapted else RATE_OF_ALL_WEIGHTS)
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=self.peak_rate)
        self.per_epoch = math.ceil(len(rows) / config.batch_size)
        self.total = config.epochs * self.per_epoch
        self.look_every = config.look_every or max(1, self.total // LOOKS)
        self.step = 0  # optimiser steps done
        self.train_loss = math.nan  # of the last step, in nats per token
        self.loss_before = math.nan  # held-out, before the first step
        self.best: Best | None = None
        self.misses = 0  # looks in a row without a lower loss
        self.broke = False  # whether the loss has left the finite numbers
        self._batches: tuple[int, list[list[int]]] = (-1, [])

    @property
    def stalled(self) -> bool:
        return 0 < self.config.patience <= self.misses

    def train_step(self) -> float:
        """One optimiser step; returns its learning rate. `train_loss` is the mean loss before it."""
        epoch, at = divmod(self.step, self.per_epoch)
        if self._batches[0] != epoch:
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
            self._batches = epoch, epoch_batches(self.rows, self.config.batch_size, generator, by_length=not self.packed)
        batch = [self.rows[index] for index in self._batches[1][at]]
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        tokens, total = predicted(batch), 0.0
        for part in dealt(passes(batch, self.config.microbatch_tokens)):
            loss = loss_sum(self.model, part, self.packed)
            (loss / tokens).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        add_up_gradients(list(self.parameters.values()))
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), MAX_GRAD_NORM)
        self.optimiser.step()
        self.step += 1
        self.train_loss = summed(total) / tokens
        return rate

    def look(self) -> float:
        """The held-out loss now, in nats per token; remembers the weights if it is the lowest."""
        loss = mean_loss(self.model, self.test, self.packed)
        if self.best is None:
            self.loss_before = loss
        if self.best is None or loss < self.best.loss:
            weights = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            self.best, self.misses = Best(self.step, loss, weights), 0
        else:
            self.misses += 1
        return loss

    def keep_best(self) -> Message:
        """Take the best weights; returns which they are and why the run ended. Raises Refused when it is none."""
        if self.best is None:
            return Message("sft_done_unmeasured")
        if self.best.step == 0:
            raise Refused(Message("sft_never_fell", loss=self.best.loss))
        for name, parameter in self.parameters.items():
            parameter.data.copy_(self.best.weights[name])
        step, loss = self.best.step, self.best.loss
        if self.broke:
            return Message("sft_broke", broken=self.step, step=step, loss=loss)
        if self.stalled:
            return Message("sft_stalled", looks=self.misses, step=step, loss=loss)
        return Message("sft_done", step=step, loss=loss)

    def save(self, states: Path) -> None:
        """Keep everything above that training changes."""
        state = {
            "weights": {name: parameter.data for name, parameter in self.parameters.items()},
            "optimiser": self.optimiser.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }
        save_state(states, self.step, state)

    def restore(self, states: Path) -> bool:
        """Take up the newest whole state; False when there is none."""
        found = load_state(states)
        if found is None:
            return False
        self.step, state = found
        for name, parameter in self.parameters.items():
            parameter.data.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = None if state["best"] is None else Best(**state["best"])
        for name in COUNTERS:
            setattr(self, name, state["counters"][name])
        return True

    def _rate(self) -> float:
        """Linear from 0 over the warm-up, then linear to 0 at the end of the run."""
        warm = max(1.0, WARM_UP * self.total)
        return self.peak_rate * min((self.step + 1) / warm, (self.total - self.step) / max(1.0, self.total - warm), 1.0)


COUNTERS = ("train_loss", "loss_before", "misses")


def _rows(model: Backbone, documents: list[Document], config: SFTConfig, packed: bool, left_out: LeftOut) -> list[Row]:
    sequences = encode(model, documents, config.block_tokens, left_out)
    return pack(sequences, config.block_tokens) if packed else [[sequence] for sequence in sequences]


def _open(folder: RunFolder, config: SFTConfig, training: list[Document]) -> Backbone:
    """The policy to go on from, or a new SimpleLM with a tokenizer learned from the training text; its weights trainable."""
    base = folder.inputs.get("base")
    model = load_policy(folder.resolve(base), trainable=True, device=config.device) if base else _new_simple_lm(config, training)
    model.day = folder.day
    attach_lora(model, config.lora_rank, config.lora_layers, config.seed)
    return model


def _new_simple_lm(config: SFTConfig, training: list[Document]) -> Backbone:
    texts = (
        document if isinstance(document, str) else "\n".join(turn["content"] for turn in document.turns) for document in training
    )
    tokenizer = train_tokenizer(texts, config.vocab_size)
    sizes = SimpleLMConfig(
        vocab_size=len(tokenizer),
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        layers=config.layers,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = SimpleLM(sizes).eval().to(choose_device(config.device))
    return Backbone(model, tokenizer, "", "", torch.float32)
