"""A database that has grown for years, made in seconds by SQL: many labels, many open tasks, one project.

Tasks share the answers of a hundred prompts; nothing here looks at the texts. The labels are the annotators' own, in turn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import text

from app.database.engine import make_engine, write_session
from app.models import utc_now
from bench.stage import fill, say

PROMPTS: Final = 100

_NUMBERS: Final = "WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
_TASKS: Final = text(
    _NUMBERS
    + """INSERT INTO tasks (id, project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id, served_reason,
      created_at)
    SELECT n, 1, 1 + n % 100, 'comparison', 'train', 1 + 2 * (n % 100), 2 + 2 * (n % 100), 'random', :now FROM numbers"""
)
_DONE_SEATS: Final = text(
    _NUMBERS
    + """INSERT INTO seats (id, project_id, task_id, number, state, annotator_id, swapped, claimed_at)
    SELECT n, 1, n, 1, 'done', 1 + n % :annotators, n % 2, :now FROM numbers"""
)
_FREE_SEATS: Final = text(
    _NUMBERS
    + """INSERT INTO seats (project_id, task_id, number, state, swapped)
    SELECT 1, n, :number, 'free', 0 FROM numbers"""
)
_LABELS: Final = text(
    _NUMBERS
    + """INSERT INTO labels (id, project_id, task_id, seat_id, annotator_id, version, current, withdrawn, surplus, client_id,
      payload_hash,
      kind, choice, criteria, flags, comment, left_generation_id, right_generation_id, guideline_version, interface_version,
      wall_ms, active_ms, served_reason, created_at)
    SELECT n, 1, n, n, 1 + n % :annotators, 1, 1, 0, 0, printf('%08x-0000-4000-8000-%012x', n, n), printf('%064x', n),
      'comparison', CASE n % 4 WHEN 0 THEN 'tie' WHEN 1 THEN 'both_bad' WHEN 2 THEN 'left' ELSE 'right' END, '{}', '{}', '',
      1 + 2 * (n % 100), 2 + 2 * (n % 100), 1, 'bench', 9000, 6000, 'random', '2026-01-01 00:00:00.000000' FROM numbers"""
)


def fill_grown(data: Path, *, tasks: int, labels: int, annotators: int, overlap: int = 1) -> list[str]:
    """So many open tasks behind so many answered ones; the API keys of the annotators.

    With `overlap` 2 every answered task still has a free seat, which its annotator must be led past.
    """
    keys = fill(data, tasks=PROMPTS, annotators=annotators, rating_share=0.0)
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with write_session(engine) as session:
        session.execute(text("DELETE FROM seats"))
        session.execute(text("DELETE FROM tasks"))
        everything = {"first": 1, "last": labels + tasks, "now": str(utc_now().replace(tzinfo=None))}
        answered = everything | {"last": labels, "annotators": annotators}
        session.execute(_TASKS, everything)
        session.execute(_DONE_SEATS, answered)
        for number in range(2, overlap + 1):
            session.execute(_FREE_SEATS, answered | {"number": number})
        session.execute(_LABELS, answered)
        for number in range(1, overlap + 1):
            session.execute(_FREE_SEATS, everything | {"first": labels + 1, "number": number})
    engine.dispose()
    say(f"{labels} labels, {tasks} open tasks")
    return keys
