"""Pieces are put together by the reader's own commas, brackets and stops: those of a template or of Python are half-width."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from jinja2 import nodes
from markupsafe import Markup

from app.language import formats, languages
from app.language.languages import LOCALES, SOURCE
from app.web.pages import TEMPLATES, environment

APP = LOCALES.parent / "app"
PIECE = "\N{OBJECT REPLACEMENT CHARACTER}"
NOT_READ = re.compile(r"<(style|script|code|svg|pre|kbd|samp)\b.*?</\1>|<[^<>]*>?", re.S)
JOIN = re.compile(r"[,;:()!?.]\s|[,;:()!?.]$|\s\(|[,;:(]\ufffc|\ufffc[,;:().]")
# What speaks to programs, files and logs, in the language of the source.
OTHER_READERS = (
    "cli.py",
    "exports/of_answers.py",
    "exports/rankings.py",
    "exports/rows.py",
    "database/",
    "models/",
    "settings.py",
    "up.py",
    "web/middleware/headers.py",
    "catalogues.py",
    "texts/",
)
CODED = ("projects/forms.py", "labels/forms.py")  # a form's text field that is read back, and a person's words kept as one


def joins_of(source: str) -> Iterator[str]:
    """Punctuation that a template writes itself beside what it says: text between values, and strings put to others."""
    tree = environment().parse(source)
    for output in tree.find_all(nodes.Output):
        text = "".join(node.data if isinstance(node, nodes.TemplateData) else PIECE for node in output.nodes)
        read = NOT_READ.sub("", text)
        read = read.rpartition(">")[2] if re.match(r'[^<"]*"[^<]*>', read) else read  # begins inside of a tag
        yield from (f"line {output.lineno}: {found.group()!r}" for found in JOIN.finditer(read))
    said = {id(word) for call in tree.find_all(nodes.Call) if _is_gettext(call) for word in call.find_all(nodes.Const)}
    for word in tree.find_all(nodes.Const):
        if id(word) not in said and isinstance(word.value, str) and re.fullmatch(r"\s*[,;:(]\s*|\)[.,;]?|[,;:] .*", word.value):
            yield f"line {word.lineno}: {word.value!r}"


def _is_gettext(call: nodes.Call) -> bool:
    return isinstance(call.node, nodes.Name) and call.node.name in ("_", "gettext", "ngettext")


@pytest.mark.parametrize(
    "source",
    [
        "<p>{{ _('Three') }}, {{ _('four') }}</p>",
        "<p>{{ _('Three') }} ({{ n }})</p>",
        "<p>{% if a %}; {{ a }}{% endif %}</p>",
        "<p>{% trans %}Three{% endtrans %}.</p>",
        "{{ a ~ ', ' ~ b }}",
        "{{ name ~ ' (' ~ note ~ ')' }}",
        "{% for a in b %}{{ a }}{{ ', ' if not loop.last }}{% endfor %}",
    ],
)
def test_a_join_in_a_template_is_seen(source: str) -> None:
    assert list(joins_of(source))


def test_what_is_said_by_the_catalogue_is_no_join() -> None:
    said = "<p class=\"a, b\">{{ _('Three, four') }} {% trans %}Five (six).{% endtrans %} <code>{{ a }}, x</code></p>"
    assert list(joins_of(said + "{{ [a, b] | listed }}")) == []


def test_templates_leave_commas_brackets_and_stops_to_the_catalogue() -> None:
    """`listed`, `phrases`, `clauses`, `sentence`, `noted` of app/language/formats.py join; all else stands in a sentence."""
    paths = sorted(path for path in TEMPLATES.rglob("*.html") if path.name != "styleguide.html")
    assert [f"{path.relative_to(TEMPLATES)}, {join}" for path in paths for join in joins_of(path.read_text("utf-8"))] == []


def python_joins(source: str) -> Iterator[str]:
    """`", ".join(...)` and f-strings that set one value in brackets or apart from another."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            joint = node.func.value
            if isinstance(joint, ast.Constant) and isinstance(joint.value, str) and re.search("[,;:]", joint.value):
                yield f"line {node.lineno}: {joint.value!r}"
        elif isinstance(node, ast.JoinedStr):
            between = [part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if any(re.fullmatch(r"[,;:] | \(|\)| \([^)]*|, [^/]*", text) for text in between):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def test_a_join_in_python_is_seen() -> None:
    assert list(python_joins("', '.join(names)"))
    assert list(python_joins("f'{share} (n = {n})'"))
    assert not list(python_joins("listed(names)"))


def test_python_leaves_them_to_the_catalogue_too() -> None:
    found = [
        f"{place}, {join}"
        for path in sorted(APP.rglob("*.py"))
        if not (place := str(path.relative_to(APP))).endswith(OTHER_READERS + CODED) and not place.startswith(OTHER_READERS)
        for join in python_joins(path.read_text("utf-8"))
    ]
    assert found == []


def test_pieces_are_joined_as_the_reader_writes() -> None:
    try:
        languages.use("zh-Hant")
        assert formats.sentence([formats.listed(["一則", "", "二則"]), " 三則 "]) == "一則、二則；三則。"
        assert formats.phrases(["完成", "", Markup("<b>花了</b> 3 分")]) == Markup("完成，<b>花了</b> 3 分")
        assert formats.noted("策略", "現用") == "策略（現用）"
        assert formats.noted("策略", None) == "策略"
    finally:
        languages.use(SOURCE)
    assert formats.sentence(["a", "b"]) == "a; b."
    assert formats.sentence([Markup("<b>a</b>"), "<b>"]) == Markup("<b>a</b>; &lt;b&gt;.")
