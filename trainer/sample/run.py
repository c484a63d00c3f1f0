"""The sample run: several answers to each prompt, each saved as soon as it ends.

Every answer has a seed of its own, made from the run's seed, the prompt and its number, so a resumed run writes the
answers it would have written anyway. Where the writer is the project's base, the features that a reward run will read come free
with the writing and go into the cache. With `best_of` n answers are drawn for each, and saved is the one that the reward likes
best, with the seed by which it alone would be drawn again. A run may also only be told what a reward says of each answer.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch

from trainer.contract.config import RewardConfig, SampleConfig
from trainer.contract.folder import Refused, RunFolder, drop_broken_tail, read_jsonl
from trainer.contract.messages import Message
from trainer.contract.texts import said
from trainer.lm.backbone import Backbone, context_length, eos_ids
from trainer.lm.forward import llama_like
from trainer.lm.generate import Generated, generate
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_policy
from trainer.lm.machine.processes import dealt, place, together
from trainer.lm.recorded_states import RecordedStates
from trainer.reward.data import most_tokens, token_sequence
from trainer.reward.features import FeatureCache, choose_layers, recorded_means
from trainer.sample import best_of

GENERATIONS = "generations.jsonl"


class Job(NamedTuple):
    """One answer to write: to which prompt, its number among those to it, and the prompt's token ids."""

    prompt_id: int
    number: int
    ids: list[int]

    @property
    def key(self) -> tuple[int, int]:
        return self.prompt_id, self.number


def run(folder: RunFolder) -> None:
    """Write `per_prompt` answers to every prompt of prompts.jsonl into generations.jsonl, except those that are there.

    What the model can do nothing with is left out and named. Raises Refused where nothing is left.
    """
    config = cast(SampleConfig, folder.config)
    prompts = list(read_jsonl(folder.file("prompts.jsonl")))
    if not prompts:
        raise Refused(Message("no_prompt_to_answer"))
    folder.progress(0, len(prompts) * config.per_prompt, Message("opening_model"))
    policy = load_policy(folder.resolve(folder.inputs["policy"]), best_of.arithmetic(folder), device=config.device)
    policy.day = folder.day
    left_out = LeftOut()
    jobs = _jobs(prompts, policy, config, left_out)
    if not jobs:
        raise Refused(left_out.why(Message("no_room_for_answers", tokens=config.max_new_tokens)), left_out.figures)
    drop_broken_tail(folder.file(GENERATIONS))
    writer = _Writer(folder, policy, len(jobs))
    missing = [job for job in jobs if job.key not in writer.there]
    started = time.monotonic()
    at_once = max(1, config.batch_size // config.best_of) * place()[1]
    for start in range(0, len(missing), at_once):
        lost = writer.write(dealt(missing[start : start + at_once]))
        for job in (one for own in together(lost) for one in own):
            left_out.not_finite(job.prompt_id)
        writer.take_what_others_wrote()
    if not writer.there:
        raise Refused(Message("cannot_be_sampled", model=folder.inputs["policy"]), left_out.figures)
    seconds, told = time.monotonic() - started, left_out.said()
    figures = left_out.figures | ({"reason": told} if told else {}) | _best_of_figures(folder, config)
    folder.finish("done", generations=len(writer.there), tokens=writer.tokens, seconds=seconds, **figures)


def _jobs(prompts: Sequence[dict[str, Any]], policy: Backbone, config: SampleConfig, left_out: LeftOut) -> list[Job]:
    """Every answer that is wanted and possible; the other prompts are noted."""
    most = (context_length(policy) or 2**31) - config.max_new_tokens
    jobs = []
    for prompt in prompts:
        ids = left_out.chat_ids(policy, prompt["prompt_id"], prompt["messages"])
        if ids is not None and len(ids) > most:
            left_out.too_long(prompt["prompt_id"], most)
        elif ids is not None:
            jobs += [Job(prompt["prompt_id"], index, ids) for index in range(config.per_prompt)]
    return jobs


def _best_of_figures(folder: RunFolder, config: SampleConfig) -> dict[str, float]:
    """What choosing among n answers gained by the reward's own scores, and the most it can have cost in KL."""
    if config.best_of == 1:
        return {}
    rows = list(read_jsonl(folder.file(GENERATIONS)))
    return {
        "score": sum(row["score"] for row in rows) / len(rows),
        "mean_score": sum(row["mean_score"] for row in rows) / len(rows),
        "kl_nats_at_most": best_of.kl_nats_at_most(config.best_of),
    }


class _Writer:
    """Writes answers into generations.jsonl, each as soon as it ends or is chosen, and says how many are there."""

    def __init__(self, folder: RunFolder, policy: Backbone, total: int) -> None:
        self.folder, self.policy, self.total = folder, policy, total
        self.config = cast(SampleConfig, folder.config)
        self.cache = open_cache(folder, policy)
        self.scorer = best_of.open_if_asked(folder, policy)
        self.there = {(row["prompt_id"], row["index"]) for row in read_jsonl(folder.file(GENERATIONS))}
        self.tokens = 0  # of the answers written here
        self.fresh: list[dict[str, Any]] = []  # rows that the other processes have not heard of
        folder.progress(len(self.there), total, Message("writing_answers"))

    def write(self, batch: Sequence[Job]) -> list[Job]:
        """Write these answers; returns those for which the model's numbers are not finite, which the others do without."""
        missing = [job for job in batch if job.key not in self.there]
        if not missing:
            return []
        try:
            self._answer(missing)
        except FloatingPointError:
            if len(missing) == 1:
                self.total -= 1
                return missing
            half = len(missing) // 2
            return self.write(missing[:half]) + self.write(missing[half:])
        return []

    def take_what_others_wrote(self) -> None:
        """Put the rows of the other processes beside one's own."""
        hands = together(self.fresh)
        self.fresh = []
        for row in (row for number, hand in enumerate(hands) if number != place()[0] for row in hand):
            self._take(row)

    def _answer(self, batch: Sequence[Job]) -> None:
        n = self.config.best_of
        drawn = [job for job in batch for _ in range(n)]
        seeds = [derived_seed(self.config.seed, *job.key, draw) for job in batch for draw in range(n)]
        recording = RecordedStates(self.cache.layers) if self.cache else None
        prompt_ids = [job.ids for job in drawn]
        answers = generate(
            self.policy,
            prompt_ids,
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            batch_size=self.config.batch_size,
            check=self.folder.check,
            on_done=(lambda row, answer: self._save(drawn[row], seeds[row], answer)) if self.scorer is None else None,
            recording=recording,
        )
        kept = list(range(len(drawn)))
        if self.scorer is not None and n == 1:
            scores = best_of.scores_of(self.scorer, prompt_ids, answers, self.config.batch_size, self.folder.check)
            for row, score in enumerate(scores):
                self._save(drawn[row], seeds[row], answers[row], **({"score": score} if math.isfinite(score) else {}))
        elif self.scorer is not None:
            chosen = best_of.choose(self.scorer, prompt_ids, answers, n, self.config.batch_size, self.folder.check)
            kept = [start * n + choice.place for start, choice in enumerate(chosen)]
            for row, choice in zip(kept, chosen, strict=True):
                self._save(drawn[row], seeds[row], answers[row], score=choice.score, mean_score=choice.mean_score)
        if self.cache is not None and recording is not None:
            keep_features(self.cache, recording, self.policy, {row: prompt_ids[row] for row in kept}, answers)

    def _save(self, job: Job, seed: int, answer: Generated, **scores: float) -> None:
        text = said(self.policy.tokenizer.decode(answer.ids, skip_special_tokens=True))
        row = {"prompt_id": job.prompt_id, "index": job.number, "seed": seed, "text": text}
        self.fresh.append(row | {"token_ids": answer.ids, "finish_reason": answer.finish_reason} | scores)
        self._take(self.fresh[-1])

    def _take(self, row: dict[str, Any]) -> None:
        self.folder.append(GENERATIONS, [row])
        self.there.add((row["prompt_id"], row["index"]))
        self.tokens += len(row["token_ids"])
        self.folder.progress(len(self.there), self.total, Message("writing_answers"))


def open_cache(folder: RunFolder, policy: Backbone) -> FeatureCache | None:
    """Where a reward run on this very base will look for features; None where there is no such run, or no layer to watch."""
    kept = folder.inputs.get("cache")
    if kept is None or policy.adapted or not llama_like(policy):
        return None
    return FeatureCache(folder.home / kept, policy, choose_layers(policy))


def keep_features(
    cache: FeatureCache,
    recording: RecordedStates,
    policy: Backbone,
    prompt_ids: Mapping[int, list[int]],  # by the places of the answers that may be judged
    answers: Sequence[Generated],
) -> None:
    """Put those answers' features into the cache, except of those that a reward run would cut."""
    longest = most_tokens(policy, RewardConfig().max_tokens)
    rows = {}
    for index, ids in prompt_ids.items():
        answer = answers[index]
        if len(ids) + len(answer.ids) <= longest:
            sequence = token_sequence(ids, answer.ids, eos_ids(policy), longest)
            rows[sequence.digest] = recorded_means(recording, index, sequence, cache.layers)
    cache.write(rows)


def derived_seed(run_seed: int, prompt_id: int, index: int, draw: int = 0) -> int:
    """A 31-bit seed for one answer: the same whenever and beside whatever it is written. The first draw's is a lone answer's."""
    name = f"{run_seed}/{prompt_id}/{index}" + (f"/{draw}" if draw else "")
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
