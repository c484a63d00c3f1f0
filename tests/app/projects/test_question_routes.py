"""The questions page: rows move without saving, saving keeps keys, and the cost is said before it is paid."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Project, utc_now
from app.projects.service import get_project
from app.queue.claim import claim_next
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.projects.test_routes import form_of

Browser = Callable[[str], TestClient]
QUESTIONS = "/projects/demo/settings/questions"


def stored(engine: Engine) -> Project:
    with read_session(engine) as session:
        project = get_project(session, "demo")
        session.expunge(project)
        return project


def names(page: str, kind: str = "criteria") -> list[str]:
    words = form_of(page)
    return [words[name] for name in words if re.fullmatch(rf"{kind}\.\d+\.name", name)]


def test_saving_the_page_as_it_is_changes_nothing(as_user: Browser, engine: Engine) -> None:
    browser, before = as_user("Grace"), stored(engine)
    assert browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text)).status_code == 303
    after = stored(engine)
    for name in ("criteria", "flags", "retired", "overlap", "rating_share", "queue_low_mark", "text_display"):
        assert getattr(after, name) == getattr(before, name), name


@pytest.mark.parametrize("by_way_of", [{}, {"do": "look"}, {"do": "criteria.down.0"}])
def test_what_somebody_else_saved_meanwhile_is_not_overwritten_unseen(
    as_user: Browser, engine: Engine, by_way_of: dict[str, str]
) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(QUESTIONS).text)
    assert browser.post(QUESTIONS, data=opened | {"criteria.0.name": "Flow", "overlap": "3"}).status_code == 303
    mine = opened | {"criteria.1.name": "Truth"}
    if by_way_of:  # a button of a row keeps what the page began with
        mine = form_of(browser.post(QUESTIONS, data=mine | by_way_of).text)

    refused = browser.post(QUESTIONS, data=mine)
    assert refused.status_code == 409
    assert "Criteria: Somebody changed this" in refused.text
    assert "Theirs: “Flow, Accuracy”." in refused.text
    assert "Labels per task: Somebody" not in refused.text, "which only one of them changed"
    assert "Flags: Somebody" not in refused.text
    assert re.search("<del>(?:(?!</del>).)*Flow", refused.text), "what saving again would undo"
    assert "Truth" in names(refused.text), "what was typed is kept"
    assert (stored(engine).criteria[0]["name"], stored(engine).overlap) == ("Flow", 3)

    assert browser.post(QUESTIONS, data=form_of(refused.text)).status_code == 303
    assert "Truth" in [criterion["name"] for criterion in stored(engine).criteria]
    assert stored(engine).overlap == 3, "what the other changed and this one did not stays"


def test_two_who_changed_different_questions_both_keep_theirs(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    opened = form_of(browser.get(QUESTIONS).text)
    assert browser.post(QUESTIONS, data=opened | {"overlap": "3", "flags.0.name": "dangerous"}).status_code == 303
    assert browser.post(QUESTIONS, data=opened | {"rating_share": "60"}).status_code == 303
    now = stored(engine)
    assert (now.overlap, now.rating_share, now.flags[0]["name"]) == (3, 0.6, "dangerous")


def test_a_row_moves_on_the_page_and_nothing_is_saved(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text) | {"overlap": "4", "do": "criteria.down.0"}
    page = browser.post(QUESTIONS, data=words)
    assert page.status_code == 200
    assert names(page.text) == ["Accuracy", "Fluency"]
    assert form_of(page.text)["overlap"] == "4", "what was typed elsewhere is kept"
    assert "Not saved yet" in page.text
    assert [criterion["name"] for criterion in stored(engine).criteria] == ["Fluency", "Accuracy"]

    browser.post(QUESTIONS, data=form_of(page.text))
    assert [criterion["key"] for criterion in stored(engine).criteria] == ["accuracy", "fluency"]


def test_a_criterion_is_renamed_under_its_old_key_and_a_new_one_gets_a_key_in_any_script(
    as_user: Browser, engine: Engine
) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text) | {"criteria.0.name": "Ease"}
    for name in ("Good humour", "文氣"):
        words = form_of(browser.post(QUESTIONS, data=words | {"do": "criteria.add"}).text)
        row = max(int(found[1]) for key in words if (found := re.match(r"criteria\.(\d+)\.", key)))
        words |= {f"criteria.{row}.name": name, f"criteria.{row}.anchor5": "I laughed"}
    browser.post(QUESTIONS, data=words)
    criteria = stored(engine).criteria
    assert [(criterion["key"], criterion["name"]) for criterion in criteria] == [
        ("fluency", "Ease"),
        ("accuracy", "Accuracy"),
        ("good_humour", "Good humour"),
        ("criterion_1", "文氣"),
    ]
    assert criteria[2]["anchors"] == {"1": "", "5": "I laughed"}


@pytest.mark.parametrize(("kind", "name"), [("criteria", "Fluency"), ("criteria", "Overall"), ("flags", "Unsafe")])
def test_a_new_row_never_takes_a_key_that_stands_for_something_else(
    as_user: Browser, engine: Engine, kind: str, name: str
) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text)
    browser.post(QUESTIONS, data=form_of(browser.post(QUESTIONS, data=words | {"do": f"{kind}.remove.0"}).text))
    words = form_of(browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | {"do": f"{kind}.add"}).text)
    row = max(int(found[1]) for key in words if (found := re.match(rf"{kind}\.(\d+)\.", key)))
    browser.post(QUESTIONS, data=words | {f"{kind}.{row}.name": name})
    added = getattr(stored(engine), kind)[-1]
    assert (added["name"], added["key"][-2:]) == (name, "_1")


def test_what_was_removed_can_be_brought_back(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text)
    browser.post(QUESTIONS, data=form_of(browser.post(QUESTIONS, data=words | {"do": "flags.remove.0"}).text))
    assert [flag["key"] for flag in stored(engine).retired["flags"]] == ["unsafe"]

    page = browser.get(QUESTIONS).text
    assert "Bring back unsafe" in page
    page = browser.post(QUESTIONS, data=form_of(page) | {"do": "flags.restore.unsafe"}).text
    assert names(page, "flags")[-1] == "unsafe"
    browser.post(QUESTIONS, data=form_of(page))
    assert stored(engine).flags[-1]["key"] == "unsafe"
    assert stored(engine).retired["flags"] == []


def test_weights_and_the_way_text_is_shown_are_saved(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text) | {"flags.3.weight": "0.25", "text_display": "markdown", "rating_share": "40"}
    browser.post(QUESTIONS, data=words)
    project = stored(engine)
    assert (project.flags[3]["weight"], project.text_display, project.rating_share) == (0.25, "markdown", 0.4)


def test_a_refused_form_keeps_what_was_typed(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text) | {"criteria.0.name": "", "flags.0.weight": "much", "overlap": "none"}
    reply = browser.post(QUESTIONS, data=words)
    assert reply.status_code == 422
    assert form_of(reply.text)["flags.0.weight"] == "much"
    for sentence in ("The criterion fluency needs a name", "The weight of unsafe must be", "a whole number from 1 to 20"):
        assert sentence in reply.text
    assert stored(engine).criteria[0]["name"] == "Fluency"


def test_saving_says_how_many_tasks_are_in_somebodys_hands(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo))
        claim_next(session.connection(), cast.demo, cast.mary, now=utc_now(), lease=timedelta(minutes=5))
    browser = as_user("Grace")
    browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text))
    assert "1 task is on somebody" in browser.get(QUESTIONS).text


def test_the_cost_follows_the_numbers_in_the_form(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).trigger_labels = 100
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text) | {"overlap": "4", "rating_share": "10", "do": "look"}
    page = browser.post(QUESTIONS, data=words).text
    assert re.search(r'table__chosen">\s*<td class="number">4.*?</td>\s*<td class="number">400</td>', page)
    assert "90 comparisons and 10 ratings" in page
    assert "The time shows once people have judged here" in page


def test_a_share_of_rankings_says_what_it_asks_of_the_model_and_is_saved(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text) | {"rating_share": "30", "ranking_share": "20", "ranking_answers": "5"}
    said = "the answers written to each prompt become 5 in place of 2;"

    assert said not in browser.get(QUESTIONS).text
    page = browser.post(QUESTIONS, data=words | {"do": "look"}).text
    assert said in page
    assert "15 comparisons, 9 ratings and 6 rankings" in page
    assert browser.post(QUESTIONS, data=words).status_code == 303
    assert (stored(engine).ranking_share, stored(engine).ranking_answers) == (0.2, 5)
    assert said in browser.get(QUESTIONS).text

    refused = browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | {"rating_share": "90", "ranking_answers": "7"})
    assert refused.status_code == 422
    assert "a whole number from 3 to 6" in refused.text
    with write_session(engine) as session:
        session.get_one(Project, 1).sampling = {"per_prompt": 6}
    assert said not in browser.get(QUESTIONS).text, "so many are written anyway"


@pytest.mark.parametrize(("given", "field"), [({"rating_share": "90"}, "Ratings"), ({"ranking_share": "80"}, "Rankings")])
def test_ratings_and_rankings_are_no_more_than_all_tasks(
    as_user: Browser, engine: Engine, given: dict[str, str], field: str
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, 1)
        project.rating_share, project.ranking_share = 0.5, 0.5
    browser = as_user("Grace")
    refused = browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | given)
    assert refused.status_code == 422
    assert f"{field}: Ratings and rankings together cannot be more than all tasks." in refused.text


def test_buttons_nobody_sees_do_nothing(as_user: Browser) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(QUESTIONS).text)
    for action in ("criteria.up.0", "criteria.down.99", "flags.remove.x", "criteria.restore.never", "criteria.down.1"):
        page = browser.post(QUESTIONS, data=words | {"do": action})
        assert (page.status_code, names(page.text)) == (200, ["Fluency", "Accuracy"]), action


def test_what_tasks_cost_is_told_in_sentences_with_a_space_between(as_user: Browser) -> None:
    page = as_user("Grace").get(QUESTIONS).text
    assert re.search(r"No reward model is fitted on fewer than [^.]+\.\s+The time", page)


def test_a_question_of_the_rubric_is_added_reworded_taken_out_and_brought_back(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    form = form_of(browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | {"do": "rubric.add"}).text)
    asked = {"rubric.0.name": "Does it name a source?", "rubric.0.required": "yes"}
    assert browser.post(QUESTIONS, data=form | asked).status_code == 303
    (item,) = stored(engine).rubric
    assert (item["name"], item["required"], item["version"], item["earlier"]) == ("Does it name a source?", True, 1, [])

    form = form_of(browser.get(QUESTIONS).text)
    assert browser.post(QUESTIONS, data=form | {"rubric.0.name": "Is there a source?"}).status_code == 303
    (reworded,) = stored(engine).rubric
    assert (reworded["key"], reworded["version"], reworded["earlier"]) == (item["key"], 2, ["Does it name a source?"])
    assert reworded["required"] is True

    form = form_of(browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | {"do": "rubric.remove.0"}).text)
    assert browser.post(QUESTIONS, data=form).status_code == 303
    assert stored(engine).rubric == []
    back = {"do": f"rubric.restore.{item['key']}"}
    form = form_of(browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | back).text)
    assert browser.post(QUESTIONS, data=form).status_code == 303
    (returned,) = stored(engine).rubric
    assert (returned["version"], returned["name"]) == (2, "Is there a source?")


def test_a_reason_for_marks_is_added_with_its_tone_and_weighed_in_training(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    form = form_of(browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | {"do": "span_reasons.add"}).text)
    assert form["span_reasons.0.tone"] == "bad"
    asked = {"span_reasons.0.name": "Well put", "span_reasons.0.tone": "good"}
    assert browser.post(QUESTIONS, data=form | asked).status_code == 303
    (reason,) = stored(engine).span_reasons
    assert (reason["key"], reason["tone"], reason["version"]) == ("well_put", "good", 1)
    assert "marked “Well put”" in browser.get("/projects/demo/settings").text


def test_a_criterion_and_a_question_cannot_share_a_key(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    form = form_of(browser.post(QUESTIONS, data=form_of(browser.get(QUESTIONS).text) | {"do": "rubric.add"}).text)
    refused = browser.post(QUESTIONS, data=form | {"rubric.0.name": "Flow", "rubric.0.key": "fluency"})
    assert refused.status_code == 422
    assert "Each needs its own" in refused.text
    assert stored(engine).rubric == []
