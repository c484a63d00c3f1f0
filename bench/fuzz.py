"""Made-up calls of the whole API, each a step of a story that follows from the one before, as every kind of caller.

    python bench/fuzz.py [--calls 5000] [--seed 0]

The stories are schemathesis' state machine: what a call made (a prompt, an invitation, a run) is what later calls are about.
The callers take turns at one server: an owner, an admin, a reviewer, an annotator, somebody whose key has expired. Calls that
would end a caller's own key are left out. The last line on stdout is one JSON object; `server_errors` should be empty.
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
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from sqlalchemy import select

from app.database.engine import make_engine, write_session
from app.models import ApiKey, Membership, Project, User, utc_now
from app.web.security import digest, format_key, new_secret
from bench.stage import SLUG, fill, say, serving

STEPS: Final = 20  # of one story
LEAST_SUCCEEDED: Final = 0.05  # of a caller's calls; else its key died early, and what was tried is nothing
MOST_GROWTH_MIB: Final = 100.0
SCOPES: Final = {
    "owner": ["admin"],
    "admin": ["admin"],
    "reviewer": ["annotate", "export"],
    "annotator": ["annotate"],
    "expired": ["admin"],
}
# Calls after which one of them could not call any more, or would have nothing to call about.
NEVER: Final = r"/users/\{id\}/(deactivate|ownership|second-factor)$|/keys/\{id\}$|/people/\{id\}(/role)?$"
CHANGES: Final = ["DELETE", "POST", "PUT", "PATCH"]


def make_callers(data: Path) -> dict[str, str]:
    """A person and a key of each kind, in the project that `fill` made."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    keys = {}
    with write_session(engine) as session:
        project = session.scalars(select(Project).where(Project.slug == SLUG)).one()
        for kind, scopes in SCOPES.items():
            user = User(email=f"{kind}@example.org", name=kind.title(), is_owner=kind == "owner")
            session.add(user)
            session.flush()
            if kind != "owner":
                role = "admin" if kind == "expired" else kind
                session.add(Membership(user_id=user.id, project_id=project.id, role=role))
            secret, ends = new_secret(), utc_now() + timedelta(days=-1 if kind == "expired" else 1)
            key = ApiKey(user_id=user.id, secret_hash=digest(secret), scopes=scopes, expires_at=ends)
            session.add(key)
            session.flush()
            keys[kind] = format_key(key.id, secret)
    engine.dispose()
    return keys


class Heard:
    """What the server answered."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.called: set[str] = set()
        self.errors: list[str] = []
        self.longest_s = 0.0

    @property
    def calls(self) -> int:
        return sum(self.statuses.values())

    @property
    def succeeded(self) -> int:
        return sum(count for status, count in self.statuses.items() if status < 300)

    def note(self, response: Any, case: Any) -> None:
        self.statuses[response.status_code] += 1
        self.called.add(case.operation.label)
        self.longest_s = max(self.longest_s, response.elapsed)
        if response.status_code >= 500:
            self.errors.append(f"{response.status_code} {case.as_curl_command()[:500]}")


def tell_stories(schema: Any, key: str, calls: int, number: int) -> Heard:
    """So many calls at least."""
    heard = Heard()

    class Story(schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"authorization": f"Bearer {key}"}, "timeout": 60}

        def before_call(self, case: Any) -> None:
            if "slug" in case.path_parameters:
                case.path_parameters["slug"] = SLUG

        def validate_response(self, response: Any, case: Any, **_more: Any) -> None:
            heard.note(response, case)

    quick = settings(
        max_examples=max(1, calls // (2 * STEPS)),
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    while heard.calls < calls:
        before = heard.calls
        seed(number)(Story).run(settings=quick)
        number += 1000
        if heard.calls == before:
            raise SystemExit("the stories made no call")
    return heard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        data = Path(folder)
        fill(data, tasks=2000, annotators=1)
        keys = make_callers(data)
        with serving(data) as server:
            headers = {"authorization": f"Bearer {keys['owner']}"}
            schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json", headers=headers)
            schema = schema.exclude(path_regex=NEVER, method=CHANGES).exclude(path_regex=r"/projects/\{slug\}$", method="DELETE")
            heard = {}
            before_mib = server.peak_rss_mib()
            for number, (kind, key) in enumerate(keys.items()):
                heard[kind] = tell_stories(schema, key, given.calls // len(keys), given.seed + number)
                say(f"{kind}: {heard[kind].calls} calls, {dict(sorted(heard[kind].statuses.items()))}")
            after_mib = server.peak_rss_mib()
    figures = {
        "calls": sum(one.calls for one in heard.values()),
        "statuses": {kind: dict(sorted(one.statuses.items())) for kind, one in heard.items()},
        "operations": f"{len(set().union(*(one.called for one in heard.values())))} of {len(list(schema.get_all_operations()))}",
        "longest_s": round(max(one.longest_s for one in heard.values()), 2),
        "server_mib": [before_mib, after_mib],
        "server_errors": [error for one in heard.values() for error in one.errors],
        "wall_s": round(time.monotonic() - began, 1),
    }
    print(json.dumps(figures))
    idle = [kind for kind, one in heard.items() if kind != "expired" and one.succeeded < LEAST_SUCCEEDED * one.calls]
    grew = (after_mib or 0) - (before_mib or 0) > MOST_GROWTH_MIB
    let_in = [status for status in heard["expired"].statuses if status != 401]
    for wrong in (*(f"{kind} could do next to nothing" for kind in idle), *(["the server grew"] if grew else [])):
        say(wrong)
    sys.exit(1 if figures["server_errors"] or idle or grew or let_in else 0)


if __name__ == "__main__":
    main()
