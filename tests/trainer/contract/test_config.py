import json
import math
import re
import subprocess
import sys
from typing import Any

import pytest

from trainer.contract.config import CONFIGS, ConfigError, PPOConfig, config_dict, make_config
from trainer.contract.english import english
from trainer.contract.messages import Message
from trainer.contract.setting import GROUPS, settings_of


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_every_setting_explains_itself_and_the_defaults_are_usable(kind: str) -> None:
    config = make_config(kind, {})
    for one in settings_of(type(config)).values():
        assert one.help.endswith("."), one.name
        assert one.label[:1].isupper() or one.label.startswith("“"), one.name
        assert not one.choices or getattr(config, one.name) in one.choices
        assert one.group in ("", *GROUPS), one.name


def test_a_person_meets_two_dozen_settings_and_the_rest_wait_for_experts() -> None:
    plain = [one for kind in ("sample", "reward", "ppo") for one in settings_of(CONFIGS[kind]).values() if not one.is_for_experts]
    assert 20 <= len(plain) <= 24
    assert {one.group for one in plain} == GROUPS.keys()


def test_no_sentence_beside_a_setting_names_one_by_its_name_in_the_code() -> None:
    every = [one for config in CONFIGS.values() for one in settings_of(config).values()]
    said = [text for one in every for text in (one.label, one.help, one.unit, *one.choices.values())]
    assert [text for text in said if re.search(r"\w_\w", text)] == []
    plain = [one for one in every if not one.is_for_experts]
    terms = re.compile(r"\b(logits?|nats|rollouts?|KL|GAE|LoRA|epochs?|posterior|float32)\b")
    assert [one.label for one in plain if terms.search(one.label)] == []


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_every_number_has_bounds_and_just_past_each_it_is_refused(kind: str) -> None:
    for one in settings_of(CONFIGS[kind]).values():
        if one.kind not in (int, float):
            continue
        assert one.least is not None, one.name
        assert one.most is not None, one.name
        assert one.least <= one.default <= one.most, one.name
        step = 1 if one.kind is int else 1e-6 * max(1.0, abs(one.most))
        for value in (one.least - step, one.most + step, 2**60):
            with pytest.raises(ConfigError) as caught:
                make_config(kind, {one.name: one.kind(value)})
            assert one.name in caught.value.problems, (one.name, value)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_a_config_survives_the_way_through_json(kind: str) -> None:
    config = make_config(kind, {"per_prompt": 7} if kind == "ask" else {"seed": 7})
    assert make_config(kind, json.loads(json.dumps(config_dict(config)))) == config


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        ("sample", {"per_prompt": 0}, "per_prompt"),
        ("sample", {"per_prompt": 1.5}, "per_prompt"),
        ("sample", {"per_prompt": True}, "per_prompt"),
        ("sample", {"per_prompt": "2"}, "per_prompt"),
        ("sample", {"seed": 2**60}, "seed"),
        ("sample", {"temperature": 50}, "temperature"),
        ("sample", {"temperature": 10**400}, "temperature"),
        ("sample", {"temperature": math.nan}, "temperature"),
        ("sample", {"temperature": math.inf}, "temperature"),
        ("sample", {"max_new_tokens": 1_000_000}, "max_new_tokens"),
        ("sample", {"top_k": 5}, "top_k"),
        ("reward", {"method": "guess"}, "method"),
        ("reward", {"folds": 1}, "folds"),
        ("reward", {"criteria_weights": "overall"}, "criteria_weights"),
        ("reward", {"criteria_weights": "overall=1000"}, "criteria_weights"),
        ("reward", {"criteria_weights": "overall=nan"}, "criteria_weights"),
        ("reward", {"criteria_weights": "overall=0"}, "criteria_weights"),
        ("reward", {"max_tokens": 15}, "max_tokens"),
        ("ppo", {"gamma": 1.01}, "gamma"),
        ("ppo", {"learning_rate": 1_000}, "learning_rate"),
        ("ppo", {"episodes": 30, "minibatches": 4}, "minibatches"),
        ("ppo", {"advantage": "rloo"}, "answers_per_prompt"),
        ("ppo", {"advantage": "grpo"}, "answers_per_prompt"),
        ("ppo", {"kl_target_nats": 40.0, "kl_stop_nats": 20.0}, "kl_stop_nats"),
        ("ppo", {"beta": -0.1}, "beta"),
        ("ppo", {"outside": "tone"}, "outside"),
        ("ppo", {"outside": "tone=10.5"}, "outside"),
        ("ppo", {"outside": "tone=-1"}, "outside"),
        ("ppo", {"outside": "tone=nan"}, "outside"),
        ("ppo", {"outside": "=1"}, "outside"),
        ("ppo", {"dtype": "int8"}, "dtype"),
        ("sft", {"vocab_size": 100}, "vocab_size"),
        ("sft", {"block_tokens": 1}, "block_tokens"),
        ("dance", {}, "kind"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(kind: str, values: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(kind, values)
    assert list(caught.value.problems) == [field]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    given = {
        "temperature": 50,
        "updates": "many",
        "clip": -1,
        "episodes": 30,
        "kl_target_nats": 99,
        "kl_stop_nats": 50,
        "dance": 3,
    }
    with pytest.raises(ConfigError) as caught:
        make_config("ppo", given)
    told = {name: english(message) for name, message in caught.value.problems.items()}
    assert told == {
        "temperature": "This must lie between 0.01 and 2.",
        "updates": "This must be a whole number.",
        "clip": "This must lie between 0.001 and 10.",
        "dance": "There is no such setting.",
        "minibatches": "The setting “Answers in each step” is 30, and must be a multiple of this.",
        "kl_stop_nats": "This must be more than the setting “How far the model may move”.",
    }


def test_nothing_is_said_to_contradict_a_setting_that_could_not_be_read() -> None:
    with pytest.raises(ConfigError) as caught:
        make_config("ppo", {"episodes": "lots", "minibatches": 5, "kl_target_nats": -1, "kl_stop_nats": 0.5})
    assert list(caught.value.problems) == ["episodes", "kl_target_nats"]


def test_a_cap_that_would_scale_every_step_is_refused() -> None:
    for cap in (0, 1, 2.5):
        assert PPOConfig(sampler_weight_cap=cap).sampler_weight_cap == cap
    with pytest.raises(ConfigError) as caught:
        PPOConfig(sampler_weight_cap=0.5)
    assert caught.value.problems == {"sampler_weight_cap": Message("nought_or_at_least", least=1)}


def test_a_config_that_code_makes_is_held_to_the_same_bounds() -> None:
    with pytest.raises(ConfigError):
        PPOConfig(temperature=50.0)


def test_whole_numbers_are_fine_where_a_number_is_wanted() -> None:
    assert config_dict(make_config("sample", {"temperature": 1}))["temperature"] == 1.0


def test_reading_settings_loads_neither_torch_nor_anything_else_of_the_trainer() -> None:
    code = (
        "import sys, trainer.contract.config; "
        "print([name for name in sys.modules if name == 'torch' or name.startswith('trainer.') and 'contract' not in name])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_new_model_has_a_size_beyond_which_it_is_refused() -> None:
    assert make_config("sft", {"layers": 4, "hidden_size": 1024}).parameters == 30_744_040  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as caught:
        make_config("sft", {"layers": 64, "hidden_size": 16_384})
    assert "parameters; at most 200,000,000" in english(caught.value.problems["layers"])


def test_rewards_outside_of_the_model_are_none_unless_named_and_stand_by_name() -> None:
    assert PPOConfig().outside_weights() == {}
    assert PPOConfig(outside="tone=0.5, facts=2,idle=0").outside_weights() == {"facts": 2.0, "tone": 0.5}
    assert list(PPOConfig(outside="tone=0.5, facts=2").outside_weights()) == ["facts", "tone"]
