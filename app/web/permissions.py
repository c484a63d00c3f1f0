"""Who may do what: one table with a rule for every route.

A route that is not in `RULES` answers 403 to everyone and fails `tests/app/web/test_permissions.py`; so does a line without
its route. The gate (`app/web/gate.py`) enforces the table. People see 404, not 403,
for projects they do not belong to: whether they exist is nobody else's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from app.web.security import Scope


class Level(IntEnum):
    """Each level may do what the ones before it may; ANNOTATOR to ADMIN are roles in the project of the path."""

    PUBLIC = 0
    SIGNED_IN = 1
    ANNOTATOR = 2
    REVIEWER = 3
    ADMIN = 4
    ANY_ADMIN = 5  # admin of some project; the service looks which
    OWNER = 6


# How the path leads to its project.
Source = Literal["slug", "task", "label", "run", "round", "evaluation", "checkpoint", "prompt", "generation", "chat"]


@dataclass(frozen=True)
class Rule:
    """`level` for people, `scope` for API keys (None: any key, or a page that takes no keys), and the project's `source`.

    `parameter` names the path parameter that `source` reads.
    """

    level: Level
    scope: Scope | None = None
    source: Source | None = None
    parameter: str = ""


def _public() -> Rule:
    return Rule(Level.PUBLIC)


def _signed_in(scope: Scope | None = None) -> Rule:
    return Rule(Level.SIGNED_IN, scope)


def _annotator(source: Source, scope: Scope | None = None, parameter: str = "") -> Rule:
    return Rule(Level.ANNOTATOR, scope, source, parameter or ("slug" if source == "slug" else "id"))


def _reviewer(source: Source, scope: Scope | None = None, parameter: str = "") -> Rule:
    return Rule(Level.REVIEWER, scope, source, parameter or ("slug" if source == "slug" else "id"))


def _admin(source: Source, scope: Scope | None = None, parameter: str = "") -> Rule:
    return Rule(Level.ADMIN, scope, source, parameter or ("slug" if source == "slug" else "id"))


def _any_admin(scope: Scope | None = None) -> Rule:
    return Rule(Level.ANY_ADMIN, scope)


def _owner(scope: Scope | None = None) -> Rule:
    return Rule(Level.OWNER, scope)


V1 = "/api/v1"
OPENAI = "/v1"  # calls as OpenAI's clients make them
BELOW_CALLS = (V1.removesuffix("v1"), OPENAI + "/")  # the addresses of programs: they show a key, and are answered in JSON

RULES: dict[tuple[str, str], Rule] = {
    # the platform
    ("GET", V1 + "/openapi.json"): _public(),
    ("GET", V1 + "/health"): _public(),
    ("GET", V1 + "/health/live"): _public(),
    ("POST", "/csp-reports"): _public(),
    ("GET", "/styleguide"): _any_admin(),
    # accounts: pages
    ("GET", "/sign-in"): _public(),
    ("POST", "/sign-in"): _public(),
    ("GET", "/sign-in/code"): _public(),
    ("POST", "/sign-in/code"): _public(),
    ("POST", "/sign-out"): _signed_in(),
    ("POST", "/language"): _public(),
    ("GET", "/invitations/{token}"): _public(),
    ("POST", "/invitations/{token}"): _public(),
    ("GET", "/password/{token}"): _public(),
    ("POST", "/password/{token}"): _public(),
    ("GET", "/account"): _signed_in(),
    ("POST", "/account/profile"): _signed_in(),
    ("POST", "/account/password"): _signed_in(),
    ("POST", "/account/sessions/revocation"): _signed_in(),
    ("GET", "/account/events"): _signed_in(),
    ("GET", "/account/second-factor"): _signed_in(),
    ("POST", "/account/second-factor"): _signed_in(),
    ("POST", "/account/second-factor/confirmation"): _signed_in(),
    ("POST", "/account/second-factor/codes"): _signed_in(),
    ("POST", "/account/second-factor/removal"): _signed_in(),
    ("GET", "/account/keys"): _signed_in(),
    ("POST", "/account/keys"): _signed_in(),
    ("POST", "/account/keys/{id}/revocation"): _signed_in(),
    ("GET", "/projects/{slug}/people"): _admin("slug"),
    ("POST", "/projects/{slug}/invitations"): _admin("slug"),
    ("POST", "/projects/{slug}/invitations/{id}/revocation"): _admin("slug"),
    ("POST", "/projects/{slug}/people/{id}/role"): _admin("slug"),
    ("POST", "/projects/{slug}/people/{id}/assignment"): _admin("slug"),
    ("POST", "/projects/{slug}/languages"): _annotator("slug"),
    ("POST", "/projects/{slug}/people/{id}/removal"): _admin("slug"),
    ("POST", "/projects/{slug}/people/{id}/password-link"): _admin("slug"),
    ("GET", "/people"): _owner(),
    ("POST", "/people/{id}/deactivation"): _owner(),
    ("POST", "/people/{id}/reactivation"): _owner(),
    ("POST", "/people/second-factor"): _owner(),
    ("POST", "/people/{id}/second-factor/removal"): _owner(),
    ("POST", "/people/{id}/ownership"): _owner(),
    ("POST", "/people/{id}/ownership/end"): _owner(),
    # accounts: API
    ("GET", V1 + "/users"): _any_admin("admin"),
    ("POST", V1 + "/users"): _any_admin("admin"),
    ("GET", V1 + "/users/me"): _signed_in(),
    ("GET", V1 + "/users/me/events"): _signed_in("admin"),
    ("PATCH", V1 + "/users/me"): _signed_in("admin"),
    ("POST", V1 + "/users/{id}/keys"): _signed_in("admin"),
    ("POST", V1 + "/users/{id}/deactivate"): _owner("admin"),
    ("POST", V1 + "/users/{id}/reactivate"): _owner("admin"),
    ("DELETE", V1 + "/users/{id}/second-factor"): _owner("admin"),
    ("GET", V1 + "/installation"): _owner("admin"),
    ("PATCH", V1 + "/installation"): _owner("admin"),
    ("PUT", V1 + "/users/{id}/ownership"): _owner("admin"),
    ("DELETE", V1 + "/users/{id}/ownership"): _owner("admin"),
    ("GET", V1 + "/keys"): _signed_in("admin"),
    ("DELETE", V1 + "/keys/{id}"): _signed_in("admin"),
    ("GET", V1 + "/projects/{slug}/people"): _admin("slug", "admin"),
    ("PUT", V1 + "/projects/{slug}/people/{id}/role"): _admin("slug", "admin"),
    ("PUT", V1 + "/projects/{slug}/people/{id}/assignment"): _admin("slug", "admin"),
    ("PUT", V1 + "/projects/{slug}/languages"): _annotator("slug", "annotate"),
    ("DELETE", V1 + "/projects/{slug}/people/{id}"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/people/{id}/password-link"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/invitations"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/invitations"): _admin("slug", "admin"),
    ("DELETE", V1 + "/projects/{slug}/invitations/{id}"): _admin("slug", "admin"),
    # the audit trail
    ("GET", "/projects/{slug}/audit"): _admin("slug"),
    ("GET", "/audit"): _owner(),
    ("GET", V1 + "/projects/{slug}/audit"): _admin("slug", "admin"),
    ("GET", V1 + "/audit"): _owner("admin"),
    # what is announced, and the addresses that are told
    ("GET", "/webhooks"): _owner(),
    ("POST", "/webhooks"): _owner(),
    ("POST", "/webhooks/{id}/secret"): _owner(),
    ("POST", "/webhooks/{id}/test"): _owner(),
    ("POST", "/webhooks/{id}/removal"): _owner(),
    ("GET", V1 + "/webhooks"): _owner("admin"),
    ("POST", V1 + "/webhooks"): _owner("admin"),
    ("GET", V1 + "/webhooks/deliveries"): _owner("admin"),
    ("DELETE", V1 + "/webhooks/{id}"): _owner("admin"),
    ("POST", V1 + "/webhooks/{id}/secret"): _owner("admin"),
    ("POST", V1 + "/webhooks/{id}/test"): _owner("admin"),
    ("GET", V1 + "/projects/{slug}/announcements"): _reviewer("slug", "export"),
    # rounds without hands
    ("POST", "/projects/{slug}/pause"): _admin("slug"),
    ("POST", "/projects/{slug}/resume"): _admin("slug"),
    ("GET", V1 + "/projects/{slug}/unattended"): _reviewer("slug", "export"),
    ("POST", V1 + "/projects/{slug}/pause"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/resume"): _admin("slug", "admin"),
    # projects
    ("GET", "/"): _signed_in(),
    ("GET", "/projects/{slug}"): _annotator("slug"),
    ("GET", "/projects/{slug}/work"): _annotator("slug"),
    ("GET", "/projects/new"): _owner(),
    ("POST", "/projects"): _owner(),
    ("GET", "/projects/{slug}/settings"): _admin("slug"),
    ("POST", "/projects/{slug}/settings"): _admin("slug"),
    ("GET", "/projects/{slug}/settings/questions"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/questions"): _admin("slug"),
    ("GET", "/projects/{slug}/settings/guidelines"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/guidelines"): _admin("slug"),
    ("GET", "/projects/{slug}/settings/preview"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/preview"): _admin("slug"),
    ("GET", "/projects/{slug}/settings/practice"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/practice"): _admin("slug"),
    ("GET", "/projects/{slug}/settings/practice/new"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/practice/new"): _admin("slug"),
    ("GET", "/projects/{slug}/settings/practice/{id}"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/practice/{id}"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/practice/{id}/archive"): _admin("slug"),
    ("POST", "/projects/{slug}/settings/practice/{id}/restore"): _admin("slug"),
    ("POST", "/projects/{slug}/people/{id}/admission"): _admin("slug"),
    ("POST", V1 + "/projects"): _owner("admin"),
    ("GET", V1 + "/projects"): _signed_in(),
    ("GET", V1 + "/projects/{slug}"): _reviewer("slug"),
    ("GET", V1 + "/projects/{slug}/work"): _annotator("slug", "annotate"),
    ("PATCH", V1 + "/projects/{slug}"): _admin("slug", "admin"),
    # projects: their end
    ("GET", "/projects/archived"): _signed_in(),
    ("GET", "/projects/{slug}/settings/removal"): _admin("slug"),
    ("POST", "/projects/{slug}/archive"): _admin("slug"),
    ("POST", "/projects/{slug}/restore"): _admin("slug"),
    ("POST", "/projects/{slug}/deletion"): _admin("slug"),
    ("POST", V1 + "/projects/{slug}/archive"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/restore"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/consequences"): _admin("slug", "admin"),
    ("DELETE", V1 + "/projects/{slug}"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/disk"): _admin("slug", "admin"),
    # prompts
    ("GET", "/projects/{slug}/prompts"): _admin("slug"),
    ("GET", "/projects/{slug}/prompts/import"): _admin("slug"),
    ("POST", "/projects/{slug}/prompts/import"): _admin("slug"),
    ("GET", "/projects/{slug}/answers/import"): _admin("slug"),
    ("POST", "/projects/{slug}/answers/import"): _admin("slug"),
    ("POST", "/projects/{slug}/prompts/archive"): _admin("slug"),
    ("POST", "/projects/{slug}/prompts/marks"): _admin("slug"),
    ("GET", "/projects/{slug}/prompts/proposed"): _admin("slug"),
    ("GET", "/projects/{slug}/prompts/coverage"): _admin("slug"),
    ("POST", "/prompts/{id}/acceptance"): _admin("prompt"),
    ("POST", "/prompts/{id}/refusal"): _admin("prompt"),
    ("GET", "/prompts/{id}"): _admin("prompt"),
    ("POST", "/prompts/{id}"): _admin("prompt"),
    ("POST", "/prompts/{id}/archive"): _admin("prompt"),
    ("POST", "/prompts/{id}/restore"): _admin("prompt"),
    ("GET", V1 + "/projects/{slug}/prompts"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/prompts"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/prompts/archive"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/prompts/marks"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/prompts/proposed"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/prompts/coverage"): _admin("slug", "admin"),
    ("POST", V1 + "/prompts/{id}/accept"): _admin("prompt", "admin"),
    ("POST", V1 + "/prompts/{id}/refuse"): _admin("prompt", "admin"),
    ("GET", V1 + "/prompts/{id}"): _admin("prompt", "admin"),
    ("PUT", V1 + "/prompts/{id}"): _admin("prompt", "admin"),
    ("POST", V1 + "/prompts/{id}/archive"): _admin("prompt", "admin"),
    ("POST", V1 + "/prompts/{id}/restore"): _admin("prompt", "admin"),
    # tasks, labels, guidelines, practice: pages
    ("GET", "/projects/{slug}/annotate"): _annotator("slug"),
    ("POST", "/projects/{slug}/annotate/next"): _annotator("slug"),
    ("GET", "/projects/{slug}/guidelines"): _annotator("slug"),
    ("POST", "/projects/{slug}/guidelines/seen"): _annotator("slug"),
    ("GET", "/projects/{slug}/practice"): _annotator("slug"),
    ("GET", "/projects/{slug}/practice/task"): _annotator("slug"),
    ("GET", "/projects/{slug}/practice/{id}"): _annotator("slug"),
    ("POST", "/projects/{slug}/practice/{id}/verdict"): _annotator("slug"),
    ("GET", "/projects/{slug}/labels"): _annotator("slug"),
    ("GET", "/labels/{id}"): _annotator("label"),
    ("POST", "/tasks/{id}/label"): _annotator("task"),
    ("POST", "/tasks/{id}/skip"): _annotator("task"),
    ("POST", "/tasks/{id}/renew"): _annotator("task"),
    ("POST", "/tasks/{id}/withdraw"): _annotator("task"),
    # tasks, labels, guidelines, practice: API
    ("POST", V1 + "/projects/{slug}/tasks/next"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/waiting"): _annotator("slug", "annotate"),
    ("POST", V1 + "/tasks/{id}/label"): _annotator("task", "annotate"),
    ("POST", V1 + "/tasks/{id}/skip"): _annotator("task", "annotate"),
    ("POST", V1 + "/tasks/{id}/renew"): _annotator("task", "annotate"),
    ("POST", V1 + "/tasks/{id}/withdraw"): _annotator("task", "annotate"),
    ("POST", V1 + "/tasks/{id}/return"): _annotator("task", "annotate"),
    ("GET", V1 + "/projects/{slug}/guidelines"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/guidelines/versions"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/guidelines/changes"): _annotator("slug", "annotate"),
    ("POST", V1 + "/projects/{slug}/guidelines/seen"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/practice"): _annotator("slug", "annotate"),
    ("POST", V1 + "/projects/{slug}/practice/next"): _annotator("slug", "annotate"),
    ("POST", V1 + "/projects/{slug}/practice/{id}/verdict"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/practice-tasks"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/practice-tasks"): _admin("slug", "admin"),
    ("PUT", V1 + "/projects/{slug}/practice-tasks/{id}"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/practice-tasks/{id}/archive"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/practice-tasks/{id}/restore"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/people/{id}/admission"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/labels"): _annotator("slug", "annotate"),
    ("GET", V1 + "/labels/{id}"): _annotator("label", "annotate"),
    # talks: pages and API
    ("GET", "/projects/{slug}/chats"): _annotator("slug"),
    ("POST", "/projects/{slug}/chats"): _annotator("slug"),
    ("GET", "/chats/{id}"): _annotator("chat"),
    ("POST", "/chats/{id}/turns"): _annotator("chat"),
    ("POST", "/chats/{id}/choice"): _annotator("chat"),
    ("POST", V1 + "/projects/{slug}/chats"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/chats"): _annotator("slug", "annotate"),
    ("GET", V1 + "/chats/{id}"): _annotator("chat", "annotate"),
    ("POST", V1 + "/chats/{id}/turns"): _annotator("chat", "annotate"),
    ("POST", V1 + "/chats/{id}/choice"): _annotator("chat", "annotate"),
    # rounds: pages
    ("GET", "/projects/{slug}/rounds"): _reviewer("slug"),
    ("POST", "/projects/{slug}/rounds"): _admin("slug"),
    ("GET", "/projects/{slug}/rounds/new"): _admin("slug"),
    ("GET", "/projects/{slug}/preference"): _admin("slug"),
    ("POST", "/projects/{slug}/preference"): _admin("slug"),
    ("GET", "/projects/{slug}/sft"): _admin("slug"),
    ("POST", "/projects/{slug}/sft"): _admin("slug"),
    ("GET", "/rounds/{id}"): _reviewer("round"),
    ("POST", "/rounds/{id}/cancel"): _admin("round"),
    ("POST", "/rounds/{id}/rejection"): _admin("round"),
    ("GET", "/projects/{slug}/evaluations"): _reviewer("slug"),
    ("POST", "/projects/{slug}/evaluations"): _admin("slug"),
    ("GET", "/evaluations/{id}"): _reviewer("evaluation"),
    ("POST", "/evaluations/{id}/cancel"): _admin("evaluation"),
    ("GET", "/evaluations/{id}/interval.svg"): _reviewer("evaluation"),
    ("GET", "/runs/{id}"): _reviewer("run"),
    ("GET", "/runs/{id}/charts/{name}"): _reviewer("run"),
    ("POST", "/runs/{id}/cancel"): _admin("run"),
    ("POST", "/runs/{id}/retry"): _admin("run"),
    ("GET", "/projects/{slug}/checkpoints"): _reviewer("slug"),
    ("GET", "/checkpoints/{id}"): _reviewer("checkpoint"),
    ("POST", "/checkpoints/{id}/promotion"): _admin("checkpoint"),
    ("GET", "/projects/{slug}/agreement"): _reviewer("slug"),
    ("GET", "/projects/{slug}/annotators/{id}"): _reviewer("slug"),
    ("POST", "/projects/{slug}/annotators/{id}/exclusion"): _admin("slug"),
    ("POST", "/projects/{slug}/annotators/{id}/exclusion/removal"): _admin("slug"),
    ("POST", "/projects/{slug}/annotators/{id}/resumption"): _admin("slug"),
    ("GET", "/projects/{slug}/disputes"): _reviewer("slug"),
    ("GET", "/projects/{slug}/disputes/{id}"): _reviewer("slug"),
    ("POST", "/projects/{slug}/disputes/{id}/settlement"): _reviewer("slug"),
    ("POST", "/projects/{slug}/disputes/{id}/doubts"): _reviewer("slug"),
    ("POST", "/projects/{slug}/doubts/{id}/answer"): _annotator("slug"),
    ("GET", "/projects/{slug}/queue"): _admin("slug"),
    ("GET", "/projects/{slug}/hours"): _admin("slug"),
    ("GET", "/projects/{slug}/hours/file"): _admin("slug"),
    ("GET", "/projects/{slug}/gold"): _admin("slug"),
    ("POST", "/projects/{slug}/gold"): _admin("slug"),
    ("POST", "/projects/{slug}/gold/settings"): _admin("slug"),
    ("POST", "/projects/{slug}/gold/{id}/retirement"): _admin("slug"),
    ("POST", "/projects/{slug}/gold/{id}/return"): _admin("slug"),
    ("GET", "/projects/{slug}/leaderboard"): _reviewer("slug"),
    ("GET", "/projects/{slug}/contenders"): _reviewer("slug"),
    ("POST", "/projects/{slug}/contenders"): _admin("slug"),
    ("POST", "/projects/{slug}/contenders/answers"): _admin("slug"),
    ("POST", "/projects/{slug}/contenders/{id}/archive"): _admin("slug"),
    ("POST", "/projects/{slug}/contenders/{id}/restore"): _admin("slug"),
    ("GET", "/projects/{slug}/playground"): _admin("slug"),
    ("POST", "/projects/{slug}/playground"): _admin("slug"),
    ("POST", "/projects/{slug}/playground/answer"): _admin("slug"),
    ("POST", "/projects/{slug}/playground/prompt"): _admin("slug"),
    ("POST", "/projects/{slug}/playground/task"): _admin("slug"),
    ("GET", "/outside-models"): _owner(),
    ("POST", "/outside-models"): _owner(),
    ("POST", "/outside-models/{id}/archive"): _owner(),
    ("GET", "/projects/{slug}/leaderboard/frontier.svg"): _reviewer("slug"),
    ("GET", "/projects/{slug}/leaderboard/side-by-side"): _reviewer("slug"),
    # rounds: API. Who annotates must not learn which model wrote what.
    ("POST", V1 + "/projects/{slug}/rounds"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/rounds"): _reviewer("slug", "export"),
    ("GET", V1 + "/projects/{slug}/next-round"): _reviewer("slug", "export"),
    ("GET", V1 + "/rounds/{id}"): _reviewer("round", "export"),
    ("POST", V1 + "/rounds/{id}/cancel"): _admin("round", "admin"),
    ("POST", V1 + "/rounds/{id}/reject"): _admin("round", "admin"),
    ("POST", V1 + "/projects/{slug}/evaluations"): _admin("slug", "admin"),
    ("GET", V1 + "/evaluations/{id}"): _reviewer("evaluation", "export"),
    ("POST", V1 + "/evaluations/{id}/cancel"): _admin("evaluation", "admin"),
    ("GET", V1 + "/outside-models"): _any_admin("admin"),
    ("POST", V1 + "/outside-models"): _owner("admin"),
    ("DELETE", V1 + "/outside-models/{id}"): _owner("admin"),
    ("GET", V1 + "/projects/{slug}/contenders"): _reviewer("slug", "export"),
    ("POST", V1 + "/projects/{slug}/contenders"): _admin("slug", "admin"),
    ("DELETE", V1 + "/projects/{slug}/contenders/{id}"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/contenders/{id}/restore"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/tasks"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/runs"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/runs"): _reviewer("slug", "export"),
    ("GET", V1 + "/runs/{id}"): _reviewer("run", "export"),
    ("POST", V1 + "/runs/{id}/cancel"): _admin("run", "admin"),
    ("POST", V1 + "/runs/{id}/retry"): _admin("run", "admin"),
    ("GET", V1 + "/runs/{id}/metrics"): _reviewer("run", "export"),
    ("GET", V1 + "/runs/{id}/samples"): _reviewer("run", "export"),
    ("GET", V1 + "/runs/{id}/log"): _reviewer("run", "export"),
    ("GET", V1 + "/projects/{slug}/checkpoints"): _reviewer("slug", "export"),
    ("GET", V1 + "/checkpoints/{id}"): _reviewer("checkpoint", "export"),
    ("GET", V1 + "/checkpoints/{id}/data"): _reviewer("checkpoint", "export"),
    ("GET", V1 + "/labels/{id}/learners"): _reviewer("label", "export"),
    ("GET", V1 + "/projects/{slug}/leaderboard"): _reviewer("slug", "export"),
    ("GET", V1 + "/projects/{slug}/side-by-side"): _reviewer("slug", "export"),
    ("GET", V1 + "/projects/{slug}/agreement"): _reviewer("slug", "export"),
    ("GET", V1 + "/projects/{slug}/annotators"): _reviewer("slug", "export"),
    ("PUT", V1 + "/projects/{slug}/annotators/{id}/exclusion"): _admin("slug", "admin"),
    ("DELETE", V1 + "/projects/{slug}/annotators/{id}/exclusion"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/annotators/{id}/resumption"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/disputes"): _reviewer("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/disputes/{id}"): _reviewer("slug", "annotate"),
    ("POST", V1 + "/projects/{slug}/disputes/{id}/settlement"): _reviewer("slug", "annotate"),
    ("POST", V1 + "/projects/{slug}/disputes/{id}/doubts"): _reviewer("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/doubts"): _annotator("slug", "annotate"),
    ("POST", V1 + "/projects/{slug}/doubts/{id}/answer"): _annotator("slug", "annotate"),
    ("GET", V1 + "/projects/{slug}/queue"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/hours"): _admin("slug", "admin"),
    ("GET", V1 + "/projects/{slug}/gold"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/gold"): _admin("slug", "admin"),
    ("DELETE", V1 + "/projects/{slug}/gold/{id}"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/gold/{id}/return"): _admin("slug", "admin"),
    ("POST", V1 + "/checkpoints/{id}/promote"): _admin("checkpoint", "admin"),
    ("GET", V1 + "/checkpoints/{id}/files/{name}"): _reviewer("checkpoint", "export"),
    ("GET", V1 + "/checkpoints/{id}/export/{name}"): _reviewer("checkpoint", "export"),
    ("GET", V1 + "/projects/{slug}/generations"): _reviewer("slug", "export"),
    ("POST", V1 + "/projects/{slug}/generations"): _admin("slug", "admin"),
    ("PUT", V1 + "/projects/{slug}/texts/{name}"): _admin("slug", "admin"),
    # models that answer at once. Who annotates must not ask them which model wrote what.
    ("POST", V1 + "/projects/{slug}/score"): _reviewer("slug", "generate"),
    ("POST", V1 + "/projects/{slug}/generate"): _reviewer("slug", "generate"),
    ("GET", OPENAI + "/models"): _signed_in("generate"),  # of those projects whose reviewer or admin one is
    ("POST", OPENAI + "/chat/completions"): _signed_in("generate"),
    ("POST", OPENAI + "/feedback"): _signed_in("generate"),
    ("DELETE", OPENAI + "/feedback/{client_id}"): _signed_in("generate"),
    ("GET", "/projects/{slug}/feedback"): _admin("slug"),
    ("POST", "/projects/{slug}/feedback/{id}/acceptance"): _admin("slug"),
    ("POST", "/projects/{slug}/feedback/{id}/refusal"): _admin("slug"),
    ("GET", V1 + "/projects/{slug}/feedback"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/feedback/{id}/accept"): _admin("slug", "admin"),
    ("POST", V1 + "/projects/{slug}/feedback/{id}/refuse"): _admin("slug", "admin"),
    # exports
    ("GET", "/projects/{slug}/export"): _admin("slug"),
    ("GET", "/projects/{slug}/export/file"): _admin("slug"),
    ("GET", V1 + "/projects/{slug}/export"): _admin("slug", "export"),
}

# What may still be done in an archived project: verdicts on their way are kept, what computes is stopped, who has access is taken
# out, and the project comes back or goes. Everything else is read only.
ALSO_ARCHIVED = frozenset(
    (method, path)
    for method, path in RULES
    if path.removeprefix(V1).startswith("/tasks/{id}/")
    or path.endswith(("/tasks/next", "/annotate/next", "/guidelines/seen", "/cancel", "/revocation", "/removal", "/role"))
    or path.removeprefix(V1) == "/chats/{id}/choice"
    or path.removeprefix(V1) in {f"/projects/{{slug}}/{end}" for end in ("archive", "restore", "deletion")}
    or (method == "DELETE" and path != V1 + "/keys/{id}")
)

# What a key that is bound to projects may do beyond calls about them: learn whose it is, and which projects they are; ask their
# models, which a call names in its body.
ALSO_BOUND = frozenset(
    {
        ("GET", V1 + "/users/me"),
        ("GET", V1 + "/projects"),
        ("GET", OPENAI + "/models"),
        ("POST", OPENAI + "/chat/completions"),
        ("POST", OPENAI + "/feedback"),
        ("DELETE", OPENAI + "/feedback/{client_id}"),
    }
)

# What an admin may do who has yet to set up the second factor that the owner asks of admins.
BEFORE_SECOND_FACTOR = frozenset(
    route for route in RULES if route[1].startswith("/account/second-factor") or route[1] == "/sign-out"
)
