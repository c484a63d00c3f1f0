"""Who may act for whom, asked at the moment of the deed: what was so when the request came may have ended since."""

from __future__ import annotations

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from app.errors import NotAllowed, NotFound, NotSignedIn
from app.language.languages import _
from app.models import ApiKey, Membership, SignInSession, User
from app.web.security import Principal


def administered_by(user_id: int) -> Select[int]:
    """The ids of the projects this person is admin of."""
    return select(Membership.project_id).where(Membership.user_id == user_id, Membership.role == "admin")


def lock_person(session: Session, user_id: int) -> User:
    """The person, kept until the transaction ends: who lets somebody in and who puts the first one out take turns."""
    user = session.scalar(
        select(User).where(User.id == user_id).with_for_update(key_share=True).execution_options(populate_existing=True)
    )
    if user is None:
        raise NotFound(_("There is no such person."))
    return user


def lock_maker(session: Session, by: Principal) -> ApiKey | None:
    """Whoever opens a door, kept as `lock_person` does, and the key they do it with. Raises NotSignedIn where it has ended."""
    user = lock_person(session, by.user_id)
    shown: ApiKey | SignInSession | None
    if by.via == "key":
        shown = session.get(ApiKey, int(by.credential), populate_existing=True, with_for_update=True)
    else:
        shown = session.get(SignInSession, by.credential, populate_existing=True)
    if user.disabled_at is not None or shown is None or shown.revoked_at is not None:
        raise NotSignedIn(_("This sign-in or key is not valid, or it has ended. Please sign in again."))
    return shown if isinstance(shown, ApiKey) else None


def check_is_admin(session: Session, user_id: int, project_id: int) -> None:
    """Raises NotAllowed unless the person is still an admin of the project, or an owner. Keeps them as `lock_person` does."""
    user = lock_person(session, user_id)
    if user.disabled_at is None and (user.is_owner or _administers(session, user_id, project_id)):
        return
    raise NotAllowed(_("Only an admin of this project may do that."))


def _administers(session: Session, user_id: int, project_id: int) -> bool:
    mine = select(Membership.id).where(Membership.user_id == user_id, Membership.project_id == project_id)
    return session.scalar(mine.where(Membership.role == "admin")) is not None


def may_act_as(session: Session, user: User, by: User) -> bool:
    """Oneself; for an owner anyone; for an admin only people made for programs (without a password) in none but their own
    projects. Otherwise an admin of one project could act in another one as somebody else.
    """
    if by.disabled_at is not None:
        return False
    return user.id == by.id or by.is_owner or _is_program_of(session, user, by.id)


def _is_program_of(session: Session, user: User, admin_id: int) -> bool:
    if user.is_owner or user.password_hash is not None:
        return False
    elsewhere, here = session.execute(
        select(
            exists().where(Membership.user_id == user.id, Membership.project_id.not_in(administered_by(admin_id))),
            exists().where(Membership.user_id == user.id),
        )
    ).one()
    return bool(here and not elsewhere)


def programs_of(admin_id: int) -> Select[int]:
    """The ids of the programs this admin may act as: the same rule as a query."""
    elsewhere = exists().where(Membership.user_id == User.id, Membership.project_id.not_in(administered_by(admin_id)))
    here = exists().where(Membership.user_id == User.id)
    return select(User.id).where(User.is_owner.is_(False), User.password_hash.is_(None), here, ~elsewhere)
