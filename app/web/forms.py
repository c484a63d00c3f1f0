"""What a submitted form holds, and what a person's words in its fields mean.

Numbers that cannot be read stay text, so that the one place that checks values also words the refusal.

A form that overwrites carries a digest of every field as it was when the page was opened. Only fields that the person changed
are written; one that somebody else changed as well is a clash, which is refused once with both values and then decided by the
person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from app.errors import Conflict
from app.language.languages import _, known
from trainer.contract.config import label_of

Words = dict[str, str]  # field name -> what stands in the field

SEEN: Final = "seen"  # the hidden input
LONGEST: Final = 200  # characters of a value in a sentence


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
    label = known(labels[name] if name in labels else label_of(name.removeprefix("training.").replace("sampling.", "sample.")))
    return _("%(field)s: %(sentence)s", field=label, sentence=sentence)


# What two people do to the same form


@dataclass(frozen=True, slots=True)
class Edit:
    """`sent` beside `stored`: the same fields, as the form came back and as they stand now."""

    changed: Words  # what the person put in place of what they saw
    clashes: Words  # field -> what somebody else put there meanwhile
    shown: Words  # the form to show again: what the person changed, and everything else as it stands now


def seen_of(stored: Words) -> str:
    """What the hidden input holds when the page is opened on these fields."""
    return json.dumps({name: _digest(text) for name, text in stored.items()}, separators=(",", ":"))


def is_untouched(sent: Words, name: str) -> bool:
    """Whether a field came back as the page showed it. On a form that shows nothing stored, every field is new."""
    return _digests(sent.get(SEEN, "")).get(name) == _digest(sent.get(name, ""))


def edit_of(sent: Words, stored: Words) -> Edit:
    """A field that did not come, such as a box without its tick, came empty.

    Something without digests is no page of ours that was open for a while: it changes what it names.
    """
    seen = _digests(sent.get(SEEN, ""))
    mine = {name: sent.get(name, "" if seen else text) for name, text in stored.items()}
    before = {name: seen.get(name, _digest(text)) for name, text in stored.items()}
    changed = {name: text for name, text in mine.items() if _digest(text) != before[name]}
    clashes = {
        name: stored[name] for name, text in changed.items() if _digest(stored[name]) != before[name] and stored[name] != text
    }
    return Edit(changed, clashes, stored | changed)


def refuse_clashes(edit: Edit, words: Callable[[str, str], str] = lambda _name, text: text) -> None:
    """Raises Conflict with a sentence per field that holds both values; `words` says how a field's value reads."""
    if not edit.clashes:
        return
    raise Conflict(
        _(
            "Somebody saved other values while you were changing them. Nothing of yours was saved, and what you entered is still "
            "here: compare, then save again to put yours in place of theirs."
        ),
        {name: _both(words(name, theirs), words(name, edit.changed[name])) for name, theirs in edit.clashes.items()},
    )


def _both(theirs: str, yours: str) -> str:
    return _(
        "Somebody changed this meanwhile. Theirs: “%(theirs)s”. Yours: “%(yours)s”.",
        theirs=_short(theirs),
        yours=_short(yours),
    )


def _short(text: str) -> str:
    """A long text is compared in full where the page shows what would change."""
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]}…") or _("nothing")


def _digests(text: str) -> Words:
    """Of the hidden input; empty for what is not ours."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").encode("utf-8", "surrogatepass")).hexdigest()[:12]
