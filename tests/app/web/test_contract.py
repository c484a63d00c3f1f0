"""Every call of the API with input made up from its own description: whatever comes in, the server does not fail.

Ids are bent towards rows that exist, so that calls get past "not found".
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.database.engine import write_session
from app.main import create_app
from app.settings import Settings
from app.web.permissions import RULES, V1
from tests.app import factories

EXAMPLES = 8  # a call and caller; the whole file takes about a minute

CALLS = sorted(route for route in RULES if route[1].startswith(V1) and not route[1].endswith("/openapi.json"))


def does_not_fail(context: Any, response: Any, case: Any) -> Any:
    """Nor does it where nobody keeps a model open, as no worker runs here: that is said with 503, as described."""
    rule = RULES[case.method.upper(), case.operation.path]
    if rule.scope == "generate" and response.status_code == 503:
        return None
    return not_a_server_error(context, response, case)


TRUTHS = [does_not_fail, status_code_conformance, content_type_conformance, response_schema_conformance]

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[tuple[FastAPI, dict[str, str]]]:
    """The application on rows to work with, and a key per caller."""
    folder = tmp_path_factory.mktemp("contract")
    shutil.copy(empty_database, folder / "tastemaker.db")
    app = create_app(Settings(data=folder))
    with write_session(app.state.engine) as session:
        ada, mary = factories.make_user(session, "Ada", owner=True), factories.make_user(session, "Mary")
        demo = factories.make_project(session, "demo")
        factories.make_membership(session, mary.id, demo.id, "annotator")
        for kind in ("comparison", "rating", "comparison"):
            factories.make_task(session, demo, kind)
        keys = {
            "owner": factories.make_key(session, ada.id, "admin"),
            "annotator": factories.make_key(session, mary.id, "annotate"),
        }
    yield app, keys
    app.state.engine.dispose()


@pytest.fixture(scope="module")
def schema(served: tuple[FastAPI, dict[str, str]]) -> Any:
    app, _ = served
    return schemathesis.openapi.from_asgi(V1 + "/openapi.json", app, headers={"host": "localhost"})


@pytest.mark.parametrize(("method", "path"), CALLS, ids=[" ".join(call) for call in CALLS])
def test_no_call_makes_the_server_fail(served: tuple[FastAPI, dict[str, str]], schema: Any, method: str, path: str) -> None:
    @given(case=schema[path][method].as_strategy())
    @bounded
    def call(case: Any) -> None:
        _aim(case)
        for key in served[1].values():
            headers = {"host": "localhost", "authorization": f"Bearer {key}"}
            reply = case.call_and_validate(headers=headers, checks=TRUTHS, timeout=60)
            assert reply.status_code != 401, "the key no longer works, so nothing is tried"

    call()


def _aim(case: Any) -> None:
    if "slug" in case.path_parameters:
        case.path_parameters["slug"] = "demo"
    number = case.path_parameters.get("id")
    if isinstance(number, int):  # of keys, and of people who are put out, only such as nobody calls with
        spared = "/keys/" in case.path or case.path.endswith("/deactivate")  # whoever calls goes on calling
        case.path_parameters["id"] = 1 + number % 3 + (100 if spared else 0)
