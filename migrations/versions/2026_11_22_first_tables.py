"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "ffd7ec07fe19"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("guideline_version", sa.Integer(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("rating_share", sa.Double(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("training", sa.JSON(), nullable=False),
        sa.Column("queue_low_mark", sa.Integer(), nullable=False),
        sa.Column("trigger_labels", sa.Integer(), nullable=True),
        sa.Column("trigger_hours", sa.Double(), nullable=True),
        sa.Column("triggers_on", sa.Boolean(), nullable=False),
        sa.Column("policy_id", sa.Integer(), nullable=True),
        sa.Column("previous_policy_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["checkpoints.id"], name=op.f("fk_projects_policy_id"), ondelete="RESTRICT", use_alter=True
        ),
        sa.ForeignKeyConstraint(
            ["previous_policy_id"],
            ["checkpoints.id"],
            name=op.f("fk_projects_previous_policy_id"),
            ondelete="RESTRICT",
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("slug", name=op.f("uq_projects_slug")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_owner", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_keys_user_id"), ["user_id"], unique=False)

    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=True),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_audit_actor_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_audit_project_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_actor_id"), ["actor_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_project_id"), ["project_id"], unique=False)

    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("label_digest", sa.String(length=64), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("promoted_by", sa.Integer(), nullable=True),
        sa.CheckConstraint("kind IN ('policy', 'reward')", name=op.f("ck_checkpoints_kind_known")),
        sa.ForeignKeyConstraint(["parent_id"], ["checkpoints.id"], name=op.f("fk_checkpoints_parent_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_checkpoints_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["promoted_by"], ["users.id"], name=op.f("fk_checkpoints_promoted_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_checkpoints_run_id"), ondelete="RESTRICT", use_alter=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_checkpoints_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_checkpoints_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_checkpoints_promoted_by"), ["promoted_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_checkpoints_run_id"), ["run_id"], unique=False)

    op.create_table(
        "guidelines",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_guidelines_created_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_guidelines_project_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guidelines")),
        sa.UniqueConstraint("project_id", "version", name=op.f("uq_guidelines_project_id_version")),
    )
    with op.batch_alter_table("guidelines", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_guidelines_created_by"), ["created_by"], unique=False)

    op.create_table(
        "invitations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_by", sa.Integer(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('owner', 'annotator', 'reviewer', 'admin')", name=op.f("ck_invitations_role_known")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_invitations_created_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_invitations_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["used_by"], ["users.id"], name=op.f("fk_invitations_used_by"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    with op.batch_alter_table("invitations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_invitations_created_by"), ["created_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_invitations_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_invitations_used_by"), ["used_by"], unique=False)

    op.create_table(
        "memberships",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('annotator', 'reviewer', 'admin')", name=op.f("ck_memberships_role_known")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_memberships_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("user_id", "project_id", name=op.f("uq_memberships_user_id_project_id")),
    )
    with op.batch_alter_table("memberships", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_memberships_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_memberships_user_id"), ["user_id"], unique=False)

    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("split", sa.String(length=10), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("split IN ('train', 'holdout')", name=op.f("ck_prompts_split_known")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_prompts_project_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_prompts_project_id_digest")),
    )
    with op.batch_alter_table("prompts", schema=None) as batch_op:
        batch_op.create_index("ix_prompts_project_id_split", ["project_id", "split", "id"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("label_digest", sa.String(length=64), nullable=True),
        sa.Column("label_count", sa.Integer(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('sample', 'reward', 'ppo', 'sft')", name=op.f("ck_runs_kind_known")),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_runs_state_known")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_runs_created_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_runs_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_runs_round_id"), ondelete="RESTRICT", use_alter=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_runs_created_by"), ["created_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_round_id"), ["round_id"], unique=False)
        batch_op.create_index("ix_runs_state", ["state", "id"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("user_agent", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sessions_user_id"), ["user_id"], unique=False)

    op.create_table(
        "generations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=False),
        sa.Column("finish_reason", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("finish_reason IN ('eos', 'length')", name=op.f("ck_generations_finish_reason_known")),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_generations_checkpoint_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_generations_prompt_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_generations_run_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
        sa.UniqueConstraint("run_id", "prompt_id", "number", name=op.f("uq_generations_run_id_prompt_id_number")),
    )
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_generations_checkpoint_id"), ["checkpoint_id"], unique=False)
        batch_op.create_index("ix_generations_prompt_id_checkpoint_id", ["prompt_id", "checkpoint_id"], unique=False)

    op.create_table(
        "rounds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("trigger", sa.String(length=10), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("label_count", sa.Integer(), nullable=False),
        sa.Column("start_policy_id", sa.Integer(), nullable=False),
        sa.Column("reward_id", sa.Integer(), nullable=True),
        sa.Column("candidate_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decision", sa.String(length=10), nullable=True),
        sa.Column("decided_by", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("decision IN ('promoted', 'rejected')", name=op.f("ck_rounds_decision_known")),
        sa.CheckConstraint(
            "state IN ('reward', 'ppo', 'sample', 'decision', 'done', 'refused', 'failed', 'cancelled')",
            name=op.f("ck_rounds_state_known"),
        ),
        sa.ForeignKeyConstraint(["candidate_id"], ["checkpoints.id"], name=op.f("fk_rounds_candidate_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_rounds_created_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_rounds_decided_by"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_rounds_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["reward_id"], ["checkpoints.id"], name=op.f("fk_rounds_reward_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["start_policy_id"], ["checkpoints.id"], name=op.f("fk_rounds_start_policy_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_rounds_project_id_number")),
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rounds_candidate_id"), ["candidate_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_rounds_created_by"), ["created_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_rounds_decided_by"), ["decided_by"], unique=False)
        batch_op.create_index(batch_op.f("ix_rounds_reward_id"), ["reward_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_rounds_start_policy_id"), ["start_policy_id"], unique=False)

    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("first_generation_id", sa.Integer(), nullable=False),
        sa.Column("second_generation_id", sa.Integer(), nullable=True),
        sa.Column("served_reason", sa.String(length=10), nullable=False),
        sa.Column("reward_checkpoint_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(kind = 'comparison') = (second_generation_id IS NOT NULL)", name=op.f("ck_tasks_comparison_has_two")
        ),
        sa.CheckConstraint("kind IN ('comparison', 'rating')", name=op.f("ck_tasks_kind_known")),
        sa.CheckConstraint("purpose IN ('train', 'gold', 'evaluation')", name=op.f("ck_tasks_purpose_known")),
        sa.CheckConstraint(
            "served_reason IN ('random', 'uncertain', 'gold', 'evaluation')", name=op.f("ck_tasks_served_reason_known")
        ),
        sa.CheckConstraint("second_generation_id <> first_generation_id", name=op.f("ck_tasks_generations_differ")),
        sa.ForeignKeyConstraint(
            ["first_generation_id"], ["generations.id"], name=op.f("fk_tasks_first_generation_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tasks_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_tasks_prompt_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["reward_checkpoint_id"], ["checkpoints.id"], name=op.f("fk_tasks_reward_checkpoint_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["second_generation_id"], ["generations.id"], name=op.f("fk_tasks_second_generation_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tasks_first_generation_id"), ["first_generation_id"], unique=False)
        batch_op.create_index("ix_tasks_project_id_purpose", ["project_id", "purpose", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_tasks_prompt_id"), ["prompt_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_tasks_second_generation_id"), ["second_generation_id"], unique=False)

    op.create_table(
        "seats",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=True),
        sa.Column("swapped", sa.Boolean(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'free') = (annotator_id IS NULL)", name=op.f("ck_seats_taken_seats_have_annotators")),
        sa.CheckConstraint("state IN ('free', 'leased', 'done')", name=op.f("ck_seats_state_known")),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.id"], name=op.f("fk_seats_annotator_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_seats_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_seats_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seats")),
        sa.UniqueConstraint("task_id", "annotator_id", name=op.f("uq_seats_task_id_annotator_id")),
        sa.UniqueConstraint("task_id", "number", name=op.f("uq_seats_task_id_number")),
    )
    with op.batch_alter_table("seats", schema=None) as batch_op:
        batch_op.create_index("ix_seats_annotator_id", ["annotator_id", "state"], unique=False)
        batch_op.create_index("ix_seats_queue", ["project_id", "state", "id"], unique=False)

    op.create_table(
        "skips",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.id"], name=op.f("fk_skips_annotator_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_skips_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skips")),
        sa.UniqueConstraint("task_id", "annotator_id", name=op.f("uq_skips_task_id_annotator_id")),
    )
    with op.batch_alter_table("skips", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_skips_annotator_id"), ["annotator_id"], unique=False)

    op.create_table(
        "labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("seat_id", sa.Integer(), nullable=True),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("surplus", sa.Boolean(), nullable=False),
        sa.Column("client_id", sa.String(length=36), nullable=False),
        sa.Column("payload_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("choice", sa.String(length=10), nullable=True),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("overall", sa.Integer(), nullable=True),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("rewrite", sa.JSON(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("left_generation_id", sa.Integer(), nullable=False),
        sa.Column("right_generation_id", sa.Integer(), nullable=True),
        sa.Column("guideline_version", sa.Integer(), nullable=False),
        sa.Column("interface_version", sa.String(length=40), nullable=False),
        sa.Column("wall_ms", sa.Integer(), nullable=True),
        sa.Column("active_ms", sa.Integer(), nullable=True),
        sa.Column("served_reason", sa.String(length=10), nullable=False),
        sa.Column("reward_checkpoint_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(kind = 'comparison') = (choice IS NOT NULL)", name=op.f("ck_labels_comparison_has_choice")),
        sa.CheckConstraint("(kind = 'rating') = (overall IS NOT NULL)", name=op.f("ck_labels_rating_has_overall")),
        sa.CheckConstraint("choice IN ('left', 'right', 'tie', 'both_bad')", name=op.f("ck_labels_choice_known")),
        sa.CheckConstraint("kind IN ('comparison', 'rating')", name=op.f("ck_labels_kind_known")),
        sa.CheckConstraint("(version = 1) = (supersedes_id IS NULL)", name=op.f("ck_labels_later_versions_supersede")),
        sa.CheckConstraint("overall BETWEEN 1 AND 5", name=op.f("ck_labels_overall_1_to_5")),
        sa.CheckConstraint("strength BETWEEN 1 AND 3", name=op.f("ck_labels_strength_1_to_3")),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.id"], name=op.f("fk_labels_annotator_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["left_generation_id"], ["generations.id"], name=op.f("fk_labels_left_generation_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_labels_project_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["reward_checkpoint_id"], ["checkpoints.id"], name=op.f("fk_labels_reward_checkpoint_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["right_generation_id"], ["generations.id"], name=op.f("fk_labels_right_generation_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["seat_id"], ["seats.id"], name=op.f("fk_labels_seat_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["supersedes_id"], ["labels.id"], name=op.f("fk_labels_supersedes_id"), ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_labels_task_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
        sa.UniqueConstraint("client_id", name=op.f("uq_labels_client_id")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_labels_supersedes_id")),
        sa.UniqueConstraint("task_id", "annotator_id", "version", name=op.f("uq_labels_task_id_annotator_id_version")),
    )
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.create_index("ix_labels_annotator_id", ["annotator_id", "id"], unique=False)
        batch_op.create_index("ix_labels_project_id_current", ["project_id", "current", "id"], unique=False)

    if op.get_bind().dialect.name == "sqlite":
        return  # has no ALTER for constraints, so the circular ones above were created with their tables
    for table, column, target in (
        ("projects", "policy_id", "checkpoints"),
        ("projects", "previous_policy_id", "checkpoints"),
        ("checkpoints", "run_id", "runs"),
        ("runs", "round_id", "rounds"),
    ):
        op.create_foreign_key(op.f(f"fk_{table}_{column}"), table, target, [column], ["id"], ondelete="RESTRICT")
