"""What a project may use up in a calendar month: labels, verdicts of evaluations, hours of training. By hand one may use more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import Select, func, literal, or_, select
from sqlalchemy.orm import Session

from app.labels.withdraw import still_stands
from app.language.formats import count, day, number
from app.language.languages import _
from app.models import Announcement, Evaluation, EvaluationCandidate, EvaluationTask, Label, Project, Run, utc_now
from app.webhooks.announcing import announce
from trainer.contract.messages import Message

Name = Literal["labels", "evaluation_labels", "hours"]
TRAINING: Final = ("reward", "ppo", "preference", "sft")  # kinds of runs whose hours count; answers are written for people


@dataclass(frozen=True, slots=True)
class Budget:
    """`used`: never more than `most` of labels, which are not counted any further."""

    name: Name
    used: float
    most: float
    again: datetime  # when it begins again

    @property
    def is_used(self) -> bool:
        return self.used >= self.most

    @property
    def words(self) -> str:
        """ "40 of 200 labels" """
        used, most = number(self.used), self.most
        if self.name == "hours":
            return _("%(used)s of %(most)s h of training", used=used, most=number(most))
        if self.name == "evaluation_labels":
            return _("%(used)s of %(most)s in evaluations", used=used, most=count(int(most), "verdict"))
        return _("%(used)s of %(most)s", used=used, most=count(int(most), "label"))


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Its first moment and that of the next, in UTC."""
    begin = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin, begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)


def budgets(session: Session, project: Project, now: datetime | None = None) -> list[Budget]:
    """Those that the project has, as they stand this month."""
    now = now or utc_now()
    begin, again = month_of(now)
    found: list[Budget] = []
    if (most := project.month_labels) is not None:
        found.append(Budget("labels", _counted(session, _labels(project.id, begin), most), most, again))
    if (most := project.month_evaluation_labels) is not None:
        found.append(Budget("evaluation_labels", _counted(session, _verdicts(project.id, begin), most), most, again))
    if project.month_hours is not None:
        found.append(Budget("hours", _hours(session, project.id, begin, now), project.month_hours, again))
    return found


def holds_back(found: list[Budget], *, evaluation: bool = False) -> Budget | None:
    """The one because of which people are asked nothing new this month: nothing at all, or nothing more for an evaluation."""
    holding = ("labels", "evaluation_labels") if evaluation else ("labels",)
    return next((one for one in found if one.is_used and one.name in holding), None)


def waits_for(found: list[Budget]) -> str:
    """What an automatic round waits for because of them; empty where it does not."""
    used = next((one for one in found if one.is_used), None)
    if used is None:
        return ""
    return _("%(day)s, when the month's budget begins again (used: %(used)s)", day=day(used.again), used=used.words)


def unannounced(session: Session, project: Project, found: list[Budget], now: datetime | None = None) -> list[Budget]:
    """Those among them that are used and that nobody was told of this month; one that was raised since is told of anew."""
    used = [one for one in found if one.is_used]
    if not used:
        return []
    begin, _again = month_of(now or utc_now())
    mine = select(Announcement.data).where(Announcement.project_id == project.id, Announcement.event == "budget.reached")
    told = {(data["budget"], data["most"]) for data in session.scalars(mine.where(Announcement.created_at >= begin))}
    return [one for one in used if (one.name, one.most) not in told]


def announce_used(session: Session, project: Project, found: list[Budget], now: datetime | None = None) -> None:
    """Once a month for each. The project is held."""
    for one in unannounced(session, project, found, now):
        again = one.again.date().isoformat()
        if one.name == "labels":
            message = Message("announce_labels_used", used=one.most, day=again)
        elif one.name == "evaluation_labels":
            message = Message("announce_verdicts_used", used=one.most, day=again)
        else:
            message = Message("announce_hours_used", used=one.most, day=again)
        data = {"budget": one.name, "most": one.most, "begins_again": one.again.isoformat()}
        announce(session, project, "budget.reached", message, None, data)


def _counted(session: Session, labels: Select[int], most: int) -> int:
    return session.scalar(select(func.count()).select_from(labels.limit(most).subquery())) or 0


def _labels(project_id: int, begin: datetime) -> Select[int]:
    first = Label.version == literal(1, literal_execute=True)  # in so many words, for ix_labels_first to be used
    return select(Label.id).where(Label.project_id == project_id, first, Label.created_at >= begin, still_stands(Label))


def _verdicts(project_id: int, begin: datetime) -> Select[int]:
    return (
        _labels(project_id, begin)
        .join(EvaluationTask, EvaluationTask.task_id == Label.task_id)
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .join(Evaluation, Evaluation.id == EvaluationCandidate.evaluation_id)
        .where(Evaluation.project_id == project_id)
    )


def _hours(session: Session, project_id: int, begin: datetime, now: datetime) -> float:
    """Of runs that ended this month or go on, what lies in it, up to the last sign of life: a run that waits for a worker again
    computes nothing.
    """
    ran = select(Run.started_at, Run.ended_at, Run.heartbeat_at).where(Run.project_id == project_id, Run.kind.in_(TRAINING))
    rows = session.execute(ran.where(Run.started_at.is_not(None), or_(Run.ended_at.is_(None), Run.ended_at >= begin)))
    spans = ((max(started, begin), min(ended or now, heard or now)) for started, ended, heard in rows if started is not None)
    return sum(max(0.0, (end - start).total_seconds()) for start, end in spans) / 3600
