"""A round that trains by several methods: one digest, a candidate of each, and one of them is promoted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid
from app.models import Checkpoint, Project, Round, Run, utc_now
from app.rounds import retry, round_story, service
from app.runs import checkpoints, estimates
from app.runs.lineage.label_index import LABEL_FILES
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import make_labels
from trainer.contract.folder import digest_of
from trainer.contract.messages import Message
from trainer.worker import freeze, results, run_inputs

BOTH = ("ppo", "preference")


def end(session: Session, run: Run, state: str = "done", *, leaves: bool = True, **result: object) -> None:
    """What the worker does when a run ends, its checkpoint named as the worker names it."""
    run.state, run.ended_at, run.result = state, utc_now(), dict(result)
    run.message = None if state == "done" else factories.written("It crashed")
    round_ = session.get_one(Round, run.round_id)
    if state == "done" and leaves and run.kind in ("reward", *BOTH):
        kind = "reward" if run.kind == "reward" else "policy"
        made = {"name": results._name(kind, run, round_), "run_id": run.id, "parent_id": run.inputs.get("start")}
        factories.make_checkpoint(session, run.project_id, kind=kind, label_digest="d" * 64, **made)
    session.flush()
    service.advance_round(session, round_)


def runs_of(session: Session, round_: Round, *kinds: str) -> list[Run]:
    return [run for run in service.runs_of_round(session, round_.id) if run.kind in kinds]


def trained(session: Session, demo: Project, cast: Cast) -> Round:
    """A round of both methods whose reward model has passed."""
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace, methods=BOTH)
    end(session, runs_of(session, round_, "reward")[0], gate_passed=True)
    return round_


def decided(session: Session, demo: Project, cast: Cast) -> tuple[Round, list[Checkpoint]]:
    """One that waits for its decision, and its candidates."""
    factories.make_prompt(session, demo.id, split="holdout")
    round_ = trained(session, demo, cast)
    for kind in (*BOTH, "sample"):
        for run in runs_of(session, round_, kind):
            end(session, run)
    assert round_.state == "decision"
    return round_, checkpoints.policies_of_round(session, round_.id)


def test_each_method_trains_in_turn_and_every_candidate_answers(session: Session, demo: Project, cast: Cast) -> None:
    factories.make_prompt(session, demo.id, split="holdout")
    round_ = trained(session, demo, cast)
    ppo, preference = runs_of(session, round_, *BOTH)
    assert (ppo.kind, preference.kind, round_.state) == ("ppo", "preference", "ppo")
    assert ppo.inputs == {"reward": round_.reward_id, "start": demo.policy_id}
    assert preference.inputs == {"start": demo.policy_id}
    end(session, ppo)
    assert (round_.state, round_.candidate_id) == ("ppo", None), "the other is still to come"
    end(session, preference)
    first, second = checkpoints.policies_of_round(session, round_.id)
    assert (round_.state, round_.candidate_id) == ("sample", first.id)
    assert [first.name, second.name] == [Message("policy_of_round_by", number=1, method=name) for name in ("PPO", "DPO")]
    asked = [(run.inputs["checkpoint"], run.inputs["split"]) for run in runs_of(session, round_, "sample")]
    assert asked == [(first.id, "all"), (second.id, "all"), (demo.policy_id, "holdout")]


def test_a_round_that_names_no_method_is_as_before(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    assert round_.config.keys() == {"reward", "ppo", "sample"}
    assert round_.methods == ("ppo",)


@pytest.mark.parametrize("methods", [(), ("ppo", "ppo"), ("sft",)])
def test_methods_that_a_round_does_not_know_are_refused(
    session: Session, demo: Project, cast: Cast, methods: tuple[str, ...]
) -> None:
    make_labels(session, demo, 30, cast.mary)
    with pytest.raises(Invalid) as refused:
        service.start_round(session, demo, "admin", cast.grace, methods=methods)
    assert refused.value.fields.keys() == {"methods"}


@pytest.mark.parametrize("failing", BOTH)
@pytest.mark.parametrize("how", ["failed", "left nothing"])
def test_a_method_that_fails_loses_no_others_candidate(
    session: Session, demo: Project, cast: Cast, failing: str, how: str
) -> None:
    round_ = trained(session, demo, cast)
    for run in runs_of(session, round_, *BOTH):
        if run.kind == failing:
            end(session, run, "failed" if how == "failed" else "done", leaves=False)
        else:
            end(session, run)
    assert round_.state == "sample"
    only = checkpoints.policies_of_round(session, round_.id)
    assert [one.id for one in only] == [round_.candidate_id]
    end(session, runs_of(session, round_, "sample")[0])
    assert round_.state == "decision"


def test_where_every_method_fails_the_round_does_and_both_can_be_done_again(session: Session, demo: Project, cast: Cast) -> None:
    round_ = trained(session, demo, cast)
    for run in runs_of(session, round_, *BOTH):
        end(session, run, "failed")
    assert round_.state == "failed"
    again = retry.retry_run(session, runs_of(session, round_, "preference")[0], cast.grace)
    assert (round_.state, again.kind, again.round_id) == ("ppo", "preference", round_.id)
    assert [run.kind for run in service.runs_in_force(session, round_)] == list(BOTH)


def test_a_method_that_failed_is_done_again_outside_once_the_round_went_on(session: Session, demo: Project, cast: Cast) -> None:
    round_ = trained(session, demo, cast)
    ppo, preference = runs_of(session, round_, *BOTH)
    end(session, ppo)
    end(session, preference, "failed")
    again = retry.retry_run(session, preference, cast.grace)
    assert (again.round_id, again.retry_of_id, round_.state) == (None, preference.id, "sample")


def test_a_candidate_whose_answers_fail_does_not_take_the_other_with_it(session: Session, demo: Project, cast: Cast) -> None:
    round_ = trained(session, demo, cast)
    for run in runs_of(session, round_, *BOTH):
        end(session, run)
    first, second = runs_of(session, round_, "sample")
    end(session, first, "failed")
    end(session, second)
    assert round_.state == "decision"


def test_cancelling_one_of_them_cancels_the_round(session: Session, demo: Project, cast: Cast) -> None:
    round_ = trained(session, demo, cast)
    ppo, preference = runs_of(session, round_, *BOTH)
    end(session, ppo)
    service.cancel_run(session, preference, cast.grace)
    assert (round_.state, round_.reason) == ("cancelled", Message("its_preference_run_cancelled"))
    assert checkpoints.made_by(session, ppo.id) is not None


@pytest.mark.parametrize("which", [0, 1])
def test_one_of_the_candidates_is_promoted_and_the_other_kept(session: Session, demo: Project, cast: Cast, which: int) -> None:
    round_, candidates = decided(session, demo, cast)
    service.promote(session, candidates[which], cast.grace)
    assert (round_.state, round_.decision, round_.candidate_id) == ("done", "promoted", candidates[which].id)
    assert demo.policy_id == candidates[which].id
    assert candidates[1 - which].promoted_at is None
    service.promote(session, candidates[1 - which], cast.grace)  # later, as any checkpoint
    assert (round_.decision, round_.candidate_id) == ("promoted", candidates[which].id)


def test_rejecting_rejects_them_all(session: Session, demo: Project, cast: Cast) -> None:
    round_, _candidates = decided(session, demo, cast)
    service.reject(session, round_, cast.grace, "Neither reads well")
    assert (round_.state, round_.decision) == ("done", "rejected")


def test_one_that_was_promoted_before_the_decision_settles_it(session: Session, demo: Project, cast: Cast) -> None:
    round_ = trained(session, demo, cast)
    for run in runs_of(session, round_, *BOTH):
        end(session, run)
    second = checkpoints.policies_of_round(session, round_.id)[1]
    service.promote(session, second, cast.grace)
    for run in runs_of(session, round_, "sample"):
        end(session, run)
    assert (round_.state, round_.decision, round_.candidate_id) == ("done", "promoted", second.id)


def test_all_methods_learn_from_the_file_that_the_reward_learned_from(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace, methods=BOTH)
    reward = runs_of(session, round_, "reward")[0]
    session.commit()
    frozen = freeze.prepare(engine, settings, reward.id)
    freeze.publish(frozen)
    end(session, reward, gate_passed=True)
    made = checkpoints.made_by(session, reward.id)
    assert made is not None
    made.label_digest, reward.label_count = frozen.label_digest, frozen.label_count
    make_labels(session, demo, 5, cast.mary)  # while it was fitted
    session.commit()

    preference = runs_of(session, round_, "preference")[0]
    later = freeze.prepare(engine, settings, preference.id)
    assert later.written is not None
    assert (later.label_digest, later.label_count) == (frozen.label_digest, 30)
    assert digest_of(later.written, *LABEL_FILES) == made.label_digest
    outside = service.queue_run(session, demo, "preference", {}, {}, cast.grace)
    session.commit()
    assert freeze.prepare(engine, settings, outside.id).label_count == 35

    (frozen.folder / "preferences.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(Conflict, match="not what they were"):
        run_inputs._rounds_labels(session, settings, preference, settings.runs)


def test_it_takes_as_long_as_all_methods_and_all_answers(session: Session, demo: Project, cast: Cast) -> None:
    one, both = (estimates.expected_times(session, demo, {"methods": methods}) for methods in (["ppo"], list(BOTH)))
    assert both["reward"] == one["reward"]
    assert both["ppo"].seconds > one["ppo"].seconds + estimates.START_S["preference"] - 1
    assert both["sample"].seconds == 2 * one["sample"].seconds
    round_ = trained(session, demo, cast)
    preference = runs_of(session, round_, "preference")[0]
    left = estimates._rest_of_round(session, demo, preference)
    assert left > estimates.expected_times(session, demo, round_.config)["sample"].seconds


def test_the_page_shows_the_candidates_beside_each_other(
    as_user: Callable[[str], TestClient], api: Callable[..., TestClient], engine: Engine, cast: Cast
) -> None:
    grace, program = as_user("Grace"), api("admin", who="Grace")
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        round_, candidates = decided(session, demo, cast)
        held_out = factories.make_prompt(session, demo.id, "Held out.", split="holdout")
        assert demo.policy_id is not None
        for checkpoint_id, text in zip(
            (demo.policy_id, *(one.id for one in candidates)), ("Old.", "Mine.", "Yours."), strict=True
        ):
            factories.make_generation(session, held_out, checkpoint_id, text)
        round_id, ids = round_.id, [one.id for one in candidates]
        told = round_story.tell_round(session, round_)
        assert [[answer.text for _, answer in one.after] for one in told.beside] == [["Mine.", "Yours."]]
    page = grace.get(f"/rounds/{round_id}").text
    for text in ("Policy of round 1 by PPO", "Policy of round 1 by DPO", "Old.", "Mine.", "Yours.", "Reject all of them"):
        assert text in page
    for checkpoint_id in ids:
        assert f'action="/checkpoints/{checkpoint_id}/promotion"' in page
    reply = program.get(f"/api/v1/rounds/{round_id}").json()
    assert [one["id"] for one in reply["candidates"]] == ids
    assert grace.post(f"/checkpoints/{ids[1]}/promotion").status_code == 303
    with read_session(engine) as session:
        assert session.get_one(Round, round_id).candidate_id == ids[1]


def test_a_round_of_both_is_started_from_the_page_and_over_the_api(
    as_user: Callable[[str], TestClient], api: Callable[..., TestClient], engine: Engine, cast: Cast
) -> None:
    grace, program = as_user("Grace"), api("admin", who="Grace")
    with write_session(engine) as session:
        make_labels(session, session.get_one(Project, cast.demo), 30, cast.mary)
    assert "Train on labels alone as well" in grace.get("/projects/demo/rounds/new").text
    grace.post("/projects/demo/rounds", data={"labels_too": "on"})
    with write_session(engine) as session:
        round_ = session.get_one(Round, 1)
        assert round_.methods == BOTH
        service.cancel_round(session, round_, cast.grace)
    asked = {"methods": ["preference", "ppo"], "config": {"preference": {"method": "kto"}}}
    started = program.post("/api/v1/projects/demo/rounds", json=asked)
    assert started.status_code == 202, started.text
    config = started.json()["config"]
    assert (config["methods"], config["preference"]["method"]) == (["preference", "ppo"], "kto")
