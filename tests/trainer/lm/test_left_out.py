import pytest

from tests.trainer.lm.test_chat_template import TOO_LONG, tokenizer
from tests.trainer.tiny import llama_policy
from trainer.contract.english import english
from trainer.contract.messages import Message
from trainer.lm.backbone import BackboneError, ConversationRefused
from trainer.lm.left_out import MOST_NAMED, LeftOut

DONE = Message("done")


def test_where_nothing_is_left_out_there_is_no_figure_and_no_word() -> None:
    nothing = LeftOut()
    assert not nothing
    assert (nothing.figures, nothing.said(), nothing.after(DONE)) == ({}, None, DONE)


def test_what_is_left_out_is_counted_named_and_said_after_the_reason() -> None:
    found = LeftOut()
    for number in range(200):
        found.too_long(number, 96)
    found.not_finite(7)
    found.not_finite(7)  # a second answer to the same prompt
    assert (found.figures["too_long_prompts"], len(found.figures["too_long_prompt_ids"])) == (200, MOST_NAMED)
    assert (found.figures["not_finite_prompts"], found.figures["not_finite_prompt_ids"]) == (1, [7])
    assert english(found.after(DONE)) == (
        "Done Prompts left out: 200 (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …). A prompt may have at most 96 tokens here. "
        "Prompts left out: 1 (7). The model's numbers for an answer to them are not finite; other answers to them are kept."
    )


def test_where_nothing_is_left_the_templates_word_comes_first() -> None:
    assert LeftOut().why(DONE) == DONE


def test_a_template_that_runs_away_with_one_conversation_leaves_that_out_and_with_a_third_ends_the_run() -> None:
    backbone = llama_policy()
    backbone.tokenizer = tokenizer("{% if messages[0].content == 'Go!' %}" + TOO_LONG + "{% else %}Hello{% endif %}")
    go, stay = ([{"role": "user", "content": words}] for words in ("Go!", "Stay."))
    found = LeftOut()
    for name in (1, 2):
        assert found.chat_ids(backbone, name, go) is None
    assert found.chat_ids(backbone, 3, stay)
    assert found.figures["refused_prompt_ids"] == [1, 2]
    with pytest.raises(BackboneError, match="does not come to an end") as refused:
        found.chat_ids(backbone, 4, go)
    assert not isinstance(refused.value, ConversationRefused)
