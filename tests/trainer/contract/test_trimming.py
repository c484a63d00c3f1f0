from __future__ import annotations

import pytest

from trainer.contract.trimming import trimmed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return x\n", "    return x"),
        ("\n\n\tmake", "\tmake"),
        ("  \r\n \n  one\n\n  two  \n", "  one\n\n  two"),
        ("one", "one"),
        (" \n\t ", ""),
        ("", ""),
    ],
)
def test_blank_lines_go_and_the_indent_stays(text: str, kept: str) -> None:
    assert trimmed(text) == kept
