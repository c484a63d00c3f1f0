"""Finding prompts, putting many away at once, changing one that nobody answered, and one prompt's page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database import searching
from app.database.engine import read_session, write_session
from app.database.searching import Total
from app.models import Generation, Project, Prompt
from app.prompts.search import PromptFilter, answers_to, count_fitting, find_prompts
from app.prompts.service import Message, PromptRow, import_prompts, prompt_split
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]


def row(line: int, text: str, external_id: str | None = None) -> PromptRow:
    return PromptRow(line, [Message(role="user", content=text)], external_id)


@pytest.fixture
def prompts(engine: Engine, cast: Cast) -> dict[str, int]:
    """Their ids by text: nine hundred of one kind would do as well as these."""
    texts = ["Why is the sky blue?", "Why is the sea salt?", "Name a prime.", "天空為什麼是藍的？"]
    import_prompts(engine, cast.demo, [row(line, text, f"q-{line}") for line, text in enumerate(texts, 1)])
    with read_session(engine) as session:
        found = session.scalars(select(Prompt).where(Prompt.project_id == cast.demo))
        return {prompt.messages[0]["content"]: prompt.id for prompt in found}


def texts(engine: Engine, project_id: int, wanted: PromptFilter) -> list[str]:
    with read_session(engine) as session:
        return [prompt.messages[0]["content"] for prompt in find_prompts(session, project_id, wanted)]


@pytest.mark.parametrize(("text", "found"), [("SKY", 1), ("why", 2), ("%", 0), ("天空", 1), ("", 4)])
def test_prompts_are_found_by_words_in_any_script(
    engine: Engine, cast: Cast, prompts: dict[str, int], text: str, found: int
) -> None:
    assert len(texts(engine, cast.demo, PromptFilter(text=text))) == found


def test_prompts_are_found_by_what_was_done_with_them(engine: Engine, cast: Cast, prompts: dict[str, int]) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.mary, choice="left")  # a prompt of its own, answered and judged
    every = len(texts(engine, cast.demo, PromptFilter()))
    for work, count in (("answered", 1), ("labelled", 1), ("unanswered", every - 1), ("unlabelled", every - 1)):
        assert len(texts(engine, cast.demo, PromptFilter(work=work))) == count  # type: ignore[arg-type]
    assert texts(engine, cast.demo, PromptFilter(external_id="q-3")) == ["Name a prime."]


def test_a_total_is_counted_so_far_and_no_further(
    engine: Engine, cast: Cast, prompts: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_session(engine) as session:
        assert count_fitting(session, cast.demo, PromptFilter()) == Total(4, False)
        monkeypatch.setattr(searching, "COUNT_TO", 3)
        assert count_fitting(session, cast.demo, PromptFilter()) == Total(3, True)


def test_the_search_stands_in_the_address_and_on_the_page(as_user: AsUser, prompts: dict[str, int]) -> None:
    page = as_user("Grace").get("/projects/demo/prompts?text=sky&work=unanswered").text
    assert "Why is the sky blue?" in page
    assert "Name a prime." not in page
    assert "Found: 1 prompt." in page
    assert 'action="/projects/demo/prompts/archive?text=sky&amp;work=unanswered"' in page


def test_those_that_are_ticked_are_put_away_and_come_back(
    as_user: AsUser, engine: Engine, cast: Cast, prompts: dict[str, int]
) -> None:
    grace = as_user("Grace")
    ticked = [prompts["Name a prime."], prompts["Why is the sea salt?"]]
    assert grace.post("/projects/demo/prompts/archive", data={"id": ticked}).status_code == 303
    assert len(texts(engine, cast.demo, PromptFilter())) == 2
    assert grace.post("/projects/demo/prompts/archive?view=archived", data={"id": ticked[:1]}).status_code == 303
    assert texts(engine, cast.demo, PromptFilter(archived=True)) == ["Why is the sea salt?"]


def test_all_that_fit_are_put_away_and_no_other_projects(
    as_user: AsUser, engine: Engine, cast: Cast, prompts: dict[str, int]
) -> None:
    with write_session(engine) as session:
        theirs = factories.make_prompt(session, cast.other, "Why is it theirs?").id
    grace = as_user("Grace")
    assert grace.post("/projects/demo/prompts/archive?text=why", data={"all": "on"}).status_code == 303
    assert grace.post("/projects/demo/prompts/archive", data={"id": [theirs]}).status_code == 303
    assert len(texts(engine, cast.demo, PromptFilter())) == 2
    assert texts(engine, cast.other, PromptFilter()) == ["Why is it theirs?"]


def test_a_prompt_that_nobody_answered_gets_another_text_and_the_split_of_it(
    as_user: AsUser, api: Api, engine: Engine, prompts: dict[str, int]
) -> None:
    prompt_id = prompts["Name a prime."]
    page = as_user("Grace").get(f"/prompts/{prompt_id}").text
    assert f'<form method="post" action="/prompts/{prompt_id}" class="form">' in page
    assert 'name="content" rows="5" required>\nName a prime.</textarea>' in page
    assert as_user("Grace").post(f"/prompts/{prompt_id}", data={"content": "    Name two primes."}).status_code == 303
    with read_session(engine) as session:
        prompt = session.get_one(Prompt, prompt_id)
        assert prompt.messages == [{"role": "user", "content": "    Name two primes."}]
        assert prompt.split == prompt_split(prompt.digest)
    body = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    assert api("admin", who="Grace").put(f"/api/v1/prompts/{prompt_id}", json=body).status_code == 409


def test_a_text_that_is_no_prompt_is_refused_and_stays_on_the_page(as_user: AsUser, prompts: dict[str, int]) -> None:
    refused = as_user("Grace").post(f"/prompts/{prompts['Name a prime.']}", data={"content": " "})
    assert refused.status_code == 422
    assert "The text is empty." in refused.text


def test_an_answered_prompt_keeps_its_text_and_shows_its_answers_and_labels(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        label_id = judge(session, session.get_one(Project, cast.demo), cast.mary, choice="left").id
        prompt_id = session.scalars(select(Prompt.id).order_by(Prompt.id.desc())).first()
        answers = session.scalars(select(Generation.text).where(Generation.prompt_id == prompt_id)).all()
    grace = as_user("Grace")
    assert grace.post(f"/prompts/{prompt_id}", data={"content": "Another?"}).status_code == 409
    page = grace.get(f"/prompts/{prompt_id}").text
    assert 'name="content"' not in page
    assert len(answers) == 2
    assert all(text in page for text in answers)
    assert f"/projects/demo/labels?prompt={prompt_id}" in page
    assert "1 label<" in page
    assert f"/labels/{label_id}" in grace.get(f"/projects/demo/labels?prompt={prompt_id}").text
    assert as_user("Mary").get(f"/prompts/{prompt_id}").status_code == 403  # whose answers those are is not theirs to know


def test_answers_come_by_run_and_as_they_were_drawn(engine: Engine, cast: Cast) -> None:
    """Short answers end first, and those that stand last are left out where there are many."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        prompt = factories.make_prompt(session, cast.demo)
        base, run = factories.make_checkpoint(session, cast.demo).id, factories.make_run(session, cast.demo).id
        for number in (2, 0, 1):
            factories.make_generation(session, prompt, base, f"drawn {number}", run_id=run, number=number)
        factories.bring_in(session, prompt, factories.make_stranger(session, project.id), "brought in")
        newer = factories.make_run(session, cast.demo).id
        for number in (1, 0):
            factories.make_generation(session, prompt, base, f"newer {number}", run_id=newer, number=number)
        found = answers_to(session, prompt.id, limit=5)
        said = [one.generation.text for one in found]
    assert said == ["newer 0", "newer 1", "brought in", "drawn 0", "drawn 1"]
