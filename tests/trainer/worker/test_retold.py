"""What runs say reaches a reader of another language: the sentences are the trainer's own, the catalogue is the app's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import trainer
from app.language.run_messages import retold
from tests.app.language.test_translations import LATIN
from trainer.contract.config import PPOConfig
from trainer.contract.folder import Refused
from trainer.ppo.guards import Judgement, LengthPrice, out_of_bounds
from trainer.ppo.report import ALL_DONE, LENGTH_HELD, summary
from trainer.ppo.run import NOTHING_KEPT
from trainer.ppo.safe_state import SafeState

TERMS = re.compile("KL|PPO|nats|token")


def endings() -> Iterator[str | None]:
    """How guards and the gate end a run."""
    bounds = PPOConfig(kl_stop_nats=9.5)
    entropy, mask = torch.full((1, 1), 2.0), torch.ones(1, 1, dtype=torch.bool)
    yield out_of_bounds(bounds, cast(Any, SimpleNamespace(kl_nats=12.0, entropy=entropy, mask=mask)))
    yield out_of_bounds(bounds, cast(Any, SimpleNamespace(kl_nats=1.0, entropy=0.001 * entropy, mask=mask)))
    yield LengthPrice(0.2, ratio=1.4, outside=1).failed(last=True)
    yield ALL_DONE
    yield ALL_DONE + LENGTH_HELD
    yield f"{LengthPrice(0.2, ratio=1.4, outside=9).failed(last=False)}{NOTHING_KEPT}"
    judgement = Judgement()
    for update, (overall, judged) in enumerate([(0.0, 2.0), (1.0, 1.0)]):
        seen = SimpleNamespace(overall=torch.full((8,), overall), judged=torch.full((8,), judged))
        said = judgement.look(update, cast(Any, seen), {}, window=1)
    yield said
    with pytest.raises(Refused) as refused:
        SafeState(Path(), cast(Any, SimpleNamespace(rollbacks=3, rate_scale=1.0, snapshot=dict)), 1).roll_back()
    yield str(refused.value)


def progress() -> Iterator[str]:
    """What the trainer's source says of work in progress, with a 7 wherever it puts a value."""
    for path in Path(str(trainer.__file__)).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "progress":
                message = call.args[2]
                if isinstance(message, ast.Constant):
                    yield str(message.value)
                elif isinstance(message, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in message.values)
    yield summary({"rollout/score": -0.5, "kl/exact_nats_per_answer": 3.0, "rollout/length": 40.0})


def left_in_english(sentence: str) -> bool:
    return LATIN.search(TERMS.sub("", retold(sentence))) is not None


def test_how_a_run_ended_is_told_again(chinese: None) -> None:
    said = list(endings())
    assert None not in said
    assert [sentence for sentence in said if left_in_english(str(sentence))] == []


def test_what_a_run_is_doing_is_told_again(chinese: None) -> None:
    said = list(progress())
    assert len(said) > 3
    assert [sentence for sentence in said if left_in_english(sentence)] == []
