"""What an entry of the audit trail says: its action in words, and its details as pairs of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.language.formats import listed
from app.language.languages import N_, known

ACTIONS: Final[Mapping[str, str]] = {
    "email.changed": N_("changed their email"),
    "invitation.accepted": N_("accepted an invitation"),
    "invitation.made": N_("made an invitation"),
    "invitation.withdrawn": N_("withdrew an invitation"),
    "key.made": N_("made an API key"),
    "key.revoked": N_("revoked an API key"),
    "keys.ended": N_("ended API keys"),
    "member.removed": N_("removed a member"),
    "name.changed": N_("changed their name"),
    "installation.changed": N_("changed what is asked of everybody"),
    "owner_link.made": N_("made an owner link on the machine"),
    "ownership.given": N_("made somebody an owner"),
    "ownership.taken": N_("ended an ownership"),
    "password.changed": N_("changed a password"),
    "password_link.made": N_("made a password link"),
    "person.added": N_("added a person for a program"),
    "person.deactivated": N_("deactivated a person"),
    "person.reactivated": N_("reactivated a person"),
    "policy.promoted": N_("promoted a policy"),
    "policy.rejected": N_("rejected a candidate"),
    "practice.added": N_("added a practice task"),
    "practice.archived": N_("put a practice task away"),
    "practice.changed": N_("changed a practice task"),
    "practice.restored": N_("brought a practice task back"),
    "project.archived": N_("put the project away"),
    "project.changed": N_("changed settings"),
    "project.created": N_("created the project"),
    "project.deleted": N_("deleted the project"),
    "project.restored": N_("brought the project back"),
    "prompts.archived": N_("put prompts away"),
    "prompts.changed": N_("changed a prompt"),
    "prompts.imported": N_("imported prompts"),
    "prompts.restored": N_("used prompts again"),
    "recovery_code.used": N_("used a recovery code"),
    "recovery_codes.made": N_("made recovery codes"),
    "role.changed": N_("changed a role"),
    "round.started": N_("started a round"),
    "run.cancelled": N_("cancelled a run"),
    "run.queued": N_("queued a run"),
    "run.retried": N_("queued a failed run again"),
    "second_factor.off": N_("turned a second factor off"),
    "second_factor.on": N_("turned a second factor on"),
    "session.closed": N_("signed out"),
    "session.opened": N_("signed in"),
    "sessions.closed": N_("signed out everywhere"),
    "sign_in.failed": N_("failed to sign in"),
}

THINGS: Final[Mapping[str, str]] = {
    "policy": N_("Policies"),
    "round": N_("Rounds"),
    "run": N_("Runs"),
    "project": N_("Settings"),
    "prompts": N_("Prompts"),
    "practice": N_("Practice"),
    "role": N_("Roles"),
    "member": N_("Members"),
    "invitation": N_("Invitations"),
    "password_link": N_("Password links"),
}


# Details that everybody reads of their own account, where the others are for admins and stay as they were noted.
DETAILS: Final[Mapping[str, str]] = {
    "address": N_("address"),
    "browser": N_("browser"),
    "keys": N_("keys"),
    "times": N_("times"),
    "wrong": N_("wrong"),
}
WRONG: Final[Mapping[str, str]] = {"password": N_("password"), "code": N_("code")}


def action_words(action: str) -> str:
    """An action in the reader's language; one that has no words here, as it was noted."""
    return known(ACTIONS[action]) if action in ACTIONS else action


def detail_pairs(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Details as they were noted, one line each, nothing nested."""
    return [(_name(name), _plain(_word(name, value))) for name, value in details.items() if value not in (None, "", [], {})]


def _name(name: str) -> str:
    return known(DETAILS[name]) if name in DETAILS else name.replace("_", " ")


def _word(name: str, value: Any) -> Any:
    return known(WRONG[value]) if name == "wrong" and value in WRONG else value


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return listed(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return listed(f"{name} {_plain(item)}" for name, item in value.items())
    return str(value)
