"""From what is said to its two continuations: the transactions around the time in which the models write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

from anyio import to_thread
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.chats import turns
from app.chats.side_by_side import Grown, SideBySide, side_by_side
from app.chats.turns import Asked
from app.database.engine import write_turn
from app.serving.warm_process import WarmProcess

Found = TypeVar("Found")


async def written(engine: Engine, deed: Callable[[Session], Found]) -> Found:
    """What the deed gives, once it is committed."""
    async with write_turn(engine) as session:
        return await to_thread.run_sync(deed, session)


class Turn:
    """A turn that was said, while it is being answered."""

    def __init__(self, engine: Engine, warm: WarmProcess, asked: Asked) -> None:
        self.asked = asked
        self._engine = engine
        self._warm = warm
        self._held = AsyncExitStack()
        self._both: SideBySide | None = None

    async def begin(self) -> None:
        """Ask the models, unless they have answered. Raises what they refuse."""
        if not self.asked.answered:
            both = side_by_side(self._warm, self.asked.left, self.asked.right)
            self._both = await self._held.enter_async_context(both)

    async def grow(self) -> AsyncIterator[Grown]:
        """All that comes; at the end both are kept. Whoever leaves before has nothing kept, and says the same again."""
        async with self._held:
            if self._both is None:
                return
            async for grown in self._both.grown:
                yield grown
        await written(self._engine, partial(turns.keep, asked=self.asked, answers=self._both.answers))
