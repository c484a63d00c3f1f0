"""Projects over the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from sqlalchemy.orm import Session

from app.database.engine import Db, WriteDb
from app.guidelines.service import guideline
from app.models import Project, utc_now
from app.projects import service
from app.projects.hours_budget import closed_until
from app.projects.service import ProjectValues
from app.web.gate import CurrentProject
from app.web.json_types import Body, Id, JsonObject, Limit, Name, Page, Reply, Text, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["projects"])

TRIGGERS: Final = {"on": "triggers_on", "labels": "trigger_labels", "hours": "trigger_hours"}


class CriterionJson(Body):
    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    name: Name
    description: Text = ""
    anchors: dict[Literal["1", "5"], Text] = Field(default_factory=dict, description="The words under 1 and under 5.")


class FlagJson(Body):
    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    name: Name
    description: Text = ""
    weight: float = Field(1.0, ge=0, le=10, description="What one flag costs an answer in training; 0 keeps it out of training.")


class RubricItemJson(Body):
    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    name: Name = Field(description="The question, to be answered with yes or no.")
    description: Text = ""
    required: bool = False
    version: int = Field(1, description="Of its words. The project keeps count; what is sent is not looked at.")
    earlier: list[Text] = Field([], description="The words of the versions before; not looked at when sent.")
    since: Text = Field("", description="It has been asked like this; not looked at when sent.")


class SpanReasonJson(Body):
    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    name: Name
    description: Text = ""
    tone: Literal["bad", "good"] = Field("bad", description="Whether a mark speaks for or against the answer.")
    version: int = Field(1, description="Of its name. The project keeps count; what is sent is not looked at.")
    earlier: list[Text] = Field([], description="The names of the versions before; not looked at when sent.")
    since: Text = Field("", description="It has been offered like this; not looked at when sent.")


class RetiredJson(Reply):
    criteria: list[CriterionJson]
    flags: list[FlagJson]
    rubric: list[RubricItemJson]
    span_reasons: list[SpanReasonJson]


class TriggersJson(Body):
    on: bool = False
    labels: Id | None = Field(None, description="A round starts every so many new labels.")
    hours: float | None = Field(None, gt=0, description="A round starts every so many hours.")


class BudgetsJson(Body):
    """What a calendar month (UTC) may use up before nothing starts by itself any more; null: as much as there is."""

    labels: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(None, description="Then people are asked no more.")
    evaluation_labels: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Verdicts in evaluations; then nobody is asked for more of them."
    )
    hours: Annotated[float, Field(ge=0.1, le=24 * 31)] | None = Field(None, description="Of training; answers do not count.")


class EvaluationJson(Body):
    on: bool = Field(False, description="People judge a round's candidates blind before one is promoted.")
    share: float = Field(0.3, ge=0.05, le=0.9, description="Of the tasks that are served while an evaluation is open.")
    budget: Annotated[int, Field(ge=20, le=20_000)] = Field(400, description="Verdicts on each candidate; then it is rejected.")
    flag_margin: float = Field(0.1, ge=0.01, le=0.5, description="By which no flag may be set more often on its answers.")
    promotes: bool = Field(False, description="False: what people decided is laid before an admin.")


class ProjectChanges(Body):
    """What is left out stays as it is."""

    name: Name | None = None
    base_model: Text | None = Field(None, description="A folder, a hub id or the path of a .gguf file.")
    guidelines: Text | None = Field(None, description="Markdown. A change becomes a new version.")
    criteria: list[CriterionJson] | None = None
    flags: list[FlagJson] | None = Field(None, description="What may be wrong with an answer, as annotators can tick it.")
    rubric: list[RubricItemJson] | None = Field(None, description="Questions of yes or no about each answer.")
    span_reasons: list[SpanReasonJson] | None = Field(
        None, description="Why annotators may mark a passage of an answer, up to twelve; with none nothing is marked."
    )
    text_display: Literal["written", "markdown"] | None = Field(None, description="How a model's text is shown.")
    overlap: Id | None = Field(None, description="Labels wanted for each task.")
    extra_seats: Annotated[int, Field(ge=0, le=5)] | None = Field(
        None,
        description="How many more are asked while no verdict has more than half; then a reviewer is.",
    )
    rating_share: float | None = Field(None, ge=0, le=1, description="Share of tasks that are ratings; the rest are comparisons.")
    ranking_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of tasks in which several answers are put in order. Enough are written to each prompt for that; one "
        "whose answers are too often the same is compared.",
    )
    ranking_answers: Annotated[int, Field(ge=3, le=6)] | None = Field(None, description="Answers in a ranking.")
    queue_low_mark: Id | None = Field(
        None, description="Open tasks under which the queue refills itself; earlier where people answer faster than that."
    )
    practice_tasks: Annotated[int, Field(ge=0, le=50)] | None = Field(
        None, description="Practice tasks a new annotator meets before real ones; 0 asks for none."
    )
    qualifying_score: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Share of them that must be right before real tasks open; 0 asks for no score."
    )
    repeat_share: Annotated[float, Field(ge=0, le=0.2)] | None = Field(
        None, description="Share of a person's tasks that come back to them, unrecognised."
    )
    gold_share: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        None, description="Share of a person's tasks whose answer is known, unrecognised, while there are such."
    )
    gold_pauses: bool | None = Field(None, description="Who misses too many known answers is asked nothing further.")
    sampling: JsonObject | None = Field(None, description="Settings of a sample run; the ones left out take their defaults.")
    training: dict[Literal["reward", "ppo"], JsonObject] | None = Field(
        None, description="What rounds set differently from the defaults of reward and PPO runs."
    )
    triggers: TriggersJson | None = Field(None, description="What is left out of it stays as it is.")
    evaluation: EvaluationJson | None = Field(None, description="What is left out of it stays as it is.")
    chat_on: bool | None = Field(None, description="Annotators may talk to the policy, and judge what it says.")
    budgets: BudgetsJson | None = Field(None, description="What is left out of it stays as it is.")
    hours_budget: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        None,
        description="Active hours of people in a calendar month, after which nobody is given a new task until the next; "
        "null or 0: no bound. Hours of training are `budgets.hours`.",
    )
    keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(
        None, description="Days after which weights and states that nothing refers to are removed; null: never."
    )


class NewProject(ProjectChanges):
    name: Name
    base_model: Text


class ProjectSummary(Reply):
    id: int
    slug: str
    name: str
    created_at: datetime


class ProjectReply(ProjectSummary):
    base_model: str
    guidelines: str
    guideline_version: int
    criteria: list[CriterionJson]
    flags: list[FlagJson]
    rubric: list[RubricItemJson]
    span_reasons: list[SpanReasonJson]
    retired: RetiredJson = Field(description="Criteria, flags and questions of the rubric once in use; labels still name them.")
    text_display: str
    overlap: int
    extra_seats: int
    rating_share: float
    ranking_share: float
    ranking_answers: int
    queue_low_mark: int
    practice_tasks: int
    qualifying_score: float
    repeat_share: float
    gold_share: float
    gold_pauses: bool
    sampling: dict[str, Any]
    training: dict[str, Any]
    triggers: TriggersJson
    evaluation: EvaluationJson
    chat_on: bool
    budgets: BudgetsJson
    hours_budget: float | None = Field(description="Active hours of people in a calendar month; null: no bound.")
    closed_until: datetime | None = Field(description="Until when nobody is given a new task: those hours are used.")
    keep_days: int | None = Field(description="Days after which weights and states that nothing refers to go; null: never.")
    paused_at: datetime | None = Field(description="Since when no round starts by itself, whatever the triggers say.")
    policy_id: int | None


def usable_model(request: Request, caller: Caller, body: NewProject) -> None:
    """The base model is opened before the transaction begins."""
    request.app.state.refuse_unusable_model(body.base_model)


def usable_change(request: Request, caller: Caller, project: CurrentProject, body: ProjectChanges) -> None:
    if body.base_model is not None and body.base_model != project.base_model and caller.is_owner:
        request.app.state.refuse_unusable_model(body.base_model)


UsableModel = Annotated[None, Depends(usable_model)]
UsableChange = Annotated[None, Depends(usable_change)]


@router.post("/projects", status_code=201)
def create_project(_usable: UsableModel, session: WriteDb, caller: Caller, body: NewProject) -> ProjectReply:
    return _reply(session, service.create_project(session, _values(body), caller.user_id))


@router.get("/projects")
def list_projects(
    session: Db, caller: Caller, limit: Annotated[Limit, Query()] = 50, cursor: Annotated[str | None, Query(max_length=40)] = None
) -> Page[ProjectSummary]:
    """The projects you belong to; the owner sees all."""
    found = service.list_projects(
        session,
        None if caller.is_owner else caller.user_id,
        after=cursor_id(cursor) or 0,
        limit=limit + 1,
        among=caller.project_ids,
    )
    items = [ProjectSummary.model_validate(project) for project in found[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


@router.get("/projects/{slug}")
def show_project(session: Db, slug: str) -> ProjectReply:
    return _reply(session, service.get_project(session, slug))


@router.patch("/projects/{slug}")
def change_project(_usable: UsableChange, session: WriteDb, caller: Caller, slug: str, body: ProjectChanges) -> ProjectReply:
    project = service.get_project(session, slug)
    return _reply(session, service.update_project(session, project, _values(body), caller.user_id))


def _values(body: ProjectChanges) -> ProjectValues:
    values = body.model_dump(exclude_none=True, exclude={"triggers", "evaluation", "budgets"})
    if body.triggers is not None:  # here null is a value: no such trigger
        given = body.triggers.model_dump(exclude_unset=True)
        values |= {TRIGGERS[name]: value for name, value in given.items()}
    if body.evaluation is not None:
        values |= {f"evaluation_{name}": value for name, value in body.evaluation.model_dump(exclude_unset=True).items()}
    values |= {name: getattr(body, name) for name in ("hours_budget", "keep_days") if name in body.model_fields_set}
    if body.budgets is not None:
        values |= {f"month_{name}": value for name, value in body.budgets.model_dump(exclude_unset=True).items()}
    return cast(ProjectValues, values)


def _reply(session: Session, project: Project) -> ProjectReply:
    triggers = TriggersJson(on=project.triggers_on, labels=project.trigger_labels, hours=project.trigger_hours)
    return ProjectReply(
        id=project.id,
        slug=project.slug,
        name=project.name,
        created_at=project.created_at,
        base_model=project.base_model,
        guidelines=guideline(session, project).text,
        guideline_version=project.guideline_version,
        criteria=[CriterionJson.model_validate(criterion) for criterion in project.criteria],
        flags=[FlagJson.model_validate(flag) for flag in project.flags],
        rubric=[RubricItemJson.model_validate(item) for item in project.rubric],
        span_reasons=[SpanReasonJson.model_validate(item) for item in project.span_reasons],
        retired=RetiredJson.model_validate(project.retired),
        text_display=project.text_display,
        overlap=project.overlap,
        extra_seats=project.extra_seats,
        rating_share=project.rating_share,
        ranking_share=project.ranking_share,
        ranking_answers=project.ranking_answers,
        queue_low_mark=project.queue_low_mark,
        practice_tasks=project.practice_tasks,
        qualifying_score=project.qualifying_score,
        repeat_share=project.repeat_share,
        gold_share=project.gold_share,
        gold_pauses=project.gold_pauses,
        sampling=project.sampling,
        training=project.training,
        triggers=triggers,
        evaluation=EvaluationJson(
            on=project.evaluation_on,
            share=project.evaluation_share,
            budget=project.evaluation_budget,
            flag_margin=project.evaluation_flag_margin,
            promotes=project.evaluation_promotes,
        ),
        chat_on=project.chat_on,
        budgets=BudgetsJson(
            labels=project.month_labels, evaluation_labels=project.month_evaluation_labels, hours=project.month_hours
        ),
        hours_budget=project.hours_budget,
        closed_until=closed_until(project, utc_now()),
        keep_days=project.keep_days,
        paused_at=project.paused_at,
        policy_id=project.policy_id,
    )
