"""A scored conversation, rendered by an exported reward's template, is token for token what the reward was taught to read."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from trainer.export.reward_template import reward_template
from trainer.lm.backbone import chat_ids

DAY = date(2026, 1, 1)
TEMPLATES = {
    "line end after the end": "{% for m in messages %}<{{ m.role }}>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}\n",
    "another end": "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}",
    "messages set anew": "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = 'Be kind.' %}{% endif %}{{ first }}\n\n"
    "{%- for m in messages %}\n{{ m.role }}: {{ m.content }}{% endfor %}{{ '\nassistant:' if add_generation_prompt }}",
    "a date": "Today is {{ strftime_now('%d %b %Y') }}.\n{% for m in messages %}{{ m.content }}{{ eos_token }}\n{% endfor %}",
    "white space first": "\n\n  {% for m in messages %}{{ m.content }} {% endfor %}\n\n",
}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a café?"}]
ANSWER = 'A place.\n\n    With "coffee". '


@pytest.fixture
def tokenizer(llama_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(llama_folder)


@pytest.mark.parametrize("template", [*TEMPLATES.values(), None], ids=[*TEMPLATES, "no template"])
@pytest.mark.parametrize("asked", [ASKED, ASKED[1:]], ids=["system", "no system"])
def test_a_whole_conversation_is_what_the_reward_reads(tokenizer: Any, template: str | None, asked: list[dict[str, str]]) -> None:
    tokenizer.chat_template = template
    prompt = chat_ids(tokenizer, asked, DAY)
    wanted = [*prompt, *tokenizer(ANSWER, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    tokenizer.chat_template = reward_template(tokenizer, tokenizer.eos_token, DAY)
    assert tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": ANSWER}], return_dict=False) == wanted
    assert tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False) == prompt


@pytest.mark.parametrize("template", [text for name, text in TEMPLATES.items() if name != "a date"])
def test_what_ends_with_no_answer_is_rendered_as_before(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    talks = [ASKED, [*ASKED, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]]
    before = [
        tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=asks)
        for talk in talks
        for asks in (False, True)
    ]
    tokenizer.chat_template = reward_template(tokenizer, tokenizer.eos_token, DAY)
    after = [
        tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=asks)
        for talk in talks
        for asks in (False, True)
    ]
    assert after == before
