"""Answers of chat completions whose caller said `store`: kept with their tokens, so that feedback may name them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language.languages import _
from app.models import Checkpoint, KeptAnswer, Project
from app.models.values import storable
from app.projects.service import hold_open
from app.runs.checkpoints import current_policy, get_checkpoint
from app.serving.live_models import Live, answering_projects
from app.serving.warm_process import Answer
from app.web.security import Principal
from trainer.contract.serving.questions import Writing


def keep(
    session: Session, project_id: int, live: Live, completion_id: str, asked: Writing, answers: Sequence[Answer], by: int
) -> None:
    """All of a completion's answers. Raises what `hold_open` does."""
    project = hold_open(session, project_id)
    policy = current_policy(session, project) if live.policy_id is None else get_checkpoint(session, live.policy_id)
    session.add_all(
        KeptAnswer(
            project_id=project.id,
            policy_id=policy.id,
            completion_id=completion_id,
            number=number,
            messages=[dict(turn) for turn in asked.messages],
            text=storable(answer.text),
            token_ids=list(answer.token_ids),
            settings={"temperature": asked.temperature, "top_p": asked.top_p, "max_new_tokens": asked.max_tokens},
            seed=asked.seeds[number],
            finish_reason=answer.finish_reason,
            kept_by=by,
        )
        for number, answer in enumerate(answers)
    )
    session.flush()


def kept_answer(session: Session, by: Principal, completion_id: str, number: int) -> tuple[Project, Checkpoint, KeptAnswer]:
    """One of a project whose models this person may ask. Raises NotFound."""
    found = session.scalar(select(KeptAnswer).where(KeptAnswer.completion_id == completion_id, KeptAnswer.number == number))
    project = next((one for one in answering_projects(session, by) if found is not None and one.id == found.project_id), None)
    if found is None or project is None:
        raise NotFound(_("No such answer was kept. Ask with `store`, or send the conversation and the answer along."))
    return project, get_checkpoint(session, found.policy_id), found
