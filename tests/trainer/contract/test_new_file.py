"""A new file where there are no hard links: whole, and never in the place of another."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainer.contract import new_file
from trainer.contract.folder import whole


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_given: object, **_how: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.fixture(params=["links", "a rename that does not replace", "neither"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the disk knows: exFAT has no links, and some shares not even a rename that does not replace."""
    known: str = request.param
    if known != "links":
        monkeypatch.setattr(os, "link", refusing(errno.EPERM if known == "neither" else errno.EOPNOTSUPP))
    if known == "neither":
        monkeypatch.setattr(new_file, "_renamed", lambda *_given: False)
    return known


def write(path: Path, text: str) -> str:
    try:
        with whole(path, new=True) as unfinished:
            unfinished.write_text(text)
    except FileExistsError:
        return "taken"
    return "written"


def test_a_new_file_is_there_whole_and_nothing_beside_it(tmp_path: Path, disk: str) -> None:
    assert write(tmp_path / "tonight.db", "all of it") == "written"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("tonight.db", "all of it")]


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, disk: str) -> None:
    (tmp_path / "tonight.db").write_text("of yesterday")
    assert write(tmp_path / "tonight.db", "all of it") == "taken"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("tonight.db", "of yesterday")]


def test_of_many_that_write_one_new_file_one_does(tmp_path: Path, disk: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            told = list(threads.map(lambda who: write(tmp_path / str(number), str(who)), range(8)))  # noqa: B023
            assert sorted(told) == ["taken"] * 7 + ["written"]
            assert (tmp_path / str(number)).read_text() == str(told.index("written"))


def test_what_else_goes_wrong_with_a_link_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "tonight.db", "all of it")
    assert list(tmp_path.iterdir()) == []
