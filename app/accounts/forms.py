"""The forms of the account pages, as the browser sends them."""

from __future__ import annotations

from pydantic import Field

from app.web.json_types import FormBody, Line, Text
from app.web.security import Role, Scope


class SignInForm(FormBody):
    email: Text = ""
    password: Text = ""
    next: Text = "/"


class LanguageForm(FormBody):
    language: Line = ""


class AcceptForm(FormBody):
    name: Line = ""
    email: Line = ""
    password: Text = ""


class PasswordForm(FormBody):
    current: Text = ""
    password: Text = ""


class NewPasswordForm(FormBody):
    password: Text = ""


class ProfileForm(FormBody):
    name: Line = ""
    email: Line = ""
    current: Text = ""  # the password, asked for where the email changes


class SessionForm(FormBody):
    session: Line = ""  # the hash of one; empty: every other one


class KeyForm(FormBody):
    name: Line = ""
    scopes: list[Scope] = Field(default_factory=list)
    days: int = Field(90, ge=1, le=366)


class RoleForm(FormBody):
    role: Role


class ChangedRoleForm(RoleForm):
    seen: Line = ""  # the role that stood on the page


class InvitationForm(RoleForm):
    name: Line = ""  # whom it is meant for
