"""The session and the project that the tests of rounds write in."""

from tests.app.rounds.conftest import demo, session

__all__ = ["demo", "session"]
