"""Made-up calls of the whole API as every kind of caller: each operation by itself, then stories of which each step follows.

    python bench/fuzz.py [--calls 5000] [--seed 0]

The callers take turns at one server: an owner, an admin, a reviewer, an annotator, somebody whose key has expired. First each
calls every operation, until it succeeds where the table of rules lets them, and with what schemathesis makes up. Then the
stories are schemathesis' state machine. Ids are those of things that are there (`fuzz_things.py`); what a call uses up lies
apart from the callers (`fuzz_house.py`). A reply must be one that the API's description declares. The last line on stdout is
one JSON object; where its `broken` names anything, the bench ends with 1.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.web.permissions import RULES, Level
from bench.fuzz_house import SCOPES, furnish
from bench.fuzz_things import Things, short
from bench.stage import fill, say, serving
from tests.tiny import make_simple_lm

STEPS: Final = 20  # of one story
STORIES: Final = 10  # in a row, before the dice are thrown anew
TRIES: Final = 5  # of an operation, until it succeeds
MADE_UP: Final = 3  # calls of each operation, beside the stories
TRUTHS: Final = [status_code_conformance, content_type_conformance, response_schema_conformance]
MOST_GROWTH_MIB: Final = 100.0
# Of what the table of rules lets a caller do, what must have succeeded.
LEAST_SUCCEEDED: Final = {"owner": 86, "admin": 77, "reviewer": 35, "annotator": 21}
LEAST_CALLS: Final = 0.95  # of those asked for
ROLES: Final = {"owner": Level.OWNER, "admin": Level.ANY_ADMIN, "reviewer": Level.REVIEWER, "annotator": Level.ANNOTATOR}

bounded = settings(
    deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), stateful_step_count=STEPS
)


def may(kind: str, method: str, path: str) -> bool:
    """Whether the table of rules lets this caller do it, in a project they belong to."""
    rule = RULES[method, path]
    if rule.level == Level.PUBLIC:
        return True
    scopes = SCOPES[kind]
    return kind in ROLES and rule.level <= ROLES[kind] and (rule.scope is None or rule.scope in scopes or "admin" in scopes)


@dataclass
class Heard:
    """What the server answered one caller."""

    kind: str
    replies: dict[str, Counter[int]] = field(default_factory=dict)  # by operation
    errors: list[str] = field(default_factory=list)
    undeclared: set[str] = field(default_factory=set)
    let_in: set[str] = field(default_factory=set)
    longest_s: float = 0.0

    @property
    def calls(self) -> int:
        return sum(self.statuses().values())

    def statuses(self) -> Counter[int]:
        return sum(self.replies.values(), Counter())

    def succeeded(self) -> set[str]:
        return {label for label, statuses in self.replies.items() if min(statuses) < 300}

    def note(self, response: Any, case: Any) -> None:
        label, status = short(case.operation.label), response.status_code
        self.replies.setdefault(label, Counter())[status] += 1
        self.longest_s = max(self.longest_s, response.elapsed)
        if status >= 500:
            self.errors.append(f"{status} {case.as_curl_command()[:500]}")
        if status < 300 and not may(self.kind, case.operation.method.upper(), case.operation.path):
            self.let_in.add(label)
        try:
            case.validate_response(response, checks=TRUTHS)
        except schemathesis.errors.FailureGroup as group:
            self.undeclared |= {f"{label} {status}: {' '.join(str(one).split())[:300]}" for one in group.exceptions}


class Caller:
    """One who calls, and what they heard."""

    def __init__(self, kind: str, key: str, things: Things) -> None:
        self.heard = Heard(kind)
        self.things = things
        self.headers = {"authorization": f"Bearer {key}"}

    def call(self, case: Any) -> Any:
        response = case.call(headers=self.headers, timeout=60)
        self.hear(response, case)
        return response

    def hear(self, response: Any, case: Any) -> None:
        self.heard.note(response, case)
        self.things.learn(case, response)

    def fitting(self, operations: dict[str, Any], label: str) -> Any:
        """Call it with what fits, after what it takes; the reply."""
        first = self.things.lacks(label)
        if first is not None:
            self.fitting(operations, first)
        case = operations[label].Case()
        self.things.aim(case, fitting=True)
        return self.call(case)

    def visit(self, operations: dict[str, Any], number: int) -> None:
        """Every operation: with what fits until it succeeds, then as made up."""
        for label, operation in operations.items():
            allowed = may(self.heard.kind, operation.method.upper(), operation.path)
            for _ in range(TRIES if allowed else 1):
                reply = self.fitting(operations, label)
                if reply.status_code < 300:
                    break
            else:
                if allowed:
                    say(f"  {self.heard.kind}: {label} was answered {reply.status_code} {reply.text[:300]}")

            @seed(number)
            @settings(bounded, max_examples=MADE_UP if allowed else 1)
            @given(case=operation.as_strategy())
            def once(case: Any) -> None:
                self.things.aim(case)
                self.call(case)

            once()

    def tell_stories(self, schema: Any, calls: int, number: int) -> None:
        """So many calls at least, in stories."""
        caller = self

        class Story(schema.as_state_machine()):  # type: ignore[misc]
            def get_call_kwargs(self, case: Any) -> dict[str, Any]:
                return {"headers": caller.headers, "timeout": 60}

            def before_call(self, case: Any) -> None:
                caller.things.aim(case)

            def validate_response(self, response: Any, case: Any, **_more: Any) -> None:
                caller.hear(response, case)

        wanted = self.heard.calls + calls
        while self.heard.calls < wanted:
            before = self.heard.calls
            with suppress(Flaky):  # the server remembers: a story that begins like an earlier one may find another house
                seed(number)(Story).run(settings=settings(bounded, max_examples=STORIES))
            number += 1000
            if self.heard.calls == before:
                raise SystemExit("the stories made no call")


def figures(heard: dict[str, Heard], operations: dict[str, Any]) -> dict[str, Any]:
    """What was called, what succeeded of what each may, and every kind of reply."""
    by_class: Counter[str] = Counter()
    for one in heard.values():
        for status, count in one.statuses().items():
            by_class[f"{status // 100}xx"] += count
    within = {kind: {label for label, one in operations.items() if may(kind, one.method.upper(), one.path)} for kind in ROLES}
    return {
        "calls": sum(one.calls for one in heard.values()),
        "operations": len(operations),
        "called": len(set().union(*(one.replies for one in heard.values()))),
        "succeeded": len(set().union(*(one.succeeded() for one in heard.values()))),
        "by_class": dict(sorted(by_class.items())),
        "statuses": {kind: dict(sorted(one.statuses().items())) for kind, one in heard.items()},
        "succeeded_by_caller": {kind: f"{len(heard[kind].succeeded() & within[kind])} of {len(within[kind])}" for kind in within},
        "never_succeeded": {kind: sorted(within[kind] - heard[kind].succeeded()) for kind in within},
        "longest_s": round(max(one.longest_s for one in heard.values()), 2),
        "server_errors": [error for one in heard.values() for error in one.errors],
        "undeclared": sorted(set().union(*(one.undeclared for one in heard.values()))),
        "let_in": sorted(f"{kind}: {label}" for kind, one in heard.items() for label in one.let_in),
    }


def broken(heard: dict[str, Heard], operations: dict[str, Any], calls: int) -> list[str]:
    """Which limits do not hold."""
    found = figures(heard, operations)
    wrong = [f"{len(found[name])} {name}" for name in ("server_errors", "undeclared", "let_in") if found[name]]
    if found["calls"] < LEAST_CALLS * calls:
        wrong.append(f"{found['calls']} calls of {calls}")
    for kind, one in heard.items():
        if missing := operations.keys() - one.replies.keys():
            wrong.append(f"{kind} never called {len(missing)} operations")
        least = LEAST_SUCCEEDED.get(kind, 0)
        if len(one.succeeded()) < least:
            wrong.append(f"{len(one.succeeded())} operations succeeded for {kind}, fewer than {least}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"  # a model that was made up is looked for nowhere
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        data = Path(folder) / "data"
        fill(data, tasks=2000, annotators=1)
        people, found = furnish(data)
        things = Things(found, asked.seed)
        things.model = str(make_simple_lm(Path(folder) / "model", epochs=1))
        with serving(data) as server:
            headers = {"authorization": f"Bearer {people.keys['owner']}"}
            schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json", headers=headers)
            operations = {short(one.ok().label): one.ok() for one in schema.get_all_operations()}
            callers = {kind: Caller(kind, key, things) for kind, key in people.keys.items()}
            before_mib = server.peak_rss_mib()
            for number, (kind, caller) in enumerate(callers.items()):
                things.begin(people.ids[kind])
                caller.visit(operations, asked.seed + number)
                say(f"{kind}: {caller.heard.calls} calls, {dict(sorted(caller.heard.statuses().items()))}")
            left = asked.calls - sum(caller.heard.calls for caller in callers.values())
            for number, (kind, caller) in enumerate(callers.items()):
                things.begin(people.ids[kind])
                if left > 0:
                    caller.tell_stories(schema, left // len(callers), asked.seed + number)
                say(f"{kind}: {caller.heard.calls} calls, {dict(sorted(caller.heard.statuses().items()))}")
            after_mib = server.peak_rss_mib()
    heard = {kind: caller.heard for kind, caller in callers.items()}
    wrong = broken(heard, operations, asked.calls)
    if (after_mib or 0) - (before_mib or 0) > MOST_GROWTH_MIB:
        wrong.append("the server grew")
    told = figures(heard, operations) | {"server_mib": [before_mib, after_mib], "wall_s": round(time.monotonic() - began, 1)}
    print(json.dumps({"bench": "fuzz", **told, "broken": wrong}), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
