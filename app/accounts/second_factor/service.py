"""A second factor for whoever wants one: codes made by the clock (RFC 6238), and recovery codes that work once each."""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

from pyotp import TOTP, random_base32
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.accounts.rights import lock_person
from app.database.audit import record
from app.errors import Conflict, Invalid
from app.language.languages import N_, _
from app.models import Installation, RecoveryCode, SecondFactor, utc_now
from app.web.security import Principal, digest

STEP_S: Final = 30
STEPS_OFF: Final = (0, -1, 1)  # half minutes by which a clock may differ
CODES: Final = 10
CODE_BYTES: Final = 10  # 80 random bits, so that one round of SHA-256 hides them

WRONG_CODE = N_("That code is not right, or it was used already. Wait for the next one and try again.")


@dataclass(frozen=True)
class State:
    on: bool
    codes_left: int  # recovery codes that still work


@dataclass(frozen=True)
class Match:
    """What a code was found to be: one of the clock, or a recovery code. It is used up by `use`."""

    step: int | None = None
    recovery_id: int | None = None


def is_on(session: Session, user_id: int) -> bool:
    factor = session.get(SecondFactor, user_id)
    return factor is not None and factor.confirmed_at is not None


def state_of(session: Session, user_id: int) -> State:
    left = select(func.count(RecoveryCode.id)).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return State(is_on(session, user_id), session.scalar(left) or 0)


# Setting up


def begin(session: Session, user_id: int) -> str:
    """A fresh secret, to be shown once. It counts only when a code of it was seen. Raises Conflict where one is on."""
    lock_person(session, user_id)
    if is_on(session, user_id):
        raise Conflict(_("Your second factor is on. Turn it off first, to set up another device."))
    session.execute(delete(SecondFactor).where(SecondFactor.user_id == user_id))
    factor = SecondFactor(user_id=user_id, secret=random_base32())
    session.add(factor)
    session.flush()
    return factor.secret


def pending_secret(session: Session, user_id: int) -> str | None:
    """The secret that waits for its first code."""
    factor = session.get(SecondFactor, user_id)
    return factor.secret if factor is not None and factor.confirmed_at is None else None


def address_of(secret: str, email: str) -> str:
    """What the app reads from the square: `otpauth://totp/Tastemaker:...`."""
    address: str = TOTP(secret).provisioning_uri(name=email, issuer_name="Tastemaker")
    return address


def confirm(session: Session, user_id: int, match: Match) -> list[str]:
    """Turn it on; the recovery codes, which are stored nowhere. Raises Invalid."""
    use(session, user_id, match)
    session.execute(
        update(SecondFactor)
        .where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_(None))
        .values(confirmed_at=utc_now())
    )
    record(session, user_id, "second_factor.on", f"user {user_id}")
    return new_codes(session, user_id)


def new_codes(session: Session, user_id: int) -> list[str]:
    """Ten fresh recovery codes, which are stored nowhere; those before stop working."""
    lock_person(session, user_id)
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    codes = [base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode().lower() for _number in range(CODES)]
    session.add_all(RecoveryCode(user_id=user_id, code_hash=digest(code)) for code in codes)
    record(session, user_id, "recovery_codes.made", f"user {user_id}")
    session.flush()
    return ["-".join(code[start : start + 4] for start in range(0, len(code), 4)) for code in codes]


def turn_off(session: Session, user_id: int, by: int | None) -> None:
    if session.get(SecondFactor, user_id) is None:
        return
    session.execute(delete(SecondFactor).where(SecondFactor.user_id == user_id))
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    record(session, by, "second_factor.off", f"user {user_id}")
    session.flush()
    session.expire_all()


# Codes


def find(session: Session, user_id: int, code: str) -> Match | None:
    """What the code is; only reads."""
    code = "".join(code.split()).replace("-", "").lower()
    if code.isascii() and code.isdigit():
        factor = session.get(SecondFactor, user_id)
        return _of_the_clock(factor, code) if factor is not None else None
    recovery = select(RecoveryCode.id).where(RecoveryCode.user_id == user_id, RecoveryCode.code_hash == digest(code))
    found = session.scalar(recovery.where(RecoveryCode.used_at.is_(None)))
    return None if found is None else Match(recovery_id=found)


def _of_the_clock(factor: SecondFactor, code: str) -> Match | None:
    now = int(time.time()) // STEP_S
    for step in (now + off for off in STEPS_OFF):
        if hmac.compare_digest(TOTP(factor.secret).at(step * STEP_S), code):
            return None if factor.last_step is not None and step <= factor.last_step else Match(step=step)
    return None


def use(session: Session, user_id: int, match: Match) -> None:
    """Use the code up: of two who send it at once, one gets in. Raises Invalid."""
    if match.step is not None:
        used = session.execute(
            update(SecondFactor)
            .where(SecondFactor.user_id == user_id)
            .where(or_(SecondFactor.last_step.is_(None), SecondFactor.last_step < match.step))
            .values(last_step=match.step)
            .returning(SecondFactor.user_id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
    else:
        used = session.execute(
            update(RecoveryCode)
            .where(RecoveryCode.id == match.recovery_id, RecoveryCode.used_at.is_(None))
            .values(used_at=utc_now())
            .returning(RecoveryCode.user_id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        record(session, user_id, "recovery_code.used", f"user {user_id}")
    if used is None:
        raise wrong_code()


def wrong_code() -> Invalid:
    return Invalid(_(WRONG_CODE), {"code": _("Not right, or used already.")})


# Who needs it


def admins_need_it(session: Session) -> bool:
    return bool(session.scalar(select(Installation.admins_need_second_factor)))


def require_of_admins(session: Session, required: bool, by: Principal) -> None:
    """Raises Conflict where the owner who asks for it has none: they would be the first to be kept out."""
    if required and not is_on(session, by.user_id):
        raise Conflict(_("Set up your own second factor first."))
    if admins_need_it(session) == required:
        return
    session.execute(update(Installation).values(admins_need_second_factor=required))
    record(session, by.user_id, "installation.changed", "", {"admins_need_second_factor": required})
