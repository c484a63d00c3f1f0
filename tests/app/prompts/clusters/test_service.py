"""The newest map of a project's prompts."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from app.database.engine import read_session, write_session
from app.models import utc_now
from app.prompts.clusters.service import newest_map, prompts_in
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.coverage.drawn import draw
from trainer.contract.coverage.clusters import Cluster


def test_the_newest_run_that_drew_a_map_is_asked(engine: Engine, cast: Cast, tmp_path: Path) -> None:
    with write_session(engine) as session:
        assert newest_map(session, cast.demo, tmp_path) is None
        earlier = draw(session, cast.demo, tmp_path, Cluster((1, 2)))
        kept = draw(session, cast.demo, tmp_path, Cluster((7, 5)), Cluster((6,), ("sky",)))
        draw(session, cast.demo, tmp_path, Cluster((8,)), state="failed")
        foreign = draw(session, cast.other, tmp_path, Cluster((9,)))
        factories.make_run(session, cast.demo, "reward", ended_at=utc_now())  # of too few prompts for a map
    with read_session(engine) as session:
        found = newest_map(session, cast.demo, tmp_path)
        assert found is not None
        assert (found.run_id, found.coverage.clusters) == (kept, (Cluster((7, 5)), Cluster((6,), ("sky",))))
        assert prompts_in(session, cast.demo, tmp_path, f"{kept}.1") == (7, 5)
        assert prompts_in(session, cast.demo, tmp_path, f"{kept}.2") == (6,)
        assert prompts_in(session, cast.demo, tmp_path, f"{kept}.3") == ()
        assert prompts_in(session, cast.demo, tmp_path, f"{earlier}.1") == (1, 2), "a later map moves nothing"
        assert prompts_in(session, cast.demo, tmp_path, f"{foreign}.1") == ()
        assert prompts_in(session, cast.demo, tmp_path, "999.1") == ()
