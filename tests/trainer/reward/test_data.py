"""Judgements from files, and prompts that stay in one fold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.contract.folder import Refused
from trainer.lm.loading import load_backbone
from trainer.reward.data import encode_all, folds, most_tokens, read_labels, token_sequence

END = {2}


def comparison(prompt: str = "Why?", left: str = "Because.", right: str = "No idea.", **other: Any) -> dict[str, Any]:
    return {
        "label_id": 1,
        "prompt_id": 1,
        "messages": [{"role": "user", "content": prompt}],
        "left": {"text": left, "token_ids": None},
        "right": {"text": right, "token_ids": None},
        "choice": "left",
        "strength": None,
        "annotator": "a",
    } | other


def rating(prompt: str = "Why?", text: str = "Because.", **other: Any) -> dict[str, Any]:
    return {
        "label_id": 2,
        "prompt_id": 1,
        "messages": [{"role": "user", "content": prompt}],
        "response": {"text": text, "token_ids": None},
        "overall": 4,
        "criteria": {"fluency": 5},
        "annotator": "a",
    } | other


def write(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_an_answer_that_several_judgements_speak_of_is_kept_once(tmp_path: Path) -> None:
    write(tmp_path, "preferences.jsonl", comparison(), comparison(choice="tie", annotator="b"))
    write(tmp_path, "ratings.jsonl", rating())
    write(tmp_path, "panel.jsonl", {"prompt_id": 1, "messages": rating()["messages"], "response": {"text": "No idea."}})

    labels = read_labels(tmp_path)

    assert [answer.text for answer in labels.answers] == ["Because.", "No idea."]
    assert [(label.left, label.right, label.choice) for label in labels.comparisons] == [(0, 1, "left"), (0, 1, "tie")]
    assert [(label.answer, label.overall) for label in labels.ratings] == [(0, 4)]
    assert labels.panel == [1]
    assert labels.usable == 3


def test_an_answer_that_was_cut_is_another_than_the_same_words_said_to_the_end(tmp_path: Path, simple_lm_folder: Path) -> None:
    whole, cut = {"text": "Because it", "token_ids": None}, {"text": "Because it", "token_ids": None, "cut": True}
    write(tmp_path, "ratings.jsonl", *(rating(response=response) for response in (whole, cut, cut)))
    write(tmp_path, "panel.jsonl", {"prompt_id": 1, "messages": rating()["messages"], "response": cut})

    labels = read_labels(tmp_path)

    assert [answer.cut for answer in labels.answers] == [False, True]
    assert [label.answer for label in labels.ratings] == [0, 1, 1]
    assert labels.panel == [1]
    ended, broken_off = encode_all(load_backbone(str(simple_lm_folder)), labels.answers, 100)
    assert (ended.cut, broken_off.cut) == (False, True)
    assert ended.digest == broken_off.digest  # averaged over the same tokens: the features are the same


def test_a_comparison_of_an_answer_with_itself_is_counted_as_skipped(tmp_path: Path) -> None:
    write(tmp_path, "preferences.jsonl", comparison(right="Because."), comparison())

    labels = read_labels(tmp_path)

    assert (labels.usable, labels.skipped) == (1, 1)


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        (
            "preferences.jsonl",
            comparison(choice="a"),
            "preferences.jsonl, row 2: “choice” must be one of left, right, tie, both_bad",
        ),
        ("preferences.jsonl", comparison(strength=4), "preferences.jsonl, row 2: “strength” must be one of 1, 2, 3, null"),
        ("preferences.jsonl", {"choice": "left"}, "preferences.jsonl, row 2: “messages” is missing"),
        (
            "preferences.jsonl",
            comparison(criteria={"fluency": 4}),
            "preferences.jsonl, row 2: A criterion must be one of left, right, tie",
        ),
        ("preferences.jsonl", comparison(source="guess"), "preferences.jsonl, row 2: “source” must be one of verdict, rewrite"),
        (
            "ratings.jsonl",
            rating(overall=6),
            "ratings.jsonl, row 2: “overall” and every criterion must be a whole number from 1 to",
        ),
        ("ratings.jsonl", rating(criteria={"fluency": 0}), "ratings.jsonl, row 2: “overall” and every criterion must be a whole"),
    ],
)
def test_a_row_that_breaks_the_format_is_named(tmp_path: Path, name: str, row: dict[str, Any], reason: str) -> None:
    write(tmp_path, name, comparison() if name == "preferences.jsonl" else rating(), row)

    with pytest.raises(Refused, match=reason):
        read_labels(tmp_path)


def test_a_prompt_is_in_one_fold_with_all_its_judgements(tmp_path: Path) -> None:
    rows = [comparison(f"Question {number % 20}?", left=f"answer {number}", prompt_id=number) for number in range(60)]
    write(tmp_path, "preferences.jsonl", *rows)
    write(tmp_path, "ratings.jsonl", *[rating(f"Question {number % 20}?", prompt_id=900 + number) for number in range(40)])
    labels = read_labels(tmp_path)

    split = folds(labels.prompt_keys, 5)

    seen: dict[str, set[int]] = {}
    for label in labels.comparisons:
        seen.setdefault(labels.answers[label.left].messages[0][1], set()).add(split[label.prompt_key])
    for rated in labels.ratings:
        seen.setdefault(labels.answers[rated.answer].messages[0][1], set()).add(split[rated.prompt_key])
    assert len(seen) == 20
    assert all(len(found) == 1 for found in seen.values())
    assert sorted(list(split.values()).count(fold) for fold in range(5)) == [4] * 5


def test_folds_follow_the_hash_not_the_order_of_the_rows() -> None:
    keys = [f"{number:02d}" for number in range(30)]

    assert folds(keys, 5) == folds(keys[::-1] + keys, 5)
    assert folds(keys, 5, seed=1) != folds(keys, 5)


def test_the_end_token_is_stripped_unless_it_is_all_there_is() -> None:
    assert token_sequence([5, 6], [7, 8, 2], END, 100) == ([5, 6], [7, 8], False, False)
    assert token_sequence([5, 6], [7, 8], END, 100) == ([5, 6], [7, 8], False, False)
    assert token_sequence([5, 6], [2], END, 100) == ([5, 6], [2], False, False)
    assert token_sequence([5, 6], [7, 2, 8], END, 100, cut=True) == ([5, 6], [7, 2, 8], True, False)


def test_a_long_prompt_loses_its_beginning_and_a_long_answer_its_end() -> None:
    prompt, answer = list(range(100, 200)), list(range(200, 300))

    assert token_sequence(prompt, answer[:10], END, 40) == (prompt[-30:], answer[:10], False, True)
    assert token_sequence(prompt, answer, END, 40) == (prompt[-10:], answer[:30], False, True)
    assert token_sequence(prompt[:3], answer, END, 40) == (prompt[:3], answer[:37], False, True)
    assert token_sequence(prompt, answer, END, 200) == (prompt, answer, False, False)


def test_nothing_is_cut_unless_a_person_says_so(llama_folder: Path, simple_lm_folder: Path) -> None:
    base = load_backbone(str(llama_folder))
    assert most_tokens(base, 0) == base.plain.config.max_position_embeddings
    assert most_tokens(base, 40) == 40
    assert most_tokens(load_backbone(str(simple_lm_folder)), 0) >= 131_072  # a recurrent model sets no bound
