"""The command line, and what every start prepares."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app import cli, up
from app.accounts import invitations
from app.database.engine import make_engine, read_session, write_session
from app.database.failures import FULL, SERVER_READ_ONLY
from app.database.upgrade import is_at_head
from app.demo import demo
from app.demo.demo import DEFAULT_MODEL
from app.errors import Refusal
from app.models import Project, User
from app.projects.service import create_project
from app.settings import Settings
from app.start import address, announce, is_loopback, new_owner_link, open_database, prepare, refuse_taken_address, welcome
from tests.app import factories
from tests.failing_disk import full_disk
from tests.postgres import cluster, free_port, server
from trainer.contract.folder import A_PAGE

__all__ = ["server"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `data`, prepared by a first start, and its `model`: copied for each test, since that takes two seconds."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    prepare(Settings(data=folder / "data", base_model=str(folder / "model")))
    return folder


@pytest.fixture
def settings(tmp_path: Path, prepared: Path) -> Settings:
    """An installation that was prepared once, with nobody in it."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Settings(data=tmp_path / "data", base_model=str(tmp_path / "model"))


def own(settings: Settings) -> None:
    engine = make_engine(settings.url)
    with write_session(engine) as session:
        session.add(User(email="ada@example.org", name="Ada", is_owner=True, password_hash="set"))
    engine.dispose()


def run(settings: Settings, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command; `work alone` is the worker as a process of its own."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "TASTEMAKER_DATA": str(settings.data),
        "TASTEMAKER_BASE_MODEL": settings.base_model,
        "TASTEMAKER_HOST": settings.host,
        **({"TASTEMAKER_PORT": "0"} if arguments[0] in ("up", "serve") else {}),  # any that is free
        **more,
    }
    module = ["trainer.worker.supervisor"] if arguments == ("work alone",) else ["app.cli", *arguments]
    return subprocess.run(
        [sys.executable, "-m", *module], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, umask=0o022
    )


def test_the_first_start_makes_a_database_at_head_and_the_demo_project(settings: Settings) -> None:
    engine = make_engine(settings.url)
    assert is_at_head(engine)
    with read_session(engine) as session:
        assert session.query(Project).one().name == "Demo"
    engine.dispose()


def test_two_first_starts_at_once_make_one_demo_project_and_both_go_on(
    server: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, where neither waits for the other's transaction before it looks."""
    both_have_looked = threading.Barrier(2, timeout=30)
    create = create_project

    def create_once_both_have_looked(*given: Any, **more: Any) -> Project:
        both_have_looked.wait()
        return create(*given, **more)

    monkeypatch.setattr(demo, "create_project", create_once_both_have_looked)
    shared = settings.model_copy(update={"database_url": server})
    with ThreadPoolExecutor(2) as processes:
        for start in [processes.submit(prepare, shared) for _ in range(2)]:
            start.result()
    engine = make_engine(server)
    with read_session(engine) as session:
        assert session.query(Project).one().name == "Demo"
    engine.dispose()


def test_a_start_beside_a_server_that_is_started_again_waits_for_it(settings: Settings, tmp_path: Path) -> None:
    with cluster(fsync=False) as postgres, ThreadPoolExecutor(1) as beside:
        shared = settings.model_copy(update={"database_url": postgres.url})
        prepare(shared)
        postgres.stop()
        start = beside.submit(open_database, shared)
        time.sleep(0.5)
        assert not start.done()
        postgres.start()
        start.result(timeout=30).dispose()


def test_a_second_start_changes_nothing(settings: Settings) -> None:
    prepare(settings)
    engine = make_engine(settings.url)
    with read_session(engine) as session:
        assert session.query(Project).count() == 1
    engine.dispose()


def test_texts_that_all_projects_shared_go_to_those_that_trained_on_them(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = make_engine(settings.url)
    with write_session(engine) as session:
        other = factories.make_project(session, "other", name="Other")
        demo = session.query(Project).filter_by(slug="demo").one()
        for project, name in ((demo, "tales.txt"), (other, "tales.txt"), (other, "letters.jsonl")):
            factories.make_run(session, project.id, "sft", inputs={"text": name, "rewrites": False, "base": None})
    engine.dispose()
    texts = settings.data / "texts"
    (texts / "other").mkdir(parents=True)
    for name in ("tales.txt", "letters.jsonl", "nobodys.txt"):
        (texts / name).write_text(name)

    prepare(settings)

    left = sorted(path.relative_to(texts).as_posix() for path in texts.rglob("*") if path.is_file())
    assert left == ["demo/tales.txt", "nobodys.txt", "other/letters.jsonl", "other/tales.txt"]
    assert f"move {texts / 'nobodys.txt'} into the folder of its project" in capsys.readouterr().out
    assert (texts / "other" / "tales.txt").read_text() == "tales.txt"


def test_the_only_project_gets_all_shared_texts(settings: Settings) -> None:
    (settings.data / "texts").mkdir()
    (settings.data / "texts" / "tales.txt").write_text("Once.")
    prepare(settings)
    assert (settings.data / "texts" / "demo" / "tales.txt").read_text() == "Once."
    assert not (settings.data / "texts" / "tales.txt").exists()


def test_only_this_account_reads_the_database(settings: Settings) -> None:
    assert (settings.data / "tastemaker.db").stat().st_mode & 0o077 == 0
    assert settings.data.stat().st_mode & 0o077 == 0


def test_the_first_line_is_a_link_until_there_is_an_owner(settings: Settings) -> None:
    assert re.search(r"http://127\.0\.0\.1:8000/invitations/[\w-]{43}$", welcome(settings))
    own(settings)
    assert welcome(settings) == "Tastemaker is at http://127.0.0.1:8000"


def test_the_web_process_does_not_undo_the_link_that_was_just_printed(settings: Settings) -> None:
    token = new_owner_link(settings).rpartition("/")[2]
    assert announce(settings) == ""
    engine = make_engine(settings.url)
    with read_session(engine) as session:
        assert invitations.read_offer(session, token).role == "owner"
    engine.dispose()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "taste.example.org"])
def test_a_public_address_is_refused_until_there_is_an_owner(settings: Settings, host: str) -> None:
    public = settings.model_copy(update={"host": host})
    with pytest.raises(Refusal, match="nobody owns this installation"):
        prepare(public)
    own(settings)
    prepare(public)


def test_loopback_addresses_are_known() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"))


def test_a_link_names_the_public_address(settings: Settings) -> None:
    public = settings.model_copy(update={"public_url": "https://taste.example.org/"})
    assert address(public) == "https://taste.example.org"
    assert address(settings.model_copy(update={"host": "::1", "port": 80})) == "http://[::1]:80"


# The command line


def test_admin_link_prints_one_line_that_works(settings: Settings) -> None:
    told = run(settings, "admin-link")
    assert told.returncode == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/invitations/[\w-]{43}\n", told.stdout)


def test_backup_writes_a_private_copy_and_refuses_the_second_time(settings: Settings, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert "complete and checked" in run(settings, "backup", str(copy)).stdout
    assert copy.stat().st_mode & 0o077 == 0
    again = run(settings, "backup", str(copy))
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_refusal_is_one_line_without_a_traceback(settings: Settings) -> None:
    told = run(settings.model_copy(update={"host": "0.0.0.0"}), "serve")
    assert told.returncode == 1
    assert "nobody owns this installation" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_command_without_a_database_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    told = run(settings.model_copy(update={"data": tmp_path / "elsewhere"}), "admin-link")
    assert told.returncode == 1
    assert "`tastemaker up` makes one" in told.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    for command in ("up", "serve", "work", "admin-link", "import", "export", "round", "checkpoint", "sft", "backup"):
        assert re.search(rf"^    {command}\b", shown, re.MULTILINE), command


def test_the_web_process_of_up_does_not_say_where_it_is_a_second_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(settings)
    own(settings)
    capsys.readouterr()
    settings = settings.model_copy(update={"port": free_port()})  # somebody may use Tastemaker while the tests run
    monkeypatch.setattr("app.cli.get_settings", lambda: settings)
    monkeypatch.setattr("app.serve.serve", lambda settings: 0)
    said = []
    for command in (["serve"], [*up.WEB[3:]]):
        assert cli.main(command) == 0
        said.append(capsys.readouterr().out)
    assert said == [f"Tastemaker is at {address(settings)}\n", ""]


# What stands in the way of a start


DOORS = ("up", "serve", "admin-link", "work alone")


def doors(first: str) -> pytest.MarkDecorator:
    """A fault is met at one door; at the others, which are the same sentence by the same few lines, at night."""
    return pytest.mark.parametrize(
        "door", [first, *(pytest.param(one, marks=pytest.mark.nightly) for one in DOORS if one != first)]
    )


def refused(told: subprocess.CompletedProcess[str]) -> str:
    """What it said: one sentence."""
    assert told.returncode in (1, 2)
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1, told.stderr
    return told.stderr


@doors("serve")
def test_a_file_that_is_no_database_is_named(settings: Settings, door: str) -> None:
    settings.database_file.write_bytes(b"This is a letter and no database. " * 200)
    for left in ("-wal", "-shm"):
        settings.database_file.with_name(f"tastemaker.db{left}").unlink(missing_ok=True)
    assert refused(run(settings, door)) == f"The database {settings.database_file} cannot be used: file is not a database.\n"


@doors("work alone")
def test_a_server_that_cannot_be_reached_is_named_without_its_password(settings: Settings, door: str) -> None:
    told = refused(run(settings, door, TASTEMAKER_DATABASE_URL="postgresql+psycopg://ada:secret@127.0.0.1:1/taste"))
    assert told.startswith("The database postgresql+psycopg://ada:***@127.0.0.1:1/taste cannot be used: connection failed")


def test_a_server_that_can_only_be_read_is_told_as_such(server: str, settings: Settings) -> None:
    engine = make_engine(server)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("CREATE DATABASE read_only"))
        connection.execute(text("ALTER DATABASE read_only SET default_transaction_read_only = on"))
    theirs = engine.url.set(database="read_only").render_as_string(hide_password=False)
    engine.dispose()
    with pytest.raises(Refusal) as refused:
        prepare(settings.model_copy(update={"database_url": theirs}))
    assert str(refused.value) == SERVER_READ_ONLY


@doors("up")
def test_a_variable_that_does_not_exist_is_named_with_the_nearest_one(settings: Settings, door: str) -> None:
    told = refused(run(settings, door, TASTEMAKER_DATABSE_URL="x"))
    assert told == "TASTEMAKER_DATABSE_URL: there is no such variable; did you mean TASTEMAKER_DATABASE_URL?\n"


@doors("admin-link")
def test_a_data_folder_that_is_a_file_is_named(settings: Settings, tmp_path: Path, door: str) -> None:
    (tmp_path / "letter").write_text("Dear Ada")
    told = refused(run(settings.model_copy(update={"data": tmp_path / "letter" / "data"}), door))
    assert "letter" in told
    assert "Not a directory" in told or "There is no database" in told


@pytest.mark.parametrize("door", ["serve", pytest.param("up", marks=pytest.mark.nightly)])
def test_a_port_that_is_taken_is_named_and_the_open_link_goes_on(settings: Settings, door: str) -> None:
    token = new_owner_link(settings).rpartition("/")[2]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = refused(run(settings, door, TASTEMAKER_PORT=port))
    assert told == f"Port {port} on 127.0.0.1 is taken, perhaps by another Tastemaker. Stop it or set TASTEMAKER_PORT.\n"
    engine = make_engine(settings.url)
    with read_session(engine) as session:
        assert invitations.read_offer(session, token).role == "owner"
    engine.dispose()


@pytest.mark.parametrize("taken", ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
def test_of_a_name_with_several_addresses_each_must_be_free(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    with socket.create_server((taken, 0)) as server:
        port = server.getsockname()[1]
        places = [(address, port) for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3")]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: found)  # as a file of hosts can have it
        named = settings.model_copy(update={"host": "taste.example.org", "port": port})
        with pytest.raises(Refusal, match=r"taste\.example\.org is taken"):
            refuse_taken_address(named)
    refuse_taken_address(named)


def test_an_address_of_a_kind_this_machine_does_not_know_is_passed_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the server does: `localhost` where the kernel has no IPv6."""
    unknown, port = 999, free_port()
    found = [(family, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for family in (unknown, socket.AF_INET)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: found)
    refuse_taken_address(settings.model_copy(update={"host": "localhost", "port": port}))


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_named(settings: Settings, host: str) -> None:
    own(settings)
    told = refused(run(settings, "serve", TASTEMAKER_HOST=host))
    assert told.startswith(f"Port 0 on {host} cannot be listened to: ")


def test_a_database_of_a_newer_tastemaker_is_left_as_it_is_without_another_copy(settings: Settings) -> None:
    engine = make_engine(settings.url)
    with write_session(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'f0f0f0f0f0f0'"))
    engine.dispose()
    assert "needs the newer Tastemaker that made it" in refused(run(settings, "up"))
    assert not list(settings.data.glob("*before-upgrade*"))


@pytest.mark.parametrize("command", ["import", "up", pytest.param("export", marks=pytest.mark.nightly)])
def test_a_full_disk_is_told_as_such(settings: Settings, tmp_path: Path, command: str) -> None:
    own(settings)
    (tmp_path / "prompts.txt").write_text("Why?\n" * 1000)
    given = {
        "import": ["import", "demo", str(tmp_path / "prompts.txt")],
        "export": ["export", "demo", "--out", str(tmp_path / "labels.jsonl")],
        "up": ["up"],
    }
    room = 0 if command == "export" else A_PAGE - 1
    with full_disk(room):
        assert refused(run(settings, *given[command])) == f"{FULL}\n"


@pytest.mark.parametrize("folder", ["/", "sticky"])
def test_a_folder_that_all_use_is_not_taken_for_ones_own(settings: Settings, tmp_path: Path, folder: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(Refusal, match="all of this machine use"):
        prepare(settings.model_copy(update={"data": Path("/") if folder == "/" else shared}))
    assert shared.stat().st_mode & 0o7777 == 0o1777


def test_a_folder_of_somebody_elses_files_is_neither_closed_nor_written_to(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("ada", "grace", f"models/{DEFAULT_MODEL}"):
        (home / name).mkdir(parents=True)
    (home / "models" / DEFAULT_MODEL / "config.json").touch()
    home.chmod(0o755)
    told = refused(run(settings.model_copy(update={"data": home}), "serve"))
    assert told == f"TASTEMAKER_DATA={home} holds what is none of Tastemaker's: ada, grace. Name an empty folder for it.\n"
    assert home.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in home.iterdir()) == ["ada", "grace", "models"]


def lies_there(folder: Path, name: str) -> None:
    """An empty file, or a folder where the name ends in a stroke."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).touch()


@pytest.mark.parametrize(
    "there",
    [
        "models/",
        "models/my-model/config.json",
        "models/smollm2-135m-instruct-of-ada/config.json",
        "models-of-ada/smollm2-135m-instruct/config.json",
        "models",
        "runs/0042/metrics.csv",
        "cache/pip/a.whl",
        "texts/novel.docx",
        "workers/ada.csv",
        "tastemaker.database",
        "tastemaker.db-wal/notes.txt",
    ],
)
def test_a_folder_of_which_only_names_are_like_ours_is_not_taken(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "srv"
    lies_there(folder, there)
    folder.chmod(0o755)
    with pytest.raises(Refusal, match=f"holds what is none of Tastemaker's: {there.partition('/')[0]}\\. Name"):
        prepare(Settings(data=folder))
    assert folder.stat().st_mode & 0o777 == 0o755
    assert len(list(folder.iterdir())) == 1


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")


@as_root
@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_a_folder_of_another_account_is_not_taken(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "hers"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, 4711, 4711)
    with pytest.raises(Refusal, match="belongs to another account of this machine"):
        prepare(Settings(data=folder))
    assert folder.stat().st_mode & 0o777 == mode
    assert list(folder.iterdir()) == []


@as_root
def test_an_installation_whose_folder_was_given_to_another_account_goes_on(settings: Settings) -> None:
    os.chown(settings.data, 4711, 4711)
    prepare(settings)


def test_a_folder_of_a_disk_that_knows_no_accounts_is_taken_whoever_it_belongs_to(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """exFAT: all belongs to whoever mounted it, our own files too."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    folder = tmp_path / "stick"
    folder.mkdir()
    prepare(settings.model_copy(update={"data": folder}))
    assert (folder / "tastemaker.db").exists()


BEGUN = (
    ".bashrc",
    "lost+found",
    "models/smollm2-135m-instruct/config.json",
    "models/smollm2-135m-instruct.tmp/config.json",
    "runs/",  # of one that came to nothing
    "workers/a.lock",
    "cache/features-0123456789abcdef/a.safetensors",
    "texts/demo/tales.txt",
    "texts/tales.jsonl",
    "tastemaker.db-wal",
    "tastemaker.db.upgrade-lock",
    "tastemaker.db.before-upgrade-from-0a1b-20261201T000000000000",
)


@pytest.mark.parametrize(
    "there",
    [(".bashrc", "lost+found"), BEGUN, ("dumps/monday.sql", "runs/7/run.json")],
    ids=["empty", "begun", "of a Tastemaker on PostgreSQL"],
)
def test_a_folder_that_is_empty_or_was_begun_is_taken(settings: Settings, tmp_path: Path, there: tuple[str, ...]) -> None:
    folder = tmp_path / "new"
    for name in there:
        lies_there(folder, name)
    folder.chmod(0o755)
    prepare(settings.model_copy(update={"data": folder}))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_database_of_another_name_in_the_data_folder_stops_no_second_start(settings: Settings, tmp_path: Path) -> None:
    """Nor does what a person keeps there: the first start closed the folder, and nobody else is shut out."""
    folder = tmp_path / "new"
    folder.mkdir(mode=0o755)
    named = settings.model_copy(update={"data": folder, "database_url": f"sqlite:///{folder}/house.db"})
    prepare(named)
    (folder / "backup-of-monday.db").touch()
    prepare(named)


def test_what_a_person_keeps_in_the_data_folder_stops_no_start(settings: Settings) -> None:
    (settings.data / "backup-of-monday.db").touch()
    prepare(settings)


# Only this account of the machine


def test_a_folder_that_was_open_to_others_is_closed_to_them(settings: Settings) -> None:
    settings.data.chmod(0o755)
    settings.database_file.chmod(0o644)
    prepare(settings)
    assert settings.data.stat().st_mode & 0o777 == 0o700
    assert settings.database_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, None])
def test_a_disk_that_knows_no_accounts_stops_no_start_and_is_told_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int | None
) -> None:
    """exFAT: every file is everybody's, and whoever would change that is refused; or nobody says that it changed nothing."""
    settings.data.chmod(0o755)
    settings.database_file.chmod(0o644)

    def refuse(*_given: object, **_how: object) -> None:
        if code is not None:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "chmod", refuse)
    prepare(settings)
    assert capsys.readouterr().err == (
        f"{settings.data} cannot be closed to the other accounts of this machine, who may read what is in it: it belongs to "
        "somebody else, or its disk knows no accounts.\n"
    )


def test_a_folder_that_is_closed_needs_no_word(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.data.chmod(0o755)
    prepare(settings)
    assert capsys.readouterr().err == ""


def test_whatever_a_command_writes_is_closed_to_others(settings: Settings, tmp_path: Path) -> None:
    own(settings)
    (tmp_path / "tale.txt").write_text("Once upon a time. " * 100)
    assert run(settings, "sft", "demo", str(tmp_path / "tale.txt")).returncode == 0
    assert run(settings, "export", "demo", "--out", str(tmp_path / "labels.jsonl")).returncode == 0
    written = [tmp_path / "labels.jsonl", *(settings.data / "texts").rglob("*")]
    assert len(written) == 3
    assert [path for path in written if path.stat().st_mode & 0o077] == []


# Who is believed


@pytest.mark.parametrize("trusted", [["*"], ["127.0.0.1", "0.0.0.0/0"], ["::/0"]])
def test_a_start_says_when_anybody_can_claim_any_address(
    settings: Settings, capsys: pytest.CaptureFixture[str], trusted: list[str]
) -> None:
    everybody = settings.model_copy(update={"trusted_proxies": trusted})
    prepare(everybody)
    assert capsys.readouterr().err == (
        "TASTEMAKER_TRUSTED_PROXIES names everybody: the first address in X-Forwarded-For is believed whoever sends it, so "
        "anybody can claim to be any client, and no limit by address holds. Name your proxy's own address.\n"
    )


@pytest.mark.parametrize("trusted", [["127.0.0.1", "::1"], ["10.0.0.0/8"], []])
def test_a_start_with_proxies_of_ones_own_says_nothing_of_them(
    settings: Settings, capsys: pytest.CaptureFixture[str], trusted: list[str]
) -> None:
    prepare(settings.model_copy(update={"trusted_proxies": trusted}))
    assert capsys.readouterr().err == ""
