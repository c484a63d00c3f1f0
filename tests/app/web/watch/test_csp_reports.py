"""Reports of the content security policy: in the log, and nowhere else."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.web.watch import csp_reports
from app.web.watch.csp_reports import MOST_A_MINUTE, MOST_BYTES, Minute

OLD = {"csp-report": {"document-uri": "http://localhost/projects/demo?secret=1", "blocked-uri": "https://evil.example/x.js"}}
NEW = [
    {
        "type": "csp-violation",
        "body": {"documentURL": "http://localhost/labels/3", "effectiveDirective": "script-src", "lineNumber": 7},
    }
]


@pytest.fixture(autouse=True)
def _a_new_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csp_reports, "minute", Minute())


def test_every_reply_says_where_to_report(visitor: TestClient) -> None:
    headers = visitor.get("/sign-in").headers
    assert "report-uri /csp-reports" in headers["content-security-policy"]
    assert "report-to csp" in headers["content-security-policy"]
    assert headers["reporting-endpoints"] == 'csp="/csp-reports"'


@pytest.mark.parametrize(
    ("kind", "report", "logged"),
    [
        ("application/csp-report", OLD, '{"document": "http://localhost/projects/demo", "blocked": "https://evil.example/x.js"}'),
        ("application/reports+json", NEW, '{"document": "http://localhost/labels/3", "directive": "script-src", "line": "7"}'),
    ],
)
def test_a_report_is_one_line_in_the_log(
    visitor: TestClient, caplog: pytest.LogCaptureFixture, kind: str, report: object, logged: str
) -> None:
    reply = visitor.post("/csp-reports", content=json.dumps(report), headers={"content-type": kind})
    assert reply.status_code == 204
    assert [record.getMessage() for record in caplog.records] == [f"content security policy: {logged}"]


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[" * 10_000, b"{}", b"[1, 2]", b'{"csp-report": 3}', b"\xff", b"{" + b" " * MOST_BYTES + b"}"],
    ids=["empty", "text", "deep", "other", "numbers", "number", "bytes", "long"],
)
def test_what_is_no_report_is_nothing(visitor: TestClient, caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    assert visitor.post("/csp-reports", content=body).status_code == 204
    assert caplog.records == []


def test_a_report_cannot_write_lines_of_its_own(visitor: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    report = {"csp-report": {"blocked-uri": "x\nERROR all is lost\x1b[31m" + "y" * 5000}}
    visitor.post("/csp-reports", content=json.dumps(report))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 300


def test_reports_fill_no_log(visitor: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(MOST_A_MINUTE * 2):
        visitor.post("/csp-reports", content=json.dumps(OLD))
    assert len(caplog.records) == MOST_A_MINUTE + 1
    assert "left out" in caplog.records[-1].getMessage()


def test_another_site_reports_nothing(app: FastAPI, visitor: TestClient) -> None:
    assert visitor.post("/csp-reports", content=json.dumps(OLD), headers={"origin": "https://evil.example"}).status_code == 403
