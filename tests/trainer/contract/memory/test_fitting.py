"""Whether a run fits, and the one setting that would make it fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.trainer.contract.memory.test_forecast import BILLIONS, HERE, SMOL, ppo
from trainer.contract.english import english
from trainer.contract.memory.fitting import expected, recomputes, why_not
from trainer.contract.memory.forecast import GIB, forecast
from trainer.contract.memory.machine import Machine


def test_layers_are_computed_twice_where_the_memory_asks_for_it_and_nowhere_else() -> None:
    every = ppo(lora_layers=0)
    assert not recomputes(every, SMOL, Machine(16 * GIB))
    assert recomputes(every, SMOL, Machine(6 * GIB))
    assert expected(every, SMOL, Machine(6 * GIB)).peak < 6 * GIB < forecast(every, SMOL, HERE).peak
    assert not recomputes(ppo(lora_layers=0, recompute="off"), SMOL, Machine(6 * GIB))
    assert recomputes(ppo(recompute="on"), SMOL, Machine(16 * GIB))


@pytest.mark.parametrize(
    ("values", "gibibytes", "setting"),
    [
        ({"lora_layers": 0, "recompute": "off"}, 6.0, "recompute"),
        ({"lora_layers": 0, "recompute": "off", "microbatch_tokens": 100_000, "microbatch": 16}, 5.0, "recompute"),
        ({"dtype": "float32"}, 3.8, "dtype"),
        ({"dtype": "bfloat16", "episodes": 64}, 2.8, "episodes"),
    ],
)
def test_the_first_setting_that_makes_it_fit_is_named(values: dict[str, Any], gibibytes: float, setting: str) -> None:
    config, machine = ppo(**values), Machine(gibibytes * GIB)
    found = why_not("ppo", config, SMOL, machine)
    assert found is not None
    assert found[0] == setting
    value: Any = (
        str(found[1].arguments["choice"]).rpartition(".")[2] if "choice" in found[1].arguments else found[1].arguments["most"]
    )
    assert why_not("ppo", replace(config, **dict[str, Any]({setting: value})), SMOL, machine) is None


def test_what_no_setting_makes_fit_says_so() -> None:
    found = why_not("ppo", ppo(), BILLIONS, HERE)
    assert found is not None
    assert english(found[1]).endswith("No single setting makes it fit: take a smaller model, or a larger machine.")
    assert why_not("ppo", ppo(), SMOL, HERE) is None
