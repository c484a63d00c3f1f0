"""Everything a page can do, a key can do: each form of a page has a call that does the same, or a reason why it has none."""

from __future__ import annotations

import pytest

from app.web.permissions import RULES, V1

# A page's form -> the call that does it, as "METHOD path" below /api/v1.
TWINS = {
    "/account/profile": "PATCH /users/me",
    "/account/keys": "POST /users/{id}/keys",
    "/account/keys/{id}/revocation": "DELETE /keys/{id}",
    "/people/{id}/deactivation": "POST /users/{id}/deactivate",
    "/people/{id}/reactivation": "POST /users/{id}/reactivate",
    "/people/{id}/second-factor/removal": "DELETE /users/{id}/second-factor",
    "/people/second-factor": "PATCH /installation",
    "/people/{id}/ownership": "PUT /users/{id}/ownership",
    "/people/{id}/ownership/end": "DELETE /users/{id}/ownership",
    "/projects": "POST /projects",
    "/projects/{slug}/archive": "POST /projects/{slug}/archive",
    "/projects/{slug}/restore": "POST /projects/{slug}/restore",
    "/projects/{slug}/deletion": "DELETE /projects/{slug}",
    "/projects/{slug}/annotators/{id}/exclusion": "PUT /projects/{slug}/annotators/{id}/exclusion",
    "/projects/{slug}/annotators/{id}/exclusion/removal": "DELETE /projects/{slug}/annotators/{id}/exclusion",
    "/projects/{slug}/annotators/{id}/resumption": "POST /projects/{slug}/annotators/{id}/resumption",
    "/projects/{slug}/disputes/{id}/settlement": "POST /projects/{slug}/disputes/{id}/settlement",
    "/projects/{slug}/disputes/{id}/doubts": "POST /projects/{slug}/disputes/{id}/doubts",
    "/projects/{slug}/doubts/{id}/answer": "POST /projects/{slug}/doubts/{id}/answer",
    "/projects/{slug}/gold": "POST /projects/{slug}/gold",
    "/projects/{slug}/gold/settings": "PATCH /projects/{slug}",
    "/projects/{slug}/gold/{id}/retirement": "DELETE /projects/{slug}/gold/{id}",
    "/projects/{slug}/gold/{id}/return": "POST /projects/{slug}/gold/{id}/return",
    "/projects/{slug}/answers/import": "POST /projects/{slug}/generations",
    "/projects/{slug}/contenders": "POST /projects/{slug}/contenders",
    "/projects/{slug}/contenders/answers": "POST /projects/{slug}/runs",
    "/projects/{slug}/contenders/{id}/archive": "DELETE /projects/{slug}/contenders/{id}",
    "/projects/{slug}/contenders/{id}/restore": "POST /projects/{slug}/contenders/{id}/restore",
    "/projects/{slug}/playground": "POST /projects/{slug}/generate",
    "/projects/{slug}/playground/answer": "POST /projects/{slug}/generate",
    "/projects/{slug}/playground/prompt": "POST /projects/{slug}/prompts",
    "/projects/{slug}/playground/task": "POST /projects/{slug}/tasks",
    "/outside-models": "POST /outside-models",
    "/outside-models/{id}/archive": "DELETE /outside-models/{id}",
    "/projects/{slug}/annotate/next": "POST /projects/{slug}/tasks/next",
    "/projects/{slug}/guidelines/seen": "POST /projects/{slug}/guidelines/seen",
    "/projects/{slug}/invitations": "POST /projects/{slug}/invitations",
    "/projects/{slug}/invitations/{id}/revocation": "DELETE /projects/{slug}/invitations/{id}",
    "/projects/{slug}/people/{id}/admission": "POST /projects/{slug}/people/{id}/admission",
    "/projects/{slug}/people/{id}/password-link": "POST /projects/{slug}/people/{id}/password-link",
    "/projects/{slug}/people/{id}/removal": "DELETE /projects/{slug}/people/{id}",
    "/projects/{slug}/people/{id}/role": "PUT /projects/{slug}/people/{id}/role",
    "/projects/{slug}/practice/{id}/verdict": "POST /projects/{slug}/practice/{id}/verdict",
    "/projects/{slug}/people/{id}/assignment": "PUT /projects/{slug}/people/{id}/assignment",
    "/projects/{slug}/languages": "PUT /projects/{slug}/languages",
    "/projects/{slug}/prompts/marks": "POST /projects/{slug}/prompts/marks",
    "/projects/{slug}/prompts/archive": "POST /projects/{slug}/prompts/archive",
    "/projects/{slug}/prompts/import": "POST /projects/{slug}/prompts",
    "/projects/{slug}/rounds": "POST /projects/{slug}/rounds",
    "/projects/{slug}/evaluations": "POST /projects/{slug}/evaluations",
    "/evaluations/{id}/cancel": "POST /evaluations/{id}/cancel",
    "/projects/{slug}/settings": "PATCH /projects/{slug}",
    "/projects/{slug}/settings/guidelines": "PATCH /projects/{slug}",
    "/projects/{slug}/settings/questions": "PATCH /projects/{slug}",
    "/projects/{slug}/settings/practice": "PATCH /projects/{slug}",
    "/projects/{slug}/settings/practice/new": "POST /projects/{slug}/practice-tasks",
    "/projects/{slug}/settings/practice/{id}": "PUT /projects/{slug}/practice-tasks/{id}",
    "/projects/{slug}/settings/practice/{id}/archive": "POST /projects/{slug}/practice-tasks/{id}/archive",
    "/projects/{slug}/settings/practice/{id}/restore": "POST /projects/{slug}/practice-tasks/{id}/restore",
    "/projects/{slug}/preference": "POST /projects/{slug}/runs",
    "/projects/{slug}/sft": "POST /projects/{slug}/runs",
    "/projects/{slug}/chats": "POST /projects/{slug}/chats",
    "/chats/{id}/turns": "POST /chats/{id}/turns",
    "/chats/{id}/choice": "POST /chats/{id}/choice",
    "/prompts/{id}/acceptance": "POST /prompts/{id}/accept",
    "/prompts/{id}/refusal": "POST /prompts/{id}/refuse",
    "/prompts/{id}": "PUT /prompts/{id}",
    "/prompts/{id}/archive": "POST /prompts/{id}/archive",
    "/prompts/{id}/restore": "POST /prompts/{id}/restore",
    "/rounds/{id}/cancel": "POST /rounds/{id}/cancel",
    "/rounds/{id}/rejection": "POST /rounds/{id}/reject",
    "/runs/{id}/cancel": "POST /runs/{id}/cancel",
    "/runs/{id}/retry": "POST /runs/{id}/retry",
    "/checkpoints/{id}/promotion": "POST /checkpoints/{id}/promote",
    "/projects/{slug}/pause": "POST /projects/{slug}/pause",
    "/projects/{slug}/resume": "POST /projects/{slug}/resume",
    "/webhooks": "POST /webhooks",
    "/webhooks/{id}/removal": "DELETE /webhooks/{id}",
    "/webhooks/{id}/secret": "POST /webhooks/{id}/secret",
    "/webhooks/{id}/test": "POST /webhooks/{id}/test",
    "/projects/{slug}/feedback/{id}/acceptance": "POST /projects/{slug}/feedback/{id}/accept",
    "/projects/{slug}/feedback/{id}/refusal": "POST /projects/{slug}/feedback/{id}/refuse",
    "/v1/chat/completions": "POST /projects/{slug}/generate",
    "/tasks/{id}/label": "POST /tasks/{id}/label",
    "/tasks/{id}/renew": "POST /tasks/{id}/renew",
    "/tasks/{id}/skip": "POST /tasks/{id}/skip",
    "/tasks/{id}/withdraw": "POST /tasks/{id}/withdraw",
}
# What only a person in a browser does.
PERSONAL = {
    "/v1/feedback": "a call of its own, beside those that OpenAI's clients make",
    "/sign-in": "a key needs no sign-in",
    "/sign-in/code": "a key needs no sign-in",
    "/sign-out": "a key has no session",
    "/account/second-factor": "shows who is at a browser; a key has none",
    "/account/second-factor/confirmation": "likewise",
    "/account/second-factor/codes": "likewise",
    "/account/second-factor/removal": "likewise",
    "/language": "of the pages",
    "/csp-reports": "browsers send them by themselves",
    "/account/password": "takes the current password, which a program should not hold",
    "/account/sessions/revocation": "of browsers",
    "/invitations/{token}": "the link itself is the permission, and its person chooses a password",
    "/password/{token}": "likewise",
    "/projects/{slug}/settings/preview": "shows a form's draft and stores nothing",
}


def forms() -> list[str]:
    return sorted(path for method, path in RULES if method == "POST" and not path.startswith(V1))


@pytest.mark.parametrize("path", forms())
def test_every_form_has_a_call_or_a_reason(path: str) -> None:
    assert (path in TWINS) != (path in PERSONAL), "write the call that does it, or why a key cannot"
    if path in TWINS:
        method, _, below = TWINS[path].partition(" ")
        assert (method, V1 + below) in RULES


def test_no_line_is_left_of_a_form_that_is_gone() -> None:
    assert set(TWINS) | set(PERSONAL) <= set(forms())
