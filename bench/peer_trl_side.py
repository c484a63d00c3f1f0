"""TRL's side of bench/peer_trl.py and bench/peer_trl_preference.py, run by the Python of TRL's own virtual environment:
`peer_trl_side.py JOB.json`.

The job says `ppo`, `reward`, `dpo` or `grpo` and everything that is measured; one JSON line is printed last. Imports nothing of
ours, so that what is measured is TRL's alone. Adapters go where ours go: every linear layer of the top `lora_layers` layers (0 =
all).
"""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`

import json
import resource
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

Job = dict[str, Any]
Clock = list[tuple[str, float]]


def main() -> int:
    job: Job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    figures = {"ppo": ppo, "reward": reward, "dpo": dpo, "grpo": grpo}[job["kind"]](job)
    print(json.dumps({"peak_rss_mib": peak_rss_mib()} | figures))
    return 0


def peak_rss_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def ppo(job: Job) -> dict[str, Any]:
    """Updates of `experimental.ppo`: seconds of each update's stages, and the mean score of the rollout it began with."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer  # newer releases have none

    dtype = getattr(torch, job["dtype"])
    tokenizer = _tokenizer(job)
    policy = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    clock = _watched(job["prompt_tokens"] + job["answer_tokens"])
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=job["output"],
            total_episodes=job["episodes"] * job["updates"],
            # One micro-batch holds the whole batch, and is cut into minibatches: with gradient accumulation instead, accelerate
            # would hold the optimiser's steps back until the end of the batch, and there would be one step per epoch.
            per_device_train_batch_size=job["episodes"],
            gradient_accumulation_steps=1,
            num_mini_batches=job["minibatches"],
            num_ppo_epochs=job["epochs"],
            local_rollout_forward_batch_size=job["episodes"],
            response_length=job["answer_tokens"],
            stop_token=None,
            temperature=job["temperature"],
            learning_rate=job["learning_rate"],
            kl_coef=job["beta"],
            gradient_checkpointing=False,  # TRL's default saves memory for a fifth of the time
            num_sample_generations=0,
            seed=job["seed"],
            **_common(),
        ),
        processing_class=tokenizer,
        model=policy,
        ref_model=None,  # the policy without its adapters
        reward_model=Planted(job["planted"], job["prompt_tokens"]) if job["planted"] else _scalar_model(job, dtype),
        value_model=_value_model(job, dtype),
        train_dataset=Dataset.from_dict({"input_ids": job["prompts"]}),
        peft_config=_lora(policy, job, "CAUSAL_LM"),
        callbacks=[_Stamp(clock)],
    )
    trainer.train()
    logged = [row for row in trainer.state.log_history if "objective/scores" in row]
    return {
        "updates": stages(clock),
        "scores": [round(row["objective/scores"], 4) for row in logged],
        "kl": [round(row["objective/kl"], 2) for row in logged],  # from the base, nats per answer, as sampled
        "optimiser_steps": int(next(iter(trainer.optimizer.state.values()))["step"]),
        "threads": torch.get_num_threads(),
    }


def reward(job: Job) -> dict[str, Any]:
    """RewardTrainer on pairs of token ids; the margins (chosen less rejected) of the pairs that it did not train on."""
    model = _scalar_model(job, getattr(torch, job["dtype"]))
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir=job["output"],
            num_train_epochs=job["epochs"],
            per_device_train_batch_size=job["batch_size"],
            learning_rate=job["learning_rate"],
            max_length=None,  # cut already, as ours are; TRL would leave longer pairs out
            gradient_checkpointing=False,
            seed=job["seed"],
            **_common(),
        ),
        train_dataset=Dataset.from_list(job["train"]),
        processing_class=_tokenizer(job),
        peft_config=_lora(model, job, "SEQ_CLS", ["score"]),
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    return {
        "train_s": round(seconds, 2),
        "pairs_per_s": round(len(job["train"]) / seconds, 2),
        "margins": margins(trainer, job["test"], job["batch_size"]),
    }


@torch.no_grad()
def margins(trainer: Any, pairs: list[dict[str, list[int]]], batch_size: int) -> list[float]:
    """Reward of the chosen answer less that of the rejected one."""
    trainer.model.eval()
    found: list[float] = []
    for start in range(0, len(pairs), batch_size):
        logits = trainer.model(**trainer.data_collator(pairs[start : start + batch_size])).logits.squeeze(-1)
        chosen, rejected = logits.float().chunk(2)
        found += (chosen - rejected).tolist()
    return found


def dpo(job: Job) -> dict[str, Any]:
    """DPOTrainer on pairs of token ids; the implicit margins of the pairs that it did not train on."""
    policy = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    trainer = GivenIds(
        model=policy,
        args=DPOConfig(
            output_dir=job["output"],
            num_train_epochs=job["epochs"],
            per_device_train_batch_size=job["microbatch"],
            gradient_accumulation_steps=job["batch_size"] // job["microbatch"],
            learning_rate=job["learning_rate"],
            beta=job["beta"],
            max_length=None,  # cut already, as ours are
            precompute_ref_log_probs=job["precompute"],
            gradient_checkpointing=False,
            seed=job["seed"],
            **_common(),
        ),
        train_dataset=Dataset.from_list(job["train"]),
        processing_class=_tokenizer(job),
        peft_config=_lora(policy, job, "CAUSAL_LM"),
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    return {
        "train_s": round(seconds, 2),
        "pairs_per_s": round(job["epochs"] * len(job["train"]) / seconds, 2),
        "steps": trainer.state.global_step,
        "peak_rss_mib": peak_rss_mib(),
        "margins": implicit_margins(trainer, job["test"], job["microbatch"], job["beta"]),
    }


class GivenIds(DPOTrainer):  # type: ignore[misc]
    """Takes token ids as they come: texts would be tokenised by the template that ends every turn, and not as ours are."""

    def _prepare_dataset(self, dataset: Dataset, *_asked: Any) -> Dataset:
        return dataset


@torch.no_grad()
def implicit_margins(trainer: Any, pairs: list[dict[str, list[int]]], size: int, beta: float) -> list[float]:
    """beta times the log-ratio of the chosen answer less that of the rejected one."""
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    found: list[float] = []
    for start in range(0, len(pairs), size):
        batch = trainer.data_collator(pairs[start : start + size])
        under = _answer_logprobs(model, batch)
        with model.disable_adapter():
            chosen, rejected = (under - _answer_logprobs(model, batch)).chunk(2)
        found += (beta * (chosen - rejected)).tolist()
    return found


def _answer_logprobs(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """(2n,) nats of the answers: the chosen ones, then the rejected ones."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
    each = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    found: Tensor = (each * batch["completion_mask"][:, 1:]).sum(1)
    return found


def grpo(job: Job) -> dict[str, Any]:
    """GRPOTrainer for the share of even token ids: seconds of each update, and what answers to other prompts earn before and
    after. An update is one rollout and all its optimiser steps.
    """
    policy = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    tokenizer, steps = _tokenizer(job), job["epochs"] * job["minibatches"]
    clock: Clock = []

    def planted(completion_ids: list[list[int]], **_asked: Any) -> list[float]:
        if {len(ids) for ids in completion_ids} != {job["answer_tokens"]}:
            raise RuntimeError(f"answers are not all {job['answer_tokens']} tokens long")
        return [job["planted"] * even_share(ids) for ids in completion_ids]

    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=planted,
        args=GRPOConfig(
            output_dir=job["output"],
            max_steps=job["updates"] * steps,
            per_device_train_batch_size=job["episodes"] // job["minibatches"],
            gradient_accumulation_steps=1,
            steps_per_generation=job["minibatches"],
            num_iterations=job["epochs"],
            num_generations=job["answers_per_prompt"],
            max_completion_length=job["answer_tokens"],
            generation_kwargs={"min_new_tokens": job["answer_tokens"]},
            temperature=job["temperature"],
            beta=job["beta"],
            learning_rate=job["learning_rate"],
            gradient_checkpointing=False,
            seed=job["seed"],
            **_common(),
        ),
        train_dataset=Dataset.from_dict({"prompt": [tokenizer.decode(ids) for ids in job["prompts"]]}),
        processing_class=tokenizer,
        peft_config=_lora(policy, job, "CAUSAL_LM"),
        callbacks=[_Stamp(clock)],
    )
    clock.append(("began", time.monotonic()))
    trainer.train()
    peak = peak_rss_mib()
    ends = [at for _, at in clock][::steps]
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    return {
        "update_s": [round(end - start, 2) for start, end in pairwise(ends)],
        "optimiser_steps": trainer.state.global_step,
        "kl": round(sum(kl[-steps:]) / steps * job["answer_tokens"], 2),  # of the last update, nats per answer, as TRL counts it
        "peak_rss_mib": peak,
        "held_out_shares": [held_out_share(trainer, tokenizer, job, trained) for trained in (False, True)],
    }


@torch.no_grad()
def held_out_share(trainer: Any, tokenizer: Any, job: Job, trained: bool) -> float:
    """The rule's mean share over sampled answers to prompts that are not trained on, without the adapters or with them."""
    torch.manual_seed(job["seed"])
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    asked = torch.tensor(job["held_out"])  # (P, T), all of one length
    with nullcontext() if trained else model.disable_adapter():
        answers = model.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            do_sample=True,
            temperature=job["temperature"],
            top_k=0,
            top_p=1.0,
            min_new_tokens=job["answer_tokens"],
            max_new_tokens=job["answer_tokens"],
            num_return_sequences=job["held_out_answers"],
            pad_token_id=tokenizer.pad_token_id,
        )[:, asked.shape[1] :]
    return round(sum(even_share(ids) for ids in answers.tolist()) / len(answers), 4)


def even_share(ids: list[int]) -> float:
    return sum(token % 2 == 0 for token in ids) / len(ids)


class Planted(nn.Module):
    """A reward that is a rule, in the shape in which TRL asks a reward model: `scale` times the share of even token ids."""

    base_model_prefix = "backbone"

    def __init__(self, scale: float, prompt_tokens: int) -> None:
        super().__init__()
        self.scale, self.prompt_tokens = scale, prompt_tokens
        self.score = nn.Identity()

    def backbone(self, input_ids: Tensor, **_asked: Any) -> SimpleNamespace:
        """(B, T, 1) "hidden states", which say the answer's reward at every position."""
        share = (input_ids[:, self.prompt_tokens :] % 2 == 0).float().mean(1)
        return SimpleNamespace(hidden_states=[(self.scale * share)[:, None, None].expand(-1, input_ids.shape[1], 1)])


class _Stamp(TrainerCallback):  # type: ignore[misc]
    """Notes when an update ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self.clock.append(("trained", time.monotonic()))


def _watched(tokens: int) -> Clock:
    """Notes when TRL starts to write answers, has them, and has the last thing it needs before its epochs, the advantages."""
    from trl.experimental.ppo import ppo_trainer

    clock: Clock = []

    def noting(function: Callable[..., Any], before: str | None, after: str) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                clock.append((before, time.monotonic()))
            result = function(*args, **kwargs)
            clock.append((after, time.monotonic()))
            return result

        return noted

    ppo_trainer.batch_generation = noting(_of_length(ppo_trainer.batch_generation, tokens), "began", "generated")
    ppo_trainer.masked_whiten = noting(ppo_trainer.masked_whiten, None, "scored")
    return clock


def _of_length(function: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    """Raises RuntimeError where prompt and answer are not so many tokens: TRL would have been given less to do."""

    def held(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if result[0].shape[1] != tokens:
            raise RuntimeError(f"prompts and answers are {result[0].shape[1]} tokens long, not {tokens}")
        return result

    return held


def stages(clock: Clock) -> list[dict[str, float]]:
    """Seconds of each update's stages, from four stamps an update."""
    rows = []
    for start in range(0, len(clock), 4):
        (_, began), (_, generated), (_, scored), (_, trained) = clock[start : start + 4]
        taken = {"generate_s": generated - began, "score_s": scored - generated, "train_s": trained - scored}
        rows.append({name: round(seconds, 3) for name, seconds in taken.items()})
    return rows


def _common() -> dict[str, Any]:
    return {
        "use_cpu": True,
        "bf16": False,  # the models' own dtype decides
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


def _tokenizer(job: Job) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    # The model's own padding is its end token, which TRL would take for padding wherever it is sampled or to be scored.
    tokenizer.pad_token = job["pad_token"]
    return tokenizer


def _scalar_model(job: Job, dtype: torch.dtype) -> Any:
    torch.manual_seed(job["seed"])
    return AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=1, dtype=dtype)


def _value_model(job: Job, dtype: torch.dtype) -> Any:
    """A model of its own, as TRL wants it: trained whole, or by adapters and its head like the policy."""
    model = _scalar_model(job, dtype)
    if job["value"] == "lora":
        inject_adapter_in_model(_lora(model, job, "SEQ_CLS"), model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name or name.startswith("score"))
    return model


def _lora(model: Any, job: Job, task: str, saved: list[str] | None = None) -> LoraConfig:
    layers = model.config.num_hidden_layers
    decoder = getattr(model, model.base_model_prefix).layers[0]
    return LoraConfig(
        r=job["lora_rank"],
        lora_alpha=job["lora_alpha"],
        lora_dropout=0.0,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name, part in decoder.named_modules() if isinstance(part, nn.Linear)}),
        layers_to_transform=list(range(layers - job["lora_layers"] if job["lora_layers"] else 0, layers)),
        layers_pattern="layers",
        modules_to_save=saved,
        task_type=task,
    )


if __name__ == "__main__":
    sys.exit(main())
