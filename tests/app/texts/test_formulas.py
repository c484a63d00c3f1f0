"""Formulas are shown as they were written, and hostile ones in linear time."""

from __future__ import annotations

import html
import re
import time

import pytest

from app.texts.safe_html import _parser, render_markdown, shown

LINES = "\\begin{aligned}\na_1 *b* &= c \\\\\n- d &= e_2_\n\\end{aligned}"


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()


@pytest.mark.parametrize(
    "formula",
    ["$x_1*y_2*$", r"\(a_1 * b_2 * c\)", "$$ x_1 * y_2 * z $$", r"\[ f(x)_1 *y* \]", f"$$\n{LINES}\n$$", f"\\[\n{LINES}\n\\]"],
)
def test_a_formula_stays_as_it_was_written(formula: str) -> None:
    if "\n" not in formula:
        inside = str(shown(f"So {formula} holds.", "markdown"))
        assert "<em>" not in inside
        assert text_of(inside) == f"So {formula} holds."
    alone = str(shown(f"Before *it*:\n\n{formula}\n\nAnd _after_.", "markdown"))
    assert alone.count("<em>") == 2
    assert formula in text_of(alone)
    assert formula in text_of(str(render_markdown(formula))), "in guidelines, too"


def test_lines_of_a_formula_are_no_headings_lists_or_quotes() -> None:
    alone = str(shown("Text\n$$\na\n= b\n- c\n> d\n# e\n$$\nmore", "markdown"))
    assert not re.search(r"<(h\d|ul|li|blockquote)|heading", alone)
    assert "$$\na\n= b\n- c\n> d\n# e\n$$" in text_of(alone)
    inside = str(shown("> $$\n> a_1*b*\n> $$", "markdown"))
    assert "<blockquote>" in inside
    assert text_of(inside) == "$$\na_1*b*\n$$"


@pytest.mark.parametrize(
    ("text", "html_of_it"),
    [
        ("It costs $5 and *then* $10.", "<p>It costs $5 and <em>then</em> $10.</p>"),
        ("$ not *math* $", "<p>$ not <em>math</em> $</p>"),
        (r"\$5 *or* 6$", "<p>$5 <em>or</em> 6$</p>"),
        ("`$a` *b* `c$`", "<p><code>$a</code> <em>b</em> <code>c$</code></p>"),
        ("$$\n\n*blank lines end it*\n\n$$", "<p><em>blank lines end it</em></p>"),
        (r"\(begun *and never ended*", "<p>(begun <em>and never ended</em></p>"),
        ("$a_1 < b$", '<p><span class="formula">$a_1 &lt; b$</span></p>'),
    ],
)
def test_what_is_no_formula_is_markdown_and_none_is_markup(text: str, html_of_it: str) -> None:
    assert html_of_it in str(shown(text, "markdown"))


@pytest.mark.parametrize(
    "piece", ["$", "$a ", "$a_*", "\\(", "\\[\n", "$$\n", "$$ a\n", "*$a$*", "\\[\n\\]x\n", "> $$\n", "$$ a\n\n"]
)
def test_hostile_formulas_are_read_in_linear_time(piece: str) -> None:
    def took_s(times: int) -> float:
        parser, began = _parser(linked=False), time.thread_time()
        parser.parse(piece * times, {"deadline": began + 60})
        return time.thread_time() - began

    took_s(50)
    short, long = min(took_s(400) for _ in range(3)), min(took_s(1600) for _ in range(3))
    assert long < 8 * max(short, 0.001), f"{short:.4f} s, then {long:.4f} s for four times as much"
