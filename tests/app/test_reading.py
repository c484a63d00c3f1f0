"""Text of models and people: nothing runs, nothing hides, nothing takes long."""

from __future__ import annotations

import time

import pytest

from app.reading import LONGEST_MARKDOWN, as_written, render_markdown


def test_text_is_escaped_and_otherwise_left_alone() -> None:
    assert as_written("<script>a & b</script>\n  two") == "&lt;script&gt;a &amp; b&lt;/script&gt;\n  two"


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\u061c", "\x1b", "\x85"])
def test_characters_that_hide_are_shown_by_their_number(character: str) -> None:
    shown = as_written(f"a{character}b")

    assert character not in shown
    assert f">U+{ord(character):04X}</span>" in shown


@pytest.mark.parametrize("text", ["می\u200cخواهم", "👩\u200d🚀", "עברית", "line\r\ntab\t", "中文"])
def test_characters_that_scripts_need_stay(text: str) -> None:
    assert "unseen" not in as_written(text)


def test_markdown_is_rendered_with_its_headings_under_the_page_s() -> None:
    html = render_markdown("# Title\n\n- one\n- **two**\n\n|a|b|\n|-|-|\n|1|2|\n")

    assert "<h2>Title</h2>" in html
    assert "<strong>two</strong>" in html
    assert "<td>1</td>" in html


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://tracker.example/pixel.png)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "<svg onload=alert(1)>",
        "<style>body{display:none}</style>",
        "[x](vbscript:x)",
    ],
)
def test_markdown_lets_nothing_dangerous_through(hostile: str) -> None:
    html = render_markdown(hostile).replace("&lt;", "")

    for trace in ("<script", "<img", "<svg", "<style", 'href="javascript', 'href="data', 'href="vbscript'):
        assert trace not in html


def test_links_tell_their_target_nothing() -> None:
    assert 'rel="noopener noreferrer nofollow"' in render_markdown("[x](https://example.org)")


def test_a_markdown_bomb_is_shown_as_written_and_at_once() -> None:
    began = time.perf_counter()
    html = render_markdown("[" * (LONGEST_MARKDOWN + 1))

    assert time.perf_counter() - began < 0.2
    assert html.startswith('<div class="reading">[[[')
