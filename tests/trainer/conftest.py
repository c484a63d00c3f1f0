"""The bridge and the supervisor stand between both worlds, so their tests use the web side's database and cast."""

from tests.app.conftest import app, cast, empty_database, engine, settings

__all__ = ["app", "cast", "empty_database", "engine", "settings"]
