"""A round from its start to a decision, as the tables see it. The runs themselves are the supervisor's."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.errors import Conflict, Invalid
from app.models import AuditEntry, Checkpoint, Label, Project, Prompt, Round, Run, Task, utc_now
from app.quality.exclusion import exclude
from app.rounds import service, triggers
from app.runs import checkpoints, run_settings, runs
from app.runs.runs import MOST_WAITING, queue_run
from app.runs.usable_labels import usable_label_count
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.messages import Message, reason_of


def label_task(session: Session, task: Task, annotator_id: int, **values: Any) -> Label:
    prompt = session.get_one(Prompt, task.prompt_id)
    label = Label(
        trains=task.purpose == "train" and prompt.split == "train",
        project_id=task.project_id,
        task_id=task.id,
        annotator_id=annotator_id,
        client_id=str(uuid.uuid4()),
        payload_hash="0" * 64,
        guideline_version=1,
        interface_version="1",
        served_reason="random",
        left_generation_id=task.first_generation_id,
        right_generation_id=task.second_generation_id,
        **{"kind": "comparison", "choice": "left", **values},
    )
    session.add(label)
    session.flush()
    return label


def make_labels(session: Session, project: Project, count: int, annotator_id: int) -> None:
    for _ in range(count):
        label_task(session, factories.make_task(session, project), annotator_id)


def end(session: Session, run: Run, state: str = "done", **result: Any) -> None:
    """What the worker does when a run ends: its row, its checkpoint, the next stage."""
    run.state, run.ended_at, run.result, run.message = state, utc_now(), result, reason_of(result)
    kind = {"reward": "reward", "ppo": "policy"}.get(run.kind)
    if kind and state == "done":
        factories.make_checkpoint(session, run.project_id, kind=kind, run_id=run.id, parent_id=run.inputs.get("start"))
    session.flush()
    assert run.round_id is not None
    service.advance_round(session, service.get_round(session, run.round_id))


def stage(session: Session, round_: Round) -> list[Run]:
    return [run for run in service.runs_of_round(session, round_.id) if run.kind == round_.state]


def candidate_round(session: Session, demo: Project, cast: Cast) -> Round:
    """A round that waits for a decision."""
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    end(session, stage(session, round_)[0])
    for run in stage(session, round_):
        end(session, run)
    return round_


def test_a_round_goes_from_labels_to_a_decision(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    assert (round_.number, round_.state, round_.label_count) == (1, "reward", 30)

    end(session, stage(session, round_)[0], gate_passed=True)
    assert round_.state == "ppo"
    ppo = stage(session, round_)[0]
    assert ppo.inputs == {"reward": round_.reward_id, "start": demo.policy_id}

    end(session, ppo)
    assert round_.state == "sample"
    assert [run.inputs["checkpoint"] for run in stage(session, round_)] == [round_.candidate_id]

    end(session, stage(session, round_)[0])
    assert (round_.state, round_.decision) == ("decision", None)


def test_the_policy_it_came_from_answers_the_holdout_prompts_once(session: Session, demo: Project, cast: Cast) -> None:
    prompt = factories.make_prompt(session, demo.id, "Kept back", split="holdout")
    round_ = candidate_round(session, demo, cast)
    sampled = [run.inputs for run in stage(session, round_) or service.runs_of_round(session, round_.id) if run.kind == "sample"]
    assert sampled == [
        {"checkpoint": round_.candidate_id, "split": "all"},
        {"checkpoint": round_.start_policy_id, "split": "holdout"},
    ]

    service.reject(session, round_, cast.grace)
    factories.make_generation(session, prompt, round_.start_policy_id)
    again = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, again)[0], gate_passed=True)
    end(session, stage(session, again)[0])
    assert [run.inputs["split"] for run in stage(session, again)] == ["all"]


def test_a_stage_that_cannot_be_queued_fails_the_round_and_keeps_the_candidate(
    session: Session, demo: Project, cast: Cast
) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    ppo = stage(session, round_)[0]
    for prompt in session.scalars(select(Prompt).where(Prompt.project_id == demo.id)):
        prompt.archived_at = utc_now()
    end(session, ppo)
    assert round_.state == "failed"
    assert round_.reason == Message("stuck_after_ppo", reason=Message("no_prompt_to_answer"))
    assert checkpoints.made_by(session, ppo.id) is not None


@pytest.mark.parametrize(("most", "given", "written"), [(1000, {}, 5), (100, {}, 3), (10, {}, 2), (10, {"per_prompt": 4}, 4)])
def test_what_rankings_want_of_each_prompt_keeps_no_round_from_its_end(
    session: Session, demo: Project, cast: Cast, monkeypatch: pytest.MonkeyPatch, most: int, given: dict[str, Any], written: int
) -> None:
    """Its candidate answers every prompt, of which there are thirty: refused after training, all of that was for nothing."""
    monkeypatch.setattr(runs, "MOST_ANSWERS", most)
    make_labels(session, demo, 30, cast.mary)
    demo.ranking_share, demo.ranking_answers = 0.5, 5
    round_ = service.start_round(session, demo, "admin", cast.grace, config={"sample": given})
    assert round_.config["sample"]["per_prompt"] == written


def test_too_few_labels_are_refused_with_the_number_that_is_needed(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 3, cast.mary)
    with pytest.raises(Conflict, match="at least 30 labels; so far: 3 labels"):
        service.start_round(session, demo, "admin", cast.grace)


def test_the_fewest_labels_follow_the_settings_of_the_round(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 3, cast.mary)
    demo.training = {"reward": {"min_labels": 2}}
    round_ = service.start_round(session, demo, "admin", cast.grace, {"ppo": {"updates": 3}})
    assert round_.config["reward"]["min_labels"] == 2
    assert round_.config["ppo"]["updates"] == 3


def test_a_setting_that_cannot_be_used_is_named(session: Session, demo: Project, cast: Cast) -> None:
    with pytest.raises(Invalid) as refused:
        service.start_round(session, demo, "admin", cast.grace, {"ppo": {"clip": -1}, "sample": {"temperature": 50}})
    assert refused.value.fields == {
        "ppo.clip": "This must lie between 0.001 and 10.",
        "sample.temperature": "This must lie between 0.01 and 2.",
    }


def test_who_asks_for_demonstrations_needs_one(session: Session, demo: Project, cast: Cast) -> None:
    """The rewrites that count are those that an sft run learns from."""
    make_labels(session, demo, 30, cast.mary)
    factories.make_checkpoint(session, demo.id, kind="reward", parent_id=demo.policy_id)
    held_out = factories.make_task(session, demo)
    session.get_one(Prompt, held_out.prompt_id).split = "holdout"
    label_task(session, held_out, cast.alan, rewrite={"side": "left", "text": "Better."})
    asking: dict[str, Any] = {"ptx_weight": 0.5}
    why = "“Weight of demonstrations” is more than 0, and there is no demonstration to learn from"
    for kind in ("ppo", "preference"):
        with pytest.raises(Invalid, match=why) as refused:
            service.queue_run(session, demo, kind, asking, {}, cast.grace)
        assert refused.value.fields == {"ptx_weight": "there is none yet"}
        service.queue_run(session, demo, kind, {"ptx_weight": 0.0}, {}, cast.grace)
    with pytest.raises(Invalid, match=why):
        service.start_round(session, demo, "admin", cast.grace, {"ppo": asking})
    assert service.list_rounds(session, demo.id) == []

    label_task(session, factories.make_task(session, demo), cast.alan, rewrite={"side": "left", "text": "Better."})
    for kind in ("ppo", "preference"):
        assert service.queue_run(session, demo, kind, asking, {}, cast.grace).config["ptx_weight"] == 0.5
    assert service.start_round(session, demo, "admin", cast.grace, {"ppo": asking}).config["ppo"]["ptx_weight"] == 0.5


def test_a_whole_answer_rated_5_is_a_demonstration_for_who_asks_for_such(session: Session, demo: Project, cast: Cast) -> None:
    factories.make_checkpoint(session, demo.id, kind="reward", parent_id=demo.policy_id)
    task = factories.make_task(session, demo, "rating")
    label_task(session, task, cast.mary, kind="rating", choice=None, overall=5)
    settings: dict[str, dict[str, Any]] = {"ppo": {"ptx_weight": 0.5}, "preference": {"ptx_weight": 0.5, "method": "kto"}}
    for kind, asking in settings.items():
        with pytest.raises(Invalid, match="no demonstration to learn from"):
            service.queue_run(session, demo, kind, asking, {}, cast.grace)
        assert service.queue_run(session, demo, kind, asking | {"ptx_top_rated": True}, {}, cast.grace).state == "queued"


def test_a_round_that_starts_by_itself_says_in_its_end_that_there_is_no_demonstration(
    session: Session, demo: Project, cast: Cast
) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "labels", None, {"ppo": {"ptx_weight": 0.5}})
    end(session, stage(session, round_)[0], gate_passed=True)
    assert round_.state == "failed"
    assert round_.reason is not None
    assert "no_demonstration" in str(round_.reason)


def test_only_verdicts_that_may_teach_are_counted(session: Session, demo: Project, cast: Cast) -> None:
    first = label_task(session, factories.make_task(session, demo), cast.mary, current=False)
    label_task(session, session.get_one(Task, first.task_id), cast.mary, version=2, supersedes_id=first.id)
    label_task(session, factories.make_task(session, demo), cast.mary, surplus=True)
    label_task(session, factories.make_task(session, demo, purpose="gold"), cast.mary)
    held_out = factories.make_task(session, demo)
    session.get_one(Prompt, held_out.prompt_id).split = "holdout"
    label_task(session, held_out, cast.mary)
    assert usable_label_count(session, demo.id) == 1


def test_a_second_round_waits_for_the_first(session: Session, demo: Project, cast: Cast) -> None:
    round_ = candidate_round(session, demo, cast)
    with pytest.raises(Conflict, match="Round 1 waits for your decision"):
        service.start_round(session, demo, "admin", cast.grace)
    service.reject(session, round_, cast.grace, "Too terse")
    assert service.start_round(session, demo, "admin", cast.grace).number == 2


def test_a_reward_model_that_fails_the_gate_ends_the_round_with_the_reason(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=False, reason="accuracy .52, interval .41-.63")
    assert round_.state == "refused"
    assert round_.reason == Message("no_training", reason=factories.written("accuracy .52, interval .41-.63"))
    assert [run.kind for run in service.runs_of_round(session, round_.id)] == ["reward"]


def test_a_failed_run_fails_its_round_and_a_refused_one_refuses_it(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    failed = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, failed)[0], "failed", reason="It crashed three times")
    assert (failed.state, failed.reason) == ("failed", factories.written("It crashed three times"))

    refused = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, refused)[0], "failed", status="refused", reason="all labels are ties")
    assert (refused.state, refused.reason) == ("refused", factories.written("all labels are ties"))


def test_cancelling_a_run_cancels_its_round(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    run = stage(session, round_)[0]
    service.cancel_run(session, run, cast.grace)
    assert (run.state, round_.state) == ("cancelled", "cancelled")
    with pytest.raises(Conflict):
        service.cancel_run(session, run, cast.grace)


def test_a_running_run_is_asked_to_stop_and_ends_when_the_worker_says_so(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    run = stage(session, round_)[0]
    run.state = "running"
    service.cancel_round(session, round_, cast.grace)
    assert run.state == "running"
    assert run.cancel_requested_at is not None
    end(session, run, "cancelled")
    assert round_.state == "cancelled"


def test_advancing_twice_changes_nothing(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    service.advance_round(session, round_)
    assert [run.kind for run in service.runs_of_round(session, round_.id)] == ["reward", "ppo"]


def test_promotion_moves_the_policy_and_going_back_moves_it_again(session: Session, demo: Project, cast: Cast) -> None:
    base = demo.policy_id
    round_ = candidate_round(session, demo, cast)
    assert round_.candidate_id is not None
    candidate = checkpoints.get_checkpoint(session, round_.candidate_id)

    service.promote(session, candidate, cast.grace)
    assert (demo.policy_id, demo.previous_policy_id) == (candidate.id, base)
    assert (round_.state, round_.decision, round_.decided_by) == ("done", "promoted", cast.grace)
    with pytest.raises(Conflict, match="already"):
        service.promote(session, candidate, cast.grace)

    assert base is not None
    service.promote(session, checkpoints.get_checkpoint(session, base), cast.grace)
    assert (demo.policy_id, demo.previous_policy_id) == (base, candidate.id)
    audited = session.scalars(select(AuditEntry.subject).where(AuditEntry.action == "policy.promoted")).all()
    assert audited == [f"checkpoint {candidate.id}", f"checkpoint {base}"]


def test_a_candidate_promoted_while_it_still_answers_closes_its_round(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    end(session, stage(session, round_)[0])
    assert round_.candidate_id is not None
    service.promote(session, checkpoints.get_checkpoint(session, round_.candidate_id), cast.grace)
    assert round_.state == "sample"
    for run in stage(session, round_):
        end(session, run)
    assert (round_.state, round_.decision, round_.decided_by) == ("done", "promoted", cast.grace)
    assert service.open_round(session, demo.id) is None


def test_a_reward_model_cannot_be_promoted(session: Session, demo: Project, cast: Cast) -> None:
    reward = factories.make_checkpoint(session, demo.id, kind="reward")
    with pytest.raises(Conflict, match="reward model"):
        service.promote(session, reward, cast.grace)


def test_a_run_takes_no_checkpoint_of_another_project(session: Session, demo: Project, cast: Cast) -> None:
    foreign = session.scalars(select(Checkpoint).where(Checkpoint.project_id == cast.other)).first()
    assert foreign is not None
    factories.make_prompt(session, demo.id)
    with pytest.raises(Invalid) as refused:
        service.queue_run(session, demo, "sample", {}, {"checkpoint": foreign.id}, cast.grace)
    assert "checkpoint" in refused.value.fields


@pytest.mark.parametrize("name", ["../secrets.txt", "/etc/passwd", "a/b.txt", "notes.exe", "..txt", 7, None])
def test_the_text_of_an_sft_run_is_a_name_not_a_path(session: Session, demo: Project, cast: Cast, name: object) -> None:
    with pytest.raises(Invalid):
        service.queue_run(session, demo, "sft", {}, {"text": name}, cast.grace)


def test_a_sample_run_has_a_bound_and_needs_prompts(session: Session, demo: Project, cast: Cast) -> None:
    with pytest.raises(Invalid, match="no prompt"):
        service.queue_run(session, demo, "sample", {}, {}, cast.grace)
    for _ in range(21):
        factories.make_prompt(session, demo.id)
    with pytest.raises(Invalid, match="at most 20,000"):
        service.queue_run(session, demo, "sample", {"per_prompt": 1_000}, {}, cast.grace)


def test_sample_runs_draw_seeds_of_their_own_unless_told(session: Session, demo: Project, cast: Cast) -> None:
    factories.make_prompt(session, demo.id)
    seeds = {service.queue_run(session, demo, "sample", {}, {}, None).config["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert service.queue_run(session, demo, "sample", {"seed": 5}, {}, None).config["seed"] == 5


def test_ppo_samples_as_the_project_does(session: Session, demo: Project) -> None:
    demo.sampling = {"temperature": 0.9, "max_new_tokens": 17, "per_prompt": 3}
    config = run_settings.run_config(demo, "ppo", {"updates": 2})
    assert (config.temperature, config.max_new_tokens, config.updates) == (0.9, 17, 2)  # type: ignore[union-attr]


# Triggers


def test_new_labels_trigger_a_round(session: Session, demo: Project, cast: Cast) -> None:
    demo.trigger_labels, demo.triggers_on = 40, True
    make_labels(session, demo, 39, cast.mary)
    assert triggers.next_trigger(session, demo).labels_left == 1
    assert triggers.next_trigger(session, demo).due is None
    make_labels(session, demo, 1, cast.mary)
    assert triggers.next_trigger(session, demo).due == "labels"
    demo.triggers_on = False
    assert triggers.next_trigger(session, demo).due is None


def test_hours_trigger_a_round_only_when_there_is_a_new_label(session: Session, demo: Project, cast: Cast) -> None:
    demo.trigger_hours, demo.triggers_on = 2.0, True
    round_ = candidate_round(session, demo, cast)
    assert triggers.next_trigger(session, demo).waits_for == "a decision on round 1"
    service.reject(session, round_, cast.grace)
    round_.started_at = utc_now() - timedelta(hours=3)
    assert triggers.next_trigger(session, demo).due is None
    assert triggers.next_trigger(session, demo).waits_for == "a new label"
    make_labels(session, demo, 1, cast.mary)
    assert triggers.next_trigger(session, demo).due == "hours"
    round_.started_at = utc_now() - timedelta(hours=1)
    assert triggers.next_trigger(session, demo).due is None


def test_labels_withdrawn_from_training_hold_no_round_back(session: Session, demo: Project, cast: Cast) -> None:
    """New are those that were given since, whatever left; and that some left is news, too."""
    demo.trigger_labels, demo.trigger_hours, demo.triggers_on = 3, 2.0, True
    make_labels(session, demo, 30, cast.alan)
    round_ = candidate_round(session, demo, cast)
    service.reject(session, round_, cast.grace)
    assert triggers.next_trigger(session, demo).waits_for == "a new label"
    exclude(session, demo, cast.alan, "Guessed.", cast.grace)
    following = triggers.next_trigger(session, demo)
    assert (following.new_labels, following.labels_left, following.waits_for, following.due) == (0, 3, "", None)
    assert triggers.next_trigger(session, demo, utc_now() + timedelta(hours=3)).due == "hours"
    make_labels(session, demo, 3, cast.mary)
    following = triggers.next_trigger(session, demo)
    assert (following.new_labels, following.due) == (3, "labels")


def test_only_so_many_runs_wait(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(MOST_WAITING):
            factories.make_run(session, project.id, "sft", state="queued")
        with pytest.raises(Conflict, match="runs of this project are waiting already"):
            queue_run(session, project, "reward", {}, {}, cast.alan)
        assert queue_run(session, project, "reward", {}, {}, None).state == "queued"  # the program itself
        round_ = Round(project_id=project.id, number=1, trigger="admin", label_count=0, start_policy_id=project.policy_id)
        session.add(round_)
        session.flush()
        assert queue_run(session, project, "reward", {}, {}, cast.alan, round_).state == "queued"
        other = session.get_one(Project, cast.other)
        assert queue_run(session, other, "reward", {}, {}, cast.eve).state == "queued"
        for run in session.scalars(select(Run).where(Run.project_id == project.id, Run.kind == "sft")):
            run.state = "running"
        session.flush()
        assert queue_run(session, project, "reward", {}, {}, cast.alan).state == "queued"


def test_a_runs_page_shows_the_first_answer_to_each_prompt_not_the_short_ones_that_ended_first(
    engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        policy = session.get_one(Project, cast.demo).policy_id or 0
        run = factories.make_run(session, cast.demo).id
        prompts = [factories.make_prompt(session, cast.demo, split="holdout") for _ in range(2)]
        for number, text in ((1, "Short."), (0, "Longer, and so later.")):
            for prompt in prompts:
                factories.make_generation(session, prompt, policy, text, run_id=run, number=number)
        found = checkpoints.answers_shown(session, run, split="holdout", limit=3)
        assert [(prompt.id, answer.number) for answer, prompt in found] == [
            (prompts[0].id, 0),
            (prompts[1].id, 0),
            (prompts[0].id, 1),
        ]
