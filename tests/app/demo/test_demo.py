from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from app.database.engine import write_session
from app.demo import demo
from app.demo.demo import ensure_demo
from app.errors import Unavailable
from app.models import Checkpoint, Project, Prompt
from app.projects.service import update_project
from app.runs.run_settings import expected_config
from app.settings import Settings
from trainer.contract.config import SampleConfig


def with_model(settings: Settings) -> Settings:
    folder = settings.models / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return settings


def test_the_demo_project_brings_its_own_prompts_for_both_splits(engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session:
        project = ensure_demo(session, with_model(settings))
        assert project is not None
        assert (project.slug, len(project.criteria)) == ("demo", 4)
        splits = dict(session.execute(select(Prompt.split, func.count()).group_by(Prompt.split)).all())
        assert sum(splits.values()) >= 130
        assert splits["train"] >= 100
        assert splits["holdout"] >= 20
        conversations = [prompt for prompt in session.scalars(select(Prompt)) if len(prompt.messages) > 1]
        assert len(conversations) >= 3
        base = session.scalars(select(Checkpoint)).one()
        assert Path(base.source) == settings.models / "smollm2-135m-instruct"


def test_every_line_of_the_demo_file_became_a_prompt(engine: Engine, settings: Settings) -> None:
    lines = Path(demo.__file__).with_name("demo_prompts.jsonl").read_text().splitlines()
    with write_session(engine) as session:
        ensure_demo(session, with_model(settings))
        assert session.scalar(select(func.count(Prompt.id))) == len(lines)
        longest = max(session.scalars(select(Prompt)), key=lambda prompt: len(str(prompt.messages)))
        assert len(str(longest.messages).split()) < 80


def test_most_prompts_ask_for_little_and_answers_have_room_to_end(engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session:
        project = ensure_demo(session, with_model(settings))
        assert project is not None
        config = expected_config(project, "sample", {})
        assert isinstance(config, SampleConfig)
        assert config.max_new_tokens == 128
        assert (config.per_prompt, config.temperature) == (2, 0.7)  # what is not set is as everywhere
        texts = [prompt.messages[-1]["content"] for prompt in session.scalars(select(Prompt))]
        assert sum("one or two sentences" in text for text in texts) > len(texts) / 2


def test_it_is_made_once_and_never_again_after_it_was_renamed(engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session:
        project = ensure_demo(session, with_model(settings))
        assert project is not None
        update_project(session, project, {"name": "Ours"}, by=None)
    with write_session(engine) as session:
        assert ensure_demo(session, settings) is None
        assert session.scalar(select(func.count(Project.id))) == 1


def test_without_the_small_model_it_says_how_to_get_one_or_to_name_another(engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session, pytest.raises(Unavailable) as refused:
        ensure_demo(session, settings)
    folder = settings.models / "smollm2-135m-instruct"
    assert f"`python -m trainer.lm.loading convert {folder}`" in refused.value.detail
    assert "TASTEMAKER_BASE_MODEL" in refused.value.detail


def test_another_base_model_is_one_setting(engine: Engine, settings: Settings) -> None:
    with write_session(engine) as session:
        project = ensure_demo(session, settings.model_copy(update={"base_model": "org/model"}))
        assert project is not None
        assert project.base_model == "org/model"
