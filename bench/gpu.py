"""Writing, PPO and reading for rewards on a GPU, and whether its numbers are the processor's: `bench/gpu.sh`.

With SmolLM2-135M-Instruct and with a Llama of a billion random weights. One line of JSON a model. `--tiny` tries the script
itself on a model of a few thousand weights, wherever it runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.installation import default_model
from trainer.contract.config import PPOConfig
from trainer.contract.folder import RunFolder
from trainer.lm.backbone import Backbone, attach_lora
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.generate import generate
from trainer.lm.loading import load_backbone, load_tokenizer
from trainer.lm.machine.device import GPU, HOST, choose_device, on_host
from trainer.lm.simple_lm import train_tokenizer
from trainer.ppo.reward import Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train
from trainer.reward.data import TokenSequence
from trainer.reward.features import choose_layers, pooled_states

SIZES = {
    "tiny": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "1B": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


def main() -> int:
    options = _options()
    device = choose_device("auto")
    if on_host(device) and not options.tiny:
        print("This machine has no GPU that PyTorch can use.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:
        for name, folder in models(Path(place), options.tiny):
            print(json.dumps(measured(name, folder, device, options, Path(place))), flush=True)
    return 0


def models(place: Path, tiny: bool) -> Iterator[tuple[str, Path]]:
    if tiny:
        yield "tiny", random_llama(place / "tiny", SIZES["tiny"], train_tokenizer([], 259))
        return
    smol = default_model(place)
    yield "SmolLM2-135M", smol
    yield "1B", random_llama(place / "1B", SIZES["1B"], load_tokenizer(str(smol)))


def random_llama(folder: Path, sizes: dict[str, int], tokenizer: Any) -> Path:
    """A Llama of random weights."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measured(name: str, folder: Path, device: torch.device, options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Every figure of one model."""
    backbone = load_backbone(str(folder), "auto")
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(100, len(backbone.tokenizer), (options.rows, options.prompt_tokens), generator=draw).tolist()
    answers = torch.randint(100, len(backbone.tokenizer), (options.rows, options.answer_tokens), generator=draw).tolist()
    tokens = options.rows * (options.prompt_tokens + options.answer_tokens)
    figures: dict[str, Any] = {"model": name, "device": _device_name(device), "dtype": str(backbone.dtype)}
    written: list[int] = []
    seconds = timed(lambda: written.append(_write(backbone, prompts, options)), device)
    figures["written_tokens_per_s"] = round(written[-1] / seconds)
    texts = [TokenSequence(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    figures["read_tokens_per_s"] = round(tokens / timed(lambda: pooled_states(backbone, texts, choose_layers(backbone)), device))
    attach_lora(backbone, rank=16, layers=0, seed=0)
    began = time.monotonic()
    _ppo(backbone, prompts, options, place / f"{name}-ppo")
    figures["ppo_s_per_update"] = round((time.monotonic() - began) / (UPDATES + 1), 2)  # the last rollout is measured as well
    if not on_host(device):
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    figures["furthest_logprob_from_host"] = furthest(folder, prompts[:2], answers[:2])
    return figures


UPDATES = 2


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second of two turns."""
    for _ in range(2):
        began = time.monotonic()
        work()
        if not on_host(device):
            torch.cuda.synchronize()
    return time.monotonic() - began


def furthest(folder: Path, prompts: list[list[int]], answers: list[list[int]]) -> float:
    """Nats by which a token's log-probability differs between the two devices at most, in float32."""
    found = []
    for device in ("auto", HOST.type):
        backbone = load_backbone(str(folder), "float32", device=device)
        with torch.no_grad():
            found.append(response_logprobs(backbone, pack(prompts, answers), 1.0).logprobs)
    return float((found[0] - found[1]).abs().max())


def _write(backbone: Backbone, prompts: list[list[int]], options: argparse.Namespace) -> int:
    given = generate(
        backbone,
        prompts,
        max_new_tokens=options.answer_tokens,
        temperature=1.0,
        generator=torch.Generator().manual_seed(0),
        batch_size=options.rows,
    )
    return sum(len(answer.ids) for answer in given)


def _ppo(backbone: Backbone, prompts: list[list[int]], options: argparse.Namespace, place: Path) -> None:
    config = {
        "updates": UPDATES,
        "episodes": options.rows,
        "minibatches": 1,
        "epochs": 1,
        "max_prompt_tokens": options.prompt_tokens,
        "max_new_tokens": options.answer_tokens,
        "entropy_floor_nats": -1.0,
    }
    place.mkdir()
    (place / "run.json").write_text(json.dumps({"kind": "ppo", "config": config, "inputs": {}}), encoding="utf-8")
    rule = Rule(lambda _prompts, given: torch.tensor([sum(token % 2 for token in ids) / len(ids) for ids in given]))
    asked = [Prompt(at, ids) for at, ids in enumerate(prompts)]
    train(RunFolder(place), PPOConfig(**config), backbone, rule, asked, asked[:1])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == GPU.type else "processor"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiny", action="store_true", help="try the script on a tiny model, with or without a GPU")
    parser.add_argument("--rows", type=int, default=32, help="answers together")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--answer-tokens", type=int, default=256)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
