"""The crowd that judges over HTTP, and what could be told of it at best."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bench.judges import KNOWN, Questions, told
from bench.noise import KINDS_OF_PEOPLE, asked, best_found_in, crowd, found_in, scored


def test_a_task_is_known_again_by_its_answers_whichever_stands_left() -> None:
    questions = Questions(seed=0, count=3)
    lines = questions.lines()

    assert len(lines) == 2 * (KNOWN + 3)
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert first["prompt"] == second["prompt"]
        put, first_left = questions.of({"left": first, "right": second})
        again, swapped = questions.of({"left": second, "right": first})
        assert (put == again).all()
        assert first_left
        assert not swapped
        longer = put[0, 2]
        assert (len(first["text"]) > len(second["text"])) == (round(8 * longer) > 0)
    assert (np.abs(questions.asked[:KNOWN, :2]) >= 1.5).all()


def test_whoever_takes_one_side_by_chance_is_told_so() -> None:
    side = {"n": 60, "value": 0.8, "low": 0.68, "high": 0.88}
    even = {"n": 60, "value": 0.5, "low": 0.38, "high": 0.62}
    by_chance = {"shared": 0.1, "chance": 0.7, "opposite": 0.1, "taste": 0.1}

    assert told(by_chance, even) == "chance"
    assert told(by_chance, side) == "side"
    assert told({"shared": 0.5, "chance": 0.3, "opposite": 0.1, "taste": 0.1}, even) == ""
    assert told({}, even) == ""


def test_who_knows_everybody_elses_kind_tells_no_worse_than_the_pages_do() -> None:
    put, best, found = asked(np.random.default_rng(0), 1000), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for seed in range(8):
        made = crowd(seed, 100, 7)
        best.update(zip(KINDS_OF_PEOPLE, best_found_in(made, put), strict=True))
        found.update(zip(KINDS_OF_PEOPLE, found_in(made), strict=True))

    assert scored(best)["recall"] >= max(0.95, scored(found)["recall"] - 0.05)
    assert scored(best)["precision"] >= 0.9
