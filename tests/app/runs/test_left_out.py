"""A prompt that the model can do nothing with is asked once, and its pages say so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Prompt, Run, utc_now
from app.projects.service import update_project
from app.prompts.service import edit_prompt
from app.runs import refill
from app.runs.left_out import left_out
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.asked import queue_refill


@pytest.fixture
def demo(session: Session, cast: Cast) -> Project:
    factories.make_prompt(session, cast.demo)
    return session.get_one(Project, cast.demo)


def leave_out(session: Session, run: Run | None, prompt: Prompt, why: str) -> None:
    """The run has ended, long enough ago for another one, and left a prompt out."""
    assert run is not None
    run.state, run.ended_at, run.result = "done", utc_now() - timedelta(hours=1), {"left_out_digests": {prompt.digest: why}}
    session.flush()


def test_a_prompt_that_the_model_refused_is_not_asked_again_until_it_or_the_model_changes(
    session: Session, demo: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.projects.service.base_model_is_fixed", lambda *_: False)
    refused, other = session.scalars(select(Prompt)).one(), factories.make_prompt(session, demo.id)
    leave_out(session, queue_refill(session, demo), refused, "refused")
    assert refill.refill_prompts(session, demo) == [other.id]
    assert left_out(session, demo, demo.policy_id) == {refused.digest: "refused"}

    edit_prompt(session, refused.id, [{"role": "user", "content": "Ask me this."}], None)
    assert refill.refill_prompts(session, demo) == [refused.id, other.id]

    leave_out(session, queue_refill(session, demo), refused, "too_long")
    assert refill.refill_prompts(session, demo) == [other.id]
    update_project(session, demo, {"base_model": "org/other"}, by=None)
    assert set(refill.refill_prompts(session, demo)) == {refused.id, other.id}


def test_pages_say_which_prompts_the_model_can_do_nothing_with(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, cast.demo)
        leave_out(
            session,
            factories.make_run(session, cast.demo, inputs={"checkpoint": session.get_one(Project, cast.demo).policy_id}),
            prompt,
            "refused",
        )
        prompt_id = prompt.id
    grace = as_user("Grace")
    assert "refused by the model" in grace.get("/projects/demo/prompts").text
    assert "has no place for this conversation" in grace.get(f"/prompts/{prompt_id}").text
