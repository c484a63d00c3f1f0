"""The sample run: several answers to each prompt, each saved as soon as it ends.

Every answer has a seed of its own, made from the run's seed, the prompt and its number, so a resumed run writes the
answers it would have written anyway. Where the writer is the project's base, the features that a reward run will read come free
with the writing and go into the cache.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from trainer.contract.config import RewardConfig, SampleConfig
from trainer.contract.folder import Refused, RunFolder, read_jsonl, write_atomic
from trainer.contract.messages import Message, as_json
from trainer.contract.trimming import trimmed
from trainer.lm.backbone import Backbone, ConversationRefused, chat_ids, context_length, eos_ids
from trainer.lm.forward import llama_like
from trainer.lm.generate import Generated, generate
from trainer.lm.loading import load_policy
from trainer.lm.recorded_states import RecordedStates
from trainer.reward.data import token_sequence
from trainer.reward.features import FeatureCache, choose_layers, recorded_means

GENERATIONS = "generations.jsonl"
MOST_NAMED = 100  # prompts in a result


def run(folder: RunFolder) -> None:
    """Write `per_prompt` answers to every prompt of prompts.jsonl into generations.jsonl, except those that are there."""
    config = cast(SampleConfig, folder.config)
    prompts = list(read_jsonl(folder.file("prompts.jsonl")))
    if not prompts:
        raise Refused(Message("no_prompt_to_answer"))
    total = len(prompts) * config.per_prompt
    folder.progress(0, total, Message("opening_model"))
    policy = load_policy(folder.resolve(folder.inputs["policy"]), config.dtype)
    policy.day = folder.day
    cache = open_cache(folder, policy)
    _drop_broken_tail(folder)
    there = {(row["prompt_id"], row["index"]) for row in read_jsonl(folder.file(GENERATIONS))}
    context = context_length(policy) or float("inf")
    jobs, too_long = [], 0
    refused: dict[int, ConversationRefused] = {}  # by prompt: others of the run may well be answered
    for prompt in prompts:
        try:
            ids = chat_ids(policy.tokenizer, prompt["messages"], policy.day)
        except ConversationRefused as error:
            refused[prompt["prompt_id"]] = error
            continue
        if len(ids) + config.max_new_tokens > context:
            too_long += 1
            continue
        jobs += [
            (prompt["prompt_id"], index, ids) for index in range(config.per_prompt) if (prompt["prompt_id"], index) not in there
        ]
    if len(refused) == len(prompts):
        raise next(iter(refused.values()))
    if too_long + len(refused) == len(prompts):
        raise Refused(Message("no_room_for_answers", tokens=config.max_new_tokens))
    total -= (too_long + len(refused)) * config.per_prompt
    done, tokens, started = len(there), 0, time.monotonic()
    folder.progress(done, total, Message("writing_answers"))
    for start in range(0, len(jobs), config.batch_size):
        batch = jobs[start : start + config.batch_size]
        seeds = [derived_seed(config.seed, prompt_id, index) for prompt_id, index, _ in batch]

        def save(row: int, answer: Generated, batch: Any = batch, seeds: Any = seeds) -> None:
            nonlocal done, tokens
            text = said(policy.tokenizer.decode(answer.ids, skip_special_tokens=True))
            folder.append(
                GENERATIONS,
                [
                    {
                        "prompt_id": batch[row][0],
                        "index": batch[row][1],
                        "seed": seeds[row],
                        "text": text,
                        "token_ids": answer.ids,
                        "finish_reason": answer.finish_reason,
                    }
                ],
            )
            done, tokens = done + 1, tokens + len(answer.ids)
            folder.progress(done, total, Message("writing_answers"))

        recording = RecordedStates(cache.layers) if cache else None
        try:
            answers = generate(
                policy,
                [ids for _, _, ids in batch],
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                batch_size=config.batch_size,
                check=folder.check,
                on_done=save,
                recording=recording,
            )
        except FloatingPointError as error:
            raise Refused(Message("cannot_be_sampled", model=folder.inputs["policy"])) from error
        if cache is not None and recording is not None:
            keep_features(cache, recording, policy, [ids for _, _, ids in batch], answers)
    seconds = time.monotonic() - started
    folder.finish("done", generations=done, tokens=tokens, seconds=seconds, too_long_prompts=too_long, **left_out(refused))


def left_out(refused: Mapping[int, ConversationRefused]) -> dict[str, Any]:
    """Figures of the prompts that the model's template refuses: how many, which, and the first one's reason."""
    if not refused:
        return {"refused_prompts": 0}
    reason = as_json(next(iter(refused.values())).message)
    return {"refused_prompts": len(refused), "refused_prompt_ids": list(refused)[:MOST_NAMED], "refused_because": reason}


def open_cache(folder: RunFolder, policy: Backbone) -> FeatureCache | None:
    """Where a reward run on this very base will look for features; None where there is no such run, or no layer to watch."""
    place = folder.inputs.get("cache")
    if place is None or policy.adapted or not llama_like(policy):
        return None
    return FeatureCache(folder.path / place, policy, choose_layers(policy))


def keep_features(
    cache: FeatureCache,
    recording: RecordedStates,
    policy: Backbone,
    prompt_ids: Sequence[list[int]],
    answers: Sequence[Generated],
) -> None:
    """Put the answers' features into the cache, except of those that a reward run would cut."""
    longest = RewardConfig().max_tokens
    rows = {}
    for index, (ids, answer) in enumerate(zip(prompt_ids, answers, strict=True)):
        if len(ids) + len(answer.ids) <= longest:
            sequence = token_sequence(ids, answer.ids, eos_ids(policy), longest)
            rows[sequence.digest] = recorded_means(recording, index, sequence, cache.layers)
    cache.write(rows)


def said(text: str) -> str:
    """An answer as people read it: its indent stays; the one space that some tokenizers put before a first word goes."""
    kept = trimmed(text)
    return kept[1:] if re.match(r" \S", kept) else kept


def derived_seed(run_seed: int, prompt_id: int, index: int) -> int:
    """A 31-bit seed for one answer: the same whenever and beside whatever it is written."""
    digest = hashlib.sha256(f"{run_seed}/{prompt_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _drop_broken_tail(folder: RunFolder) -> None:
    """Forget a last line that a crash cut short; it would be half an answer."""
    path = folder.file(GENERATIONS)
    if not path.exists():
        return
    whole = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        whole.append(line.decode())
    write_atomic(path, "".join(whole))
