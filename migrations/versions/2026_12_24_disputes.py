"""Tasks on which people differ: who else is asked, what a reviewer settles, and the verdicts they send back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a93c5e71d204"
down_revision = "d80a6f3e1b57"

OPEN = sa.text("closed_at IS NULL")
STATES = "'asking', 'open', 'doubted', 'settled', 'closed'"
USABLE = ["project_id", "current", "surplus", "trains", "overruled", "annotator_id"]


def upgrade() -> None:
    op.add_column("projects", sa.Column("extra_seats", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("labels", sa.Column("overruled", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("ix_labels_usable", "labels")
    op.create_index("ix_labels_usable", "labels", USABLE)
    _disputes()
    _doubts()
    _open_those_there_are()


def _key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _disputes() -> None:
    of = "disputes"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("seats_added", sa.Integer(), nullable=False),
        sa.Column("settled_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        _check(of, "state_known", f"state IN ({STATES})"),
        _check(of, "settled_by_somebody", "(state = 'settled') = (settled_by IS NOT NULL)"),
        _key(of, "project_id", "projects"),
        _key(of, "task_id", "tasks"),
        _key(of, "settled_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
        sa.UniqueConstraint("task_id", name=op.f("uq_disputes_task_id")),
    )
    op.create_index("ix_disputes_state", of, ["project_id", "state", "id"])
    op.create_index("ix_disputes_settled_by", of, ["settled_by"])


def _doubts() -> None:
    of = "doubts"
    op.create_table(
        of,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("dispute_id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        _check(of, "answered_is_closed", "answer = '' OR closed_at IS NOT NULL"),
        _key(of, "project_id", "projects"),
        _key(of, "dispute_id", "disputes"),
        _key(of, "label_id", "labels"),
        _key(of, "annotator_id", "users"),
        _key(of, "created_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_doubts")),
        sa.UniqueConstraint("label_id", name=op.f("uq_doubts_label_id")),
    )
    for column in ("project_id", "dispute_id", "created_by"):
        op.create_index(f"ix_doubts_{column}", of, [column])
    op.create_index("ix_doubts_open", of, ["annotator_id", "project_id"], postgresql_where=OPEN, sqlite_where=OPEN)


def _open_those_there_are() -> None:
    """Of comparisons that nobody else is asked about; ratings come once one of their verdicts changes."""
    said = (
        "CASE l.choice WHEN 'left' THEN l.left_generation_id WHEN 'right' THEN l.right_generation_id"
        " WHEN 'tie' THEN -1 ELSE -2 END"
    )
    times = (
        f"SELECT t.id, t.project_id, {said} AS said, count(*) AS times FROM tasks t JOIN labels l ON l.task_id = t.id"
        " WHERE t.disputed AND l.current AND t.kind = 'comparison' AND t.purpose = 'train' AND t.served_reason <> 'chat'"
        " AND NOT EXISTS (SELECT 1 FROM seats s WHERE s.task_id = t.id AND s.state <> 'done')"
        f" GROUP BY t.id, t.project_id, {said}"
    )
    op.execute(
        "INSERT INTO disputes (project_id, task_id, state, seats_added, created_at)"
        f" SELECT project_id, id, 'open', 0, CURRENT_TIMESTAMP FROM ({times}) AS counted"
        " GROUP BY project_id, id HAVING 2 * max(times) <= sum(times) ORDER BY id"
    )
