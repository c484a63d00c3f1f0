"""Progress, the last verdicts, and searching."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.labels import history
from app.labels.history import Progress
from app.labels.search import LabelFilter, search_labels
from app.models import Generation, Label, Project, Prompt, Task, utc_now
from app.queue.conditions import NOT_SAID
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from tests.app.labels.test_record import record, say
from tests.app.queue.test_claim import claimed, give_back, make_tasks, skip


def progress(engine: Engine, cast: Cast, who: int) -> Progress:
    with write_session(engine) as session:
        return history.progress(session, cast.demo, who)


def test_progress_counts_what_is_open_to_this_person(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 4, seats=2)
    make_tasks(engine, cast.other, 3)
    first = claimed(engine, cast.demo, cast.mary)
    assert progress(engine, cast, cast.mary) == Progress(0, 4, False)  # the one in hand counts

    record(engine, first, cast.mary, say())
    skip(engine, claimed(engine, cast.demo, cast.mary), cast.mary)

    assert progress(engine, cast, cast.mary).left == 2
    assert progress(engine, cast, cast.alan).left == 4


def test_a_correction_is_no_second_task_of_today_and_yesterday_is_not_today(engine: Engine, cast: Cast) -> None:
    (task_id, other) = make_tasks(engine, cast.demo, 2)
    claimed(engine, cast.demo, cast.mary)
    record(engine, task_id, cast.mary, say())
    record(engine, task_id, cast.mary, say("tie"))
    claimed(engine, cast.demo, cast.mary)
    record(engine, other, cast.mary, say())
    with write_session(engine) as session:
        for label in session.query(Label).where(Label.task_id == task_id):
            label.created_at = utc_now()
        for label in session.query(Label).where(Label.task_id == other):
            label.created_at = utc_now() - timedelta(days=1, minutes=1)

    assert progress(engine, cast, cast.mary).today == 1


def test_a_long_queue_is_counted_only_so_far(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tasks(engine, cast.demo, 3)
    monkeypatch.setattr(history, "COUNT_TO", 2)

    assert progress(engine, cast, cast.mary) == Progress(0, 2, True)


def test_the_last_verdicts_are_one_for_each_task_newest_first(engine: Engine, cast: Cast) -> None:
    tasks = make_tasks(engine, cast.demo, 12)
    for task_id in tasks[:11]:
        claimed(engine, cast.demo, cast.mary)
        record(engine, task_id, cast.mary, say(), minutes=task_id)
    record(engine, tasks[5], cast.mary, say("tie"), minutes=500)

    with write_session(engine) as session:
        verdicts = history.last_verdicts(session, cast.demo, cast.mary)
        assert [verdict.task_id for verdict in verdicts[:3]] == [tasks[5], tasks[10], tasks[9]]
        assert len({verdict.task_id for verdict in verdicts}) == len(verdicts) == 10
        assert history.last_verdicts(session, cast.demo, cast.alan) == []


def test_undo_leads_back_through_the_list_and_ends_with_it(engine: Engine, cast: Cast) -> None:
    first, second, third, fresh = make_tasks(engine, cast.demo, 4)
    for task_id in (first, second, third):
        claimed(engine, cast.demo, cast.mary)
        record(engine, task_id, cast.mary, say(), minutes=task_id)

    with write_session(engine) as session:
        verdicts = history.last_verdicts(session, cast.demo, cast.mary)
        walk = [history.verdict_before(verdicts, task_id) for task_id in (fresh, third, second, first, None)]
    assert walk == [third, second, first, None, third]


def test_a_task_given_back_is_no_skipped_one(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    give_back(engine, task_id, cast.mary)

    with write_session(engine) as session:
        assert history.last_verdicts(session, cast.demo, cast.mary) == []
        assert not history.has_skipped(session, task_id, cast.mary)
    assert progress(engine, cast, cast.mary).left == 1


@pytest.mark.parametrize("reason", NOT_SAID)
def test_a_skip_in_the_words_of_the_machine_is_a_skip(engine: Engine, cast: Cast, reason: str) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    skip(engine, task_id, cast.mary, reason)

    with write_session(engine) as session:
        assert len(history.last_verdicts(session, cast.demo, cast.mary)) == 1
        assert history.has_skipped(session, task_id, cast.mary)
    assert progress(engine, cast, cast.mary).left == 0


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("給我三個早餐的主意", "早餐", 1),
        ('Say "hello" to 100% of them', '"hello"', 1),
        ('Say "hello" to 100% of them', "100% of", 1),
        ("a_b", "a_b", 1),
        ("axb", "a_b", 0),
        ("back\\slash", "\\", 1),
        ("Straße", "straße", 1),
    ],
)
def test_the_words_of_a_prompt_are_found_as_they_are(engine: Engine, cast: Cast, text: str, wanted: str, found: int) -> None:
    with write_session(engine) as session:
        task = factories.make_task(session, session.get_one(Project, cast.demo))
        session.get_one(Prompt, session.get_one(Task, task.id).prompt_id).messages = [{"role": "user", "content": text}]
        task_id = task.id
    claimed(engine, cast.demo, cast.mary)
    record(engine, task_id, cast.mary, say())

    with write_session(engine) as session:
        assert len(search_labels(session, cast.demo, LabelFilter(text=wanted))) == found


@pytest.mark.parametrize("cut", ["left", "right"])
def test_a_verdict_shows_on_which_side_the_length_limit_cut_the_answer(engine: Engine, cast: Cast, cut: str) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        label = session.get_one(Label, judge(session, project, cast.mary).id)
        side = label.left_generation_id if cut == "left" else label.right_generation_id
        session.get_one(Generation, side).finish_reason = "length"
        found = history.history(session, label.id)
        assert (found.left_cut, found.right_cut) == (cut == "left", cut == "right")


def test_a_page_of_versions_holds_so_much_and_the_next_goes_on(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.labels.history.MOST_SAID", 2_500)
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    for number in range(5):
        stored = record(engine, task_id, cast.mary, say(comment=f"comment {number} " + "x" * 1_000))

    with read_session(engine) as session:
        first = history.history(session, stored.id)
        second = history.history(session, stored.id, before=first.older)
        third = history.history(session, stored.id, before=second.older)
    assert [[label.version for label in page.versions] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third.older is None

    browser = as_user("Mary")
    page = browser.get(f"/labels/{stored.id}").text
    assert "comment 4" in page
    assert "comment 2" not in page
    assert "comment 2" in browser.get(f"/labels/{stored.id}?before={first.older}").text
    reply = browser.get(f"/api/v1/labels/{stored.id}", params={"before": 2}).json()
    assert (reply["label"]["version"], [one["version"] for one in reply["versions"]], reply["older"]) == (5, [1], None)
