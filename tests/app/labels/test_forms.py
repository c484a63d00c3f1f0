"""The annotating form, read into a verdict and written back."""

from __future__ import annotations

import uuid

import pytest
from starlette.datastructures import FormData

from app.errors import Invalid
from app.labels.forms import skip_reason_of, tasks_in_hand, values_again, values_of, verdict_of
from app.labels.verdict import Rewrite
from app.models import Label

CLIENT = str(uuid.uuid4())


def form(*fields: tuple[str, str]) -> FormData:
    return FormData([("csrf_token", "t"), ("client_id", CLIENT), ("active_ms", ""), ("comment", ""), *fields])


def test_a_comparison_is_read() -> None:
    verdict = verdict_of(
        form(
            ("choice", "left"),
            ("strength", "2"),
            ("flags.right", "untrue"),
            ("flags.right", "broken"),
            ("rewrite.left", ""),
            ("rewrite.right", "One\r\ntwo"),
        )
    )

    assert (verdict.client_id, verdict.choice, verdict.strength) == (CLIENT, "left", 2)
    assert verdict.flags == {"right": ["untrue", "broken"]}
    assert verdict.rewrite == Rewrite("right", "One\ntwo")
    assert verdict.active_ms is None


def test_a_rating_is_read() -> None:
    verdict = verdict_of(
        form(("overall", "4"), ("criteria.fluency", "5"), ("flags.response", "unsafe"), ("rewrite.response", "x"))
    )

    assert (verdict.overall, verdict.criteria, verdict.flags) == (4, {"fluency": 5}, {"response": ["unsafe"]})
    assert verdict.rewrite == Rewrite("response", "x")


def test_a_strength_chosen_before_the_mind_changed_to_a_tie_is_dropped() -> None:
    assert verdict_of(form(("choice", "tie"), ("strength", "3"))).strength is None


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("choice", "middle")],
        [("overall", "six")],
        [("overall", "٣")],
        [("choice", "left"), ("rewrite.left", "a"), ("rewrite.right", "b")],
        [("choice", "left"), ("surprise", "x")],
        [("choice", "left"), ("client_id", "not a uuid")],
        [("choice", "left"), ("comment", "\0")],
    ],
)
def test_what_no_page_of_ours_sends_is_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(Invalid):
        verdict_of(form(*fields))


def test_a_label_fills_the_form_it_came_from() -> None:
    label = Label(
        choice="right",
        strength=1,
        overall=None,
        comment="why",
        criteria={"fluency": "left"},
        flags={"left": ["untrue"]},
        rewrite={"side": "right", "text": "Better."},
    )

    values = values_of(label)

    assert (values["choice"], values["strength"], values["overall"], values["comment"]) == ("right", "1", "", "why")
    assert (values["criteria.fluency"], values["flags.left"], values["rewrite.right"]) == ("left", ["untrue"], "Better.")


def test_a_refused_form_is_shown_as_it_was_sent() -> None:
    values = values_again(form(("strength", "2"), ("flags.left", "untrue"), ("flags.left", "broken")))

    assert (values["choice"], values["strength"], values["flags.left"]) == ("", "2", ["untrue", "broken"])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([], ""),
        ([("reason", "broken")], "broken"),
        ([("reason_words", " It is cut off. ")], "It is cut off."),
        ([("reason", "other"), ("reason_words", "Twice the same.")], "other: Twice the same."),
    ],
)
def test_why_a_task_is_skipped(fields: list[tuple[str, str]], reason: str) -> None:
    assert skip_reason_of(form(*fields)) == reason
    assert verdict_of(form(("choice", "tie"), *fields)).choice == "tie"  # asked for beside it, and no part of a verdict


def test_a_reason_that_is_too_long_is_refused() -> None:
    with pytest.raises(Invalid):
        skip_reason_of(form(("reason_words", "x" * 1001)))


def test_only_numbers_name_tasks_in_hand() -> None:
    assert tasks_in_hand(form(("besides", "3"), ("besides", "12"), ("besides", "x"), ("besides", "-1"))) == {3, 12}
