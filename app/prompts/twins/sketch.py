"""A prompt as a sketch of 136 bytes, by which it is told how much two prompts have in common. Pure: no tables.

What is compared is the last message, as the set of its runs of three characters, so that languages without spaces are measured
alike; case, width, punctuation and white space do not count. Two prompts can only be near where what came before is the same and
the same numbers are named in the same order: "7 times 8" is another question than "7 times 9".

MinHash (Broder 1997), sixteen bits of each of 64 smallest hashes kept (Li and Koenig 2010, arXiv:0910.3349): the share of equal
places estimates the Jaccard index of both sets, to .05 at .8.
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from app.texts.composed import composed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PLACES: Final = 64
KEY_BYTES: Final = 8  # of what must be the same
BYTES: Final = KEY_BYTES + 2 * PLACES
NEAR: Final = 0.8  # share of equal places from which two prompts say nearly the same
BAND: Final = 4  # places that stand together: two prompts of .8 have one of sixteen bands in common in 9,998 cases of 10,000

IDEOGRAPHS: Final = 0x2E80  # from here on a character says about as much as two letters, and counts as two

_NUMBER = re.compile(r"\d+")
_PUNCTUATION: Final = dict.fromkeys(
    (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")), " "
)


def sketch_of(messages: Sequence[Any]) -> bytes:
    """The sketch of a conversation, the same on every machine."""
    import numpy as np  # here: the web process starts without it

    text = f" {_plain(messages[-1]['content'])} "
    before = [[message["role"], _plain(message["content"])] for message in messages[:-1]]
    same = repr((before, _NUMBER.findall(text)))
    key = hashlib.blake2b(same.encode(errors="replace"), digest_size=KEY_BYTES).digest()
    letters = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    letters = letters.repeat(1 + (letters >= IDEOGRAPHS))
    factors, added = _permutations()
    runs = letters[:-2] << np.uint64(42) ^ letters[1:-1] << np.uint64(21) ^ letters[2:]  # three characters of 21 bits
    runs = _stirred(runs)
    smallest = np.full(PLACES, np.uint64(2**64 - 1))
    for start in range(0, len(runs), 2_048):  # a long prompt takes no more memory than a short one
        smallest = np.minimum(smallest, (runs[start : start + 2_048, None] * factors + added).min(axis=0))
    kept = (_stirred(smallest) >> np.uint64(48)).astype("<u2")
    return key + kept.tobytes()


def likeness(one: bytes, other: bytes) -> float:
    """From 0 to 1: what the sets of both have in common; 0 where something differs that must be the same."""
    if one[:KEY_BYTES] != other[:KEY_BYTES]:
        return 0.0
    import numpy as np

    equal = np.frombuffer(one, "<u2", PLACES, KEY_BYTES) == np.frombuffer(other, "<u2", PLACES, KEY_BYTES)
    return float(equal.mean())


def bands(sketch: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """What two near prompts have at least one of in common."""
    key = sketch[:KEY_BYTES]
    for start in range(KEY_BYTES, BYTES, 2 * BAND):
        yield start, key, sketch[start : start + 2 * BAND]


def _plain(text: str) -> str:
    return " ".join(composed(unicodedata.normalize("NFKC", composed(text)).casefold()).translate(_PUNCTUATION).split()) or text


def _stirred(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each value's bits spread over all 64 (SplitMix64's finaliser)."""
    import numpy as np

    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


@cache
def _permutations() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """An odd factor and a summand for each place: what is multiplied and added so, modulo 2^64, is put into another order."""
    import numpy as np

    drawn = _stirred(np.arange(1, 2 * PLACES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return drawn[:PLACES] | np.uint64(1), drawn[PLACES:]
