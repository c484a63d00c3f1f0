"""What the made-up calls are about, and which limits of theirs are said to be broken."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from app.web.permissions import RULES, V1
from bench.fuzz import LEAST_SUCCEEDED, ROLES, Heard, broken, figures, may
from bench.fuzz_house import SCOPES
from bench.fuzz_things import BODIES, FIRST, NOUNS, QUERIES, TELLS, USES_UP, noun_of, short

CALLS = {f"{method} {path}": (method, path) for method, path in RULES if path.startswith(V1) and "openapi" not in path}
SHORT = {short(label) for label in CALLS}


class Operation:
    def __init__(self, label: str) -> None:
        self.method, self.path = CALLS[label]


OPERATIONS: dict[str, Any] = {short(label): Operation(label) for label in CALLS}


def a_good_run() -> dict[str, Heard]:
    def answered(kind: str, label: str) -> Counter[int]:
        operation = OPERATIONS[label]
        return Counter({200 if may(kind, operation.method, operation.path) else 403: 12})

    return {kind: Heard(kind, {label: answered(kind, label) for label in OPERATIONS}) for kind in SCOPES}


def test_every_id_of_a_path_is_that_of_something() -> None:
    assert [label for label in SHORT if "{id}" in label and noun_of(label) is None] == []


def test_no_line_of_what_is_known_is_about_a_call_that_is_gone() -> None:
    assert {*BODIES, *QUERIES, *TELLS, *USES_UP, *FIRST.values()} - SHORT == set()
    assert [pattern for pattern, _ in NOUNS if not any(re.match(pattern, label) for label in SHORT)] == []


def test_who_may_what_is_the_table_of_rules() -> None:
    assert all(may("owner", method, path) for method, path in CALLS.values())
    assert may("admin", "GET", f"{V1}/users")
    assert not may("admin", "GET", f"{V1}/installation")
    assert may("reviewer", "GET", f"{V1}/runs/{{id}}")
    assert not may("reviewer", "GET", f"{V1}/keys"), "its key lacks the scope"
    assert not may("annotator", "GET", f"{V1}/runs/{{id}}")
    assert [label for label, call in CALLS.items() if may("expired", *call)] == [
        f"GET {V1}/health",
        f"GET {V1}/health/live",
    ]


def test_a_run_without_a_fault_breaks_no_limit_and_the_limits_can_be_met() -> None:
    heard = a_good_run()
    assert broken(heard, OPERATIONS, 4000) == []
    assert figures(heard, OPERATIONS)["called"] == len(OPERATIONS)
    assert all(least <= len(heard[kind].succeeded()) for kind, least in LEAST_SUCCEEDED.items())
    assert LEAST_SUCCEEDED.keys() == ROLES.keys()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("errors", ["500 curl"], "1 server_errors"),
        ("undeclared", {"GET /keys 418"}, "1 undeclared"),
        ("let_in", {"GET /keys"}, "1 let_in"),
        ("replies", {"GET /health": Counter({200: 1000})}, "annotator never called"),
    ],
)
def test_each_limit_says_so(name: str, value: Any, words: str) -> None:
    heard = a_good_run()
    setattr(heard["annotator"], name, value)
    assert words in " ".join(broken(heard, OPERATIONS, 4000))


def test_too_few_calls_and_too_few_that_succeeded_are_said() -> None:
    heard = a_good_run()
    assert "calls of 40000" in broken(heard, OPERATIONS, 40_000)[0]
    least = LEAST_SUCCEEDED["owner"]
    for label in sorted(heard["owner"].replies)[least - 1 :]:
        heard["owner"].replies[label] = Counter({404: 12})
    assert f"{least - 1} operations succeeded for owner, fewer than {least}" in broken(heard, OPERATIONS, 4000)
