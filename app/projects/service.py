"""Projects: creating one, changing its settings, and its guidelines, version by version."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypedDict

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.database import audit
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.guidelines import service as guidelines
from app.language.languages import _
from app.models import Checkpoint, Generation, Guideline, Membership, Project, Prompt, Run, User, utc_now
from app.models.criteria import Criterion, Flag, RubricItem, SpanReason, dated, retire
from app.models.open_projects import require_open
from app.practice import service as practice
from app.projects import checks, hours_budget, naming
from app.runs import checkpoints
from trainer.contract.config import SampleConfig, config_dict

_SHARES = ("rating_share", "ranking_share")
_DATED = ("rubric", "span_reasons")  # whose words have versions
_TRIGGERS = ("triggers_on", "trigger_labels", "trigger_hours")
# What may contradict what is given.
_STANDING = ("base_model", "criteria", *_DATED, "retired", "sampling", "training", *_SHARES, *_TRIGGERS)


_EMPTY = dict.fromkeys(_TRIGGERS) | {
    "base_model": "",
    "criteria": [],
    "rubric": [],
    "span_reasons": [],
    "retired": {"criteria": [], "rubric": [], "span_reasons": []},
    "sampling": {},
    "training": {},
    "rating_share": 0.25,
    "ranking_share": 0.0,
}


class ProjectValues(TypedDict, total=False):
    """What a person may set on a project; a key left out stays as it is."""

    name: str
    base_model: str
    guidelines: str
    criteria: list[Criterion]
    flags: list[Flag]
    rubric: list[RubricItem]  # version, earlier and since are the project's own, whatever is given
    span_reasons: list[SpanReason]  # likewise
    text_display: str  # "written" or "markdown"
    overlap: int
    extra_seats: int  # further people asked where those differ
    rating_share: float
    ranking_share: float
    ranking_answers: int  # in a ranking
    queue_low_mark: int
    practice_tasks: int
    qualifying_score: float  # share of them; 0: practising is enough
    sampling: dict[str, Any]  # settings of trainer.contract.config.SampleConfig
    training: dict[str, dict[str, Any]]  # {"reward": {...}, "ppo": {...}}: what rounds set differently from the defaults
    triggers_on: bool
    trigger_labels: int | None
    trigger_hours: float | None
    month_labels: int | None
    month_evaluation_labels: int | None
    month_hours: float | None
    hours_budget: float | None  # of people in a month
    keep_days: int | None  # weights and states that nothing refers to
    evaluation_on: bool
    evaluation_share: float
    evaluation_budget: int
    evaluation_flag_margin: float
    evaluation_promotes: bool
    chat_on: bool
    repeat_share: float
    gold_share: float
    gold_pauses: bool


def get_project(session: Session, slug: str) -> Project:
    """Raises NotFound."""
    project = session.scalar(select(Project).where(Project.slug == slug, Project.deleted_at.is_(None)))
    if project is None:
        raise NotFound(_("There is no such project."))
    return project


def hold_open(session: Session, project_id: int) -> Project:
    """The project, kept until the transaction ends: for who writes into it. Raises Archived, or NotFound once it is deleted."""
    require_open(session.connection(), project_id)
    return session.get_one(Project, project_id, populate_existing=True)


def list_projects(
    session: Session, user_id: int | None, *, after: int = 0, limit: int = 50, among: Collection[int] | None = None
) -> list[Project]:
    """The projects this person is a member of, oldest first; with `None`, every project. Archived ones are put away.

    `among`: the ids of the only ones that a key finds.
    """
    query = select(Project).where(Project.id > after, Project.archived_at.is_(None))
    if among is not None:
        query = query.where(Project.id.in_(among))
    if user_id is not None:
        query = query.where(Project.id.in_(select(Membership.project_id).where(Membership.user_id == user_id)))
    return list(session.scalars(query.order_by(Project.id).limit(limit)))


def create_project(session: Session, values: ProjectValues, by: int | None) -> Project:
    """A new project with its first guidelines and its base model as the first policy checkpoint.

    Raises Invalid with a sentence per field, and Conflict for a name that is taken.
    """
    missing = {name: _("This is needed.") for name in ("name", "base_model") if name not in values}
    if missing:
        raise Invalid(_("A project needs a name and a base model."), missing)
    defaults: dict[str, Any] = {"guidelines": "", "criteria": [], "sampling": config_dict(SampleConfig())}
    defaults |= {"evaluation_on": True, "evaluation_promotes": True}  # projects from before are asked first
    clean = defaults | checks.check_values(values, _EMPTY)
    clean |= {kind: dated(clean.get(kind, ()), (), (), utc_now()) for kind in _DATED}
    project = Project(base_model=clean["base_model"])
    _apply(project, clean)
    naming.store_new(session, project)
    session.add(Guideline(project_id=project.id, version=1, text=clean["guidelines"], created_by=by))
    checkpoints.current_policy(session, project)
    audit.record(session, by, "project.created", project.slug, project_id=project.id)
    session.flush()
    return project


def update_project(
    session: Session, project: Project, values: ProjectValues, by: int | None, *, seen_guidelines: int | None = None
) -> Project:
    """Change what is given. New guidelines become a new version; labels keep the version they were given under.

    `seen_guidelines` is the version the person started from: somebody else's newer text is not overwritten unseen.
    Raises Invalid with a sentence per field, Conflict for a name that is taken, newer guidelines or a base model that can no
    longer change, and NotAllowed for a base model changed by anybody but the owner.
    """
    hold(session, project)
    clean = checks.check_values(values, {name: getattr(project, name) for name in _STANDING})
    for kind in _DATED:
        if kind in clean:
            clean[kind] = dated(clean[kind], getattr(project, kind), project.retired[kind], utc_now())
    if "name" in clean:
        naming.check_free(session, clean["name"], project)
    new_guidelines = "guidelines" in clean and guidelines.write(session, project, clean["guidelines"], by, seen_guidelines)
    if "base_model" in clean and clean["base_model"] != project.base_model:
        _change_base_model(session, project, clean["base_model"], by)
    practice.before_change(session, project, clean)
    changed = sorted(name for name in clean if name != "guidelines" and clean[name] != getattr(project, name))
    if _answers_otherwise(project, clean):
        project.sampling_changed_at = utc_now()
    _apply(project, clean)
    hours_budget.settle(project, utc_now())
    naming.store_renamed(session, project)
    if new_guidelines:
        changed.append("guidelines")
    if changed:
        audit.record(session, by, "project.changed", project.slug, {"fields": changed}, project.id)
    session.flush()
    practice.after_change(session, project, changed)
    return project


def base_model_is_fixed(session: Session, project: Project) -> bool:
    """Whether answers were written, or something was learned, so that another base model would tear the lineage apart.

    Runs that failed fix nothing; one that is under way may be writing.
    """
    made = (Run.state.in_(("queued", "running")), Run.id.in_(select(Checkpoint.run_id).where(Checkpoint.run_id.is_not(None))))
    runs = session.scalar(select(Run.id).where(Run.project_id == project.id, or_(*made)).limit(1))
    answers = session.scalar(
        select(Generation.id).join(Prompt, Prompt.id == Generation.prompt_id).where(Prompt.project_id == project.id).limit(1)
    )
    return runs is not None or answers is not None


def _change_base_model(session: Session, project: Project, base_model: str, by: int | None) -> None:
    if by is not None and not session.get_one(User, by).is_owner:
        raise NotAllowed(
            _("Only the owner of this installation chooses a project's base model. Nothing was saved."),
            {"base_model": _("Only the owner may change this.")},
        )
    if base_model_is_fixed(session, project):
        raise Conflict(
            _(
                "This project already has answers of its base model, and its labels and checkpoints grew out of "
                "them. Start a new project for another model; prompts can be imported there as well."
            ),
            {"base_model": _("This can no longer change: answers of this model exist.")},
        )
    for checkpoint in session.scalars(select(Checkpoint).where(Checkpoint.project_id == project.id)):
        checkpoint.source = base_model  # with no run there is only the base model's own row


def _answers_otherwise(project: Project, clean: Mapping[str, Any]) -> bool:
    """Whether runs that failed to write answers may now succeed: another model, or other settings of writing."""
    sampling = config_dict(SampleConfig()) | project.sampling
    settings = {"sampling": sampling, "base_model": project.base_model}
    return any(name in clean and clean[name] != value for name, value in settings.items())


def _apply(project: Project, clean: dict[str, Any]) -> None:
    for name in ("criteria", "flags", *_DATED):
        if name in clean and project.retired:  # labels speak of what was there, and a verdict on its way may
            kept = {item["key"] for item in clean[name]}
            project.retired = project.retired | {name: retire(getattr(project, name), project.retired[name], kept)}
    for name, value in clean.items():
        if name != "guidelines":
            setattr(project, name, value)
