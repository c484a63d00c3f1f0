import json
from pathlib import Path

import pytest

from trainer.contract.folder import Refused, RunFolder
from trainer.lm.backbone import chat_ids
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.sft.documents import Demonstration, Document, encode, read_documents, split


def test_only_the_assistants_tokens_of_a_conversation_are_predicted(simple_lm_folder: Path) -> None:
    model = load_backbone(str(simple_lm_folder))
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "No"},
    ]
    first, second = encode(model, [Demonstration(talk, "")], 200, LeftOut())
    assert model.tokenizer.decode(first.ids[first.first :]) == "Yes<|eos|>"
    assert model.tokenizer.decode(second.ids[second.first :]) == "No<|eos|>"
    assert second.ids[: second.first] == chat_ids(model.tokenizer, talk[:3])


def test_every_token_of_a_text_but_the_first_is_predicted_once(simple_lm_folder: Path) -> None:
    model = load_backbone(str(simple_lm_folder))
    pieces = encode(model, ["One two three, four five six seven.", "Eight."], 8, LeftOut())
    assert max(len(piece.ids) for piece in pieces) == 8
    texts: list[list[int]] = []
    for piece in pieces:
        if piece.ids[0] == model.tokenizer.bos_token_id:
            texts.append(piece.ids)
        else:
            assert piece.ids[0] == texts[-1][-1]
            texts[-1] = texts[-1] + piece.ids[1:]
    assert [model.tokenizer.decode(ids) for ids in texts] == [
        "<|bos|>One two three, four five six seven.<|eos|>",
        "<|bos|>Eight.<|eos|>",
    ]
    assert {piece.first for piece in pieces} == {1}


def test_held_out_documents_are_never_trained_on() -> None:
    documents: list[Document] = [f"document {index % 40}" for index in range(120)]
    training, held_out = split(documents)
    assert len({str(document) for document in held_out}) == 8
    assert not {str(document) for document in training} & {str(document) for document in held_out}
    assert len(training) + len(held_out) == 120
    assert len(split([f"document {index}" for index in range(400)])[1]) == 20
    assert split(["one", "two"]) == (["one", "two"], [])


def test_two_answers_to_a_prompt_stand_on_the_same_side() -> None:
    documents: list[Document] = [
        Demonstration(
            [{"role": "user", "content": f"Question {index % 20}"}, {"role": "assistant", "content": f"Answer {index}"}], ""
        )
        for index in range(60)
    ]
    training, held_out = split(documents)
    asked = [
        {document.turns[0]["content"] for document in part if not isinstance(document, str)} for part in (training, held_out)
    ]
    assert len(asked[1]) == 4
    assert not asked[0] & asked[1]


def test_texts_and_demonstrations_are_read_together_and_a_bad_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"kind": "sft"}')
    (tmp_path / "text.txt").write_text("One.\n\n\nTwo\nlines.\n")
    (tmp_path / "demonstrations.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi", "extra": 1}]}\n')
    assert read_documents(RunFolder(tmp_path)) == [
        "One.",
        "Two\nlines.",
        Demonstration([{"role": "user", "content": "Hi"}], "demonstrations.jsonl:1"),
    ]
    for bad in ('{"messages": "Hi"}', '{"messages": [{"role": "user"}]}', "[]", '{"prompt": "Hi"}'):
        (tmp_path / "demonstrations.jsonl").write_text('{"messages": []}\n' + bad)
        with pytest.raises(Refused, match="row 2: “messages” must be a list"):
            read_documents(RunFolder(tmp_path))
    (tmp_path / "demonstrations.jsonl").write_text("{")
    with pytest.raises(Refused, match=r"demonstrations\.jsonl, line 1: this is not JSON"):
        read_documents(RunFolder(tmp_path))


def test_a_text_that_begins_with_an_indent_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"kind": "sft"}')
    (tmp_path / "text.txt").write_text("    return x\n\n\tmake\n\nOne.  \n", encoding="utf-8")
    assert read_documents(RunFolder(tmp_path)) == ["    return x", "\tmake", "One."]


def test_a_byte_order_mark_is_no_text_and_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    texts = "One fine day.\n\nThe fox’s den."
    row = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a’"}]}, ensure_ascii=False)
    good = row.replace("’", "")
    for encoding, line in (("utf-16", 1), ("utf-16-le", 1), ("utf-16-be", 1), ("cp1252", 3)):
        for name, words in (("text.txt", texts), ("demonstrations.jsonl", f"{good}\n\n{row}\n")):
            folder = sft_folder(tmp_path / encoding / name)
            folder.file(name).write_bytes(words.encode(encoding))
            with pytest.raises(Refused, match=f"^{name} is not UTF-8: line {line}$"):
                read_documents(folder)
    marked = sft_folder(tmp_path / "marked")
    marked.file("text.txt").write_bytes(texts.encode("utf-8-sig"))
    marked.file("demonstrations.jsonl").write_bytes(row.encode("utf-8-sig"))
    assert read_documents(marked)[0] == "One fine day."
    assert len(read_documents(marked)) == 3


def sft_folder(path: Path) -> RunFolder:
    path.mkdir(parents=True)
    (path / "run.json").write_text('{"kind": "sft"}', encoding="utf-8")
    return RunFolder(path)
