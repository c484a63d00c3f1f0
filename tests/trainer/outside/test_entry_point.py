"""A reward of an installed package: found by its name, called with texts, refused with a sentence where it fails."""

from __future__ import annotations

import pytest

from trainer.contract.english import english
from trainer.contract.environment import installed_rewards
from trainer.contract.folder import Cancelled, Unanswered
from trainer.outside.entry_point import Installed

pytestmark = pytest.mark.usefixtures("package")
PROMPTS = [[{"role": "user", "content": "Count."}], [{"role": "user", "content": "Go on."}]]
ANSWERS = ["<2> <3>", "<4> <6>"]


def ask(name: str) -> list[float]:
    return Installed(installed_rewards()[name])(PROMPTS, ANSWERS, lambda: None)


def test_it_is_called_with_conversations_and_answers() -> None:
    assert ask("even") == [0.5, 1.0]
    assert [type(score) for score in ask("even")] == [float, float]


def test_what_it_does_to_its_arguments_is_its_own_business() -> None:
    assert ask("long") == [7, 7]
    assert len(PROMPTS) == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("broken", "The reward broken could not be asked: KeyError: 'nothing here'"),
        ("few", "The reward few gave 1 scores for 2 answers."),
        ("number", "The reward number could not be asked: TypeError: rewards_of_somebody:number cannot be called"),
        ("gone", "The reward gone could not be asked: AttributeError: module 'rewards_of_somebody' has no attribute 'gone'"),
    ],
)
def test_what_fails_is_said_in_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(Unanswered) as ended:
        ask(name)
    assert english(ended.value.message) == sentence


def test_a_wish_to_cancel_is_heard_before_it_is_called() -> None:
    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        Installed(installed_rewards()["broken"])(PROMPTS, ANSWERS, stop)
