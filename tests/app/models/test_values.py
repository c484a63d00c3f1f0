from __future__ import annotations

import json

import pytest

from app.models.values import Unusable, is_storable, plain_text, storable


@pytest.mark.parametrize("number", [0, 0xD800, 0xDFFF])
def test_what_no_database_can_hold_is_refused_of_people_and_replaced_in_what_models_wrote(number: int) -> None:
    sign = chr(number)
    assert not is_storable(f"a{sign}b")
    with pytest.raises(Unusable, match="cannot be stored"):
        plain_text(f"a{sign}b", 10)
    written = json.loads(json.dumps({f"k{sign}": [f"a{sign}b", 1, None]}))
    assert storable(written) == {"k\ufffd": ["a\ufffdb", 1, None]}


def test_a_whole_pair_and_every_other_sign_is_kept() -> None:
    kept = "\t\n\x01\x7f 天 👩‍👩‍👧 \U0010ffff"
    assert storable(kept) == plain_text(kept, 100) == kept
