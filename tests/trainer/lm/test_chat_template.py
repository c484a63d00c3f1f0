"""A conversation as ids: control tokens that people type, where a turn ends, and the day that a template writes."""

from datetime import date, datetime
from functools import partial
from time import process_time
from typing import Any

import pytest
import transformers.utils.chat_template_utils as clock
from tokenizers import AddedToken, Regex
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tests.trainer.tiny import llama_policy
from trainer.contract.environment import MOST_SECONDS
from trainer.contract.folder import Refused
from trainer.lm import chat_template
from trainer.lm.backbone import ConversationRefused, TemplateRanAway, chat_ids, end_id, eos_ids
from trainer.lm.chat_template import text_ids, turn_end
from trainer.lm.left_out import LeftOut
from trainer.lm.simple_lm import train_tokenizer
from trainer.reward.data import ids_of_text
from trainer.sft.documents import encode

ASK = [{"role": "user", "content": "Hello"}]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(template: str | None, special: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")) -> PreTrainedTokenizerFast:
    """Bytes, <|bos|>, <|eos|>, <|pad|> and these."""
    made = train_tokenizer([], 259)
    made.add_tokens([AddedToken(token, special=True) for token in special], special_tokens=True)
    made.chat_template = template
    return made


def test_what_the_template_writes_after_an_answer_ends_one_whatever_the_metadata_name() -> None:
    backbone = llama_policy()
    backbone.tokenizer = tokenizer(CHAT)
    named = backbone.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert backbone.tokenizer.eos_token_id != named
    assert turn_end(backbone.tokenizer) == named
    assert named in eos_ids(backbone)
    assert end_id(backbone) == named


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% if not loop.last %}<|im_end|>{% endif %}{% endfor %}",
            "<|im_end|>",
        ),
        ("{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}\n{% endfor %}", "<|im_start|>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
        ("{{ raise_exception('no') }}", None),
        ("{% for m in messages %}{{ m.content | trim }}\n<|im_end|>{{ eos_token }}{% endfor %}", "<|im_end|>"),
    ],
    ids=["only between turns", "the next turn's beginning", "no token", "refuses", "the first of two"],
)
def test_the_end_of_a_turn_is_found_in_templates_of_every_make(template: str, ends: str | None) -> None:
    made = tokenizer(template)
    assert turn_end(made) == (None if ends is None else made.convert_tokens_to_ids(ends))


def test_a_token_that_is_not_marked_as_special_ends_a_turn_where_it_follows_the_words() -> None:
    made = train_tokenizer([], 259)
    made.add_tokens([AddedToken("</s>", special=False), AddedToken("\n", special=False)])
    made.chat_template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    assert turn_end(made) == made.convert_tokens_to_ids("</s>")
    made.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    assert turn_end(made) is None


def test_without_a_template_control_tokens_that_a_person_typed_are_text() -> None:
    made = tokenizer(None)
    ids = chat_ids(made, [{"role": "user", "content": "What does <|eos|> mean, and <|im_end|>?"}])
    assert not {made.eos_token_id, made.convert_tokens_to_ids("<|im_end|>")} & set(ids)
    assert made.decode(ids) == "User: What does <|eos|> mean, and <|im_end|>?\nAssistant:"
    assert made.decode(text_ids(made, "a <|eos|>")) == "a <|eos|>"
    assert made.eos_token_id in made("a <|eos|>", add_special_tokens=False)["input_ids"]  # as it would be without care


@pytest.mark.parametrize(
    ("single", "front"), [("$A <|eos|>", []), ("<|bos|> $A <|eos|>", ["<|bos|>"]), ("<|bos|> $A", ["<|bos|>"]), ("$A", [])]
)
def test_what_a_tokenizer_adds_stays_in_front_of_a_prompt_and_not_behind_it(single: str, front: list[str]) -> None:
    made = tokenizer(None)
    specials = [(token, made.convert_tokens_to_ids(token)) for token in ("<|bos|>", "<|eos|>")]
    made._tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=specials)
    ids = chat_ids(made, ASK)
    assert ids == [*made.convert_tokens_to_ids(front), *text_ids(made, "User: Hello\nAssistant:")]


def moved(monkeypatch: pytest.MonkeyPatch, day: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 11, day)

    monkeypatch.setattr(clock, "datetime", Clock)


def test_a_template_writes_the_day_it_is_given_and_never_the_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    dated = tokenizer("<|im_start|>{{ strftime_now('%d %b %Y') }}<|im_end|>" + CHAT)
    found = []
    for day in (29, 30):
        moved(monkeypatch, day)
        found.append(chat_ids(dated, ASK))
        assert "15 Mar 2025" in dated.decode(chat_ids(dated, ASK, date(2025, 3, 15)))
    assert found[0] == found[1]
    assert "Nov" not in dated.decode(found[0])


def test_an_empty_conversation_is_refused_alone() -> None:
    with pytest.raises(ConversationRefused, match="makes nothing of"):
        chat_ids(tokenizer("{% if false %}{% endif %}"), ASK)


def test_a_model_that_nothing_ends_says_so_where_an_end_has_to_be_written() -> None:
    backbone = llama_policy(eos=None)
    backbone.plain.generation_config.eos_token_id = None
    assert eos_ids(backbone) == set()
    with pytest.raises(Exception, match="names no token that ends an answer"):
        end_id(backbone)


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TOO_LONG = "{% for a in range(99999) %}{{ 'and so on, for a hundred characters and more, ' * 3 }}{% endfor %}"
RUNAWAYS = {
    "a loop in a loop": ENDLESS,
    "one that writes": TOO_LONG,
    "a text as large as the memory": "{% set many = messages | length * 10000000000 %}{{ 'a' * many }}",
    "a text doubled": "{% set s = namespace(x='doubled') %}{% for a in range(99) %}{% set s.x = s.x ~ s.x %}{% endfor %}",
    "a power": "{{ (messages | length + 8) ** (9 ** 9) }}",
    "a power before anything is said": "{{ 9 ** (9 ** 9) }}",
    "a text before anything is said": "{{ 'a' * 10000000000 }}",
}


@pytest.mark.parametrize("template", RUNAWAYS.values(), ids=RUNAWAYS)
def test_a_template_that_does_not_come_to_an_end_is_ended_with_a_sentence(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MOST_SECONDS", 0.5)
    backbone = llama_policy()
    backbone.tokenizer = tokenizer(template)
    with pytest.raises(TemplateRanAway, match="chat template does not come to an end"):
        chat_ids(backbone.tokenizer, ASK)
    for ask in (end_id, eos_ids):
        with pytest.raises(TemplateRanAway, match="chat template does not come to an end"):
            ask(backbone)


def test_a_template_is_given_more_than_an_honest_one_needs() -> None:
    talk = [{"role": "user" if turn % 2 == 0 else "assistant", "content": "word " * 62} for turn in range(64)]
    before = process_time()
    assert len(chat_ids(tokenizer(CHAT), talk)) > 64 * 5 * 62
    assert process_time() - before < MOST_SECONDS / 10


def test_a_text_that_the_tokenizer_cannot_read_is_refused_with_a_sentence_that_names_its_prompt() -> None:
    """tokenizers is of Rust, which panics: that is no Exception of Python's."""
    bad = "a" * 200 + "b"
    for template in (None, "{% for m in messages %}{{ m.content }}{% endfor %}"):
        backbone = llama_policy()
        backbone.tokenizer = tokenizer(template)
        backbone.tokenizer._tokenizer.pre_tokenizer = Split(Regex("(a|aa)+$"), "isolated")
        left_out = LeftOut()
        assert left_out.chat_ids(backbone, 17, [{"role": "user", "content": bad}]) is None
        assert left_out.figures["refused_prompt_ids"] == [17]
        assert left_out.figures["refused_because"]["code"] == "text_not_read"
        for ask in (partial(text_ids, backbone.tokenizer), partial(ids_of_text, backbone)):
            with pytest.raises(Refused, match="tokenizer cannot read this text"):
                ask(bad)
            with pytest.raises(Refused, match="tokenizer cannot read a text of prompt 17"):
                ask(bad, 17)
        block = 64
        with pytest.raises(Refused, match="tokenizer cannot read this text"):
            encode(backbone, [bad], block, left_out)
