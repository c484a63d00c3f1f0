"""The languages and skills of a project's people, and what of its prompts is for none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.assignment.audiences import ANY, MOST_AUDIENCES, belongs, checked_languages, checked_skills, kept_from
from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Invalid, NotFound
from app.language.formats import count, listed, noted
from app.language.languages import _
from app.models import Membership, Project, Prompt, User
from app.models.values import Unusable


@dataclass(frozen=True, slots=True)
class Unseen:
    """Prompts in use that nobody who may be asked belongs to."""

    audience: str
    prompts: int

    @property
    def words(self) -> str:
        """ "de, law (12 prompts)" """
        language, *skills = self.audience.split(" ")
        return noted(listed([*([language] if language != ANY else []), *skills]), count(self.prompts, "prompt"))


def set_assignment(
    session: Session, project_id: int, user_id: int, *, by: int, languages: Any = None, skills: Any = None
) -> Membership:
    """What is given replaces what was there; none leaves it. Raises NotFound for no member, Invalid with a sentence per field."""
    theirs = select(Membership).where(Membership.project_id == project_id, Membership.user_id == user_id)
    member = session.scalar(theirs.with_for_update())
    if member is None:
        raise NotFound(_("This person is not a member of the project."))
    before = (member.languages, member.skills)
    member.languages, member.skills = _checked(before, languages, skills)
    if (member.languages, member.skills) != before:
        details = {"languages": member.languages, "skills": member.skills}
        record(session, by, "person.assigned", f"user {user_id}", details, project_id)
    session.flush()
    return member


def _checked(before: tuple[list[Any], list[Any]], languages: Any, skills: Any) -> list[list[Any]]:
    found, problems = list(before), {}
    given = (("languages", languages, checked_languages), ("skills", skills, checked_skills))
    for place, (name, value, check) in enumerate(given):
        try:
            found[place] = found[place] if value is None else check(value)
        except Unusable as problem:
            problems[name] = str(problem)
    if problems:
        raise Invalid(_("This cannot be used. Nothing was changed."), problems)
    return found


def for_nobody(session: Session, project: Project) -> list[str]:
    """The audiences to which nobody belongs who may be asked. Who is paused or deactivated is asked nothing."""
    if not project.audiences:
        return []
    asked = select(Membership.languages, Membership.skills).join(User, User.id == Membership.user_id)
    people = session.execute(
        asked.where(Membership.project_id == project.id, Membership.paused_at.is_(None), User.disabled_at.is_(None))
    ).all()
    return [word for word in project.audiences if not any(belongs(word, *one) for one in people)]


def unseen(session: Session, project: Project) -> list[Unseen]:
    found = for_nobody(session, project)
    if not found:
        return []
    waiting = (
        select(Prompt.audience, func.count())
        .where(Prompt.project_id == project.id, Prompt.audience.in_(found), Prompt.archived_at.is_(None))
        .group_by(Prompt.audience)
        .order_by(Prompt.audience)
    )
    return [Unseen(word, prompts) for word, prompts in session.execute(waiting) if word is not None]


def unseen_words(found: Sequence[Unseen]) -> str:
    return listed([one.words for one in found])


def kept_from_person(session: Session, project: Project, user_id: int) -> str:
    """As `audiences.kept_from` has it."""
    if not project.audiences:
        return ""
    member = session.scalar(select(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id))
    return kept_from(project.audiences, member.languages if member else [], member.skills if member else [])


def note_audiences(session: Session, project: Project, words: set[str]) -> None:
    """Let the project know these too, before or with the prompts that have them. Raises Invalid for more than there may be."""
    if words <= set(project.audiences or ()):
        return
    known = set(hold(session, project).audiences or ()) | words
    if len(known) > MOST_AUDIENCES:
        raise Invalid(_("Prompts of a project have at most %(most)s combinations of language and skills.", most=MOST_AUDIENCES))
    project.audiences = sorted(known)
    session.flush()


def forget_audiences(session: Session, project: Project) -> None:
    """Those that no prompt has any more. The project is held."""
    there = select(Prompt.audience).where(Prompt.project_id == project.id, Prompt.audience.is_not(None)).distinct()
    project.audiences = sorted(word for word in session.scalars(there) if word is not None) or None
    session.flush()
