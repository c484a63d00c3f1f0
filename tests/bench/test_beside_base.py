"""A model's answers beside the base's and the best of four, on numbers made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.beside_base import Answer, Answers, best_of, reached, win_rates, win_rates_of_best, write


def answers(*texts: str, rewards: str = "") -> list[Answer]:
    given = [float(digit) for digit in rewards] or [0.0] * len(texts)
    return [Answer("Why?", text, len(text), False, reward) for text, reward in zip(texts, given, strict=True)]


def longer(_prompt: str, text: str) -> float:
    return float(len(text))


def test_every_new_answer_meets_every_old_one_and_ties_count_half() -> None:
    assert win_rates({1: answers("aa", "aaaa"), 2: answers("a")}, {1: answers("a", "aa", "aaa"), 2: answers("a")}, longer) == [
        pytest.approx((1 + 0.5 + 0 + 3) / 6),
        0.5,
    ]


def test_the_best_of_a_half_meets_the_other_half_and_never_itself() -> None:
    base: Answers = {1: answers("aaa", "a", "aa", "aaaa", rewards="9012")}

    assert [one.text for one in best_of(base)[1]] == ["aaa", "aaaa"], "by the reward, not by the taste"
    assert win_rates_of_best(base, longer) == [pytest.approx((0.5 + 1.0) / 2)]


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, None),
        ({"win_rate": 0.84}, "wins"),
        ({"kl_per_sequence": 10.1}, "kl"),
        ({"ours": {"fluency": -1.06, "relevance": 0.5}}, "fluency"),
        ({"ours": {"fluency": -1.04, "relevance": 0.47}}, "relevance"),
        ({"best_of_4": 0.9}, "above_best_of_4"),
    ],
)
def test_a_goal_is_missed_by_what_misses_it(change: dict[str, object], missed: str | None) -> None:
    line = {"win_rate": 0.9, "best_of_4": 0.8, "kl_per_sequence": 9.0, "base": {"fluency": -1.0, "relevance": 0.5}}
    found = reached({**line, "ours": {"fluency": -1.04, "relevance": 0.48}, **change})

    assert [name for name, is_reached in found.items() if not is_reached] == ([] if missed is None else [missed])


def test_fifty_answers_stand_beside_the_bases_to_be_read(tmp_path: Path) -> None:
    new = {number: answers(*(f"new {number} {turn}" for turn in range(4))) for number in range(20)}
    base = {number: answers(*(f"old {number} {turn}" for turn in range(4)), rewards="0123") for number in range(20)}
    write(tmp_path / "read.txt", "relevant", new, base, longer)
    text = (tmp_path / "read.txt").read_text()

    assert text.count("-- ours") == text.count("-- base") == text.count("-- best of 4") == 50
    assert "-- base (7): old 3 0\n-- best of 4 (7): old 3 1\n-- ours (7): new 3 0\n" in text
