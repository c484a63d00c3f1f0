"""The tables' side of the bridge: the session and the project that the tests of rounds write in, and a reader of Chinese."""

from tests.app.conftest import demo, session
from tests.app.language.test_translations import chinese

__all__ = ["chinese", "demo", "session"]
