"""The tables' side of the bridge: the session and the project that the tests of rounds write in, and a reader of Chinese."""

from tests.app.language.test_translations import chinese
from tests.app.rounds.conftest import demo, session

__all__ = ["chinese", "demo", "session"]
