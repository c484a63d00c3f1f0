import dataclasses
import json
import math
import subprocess
import sys
from typing import Any

import pytest

from trainer.contract.config import CONFIGS, ConfigError, config_dict, make_config


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_every_setting_explains_itself_and_the_defaults_are_usable(kind: str) -> None:
    config = make_config(kind, {})
    for field in dataclasses.fields(config):
        assert field.metadata["help"].endswith("."), field.name
        if field.metadata["choices"]:
            assert getattr(config, field.name) in field.metadata["choices"]


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_a_config_survives_the_way_through_json(kind: str) -> None:
    config = make_config(kind, {"seed": 7})
    assert make_config(kind, json.loads(json.dumps(config_dict(config)))) == config


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        ("sample", {"per_prompt": 0}, "per_prompt"),
        ("sample", {"per_prompt": 1.5}, "per_prompt"),
        ("sample", {"per_prompt": True}, "per_prompt"),
        ("sample", {"per_prompt": "2"}, "per_prompt"),
        ("sample", {"seed": 2**60}, "seed"),
        ("sample", {"temperature": math.nan}, "temperature"),
        ("sample", {"temperature": math.inf}, "temperature"),
        ("sample", {"top_k": 5}, "top_k"),
        ("reward", {"method": "guess"}, "method"),
        ("reward", {"folds": 1}, "folds"),
        ("ppo", {"gamma": 1.01}, "gamma"),
        ("ppo", {"episodes": 30, "minibatches": 4}, "minibatches"),
        ("ppo", {"beta": -0.1}, "beta"),
        ("ppo", {"dtype": "int8"}, "dtype"),
        ("sft", {"vocab_size": 100}, "vocab_size"),
        ("sft", {"block_tokens": 1}, "block_tokens"),
        ("dance", {}, "kind"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(kind: str, values: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(kind, values)
    assert caught.value.field == field


def test_whole_numbers_are_fine_where_a_number_is_wanted() -> None:
    assert config_dict(make_config("sample", {"temperature": 1}))["temperature"] == 1.0


def test_reading_settings_loads_neither_torch_nor_anything_else_of_the_trainer() -> None:
    code = (
        "import sys, trainer.contract.config; "
        "print([name for name in sys.modules if name == 'torch' or name.startswith('trainer.') and 'contract' not in name])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
