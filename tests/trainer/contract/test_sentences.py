"""Messages by themselves: every one that is made is in the table with its arguments, and every one of the table is made."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from trainer.contract.messages import PLACE, places
from trainer.contract.sentences import OF_EARLIER_VERSIONS, SENTENCES

ROOT = Path(__file__).resolve().parents[3]
READER = "trainer/contract/messages.py"  # makes a message of what was stored


def made(folder: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every `Message(...)` of the program, with where it stands."""
    for room in ("app", "trainer"):
        for path in sorted((folder / room).rglob("*.py")):
            short, text = path.relative_to(folder).as_posix(), path.read_text("utf-8")
            if short != READER and "trainer.contract.messages import" not in text:
                continue  # its messages are others: turns of a conversation
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Message":
                    yield f"{short}:{call.lineno}", call


def wrong(folder: Path) -> Iterator[str]:
    for place, call in made(folder):
        code = call.args[0].value if len(call.args) == 1 and isinstance(call.args[0], ast.Constant) else None
        if code not in SENTENCES:
            yield f"{place}: no code of the table"
        elif {keyword.arg for keyword in call.keywords} != places(str(code)):
            yield f"{place}: {code} takes {sorted(places(str(code)))}"


def test_every_message_that_is_made_is_in_the_table_with_exactly_its_arguments() -> None:
    assert [one for one in wrong(ROOT) if not one.startswith(READER)] == []


def test_every_message_of_the_table_is_made_somewhere() -> None:
    codes = {call.args[0].value for _place, call in made(ROOT) if call.args and isinstance(call.args[0], ast.Constant)}
    assert SENTENCES.keys() - codes == OF_EARLIER_VERSIONS


SPEAKERS = {"progress", "Refused", "ConfigError", "CheckpointError"}


def test_nothing_is_said_in_a_plain_string() -> None:
    """What the types ask for already, also where they are loose: progress, refusals and endings are messages."""
    plain = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / "trainer").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and said_by(call) & SPEAKERS and is_text(call.args[-1:])
    ]
    assert plain == []


def said_by(call: ast.Call) -> set[str]:
    function = call.func
    return {function.id} if isinstance(function, ast.Name) else {function.attr} if isinstance(function, ast.Attribute) else set()


def is_text(last: list[ast.expr]) -> bool:
    return any(isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and isinstance(one.value, str)) for one in last)


def test_a_message_that_is_not_in_the_table_is_seen(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "x.py").write_text(
        "from trainer.contract.messages import Message\n"
        'Message("moon")\nMessage("done")\nMessage("done", why="x")\nMessage(f"policy_of_{kind}", number=3)\n'
        'Message("policy_of_round", **given)\n'
    )
    assert [one.split(": ")[0] for one in wrong(tmp_path)] == [f"trainer/x.py:{line}" for line in (2, 4, 5, 6)]


def test_sentences_begin_alike_and_name_nothing_by_its_name_in_the_code() -> None:
    words = {code: PLACE.sub("", sentence) for code, sentence in SENTENCES.items()}
    assert [code for code, sentence in SENTENCES.items() if not re.match(r"[A-Z“%]", sentence)] == []
    assert [code for code, text in words.items() if re.search(r"\w_\w", text)] == []
