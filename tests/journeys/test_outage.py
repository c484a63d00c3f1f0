"""The network, the tab and the server's process go down in turn: nothing is lost or doubled, and the person is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine

from app.settings import Settings
from bench.stage import Server, serving
from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import Open, all_saved, fetched_ahead, go, judge, press, stored

pytestmark = pytest.mark.journey


@pytest.fixture
def server(settings: Settings, cast: Cast) -> Iterator[Server]:
    """The web process on this test's database, which can be killed."""
    with serving(settings.data) as server:
        yield server


@pytest.fixture
def address(server: Server) -> str:
    return server.url


@pytest.mark.parametrize("cut_s", [1, pytest.param(120, marks=[pytest.mark.nightly, pytest.mark.timeout(400)])])
def test_nothing_is_lost_or_doubled_when_all_goes_down_in_turn(
    open_as: Open, engine: Engine, cast: Cast, server: Server, cut_s: float
) -> None:
    make_tasks(engine, cast.demo, 6)
    page = open_as("Mary")
    go(page)
    judged = [judge(page, "1")]
    fetched_ahead(page)
    all_saved(page)

    page.context.set_offline(True)
    judged.append(judge(page, "2"))
    press(page, "0", "Enter")  # prefetched work goes on; after it there is none
    expect(page.get_by_role("heading", name="The next task is on its way")).to_be_visible()
    expect(page.locator(".save-state")).to_contain_text("not saved yet: 2.")
    expect(page.locator(".outbox__entry [data-words]")).to_have_text(["B is better", "Tie"])
    page.wait_for_timeout(cut_s * 1000)
    assert len(stored(engine)) == 1

    page.context.set_offline(False)
    all_saved(page)
    expect(page.locator("#desk > [data-task]")).to_be_visible()
    fetched_ahead(page)

    server.kill()
    judged.append(judge(page, "9"))
    expect(page.locator(".save-state")).to_contain_text("not saved yet: 1.")
    context = page.context
    page.close()  # with the verdict in it
    server.start()
    page = context.new_page()
    go(page)
    all_saved(page)
    judged.append(judge(page, "1"))
    all_saved(page)

    labels = stored(engine)
    assert [label.choice for label in labels] == ["left", "right", "tie", "both_bad", "left"]
    assert [label.version for label in labels] == [1] * 5
    assert len({label.task_id for label in labels}) == 5
    assert set(judged) <= {label.task_id for label in labels}
