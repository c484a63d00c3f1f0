"""Practice over the API: meeting the tasks as an annotator, writing them as an admin."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.models import PracticeTask
from app.practice import authoring, service
from app.practice.authoring import PracticeTaskValues
from app.queue.bodies import AnswerShown, Message, PromptShown
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, Body, Page, Reply, Text
from app.web.security import Caller

router = APIRouter(tags=["practice"])

PracticeId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
Choice = Literal["left", "right", "tie", "both_bad"]
Score = Annotated[int, Field(ge=1, le=5)]


class MessageIn(Body):
    role: Literal["system", "user", "assistant"]
    content: Text


class PracticeTaskIn(Body):
    """A comparison has `left`, `right` and `choice`; a rating has `left` and `overall`."""

    kind: Literal["comparison", "rating"]
    messages: list[MessageIn] = Field(max_length=100)
    left: Text
    right: Text | None = None
    choice: Choice | None = None
    overall: Score | None = None
    explanation: Text = Field(description="Markdown; shown once the task is answered")


class PracticeTaskReply(Reply):
    id: int
    kind: str
    messages: list[Message]
    left: str
    right: str | None
    choice: str | None
    overall: int | None
    explanation: str
    archived_at: datetime | None


class PracticeShown(Reply):
    """A practice task as it is met: without the answer."""

    id: int
    kind: str
    prompt: PromptShown
    left: AnswerShown | None = None
    right: AnswerShown | None = None
    response: AnswerShown | None = None


class StandingReply(Reply):
    attempt: int
    total: int
    done: int
    right: int
    needed: int = Field(description="right ones of an attempt that open real tasks")
    passed: bool = Field(description="real tasks are open")


class PracticeAnswerIn(Body):
    choice: Choice | None = None
    overall: Score | None = None


class ExplainedReply(Reply):
    is_right: bool
    choice: str | None = Field(description="the right one")
    overall: int | None = Field(description="the right one; a score one step away counts as right")
    explanation: str
    standing: StandingReply


@router.get("/projects/{slug}/practice", summary="How far the caller's practice is")
def show_standing(session: Db, caller: Caller, project: CurrentProject) -> StandingReply:
    return StandingReply.model_validate(service.standing(session, project, caller.user_id))


@router.post(
    "/projects/{slug}/practice/next",
    response_model=PracticeShown,
    responses={204: {"description": "None: the practice is over"}},
    summary="The practice task that comes next; after an attempt that was not enough, the first of another",
)
def next_practice_task(session: Db, caller: Caller, project: CurrentProject) -> PracticeShown | Response:
    task = service.next_task(session, project, caller.user_id, again=True)
    if task is None:
        return Response(status_code=204)
    prompt = PromptShown(messages=[Message(**message) for message in task.messages])
    if task.kind == "rating":
        return PracticeShown(id=task.id, kind=task.kind, prompt=prompt, response=AnswerShown(text=task.left_text))
    left, right = AnswerShown(text=task.left_text), AnswerShown(text=task.right_text or "")
    return PracticeShown(id=task.id, kind=task.kind, prompt=prompt, left=left, right=right)


@router.post("/projects/{slug}/practice/{id}/verdict", summary="Answer a practice task and read why")
def answer_practice_task(
    session: WriteDb, caller: Caller, project: CurrentProject, practice_id: PracticeId, body: PracticeAnswerIn
) -> ExplainedReply:
    verdict = service.answer(session, project, caller.user_id, practice_id, choice=body.choice, overall=body.overall)
    task = service.get_task(session, project.id, practice_id)
    return ExplainedReply(
        is_right=verdict.is_right,
        choice=task.choice,
        overall=task.overall,
        explanation=task.explanation,
        standing=StandingReply.model_validate(service.standing(session, project, caller.user_id)),
    )


@router.get("/projects/{slug}/practice-tasks", summary="Every practice task with its answer")
def list_practice_tasks(session: Db, project: CurrentProject) -> Page[PracticeTaskReply]:
    return Page(items=[_reply(task) for task in service.list_tasks(session, project.id)])


@router.post("/projects/{slug}/practice-tasks", status_code=201, summary="Write a practice task")
def write_practice_task(session: WriteDb, caller: Caller, project: CurrentProject, body: PracticeTaskIn) -> PracticeTaskReply:
    return _reply(authoring.add_task(session, project, _values(body), caller.user_id))


@router.put("/projects/{slug}/practice-tasks/{id}", summary="Change a practice task; earlier answers keep their result")
def change_practice_task(
    session: WriteDb, caller: Caller, project: CurrentProject, practice_id: PracticeId, body: PracticeTaskIn
) -> PracticeTaskReply:
    task = service.get_task(session, project.id, practice_id)
    authoring.change_task(session, task, _values(body), caller.user_id)
    return _reply(task)


@router.post("/projects/{slug}/practice-tasks/{id}/archive", summary="Put a practice task away")
def archive_practice_task(
    session: WriteDb, caller: Caller, project: CurrentProject, practice_id: PracticeId
) -> PracticeTaskReply:
    task = service.get_task(session, project.id, practice_id)
    authoring.put_away(session, task, caller.user_id)
    return _reply(task)


@router.post("/projects/{slug}/practice-tasks/{id}/restore", summary="Use a practice task again")
def restore_practice_task(
    session: WriteDb, caller: Caller, project: CurrentProject, practice_id: PracticeId
) -> PracticeTaskReply:
    task = service.get_task(session, project.id, practice_id)
    authoring.put_away(session, task, caller.user_id, back=True)
    return _reply(task)


@router.post("/projects/{slug}/people/{id}/admission", status_code=204, summary="Open real tasks to somebody without practice")
def admit_member(session: WriteDb, project: CurrentProject, user_id: PracticeId) -> Response:
    service.admit(session, project.id, user_id)
    return Response(status_code=204)


def _values(body: PracticeTaskIn) -> PracticeTaskValues:
    return cast(PracticeTaskValues, body.model_dump())


def _reply(task: PracticeTask) -> PracticeTaskReply:
    return PracticeTaskReply(
        id=task.id,
        kind=task.kind,
        messages=[Message(**message) for message in task.messages],
        left=task.left_text,
        right=task.right_text,
        choice=task.choice,
        overall=task.overall,
        explanation=task.explanation,
        archived_at=task.archived_at,
    )
