"""What a look keeps of a candidate, and the decision in words."""

from __future__ import annotations

from app.evaluation.decision import decide
from app.evaluation.evidence import Asked, said_of
from app.evaluation.look import MOST_DRAWN, reason_of, standing_of


def look_at(values: list[float], planned: int, *, beside: bool = False) -> dict[str, object]:
    said = said_of([Asked(place, None, [value], [], [place % 3]) for place, value in enumerate(values)], 1, {})
    return standing_of(decide({1: said.evidence}, planned=planned, beside=beside).verdicts[1], said)


def test_the_drawing_keeps_so_many_points_and_the_last_one() -> None:
    standing = look_at([1.0, 0.0] * 350, 1000)
    track = standing["track"]
    assert isinstance(track, list)
    assert len(track) <= MOST_DRAWN + 1
    assert track[-1] == [700, standing["lower"], standing["upper"]]


def test_the_verdicts_that_are_told_are_those_of_the_figures() -> None:
    """What comes after a decision is in neither; of what is only seen beside all is in both."""
    values = [1.0] * 7 + [0.0] * 13
    decided, beside = look_at(values, 40), look_at(values, 40, beside=True)
    names = ("mean", "verdicts", "people", "won", "lost")
    assert [decided[name] for name in names] == [1.0, 7, 3, 7, 0]
    assert [beside[name] for name in names] == [0.35, 20, 3, 7, 13]


def test_each_end_has_its_own_words() -> None:
    won, lost, spent = look_at([1.0] * 40, 40), look_at([0.0] * 40, 40), look_at([1.0, 0.0] * 10, 20)
    assert (won["promotes"], lost["rejects"], spent["spent"]) == (True, True, True)
    codes = [
        reason_of({7: won}, 7).code,
        reason_of({7: lost}, None).code,
        reason_of({7: spent}, None).code,
        reason_of({7: spent, 8: lost}, None).code,
        reason_of({7: spent | {"worse_flags": ["untrue"]}}, None).code,
    ]
    assert codes == [
        "people_prefer_it",
        "people_do_not_prefer_it",
        "budget_spent",
        "people_do_not_prefer_it",
        "flagged_more_often",
    ]
