from __future__ import annotations

import json
from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project
from tests.app.conftest import Cast
from tests.app.exports.judging import judge

Api = Callable[..., TestClient]
URL = "/api/v1/projects/demo/export"


def test_an_export_is_streamed_as_a_file_with_its_etag(api: Api, engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left")
    program = api("export", who="Grace")
    reply = program.get(URL)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["content-disposition"] == 'attachment; filename="demo-preference.jsonl"'
    assert json.loads(reply.text)["annotator"] == "annotator-1"
    same = program.get(URL, headers={"If-None-Match": reply.headers["etag"]})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", reply.headers["etag"])
    other = program.get(URL, params={"as": "csv"}, headers={"If-None-Match": reply.headers["etag"]})
    assert other.status_code == 200
    assert other.headers["content-type"] == "text/csv; charset=utf-8"


def test_an_empty_project_exports_an_empty_file_or_a_header(api: Api) -> None:
    program = api("export", who="Grace")
    assert program.get(URL).content == b""
    assert program.get(URL, params={"as": "csv"}).content.decode("utf-8-sig").startswith("prompt,chosen,rejected,label_id")


def test_only_what_can_be_written_is_offered(api: Api) -> None:
    program = api("export", who="Grace")
    reply = program.get(URL, params={"as": "parquet"})
    assert (reply.status_code, reply.json()["errors"][0]["message"]) == (422, "This must be one of 'jsonl' or 'csv'.")
    described = program.get("/api/v1/openapi.json").json()["paths"]["/api/v1/projects/{slug}/export"]["get"]
    assert "csv" in str(described)
    assert "parquet" not in str(described)


def test_questions_that_make_no_sense_are_refused(api: Api) -> None:
    program = api("export", who="Grace")
    for params in ({"format": "xml"}, {"since": "monday"}, {"min_agreement": "nan"}, {"min_agreement": "2"}, {"split": "dev"}):
        assert program.get(URL, params=params).status_code == 422, params


def test_it_takes_the_export_scope_and_the_admin_role(api: Api) -> None:
    assert api("annotate", who="Grace").get(URL).status_code == 403
    assert api("export", who="Mary").get(URL).status_code == 403
    assert api("export", who="Eve").get(URL).status_code == 404
