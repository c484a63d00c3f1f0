from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.models import Prompt
from app.prompts import cli, importers
from app.prompts.importers import Format, open_upload, read_prompts, read_upload
from app.prompts.search import PromptFilter, find_prompts
from app.prompts.service import PromptRow
from tests.app.conftest import Cast
from tests.app.parquet_files import parquet_file


def texts(text: str, format: Format) -> list[str]:
    return [
        row.messages[-1]["content"] if isinstance(row, PromptRow) else f"{row.line}: {row.why}"
        for row in read_prompts(text, format)
    ]


def read(data: bytes, name: str = "") -> list[str]:
    """What an upload holds, its format told by nobody."""
    return [row.messages[-1]["content"] if isinstance(row, PromptRow) else row.why for row in read_upload(data, name=name)]


def test_plain_text_is_a_prompt_a_line() -> None:
    assert texts("One?\r\n\n  Two?  \nThree?", "text") == ["One?", "  Two?", "Three?"]


def test_a_line_separator_inside_a_text_does_not_cut_it() -> None:
    assert texts("One\u2028still one?", "text") == ["One\u2028still one?"]


def test_json_lines_take_texts_and_conversations() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Joke?"}]
    lines = [json.dumps({"text": "One?", "external_id": 7}), json.dumps({"messages": talk})]
    one, two = read_prompts("\n".join(lines), "jsonl")
    assert one == PromptRow(1, [{"role": "user", "content": "One?"}], "7")
    assert isinstance(two, PromptRow)
    assert [message["role"] for message in two.messages] == ["user", "assistant", "user"]


def test_bad_json_names_its_line() -> None:
    found = texts('{"text": "One?"}\n\n{"text": "Two?"\n[1]', "jsonl")
    assert found[0] == "One?"
    assert found[1].startswith("3: This is not JSON: Expecting ',' delimiter at character")
    assert found[2].startswith("4: This must be an object")


def test_a_document_is_read_item_by_item() -> None:
    items = [{"text": "One?"}, "Two?", {"txt": "Three?"}]
    for document in (items, {"items": items}, {"version": 2, "data": items}):
        found = texts(json.dumps(document, indent=2), "jsonl")
        assert found[:2] == ["One?", "Two?"]
        assert found[2].startswith("3: Give either text or messages")


def test_a_list_of_messages_is_one_conversation() -> None:
    assert texts('[{"role": "user", "content": "Hi?"}]', "jsonl") == ["Hi?"]


def test_a_broken_document_says_where_it_breaks() -> None:
    (found,) = texts('[\n  {"text": "One?"},\n  {"text": "Two?"\n', "jsonl")
    assert found.startswith("4: This is not JSON: Expecting ',' delimiter")


def test_a_file_that_is_not_utf8_names_the_line() -> None:
    with pytest.raises(Invalid, match="line 2"):
        open_upload("good\nschön".encode("latin-1"))


def test_a_byte_order_mark_is_no_part_of_the_first_prompt() -> None:
    assert open_upload("\ufeffOne?".encode()) == ("One?", "text")


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(Invalid, match="16 MB"):
        open_upload(b"x" * (importers.MAX_BYTES + 1))


@pytest.mark.parametrize("text", ["a\n" * 50_001, json.dumps(["a"] * 50_001), "text\n" + "a\n" * 50_001])
def test_too_many_prompts_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="50,000"):
        read_upload(text.encode())
    assert len(read_upload(text.replace("a", "", 1).replace('"", ', "").encode())) == 50_000


def test_deeply_nested_json_is_a_bad_line_and_no_crash() -> None:
    assert texts("[" * 100_000, "jsonl")[0].startswith("1: This")


@given(st.text(), st.sampled_from(importers.FORMATS))
def test_no_text_breaks_the_reader(text: str, format: Format) -> None:
    for row in read_prompts(text, format):
        if isinstance(row, PromptRow):
            assert row.messages[-1]["role"] == "user"
            row.messages[-1]["content"].encode()
        else:
            assert row.why


@given(st.binary())
def test_no_bytes_break_the_guess(data: bytes) -> None:
    with suppress(Invalid):
        assert all(isinstance(row, PromptRow) or row.why for row in read_upload(data))


# The same bytes by every door

TALK = [{"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "A model."}]
SAME = {
    "an array": (
        b'[{"text": "Why is the sky blue?"}, {"text": "    x = 1\\nGo on."}]',
        ["Why is the sky blue?", "    x = 1\nGo on."],
    ),
    "lines of objects": (b'{"prompt": "One?", "id": 7}\n{"prompt": "Two?"}\n', ["One?", "Two?"]),
    "lines of texts": (b'"Why?"\n"Say \\"hi\\",\\nthen stop."', ["Why?", 'Say "hi",\nthen stop.']),
    "Alpaca": (
        json.dumps([{"instruction": "Translate.", "input": "Hallo", "output": "Hello"}], indent=2).encode(),
        ["Translate.\n\nHallo"],
    ),
    "ShareGPT": (json.dumps([{"id": "a", "conversations": TALK}], indent=2).encode(), ["Who are you?"]),
    "commas": (b'id,prompt\n1,Why?\n2,"Name a prime, above 10."\n', ["Why?", "Name a prime, above 10."]),
    "tabs": (b"id\tprompt\n1\tWhy?\n2\tName a prime, above 10.\n", ["Why?", "Name a prime, above 10."]),
    "semicolons with a mark": (
        "\ufeffid;prompt\r\n1;Warum; wozu?\r\n".replace("Warum; wozu?", '"Warum; wozu?"').encode(),
        ["Warum; wozu?"],
    ),
    "plain": (
        "為什麼天空是藍色的？\nHello, world\n[Chorus] go on\n".encode(),
        ["為什麼天空是藍色的？", "Hello, world", "[Chorus] go on"],
    ),
}
DATA_NOT_PROMPTS = {
    "a piece of JSON": (b'"instruction": "Give three tips",\n"input": ""\n', "This looks like JSON. Choose the format."),
    "a table of other columns": (b"id,question\n1,Why?\n2,How?\n", "This looks like CSV. Choose the format."),
    "a page": (b"<!DOCTYPE html>\n<html><body>Hi</body></html>", "This looks like HTML/XML. Choose the format."),
    "UTF-16": ("One?\nTwo?".encode("utf-16"), "This text is in UTF-16."),
    "UTF-16 without a mark": ("One?\nTwo?".encode("utf-16-le"), "This text is in UTF-16."),
    "Chinese in UTF-16 without a mark": (
        "為什麼天空是藍色的？\n海水為什麼是鹹的，還有為什麼會有浪？\n".encode("utf-16-le"),
        "This text is in UTF-16.",
    ),
    "the same, the other way round": (
        "為什麼天空是藍色的？\n海水為什麼是鹹的，還有為什麼會有浪？\n".encode("utf-16-be"),
        "This text is in UTF-16.",
    ),
    "another encoding": ("為什麼天空是藍色的？\n".encode("big5"), "Save it as UTF-8."),
    "a NUL": (b"One?\nTw\0o?\nThree?\n", "NUL"),
    "a NUL in JSON": (b'{"text": "One?"}\n{"text": "Tw\\u0000o?"}', "NUL"),
    "a NUL in a table": (b"text,external_id\nOne?,a\nTwo?,b\0\n", "NUL"),
    "half a character": (b'{"text": "One?"}\n{"text": "\\ud83d"}', "lone surrogate"),
    "half a character in an id": (b'{"text": "One?", "external_id": "\\udc00"}', "lone surrogate"),
    "a workbook": (b"PK\x03\x04" + b"\0" * 30 + b"xl/workbook.xml", "This is an Excel workbook."),
}
Door = Callable[[bytes], tuple[int, str]]


@pytest.fixture(params=["upload", "paste", "file", "standard input", "call"])
def door(
    request: pytest.FixtureRequest,
    engine: Engine,
    cast: Cast,
    as_user: Callable[[str], TestClient],
    api: Callable[..., TestClient],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Door:
    """One of the ways in: takes bytes, and gives whether they were taken (0) and what was said."""

    def page(data: dict[str, str], files: dict[str, tuple[str, bytes]] | None = None) -> tuple[int, str]:
        reply = as_user("Grace").post("/projects/demo/prompts/import", data={"format": "auto", **data}, files=files)
        return int(reply.status_code != 303), reply.text

    def program(*words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        cli.add_arguments(parser)
        try:
            return cli.run(engine, parser.parse_args(["demo", *words])), capsys.readouterr().err
        except Invalid as refusal:
            return 1, refusal.detail

    def file(data: bytes) -> tuple[int, str]:
        (tmp_path / "given").write_bytes(data)
        return program(str(tmp_path / "given"))

    def standard_input(data: bytes) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return program("-")

    def call(data: bytes) -> tuple[int, str]:
        kind = {"content-type": "application/octet-stream"}
        reply = api("admin", who="Grace").post("/api/v1/projects/demo/prompts", content=data, headers=kind)
        return int(reply.status_code != 200), reply.text

    doors: dict[str, Door] = {
        "upload": lambda data: page({"pasted": ""}, {"file": ("given", data)}),
        "paste": lambda data: page({"pasted": data.decode("utf-8", "surrogateescape")}),
        "file": file,
        "standard input": standard_input,
        "call": call,
    }
    return doors[str(request.param)]


def test_the_same_data_is_read_alike_by_every_door(door: Door, engine: Engine, cast: Cast) -> None:
    for name, (data, wanted) in SAME.items():
        assert door(data)[0] == 0, name
        with write_session(engine) as session:
            found = find_prompts(session, cast.demo, PromptFilter())
            assert [prompt.messages[-1]["content"] for prompt in reversed(found)] == wanted, name
            session.execute(delete(Prompt))


def test_data_that_is_no_prompts_comes_in_by_no_door(
    request: pytest.FixtureRequest, door: Door, engine: Engine, cast: Cast
) -> None:
    for name, (data, words) in DATA_NOT_PROMPTS.items():
        if "paste" in request.node.name and (b"\0" in data or "�" in data.decode("utf-8", "replace")):
            continue  # a text box cannot hold it
        refused, said = door(data)
        assert (refused, words in said) == (1, True), (name, said)
    with read_session(engine) as session:
        assert find_prompts(session, cast.demo, PromptFilter()) == []


def test_the_name_of_a_file_decides_where_its_content_does_not() -> None:
    assert read(b"question\nWhy?", "a.csv") == ["The first line must name the columns, one of them text, prompt or messages."]
    assert read(b"Why?", "a.jsonl")[0].startswith("This is not JSON")
    assert read(b'{"text": "Why?"}', "prompts.jsonl.txt") == ["Why?"]
    assert read(b"id\tprompt\n1\tWhy?", "prompts.txt") == ["Why?"]


def test_parquet_is_read_like_the_same_rows_in_json_lines_whatever_format_was_chosen() -> None:
    items: list[dict[str, object]] = [
        {"text": "Why?", "external_id": "q-1", "topic": "cats"},
        {"text": ""},
        {"text": "How?\nSo?", "tags": ["a", "b"]},
    ]
    lines = "\n".join(json.dumps(item) for item in items).encode()
    for format in (None, "jsonl", "csv", "text"):
        assert read_upload(parquet_file(items), format, "prompts.bin") == read_upload(lines)


def test_parquet_that_is_damaged_or_unpacks_to_too_much_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    file = parquet_file([{"text": f"Why is {number}?"} for number in range(30)])
    with pytest.raises(Invalid, match="damaged or not whole"):
        read_upload(file[:-20])
    monkeypatch.setattr(importers, "MAX_CHARACTERS", 100)
    with pytest.raises(Invalid, match="100 characters"):
        read_upload(file)
    monkeypatch.setattr(importers, "MAX_BYTES", 10)
    with pytest.raises(Invalid, match="larger than"):
        read_upload(file)
