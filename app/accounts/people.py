"""Who belongs to which project, and in which role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.accounts.rights import administered_by
from app.accounts.service import Place, add_member, add_user
from app.accounts.who_is_out import end_what_is_no_longer_theirs
from app.database.audit import record
from app.errors import Conflict, NotAllowed, NotFound
from app.language.languages import _, known
from app.models import Label, Membership, Project, User
from app.web.security import Principal, Role

MOST_PROGRAMS = 100  # of one project


@dataclass(frozen=True)
class Member:
    """One person of a project, as its people page shows them."""

    user_id: int
    name: str
    email: str
    role: Role
    active: bool  # not deactivated
    since: datetime
    labels: int
    languages: list[str]
    skills: list[str]


@dataclass(frozen=True)
class Person:
    """An account with the projects that the asking admin may know of."""

    id: int
    name: str
    email: str
    is_owner: bool
    active: bool  # not deactivated
    created_at: datetime
    projects: list[Place]


def members(session: Session, project_id: int) -> list[Member]:
    counts = (
        select(Label.annotator_id, func.count().label("labels"))
        .where(Label.project_id == project_id, Label.current)
        .group_by(Label.annotator_id)
        .subquery()
    )
    rows = session.execute(
        select(
            *(User.id, User.name, User.email, Membership.role, User.disabled_at.is_(None)),
            *(Membership.created_at, func.coalesce(counts.c.labels, 0), Membership.languages, Membership.skills),
        )
        .join(Membership, Membership.user_id == User.id)
        .outerjoin(counts, counts.c.annotator_id == User.id)
        .where(Membership.project_id == project_id)
        .order_by(User.name, User.id)
    )
    return [Member(*row) for row in rows]


def set_role(session: Session, project_id: int, user_id: int, role: Role, by: Principal, *, seen: str = "") -> None:
    """`seen` is the role that stood on the page: raises Conflict where another admin gave a third one meanwhile."""
    membership = _membership(session, project_id, user_id, by)
    if seen and membership.role not in (seen, role):
        raise Conflict(
            _(
                "Another admin changed this person's role meanwhile: it is “%(role)s” now. Nothing of yours was saved. Go back, "
                "reload the page and choose again.",
                role=known(membership.role),
            )
        )
    if membership.role == role:
        return
    details = {"from": membership.role, "to": role}
    membership.role = role
    end_what_is_no_longer_theirs(session, user_id, by.user_id)
    record(session, by.user_id, "role.changed", f"user {user_id}", details, project_id)


def remove_member(session: Session, project_id: int, user_id: int, by: Principal) -> None:
    """Take the role away, and end what they made with it. Labels stay, under the same name."""
    session.delete(_membership(session, project_id, user_id, by))
    end_what_is_no_longer_theirs(session, user_id, by.user_id)
    record(session, by.user_id, "member.removed", f"user {user_id}", None, project_id)


def _membership(session: Session, project_id: int, user_id: int, by: Principal) -> Membership:
    if user_id == by.user_id:
        raise NotAllowed(_("Your own role can only be changed by another admin."))
    found = select(Membership).where(Membership.project_id == project_id, Membership.user_id == user_id)
    membership = session.scalar(found.with_for_update())  # two changes take turns, on PostgreSQL too
    if membership is None:
        raise NotFound(_("This person is not a member of the project."))
    return membership


# Over the API


def create_person(session: Session, name: str, email: str, role: Role, slugs: Sequence[str], by: Principal) -> User:
    """An account without a password, for programs: it works through keys, and nobody can sign in with it.

    Raises NotFound for a project the caller is not admin of, Conflict for a taken address and where a project has many
    already, NotAllowed without any project unless the owner asks.
    """
    if not slugs and not by.is_owner:
        raise NotAllowed(_("Name at least one project that you are an admin of."))
    project_ids = _administered(session, slugs, by)
    _check_programs(session, project_ids)
    try:
        user = add_user(session, name, email, None)
    except Conflict:
        raise Conflict(_("There is already a person with this email. Invite them from the project's people page.")) from None
    for project_id in project_ids:
        add_member(session, user.id, project_id, role)
        record(session, by.user_id, "person.added", f"user {user.id}", {"role": role}, project_id)
    session.flush()
    return user


def _check_programs(session: Session, project_ids: Sequence[int]) -> None:
    full = (
        select(Membership.project_id)
        .join(User, User.id == Membership.user_id)
        .where(Membership.project_id.in_(project_ids), User.password_hash.is_(None))
        .group_by(Membership.project_id)
        .having(func.count() >= MOST_PROGRAMS)
        .limit(1)
    )
    if session.scalar(full) is not None:
        raise Conflict(_("A project has at most %(most)s accounts for programs. Remove one first.", most=MOST_PROGRAMS))


def _administered(session: Session, slugs: Sequence[str], by: Principal) -> list[int]:
    wanted = select(Project.slug, Project.id).where(Project.slug.in_(slugs), Project.deleted_at.is_(None))
    if not by.is_owner:
        wanted = wanted.where(Project.id.in_(administered_by(by.user_id)))
    found = {row.slug: row.id for row in session.execute(wanted)}
    missing = [slug for slug in slugs if slug not in found]
    if missing:
        raise NotFound(_("There is no such project, or you are not its admin."), {"projects": _("not one of yours")})
    return list(found.values())


def list_people(session: Session, by: Principal, after: int, limit: int) -> list[Person]:
    """Accounts with an id above `after`: all for the owner, those of their own projects for an admin."""
    wanted = select(User).where(User.id > after)
    if not by.is_owner:
        mine = administered_by(by.user_id)
        wanted = wanted.where(exists().where(Membership.user_id == User.id, Membership.project_id.in_(mine)))
    users = session.scalars(wanted.order_by(User.id).limit(limit)).all()
    places = places_seen(session, [user.id for user in users], by)
    return [
        Person(user.id, user.name, user.email, user.is_owner, user.disabled_at is None, user.created_at, places[user.id])
        for user in users
    ]


def places_seen(session: Session, user_ids: Sequence[int], by: Principal) -> Mapping[int, list[Place]]:
    """Per person the projects they belong to, as far as the caller may know of them."""
    wanted = (
        select(Membership.user_id, Project.slug, Project.name, Membership.role)
        .join(Project, Project.id == Membership.project_id)
        .where(Membership.user_id.in_(user_ids))
        .order_by(Project.name)
    )
    if not by.is_owner:
        wanted = wanted.where(Membership.project_id.in_(administered_by(by.user_id)))
    places: dict[int, list[Place]] = defaultdict(list)
    for user_id, slug, name, role in session.execute(wanted):
        places[user_id].append(Place(slug, name, cast(Role, role)))
    return places
