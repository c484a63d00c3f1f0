from __future__ import annotations

import random

import pytest
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Project, Prompt
from app.prompts import search, service
from app.prompts.search import PromptFilter
from app.prompts.service import BadLine, PromptRow, import_prompts, prompt_digest, prompt_split
from app.prompts.twins import service as twins
from app.prompts.twins.service import COMPARED, look, twins_of
from app.prompts.twins.sketch import likeness

CHAIR = "Why do cats purr when they sleep on a chair?"
MANY = 500
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = ("red", "blue", "green", "black", "white", "brown", "grey", "golden", "purple", "yellow", "orange", "silver", "pink")
ON_THE_CHAIR = "Why do cats purr when they sleep on the chair?"


def rows(*texts: str) -> list[PromptRow | BadLine]:
    return [PromptRow(line, [{"role": "user", "content": text}]) for line, text in enumerate(texts, start=1)]


def split(text: str) -> str:
    return prompt_split(prompt_digest([{"role": "user", "content": text}]))


def listed(engine: Engine, project: Project, **wanted: str) -> list[str]:
    with read_session(engine) as session:
        found = search.find_prompts(session, project.id, PromptFilter(**wanted))  # type: ignore[arg-type]
        return [prompt.messages[0]["content"] for prompt in found]


def test_a_twin_of_an_earlier_import_is_found_and_kept(engine: Engine, project: Project) -> None:
    first = import_prompts(engine, project.id, rows(CHAIR, "Name a fish."))
    second = import_prompts(engine, project.id, rows("Name a bird.", ON_THE_CHAIR))
    assert (first.near, second.created) == ([], 2)
    assert [(one.line, one.twin_line) for one in second.near] == [(2, None)]
    assert listed(engine, project, near="twin") == [ON_THE_CHAIR]


def test_the_third_of_three_is_the_first_ones_twin(engine: Engine, project: Project) -> None:
    report = import_prompts(engine, project.id, rows(CHAIR, ON_THE_CHAIR, CHAIR + " Please"))
    assert [(one.line, one.twin_line) for one in report.near] == [(2, 1), (3, 1)]


def test_a_twin_in_the_other_split_is_said_plainly(engine: Engine, project: Project) -> None:
    texts = [
        f"Why do cats purr when they sleep on the {colour} chair in our kitchen" + end
        for colour in COLOURS
        for end in ("", " now")
    ]
    leak = next((one, two) for one, two in zip(texts[::2], texts[1::2], strict=True) if split(one) != split(two))
    same = next((one, two) for one, two in zip(texts[::2], texts[1::2], strict=True) if split(one) == split(two))
    report = import_prompts(engine, project.id, rows(*same))
    assert [one.leaks for one in report.near] == [False]
    assert "held out" not in report.nearly_there()
    search.put_many_away(engine, project.id, PromptFilter(), None)
    report = import_prompts(engine, project.id, rows(*leak))
    assert [one.leaks for one in report.near] == [True]
    assert "better than the model is" in report.nearly_there()
    assert listed(engine, project, near="leak") == [leak[1]]


def test_a_twin_that_is_put_away_is_none(engine: Engine, project: Project) -> None:
    import_prompts(engine, project.id, rows(CHAIR, ON_THE_CHAIR))
    with write_session(engine) as session:
        first = session.scalars(select(Prompt.id).where(Prompt.twin_id.is_(None))).one()
        search.put_away(session, project.id, [first], None)
    with read_session(engine) as session:
        assert twins_of(session, session.scalars(select(Prompt)).all()) == {}
    assert listed(engine, project, near="twin") == []
    assert [one.line for one in import_prompts(engine, project.id, rows(ON_THE_CHAIR + " Now")).near] == [1], (
        "the second is the first now"
    )


def test_a_prompt_that_was_changed_is_looked_at_again(engine: Engine, project: Project) -> None:
    import_prompts(engine, project.id, rows(CHAIR, ON_THE_CHAIR))
    with write_session(engine) as session:
        near = session.scalars(select(Prompt).where(Prompt.twin_id.is_not(None))).one()
        service.edit_prompt(session, near.id, [{"role": "user", "content": "Name a fish."}], None)
    assert listed(engine, project, near="twin") == []
    assert look(engine, project.id) == []
    with read_session(engine) as session:
        assert session.scalars(select(Prompt.id).where(Prompt.sketch.is_(None))).all() == []


def test_prompts_from_before_are_looked_at_once(engine: Engine, project: Project) -> None:
    import_prompts(engine, project.id, rows(CHAIR))
    with write_session(engine) as session:
        session.scalars(select(Prompt)).one().sketch = None
    assert [one.line for one in import_prompts(engine, project.id, rows(ON_THE_CHAIR)).near] == [1]


def test_one_prompt_is_compared_with_a_few_of_each_band(
    engine: Engine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template whose fillings are no twins of each other: the work grows with their number, not with its square."""
    compared = 0

    def counting(one: bytes, other: bytes) -> float:
        nonlocal compared
        compared += 1
        return likeness(one, other)

    monkeypatch.setattr(twins, "likeness", counting)
    draw = random.Random(3)
    frame = "Tell a child of five years about this animal, in plain words and at most three sentences: "
    report = import_prompts(engine, project.id, rows(*(frame + "".join(draw.choices(LETTERS, k=30)) for _ in range(MANY))))
    assert len(report.near) < MANY / 20
    assert 0 < compared <= MANY * 16 * COMPARED < MANY * MANY / 3
