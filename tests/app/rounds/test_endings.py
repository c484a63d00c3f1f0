"""How runs and rounds end, on their pages in Chinese: no sentence is left in English, whichever code the ending has."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.language import languages
from app.language.run_messages import told as tell
from app.models import Project, Round, Run
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.language.test_run_messages import an_example
from tests.app.language.test_translations import Reader, english
from tests.app.rounds import told
from trainer.contract.messages import Message
from trainer.contract.sentences import ROUNDS, RUNS, SENTENCES

CHINESE = {"accept-language": "zh-TW"}


def in_chinese(message: Message) -> str:
    languages.use("zh-Hant")
    said = tell(message)
    languages.use(languages.SOURCE)
    return said


def words(page: str) -> str:
    reader = Reader()
    reader.feed(page)
    return " ".join(reader.words)


@pytest.mark.parametrize(("state", "codes"), [("failed", SENTENCES), ("running", RUNS), ("done", RUNS), ("cancelled", RUNS)])
def test_whatever_a_run_says_its_page_says_in_chinese(
    client: TestClient, engine: Engine, cast: Cast, state: str, codes: dict[str, str]
) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, state=state).id
    for code in sorted(codes.keys() - {"done"}):
        message = an_example(code)
        with write_session(engine) as session:
            session.get_one(Run, run_id).message = message
        page = client.get(f"/runs/{run_id}", headers=CHINESE).text
        assert in_chinese(message) in words(page), code
        assert english(page) == [], code


@pytest.mark.parametrize("state", ["refused", "failed", "cancelled"])
def test_whatever_ends_a_round_its_page_says_in_chinese(
    client: TestClient, engine: Engine, cast: Cast, settings: Settings, state: str
) -> None:
    with write_session(engine) as session:
        story = told.tell(session, session.get_one(Project, cast.demo), settings.runs)
    for code in sorted(ROUNDS):
        message = an_example(code)
        with write_session(engine) as session:
            round_ = session.get_one(Round, story.round)
            round_.state, round_.reason = state, message
        page = client.get(f"/rounds/{story.round}", headers=CHINESE).text
        assert in_chinese(message) in words(page), code
        assert english(page) == [], code
