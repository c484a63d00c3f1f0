"""Feedback that an admin lets in is a label of a source of its own; what nobody let in trains nothing and is counted nowhere."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid
from app.feedback.service import About, Said, decide, give, take_back
from app.models import Feedback, Generation, KeptAnswer, Label, Project, Prompt, ProposedPrompt, Seat, Task, utc_now
from app.quality.columns import read
from app.runs.usable_labels import usable_label_count, usable_rewrite_count
from tests.app.conftest import Cast

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]
PAGE = "/projects/demo/feedback"
FAR = [{"role": "user", "content": "How far is the moon?"}]


def given(session: Session, cast: Cast, *, thumb: str = "down", correction: str | None = None, consent: bool = True) -> int:
    project = session.get_one(Project, cast.demo)
    about = About(project.id, project.policy_id or 0, FAR, "Very <b>far</b>.", None, "demo")
    return give(session, about, Said(str(uuid.uuid4()), thumb, consent, correction, "Be exact."), cast.alan)[0].id


def in_training(session: Session, cast: Cast) -> None:
    """Whatever the split of the prompt is by its text."""
    for prompt in session.scalars(select(Prompt)):
        prompt.split = "train"
    for label in session.scalars(select(Label)):
        label.trains = True
    session.flush()


def test_let_in_it_is_a_rating_with_its_correction_and_trains(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        feedback = given(session, cast, correction="384,400 km.")
        assert (usable_label_count(session, cast.demo), session.scalars(select(Task)).all()) == (0, [])
        decide(session, cast.demo, feedback, cast.grace, accepted=True, now=utc_now())
        label = session.scalars(select(Label)).one()
        assert (label.kind, label.overall, label.served_reason, label.annotator_id) == ("rating", 1, "feedback", cast.alan)
        assert (label.rewrite, label.comment) == ({"side": "response", "text": "384,400 km."}, "Be exact.")
        assert session.get_one(Feedback, feedback).label_id == label.id
        answer = session.get_one(Generation, label.left_generation_id)
        assert (answer.text, answer.token_ids, answer.settings) == ("Very <b>far</b>.", None, {"sent_along": True})
        prompt = session.get_one(Prompt, answer.prompt_id)
        assert (prompt.messages, prompt.archived_at is not None) == (FAR, True), "no model answers it until an admin says so"
        assert session.scalars(select(ProposedPrompt.prompt_id)).all() == [prompt.id]
        in_training(session, cast)
        assert (usable_label_count(session, cast.demo), usable_rewrite_count(session, cast.demo)) == (1, 1)
        assert len(read(session, cast.demo)) == 0, "whoever uses a program is not judged as the one whose key it is"
        decide(session, cast.demo, feedback, cast.grace, accepted=True, now=utc_now())
        assert len(session.scalars(select(Label)).all()) == 1, "twice is once"
        with pytest.raises(Conflict):
            decide(session, cast.demo, feedback, cast.grace, accepted=False, now=utc_now())


def test_a_thumb_up_is_a_five_and_two_answers_to_one_prompt_are_two(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        for thumb in ("up", "down"):
            decide(session, cast.demo, given(session, cast, thumb=thumb), cast.grace, accepted=True, now=utc_now())
        assert session.scalars(select(Label.overall).order_by(Label.id)).all() == [5, 1]
        assert len(session.scalars(select(Prompt)).all()) == 1


def test_a_kept_answer_has_its_tokens(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        policy = session.get_one(Project, cast.demo).policy_id or 0
        values = {"completion_id": "c", "number": 0, "messages": FAR, "text": "Near.", "token_ids": [1, 2], "settings": {"a": 1}}
        kept = KeptAnswer(project_id=cast.demo, policy_id=policy, seed=7, finish_reason="length", kept_by=cast.alan, **values)
        session.add(kept)
        session.flush()
        about = About(cast.demo, policy, FAR, "Near.", kept.id, "c 0")
        feedback, _created = give(session, about, Said(str(uuid.uuid4()), "up", True), cast.alan)
        decide(session, cast.demo, feedback.id, cast.grace, accepted=True, now=utc_now())
        answer = session.scalars(select(Generation)).one()
        assert (answer.checkpoint_id, answer.token_ids, answer.seed, answer.finish_reason) == (policy, [1, 2], 7, "length")


@pytest.mark.parametrize("text", [" \n", "\u200b", "x" * 20_001])
def test_what_no_import_would_take_becomes_no_label_either(engine: Engine, cast: Cast, text: str) -> None:
    with write_session(engine) as session:
        feedback = given(session, cast)
        session.get_one(Feedback, feedback).text = text  # of before this was looked at where it is given
        with pytest.raises(Invalid) as refused:
            decide(session, cast.demo, feedback, cast.grace, accepted=True, now=utc_now())
        assert "answer" in refused.value.fields


def test_left_out_or_without_consent_it_never_becomes_a_label(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        left, unasked = given(session, cast), given(session, cast, consent=False)
        decide(session, cast.demo, left, cast.grace, accepted=False, now=utc_now())
        for feedback in (left, unasked):
            with pytest.raises(Conflict):
                decide(session, cast.demo, feedback, cast.grace, accepted=True, now=utc_now())
        assert session.scalars(select(Label)).all() == []


def test_taken_back_its_label_counts_no_more_and_nobody_is_asked_in_its_place(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        feedback = given(session, cast)
        client_id = session.get_one(Feedback, feedback).client_id
        decide(session, cast.demo, feedback, cast.grace, accepted=True, now=utc_now())
        in_training(session, cast)
        take_back(session, client_id, cast.alan, utc_now())
        take_back(session, client_id, cast.alan, utc_now())
        assert [(label.withdrawn, label.current) for label in session.scalars(select(Label).order_by(Label.id))] == [
            (False, False),
            (True, False),
        ]
        assert usable_label_count(session, cast.demo) == 0
        assert [seat.state for seat in session.scalars(select(Seat))] == ["done"]


def test_the_page_shows_what_waits_and_lets_in_or_leaves(engine: Engine, cast: Cast, as_user: As) -> None:
    with write_session(engine) as session:
        first, second = given(session, cast, correction="384,400 km."), given(session, cast, thumb="up")
        given(session, cast, consent=False)
    grace = as_user("Grace")
    page = grace.get(PAGE).text
    assert "Thumbs so far: 1 up, 2 down." in page
    assert page.count("How far is the moon?") == 2
    assert "Very &lt;b&gt;far&lt;/b&gt;." in page
    assert "<ins>" in page
    assert "as it was sent along" in page
    assert f'href="{PAGE}"' in grace.get("/projects/demo/labels").text
    assert grace.post(f"{PAGE}/{first}/acceptance").status_code == 303
    assert grace.post(f"{PAGE}/{second}/refusal").status_code == 303
    assert "Nothing waits" in grace.get(PAGE).text
    assert grace.post(f"{PAGE}/{second}/acceptance").status_code == 409
    with read_session(engine) as session:
        label = session.scalars(select(Label)).one()
    assert "said in use" in grace.get(f"/labels/{label.id}").text


def test_a_program_does_it_too_and_only_an_admin(engine: Engine, cast: Cast, api: Api, as_user: As) -> None:
    with write_session(engine) as session:
        ids = [given(session, cast) for _ in range(3)]
    grace, there = api("admin", who="Grace"), "/api/v1/projects/demo/feedback"
    page = grace.get(f"{there}?limit=2").json()
    assert [item["id"] for item in page["items"]] == ids[:2]
    assert [item["id"] for item in grace.get(f"{there}?limit=2&cursor={page['next_cursor']}").json()["items"]] == ids[2:]
    assert (page["items"][0]["giver"], page["items"][0]["kept"], page["items"][0]["policy"]) == ("Alan", False, "Base model")
    accepted = grace.post(f"{there}/{ids[0]}/accept").json()
    assert (accepted["accepted"], accepted["label_id"] is not None) == (True, True)
    assert grace.post(f"{there}/{ids[1]}/refuse").json() == {"id": ids[1], "accepted": False, "label_id": None}
    assert grace.post(f"{there}/999/accept").status_code == 404
    assert as_user("Alan").get(PAGE).status_code == 403
    assert as_user("Mary").post(f"{PAGE}/{ids[2]}/acceptance").status_code in (403, 404)
