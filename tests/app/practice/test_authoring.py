"""What an admin may write as a practice task."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from app.database.engine import write_session
from app.errors import Invalid
from app.models import Project
from app.practice.authoring import add_task
from tests.app.conftest import Cast
from tests.app.practice.test_service import COMPARISON, RATING


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (COMPARISON | {"kind": "essay"}, "kind"),
        (COMPARISON | {"messages": []}, "messages"),
        (COMPARISON | {"messages": [{"role": "assistant", "content": "Hello."}]}, "messages"),
        (COMPARISON | {"messages": [{"role": "user", "content": " "}]}, "messages"),
        (COMPARISON | {"left": ""}, "left"),
        (COMPARISON | {"right": None}, "right"),
        (COMPARISON | {"right": "Three."}, "right"),
        (COMPARISON | {"left": "a\0"}, "left"),
        (COMPARISON | {"choice": None}, "choice"),
        (COMPARISON | {"explanation": " \n"}, "explanation"),
        (COMPARISON | {"explanation": "x" * 5_001}, "explanation"),
        (RATING | {"overall": 6}, "overall"),
    ],
)
def test_what_is_missing_is_named(engine: Engine, cast: Cast, values: Any, field: str) -> None:
    with write_session(engine) as session, pytest.raises(Invalid) as refusal:
        add_task(session, session.get_one(Project, cast.demo), values, cast.grace)
    assert field in refusal.value.fields


def test_a_rating_keeps_nothing_of_a_comparison(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        task = add_task(session, session.get_one(Project, cast.demo), RATING | {"right": "x", "choice": "left"}, cast.grace)
        assert (task.right_text, task.choice, task.overall) == (None, None, 4)
