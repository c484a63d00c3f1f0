"""The chat template of an exported reward: a whole conversation becomes exactly what the reward was taught to read.

Programs score a conversation by its template, prompt and answer in one go; a model's own template writes more after the last turn
(SmolLM2's a line end), so that the head reads another token. This one renders the prompt as the model's own does before an
answer, then the answer as it is and the end token. Whatever ends with no answer is rendered as before.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from trainer.lm.chat_template import plain_ids

# Nothing stands between the tags, and no block tag next to the model's own template, so that its white space stays its own.
_BEFORE = (
    "{% set scored = messages and messages[-1]['role'] == 'assistant' and not add_generation_prompt %}"
    "{% if scored %}{% set answer = messages[-1]['content'] %}{% set messages = messages[:-1] %}"
    "{% set add_generation_prompt = true %}{% endif %}{{ '' }}"
)
_AFTER = "{{ answer + END if scored else '' }}"
_CLOCK = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


def reward_template(tokenizer: Any, end: str, day: date) -> str:
    """The tokenizer's template, ending a scored conversation with the token `end`; where it writes the date, it writes `day`."""
    own = _plain(tokenizer) if tokenizer.chat_template is None else str(tokenizer.get_chat_template())
    return _BEFORE + stopped_clock(own, day).removesuffix("\n") + _AFTER.replace("END", repr(end))


def stopped_clock(template: str, day: date) -> str:
    """The template with `day` where it writes the date: whoever opens the model asks it as people's judgements asked it."""
    return _CLOCK.sub(lambda call: repr(datetime.combine(day, time()).strftime(call[2])), template)


def _plain(tokenizer: Any) -> str:
    """How a model without a template is asked, as one."""
    ids = plain_ids(tokenizer, [{"role": "user", "content": ""}])
    start = tokenizer.decode(ids).partition("User:")[0]
    turn = "{{ message['role'] | capitalize + ': ' + message['content'] + '\\n' }}"
    asks = "{{ 'Assistant:' if add_generation_prompt else '' }}"
    return f"{{{{ {start!r} }}}}{{% for message in messages %}}{turn}{{% endfor %}}{asks}"
