"""The sft run: next-token training. It pretrains a SimpleLM on a text file, or goes on from a base on text or demonstrations.

Every weight trains. Text is read as documents, parted by blank lines, each ended by the end-of-answer token and packed into
blocks; of a demonstration only the assistant's tokens count. A twentieth is held out, chosen by a hash of its text.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.backbone import Backbone, chat_ids, load_backbone, save_policy
from trainer.checkpoint import load_state, save_state
from trainer.config import SFTConfig
from trainer.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.metrics import Metrics
from trainer.simple_lm import SimpleLM, SimpleLMConfig, train_tokenizer

HELD_OUT = 0.05
WARM_UP = 0.05  # of the steps
SAVE_EVERY_S = 120.0
SAY_EVERY_S = 0.5
POINTS = 100  # lines of metrics in a whole run
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Sequence:
    """Token ids and the index of the first one that is to be predicted."""

    ids: list[int]
    first: int


def run(folder: RunFolder) -> None:
    """Train as run.json says; the result is a full policy checkpoint. Resumes from state/ exactly."""
    config = cast(SFTConfig, folder.config)
    folder.progress(0, 1, "Reading the text")
    documents = read_documents(folder)
    training, held_out = split(documents)
    model = _open(folder, config, training)
    sequences, test = (encode(model, part, config.block_tokens) for part in (training, held_out))
    if not sequences:
        raise Refused("The text leaves nothing to learn from: every demonstration is longer than block_tokens, or empty.")
    model.model.requires_grad_(True)
    trainer = _Trainer(model, config, sequences)
    metrics = Metrics(folder.file("metrics.jsonl"))
    states = folder.file("state")
    trainer.restore(states)
    metrics.rewind(trainer.step)
    said = saved = time.monotonic()
    loss: float | None = None
    try:
        while trainer.step < trainer.total:
            folder.check()
            loss, rate = trainer.train_step()
            if not math.isfinite(loss):
                raise Refused("The loss is no longer a number. A lower learning rate may help.")
            now = time.monotonic()
            if now - said > SAY_EVERY_S:
                folder.progress(trainer.step, trainer.total, f"Training: loss {loss:.3f} nats per token")
                said = now
            if trainer.step % max(1, trainer.total // POINTS) == 0 or trainer.step == trainer.total:
                values = {"losses/train_loss": loss, "charts/learning_rate": rate}
                if test and trainer.step % max(1, trainer.total // 10) == 0:
                    values["losses/heldout_loss"] = heldout_loss(model, test, config.batch_size)
                metrics.write(trainer.step - 1, values)
            if now - saved > SAVE_EVERY_S:
                trainer.keep(states)
                saved = now
    except Cancelled:
        trainer.keep(states)
        raise
    figures: dict[str, float] = {"steps": trainer.total, "sequences": len(sequences)}
    if loss is not None:
        figures["train_loss"] = loss
    if test:
        figures["heldout_loss"] = heldout_loss(model, test, config.batch_size)
    model.model.requires_grad_(False)
    save_policy(model, folder.file("checkpoint"), trained_by="sft", figures=figures)
    folder.progress(trainer.total, trainer.total, "Trained")
    folder.finish("done", **figures)


def read_documents(folder: RunFolder) -> list[Any]:
    """Texts (str) of text.txt, parted by blank lines, or conversations (lists of messages) of demonstrations.jsonl."""
    text = folder.file("text.txt")
    if text.exists():
        documents: list[Any] = [part.strip() for part in re.split(r"\n\s*\n", text.read_text(encoding="utf-8"))]
    else:
        documents = [row["messages"] for row in read_jsonl(folder.file("demonstrations.jsonl"))]
    documents = [document for document in documents if document]
    if not documents:
        raise Refused("There is no text to learn from: text.txt and demonstrations.jsonl are absent or empty.")
    return documents


def split(documents: list[Any]) -> tuple[list[Any], list[Any]]:
    """Documents to train on, and to hold out (equal ones on the same side); none are held out of fewer than ten."""
    digests = [hashlib.sha256(repr(document).encode("utf-8", "surrogatepass")).hexdigest() for document in documents]
    distinct = sorted(set(digests))
    out = set(distinct[: math.ceil(len(distinct) * HELD_OUT)]) if len(distinct) >= 10 else set()
    return (
        [document for document, digest in zip(documents, digests, strict=True) if digest not in out],
        [document for document, digest in zip(documents, digests, strict=True) if digest in out],
    )


def encode(model: Backbone, documents: list[Any], block: int) -> list[Sequence]:
    """Texts as blocks of `block` tokens; conversations as one sequence for each assistant turn, cut to `block` tokens."""
    tokenizer, end = model.tokenizer, model.tokenizer.eos_token_id
    begin = [] if tokenizer.bos_token_id in (None, end) else [tokenizer.bos_token_id]
    stream: list[int] = []
    sequences = []
    for document in documents:
        if isinstance(document, str):
            stream += [*begin, *tokenizer(document, add_special_tokens=False)["input_ids"], end]
            continue
        for turn, message in enumerate(document):
            if message["role"] == "assistant" and turn > 0:
                prompt = chat_ids(tokenizer, document[:turn])
                answer = [*tokenizer(message["content"], add_special_tokens=False)["input_ids"], end]
                if len(prompt) < block:
                    sequences.append(Sequence([*prompt, *answer][:block], len(prompt)))
    # Neighbouring blocks share a token, so that every token but the first is predicted once.
    sequences += [Sequence(stream[at : at + block], 1) for at in range(0, len(stream) - 1, block - 1)]
    return sequences


def loss_sum(model: Backbone, batch: list[Sequence]) -> tuple[Tensor, int]:
    """The summed negative log-likelihood in nats of the tokens to be predicted, and how many they are."""
    width = max(len(sequence.ids) for sequence in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    wanted = torch.full((len(batch), width), -100)
    for row, sequence in enumerate(batch):
        length = len(sequence.ids)
        ids[row, :length] = torch.tensor(sequence.ids)
        mask[row, :length] = 1
        wanted[row, sequence.first : length] = ids[row, sequence.first : length]
    logits = model.plain(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    chosen = wanted[:, 1:] != -100
    total = F.cross_entropy(logits[chosen].float(), wanted[:, 1:][chosen], reduction="sum")
    return total, int(chosen.sum())


@torch.no_grad()
def heldout_loss(model: Backbone, sequences: list[Sequence], batch_size: int) -> float:
    """Mean negative log-likelihood per token, in nats."""
    total, count = 0.0, 0
    for at in range(0, len(sequences), batch_size):
        part, tokens = loss_sum(model, sequences[at : at + batch_size])
        total, count = total + float(part), count + tokens
    return total / max(count, 1)


class _Trainer:
    """Weights, optimiser and position; the order of each epoch follows from the seed alone."""

    def __init__(self, model: Backbone, config: SFTConfig, sequences: list[Sequence]) -> None:
        self.model, self.config, self.sequences = model, config, sequences
        self.parameters = dict(model.model.named_parameters())
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate)
        self.per_epoch = math.ceil(len(sequences) / config.batch_size)
        self.total = config.epochs * self.per_epoch
        self.step = 0  # optimiser steps done

    def train_step(self) -> tuple[float, float]:
        """One optimiser step; returns the mean loss in nats per token before it, and the learning rate."""
        epoch, at = divmod(self.step, self.per_epoch)
        order = torch.randperm(len(self.sequences), generator=torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch))
        chosen = order[at * self.config.batch_size : (at + 1) * self.config.batch_size].tolist()
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        total, count = loss_sum(self.model, [self.sequences[index] for index in chosen])
        (total / count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), MAX_GRAD_NORM)
        self.optimiser.step()
        self.step += 1
        return float(total.detach()) / count, rate

    def keep(self, states: Path) -> None:
        weights = {name: parameter.data for name, parameter in self.parameters.items()}
        save_state(states, self.step, {"weights": weights, "optimiser": self.optimiser.state_dict()})

    def restore(self, states: Path) -> None:
        found = load_state(states)
        if found is None:
            return
        self.step, state = found
        for name, parameter in self.parameters.items():
            parameter.data.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])

    def _rate(self) -> float:
        """Linear from 0 over the warm-up, then linear to 0 at the end of the run."""
        warm = max(1.0, WARM_UP * self.total)
        return self.config.learning_rate * min(
            (self.step + 1) / warm, (self.total - self.step) / max(1.0, self.total - warm), 1.0
        )


def _open(folder: RunFolder, config: SFTConfig, training: list[Any]) -> Backbone:
    """The base to go on from, or a new SimpleLM with a tokenizer learned from the training text."""
    if folder.inputs.get("base"):
        return load_backbone(folder.resolve(folder.inputs["base"]))
    texts = (document if isinstance(document, str) else "\n".join(turn["content"] for turn in document) for document in training)
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
        model = SimpleLM(sizes).eval()
    return Backbone(model, tokenizer, "", "", torch.float32)
