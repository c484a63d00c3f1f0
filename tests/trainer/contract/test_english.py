import math

from trainer.contract.english import english
from trainer.contract.messages import Message


def test_numbers_are_rounded_to_what_matters() -> None:
    for number, words in {0.12345: "0.123", 3.0: "3", 12.34: "12.3", 20000: "20,000", 1234.5: "1,234", math.inf: "inf"}.items():
        assert english(Message("adapters_on_all_labels", loss=number)).endswith(f"loss {words}")


def test_names_of_rounds_and_runs_are_not_rounded_or_parted() -> None:
    assert english(Message("policy_of_round", number=12345)) == "Policy of round 12345"


def test_a_setting_is_named_by_its_label() -> None:
    said = english(Message("setting_unusable", setting="ppo.max_new_tokens", problem=Message("must_be_whole")))
    assert said == "Longest answer while it trains: This must be a whole number."


def test_a_choice_is_named_by_its_words() -> None:
    said = english(Message("all_updates_done_at_a_price", setting="ppo.length_control", choice="ppo.length_control.off"))
    assert said.endswith("choose “Let it change” for “Length of answers”.")
