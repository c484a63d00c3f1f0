"""Rows into run folders: what is frozen stays frozen."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.contenders.answers import AnswerRow
from app.contenders.bringing_in import import_answers
from app.database.engine import write_session
from app.errors import NotFound
from app.models import Generation, Project, Prompt, Run, Task
from app.queue.given import ask_about
from app.rounds import retry, service
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.quality.checked import answer_again, answer_gold
from tests.app.rounds.test_service import label_task, make_labels
from trainer.contract.config import SampleConfig
from trainer.contract.coverage.clusters import ASKED
from trainer.contract.folder import UNDATED, RunFolder, read_jsonl
from trainer.reward.data import read_labels
from trainer.reward.people.checks import Checks
from trainer.reward.rubric import NO, YES
from trainer.worker import freeze, label_files, run_inputs
from trainer.worker.heartbeat import LostRun
from trainer.worker.label_files import PANEL_ANSWERS


def prepare(session: Session, engine: Engine, settings: Settings, run: Run) -> freeze.Prepared:
    session.commit()
    prepared = freeze.prepare(engine, settings, run.id)
    freeze.publish(prepared)
    return prepared


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / name))


def test_a_sample_run_gets_its_prompts_and_model(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    wanted = factories.make_prompt(session, demo.id, "Why is the sky blue?")
    factories.make_prompt(session, demo.id, split="holdout")
    run = service.queue_run(session, demo, "sample", {"seed": 3}, {}, cast.grace)
    folder = RunFolder(prepare(session, engine, settings, run).folder)
    assert isinstance(folder.config, SampleConfig)
    assert (folder.kind, folder.config.seed) == ("sample", 3)
    assert folder.inputs == {"policy": "models/tiny", "cache": str(settings.cache)}
    assert rows(folder.path, "prompts.jsonl") == [
        {"prompt_id": wanted.id, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    ]


def test_a_sample_run_that_chooses_gets_the_reward_that_does(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id)
    passed = {"parent_id": demo.policy_id, "metrics": {"gate_passed": True}}
    reward = factories.make_checkpoint(session, demo.id, kind="reward", source="runs/1/checkpoint", **passed)
    run = service.queue_run(session, demo, "sample", {"best_of": 4}, {}, cast.grace)
    assert run.inputs["reward"] == reward.id
    folder = RunFolder(prepare(session, engine, settings, run).folder)
    assert folder.inputs == {"policy": "models/tiny", "cache": str(settings.cache), "reward": "runs/1/checkpoint"}


def test_a_model_in_the_data_folder_is_found_wherever_that_folder_is(settings: Settings) -> None:
    (settings.data / "runs" / "3" / "checkpoint").mkdir(parents=True)
    assert run_inputs.model_spec(settings.data, "runs/3/checkpoint") == str(settings.data.resolve() / "runs/3/checkpoint")
    assert run_inputs.model_spec(settings.data, "HuggingFaceTB/SmolLM2-135M") == "HuggingFaceTB/SmolLM2-135M"


def test_a_reward_run_freezes_the_verdicts_with_their_digest(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    comparison, rating = factories.make_task(session, demo), factories.make_task(session, demo, "rating")
    label_task(session, comparison, cast.mary, choice="right", strength=2)
    label_task(session, rating, cast.alan, kind="rating", choice=None, overall=4, criteria={"fluency": 5})
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    prepared = prepare(session, engine, settings, run)

    preference = rows(prepared.folder, "preferences.jsonl")[0]
    assert (preference["choice"], preference["strength"], preference["annotator"]) == ("right", 2, "annotator-1")
    assert preference["left"] == {
        "text": session.get_one(Generation, comparison.first_generation_id).text,
        "token_ids": [1, 2],
    }
    judged = rows(prepared.folder, "ratings.jsonl")[0]
    assert (judged["overall"], judged["criteria"], judged["annotator"]) == (4, {"fluency": 5}, "annotator-2")
    assert prepared.label_count == 2
    assert prepared.label_digest is not None
    assert len(prepared.label_digest) == 64
    everything = "".join(path.read_text() for path in prepared.folder.glob("*.json*"))
    assert "Mary" not in everything
    assert "mary@" not in everything


def test_a_reward_run_is_told_what_came_of_each_persons_checks_by_their_pseudonym(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    said = label_task(session, factories.make_task(session, demo), cast.mary, choice="left")
    answer_again(session, demo, cast.mary, said, "left")
    answer_gold(session, demo, cast.mary, right=True)
    answer_gold(session, demo, cast.alan, right=False)
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)

    frozen = read_labels(prepare(session, engine, settings, run).folder)

    assert frozen.checks == {"annotator-1": Checks(1, 1, 1, 1), "annotator-2": Checks(known=1)}
    assert len(frozen.comparisons) == 1, "checks train nothing"


def test_a_preference_run_learns_from_the_very_file_that_a_reward_run_does(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    label_task(
        session, factories.make_task(session, demo), cast.mary, choice="right", rewrite={"side": "left", "text": "Better."}
    )
    label_task(session, factories.make_task(session, demo, "rating"), cast.alan, kind="rating", choice=None, overall=4)
    shown = factories.make_prompt(session, demo.id, split="holdout")
    tuned = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id, source="runs/9/checkpoint")
    reward = prepare(session, engine, settings, service.queue_run(session, demo, "reward", {}, {}, cast.grace))
    runs = [service.queue_run(session, demo, "preference", {}, inputs, cast.grace) for inputs in ({}, {"start": tuned.id})]
    base, start = (prepare(session, engine, settings, run) for run in runs)
    assert (base.label_digest, base.label_count) == (reward.label_digest, reward.label_count) == (start.label_digest, 2)
    for name in ("preferences.jsonl", "ratings.jsonl"):
        assert (base.folder / name).read_bytes() == (reward.folder / name).read_bytes()
    assert [row["prompt_id"] for row in rows(base.folder, "panel_prompts.jsonl")] == [shown.id]
    assert [RunFolder(one.folder).inputs["start"] for one in (base, start)] == [None, "runs/9/checkpoint"]
    assert RunFolder(base.folder).inputs["base"] == "models/tiny"


@pytest.mark.parametrize("kind", ["reward", "preference"])
def test_tokens_of_a_model_from_another_base_are_not_taken_for_ones_own(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast, kind: str
) -> None:
    own = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id, source="runs/9/checkpoint")
    stranger = factories.make_checkpoint(session, demo.id, source="models/other")
    comparison, rating = factories.make_task(session, demo), factories.make_task(session, demo, "rating")
    session.get_one(Generation, comparison.first_generation_id).checkpoint_id = own.id
    for number in (comparison.second_generation_id, rating.first_generation_id):
        session.get_one(Generation, number).checkpoint_id = stranger.id
    label_task(session, comparison, cast.mary, rewrite={"side": "right", "text": "Whole."})
    label_task(session, rating, cast.alan, kind="rating", choice=None, overall=4)
    folder = prepare(session, engine, settings, service.queue_run(session, demo, kind, {}, {}, cast.grace)).folder
    verdict, rewrite = rows(folder, "preferences.jsonl")
    written = [verdict["left"], verdict["right"], rewrite["right"], rows(folder, "ratings.jsonl")[0]["response"]]
    assert [answer["token_ids"] for answer in written] == [[1, 2], None, None, None]


def test_an_answer_that_none_of_ours_wrote_is_learned_from_by_its_text(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    task = factories.make_task(session, demo)
    prompt = session.get_one(Prompt, task.prompt_id)
    theirs = factories.bring_in(session, prompt, factories.make_stranger(session, demo.id), "Brought in.")
    task.second_generation_id = theirs.id
    label_task(session, task, cast.mary)
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    (row,) = rows(prepare(session, engine, settings, run).folder, "preferences.jsonl")
    assert {side["text"]: side["token_ids"] for side in (row["left"], row["right"])}["Brought in."] is None
    assert sorted(bool(side["token_ids"]) for side in (row["left"], row["right"])) == [False, True]


def test_what_people_say_of_imported_answers_trains_the_reward_by_their_text(
    engine: Engine, settings: Settings, cast: Cast
) -> None:
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, cast.demo, split="train")
        policy = session.get_one(Project, cast.demo).policy_id or 0
        ours, asked = factories.make_generation(session, prompt, policy, "Ours.").id, prompt.id
    assert import_answers(engine, cast.demo, [AnswerRow(1, asked, "Theirs.", "gpt-x")]).created == 1
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        theirs = session.scalars(select(Generation.id).where(Generation.text == "Theirs.")).one()
        (task_id,) = ask_about(session, demo, [(ours, theirs)], cast.grace)
        label_task(session, session.get_one(Task, task_id), cast.mary)
        run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
        folder = prepare(session, engine, settings, run).folder
    (row,) = rows(folder, "preferences.jsonl")
    assert {side["text"]: bool(side["token_ids"]) for side in (row["left"], row["right"])} == {"Ours.": True, "Theirs.": False}
    assert {answer.text for answer in read_labels(folder).answers} >= {"Ours.", "Theirs."}


def test_an_answer_that_the_length_limit_cut_says_so_to_training(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    comparison, rating = factories.make_task(session, demo), factories.make_task(session, demo, "rating")
    for cut in (comparison.second_generation_id, rating.first_generation_id):
        session.get_one(Generation, cut).finish_reason = "length"
    label_task(session, comparison, cast.mary, rewrite={"side": "right", "text": "Whole."})
    label_task(session, rating, cast.alan, kind="rating", choice=None, overall=4)
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    folder = prepare(session, engine, settings, run).folder

    verdict, rewrite = rows(folder, "preferences.jsonl")
    assert ["cut" in verdict[side] for side in ("left", "right")] == [False, True]
    assert verdict["right"]["cut"] is True
    assert ["cut" in rewrite[side] for side in ("left", "right")] == [False, True]  # what a person wrote is whole
    assert rows(folder, "ratings.jsonl")[0]["response"]["cut"] is True
    assert [row["response"].get("cut") for row in rows(folder, "panel.jsonl")] == [None, True]
    assert [answer.cut for answer in read_labels(folder).answers] == [False, True, False, True]


def test_every_part_of_a_verdict_reaches_training(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    comparison, rating = factories.make_task(session, demo), factories.make_task(session, demo, "rating")
    flags = {"left": ["untrue"], "right": []}
    better = {"side": "right", "text": "Better."}
    asked = {"sourced": {"version": 1, "left": "yes", "right": "cannot_say"}}
    mark = {"start": 0, "end": 2, "reason": "wrong", "quote": "It"}
    spans = {"reasons": {"good": 1, "wrong": 1}, "left": [mark]}
    words = {"description": "", "version": 1, "earlier": [], "since": "2026-01-01T00:00:00+00:00"}
    demo.span_reasons = [{"key": "wrong", "name": "wrong", "tone": "bad", **words}]
    demo.retired = demo.retired | {"span_reasons": [{"key": "good", "name": "good", "tone": "good", **words}]}
    more = {"rubric": asked, "spans": spans, "rewrite": better}
    label_task(session, comparison, cast.mary, criteria={"fluency": "tie"}, flags=flags, **more)
    rated = {"kind": "rating", "choice": None, "overall": 4, "criteria": {"fluency": 5}, "flags": {"response": ["broken"]}}
    label_task(session, rating, cast.alan, **rated, rewrite={"side": "response", "text": "Far better."})
    demo.flags = [{"key": "untrue", "name": "untrue", "description": "", "weight": 0.7}]
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    prepared = prepare(session, engine, settings, run)

    verdict, *rewrites = rows(prepared.folder, "preferences.jsonl")
    assert (verdict["criteria"], verdict["flags"], verdict["rubric"]) == ({"fluency": "tie"}, flags, asked)
    assert verdict["spans"] == {"reasons": {"good": "good", "wrong": "bad"}, "left": [mark]}
    said = sorted((one.item, one.said or 0) for one in read_labels(prepared.folder).rubric)
    assert said == [("good", NO), ("good", NO), ("sourced", 0), ("sourced", YES), ("wrong", NO), ("wrong", YES)]
    assert [(row["left"]["text"], row["choice"], row["source"]) for row in rewrites] == [
        ("Better.", "left", "rewrite"),
        ("Far better.", "left", "rewrite"),
    ]
    originals = [session.get_one(Generation, id) for id in (comparison.second_generation_id, rating.first_generation_id)]
    assert [row["right"]["text"] for row in rewrites] == [original.text for original in originals]
    assert rows(prepared.folder, "ratings.jsonl")[0]["flags"] == ["broken"]
    assert RunFolder(prepared.folder).inputs["flag_costs"] == {"untrue": 0.7}
    assert prepared.label_count == 2  # a rewrite is part of its label


def test_a_warm_refit_begins_at_the_newest_reward_model_of_the_base(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    for number in (1, 2):
        source = f"runs/{number}/checkpoint"
        factories.make_checkpoint(session, demo.id, kind="reward", parent_id=demo.policy_id, source=source)
    warm = service.queue_run(session, demo, "reward", {"method": "warm"}, {}, cast.grace)
    cold = service.queue_run(session, demo, "reward", {}, {}, cast.grace)

    assert RunFolder(prepare(session, engine, settings, warm).folder).inputs["earlier"] == "runs/2/checkpoint"
    assert "earlier" not in RunFolder(prepare(session, engine, settings, cold).folder).inputs


def test_a_reward_run_knows_how_often_the_project_asked_since_it_last_passed(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    def frozen() -> int:
        run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
        earlier: int = RunFolder(prepare(session, engine, settings, run).folder).inputs["earlier_tests"]
        run.state = "cancelled"  # asked nothing
        return earlier

    other = factories.make_project(session, "elsewhere")
    factories.make_run(session, other.id, "reward", result={"gate_passed": False})
    assert frozen() == 0
    for state, passed in (("done", False), ("failed", None), ("running", None), ("queued", None), ("done", False)):
        factories.make_run(session, demo.id, "reward", state=state, result={} if passed is None else {"gate_passed": passed})
    assert frozen() == 3
    for tested in (False, True, False):  # too few were judged to look at a p value, or not
        factories.make_run(session, demo.id, "reward", result={"gate_passed": False, "tested": tested})
    assert frozen() == 4
    factories.make_run(session, demo.id, "reward", result={"gate_passed": True, "tested": True})
    assert frozen() == 0
    factories.make_run(session, demo.id, "reward", result={"gate_passed": False})
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    folder = prepare(session, engine, settings, run).folder
    factories.make_run(session, demo.id, "reward", result={"gate_passed": False})
    assert prepare(session, engine, settings, run).folder == folder
    assert RunFolder(folder).inputs["earlier_tests"] == 1  # as frozen, however often it is prepared


def test_sides_are_kept_as_they_were_shown(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    task = factories.make_task(session, demo)
    swapped = {"left_generation_id": task.second_generation_id, "right_generation_id": task.first_generation_id}
    label_task_swapped(session, task, cast.mary, **swapped)
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    preference = rows(prepare(session, engine, settings, run).folder, "preferences.jsonl")[0]
    assert task.second_generation_id is not None
    assert preference["left"]["text"] == session.get_one(Generation, task.second_generation_id).text


def label_task_swapped(session: Session, task: Task, annotator_id: int, **sides: Any) -> None:
    label = label_task(session, task, annotator_id)
    for name, value in sides.items():
        setattr(label, name, value)
    session.flush()


def test_labels_that_arrive_later_do_not_move_a_frozen_set(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    make_labels(session, demo, 3, cast.mary)
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    first = prepare(session, engine, settings, run)
    make_labels(session, demo, 2, cast.mary)
    assert prepare(session, engine, settings, run) == first
    later = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    assert prepare(session, engine, settings, later).label_digest != first.label_digest


def test_a_folder_that_was_not_finished_is_written_again(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id)
    run = service.queue_run(session, demo, "sample", {}, {}, cast.grace)
    torn = settings.runs / str(run.id)
    torn.mkdir(parents=True)
    (torn / "prompts.jsonl").write_text('{"prompt_id": 1, "mess')
    assert len(rows(prepare(session, engine, settings, run).folder, "prompts.jsonl")) == 1


def failed_ppo(session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast) -> Run:
    """A PPO run that was prepared, worked for a while, and failed."""
    factories.make_prompt(session, demo.id)
    reward = factories.make_checkpoint(session, demo.id, kind="reward", parent_id=demo.policy_id)
    run = service.queue_run(session, demo, "ppo", {}, {"reward": reward.id}, cast.grace)
    folder = prepare(session, engine, settings, run).folder
    (folder / "state").mkdir()
    (folder / "state" / "learner.json").write_text("{}")
    (folder / "metrics.jsonl").write_text('{"step": 0}\n')
    run.state = "failed"
    session.flush()
    return run


def test_a_run_done_again_goes_on_from_the_state_it_left(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    again = retry.retry_run(session, failed_ppo(session, engine, settings, demo, cast), cast.grace)
    folder = prepare(session, engine, settings, again).folder
    assert (folder / "state" / "learner.json").exists()
    assert (folder / "metrics.jsonl").read_text() == '{"step": 0}\n'

    again.state = "failed"
    session.flush()
    third = prepare(session, engine, settings, retry.retry_run(session, again, cast.grace)).folder
    assert not (third / "state").exists(), "the state may be what fails"


def test_a_reward_run_done_again_goes_on_though_another_was_tested_and_prompts_came_meanwhile(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    (prepare(session, engine, settings, run).folder / "state").mkdir()
    run.state = "failed"
    factories.make_run(session, demo.id, "reward", result={"gate_passed": False})
    factories.make_prompt(session, demo.id)
    folder = prepare(session, engine, settings, retry.retry_run(session, run, cast.grace)).folder
    assert (folder / "state").exists()
    assert RunFolder(folder).inputs["earlier_tests"] == 1  # its own, at which the gate will look


def test_where_prompts_were_added_since_a_run_done_again_begins_anew(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    failed = failed_ppo(session, engine, settings, demo, cast)
    factories.make_prompt(session, demo.id)
    assert not (prepare(session, engine, settings, retry.retry_run(session, failed, cast.grace)).folder / "state").exists()


def test_a_run_to_be_continued_forgets_that_it_was_stopped(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id)
    run = service.queue_run(session, demo, "sample", {}, {}, cast.grace)
    folder = prepare(session, engine, settings, run).folder
    (folder / "cancel").touch()
    (folder / "result.json").write_text('{"status": "cancelled"}')
    prepare(session, engine, settings, run)
    assert not (folder / "cancel").exists()
    assert not (folder / "result.json").exists()


def test_the_panel_is_the_base_models_first_answers(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    assert demo.policy_id is not None
    tuned = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id)
    prompts = [factories.make_prompt(session, demo.id) for _ in range(2)]
    reward = factories.make_checkpoint(session, demo.id, kind="reward")
    for prompt in prompts:  # chosen among several by a reward: no sample of the base
        factories.make_generation(session, prompt, demo.policy_id, settings={"best_of": 4, "reward": reward.id})
    first = [factories.make_generation(session, prompt, demo.policy_id).text for prompt in prompts]
    for prompt in prompts:
        factories.make_generation(session, prompt, demo.policy_id)
        factories.make_generation(session, prompt, tuned.id)
    demo.policy_id = tuned.id
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    panel = rows(prepare(session, engine, settings, run).folder, "panel.jsonl")
    assert [row["response"]["text"] for row in panel] == first


def test_the_panel_is_of_prompts_from_all_over_the_project_and_stays(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    """Prompts with the lowest numbers are often of one kind and labelled first: others have another scale."""
    assert demo.policy_id is not None
    prompts = [factories.make_prompt(session, demo.id).id for _ in range(4 * PANEL_ANSWERS)]
    for prompt in prompts:
        factories.make_generation(session, session.get_one(Prompt, prompt), demo.policy_id)

    def panel() -> list[int]:
        run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
        found = [row["prompt_id"] for row in rows(prepare(session, engine, settings, run).folder, "panel.jsonl")]
        run.state = "cancelled"
        return found

    asked = panel()
    assert len(set(asked)) == PANEL_ANSWERS
    quarters = [sum(prompt in prompts[at : at + PANEL_ANSWERS] for prompt in asked) for at in range(0, 1024, PANEL_ANSWERS)]
    assert min(quarters) > PANEL_ANSWERS / 8
    assert panel() == asked


def test_the_panel_is_what_was_drawn_first_not_what_ended_first(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    assert demo.policy_id is not None
    prompt = factories.make_prompt(session, demo.id)
    run = factories.make_run(session, demo.id).id
    for number, text in ((1, "Short."), (0, "Longer, and so later.")):
        factories.make_generation(session, prompt, demo.policy_id, text, run_id=run, number=number)
    queued = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    panel = rows(prepare(session, engine, settings, queued).folder, "panel.jsonl")
    assert [row["response"]["text"] for row in panel] == ["Longer, and so later."]


def test_the_prompts_to_be_placed_are_those_in_use_with_what_the_base_said_first(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo.policy_id is not None
    one, other, silent = (factories.make_prompt(session, demo.id, split=split) for split in ("train", "holdout", "train"))
    factories.make_prompt(session, demo.id, archived_at=datetime(2026, 11, 1, tzinfo=UTC))
    factories.make_prompt(session, factories.make_project(session, "elsewhere").id)
    for prompt in (one, other, one):
        factories.make_generation(session, prompt, demo.policy_id)
    factories.make_generation(session, silent, factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id).id)
    first = dict(session.execute(select(Generation.prompt_id, Generation.text).order_by(Generation.id.desc())).all())
    run = service.queue_run(session, demo, "reward", {}, {}, cast.grace)
    asked = {row["prompt_id"]: row["response"] for row in rows(prepare(session, engine, settings, run).folder, ASKED)}
    assert {number: said and said["text"] for number, said in asked.items()} == {
        one.id: first[one.id],
        other.id: first[other.id],
        silent.id: None,
    }
    assert asked[one.id]["token_ids"] == [1, 2]
    monkeypatch.setattr(label_files, "MOST_PROMPTS", 2)
    drawn = [service.queue_run(session, demo, "reward", {}, {}, cast.grace) for _ in range(2)]
    fewer, again = (rows(prepare(session, engine, settings, one).folder, ASKED) for one in drawn)
    assert len(fewer) == 2
    assert fewer == again


def test_ppo_starts_from_the_policy_and_measures_from_its_root(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id)
    shown = factories.make_prompt(session, demo.id, split="holdout")
    reward = factories.make_checkpoint(session, demo.id, kind="reward", source="runs/1/checkpoint")
    tuned = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id, source="runs/2/checkpoint")
    fresh = service.queue_run(session, demo, "ppo", {}, {}, cast.grace)
    again = service.queue_run(session, demo, "ppo", {}, {"start": tuned.id}, cast.grace)
    cache = str(settings.cache)
    prepared = prepare(session, engine, settings, fresh).folder
    assert RunFolder(prepared).inputs == {"base": "models/tiny", "start": None, "reward": "runs/1/checkpoint", "cache": cache}
    assert [row["prompt_id"] for row in rows(prepared, "panel_prompts.jsonl")] == [shown.id]
    assert RunFolder(prepare(session, engine, settings, again).folder).inputs["start"] == "runs/2/checkpoint"
    assert reward.id == fresh.inputs["reward"]


def test_an_sft_run_gets_a_copy_of_its_text(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    (settings.data / "texts" / "demo").mkdir(parents=True)
    (settings.data / "texts" / "demo" / "tales.txt").write_text("Once.")
    run = service.queue_run(session, demo, "sft", {}, {"text": "tales.txt"}, cast.grace)
    assert (prepare(session, engine, settings, run).folder / "text.txt").read_text() == "Once."
    gone = service.queue_run(session, demo, "sft", {}, {"text": "gone.txt"}, cast.grace)
    with pytest.raises(NotFound, match=r"no text named gone\.txt"):
        prepare(session, engine, settings, gone)


def test_an_sft_run_of_rewrites_freezes_what_people_wrote_instead(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    kept, rated, held_out, plain = (
        factories.make_task(session, demo, kind) for kind in ("comparison", "rating", *["comparison"] * 2)
    )
    session.get_one(Prompt, held_out.prompt_id).split = "holdout"
    label_task(session, kept, cast.mary, rewrite={"side": "right", "text": "Better."})
    rating = {"kind": "rating", "choice": None, "overall": 2}
    label_task(session, rated, cast.alan, **rating, rewrite={"side": "response", "text": "Far better."})
    label_task(session, held_out, cast.mary, rewrite={"side": "left", "text": "Measures the model."})
    label_task(session, plain, cast.mary)
    (settings.data / "texts" / "demo").mkdir(parents=True)
    (settings.data / "texts" / "demo" / "ours.jsonl").write_text('{"messages": []}')
    run = service.queue_run(session, demo, "sft", {}, {"rewrites": True, "text": "ours.jsonl"}, cast.grace)
    prepared = prepare(session, engine, settings, run)
    frozen = rows(prepared.folder, "rewrites.jsonl")
    assert [row["messages"][-1] for row in frozen] == [
        {"role": "assistant", "content": "Better."},
        {"role": "assistant", "content": "Far better."},
    ]
    assert frozen[0]["messages"][:-1] == session.get_one(Prompt, kept.prompt_id).messages
    assert {row["annotator"] for row in frozen} == {"annotator-1", "annotator-2"}
    assert (prepared.folder / "demonstrations.jsonl").read_text() == '{"messages": []}'
    assert prepared.label_count == 2
    assert RunFolder(prepared.folder).inputs["base"] == "models/tiny"

    record = prepare(session, engine, settings, run)
    freeze.record_frozen(session, run, record)
    assert (run.label_digest, run.label_count) == (prepared.label_digest, 2)


@pytest.mark.parametrize("kind", ["ppo", "preference"])
def test_a_run_with_demonstrations_beside_gets_the_very_file_of_an_sft_run_in_its_digest(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast, kind: str
) -> None:
    factories.make_checkpoint(session, demo.id, kind="reward", parent_id=demo.policy_id)
    label = label_task(session, factories.make_task(session, demo), cast.mary, rewrite={"side": "right", "text": "Better."})

    def frozen(kind: str, config: dict[str, Any], inputs: dict[str, Any]) -> freeze.Prepared:
        return prepare(session, engine, settings, service.queue_run(session, demo, kind, config, inputs, cast.grace))

    sft, plain = frozen("sft", {}, {"rewrites": True}), frozen(kind, {}, {})
    beside = frozen(kind, {"ptx_weight": 0.5}, {})
    assert (beside.folder / "rewrites.jsonl").read_bytes() == (sft.folder / "rewrites.jsonl").read_bytes()
    assert not (plain.folder / "rewrites.jsonl").exists()
    assert beside.label_count == 1
    if kind == "ppo":
        assert (plain.label_digest, beside.label_digest) == (None, sft.label_digest)
    else:
        assert len({plain.label_digest, beside.label_digest, sft.label_digest, None}) == 4
    label.rewrite = {"side": "right", "text": "Better still."}
    assert frozen(kind, {"ptx_weight": 0.5}, {}).label_digest != beside.label_digest


@pytest.mark.parametrize("kind", ["ppo", "preference"])
def test_whole_answers_rated_5_are_demonstrations_where_they_are_asked_for(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast, kind: str
) -> None:
    factories.make_checkpoint(session, demo.id, kind="reward", parent_id=demo.policy_id)
    good, cut, mended, middling, written = (factories.make_task(session, demo, "rating") for _ in range(5))
    rated: dict[str, Any] = {"kind": "rating", "choice": None}
    for task, overall in ((good, 5), (cut, 5), (middling, 4)):
        label_task(session, task, cast.mary, **rated, overall=overall)
    for task, overall in ((mended, 5), (written, 2)):
        label_task(
            session, task, cast.mary, **rated, overall=overall, rewrite={"side": "response", "text": f"Better than {overall}."}
        )
    answers = {task.id: session.get_one(Generation, task.first_generation_id) for task in (good, cut, middling)}
    answers[cut.id].finish_reason = "length"

    def texts(config: dict[str, Any]) -> list[str]:
        run = service.queue_run(session, demo, kind, {"ptx_weight": 0.5} | config, {}, cast.grace)
        return [row["messages"][-1]["content"] for row in rows(prepare(session, engine, settings, run).folder, "rewrites.jsonl")]

    assert texts({}) == ["Better than 5.", "Better than 2."]
    assert texts({"ptx_top_rated": True}) == [answers[good.id].text, "Better than 5.", "Better than 2."]


def test_a_round_counts_the_labels_that_its_reward_run_froze(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    reward = service.runs_of_round(session, round_.id)[0]
    freeze.record_frozen(session, reward, freeze.Prepared(Path("unused"), "d" * 64, 34))
    assert (reward.label_count, round_.label_count) == (34, 34)


def test_every_run_is_under_the_day_its_project_was_made_whenever_it_runs(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    demo.created_at = datetime(2025, 3, 15, 23, 30, tzinfo=UTC)
    factories.make_prompt(session, demo.id)
    run = service.queue_run(session, demo, "sample", {}, {}, cast.grace)
    folder = prepare(session, engine, settings, run).folder
    assert RunFolder(folder).day == date(2025, 3, 15)
    specification = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del specification["day"]
    (folder / "run.json").write_text(json.dumps(specification), encoding="utf-8")
    assert RunFolder(folder).day == UNDATED  # of an earlier version: a constant, never today


def test_a_claim_that_lost_its_run_writes_no_folder_of_another(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id)
    run = service.queue_run(session, demo, "sample", {}, {}, cast.grace)
    session.commit()

    def newer_claim_is_done() -> None:
        prepared = freeze.prepare(engine, settings, run.id, 2)
        freeze.publish(prepared)
        (prepared.folder / "progress.json").write_text("{}")
        raise LostRun(run.id)

    with pytest.raises((LostRun, OSError)):
        freeze.prepare(engine, settings, run.id, 1, newer_claim_is_done)
    assert (settings.runs / str(run.id) / "progress.json").exists()
    assert [path.name for path in settings.runs.iterdir()] == [str(run.id)]


def test_of_two_that_wrote_a_folder_the_first_to_publish_has_it(
    session: Session, engine: Engine, settings: Settings, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id)
    run = service.queue_run(session, demo, "sample", {}, {}, cast.grace)
    session.commit()
    second, first = freeze.prepare(engine, settings, run.id, 2), freeze.prepare(engine, settings, run.id, 1)
    freeze.publish(second)
    (second.folder / "progress.json").write_text("{}")
    freeze.publish(first)
    assert (first.folder / "progress.json").exists()
    assert [path.name for path in settings.runs.iterdir()] == [str(run.id)]
