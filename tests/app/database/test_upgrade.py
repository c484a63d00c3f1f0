"""The safety net under migrations: trust.md's fourth trap and its neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.orm import Session

from app.database import upgrade
from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import UpgradeError, head, is_at_head, require_head, revision_of, upgrade_to_head
from app.errors import Unavailable
from app.models import Base, Contender, Generation, Label, Membership, Project, Prompt, Round, Run, Seat, Task, User, Webhook
from app.models.criteria import default_flags
from app.models.values import name_digest
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.rounds.test_service import label_task
from trainer.contract.messages import Message

REBUILD_USERS = """
    with op.batch_alter_table("users", recreate="always") as batch:
        batch.add_column(sa.Column("nickname", sa.Text(), nullable=True))
"""
LOSE_MEMBERSHIPS = """
    op.execute("DELETE FROM memberships")
"""
OLD_ROWS = (
    "INSERT INTO users (id, email, name, is_owner, created_at) VALUES (1, 'mary@example.org', 'Mary', 0, '2026-01-01')",
    "INSERT INTO projects (id, slug, name, base_model, guideline_version, criteria, overlap, rating_share, sampling, training, "
    "queue_low_mark, triggers_on, created_at) VALUES (1, 'demo', 'Demo', 'x', 4, '[]', 1, 0.25, '{}', '{}', 20, 0, '2026-01-01')",
    "INSERT INTO memberships (id, user_id, project_id, role, created_at) VALUES (1, 1, 1, 'annotator', '2026-01-01')",
)
_KEPT = "id, prompt_id, checkpoint_id, run_id, number, settings, seed, text, token_ids, finish_reason, created_at"
RANKING_SHARE = ("ranking_share", "ranking_answers")
BEFORE_FORETOLD = ("ALTER TABLE evaluation_candidates DROP COLUMN foretold",)
BEFORE_ONE_EVALUATION = ("DROP INDEX IF EXISTS uq_evaluations_open",)
BEFORE_SPANS = (
    *BEFORE_ONE_EVALUATION,
    "ALTER TABLE projects DROP COLUMN span_reasons",
    "ALTER TABLE labels DROP COLUMN spans",
)
BEFORE_RUBRIC = (*BEFORE_SPANS, *(f"ALTER TABLE {table} DROP COLUMN rubric" for table in ("projects", "labels")))
BEFORE_HOURS = (
    *BEFORE_RUBRIC,
    "DROP INDEX ix_prompts_twin_id",
    *(f"ALTER TABLE prompts DROP COLUMN {column}" for column in ("sketch", "twin_id")),
    "DROP INDEX ix_prompts_audience",
    *(f"ALTER TABLE memberships DROP COLUMN {column}" for column in ("languages", "skills")),
    *(f"ALTER TABLE prompts DROP COLUMN {column}" for column in ("language", "tags", "skills", "audience")),
    *(
        f"ALTER TABLE projects DROP COLUMN {column}"
        for column in ("audiences", "hours_budget", "hours_worked", "hours_counted_at", "closed_until", *RANKING_SHARE)
    ),
)
BEFORE_CONTENDERS = (
    "CREATE TABLE before (id INTEGER NOT NULL, prompt_id INTEGER NOT NULL, checkpoint_id INTEGER NOT NULL,"
    " run_id INTEGER NOT NULL, number INTEGER NOT NULL, settings JSON NOT NULL, seed INTEGER NOT NULL, text TEXT NOT NULL,"
    " token_ids JSON NOT NULL, finish_reason VARCHAR(10) NOT NULL, created_at DATETIME NOT NULL, PRIMARY KEY (id))",
    f"INSERT INTO before ({_KEPT}) SELECT {_KEPT} FROM generations",
    "DROP TABLE generations",
    "ALTER TABLE before RENAME TO generations",
    "CREATE INDEX ix_generations_checkpoint_id ON generations (checkpoint_id)",
    "CREATE INDEX ix_generations_prompt_id_checkpoint_id ON generations (prompt_id, checkpoint_id)",
    *(f"DROP TABLE {table}" for table in ("feedback", "kept_answers", "chat_turns", "chats", "proposed_prompts")),
    "ALTER TABLE projects DROP COLUMN chat_on",
    "DROP TABLE leaderboards",
    *(
        f"DROP TABLE {table}"
        for table in (
            "evaluation_rests",
            "evaluation_tasks",
            "evaluation_candidates",
            "evaluations",
            "contenders",
            "outside_models",
        )
    ),
    *(f"ALTER TABLE projects DROP COLUMN evaluation_{column}" for column in ("on", "share", "budget", "flag_margin", "promotes")),
    "ALTER TABLE checkpoints DROP COLUMN promotion_reason",
    "ALTER TABLE checkpoints DROP COLUMN pruned_at",
    *(f"DROP TABLE {table}" for table in ("deliveries", "webhooks", "announcements")),
    *(
        f"ALTER TABLE projects DROP COLUMN {column}"
        for column in ("paused_at", "month_labels", "month_evaluation_labels", "month_hours", "extra_seats", "keep_days")
    ),
    *BEFORE_HOURS,
    *(f"DROP TABLE {table}" for table in ("doubts", "disputes")),
    "DROP INDEX ix_labels_first",
    "DROP INDEX ix_labels_usable",
    "ALTER TABLE labels DROP COLUMN overruled",
    "CREATE INDEX ix_labels_usable ON labels (project_id, current, surplus, trains)",
)
_SEATS = "id, project_id, task_id, number, place, state, annotator_id, swapped, claimed_at, lease_until"
BEFORE_JUDGES = (
    "CREATE TABLE before (id INTEGER NOT NULL, project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, number INTEGER NOT NULL,"
    " place BIGINT NOT NULL, state VARCHAR(10) NOT NULL, annotator_id INTEGER, swapped BOOLEAN NOT NULL, claimed_at DATETIME,"
    " lease_until DATETIME, PRIMARY KEY (id))",
    f"INSERT INTO before ({_SEATS}) SELECT {_SEATS} FROM seats",
    "DROP TABLE seats",
    "ALTER TABLE before RENAME TO seats",
    "CREATE INDEX ix_seats_queue ON seats (project_id, state, place, id)",
    "CREATE INDEX ix_seats_annotator_id ON seats (annotator_id, project_id, state, claimed_at)",
    *(f"DROP TABLE {table}" for table in ("judges_reports", "exclusions", "checks", "golds")),
    *(f"ALTER TABLE projects DROP COLUMN {column}" for column in ("repeat_share", "gold_share", "gold_pauses")),
    *(f"ALTER TABLE memberships DROP COLUMN {column}" for column in ("paused_at", "resumed_at")),
)
ORPHAN_MEMBERSHIPS = """
    op.execute("UPDATE memberships SET user_id = 999")
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database at head with one membership, which points at a user and a project."""
    url = f"sqlite:///{tmp_path / 'tastemaker.db'}"
    upgrade_to_head(url)
    engine = make_engine(url)
    with write_session(engine) as session:
        user = User(email="mary@example.org", name="Mary")
        project = Project(slug="demo", name="Demo", base_model="x", criteria=[], sampling={})
        session.add_all([user, project])
        session.flush()
        session.add(Membership(user_id=user.id, project_id=project.id, role="annotator"))
    engine.dispose()
    return url


def next_migration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
    """Put one more migration after the real ones."""
    copy = tmp_path / "migrations"
    shutil.copytree(upgrade.MIGRATIONS, copy)
    (copy / "versions" / "2099_01_01_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f"revision = 'next'\ndown_revision = '{head()}'\n\n\ndef upgrade():\n{body}"
    )
    monkeypatch.setattr(upgrade, "MIGRATIONS", copy)


def memberships(url: str) -> int:
    engine = make_engine(url)
    with read_session(engine) as session:
        count: int = session.scalar(select(func.count()).select_from(Membership)) or 0
    engine.dispose()
    return count


def test_the_migrations_make_the_tables_of_the_models(url: str) -> None:
    engine = make_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_migrations_hold_the_check_constraints_of_the_models(url: str, tmp_path: Path) -> None:
    """Alembic does not compare these: they are compared by the text SQLite keeps of each table."""
    engine = make_engine(url)
    with engine.connect() as connection:
        made = {
            (table, check["name"], " ".join(str(check["sqltext"]).split()))
            for table in Base.metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    engine.dispose()
    plain = make_engine(f"sqlite:///{tmp_path / 'plain.db'}")
    Base.metadata.create_all(plain)
    with plain.connect() as connection:
        wanted = {
            (table, check["name"], " ".join(str(check["sqltext"]).split()))
            for table in Base.metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    plain.dispose()
    assert wanted
    assert made == wanted


def test_a_database_at_head_is_left_alone(url: str, tmp_path: Path) -> None:
    assert upgrade_to_head(url) is None
    assert [path.name for path in tmp_path.iterdir() if "before-upgrade" in path.name] == []


def test_rebuilding_a_parent_table_keeps_the_rows_that_point_to_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_migration(monkeypatch, tmp_path, REBUILD_USERS)

    backup = upgrade_to_head(url)

    assert memberships(url) == 1
    assert backup is not None
    assert memberships(f"sqlite:///{backup}") == 1
    engine = make_engine(url)
    assert "nickname" in [column["name"] for column in inspect(engine).get_columns("users")]
    assert is_at_head(engine)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("body", "reason"), [(LOSE_MEMBERSHIPS, "memberships would have gone from 1 to 0 rows"), (ORPHAN_MEMBERSHIPS, "nothing")]
)
def test_a_migration_that_loses_or_orphans_rows_is_undone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    before = head()
    next_migration(monkeypatch, tmp_path, body)

    with pytest.raises(UpgradeError, match=reason):
        upgrade_to_head(url)

    assert memberships(url) == 1
    engine = make_engine(url)
    assert revision_of(engine) == before
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_key_check")).first() is None
    engine.dispose()


def test_a_database_of_the_first_tables_gets_the_flags_it_had_as_constants(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = make_engine(url)
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    config.attributes["engine"] = engine
    command.upgrade(config, "ffd7ec07fe19")
    with write_session(engine) as session:
        for statement in OLD_ROWS:
            session.execute(text(statement))
    engine.dispose()

    upgrade_to_head(url)

    engine = make_engine(url)
    with read_session(engine) as session:
        project, membership = session.scalars(select(Project)).one(), session.scalars(select(Membership)).one()
        assert project.flags == default_flags()
        assert (project.rubric, project.span_reasons) == ([], [])
        assert project.retired == {"criteria": [], "flags": [], "rubric": [], "span_reasons": []}
        assert project.text_display == "written"
        assert membership.seen_guideline_version == 4, "told about everything so far"
    engine.dispose()


def take_contenders_back(session: Session) -> None:
    """The tables as they were before answers had contenders. Commits, because keys are not looked at meanwhile."""
    session.commit()
    with session.get_bind().execution_options(tastemaker_writes=True).connect() as connection:  # type: ignore[union-attr]
        driver: Any = connection.connection
        driver.execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            for statement in BEFORE_JUDGES + BEFORE_CONTENDERS:
                connection.execute(text(statement))
        driver.execute("PRAGMA foreign_keys=ON")


def take_counts_back(session: Session) -> None:
    """The tables as they were before prompts said how many tokens they have, and projects by which model."""
    take_contenders_back(session)
    for statement in (
        "DROP INDEX ix_prompts_uncounted",
        "DROP INDEX ix_prompts_project_id_split",
        "ALTER TABLE prompts DROP COLUMN tokens",
        "ALTER TABLE projects DROP COLUMN counts_of",
        "CREATE INDEX ix_prompts_project_id_split ON prompts (project_id, split, archived_at, id)",
    ):
        session.execute(text(statement))


def take_rankings_back(session: Session) -> None:
    """The tables as they were before answers were put in order."""
    operations = Operations(MigrationContext.configure(session.connection()))
    operations.drop_table("ranked_answers")
    for name in ("ix_labels_rewritten", "ix_labels_first"):
        operations.drop_index(name, "labels")
    with operations.batch_alter_table("labels") as batch_op:
        batch_op.drop_constraint("ck_labels_ranking_has_order", type_="check")
        batch_op.drop_column("ranking")
    operations.create_index("ix_labels_rewritten", "labels", ["project_id"], sqlite_where=text("rewrite IS NOT NULL"))
    operations.create_index("ix_labels_first", "labels", ["project_id", "created_at"], sqlite_where=text("version = 1"))


def take_disputes_back(session: Session) -> None:
    """The tables as they were before tasks said whether people disagree."""
    take_rankings_back(session)
    session.flush()
    take_counts_back(session)
    session.execute(text("DROP INDEX ix_tasks_disputed"))
    session.execute(text("ALTER TABLE tasks DROP COLUMN disputed"))


def take_places_back(session: Session) -> None:
    """The tables as they were before seats had places."""
    take_disputes_back(session)
    for statement in (
        "DROP INDEX ix_seats_queue",
        "DROP INDEX ix_seats_annotator_id",
        "DROP INDEX ix_labels_rewritten",
        "CREATE INDEX ix_seats_queue ON seats (project_id, state, id)",
        "CREATE INDEX ix_seats_annotator_id ON seats (annotator_id, state)",
        "ALTER TABLE seats DROP COLUMN place",
        "ALTER TABLE projects DROP COLUMN questions_due_at",
        "ALTER TABLE projects DROP COLUMN questions_place",
    ):
        session.execute(text(statement))


def test_seats_from_before_keep_the_order_they_have(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        tasks = [factories.make_task(session, demo).id for _ in range(3)]
        take_places_back(session)
        session.execute(text("UPDATE alembic_version SET version_num = '7d20b9e4c1f6'"))

    upgrade_to_head(engine.url.render_as_string(hide_password=False))

    with write_session(engine) as session:
        tasks.append(factories.make_task(session, session.get_one(Project, cast.demo)).id)
        assert session.scalars(select(Seat.task_id).order_by(Seat.place)).all() == tasks
        assert session.scalars(select(Seat.place)).all() == session.scalars(select(Seat.id)).all()


def test_labels_from_before_say_whether_they_train(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        for purpose in ("train", "gold", "train"):
            label_task(session, factories.make_task(session, demo, purpose=purpose), cast.mary)
        session.scalars(select(Prompt).order_by(Prompt.id.desc())).first().split = "holdout"  # type: ignore[union-attr]
        take_places_back(session)
        for statement in ("DROP INDEX uq_rounds_open", "DROP INDEX ix_labels_usable", "ALTER TABLE labels DROP COLUMN trains"):
            session.execute(text(statement))
        session.execute(text("UPDATE alembic_version SET version_num = 'c93f5a61d8e2'"))

    upgrade_to_head(engine.url.render_as_string(hide_password=False))

    with read_session(engine) as session:
        assert session.scalars(select(Label.trains).order_by(Label.id)).all() == [True, False, False]


def test_tasks_from_before_say_whether_people_disagree(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        tasks = []
        given: list[tuple[str, list[dict[str, Any]]]] = [
            ("comparison", [{"choice": "left"}, {"choice": "right"}]),
            ("comparison", [{"choice": "left"}, {"choice": "right", "swapped": True}]),
            ("comparison", [{"choice": "tie"}, {"choice": "both_bad"}]),
            ("comparison", [{"choice": "left"}, {"choice": "tie", "current": False}]),
            ("rating", [{"overall": 3}, {"overall": 4}]),
            ("rating", [{"overall": 3}, {"overall": 3}]),
        ]
        for kind, verdicts in given:
            task = factories.make_task(session, demo, kind)
            for person, said in zip((cast.mary, cast.alan), verdicts, strict=True):
                judge(session, demo, person, task, **said)
            tasks.append(task.id)
        take_disputes_back(session)
        session.execute(text("UPDATE alembic_version SET version_num = 'c81f5a20d7e3'"))

    upgrade_to_head(engine.url.render_as_string(hide_password=False))

    with read_session(engine) as session:
        found = session.scalars(select(Task.disputed).where(Task.id.in_(tasks)).order_by(Task.id)).all()
        assert found == [True, False, True, False, True, False]


def answers_from_before(url: str) -> Engine:
    """A database from before answers had contenders, with seven: drawn alone, and chosen in three ways, of two policies."""
    engine = make_engine(url)
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    config.attributes["engine"] = engine
    command.upgrade(config, "0b7e3f52c9d4")
    old = [
        "INSERT INTO projects (id, slug, name, name_digest, base_model, guideline_version, criteria, flags, retired,"
        " text_display, overlap, rating_share, sampling, training, practice_tasks, qualifying_score, queue_low_mark, triggers_on,"
        " questions_place, created_at) VALUES (1, 'demo', 'Demo', 'x', 'x', 1, '[]', '[]', '{}', 'written', 1, 0.25, '{}', '{}',"
        " 0, 0, 20, false, 0, '2026-01-01')",
        "INSERT INTO prompts (id, project_id, messages, digest, split, extra, created_at)"
        " VALUES (1, 1, '[]', 'x', 'train', '{}', '2026-01-01')",
        "INSERT INTO runs (id, project_id, kind, state, config, inputs, step, total, message, result, fence, attempts, queued_at)"
        " VALUES (1, 1, 'sample', 'done', '{}', '{}', 0, 0, '', '{}', 0, 0, '2026-01-01')",
        *(
            "INSERT INTO checkpoints (id, project_id, kind, name, source, metrics, created_at)"
            f" VALUES ({one}, 1, '{kind}', '', 'x', '{{}}', '2026-01-01')"
            for one, kind in ((1, "policy"), (2, "policy"), (3, "reward"))
        ),
        *(
            "INSERT INTO generations (prompt_id, checkpoint_id, run_id, number, settings, seed, text, token_ids, finish_reason,"
            f" created_at) VALUES (1, {policy}, 1, {number}, '{settings}', 5, 'Answer {number}', '[1, 2]', 'eos', '2026-01-01')"
            for number, (policy, settings) in enumerate(
                [
                    (1, "{}"),
                    (1, '{"temperature"\\: 0.7}'),
                    (1, '{"best_of"\\: 1}'),
                    (1, '{"best_of"\\: 4, "reward"\\: 3}'),
                    (1, '{"best_of"\\: 2, "reward"\\: 3}'),
                    (2, '{"best_of"\\: 4, "reward"\\: 3}'),
                    (2, "{}"),
                ]
            )
        ),
    ]
    with write_session(engine) as session:
        for statement in old:
            session.execute(text(statement))
    return engine


def check_contenders_of_before(engine: Engine) -> None:
    with read_session(engine) as session:
        found = session.execute(
            select(Generation.number, Contender.kind, Contender.checkpoint_id, Contender.best_of, Contender.reward_id)
            .join(Contender, Contender.id == Generation.contender_id)
            .order_by(Generation.number)
        ).all()
        assert [tuple(row) for row in found] == [
            (0, "policy", 1, 1, None),
            (1, "policy", 1, 1, None),
            (2, "policy", 1, 1, None),
            (3, "best_of", 1, 4, 3),
            (4, "best_of", 1, 2, 3),
            (5, "best_of", 2, 4, 3),
            (6, "policy", 2, 1, None),
        ]
        kept = session.scalars(select(Generation).order_by(Generation.id)).all()
        assert [one.text for one in kept] == [f"Answer {number}" for number in range(7)]
        assert all(one.token_ids == [1, 2] and one.seed == 5 for one in kept)
        assert len(session.scalars(select(Contender)).all()) == 5


def test_answers_from_before_have_the_contender_that_wrote_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = answers_from_before(url)
    upgrade_to_head(url)
    check_contenders_of_before(engine)
    engine.dispose()


def test_of_open_rounds_from_one_moment_the_first_stays_and_no_answer_keeps_a_nul(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.execute(text("DROP INDEX uq_rounds_open"))
        session.execute(text("UPDATE alembic_version SET version_num = 'f6c20a9b47d1'"))
        demo = session.get_one(Project, cast.demo)
        assert demo.policy_id is not None
        for number, state in enumerate(("done", "reward", "sample", "decision"), 1):
            values = {"project_id": demo.id, "number": number, "state": state, "trigger": "admin", "label_count": 1}
            session.add(Round(start_policy_id=demo.policy_id, **values))
            session.flush()
            session.add_all(
                Run(project_id=demo.id, round_id=number, kind="sample", state=of, config={})
                for of in ("done", "queued", "running")
            )
        factories.make_generation(session, factories.make_prompt(session, demo.id), demo.policy_id, "a\0b\0")
        take_places_back(session)

    upgrade_to_head(engine.url.render_as_string(hide_password=False))

    with read_session(engine) as session:
        rounds = session.scalars(select(Round).order_by(Round.number)).all()
        assert [round_.state for round_ in rounds] == ["done", "reward", "cancelled", "cancelled"]
        assert rounds[3].reason == Message("round_cancelled")
        assert rounds[3].ended_at is not None
        runs = session.scalars(select(Run).where(Run.round_id.is_not(None)).order_by(Run.id)).all()
        assert [run.state for run in runs[6:9]] == ["done", "cancelled", "running"]
        assert [run.state for run in runs[3:6]] == ["done", "queued", "running"]
        assert [run.cancel_requested_at is not None for run in runs[6:9]] == [False, False, True]
        assert session.scalars(select(Generation.text)).all() == ["a\ufffdb\ufffd"]


def test_projects_that_had_one_name_are_told_apart_by_a_number(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = make_engine(url)
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    config.attributes["engine"] = engine
    command.upgrade(config, "8e42d6f1c3b7")
    names = ["Poems", "poems", "Poems (2)", " P\u200boems", "Letters"]
    with write_session(engine) as session:
        for number, name in enumerate(names, 1):
            session.execute(
                text(
                    "INSERT INTO projects (id, slug, name, base_model, guideline_version, criteria, overlap, rating_share, "
                    "sampling, training, queue_low_mark, triggers_on, created_at) VALUES "
                    "(:id, :slug, :name, 'x', 1, '[]', 1, 0.25, '{}', '{}', 20, 0, '2026-01-01')"
                ),
                {"id": number, "slug": f"p{number}", "name": name},
            )
    engine.dispose()

    upgrade_to_head(url)

    engine = make_engine(url)
    with read_session(engine) as session:
        rows = session.execute(select(Project.name, Project.name_digest).order_by(Project.id)).all()
    assert [name for name, _ in rows] == ["Poems", "poems (3)", "Poems (2)", " P\u200boems (4)", "Letters"]
    assert [digest for _, digest in rows] == [name_digest(name) for name, _ in rows], "as new names are digested"
    engine.dispose()


def test_of_two_webhooks_at_one_address_the_first_stays_and_a_former_secret_signs_on(engine: Engine) -> None:
    with write_session(engine) as session:
        take_rankings_back(session)
        for table in ("feedback", "kept_answers"):
            session.execute(text(f"DROP TABLE {table}"))
        session.execute(text("DROP INDEX ix_webhooks_in_force"))
        for statement in (*BEFORE_FORETOLD, *BEFORE_HOURS, "ALTER TABLE projects DROP COLUMN keep_days"):
            session.execute(text(statement))
        session.execute(text("ALTER TABLE checkpoints DROP COLUMN pruned_at"))
        session.add_all(Webhook(address="https://example.org/", secret="whsec_AAAA") for _ in range(2))
        session.flush()
        session.execute(text("ALTER TABLE webhooks DROP COLUMN former_secrets"))
        session.execute(text("ALTER TABLE webhooks ADD COLUMN former_secret VARCHAR(100)"))
        session.execute(text("UPDATE webhooks SET former_secret = 'whsec_BBBB', former_until = '2026-12-24 12:00:00.000000'"))
        session.execute(text("UPDATE alembic_version SET version_num = '91c4b7d2e0a6'"))

    upgrade_to_head(engine.url.render_as_string(hide_password=False))

    with read_session(engine) as session:
        first, second = session.scalars(select(Webhook).order_by(Webhook.id)).all()
    assert (first.removed_at, first.former_secrets) == (None, [["whsec_BBBB", "2026-12-24T12:00:00+00:00"]])
    assert (second.removed_at is None, second.secret, second.former_secrets) == (False, "", [])


def test_an_older_database_is_not_served(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(url)
    require_head(engine)
    next_migration(monkeypatch, tmp_path, REBUILD_USERS)

    with pytest.raises(Unavailable, match="needs next"):
        require_head(engine)
    engine.dispose()
