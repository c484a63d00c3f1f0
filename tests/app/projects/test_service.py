from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import write_session
from app.errors import Conflict, Invalid
from app.guidelines.service import guideline
from app.models import AuditEntry, Checkpoint, Guideline, Project
from app.projects.service import ProjectValues, create_project, list_projects, update_project
from tests.app import factories

CRITERION: Any = {"key": "truth", "name": "Truth", "description": "", "anchors": {"1": "false", "5": "true"}}

FLAG: Any = {"key": "rude", "name": "rude", "description": "", "weight": 0.3}


def made(session: Session, **values: object) -> Project:
    filled: ProjectValues = {"name": "Poems", "base_model": "org/model", **values}  # type: ignore[typeddict-item]
    return create_project(session, filled, by=None)


def test_a_new_project_has_its_base_model_as_promoted_policy(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, guidelines="Be kind.\r\n")
        policy = session.get_one(Checkpoint, project.policy_id)
        assert (policy.kind, policy.source, policy.parent_id, policy.run_id) == ("policy", "org/model", None, None)
        assert project.sampling["temperature"] == 0.7
        assert (guideline(session, project).text, project.guideline_version) == ("Be kind.", 1)


def test_names_that_give_one_address_get_different_ones(engine: Engine) -> None:
    with write_session(engine) as session:
        assert [made(session).slug, made(session, name="Poems!").slug] == ["poems", "poems-2"]
        assert [made(session, name="New").slug, made(session, name="Archived").slug] == ["new-2", "archived-2"]
        assert made(session, name="Été à Nice!").slug == "ete-a-nice"
        assert made(session, name="詩").slug == "project"


def test_changed_guidelines_become_a_version_and_the_old_one_stays(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, guidelines="First.")
        update_project(session, project, {"guidelines": "Second.", "name": "Verses"}, by=None)
        update_project(session, project, {"guidelines": "Second."}, by=None)
        versions = session.scalars(select(Guideline).where(Guideline.project_id == project.id).order_by(Guideline.version))
        assert [(row.version, row.text) for row in versions] == [(1, "First."), (2, "Second.")]
        assert (project.guideline_version, project.name) == (2, "Verses")
        changes = session.scalars(select(AuditEntry).where(AuditEntry.action == "project.changed")).all()
        assert [entry.details for entry in changes] == [{"fields": ["name", "guidelines"]}]


def test_newer_guidelines_of_somebody_else_are_not_overwritten(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, guidelines="First.")
        update_project(session, project, {"guidelines": "Theirs."}, by=None)
        with pytest.raises(Conflict, match="Somebody saved"):
            update_project(session, project, {"guidelines": "Mine.", "name": "Mine"}, by=None, seen_guidelines=1)
        assert (guideline(session, project).text, project.name) == ("Theirs.", "Poems")


def test_the_base_model_changes_only_before_there_are_answers(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session)
        update_project(session, project, {"base_model": "org/other"}, by=None)
        assert session.get_one(Checkpoint, project.policy_id).source == "org/other"
        factories.make_run(session, project.id, state="running")
        with pytest.raises(Conflict, match="new project"):
            update_project(session, project, {"base_model": "org/third", "overlap": 3}, by=None)
        assert (project.base_model, project.overlap) == ("org/other", 1)
        update_project(session, project, {"base_model": "org/other", "overlap": 3}, by=None)
        assert project.overlap == 3


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\0"}, "name"),
        ({"base_model": "/no/such/folder"}, "base_model"),
        ({"base_model": "no such model"}, "base_model"),
        ({"base_model": "missing.gguf"}, "base_model"),
        ({"guidelines": "x" * 20_001}, "guidelines"),
        ({"criteria": [CRITERION, CRITERION]}, "criteria"),
        ({"criteria": [CRITERION | {"key": "Truth"}]}, "criteria"),
        ({"criteria": [CRITERION | {"anchors": {"3": "middling"}}]}, "criteria"),
        ({"criteria": [CRITERION | {"name": ""}]}, "criteria"),
        ({"criteria": [{"key": f"k{n}", "name": "N"} for n in range(13)]}, "criteria"),
        ({"flags": [FLAG, FLAG]}, "flags"),
        ({"flags": [FLAG | {"weight": -0.1}]}, "flags"),
        ({"flags": [FLAG | {"weight": float("nan")}]}, "flags"),
        ({"flags": [FLAG | {"weight": True}]}, "flags"),
        ({"flags": [FLAG | {"key": "off-topic"}]}, "flags"),
        ({"flags": [{"key": f"k{n}", "name": "N"} for n in range(21)]}, "flags"),
        ({"text_display": "html"}, "text_display"),
        ({"overlap": 0}, "overlap"),
        ({"overlap": True}, "overlap"),
        ({"rating_share": 1.01}, "rating_share"),
        ({"rating_share": float("nan")}, "rating_share"),
        ({"rating_share": 0.7, "ranking_share": 0.4}, "ranking_share"),
        ({"ranking_share": -0.1}, "ranking_share"),
        ({"ranking_answers": 2}, "ranking_answers"),
        ({"queue_low_mark": "many"}, "queue_low_mark"),
        ({"sampling": {"temperature": 0}}, "sampling.temperature"),
        ({"sampling": {"colour": 1}}, "sampling.colour"),
        ({"training": {"ppo": {"clip": "wide"}}}, "training.ppo.clip"),
        ({"training": {"reward": {"criteria_weights": "overall=1, wit=2"}}}, "training.reward.criteria_weights"),
        ({"training": {"ppo": {"outside": "nobodys=1"}}}, "training.ppo.outside"),
        ({"training": {"sample": {}}}, "training"),
        ({"triggers_on": True}, "triggers_on"),
        ({"trigger_hours": 0}, "trigger_hours"),
        ({"policy_id": 3}, "policy_id"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(engine: Engine, values: dict[str, object], field: str) -> None:
    with write_session(engine) as session:
        project = made(session)
        with pytest.raises(Invalid) as refusal:
            update_project(session, project, values, by=None)  # type: ignore[arg-type]
        assert list(refusal.value.fields) == [field]
        assert not session.dirty


def test_a_model_is_rewarded_for_what_labels_speak_of_and_for_nothing_else(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, criteria=[CRITERION])
        weights = {"training": {"reward": {"criteria_weights": f"overall=1, {CRITERION['key']}=2"}}}
        update_project(session, project, weights, by=None)  # type: ignore[arg-type]
        update_project(session, project, {"criteria": []}, by=None)
        assert update_project(session, project, {"overlap": 3}, by=None).overlap == 3, "labels still speak of it"
        with pytest.raises(Invalid) as refusal:
            made(session, name="Other", training={"reward": {"criteria_weights": f"{CRITERION['key']}=2"}})
        said = refusal.value.fields["training.reward.criteria_weights"]
        assert said == f"This project has no criterion called {CRITERION['key']}."


def test_settings_that_an_earlier_version_took_are_in_nobodys_way_until_they_are_changed(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session)
        project.sampling, project.training = {"temperature": 50}, {"ppo": {"learning_rate": 1_000}}
        session.flush()
        assert update_project(session, project, {"overlap": 3, "criteria": [CRITERION]}, by=None).overlap == 3
        with pytest.raises(Invalid) as refusal:
            update_project(session, project, {"sampling": {"temperature": 50}}, by=None)
        assert list(refusal.value.fields) == ["sampling.temperature"]
        assert update_project(session, project, {"sampling": {"temperature": 1}}, by=None).sampling["temperature"] == 1.0


def test_nothing_longer_than_the_base_model_holds_can_be_set(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 128}}')
    with write_session(engine) as session:
        project = made(session, base_model=str(tmp_path))
        with pytest.raises(Invalid) as refusal:
            update_project(
                session, project, {"sampling": {"max_new_tokens": 128}, "training": {"reward": {"max_tokens": 129}}}, by=None
            )
        held = "the 128 tokens that the base model holds"
        assert refusal.value.fields == {
            "sampling.max_new_tokens": f"This must be less than {held}: the prompt needs room, too.",
            "training.ppo.max_prompt_tokens": f"With “Longest answer while it trains” this must be at most {held}.",
            "training.reward.max_tokens": "The base model holds only 128 tokens.",
        }


def test_what_is_taken_away_stays_known_until_it_comes_back(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, criteria=[CRITERION])
        before = project.flags
        update_project(session, project, {"criteria": [], "flags": [FLAG]}, by=None)
        assert (project.criteria, [flag["key"] for flag in project.flags]) == ([], ["rude"])
        assert project.retired == {"criteria": [CRITERION], "flags": before, "rubric": [], "span_reasons": []}
        update_project(session, project, {"criteria": [CRITERION]}, by=None)
        assert project.retired == {"criteria": [], "flags": before, "rubric": [], "span_reasons": []}


def test_every_wrong_field_is_named_at_once(engine: Engine) -> None:
    with write_session(engine) as session, pytest.raises(Invalid) as refusal:
        made(session, name="", overlap=0)
    assert set(refusal.value.fields) == {"name", "overlap"}


def test_triggers_can_be_switched_on_after_they_were_described(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, trigger_labels=50)
        assert update_project(session, project, {"triggers_on": True}, by=None).triggers_on
        with pytest.raises(Invalid):
            update_project(session, project, {"trigger_labels": None}, by=None)


def test_a_base_model_is_a_folder_a_file_or_a_hub_id(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with write_session(engine) as session:
        with pytest.raises(Invalid) as refusal:
            made(session, base_model=str(folder))
        assert "holds no model" in refusal.value.fields["base_model"]
        (folder / "config.json").write_text("{}")
        gguf = tmp_path / "small.gguf"
        gguf.write_bytes(b"GGUF")
        assert made(session, base_model=str(folder)).base_model == str(folder)
        assert made(session, name="Quantised", base_model=f" {gguf} ").base_model == str(gguf)
        hub = made(session, name="From the hub", base_model="HuggingFaceTB/SmolLM2-135M-Instruct")
        assert hub.base_model.startswith("HuggingFaceTB")


def test_training_keeps_only_what_was_set(engine: Engine) -> None:
    with write_session(engine) as session:
        project = made(session, training={"ppo": {"updates": 3, "beta": 1}})
        assert project.training == {"ppo": {"updates": 3, "beta": 1.0}}


def test_people_see_the_projects_they_belong_to(engine: Engine, project: Project) -> None:
    with write_session(engine) as session:
        person = factories.make_user(session, "Edsger")
        factories.make_membership(session, person.id, made(session).id, "annotator")
        assert [found.slug for found in list_projects(session, person.id)] == ["poems"]
        assert [found.slug for found in list_projects(session, None)] == ["demo", "other", "poems"]
