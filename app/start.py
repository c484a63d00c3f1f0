"""What happens before anything is served: the folder, the database at head, the demo project, the owner's link."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, make_url, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.accounts import invitations
from app.database.engine import init_db, make_engine, read_session, write_session
from app.database.failures import SAYS_ALL, said_by, what_a_disk_did
from app.database.upgrade import UpgradeError, require_head, upgrade_to_head
from app.demo.demo import DEFAULT_MODEL, ensure_demo
from app.errors import Conflict, Refusal, Unavailable
from app.language.formats import listed
from app.models import Project, Run
from app.runs.run_files import texts_folder
from app.settings import Settings
from trainer.contract.folder import whole

STARTS_WITHIN_S = 60.0
ABSENT_FOR_S = 2.0  # between the end of the old server and the first word of the new one
OWN_FOLDERS = ("runs", "models", "cache", "texts", "workers")
OWN_FILES = re.compile(  # what lies in a data folder before there is a database in it, or a run
    r"tastemaker\.db(-wal|-shm|-journal|\.upgrade-lock|\.before-upgrade-from-.+)?"
    rf"|models/{DEFAULT_MODEL}(\.[^/]+)?/.+"
    r"|cache/features-[0-9a-f]{16}/[^/]+"
    r"|texts/([^/]+/)?[^/]+\.(txt|jsonl)"
    r"|workers/[^/]+\.lock"
)
_STARTING = (
    "the database system is starting up",
    "the database system is shutting down",
    "the database system is not yet accepting",
)


class CannotStart(Refusal):
    title = "Tastemaker cannot start"


def prepare(settings: Settings) -> None:
    """Bring everything to where it can be served. Raises Refusal with what to do."""
    with in_one_sentence(settings):
        _prepare(settings)


def _prepare(settings: Settings) -> None:
    _take_for_its_own(settings.data.resolve())
    if settings.trusts_everybody:
        _warn(
            "TASTEMAKER_TRUSTED_PROXIES names everybody: the first address in X-Forwarded-For is believed whoever sends it, so "
            "anybody can claim to be any client, and no limit by address holds. Name your proxy's own address."
        )
    wait_for_server(settings)
    try:
        backup = upgrade_to_head(settings.url)
    except UpgradeError as error:
        raise CannotStart(f"The database could not be brought to this version and is as it was: {error}.") from None
    if backup is not None:
        print(f"The database was brought to this version; a copy from before is {backup}.", flush=True)
    engine = make_engine(settings.url)
    try:
        init_db(engine)
        _protect(settings)
        with contextlib.suppress(Conflict), write_session(engine) as session:  # a web process that starts at this moment made it
            ensure_demo(session, settings)
        _share_out_texts(engine, settings)
        _refuse_public_address_without_owner(engine, settings)
    finally:
        engine.dispose()


def open_database(settings: Settings) -> Engine:
    """The engine for a command that needs the database at head. Raises Unavailable when there is none yet."""
    with in_one_sentence(settings):
        wait_for_server(settings)
        engine = make_engine(settings.url)
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
            raise Unavailable(f"There is no database at {engine.url.database} yet. `tastemaker up` makes one.")
        require_head(engine)
        return engine


def wait_for_server(settings: Settings) -> None:
    """Until a PostgreSQL that is starting, or is started again, lets somebody in: who was started beside it need not end.

    Raises what it said last when it takes longer than a minute, or is not there at all for two seconds.
    """
    engine = make_engine(settings.url)
    began = time.monotonic()
    try:
        while engine.dialect.name != "sqlite":
            try:
                engine.connect().close()
                return
            except OperationalError as error:
                patience_s = STARTS_WITHIN_S if any(words in str(error) for words in _STARTING) else ABSENT_FOR_S
                if time.monotonic() > began + patience_s:
                    raise
            time.sleep(0.2)
    finally:
        engine.dispose()


@contextlib.contextmanager
def in_one_sentence(settings: Settings) -> Iterator[None]:
    """Whatever a disk or a database says against a start, told to who starts it: raises CannotStart."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"{error.filename or settings.data} cannot be used: {error.strerror or error}.") from error
    except SQLAlchemyError as error:
        if (words := what_a_disk_did(error, settings.data)) in SAYS_ALL:
            raise CannotStart(str(words)) from error
        where = make_url(settings.url).render_as_string(hide_password=True) if settings.database_url else settings.database_file
        raise CannotStart(f"The database {where} cannot be used: {said_by(error)}.") from error


def welcome(settings: Settings) -> str:
    """The line to open first: the owner's link while there is no owner, else the address."""
    engine = open_database(settings)
    try:
        with read_session(engine) as session:
            owned = invitations.has_owner(session)
    finally:
        engine.dispose()
    if owned:
        return f"Tastemaker is at {address(settings)}"
    return f"Open this link once to become the owner (it works for 24 hours): {new_owner_link(settings)}"


def announce(settings: Settings) -> str:
    """As `welcome`, for a web process on its own: silent while a link that somebody printed is still open."""
    engine = open_database(settings)
    try:
        with read_session(engine) as session:
            waiting = not invitations.has_owner(session) and invitations.has_open_owner_link(session)
    finally:
        engine.dispose()
    return "" if waiting else welcome(settings)


def new_owner_link(settings: Settings) -> str:
    engine = open_database(settings)
    try:
        with write_session(engine) as session:
            token = invitations.owner_link(session)
    finally:
        engine.dispose()
    return f"{address(settings)}/invitations/{token}"


def address(settings: Settings) -> str:
    """Where people reach it."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = settings.host if is_loopback(settings.host) else "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def refuse_taken_address(settings: Settings) -> None:
    """Raises CannotStart, which says why, unless the web process can listen at its address."""
    try:
        for family, *_, place in socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM):
            try:
                probe = socket.socket(family)
            except OSError:  # a kernel without IPv6: the server passes such an address over as well
                continue
            with probe:  # the server listens at every other address of a name, or not at all
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port just left is free
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = "is taken, perhaps by another Tastemaker. Stop it or set TASTEMAKER_PORT"
        else:
            why = f"cannot be listened to: {error.strerror}. TASTEMAKER_HOST is an address of this machine"
        raise CannotStart(f"Port {settings.port} on {settings.host} {why}.") from None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_public_address_without_owner(engine: Engine, settings: Settings) -> None:
    """Until there is an owner, whoever comes first with the link would be it."""
    if is_loopback(settings.host):
        return
    with read_session(engine) as session:
        if invitations.has_owner(session):
            return
    raise CannotStart(
        f"TASTEMAKER_HOST={settings.host} can be reached from other machines, and nobody owns this installation yet. "
        "Start it once with TASTEMAKER_HOST=127.0.0.1, open the link it prints, and then use the public address."
    )


def _take_for_its_own(folder: Path) -> None:
    """Make the data folder where there is none, and close it to the other accounts of the machine.

    Raises CannotStart for a folder that others use, that is another account's, or that is open to others and holds what is none
    of Tastemaker's: `/home`, a folder of programs. One that is closed, by an earlier start above all, shuts nobody out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if folder == Path(folder.anchor) or mode & stat.S_ISVTX:
        raise CannotStart(f"TASTEMAKER_DATA={folder} is a folder that all of this machine use. Name one for Tastemaker alone.")
    if not _is_in_use(folder):
        if _is_anothers(folder):
            raise CannotStart(f"TASTEMAKER_DATA={folder} belongs to another account of this machine. Name one of your own.")
        if mode & 0o077 and (foreign := _foreign_to(folder)):
            some = listed(foreign[:3] + ["..."] * (len(foreign) > 3))
            raise CannotStart(
                f"TASTEMAKER_DATA={folder} holds what is none of Tastemaker's: {some}. Name an empty folder for it."
            )
    if not _close(folder, 0o700):
        why = "it belongs to somebody else, or its disk knows no accounts"
        _warn(f"{folder} cannot be closed to the other accounts of this machine, who may read what is in it: {why}.")


def _is_in_use(folder: Path) -> bool:
    """Whether it is Tastemaker's already: then a person may keep in it what they like."""
    return (folder / "tastemaker.db").exists() or any(folder.glob("runs/*/run.json"))


def _is_anothers(folder: Path) -> bool:
    """Whether another account of the machine owns it. A disk that knows no accounts gives our own files to somebody else, too."""
    if folder.stat().st_uid == os.geteuid():
        return False
    try:
        with tempfile.TemporaryFile(dir=folder) as ours:
            return os.fstat(ours.fileno()).st_uid == os.geteuid()
    except PermissionError:
        return True


def _foreign_to(folder: Path) -> list[str]:
    """What lies in a folder that is not Tastemaker's.

    Hidden files of an account's home, and `lost+found` of a disk's, make no folder somebody's. Empty folders named as ours are
    left over from what came to nothing, but make none Tastemaker's.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name != "lost+found")
    whose = {name: _is_own(folder, folder / name) for name in names}
    if not any(whose.values()):
        return names
    return [name for name, is_own in whose.items() if is_own is False]


def _is_own(folder: Path, path: Path) -> bool | None:
    """Whether all files are what Tastemaker writes there; None of an empty folder that is named as one of its own."""
    files = (file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    known = (OWN_FILES.fullmatch(file.relative_to(folder).as_posix()) is not None for file in files)
    first = next(known, None if path.name in OWN_FOLDERS else False)
    return first and all(known)


def _protect(settings: Settings) -> None:
    """Only this account of the machine may read a database that lies in the data folder, also one that was copied there."""
    if not settings.database_url and settings.database_file.exists():
        _close(settings.database_file, 0o600)


def _close(path: Path, mode: int) -> bool:
    """Whether it is closed to others now."""
    if path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # refused, as by a disk that knows no accounts; some take it, and change nothing
            path.chmod(mode)
    return path.stat().st_mode & 0o077 == 0


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _share_out_texts(engine: Engine, settings: Settings) -> None:
    """Give the texts of an earlier version, which all projects shared, to the projects that trained on them.

    A text that no run names goes to the only project there is; where there are several, a person has to say whose it is.
    """
    shared = [path for path in (settings.data / "texts").glob("*") if path.is_file() and path.suffix in (".txt", ".jsonl")]
    if not shared:
        return
    with read_session(engine) as session:
        slugs = list(session.scalars(select(Project.slug).where(Project.deleted_at.is_(None))))
        runs = select(Project.slug, Run.inputs).join(Run, Run.project_id == Project.id).where(Run.kind == "sft")
        named = [(slug, inputs.get("text")) for slug, inputs in session.execute(runs)]
    for path in shared:
        owners = {slug for slug, name in named if name == path.name} or (set(slugs) if len(slugs) == 1 else set())
        for slug in owners:
            folder = texts_folder(settings.data, slug)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / path.name).exists():
                with whole(folder / path.name) as unfinished:
                    shutil.copy2(path, unfinished)
        if owners:
            path.unlink()
        else:
            print(
                f"Texts belong to projects now: move {path} into the folder of its project, {path.parent}/PROJECT/.", flush=True
            )
