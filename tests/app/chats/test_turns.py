"""A turn of a talk, step by step: kept once whatever is sent again, and a label like any other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from app.chats import turns
from app.contenders.service import contender_of
from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.labels.withdraw import withdraw
from app.models import (
    ChatTurn,
    Evaluation,
    EvaluationCandidate,
    Generation,
    Label,
    Project,
    Prompt,
    ProposedPrompt,
    Seat,
    Task,
    Worker,
    utc_now,
)
from app.prompts.service import prompt_digest, prompt_split
from app.queue.claim import claim_next, reopen
from app.queue.make_tasks import plan
from app.runs.usable_labels import usable_labels
from tests.app import factories
from tests.app.chats.talk import Talk, new_id
from tests.app.conftest import Cast


@pytest.fixture
def talk(engine: Engine, cast: Cast, talking: None) -> Talk:
    return Talk(engine, cast)


def test_a_turn_is_a_label_about_what_was_shown(engine: Engine, cast: Cast, talk: Talk) -> None:
    first = talk.say("Why is the sky blue?")
    talk.keep(first, "Air.", "Magic.")
    chosen = talk.choose(1, "right", active_ms=700)
    assert chosen.reply == "Magic."
    second = talk.say("Really?")
    assert second.messages == [
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "Magic."},
        {"role": "user", "content": "Really?"},
    ]
    with read_session(engine) as session:
        label = session.scalars(select(Label)).one()
        left, right = (session.get_one(Generation, id_) for id_ in (label.left_generation_id, label.right_generation_id))
        policy_id = session.get_one(Project, cast.demo).policy_id
        assert (left.text, right.text) == ("Air.", "Magic.")
        assert (left.token_ids, right.token_ids) == ([1, 2], [3])
        assert {left.checkpoint_id, right.checkpoint_id} == {policy_id}
        assert (left.seed, right.seed) == (first.left.seeds[0], first.right.seeds[0])
        assert left.settings == {"temperature": 0.7, "max_new_tokens": 64}
        assert (label.choice, label.served_reason, label.guideline_version) == ("right", "chat", 1)
        assert (label.active_ms, label.interface_version, label.annotator_id) == (700, "chat 1", cast.mary)
        task, prompt = session.get_one(Task, label.task_id), session.get_one(Prompt, left.prompt_id)
        assert (task.kind, task.purpose, task.prompt_id) == ("comparison", "train", prompt.id)
        assert prompt.split == prompt_split(prompt_digest(first.messages))
        assert label.trains == (prompt.split == "train")
        assert session.scalars(select(Seat.state)).all() == ["done"]
        again = reopen(session.connection(), cast.demo, cast.mary, label.task_id)
        assert again is not None
        assert (again.left, again.right) == ("Air.", "Magic."), "opened again, each stands where it stood"


def test_labels_of_talks_count_for_the_reward_at_once_and_their_prompts_wait(engine: Engine, cast: Cast, talk: Talk) -> None:
    for number in range(12):
        talk.turn(f"Question {number}?", "left" if number % 2 else "tie")
    with read_session(engine) as session:
        trained = [label.trains for label in session.scalars(select(Label))]
        assert 0 < sum(trained) < 12, "some prompts of these are held out"
        assert len(session.execute(usable_labels(cast.demo)).all()) == sum(trained)
        assert session.scalar(select(func.count()).select_from(Prompt).where(Prompt.archived_at.is_(None))) == 0
        assert session.scalar(select(func.count()).select_from(ProposedPrompt)) == 12
        assert plan(session, session.get_one(Project, cast.demo)) == []
    with write_session(engine) as session:
        assert claim_next(session.connection(), cast.demo, cast.alan, now=utc_now(), lease=timedelta(minutes=5)) is None


def test_what_was_read_in_a_talk_is_asked_nowhere_else_though_nothing_was_chosen(engine: Engine, cast: Cast, talk: Talk) -> None:
    text = "Why is the sky blue?"
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo, text, digest=prompt_digest([{"role": "user", "content": text}]))
    talk.keep(talk.say(text), "Air.", "Magic.")
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Generation)) == 2
        assert plan(session, session.get_one(Project, cast.demo)) == []


def test_of_a_tie_goes_on_what_stood_left_and_of_two_bad_ones_the_persons_own_words(engine: Engine, talk: Talk) -> None:
    assert talk.turn("One?", "tie").reply == "One? Left."
    asked = talk.say("Two?")
    talk.keep(asked)
    with pytest.raises(Invalid) as refused:
        talk.choose(2, "both_bad")
    assert list(refused.value.fields) == ["words"]
    with pytest.raises(Invalid):
        talk.choose(2, "left", "mine")
    assert talk.choose(2, "both_bad", "Two, it is.").reply == "Two, it is."
    assert talk.say("Three?").messages[-2] == {"role": "assistant", "content": "Two, it is."}
    with read_session(engine) as session:
        label = session.scalars(select(Label).order_by(Label.id.desc())).first()
        assert label is not None
        assert (label.choice, label.rewrite) == ("both_bad", {"side": "left", "text": "Two, it is."})


def test_what_is_sent_again_is_done_once(engine: Engine, talk: Talk) -> None:
    said, judged = new_id(), new_id()
    first = talk.say("Hello?", said)
    again = talk.say("Hello?", said)
    assert (again.number, again.left.seeds, again.right.seeds) == (1, first.left.seeds, first.right.seeds)
    with pytest.raises(Conflict):
        talk.say("Something else?", said)
    talk.keep(first, "A.", "B.")
    talk.keep(again, "Other.", "Words.")
    assert talk.say("Hello?", said).answered
    with pytest.raises(Conflict, match="Choose"):
        talk.say("On?")
    chosen = [talk.choose(1, "left", client_id=judged) for _ in range(2)]
    assert [one.stored.created for one in chosen] == [True, False]
    assert {(one.stored.id, one.reply) for one in chosen} == {(chosen[0].stored.id, "A.")}
    for client_id in (judged, new_id()):
        with pytest.raises(Conflict):
            talk.choose(1, "right", client_id=client_id)
    with read_session(engine) as session:
        counts = {table: session.scalar(select(func.count()).select_from(table)) for table in (ChatTurn, Generation, Task, Label)}
    assert counts == {ChatTurn: 1, Generation: 2, Task: 1, Label: 1}


def test_what_nobody_answered_can_be_said_otherwise(engine: Engine, talk: Talk) -> None:
    first = talk.say("Helo?")
    second = talk.say("Hello?")
    assert (first.number, second.number) == (1, 1)
    with pytest.raises(Conflict, match="meanwhile"):
        talk.keep(first)
    talk.keep(second)
    with read_session(engine) as session:
        assert session.scalars(select(ChatTurn.said)).all() == ["Hello?"]


def test_two_answers_that_are_the_same_are_not_judged(engine: Engine, talk: Talk) -> None:
    asked = talk.say("Hello?")
    talk.keep(asked, "Yes.", "Yes.")
    with pytest.raises(Conflict, match="the same"):
        talk.choose(1, "left")
    assert talk.say("On?").messages[1]["content"] == "Yes."
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 0


def test_a_turn_to_which_nothing_was_said_is_left_out_of_what_models_read(talk: Talk) -> None:
    asked = talk.say("Hello?")
    talk.keep(asked, "", "Go away.")
    assert talk.choose(1, "left").reply == ""
    assert talk.say("On?").messages == [{"role": "user", "content": "On?"}]


def test_the_same_words_in_two_talks_are_one_prompt(engine: Engine, cast: Cast, talk: Talk) -> None:
    for one in (talk, Talk(engine, cast)):
        one.turn("Hello?", "left")
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Prompt)) == 1
        assert session.scalars(select(Generation.number).order_by(Generation.id)).all() == [0, 1, 2, 3]
        assert session.scalar(select(func.count()).select_from(ProposedPrompt)) == 1


def test_while_an_evaluation_is_open_its_candidate_answers_beside_the_policy(engine: Engine, cast: Cast, talk: Talk) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert project.policy_id is not None
        candidate = factories.make_checkpoint(session, cast.demo, parent_id=project.policy_id)
        base, other = (contender_of(session, one) for one in (session.get_one(type(candidate), project.policy_id), candidate))
        plan = {"budget": 20, "error": 0.05, "flag_margin": 0.1, "overlap": 1, "pairs": 1, "prompt_ids": []}
        evaluation = Evaluation(project_id=cast.demo, baseline_id=base.id, state="answering", **plan)
        session.add(evaluation)
        session.flush()
        session.add(EvaluationCandidate(evaluation_id=evaluation.id, contender_id=other.id))
        policies, opened = {project.policy_id, candidate.id}, evaluation.id

    def drawn(*, turns_: int) -> list[tuple[int, int]]:
        for _ in range(turns_):
            talk.say("Hello?")
            with read_session(engine) as session:
                row = session.scalars(select(ChatTurn)).one()
                found.append((row.left_policy_id, row.right_policy_id))
        return found

    found: list[tuple[int, int]] = []
    assert len(set(drawn(turns_=3))) == 1, "it is not open yet"
    with write_session(engine) as session:
        session.execute(update(Evaluation).where(Evaluation.id == opened).values(state="open"))
    found.clear()
    sides = drawn(turns_=24)
    assert {frozenset(pair) for pair in sides} == {frozenset(policies)}
    assert len(set(sides)) == 2, "sides are drawn anew each turn"


def test_a_verdict_that_is_withdrawn_asks_nobody_else(engine: Engine, cast: Cast, talk: Talk) -> None:
    task_id = talk.turn("A secret?", "left").stored.task_id
    with write_session(engine) as session:
        withdraw(session.connection(), task_id, cast.mary, new_id(), interface="page 3", now=utc_now())
    with read_session(engine) as session:
        assert session.scalars(select(Seat.state)).all() == ["done"]


def test_a_talk_is_its_persons_alone(engine: Engine, cast: Cast, talk: Talk) -> None:
    with write_session(engine) as session, pytest.raises(NotFound):
        turns.say(session, talk.id, cast.grace, new_id(), "Hello?")


def test_where_no_worker_is_alive_nothing_is_kept(engine: Engine, talk: Talk) -> None:
    with write_session(engine) as session:
        session.execute(update(Worker).values(heartbeat_at=utc_now() - timedelta(minutes=5)))
    with pytest.raises(Unavailable):
        talk.say("Hello?")
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(ChatTurn)) == 0


def test_where_talking_is_switched_off_nobody_talks(engine: Engine, cast: Cast, talk: Talk) -> None:
    with write_session(engine) as session:
        session.execute(update(Project).where(Project.id == cast.demo).values(chat_on=False))
    with pytest.raises(Conflict, match="switched off"):
        talk.say("Hello?")
