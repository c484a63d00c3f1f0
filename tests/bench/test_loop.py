"""The figures of the loop with simulated people."""

from __future__ import annotations

from argparse import Namespace

from app.rounds.bodies import NewRound
from bench.loop import agreement, asked_for
from trainer.contract.config import PPOConfig, PreferenceConfig


def test_a_reward_that_cannot_tell_two_answers_apart_is_right_by_half() -> None:
    assert agreement([[(0.0, 1.0), (1.0, 1.0)]]) == (0.5, 1)
    assert agreement([[(1.0, 1.0), (0.0, 1.0)]]) == (0.5, 1)


def test_only_pairs_of_one_prompt_whose_truths_differ_count() -> None:
    assert agreement([[(0.0, 1.0), (1.0, 2.0), (1.0, 0.0)], [(5.0, 0.0)]]) == (1.0, 2)


def test_a_round_is_asked_for_by_its_method_and_held_by_length_unless_people_care_for_it() -> None:
    options = Namespace(updates=None, set=None)

    assert asked_for("hedging", "ppo", options) == {"methods": ["ppo"], "config": {"sample": {"per_prompt": 2}, "ppo": {}}}
    grpo = asked_for("concise", "grpo", Namespace(updates=3, set=None))["config"]["ppo"]
    assert PPOConfig(**grpo).advantage == "grpo"
    assert (grpo["updates"], grpo["length_control"]) == (3, "off")
    for method in ("dpo", "kto"):
        body = asked_for("concise", method, options)
        assert PreferenceConfig(**body["config"]["preference"]).method == method
        assert NewRound(**body).methods == ["preference"]


def test_what_is_set_goes_to_ppo_alone() -> None:
    options = Namespace(updates=None, set=[("kl_target_nats", 3)])

    assert asked_for("hedging", "ppo", options)["config"]["ppo"] == {"kl_target_nats": 3}
    assert asked_for("hedging", "dpo", options)["config"]["preference"] == {"method": "dpo"}
