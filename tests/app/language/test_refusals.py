"""Whatever refuses says why in the reader's language: no sentence of the web process is plain English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from app.language.languages import LOCALES

APP = LOCALES.parent / "app"
TRANSLATED = {"_", "N_", "ngettext", "N_plural"}
REFUSALS = {
    *("Refusal", "Invalid", "NotSignedIn", "NotAllowed", "NotFound", "Conflict", "Gone", "TooMany", "Unavailable"),
    *("Unusable", "BadLine"),
}
FOR_PROGRAMS = {"Field", "Query"}  # describe the API, which is in English
# What somebody at the machine's own terminal reads, which is in English; and examples that are shown as a person's own words.
AT_THE_TERMINAL = re.compile(r"(^|/)(\w*cli|start|settings)\.py|^demo/|^database/(backup|capacity|upgrade)\.py")
# Descriptions for programs, examples, and what is said before there is a request whose language one could ask for.
NOT_READ_AS_OURS = ("web/openapi.py", "web/styleguide.py", "web/sockets/guard.py")
SENTENCE = re.compile(r"[A-Z“].* .*[.?]", re.DOTALL)


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def texts(node: ast.AST, besides: set[str]) -> Iterator[tuple[int, str]]:
    """Texts in a piece of source, with their lines: not docstrings, keys of dicts, nor what stands in calls to `besides`."""
    if isinstance(node, ast.Call) and called(node) in besides:
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    inner = [node.value] if isinstance(node, ast.Subscript) else node.values if isinstance(node, ast.Dict) else None
    for child in ast.iter_child_nodes(node) if inner is None else inner:
        yield from texts(child, besides)


def untranslated(source: str, *, sentences: bool) -> list[int]:
    """Lines with words that a refusal says as they are; with `sentences`, also with any other sentence."""
    tree = ast.parse(source)
    said = [
        line
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and called(call) in REFUSALS
        for part in (*call.args, *call.keywords)
        for line, text in texts(part, TRANSLATED)
        if " " in text
    ]
    if sentences:
        said += [line for line, text in texts(tree, TRANSLATED | FOR_PROGRAMS) if SENTENCE.fullmatch(text.strip())]
    return sorted(set(said))


def test_an_untranslated_refusal_is_seen() -> None:
    assert untranslated('raise Invalid("That is wrong.", {"name": _("so")})', sentences=False) == [1]
    assert untranslated('raise Invalid(_("That is wrong."), {"name": "not so"})', sentences=False) == [1]
    assert untranslated('raise Conflict(f"There are {count} of them.")', sentences=False) == [1]
    assert untranslated('missing = {name: "This is needed." for name in names}', sentences=True) == [1]
    assert untranslated('raise Invalid(_("%(a)s b", a=known("c d")), {"a b": N_("so so")})', sentences=True) == []
    assert (
        untranslated('def f():\n    """A docstring. And more."""\n    return Field(description="For a program.")', sentences=True)
        == []
    )


def test_every_refusal_is_said_in_the_readers_language() -> None:
    found = []
    for path in sorted(APP.rglob("*.py")):
        short = path.relative_to(APP).as_posix()
        if AT_THE_TERMINAL.search(short) or short in NOT_READ_AS_OURS:
            continue
        describes = re.search(r"(api|bodies|routes)\.py$", short) is not None  # calls and their fields, to programs
        found += [f"app/{short}:{line}" for line in untranslated(path.read_text(), sentences=not describes)]
    assert found == []
