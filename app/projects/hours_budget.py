"""The hours that people may work for a project in a month: how far they are used, and that nobody is given a new task afterwards.

What training may use up of a month is another thing (`app/rounds/unattended/budgets.py`). The figure is counted by a worker
(`app/quality/hours/counting.py`); what each claim asks is one moment of the project's row, so that it opens again by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from app.language.formats import number
from app.language.languages import _
from app.models import Project


@dataclass(frozen=True, slots=True)
class Used:
    hours: float
    most: float
    again: datetime  # when the next month begins

    @property
    def is_used(self) -> bool:
        return self.hours >= self.most

    @property
    def day(self) -> date:
        """Of its beginning, where the server stands."""
        return self.again.astimezone().date()

    @property
    def words(self) -> str:
        """ "12.5 of 40 h of people's work" """
        return _("%(used)s of %(most)s h of people's work", used=number(self.hours), most=number(self.most))


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Its first moment and that of the next, where the server stands: a day of the hours page is one there, too."""
    here = now.astimezone()
    following = datetime(here.year + here.month // 12, here.month % 12 + 1, 1)
    return datetime(here.year, here.month, 1).astimezone(), following.astimezone()


def used(project: Project, now: datetime) -> Used | None:
    """As last counted; none of a project without a bound."""
    if project.hours_budget is None:
        return None
    begin, again = month_of(now)
    is_of_this_month = project.hours_counted_at is not None and project.hours_counted_at >= begin
    return Used((project.hours_worked or 0.0) if is_of_this_month else 0.0, project.hours_budget, again)


def settle(project: Project, now: datetime) -> None:
    """Close the project or open it, by what is counted and set. The project is held."""
    found = used(project, now)
    project.closed_until = found.again if found is not None and found.is_used else None


def closed_until(project: Project, now: datetime) -> datetime | None:
    """None while tasks are given out."""
    return project.closed_until if project.closed_until is not None and project.closed_until > now else None
