"""An answer as text while it is being written: what is sure is given out, never half a character. Knows a tokenizer alone."""

from __future__ import annotations

from typing import Any, Final

from trainer.contract.texts import said, trimmed

UNKNOWN: Final = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet


class GrowingText:
    """All pieces together are the answer as a sample run would store it: `said(decode(ids))`.

    Held back is what later tokens may still change: bytes of a character that is not whole, and white space, which would be cut
    off if it were the end. Where a tokenizer writes a text anew that was given out already, the rest comes at the end.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = ""

    @property
    def ids(self) -> list[int]:
        """Its tokens so far, as a sample run would store them."""
        return self._ids

    def take(self, token: int) -> str:
        """What has become sure with this token; often nothing."""
        self._ids.append(token)
        return self._give(self._text().rstrip(UNKNOWN))

    def end(self) -> str:
        """The rest."""
        return self._give(self._text())

    def _text(self) -> str:
        return said(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _give(self, text: str) -> str:
        text = trimmed(text)
        if not text.startswith(self._given):
            return ""
        piece, self._given = text[len(self._given) :], text
        return piece
