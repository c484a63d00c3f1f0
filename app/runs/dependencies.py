"""What routes about runs, rounds and checkpoints share: ids and cursors of their paths, the data folder, a page of a list."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from app.settings import Settings
from app.web.json_types import MAX_ID, Page

PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
Cursor = Annotated[str | None, Query(max_length=40)]


async def data_folder(request: Request) -> FilePath:
    settings: Settings = request.app.state.settings
    return settings.data.resolve()


Data = Annotated[FilePath, Depends(data_folder)]


def page_of(items: list[Any], limit: int) -> Page[Any]:
    """The first `limit` of the items asked for, one more than that; where the next page begins, if there is one."""
    return Page(items=items[:limit], next_cursor=str(items[limit - 1].id) if len(items) > limit else None)
