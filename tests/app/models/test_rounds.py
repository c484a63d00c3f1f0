from sqlalchemy import Engine, text

from app.database.engine import read_session, write_session
from app.models import Checkpoint, Run
from tests.app import factories
from tests.app.conftest import Cast
from trainer.contract.messages import Message

ENDING = Message("crashed_silently", times=3, ending=Message("killed", signal="SIGKILL"))


def test_what_a_run_says_is_kept_as_a_code_with_its_arguments(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        said = factories.make_run(session, cast.demo, message=ENDING).id
        silent = factories.make_run(session, cast.demo).id
    with read_session(engine) as session:
        assert session.get_one(Run, said).message == ENDING
        assert session.get_one(Run, silent).message is None
        stored = session.execute(text("SELECT message FROM runs WHERE id IN (:a, :b) ORDER BY id"), {"a": said, "b": silent})
        killed = '{"code": "killed", "arguments": {"signal": "SIGKILL"}}'
        assert stored.scalars().all() == [
            f'{{"code": "crashed_silently", "arguments": {{"times": 3, "ending": {killed}}}}}',
            "",
        ]


def test_rows_of_an_earlier_version_read_as_they_were_written(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo).id
        checkpoint_id = factories.make_checkpoint(session, cast.demo).id
        session.execute(text("UPDATE runs SET message = 'KL reached 31.0 nats per answer' WHERE id = :id"), {"id": run_id})
        session.execute(text("UPDATE checkpoints SET name = 'Policy of round 3' WHERE id = :id"), {"id": checkpoint_id})
    with read_session(engine) as session:
        assert session.get_one(Run, run_id).message == factories.written("KL reached 31.0 nats per answer")
        assert session.get_one(Checkpoint, checkpoint_id).name == factories.written("Policy of round 3")
