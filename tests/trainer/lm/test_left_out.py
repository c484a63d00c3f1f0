from trainer.contract.english import english
from trainer.contract.messages import Message
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
