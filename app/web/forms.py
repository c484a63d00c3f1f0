"""What a submitted form holds, and what a person's words in its fields mean.

Numbers that cannot be read stay text, so that the one place that checks values also words the refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request

from app.language.formats import humanized
from app.language.languages import _, known

Words = dict[str, str]  # field name -> what stands in the field


async def read_words(request: Request) -> Words:
    """The texts of a submitted form, without files, read before the transaction begins."""
    return {name: text for name, text in (await request.form()).items() if isinstance(text, str)}


Submitted = Annotated[Words, Depends(read_words)]


def number_of(text: str) -> int | float | str | None:
    """The number in a field; None when it is empty, and the text itself when it is no number."""
    text = text.strip()
    if not text:
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def share_of(text: str) -> Any:
    """Per cent in a field, as a share."""
    number = number_of(text)
    return number / 100 if isinstance(number, int | float) else number


def labelled(name: str, sentence: str, labels: Mapping[str, str]) -> str:
    """A refusal for the list above the form, which says where it belongs."""
    label = known(labels[name] if name in labels else humanized(name.rpartition(".")[2]))
    return _("%(field)s: %(sentence)s", field=label, sentence=sentence)
