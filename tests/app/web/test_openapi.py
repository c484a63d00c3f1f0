"""The API's description: valid, complete, and good enough that a client made from it works."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType
from openapi_python_client.parser.errors import ErrorLevel
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

from app.web.openapi import PROBLEM_JSON, operations
from app.web.permissions import RULES, V1, Level


@pytest.fixture(scope="module")
def description(built_app: FastAPI) -> dict[str, Any]:
    return built_app.openapi()


def test_the_description_is_valid_openapi(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(description).iter_errors()] == []


def test_every_call_is_described_once_under_a_name_of_its_own(description: dict[str, Any]) -> None:
    described = [(method, path) for method, path, _ in operations(description)]
    assert sorted(described) == sorted(route for route in RULES if route[1].startswith(V1) and "openapi" not in route[1])
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(set(names)) == len(names)


def test_a_call_asks_for_what_its_rule_asks(description: dict[str, Any]) -> None:
    assert description["components"]["securitySchemes"].keys() == {"key", "session", "form_token"}
    for method, path, operation in operations(description):
        rule = RULES[method, path]
        if rule.level == Level.PUBLIC:
            assert operation["security"] == []
            continue
        key, session = operation["security"]
        assert key == {"key": [rule.scope] if rule.scope else []}
        assert set(session) == ({"session"} if method == "GET" else {"session", "form_token"})
        assert rule.scope is None or f"scope `{rule.scope}`" in operation["description"]


def test_every_refusal_is_declared_as_the_problem_it_is(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        refused = {status: reply for status, reply in operation["responses"].items() if int(status) >= 400}
        assert {"429", "503"} <= set(refused)
        assert all("Retry-After" in refused[status]["headers"] for status in ("429", "503"))
        assert RULES[method, path].level == Level.PUBLIC or {"401", "403"} <= set(refused), path
        assert "{" not in path or {"404", "422"} <= set(refused), path
        assert "requestBody" not in operation or "422" in refused
        assert all(list(reply["content"]) == [PROBLEM_JSON] for reply in refused.values()), path
    assert "HTTPValidationError" not in str(description)


# A client made from it


@pytest.fixture(scope="module")
def made(built_app: FastAPI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Any]]]:
    """The folder of a generated package `our_client`, importable, and what its generator complained of."""
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    with TestClient(built_app, base_url="http://localhost") as visitor:
        document.write_bytes(visitor.get(f"{V1}/openapi.json").content)
    config = Config.from_sources(
        ConfigFile(post_hooks=[]), MetaType.NONE, document, "utf-8", overwrite=False, output_path=folder / "our_client"
    )
    complaints = list(generate(config=config))
    sys.path.insert(0, str(folder))
    yield folder / "our_client", complaints
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "our_client"]:
        del sys.modules[name]


def test_a_generated_client_keeps_every_call(made: tuple[Path, list[Any]], description: dict[str, Any]) -> None:
    package, complaints = made
    calls = [path for path in (package / "api").rglob("*.py") if path.stem != "__init__"]
    assert len(calls) == len(list(operations(description)))
    assert [complaint for complaint in complaints if complaint.level == ErrorLevel.ERROR] == []


def test_a_generated_client_works_and_reads_a_refusal(made: tuple[Path, list[Any]], api: Callable[..., TestClient]) -> None:
    client = importlib.import_module("our_client").AuthenticatedClient("http://localhost", token="")
    client.set_httpx_client(api("admin"))
    shown = importlib.import_module("our_client.api.projects.show_project").sync(slug="demo", client=client)
    assert (shown.slug, shown.name) == ("demo", "Demo")
    nowhere = importlib.import_module("our_client.api.projects.show_project").sync(slug="nowhere", client=client)
    assert (type(nowhere).__name__, nowhere.status) == ("Problem", 404)
    nameless = importlib.import_module("our_client.models").PersonIn(name="Bot", email="x")
    refused = importlib.import_module("our_client.api.accounts.create_user").sync(client=client, body=nameless)
    assert (type(refused).__name__, refused.status) == ("Problem", 422)
    assert [error.field for error in refused.errors] == ["email"]
