from __future__ import annotations

import io
import zipfile

import pytest

from app.errors import Invalid
from app.prompts.file_formats import guess_format, refuse_what_is_no_text


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ('[{"text": "a"}]', "jsonl"),
        ('\n [\n  "a",\n  "b"\n]\n', "jsonl"),
        ('{"text": "a"}\n{"text": "b"}', "jsonl"),
        ('{"text": "a"\n{"text": "b"}', "jsonl"),
        ('"Why?"\n"Say \\"hi\\""', "jsonl"),
        ("id,prompt\n1,Why?", "csv"),
        ("Why?\nHow?", "text"),
        ('"Hello" is what kind of word?\nWhy?', "text"),
        ("[Verse 1] sing on", "text"),
        ("{name}, how are you?", "text"),
        ("Dear all,\nHello, world", "text"),
        ("- Why?\n- How?", "text"),
        ("", "text"),
    ],
)
def test_the_content_tells_the_format(text: str, format: str) -> None:
    assert guess_format(text) == format


@pytest.mark.parametrize(
    ("text", "look"),
    [
        ('[{"text": "a"},\n{"text": "b"', "JSON"),
        ("[{'text': 'a'}]", "JSON"),
        ('Here it is:\n{\n"text": "a"\n}', "JSON"),
        ("<rows>\n<row>Why?</row>\n</rows>", "HTML/XML"),
        ("- text: Why?\n- text: How?", "YAML"),
        ("id,question\n1,Why?", "CSV"),
    ],
)
def test_what_looks_like_data_but_cannot_be_read_is_not_taken_for_prompts(text: str, look: str) -> None:
    with pytest.raises(Invalid, match=f"This looks like {look}. Choose the format."):
        guess_format(text)


def packed(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<x/>" * 5000)
        archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed("xl/workbook.xml"), "Excel workbook"),
        (packed("prompts.csv"), "compressed file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel workbook"),
        (b"\x1f\x8b\x08\x00", "compressed file"),
        (b"ARROW1\x00\x00", "Arrow"),
        (b"%PDF-1.7", "PDF"),
        ("Why?".encode("utf-16"), "UTF-16"),
        ("Why?".encode("utf-16-be"), "UTF-16"),
    ],
)
def test_a_file_that_is_no_text_is_called_by_its_name(data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        refuse_what_is_no_text(data)


def test_a_text_with_one_odd_character_is_still_text() -> None:
    refuse_what_is_no_text(b"Why?\0 " * 3 + b"This is a text like any other.")
