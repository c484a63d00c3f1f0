"""Which reward chooses among the answers of a sample run, and that no chosen answer is taken for what a policy says."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.errors import Invalid
from app.models import Checkpoint, Drawn, Project, Prompt, Run, Task, drawn, drawn_alone
from app.models.rounds import Generation
from app.queue import asking
from app.rounds import round_story, service
from app.runs import estimates, refill, runs
from app.runs.checkpoints import current_policy
from app.runs.run_settings import drawn_next
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.asked import ask, queue_refill
from tests.app.rounds.test_service import end, make_labels, stage


@pytest.fixture
def demo(session: Session, cast: Cast) -> Project:
    project = session.get_one(Project, cast.demo)
    factories.make_prompt(session, project.id)
    return project


def reward(session: Session, project: Project, passed: bool = True, **values: Any) -> Checkpoint:
    known = {"parent_id": project.policy_id, "metrics": {"gate_passed": passed}}
    return factories.make_checkpoint(session, project.id, kind="reward", **(known | values))


def sampled(session: Session, project: Project, settings: dict[str, Any], **inputs: Any) -> Run:
    return runs.queue_run(session, project, "sample", settings, inputs, None)


def test_the_newest_reward_that_beat_guessing_chooses_unless_one_is_named(session: Session, demo: Project) -> None:
    named, newest = reward(session, demo, passed=False), reward(session, demo)
    reward(session, demo, passed=False)
    stranger = factories.make_checkpoint(session, demo.id)
    reward(session, demo, parent_id=stranger.id)
    assert sampled(session, demo, {"best_of": 4}).inputs["reward"] == newest.id
    assert sampled(session, demo, {"best_of": 4}, reward=named.id).inputs["reward"] == named.id
    assert "reward" not in sampled(session, demo, {}).inputs


def test_choosing_without_a_reward_is_refused_to_who_asks_for_it_and_waits_where_the_project_does(
    session: Session, demo: Project
) -> None:
    reward(session, demo, passed=False)
    with pytest.raises(Invalid, match="needs a reward model that passed"):
        sampled(session, demo, {"best_of": 4})
    demo.sampling = {"best_of": 4}
    before = sampled(session, demo, {})
    assert (before.config["best_of"], "reward" in before.inputs) == (1, False)
    chooser = reward(session, demo)
    after = sampled(session, demo, {})
    assert (after.config["best_of"], after.inputs["reward"]) == (4, chooser.id)


def test_a_reward_that_cannot_choose_here_is_refused(session: Session, demo: Project) -> None:
    own, other = reward(session, demo), reward(session, demo, parent_id=factories.make_checkpoint(session, demo.id).id)
    with pytest.raises(Invalid, match="another base"):
        sampled(session, demo, {"best_of": 2}, reward=other.id)
    with pytest.raises(Invalid, match="nothing among one"):
        sampled(session, demo, {}, reward=own.id)
    with pytest.raises(Invalid, match="reward checkpoint"):
        sampled(session, demo, {"best_of": 2}, reward=demo.policy_id)


def test_answers_that_are_not_kept_count_as_work(session: Session, demo: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    reward(session, demo)
    once, four = sampled(session, demo, {}), sampled(session, demo, {"best_of": 4})
    start = estimates.START_S["sample"]
    seconds = [estimates.run_seconds(session, run) - start for run in (once, four)]
    assert seconds[1] == pytest.approx(4 * seconds[0])
    monkeypatch.setattr(runs, "MOST_ANSWERS", 7)
    with pytest.raises(Invalid, match="8"):
        sampled(session, demo, {"best_of": 4})


def test_a_round_shows_what_its_candidate_writes_whatever_the_queue_is_filled_with(
    session: Session, demo: Project, cast: Cast
) -> None:
    demo.sampling = {"best_of": 4}
    held_out = factories.make_prompt(session, demo.id, split="holdout")
    assert demo.policy_id is not None
    best = {"best_of": 4, "reward": reward(session, demo).id}
    factories.make_generation(session, held_out, demo.policy_id, "Chosen.", settings=best)
    make_labels(session, demo, 30, cast.mary)
    with pytest.raises(Invalid, match="none of it chosen"):
        service.start_round(session, demo, "admin", cast.grace, {"sample": {"best_of": 4}})
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    end(session, stage(session, round_)[0])
    asked = stage(session, round_)
    assert [run.config["best_of"] for run in asked] == [1, 1]
    assert [run.inputs["split"] for run in asked] == ["all", "holdout"], (
        "the policy has not answered: what was chosen is no answer"
    )
    assert round_.candidate_id is not None
    factories.make_generation(session, held_out, demo.policy_id, "Alone.")
    factories.make_generation(session, held_out, round_.candidate_id, "New.")
    beside = round_story.answers_beside(session, demo.policy_id, round_.candidate_id)
    assert [(pair.before.text, pair.after.text) for pair in beside] == [("Alone.", "New.")]


def test_after_a_promotion_the_policy_before_answers_as_the_candidate_did(session: Session, demo: Project) -> None:
    """Once, as it says, although the queue is filled with chosen answers; those wait for chosen ones of the new policy."""
    demo.sampling, old = {"best_of": 4}, demo.policy_id
    assert old is not None
    chooser = reward(session, demo)
    best = {"best_of": 4, "reward": chooser.id}
    prompt = session.scalars(select(Prompt)).one()
    factories.make_generation(session, prompt, old, settings=best)
    new = factories.make_checkpoint(session, demo.id, parent_id=old)
    factories.make_generation(session, prompt, new.id)
    demo.policy_id, demo.previous_policy_id = new.id, old
    session.flush()

    assert refill.prompts_beside(session, demo) == [prompt.id]
    beside = refill.queue_beside(session, demo, [prompt.id])
    assert beside is not None
    assert (beside.inputs["checkpoint"], beside.config["best_of"]) == (old, 1)
    beside.state = "done"
    factories.make_generation(session, prompt, old, run_id=beside.id)
    session.flush()
    assert refill.prompts_beside(session, demo) == []

    run = queue_refill(session, demo)
    assert run is not None
    assert (run.config["best_of"], run.inputs["reward"]) == (4, chooser.id)
    assert [one.inputs["checkpoint"] for one in session.scalars(select(Run).where(Run.state == "queued"))] == [new.id]


def test_a_refill_lets_both_policies_answer_in_the_same_way(session: Session, demo: Project) -> None:
    demo.sampling, old = {"best_of": 4}, demo.policy_id
    assert old is not None
    reward(session, demo)
    prompt = session.scalars(select(Prompt)).one()
    factories.make_generation(session, prompt, old)  # as it was drawn: nothing of the new policy will meet it
    demo.policy_id, demo.previous_policy_id = factories.make_checkpoint(session, demo.id, parent_id=old).id, old
    session.flush()
    queue_refill(session, demo)
    queued = session.scalars(select(Run).where(Run.state == "queued").order_by(Run.id)).all()
    assert [(run.inputs["checkpoint"], run.config["best_of"]) for run in queued] == [(old, 4), (demo.policy_id, 4)]


def test_what_waits_is_taken_apart_only_for_answers_it_can_meet(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        demo.rating_share, old = 0.0, demo.policy_id
        assert old is not None
        best = {"best_of": 4, "reward": reward(session, demo).id}
        alone, chosen = factories.make_prompt(session, demo.id), factories.make_prompt(session, demo.id)
        for prompt, settings in ((alone, {}), (chosen, best)):
            for _ in range(2):
                factories.make_generation(session, prompt, old, settings=settings)
        assert ask(session, demo) == 2
        new = factories.make_checkpoint(session, demo.id, parent_id=old).id
        for prompt in (alone, chosen):
            factories.make_generation(session, prompt, new)
        demo.policy_id, demo.previous_policy_id = new, old
        alone_id, chosen_id = alone.id, chosen.id
    asking.take_apart(engine, cast.demo)
    with write_session(engine) as session:
        left = session.scalars(select(Task.prompt_id).where(Task.prompt_id.in_([alone_id, chosen_id]))).all()
        assert left == [chosen_id]


def test_a_chosen_answer_is_told_from_one_that_was_drawn(session: Session, demo: Project) -> None:
    prompt, policy = session.scalars(select(Prompt)).one(), current_policy(session, demo)
    chooser = reward(session, demo)
    kept = [
        factories.make_generation(session, prompt, policy.id, settings=settings).id
        for settings in ({}, {"temperature": 0.7}, {"best_of": 1})
    ]
    best = factories.make_generation(session, prompt, policy.id, settings={"best_of": 3, "reward": chooser.id})
    assert list(session.scalars(select(Generation.id).where(drawn_alone()).order_by(Generation.id))) == kept
    assert drawn(best.settings) == Drawn(3, chooser.id)
    demo.sampling = {"best_of": 3}
    assert drawn_next(session, demo, policy) == Drawn(3, chooser.id)
