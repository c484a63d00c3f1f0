from __future__ import annotations

import pytest

from app.runs.figures.standards import standards_of

TASTES = {"taste": True, "taste_larger": 12, "taste_smaller": 8, "accuracy_without_taste": 0.6, "accuracy_with_taste": 0.7}


def test_where_nobody_counts_less_it_says_so() -> None:
    assert standards_of({"people_weighed": 4, "people_counting_less": 0, "people_turned_round": 0}) == [
        "People were weighed by how reliable each is: nobody counts for much less than the others."
    ]


@pytest.mark.parametrize(
    ("followed", "said"),
    [
        ("everybody", "what all of them like on average"),
        ("larger", "the larger group"),
        ("smaller", "the smaller group"),
    ],
)
def test_tastes_are_told_with_whose_is_followed_and_what_that_is_worth(followed: str, said: str) -> None:
    assert standards_of(TASTES | {"taste_followed": followed}) == [
        f"People’s tastes differ: 12 here and 8 there. The model follows {said}. "
        "Of verdicts it had not seen, that foretells 70% in place of 60%."
    ]


def test_tastes_that_were_tried_in_vain_are_told_and_a_run_of_before_says_nothing() -> None:
    assert standards_of({"taste": False, "accuracy_with_taste": 0.6}) == [
        "Telling people’s tastes apart foretold them no better."
    ]
    assert standards_of({"taste": False}) == []
    assert standards_of({}) == []
