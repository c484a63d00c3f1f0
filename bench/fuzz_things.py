"""What made-up calls are about: ids that exist, and now and then a body that fits.

A call that schemathesis made up keeps most of what it made up; the ids of its path become those of things that are there, and
every second time its body and query become such as could be accepted. What a reply tells of is remembered for later calls.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from typing import Any, Final

from app.web.permissions import V1
from bench.fuzz_house import SCHOOL
from bench.stage import SLUG, verdict

NOWHERE: Final = 10**9  # an id that nothing has
AS_MADE_UP: Final = 0.1  # of the ids that may be anything
FITTING: Final = 0.5  # of the bodies
MODELS_OPENED: Final = 4  # by made-up calls: each opens a model, which takes seconds

ARCHIVE: Final = "POST /projects/{slug}/archive"
RESTORE: Final = "POST /projects/{slug}/restore"
DELETE: Final = "DELETE /projects/{slug}"

# What the `id` of a path is. The first that fits counts.
NOUNS: Final[tuple[tuple[str, str], ...]] = (
    (r"POST /rounds/\{id\}/cancel", "live round"),
    (r"POST /rounds/\{id\}/reject", "waiting round"),
    (r"POST /runs/\{id\}/cancel", "live run"),
    (r"POST /runs/\{id\}/retry", "failed run"),
    (r"POST /checkpoints/\{id\}/promote", "candidate"),
    (r"POST /evaluations/\{id\}/cancel", "live evaluation"),
    (r"GET /checkpoints/\{id\}/files", "kept"),
    (r"GET /checkpoints/\{id\}/export", "exported"),
    (r"POST /users/\{id\}/keys", "program"),
    (r"PUT /prompts/\{id\}", "unanswered"),
    (r"POST /tasks/\{id\}/withdraw", "judged"),
    (r"POST /prompts/\{id\}/(accept|refuse)", "proposed"),
    (r"\w+ /projects/\{slug\}/feedback/\{id\}", "feedback"),
    (r"\w+ /projects/\{slug\}/contenders/\{id\}", "stranger"),
    (r"\w+ /chats/\{id\}", "chat"),
    (r"POST /projects/\{slug\}/people/\{id\}/admission", "pupil"),
    (r"POST /projects/\{slug\}/practice/\{id\}", "met"),
    (r"\w+ /projects/\{slug\}/practice-tasks/\{id\}", "practice task"),
    (r"\w+ /projects/\{slug\}/people/\{id\}", "person"),
    (r"\w+ /projects/\{slug\}/annotators/\{id\}", "person"),
    (r"\w+ /projects/\{slug\}/gold/\{id\}", "known answer"),
    (r"\w+ /projects/\{slug\}/disputes/\{id\}", "dispute"),
    (r"\w+ /projects/\{slug\}/doubts/\{id\}", "doubt"),
    (r"\w+ /projects/\{slug\}/invitations/\{id\}", "invitation"),
    (r"\w+ /users/\{id\}", "leaver"),
    (r"\w+ /webhooks/\{id\}", "webhook"),
    (r"\w+ /keys/\{id\}", "key"),
    (r"\w+ /tasks/\{id\}", "held"),
    (r"\w+ /labels/\{id\}", "label"),
    (r"\w+ /prompts/\{id\}", "prompt"),
    (r"\w+ /rounds/\{id\}", "round"),
    (r"\w+ /evaluations/\{id\}", "evaluation"),
    (r"\w+ /outside-models/\{id\}", "outside model"),
    (r"\w+ /runs/\{id\}", "run"),
    (r"\w+ /checkpoints/\{id\}", "checkpoint"),
)
APART: Final = frozenset({"leaver", "person", "key", "program"})  # others would be the callers' own
OWN: Final = frozenset({"held", "judged", "met", "label", "chat"})  # of one caller

# What the things in a reply are.
TELLS: Final[dict[str, str]] = {
    "POST /users": "program",
    "POST /users/{id}/keys": "key",
    "POST /webhooks": "webhook",
    "POST /projects/{slug}/invitations": "invitation",
    "GET /projects/{slug}/invitations": "invitation",
    "POST /projects/{slug}/practice-tasks": "practice task",
    "POST /projects/{slug}/tasks/next": "held",
    "POST /projects/{slug}/practice/next": "met",
    "POST /tasks/{id}/label": "label",
    "GET /projects/{slug}/labels": "label",
    "GET /projects/{slug}/prompts": "prompt",
    "POST /projects/{slug}/chats": "chat",
    "GET /projects/{slug}/chats": "chat",
    "POST /outside-models": "outside model",
    "GET /outside-models": "outside model",
    "POST /projects/{slug}/rounds": "live round",
    "GET /projects/{slug}/rounds": "round",
    "POST /projects/{slug}/evaluations": "live evaluation",
    "POST /projects/{slug}/runs": "live run",
    "GET /projects/{slug}/runs": "run",
    "GET /projects/{slug}/checkpoints": "checkpoint",
    "POST /projects/{slug}/gold": "known answer",
    "GET /projects/{slug}/gold": "known answer",
    "GET /projects/{slug}/disputes": "dispute",
    "GET /projects/{slug}/doubts": "doubt",
}
# Of the caller's own, what is over after a call that succeeded.
USES_UP: Final = {"POST /tasks/{id}/skip", "POST /tasks/{id}/return", "POST /tasks/{id}/label"} | {
    "POST /projects/{slug}/practice/{id}/verdict"
}
# What has to be done before, where a caller has none of its own.
FIRST: Final = {
    "held": "POST /projects/{slug}/tasks/next",
    "judged": "POST /tasks/{id}/label",
    "label": "POST /tasks/{id}/label",
    "met": "POST /projects/{slug}/practice/next",
    "chat": "POST /projects/{slug}/chats",
    "invitation": "POST /projects/{slug}/invitations",
    "key": "POST /users/{id}/keys",
    "webhook": "POST /webhooks",
}


def short(label: str) -> str:
    """An operation's name without the API's prefix."""
    return label.replace(V1, "", 1)


def noun_of(label: str) -> str | None:
    """What the `id` in the operation's path is."""
    return next((noun for pattern, noun in NOUNS if re.match(pattern, label)), None)


class Things:
    """What there is, for one caller after the other."""

    def __init__(self, things: dict[str, list[Any]], seed: int) -> None:
        self._things = {name: list(found) for name, found in things.items()} | {"archived": []}
        self._draw = random.Random(seed)
        self._count = 0
        self._models_opened = 0
        self.model = ""  # a base model that opens

    def begin(self, own_id: int) -> None:
        """Another caller: what is in hand is theirs alone."""
        for noun in OWN:
            self._things[noun] = []
        self._things["program"] = [own_id, *self._things.get("programs made", [])]

    def lacks(self, label: str) -> str | None:
        """The operation that must come first for this one to be about anything; None where there is something."""
        if label == RESTORE:
            return None if self._things["archived"] else ARCHIVE
        noun = noun_of(label)
        return FIRST.get(noun) if noun and not self._things.get(noun) else None

    # Into a call

    def aim(self, case: Any, *, fitting: bool | None = None) -> None:
        """Bend the call towards what there is. `fitting`: whether body and query shall fit; None: every second time."""
        label = short(case.operation.label)
        fit = self._draw.random() < FITTING if fitting is None else fitting
        self._count += 1
        thing: Any = None
        if (noun := noun_of(label)) is not None and "id" in case.operation.path:
            known = self._things.get(noun)
            if known and (fit or noun in APART or self._draw.random() > AS_MADE_UP):
                thing = self._draw.choice(known[-5:] if self._draw.random() < 0.5 else known)
                case.path_parameters["id"] = thing["id"] if isinstance(thing, dict) else thing
            elif noun in APART or fit:
                case.path_parameters["id"] = NOWHERE
        if "{slug}" in case.operation.path:
            case.path_parameters["slug"] = self._slug(label, fit)
        if "{name}" in case.operation.path and fit:
            case.path_parameters["name"] = f"notes-{self._count}.txt" if "/texts/" in label else "manifest.json"
        if fit:
            case.query = dict(QUERIES.get(label, {}))
            self._fit_body(case, label, thing)
        if label in ("POST /projects", "PATCH /projects/{slug}"):
            self._spare_models(case)

    def _slug(self, label: str, fit: bool) -> str:
        if label == RESTORE and self._things["archived"]:
            return self._one_of("archived")
        if label in (ARCHIVE, RESTORE, DELETE) or (label.startswith("PATCH") and not fit):
            return self._one_of("doomed")
        if "/practice" in label or "/admission" in label:
            return SCHOOL
        if label.endswith(("/{slug}/rounds", "/next-round")):
            return self._one_of("learning")
        everywhere = [*self._things["doomed"], *self._things["learning"], SCHOOL]
        return SLUG if fit or self._draw.random() > AS_MADE_UP else str(self._draw.choice(everywhere))

    def _one_of(self, noun: str) -> str:
        return str(self._draw.choice(self._things[noun]))

    def _fit_body(self, case: Any, label: str, thing: Any) -> None:
        body = self._body(label, thing, case.path_parameters.get("slug", ""))
        if body is not None:
            case.body = body
            case.media_type = "text/plain" if isinstance(body, str) else "application/json"

    def _body(self, label: str, thing: Any, slug: str) -> Any:
        if label in BODIES:
            return BODIES[label](self._count)
        if label == DELETE:
            return {"name": slug.title()}
        match label:
            case "POST /tasks/{id}/label":
                return verdict(thing) if thing else None
            case "POST /tasks/{id}/return":
                return {"lease_until": thing["lease_until"]} if thing else None
            case "POST /projects":
                return {"name": f"Made-{self._count}", "base_model": self.model}
            case "POST /projects/{slug}/prompts/archive":
                return {"ids": self._things["prompt"][:3]}
            case "POST /projects/{slug}/runs":
                return {"kind": "sample", "config": {"checkpoint": self._things["policy"][0], "split": "train"}}
        return None

    def _spare_models(self, case: Any) -> None:
        if isinstance(case.body, dict) and case.body.get("base_model"):
            self._models_opened += 1
            if self._models_opened > MODELS_OPENED:
                case.body = {**case.body, "base_model": ""}

    # Out of a reply

    def learn(self, case: Any, response: Any) -> None:
        """What the reply tells of."""
        label = short(case.operation.label)
        if not 200 <= response.status_code < 300:
            return
        number = case.path_parameters.get("id")
        if label == "POST /tasks/{id}/label":
            self._things["judged"].append(number)
        if label in USES_UP:
            used = noun_of(label) or ""
            self._things[used] = [one for one in self._things[used] if one["id"] != number]
        if label == "POST /projects" and response.status_code == 201:
            self._things["doomed"].append(response.json()["slug"])
        self._learn_ends(label, case.path_parameters.get("slug", ""))
        noun = TELLS.get(label)
        if noun is None or response.status_code == 204:
            return
        found = response.json()
        whole = noun in ("held", "met")  # a verdict depends on what was asked
        for item in found.get("items", [found]):
            known = self._things.setdefault("programs made" if noun == "program" else noun, [])
            told = item if whole else item["id"]
            if told not in known:
                known.append(told)
            if noun == "program":
                self._things["program"].append(told)

    def _learn_ends(self, label: str, slug: str) -> None:
        archived, doomed = self._things["archived"], self._things["doomed"]
        if label == ARCHIVE and slug not in archived:
            archived.append(slug)
        if label in (RESTORE, DELETE) and slug in archived:
            archived.remove(slug)
        if label == DELETE and slug in doomed and len(doomed) > 1:
            doomed.remove(slug)


QUERIES: Final[dict[str, dict[str, Any]]] = {"GET /projects/{slug}/guidelines/changes": {"since": 1}}

_PRACTICE: Final = {
    "kind": "comparison",
    "messages": [{"role": "user", "content": "Which?"}],
    "left": "This one.",
    "right": "That one.",
    "choice": "left",
    "explanation": "It is *this* one.",
}

# Bodies that fit, each from the number of the call.
BODIES: Final[dict[str, Callable[[int], Any]]] = {
    "POST /projects/{slug}/tasks/next": lambda number: {},
    "POST /tasks/{id}/skip": lambda number: {"reason": "Not mine."},
    "POST /tasks/{id}/withdraw": lambda number: {"client_id": str(uuid.uuid4())},
    "POST /projects/{slug}/chats": lambda number: {"client_id": str(uuid.uuid4())},
    "POST /chats/{id}/turns": lambda number: {"client_id": str(uuid.uuid4()), "text": f"Hello? {number}"},
    "POST /chats/{id}/choice": lambda number: {"client_id": str(uuid.uuid4()), "turn": 1, "choice": "left"},
    "POST /projects/{slug}/guidelines/seen": lambda number: {"version": 1},
    "POST /projects/{slug}/practice/{id}/verdict": lambda number: {"choice": "left"},
    "POST /projects/{slug}/practice-tasks": lambda number: _PRACTICE,
    "PUT /projects/{slug}/practice-tasks/{id}": lambda number: _PRACTICE,
    "POST /users": lambda number: {"name": "Program", "email": f"program{number}@example.org", "projects": [SLUG]},
    "PATCH /users/me": lambda number: {"name": f"Caller {number}"},
    "POST /users/{id}/keys": lambda number: {"scopes": ["annotate"], "expires_in_days": 1},
    "PUT /projects/{slug}/annotators/{id}/exclusion": lambda number: {"reason": "Guessed."},
    "POST /projects/{slug}/gold": lambda number: {"task_id": number, "choice": "first"},
    "POST /projects/{slug}/disputes/{id}/settlement": lambda number: {"client_id": str(uuid.uuid4()), "choice": "left"},
    "POST /projects/{slug}/disputes/{id}/doubts": lambda number: {"label_id": number, "comment": "Did you see the date?"},
    "POST /projects/{slug}/doubts/{id}/answer": lambda number: {"answer": "I did."},
    "PUT /projects/{slug}/people/{id}/role": lambda number: {"role": "annotator"},
    "POST /projects/{slug}/invitations": lambda number: {"role": "annotator"},
    "PATCH /projects/{slug}": lambda number: {"guidelines": f"Prefer what helps, for the {number}th time."},
    "PATCH /installation": lambda number: {"admins_need_second_factor": False},
    "POST /projects/{slug}/prompts": lambda number: {"items": [{"text": f"What is made up, and why? {number}"}]},
    "PUT /prompts/{id}": lambda number: {"messages": [{"role": "user", "content": f"Say it again, {number}."}]},
    "POST /projects/{slug}/rounds": lambda number: {"config": {"reward": {"min_labels": 1}}},
    "POST /rounds/{id}/reject": lambda number: {"reason": "No better."},
    "POST /checkpoints/{id}/promote": lambda number: {"confirm": True},
    "PUT /projects/{slug}/texts/{name}": lambda number: "A text to train on.\n",
}
