"""What an entry of the audit trail says: its action in words, and its details as pairs of words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from app.language.formats import count, listed
from app.language.languages import N_, filled, known

ACTIONS: Final[Mapping[str, str]] = {
    "answers.imported": N_("imported answers"),
    "contender.added": N_("named a contender"),
    "contender.archived": N_("put a contender away"),
    "contender.restored": N_("brought a contender back"),
    "tasks.made": N_("asked about answers"),
    "email.changed": N_("changed their email"),
    "evaluation.alarmed": N_("raised an alarm: the score rose, and people do not agree"),
    "evaluation.started": N_("started an evaluation"),
    "evaluation.cancelled": N_("cancelled an evaluation"),
    "evaluation.undecided": N_("ended an evaluation: no question had all its verdicts"),
    "evaluation.decided": N_("closed an evaluation: people had decided"),
    "feedback.accepted": N_("let feedback from use in"),
    "feedback.refused": N_("left feedback from use out"),
    "gold.added": N_("added a known answer"),
    "gold.retired": N_("put a known answer away"),
    "gold.used_again": N_("used a known answer again"),
    "dispute.settled": N_("settled what people differed on"),
    "verdict.answered": N_("answered what a reviewer asked"),
    "verdict.doubted": N_("sent a verdict back"),
    "labels.excluded": N_("withdrew a person’s labels from training"),
    "labels.included": N_("let a person’s labels train again"),
    "person.assigned": N_("changed a person's languages or skills"),
    "person.paused": N_("paused a person: too many known answers were missed"),
    "person.resumed": N_("let a paused person go on"),
    "invitation.accepted": N_("accepted an invitation"),
    "invitation.made": N_("made an invitation"),
    "invitation.withdrawn": N_("withdrew an invitation"),
    "key.made": N_("made an API key"),
    "key.revoked": N_("revoked an API key"),
    "keys.ended": N_("ended API keys"),
    "member.removed": N_("removed a member"),
    "name.changed": N_("changed their name"),
    "installation.changed": N_("changed what is asked of everybody"),
    "outside_model.archived": N_("took a model outside out of use"),
    "outside_model.registered": N_("registered a model outside"),
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
    "disk.pruned": N_("freed the disk of what nothing refers to"),
    "project.deleted": N_("deleted the project"),
    "project.restored": N_("brought the project back"),
    "prompt.accepted": N_("took a prompt from a talk into use"),
    "prompt.refused": N_("left a prompt from a talk put away"),
    "prompts.archived": N_("put prompts away"),
    "prompts.changed": N_("changed a prompt"),
    "prompts.marked": N_("changed language, tags or skills of prompts"),
    "prompts.imported": N_("imported prompts"),
    "prompts.restored": N_("used prompts again"),
    "recovery_code.used": N_("used a recovery code"),
    "recovery_codes.made": N_("made recovery codes"),
    "role.changed": N_("changed a role"),
    "round.started": N_("started a round"),
    "rounds.paused": N_("paused rounds that start by themselves"),
    "rounds.resumed": N_("let rounds start by themselves again"),
    "run.cancelled": N_("cancelled a run"),
    "run.queued": N_("queued a run"),
    "run.retried": N_("queued a failed run again"),
    "second_factor.off": N_("turned a second factor off"),
    "second_factor.on": N_("turned a second factor on"),
    "session.closed": N_("signed out"),
    "session.opened": N_("signed in"),
    "sessions.closed": N_("signed out everywhere"),
    "sign_in.failed": N_("failed to sign in"),
    "webhook.added": N_("registered a webhook"),
    "webhook.removed": N_("removed a webhook"),
    "webhook.secret_renewed": N_("gave a webhook another secret"),
}

THINGS: Final[Mapping[str, str]] = {
    "policy": N_("Policies"),
    "evaluation": N_("Evaluations"),
    "contender": N_("Contenders"),
    "asked": N_("Asked"),
    "answers": N_("Answers"),
    "tasks": N_("Tasks"),
    "dispute": N_("What people differed on"),
    "verdict": N_("Verdicts sent back"),
    "round": N_("Rounds"),
    "rounds": N_("Pauses"),
    "run": N_("Runs"),
    "project": N_("Settings"),
    "prompts": N_("Prompts"),
    "practice": N_("Practice"),
    "role": N_("Roles"),
    "member": N_("Members"),
    "invitation": N_("Invitations"),
    "password_link": N_("Password links"),
    "webhook": N_("Webhooks"),
}


# What a subject is noted as, before its number.
SUBJECTS: Final[Mapping[str, str]] = {
    "checkpoint": N_("checkpoint %(number)s"),
    "contender": N_("contender %(number)s"),
    "evaluation": N_("evaluation %(number)s"),
    "feedback": N_("feedback %(number)s"),
    "invitation": N_("invitation %(number)s"),
    "key": N_("key %(number)s"),
    "outside model": N_("model outside %(number)s"),
    "practice task": N_("practice task %(number)s"),
    "prompt": N_("prompt %(number)s"),
    "round": N_("round %(number)s"),
    "run": N_("run %(number)s"),
    "task": N_("task %(number)s"),
    "user": N_("user %(number)s"),
    "webhook": N_("webhook %(number)s"),
}

DETAILS: Final[Mapping[str, str]] = {
    "address": N_("Address"),
    "admins_need_second_factor": N_("Admins need a second factor"),
    "against": N_("Against"),
    "as": N_("As run"),
    "browser": N_("Browser"),
    "candidate": N_("Checkpoint"),
    "checkpoints": N_("Checkpoints"),
    "created": N_("Imported"),
    "decision": N_("Decision"),
    "duplicates": N_("There already"),
    "evaluation": N_("Evaluation"),
    "fields": N_("Settings"),
    "from": N_("Before"),
    "judged": N_("Score by the judge, after"),
    "heldout_gain": N_("Gain on held-out prompts"),
    "judged_before": N_("Score by the judge, before"),
    "keys": N_("API keys"),
    "kind": N_("Kind"),
    "labels": N_("Labels"),
    "languages": N_("Languages"),
    "missed": N_("Missed"),
    "model": N_("Model"),
    "name": N_("Name"),
    "projects": N_("Projects"),
    "prompts": N_("Prompts"),
    "reason": N_("Why"),
    "rejected": N_("Left out"),
    "replaced": N_("In place of checkpoint"),
    "role": N_("Role"),
    "round": N_("Round"),
    "scopes": N_("May"),
    "skills": N_("Skills"),
    "score": N_("Score of the reward model, after"),
    "score_before": N_("Score of the reward model, before"),
    "tasks": N_("Tasks"),
    "times": N_("Times"),
    "to": N_("After"),
    "trigger": N_("Started by"),
    "user": N_("Person"),
    "wrong": N_("Wrong"),
}

_ROLES: Final = {"annotator": N_("annotator"), "reviewer": N_("reviewer"), "admin": N_("admin"), "owner": N_("owner")}

# What a detail says, where that is one of our words and nobody's own.
VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "against": {"people": N_("what people said"), "alarm": N_("what people said, and the alarm")},
    "decision": {"promoted": N_("promoted"), "rejected": N_("rejected")},
    "admins_need_second_factor": {"True": N_("On"), "False": N_("Off")},
    "fields": {
        "base_model": N_("Base model"),
        "criteria": N_("Criteria"),
        "evaluation_budget": N_("Verdicts on each candidate"),
        "evaluation_flag_margin": N_("More flags than before, at most"),
        "evaluation_on": N_("Let people judge candidates blind"),
        "evaluation_promotes": N_("Do what people decided without asking"),
        "chat_on": N_("Let annotators talk to the model"),
        "evaluation_share": N_("Share of tasks"),
        "flags": N_("Flags"),
        "gold_pauses": N_("Pause who misses too many"),
        "gold_share": N_("Share of known answers"),
        "guidelines": N_("Guidelines"),
        "hours_budget": N_("Hours of people a month, at most"),
        "keep_days": N_("Keep what nothing refers to"),
        "month_evaluation_labels": N_("Verdicts in evaluations a month, at most"),
        "month_hours": N_("Hours of training a month, at most"),
        "month_labels": N_("Labels a month, at most"),
        "name": N_("Name"),
        "extra_seats": N_("More where people differ"),
        "overlap": N_("Labels per task"),
        "practice_tasks": N_("Practice tasks"),
        "qualifying_score": N_("Right ones needed"),
        "queue_low_mark": N_("Refill below"),
        "rubric": N_("Rubric"),
        "ranking_answers": N_("Answers in a ranking"),
        "ranking_share": N_("Rankings"),
        "rating_share": N_("Ratings"),
        "repeat_share": N_("Share of repeats"),
        "sampling": N_("How answers are written"),
        "span_reasons": N_("Reasons for marks"),
        "text_display": N_("Text of answers"),
        "training": N_("Training the policy"),
        "trigger_hours": N_("After this many hours"),
        "trigger_labels": N_("After this many new labels"),
        "triggers_on": N_("Start rounds without asking"),
    },
    "kind": {
        "sample": N_("Sampling"),
        "ask": N_("Asking a model outside"),
        "reward": N_("Reward model"),
        "preference": N_("Training on labels"),
        "sft": N_("Next-token training"),
    },
    "role": _ROLES,
    "scopes": {"annotate": N_("annotate"), "export": N_("export"), "admin": N_("admin: everything")},
    "trigger": {"admin": N_("a person"), "labels": N_("new labels"), "hours": N_("the clock")},
    "wrong": {"password": N_("Password"), "code": N_("Code")},
}


def action_words(action: str) -> str:
    """An action in the reader's language; one that has no words here, as it was noted."""
    return known(ACTIONS[action]) if action in ACTIONS else action


def person_in(subject: str) -> int | None:
    """Who a subject is, where it is a person."""
    found = re.fullmatch(r"user (\d+)", subject)
    return int(found[1]) if found else None


def subject_words(subject: str, names: Mapping[int, str]) -> str:
    """What it was done to, likewise; a person by their name, where `names` has it."""
    if name := names.get(person_in(subject) or 0):
        return name
    if found := re.fullmatch(r"([a-z ]+) (\d+)", subject):
        return filled(known(SUBJECTS[found[1]]), {"number": found[2]}) if found[1] in SUBJECTS else subject
    if found := re.fullmatch(r"(\d+) prompts", subject):
        return count(int(found[1]), "prompt")
    return subject


def detail_pairs(action: str, details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Details as they were noted, one line each, nothing nested."""
    return [
        (known(DETAILS[name]) if name in DETAILS else name.replace("_", " "), _plain(value, _values(action, name)))
        for name, value in details.items()
        if value not in (None, "", [], {})
    ]


def _values(action: str, name: str) -> Mapping[str, str]:
    return VALUES.get("role" if action == "role.changed" else name, {})


def _plain(value: Any, words: Mapping[str, str]) -> str:
    if isinstance(value, list):
        return listed(_plain(item, words) for item in value)
    if isinstance(value, Mapping):
        return listed(f"{name} {_plain(item, words)}" for name, item in value.items())
    return known(words[str(value)]) if str(value) in words else str(value)
