"""The same code on PostgreSQL: a real server, started for these tests."""

from __future__ import annotations

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.accounts.installation import service as owners
from app.accounts.keys.service import make_key, revoke_key
from app.accounts.password_links import use_link
from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import head, revision_of, upgrade_to_head
from app.errors import Conflict, Gone, NotSignedIn
from app.labels.search import LabelFilter, annotators, count_labels, search_labels, with_tasks
from app.main import create_app
from app.models import ApiKey, Base, PasswordLink, Project, Prompt, Seat, Task, User, utc_now
from app.projects import naming
from app.projects.service import create_project
from app.prompts.importers import read_upload
from app.prompts.search import PromptFilter, find_prompts, put_many_away
from app.prompts.service import count_prompts, import_prompts
from app.queue import asking
from app.queue.claim import claim_next
from app.settings import Settings
from app.web.security import Principal, digest, new_secret
from tests.app import factories
from tests.app.database.test_upgrade import answers_from_before, check_contenders_of_before
from tests.app.exports.judging import judge
from tests.app.removal.whole import delete, fill, left, take_all_out
from tests.postgres import engine, server

__all__ = ["engine", "server"]


def test_the_migrations_make_the_tables_of_the_models(engine: Engine, server: str) -> None:
    assert revision_of(engine) == head()
    assert upgrade_to_head(server) is None
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata) == []


def test_answers_from_before_have_the_contender_that_wrote_them(engine: Engine, server: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE before"))
    before = engine.url.set(database="before").render_as_string(hide_password=False)
    old = answers_from_before(before)
    upgrade_to_head(before)
    check_contenders_of_before(old)
    old.dispose()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("SELECT CAST(:said AS integer)", "invalid input syntax"),
        ("INSERT INTO alembic_version VALUES (:said), (:said)", "duplicate key value"),
    ],
)
def test_an_error_does_not_repeat_what_was_written(engine: Engine, statement: str, why: str) -> None:
    with pytest.raises(DBAPIError) as raised, write_session(engine) as session:
        session.execute(text(statement), {"said": "marker"})

    told = f"{raised.value} {raised.value.orig}"
    assert why in told
    assert "marker" not in told


def test_the_references_in_a_circle_are_there_too(engine: Engine) -> None:
    """Tables that point at each other get these after they were made."""
    with engine.connect() as connection:
        for table in Base.metadata.tables.values():
            wanted = {(key.parent.name, key.column.table.name) for key in table.foreign_keys}
            made = {
                (key["constrained_columns"][0], key["referred_table"]) for key in inspect(connection).get_foreign_keys(table.name)
            }
            assert made == wanted, table.name


def test_writers_work_side_by_side_and_lose_nothing(engine: Engine) -> None:
    def write(name: str) -> None:
        for number in range(10):
            with write_session(engine) as session:
                session.add(User(email=f"{name}{number}@example.org", name=name))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("x", "y", "z")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with read_session(engine) as session:
        assert session.scalar(select(func.count(User.id)).where(User.name.in_(("x", "y", "z")))) == 30


def test_a_row_that_another_writer_keeps_is_not_waited_for_without_end(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.database.engine.WRITER_PATIENCE_S", 0.3)
    engine = make_engine(server)
    with write_session(engine) as session:
        kept = factories.make_user(session, "Kept").id

    def rename(name: str) -> None:
        with write_session(engine) as session:
            session.execute(text("SET LOCAL statement_timeout = '5s'"))  # so that this test ends in any case
            session.execute(update(User).where(User.id == kept).values(name=name))

    with write_session(engine) as holder:
        holder.execute(update(User).where(User.id == kept).values(name="first"))
        began = time.monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):  # the page that asked says that the database is busy
            rename("second")
        assert time.monotonic() - began < 3
    engine.dispose()


def test_a_person_signs_in_claims_and_judges(engine: Engine, server: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, database_url=server))
    with write_session(engine) as session:
        mary = factories.make_user(session, "Mary-on-postgres")
        project = factories.make_project(session, "elephants")
        factories.make_membership(session, mary.id, project.id, "annotator")
        factories.make_task(session, project)
        key = factories.make_key(session, mary.id, "annotate")
    with TestClient(app, base_url="http://localhost", headers={"authorization": f"Bearer {key}"}) as program:
        assert program.get("/api/v1/health").status_code == 200
        task = program.post("/api/v1/projects/elephants/tasks/next")
        assert task.status_code == 200, task.text
        body = {"client_id": "5f0c6b7e-0f3a-4c3b-9d52-0b9e2f3f4a51", "choice": "left", "strength": 1, "active_ms": 900}
        assert program.post(f"/api/v1/tasks/{task.json()['id']}/label", json=body).status_code == 201
        assert program.post(f"/api/v1/tasks/{task.json()['id']}/label", json=body).status_code == 200
        back = {"client_id": "5f0c6b7e-0f3a-4c3b-9d52-0b9e2f3f4a52"}
        assert program.post(f"/api/v1/tasks/{task.json()['id']}/withdraw", json=back).status_code == 201
        assert program.post("/api/v1/projects/elephants/tasks/next").status_code == 204
        again = body | {"client_id": "5f0c6b7e-0f3a-4c3b-9d52-0b9e2f3f4a53"}
        assert program.post(f"/api/v1/tasks/{task.json()['id']}/label", json=again).json()["version"] == 3
        assert program.get("/api/v1/projects/demo").status_code == 404
    app.state.uses.finish()
    app.state.engine.dispose()


def test_answers_are_put_in_order_and_exported(engine: Engine, server: str, tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, database_url=server))
    with write_session(engine) as session:
        mary = factories.make_user(session, "Mary-who-ranks")
        project = factories.make_project(session, "okapis")
        factories.make_membership(session, mary.id, project.id, "admin")
        prompt = factories.make_prompt(session, project.id, split="train")
        assert project.policy_id is not None
        answers = [factories.make_generation(session, prompt, project.policy_id, text).id for text in ("one", "two", "three")]
        key = factories.make_key(session, mary.id, "annotate", "admin", "export")
    api = "/api/v1"
    with TestClient(app, base_url="http://localhost", headers={"authorization": f"Bearer {key}"}) as program:
        asked = program.post(f"{api}/projects/okapis/tasks", json={"items": [{"answers": answers}]})
        assert asked.status_code == 201, asked.text
        task = program.post(f"{api}/projects/okapis/tasks/next").json()
        shown = [answer["text"] for answer in task["answers"]]
        for order in ([[1], [2], [3]], [[3], [1, 2]]):
            said = {"client_id": str(uuid.uuid4()), "ranking": order}
            assert program.post(f"{api}/tasks/{task['id']}/label", json=said).status_code == 201
        (row,) = program.get(f"{api}/projects/okapis/export?format=rankings").text.splitlines()
    assert [(answer["text"], answer["place"]) for answer in json.loads(row)["answers"]] == [*zip(shown, (2, 2, 1), strict=True)]
    app.state.uses.finish()
    app.state.engine.dispose()


def test_a_failed_statement_leaves_no_broken_connection(engine: Engine) -> None:
    with pytest.raises(Exception, match="division"), write_session(engine) as session:
        session.execute(text("SELECT 1 / 0"))
    with read_session(engine) as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_a_task_that_is_claimed_while_the_others_are_taken_apart_stays(engine: Engine) -> None:
    with write_session(engine) as session:
        mary = factories.make_user(session, "Mary-in-between").id
        project = factories.make_project(session, "giraffes")
        project_id, asked = project.id, [factories.make_task(session, project).id for _ in range(2)]
        project.previous_policy_id = project.policy_id
        new = project.policy_id = factories.make_checkpoint(session, project.id).id
        for task in session.scalars(select(Task).where(Task.id.in_(asked))):
            factories.make_generation(session, session.get_one(Prompt, task.prompt_id), new)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            claim_next(session.connection(), project_id, mary, now=utc_now(), lease=timedelta(minutes=10))
            taken_apart = pool.submit(asking.take_apart, engine, project_id)
            with pytest.raises(TimeoutError):  # it waits for the seat in hand
                taken_apart.result(0.5)
        taken_apart.result(10)
    with read_session(engine) as session:
        seats = session.execute(select(Seat.task_id, Seat.state).where(Seat.task_id.in_(asked))).all()
    assert [tuple(seat) for seat in seats] == [(asked[0], "leased")]


def test_of_two_projects_made_with_one_name_at_once_one_is_told_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    both_looked = threading.Barrier(2, timeout=20)
    waiting = {1, 2}

    def look(session: Session, name: str, besides: Project | None = None) -> None:
        really(session, name, besides)
        if waiting:
            waiting.pop()
            both_looked.wait()

    def make(number: int) -> str:
        try:
            with write_session(engine) as session:
                return create_project(session, {"name": "At once", "base_model": "org/model"}, by=None).slug
        except Conflict as refusal:
            return refusal.fields["name"]

    really = naming.check_free
    monkeypatch.setattr(naming, "check_free", look)
    with ThreadPoolExecutor(2) as threads:
        said = sorted(threads.map(make, (1, 2)), reverse=True)
    assert said[0] == "at-once"
    assert said[1].startswith("Another project has this name")


def test_a_deleted_project_is_taken_out_whole_and_nothing_of_another(engine: Engine, tmp_path: Path) -> None:
    with write_session(engine) as session:
        annotator = factories.make_user(session, "Taken")
        gone, stays = factories.make_project(session), factories.make_project(session)
        for project in (gone, stays):
            fill(session, project, annotator.id, tmp_path)
        gone_id, stays_id = gone.id, stays.id
        delete(session, tmp_path, gone, gone.name, None)
    before = left(engine, stays_id)

    take_all_out(engine, tmp_path)

    assert left(engine, gone_id) == {}
    assert left(engine, stays_id) == before


def test_two_owners_cannot_put_each_other_out_at_once(engine: Engine) -> None:
    with write_session(engine) as session:
        session.execute(update(User).values(is_owner=False))
        pair = [factories.make_user(session, name, owner=True).id for name in ("Pia", "Quin")]
        session.execute(update(User).where(User.id.in_(pair)).values(password_hash="set"))

    def end(other: int) -> str:
        try:
            with write_session(engine) as session:
                owners.take_ownership(session, other, pair[1 - pair.index(other)])
            return "ended"
        except Conflict:
            return "the only one"

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            owners.take_ownership(session, pair[0], pair[1])
            second = pool.submit(end, pair[1])
            with pytest.raises(TimeoutError):  # it waits for the owners in hand
                second.result(0.5)
        assert second.result(10) == "the only one"


def test_of_two_who_use_a_password_link_at_once_one_sets_the_password(engine: Engine) -> None:
    token = new_secret()
    with write_session(engine) as session:
        person = factories.make_user(session, "Forgetful").id
        links = {
            "token_hash": digest(token),
            "user_id": person,
            "created_by": person,
            "expires_at": utc_now() + timedelta(hours=1),
        }
        session.add(PasswordLink(**links))

    def use(password_hash: str) -> str:
        try:
            with write_session(engine) as session:
                use_link(session, token, password_hash)
            return "set"
        except Gone:
            return "too late"

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            use_link(session, token, "the first's")
            second = pool.submit(use, "the second's")
            with pytest.raises(TimeoutError):  # the link still opens as the second looks
                second.result(0.5)
        assert second.result(10) == "too late"
    with read_session(engine) as session:
        assert session.get_one(User, person).password_hash == "the first's"


def test_a_key_that_mints_while_it_is_revoked_leaves_no_child(engine: Engine) -> None:
    with write_session(engine) as session:
        mary = factories.make_user(session, "Mary-who-mints").id
        parent = int(factories.make_key(session, mary, "admin").split("_")[1])
    by = Principal(user_id=mary, name="Mary", email="", is_owner=False, via="key", credential=str(parent))

    def mint() -> str:
        try:
            with write_session(engine) as session:
                make_key(session, mary, ["admin"], 90, by)
            return "minted"
        except NotSignedIn:
            return "too late"

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            revoke_key(session, parent, by)
            late = pool.submit(mint)
            with pytest.raises(TimeoutError):
                late.result(0.5)
        assert late.result(10) == "too late"


def test_a_key_that_has_just_minted_is_revoked_with_its_child(engine: Engine) -> None:
    with write_session(engine) as session:
        mary = factories.make_user(session, "Mary-who-minted").id
        parent = int(factories.make_key(session, mary, "admin").split("_")[1])
    by = Principal(user_id=mary, name="Mary", email="", is_owner=False, via="key", credential=str(parent))

    def revoke() -> None:
        with write_session(engine) as session:
            revoke_key(session, parent, by)

    with ThreadPoolExecutor(1) as pool:
        with write_session(engine) as session:
            child = make_key(session, mary, ["admin"], 90, by)[0].id
            revoked = pool.submit(revoke)
            with pytest.raises(TimeoutError):
                revoked.result(0.5)
        revoked.result(10)
    with read_session(engine) as session:
        assert session.get_one(ApiKey, child).revoked_at is not None


def test_prompts_are_for_some_and_found_by_their_marks_there_too(engine: Engine) -> None:
    with write_session(engine) as session:
        project, hour = factories.make_project(session, "assigned"), timedelta(hours=1)
        person, task = factories.make_user(session, "Lawyer").id, factories.make_task(session, project)
        prompt = session.get_one(Prompt, task.prompt_id)
        prompt.audience, prompt.tags = "de law", ["50-percent"]
        session.flush()
        assert [len(find_prompts(session, project.id, PromptFilter(tag=tag))) for tag in ("50-percent", "percent")] == [1, 0]
        for kept, is_theirs in (("\nde\nde law\n", False), ("\nde\n", True)):
            served = claim_next(session.connection(), project.id, person, now=utc_now(), lease=hour, kept=kept)
            assert (served is not None) is is_theirs


def test_lists_are_searched_there_too_and_no_import_brings_what_cannot_be_stored(engine: Engine) -> None:
    lines = [r"Why is a user's \"role\" 50 %?", "天空", r"a\u0000b", r"\ud83d"]
    rows = read_upload("\n".join(f'{{"text": "{line}", "about": "{line}"}}' for line in lines).encode())
    with write_session(engine) as session:
        project_id = factories.make_project(session, "searched").id
    report = import_prompts(engine, project_id, rows, skip_bad_lines=True)
    assert (report.created, [bad.line for bad in report.rejected]) == (2, [3, 4])
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        person, project_id = factories.make_user(session, "Searcher"), project.id
        judge(session, project, person.id, choice="left", flags={"left": ["untrue"], "right": ["left"]})
    with read_session(engine) as session:
        for words, found in (("ROLE", 1), ('"role" 50 %', 1), ("天空", 1), ("assistant", 0), ("content", 0)):
            assert len(find_prompts(session, project_id, PromptFilter(text=words))) == found, words
        for key, count in (("left", 1), ("right", 0), ("untrue", 1)):
            assert count_labels(session, project_id, LabelFilter(flag=key)).count == count, key
        assert [len(annotators(session, project_id)), count_prompts(session, project_id).archived] == [1, 0]


def test_disputed_labels_are_found_there_too(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session, "disputes")
        task = factories.make_task(session, project)
        made = [judge(session, project, factories.make_user(session, name).id, task, choice="left").id for name in ("Lea", "Kim")]
        project_id, task_id, third = project.id, task.id, factories.make_user(session, "Noa").id
    with write_session(engine) as session:
        assert search_labels(session, project_id, LabelFilter(disputed=True)) == []
        project, task = session.get_one(Project, project_id), session.get_one(Task, task_id)
        made.append(judge(session, project, third, task, choice="right").id)
    with read_session(engine) as session:
        wanted = with_tasks(session, project_id, LabelFilter(disputed=True))
        assert wanted.tasks == (task_id,)
        for one in (wanted, LabelFilter(disputed=True)):
            assert {row.label.id for row in search_labels(session, project_id, one)} == set(made)


def test_more_prompts_than_a_statement_takes_are_put_away(engine: Engine) -> None:
    with write_session(engine) as session:
        project_id = factories.make_project(session, "many ticks").id
    import_prompts(engine, project_id, read_upload(b'{"text": "one"}\n{"text": "two"}'), skip_bad_lines=False)
    with read_session(engine) as session:
        ids = [prompt.id for prompt in find_prompts(session, project_id, PromptFilter())]
    ticked = [*ids, *range(10_000_000, 10_070_000)]  # the server takes 65,535 values
    assert put_many_away(engine, project_id, ticked, None) == 2
    assert put_many_away(engine, project_id, ticked, None, back=True) == 2
