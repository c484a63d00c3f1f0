"""Two contenders side by side: the same prompts, what only one of them says marked, and nothing that is still judged blind."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Contender, Evaluation, Project, Prompt, Seat, Task
from app.settings import Settings
from app.texts.diff import both_whole
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds import told

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]
PAGE = "/projects/demo/leaderboard/side-by-side"
CALL = "/api/v1/projects/demo/side-by-side"
SAID = ("The sky is <b>blue</b>.", "The sky is <b>red</b>.")


@pytest.fixture
def pair(engine: Engine, cast: Cast) -> str:
    """Two contenders who have answered twelve prompts, and one who has answered none; the query that names the two."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        one, other = (factories.make_stranger(session, project.id, name) for name in ("<i>one</i>", "two"))
        for number in range(12):
            prompt = factories.make_prompt(session, project.id, f"Prompt number {number}?", split="holdout")
            for contender, text in zip((one, other), SAID, strict=True):
                factories.bring_in(session, prompt, contender, text)
        alone = factories.make_prompt(session, project.id, "Only one of them has answered this.")
        factories.bring_in(session, alone, one, "Here I am.")
        factories.make_stranger(session, project.id, "silent")
        return f"?one={one.id}&other={other.id}"


def test_the_page_marks_what_only_one_of_them_says(as_user: As, pair: str) -> None:
    page = as_user("Ada").get(PAGE + pair).text
    assert '<mark data-only="only here: ">blue</mark>' in page
    assert '<mark data-only="only here: ">red</mark>' in page
    assert "&lt;i&gt;one&lt;/i&gt;" in page
    assert "<i>one" not in page
    assert "<b>blue" not in page
    assert "Only one of them has answered this." not in page


def test_ten_prompts_stand_on_a_page_the_newest_first(as_user: As, pair: str) -> None:
    page = as_user("Ada").get(PAGE + pair).text
    assert page.count("Prompt number ") == 10
    assert page.index("Prompt number 11?") < page.index("Prompt number 2?")
    older = page.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    rest = as_user("Ada").get(older).text
    assert [number for number in range(12) if f"Prompt number {number}?" in rest] == [0, 1]
    assert 'rel="next"' not in rest


def test_the_call_says_the_same_page_by_page(api: Api, pair: str) -> None:
    program = api("export")
    first = program.get(f"{CALL}{pair}&limit=7").json()
    then = program.get(f"{CALL}{pair}&limit=7&cursor={first['next_cursor']}").json()
    assert (len(first["items"]), len(then["items"]), then["next_cursor"]) == (7, 5, None)
    assert {(item["one"], item["other"], item["split"]) for item in first["items"]} == {(*SAID, "holdout")}
    assert len({item["prompt_id"] for item in first["items"] + then["items"]}) == 12


def test_prompts_of_an_evaluation_that_goes_on_are_left_out(engine: Engine, cast: Cast, as_user: As, api: Api, pair: str) -> None:
    with write_session(engine) as session:
        judged = session.scalars(select(Prompt.id).where(Prompt.split == "holdout").order_by(Prompt.id.desc()).limit(3)).all()
        evaluation = factories.make_evaluation(session, cast.demo, state="open", prompt_ids=list(judged)).id
    shown = {item["prompt_id"] for item in api("export").get(CALL + pair).json()["items"]}
    assert len(shown) == 9
    assert shown.isdisjoint(judged)
    page = as_user("Ada").get(PAGE + pair).text
    assert "Its prompts (3 prompts) are left out" in page
    assert "Prompt number 11?" not in page
    with write_session(engine) as session:
        session.get_one(Evaluation, evaluation).state = "cancelled"
    assert len(api("export").get(CALL + pair).json()["items"]) == 12


def test_answers_that_wait_for_a_verdict_are_left_out(engine: Engine, cast: Cast, api: Api, pair: str) -> None:
    ids = [int(part.partition("=")[2]) for part in pair[1:].split("&")]
    with write_session(engine) as session:
        prompt = session.scalars(select(Prompt).where(Prompt.split == "holdout").order_by(Prompt.id.desc())).first()
        assert prompt is not None
        answers = [factories.bring_in(session, prompt, session.get_one(Contender, one), "Asked about.", 1) for one in ids]
        task = Task(
            project_id=cast.demo,
            prompt_id=prompt.id,
            kind="comparison",
            first_generation_id=answers[0].id,
            second_generation_id=answers[1].id,
        )
        session.add(task)
        session.flush()
        seat = Seat(project_id=cast.demo, task_id=task.id, number=1)
        session.add(seat)
        session.flush()
        seat_id = seat.id
    program = api("export")
    assert "Asked about." not in program.get(CALL + pair).text
    with write_session(engine) as session:
        seat = session.get_one(Seat, seat_id)
        seat.state, seat.annotator_id = "done", cast.mary
    assert program.get(CALL + pair).json()["items"][0]["one"] == "Asked about."


def test_of_a_runs_answers_the_first_drawn_is_shown_not_the_one_that_ended_last(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, cast.demo, "Long or short?", split="holdout")
        policies = [factories.make_checkpoint(session, cast.demo).id for _ in range(2)]
        for policy in policies:
            run = factories.make_run(session, cast.demo).id
            for number, text in ((2, "S."), (0, "First drawn."), (1, "Long, and so the last to end.")):
                one = factories.make_generation(session, prompt, policy, text, run_id=run, number=number).contender_id
    item = api("export").get(f"{CALL}?one={one}&other={one - 1}").json()["items"][0]
    assert (item["one"], item["other"]) == ("First drawn.", "First drawn.")


def test_a_contender_beside_itself_or_of_another_project_is_refused(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    with write_session(engine) as session:
        one = factories.make_stranger(session, cast.demo, "one").id
        foreign = factories.make_stranger(session, cast.other, "foreign").id
    assert as_user("Ada").get(f"{PAGE}?one={one}&other={one}").status_code == 422
    assert as_user("Ada").get(f"{PAGE}?one={one}&other={foreign}").status_code == 404
    assert api("export").get(f"{CALL}?one={one}&other={one}").status_code == 422
    assert api("export").get(f"{CALL}?one={foreign}&other={one}").status_code == 404
    assert as_user("Ada").get(PAGE).status_code == 200


def test_who_annotates_sees_nothing_of_it(as_user: As, api: Api, pair: str) -> None:
    assert as_user("Mary").get(PAGE + pair).status_code in (403, 404)
    assert api("export", who="Mary").get(CALL + pair).status_code in (403, 404)


def test_the_leaderboard_and_a_round_lead_there(engine: Engine, cast: Cast, as_user: As, settings: Settings) -> None:
    with write_session(engine) as session:
        round_id = told.tell(session, session.get_one(Project, cast.demo), settings.runs).round
    ada = as_user("Ada")
    assert f'href="{PAGE}"' in ada.get("/projects/demo/leaderboard").text
    page = ada.get(f"/rounds/{round_id}").text
    address = page.partition(f'href="{PAGE}')[2].partition('"')[0].replace("&amp;", "&")
    assert ada.get(PAGE + address).text.count('<section class="stack"') == 2


def test_both_texts_are_whole_whatever_they_are() -> None:
    texts = (("", "a"), ("a b\nc", "a\nc d"), ("x" * 9_000, "y " * 9_000), ("a\r\nb", "a\nb"), ("\n".join("ab" * 400), "b"))
    for one, other in texts:
        for text, pieces in zip((one, other), both_whole(one, other), strict=True):
            assert "".join(piece.text for piece in pieces) == text


def test_words_that_differ_one_after_the_other_are_one_phrase() -> None:
    one, other = both_whole("It was dark and wet, he said.", "It rained all night, he said.")
    assert [piece.text for piece in one if piece.kind == "gone"] == ["was dark and wet"]
    assert [piece.text for piece in other if piece.kind == "new"] == ["rained all night"]


def test_long_answers_are_compared_in_time() -> None:
    one, other = (" ".join(f"{word}{number % 7}" for number in range(10_000)) for word in ("good", "bad"))
    began = time.thread_time()
    both_whole(one, other)
    both_whole("\n".join(one.split()), "\n".join(other.split()))
    both_whole("a " * 599, "b a " * 299)
    assert time.thread_time() - began < 1.0
