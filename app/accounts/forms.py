"""The forms of the account pages, as the browser sends them."""

from __future__ import annotations

from typing import Literal

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
    keep: bool = False  # keys and open invitations: nobody else knew the old password


class NewPasswordForm(FormBody):
    password: Text = ""
    keep: bool = False


class ProfileForm(FormBody):
    name: Line = ""
    email: Line = ""
    current: Text = ""  # the password, asked for where the email changes


class CurrentPasswordForm(FormBody):
    current: Text = ""


class CodeForm(FormBody):
    code: Line = ""


class SignInCodeForm(CodeForm):
    next: Text = "/"


class RequirementForm(FormBody):
    required: bool = False


class SessionForm(FormBody):
    session: Line = ""  # the hash of one; empty: every other one


class KeyForm(FormBody):
    name: Line = ""
    scopes: list[Scope] = Field(default_factory=list)
    days: int = Field(90, ge=1, le=366)
    where: Literal["all", "some"] = "all"
    projects: list[Line] = Field(default_factory=list)  # slugs, where the key works in some only


class RoleForm(FormBody):
    role: Role


class ChangedRoleForm(RoleForm):
    seen: Line = ""  # the role that stood on the page


class InvitationForm(RoleForm):
    name: Line = ""  # whom it is meant for
