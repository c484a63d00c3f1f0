"""The environment: what cannot be used is named in one line each, and the database lands where the folder's name says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from app.database.upgrade import upgrade_to_head
from app.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TASTEMAKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("app.settings.get_settings", get_settings.__wrapped__)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        get_settings.__wrapped__()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["a?b", "100%", "a%20b", "a#b", "q'\";", "two\nlines", "file:x", "東西 ü", "a?mode=memory&x=1", ".."]
)
def test_the_database_lands_in_the_folder_of_that_name(tmp_path: Path, name: str) -> None:
    data = tmp_path / "in" / name
    data.mkdir(parents=True, exist_ok=True)
    settings = Settings(data=data)
    upgrade_to_head(settings.url)
    assert (data / "tastemaker.db").stat().st_size > 0
    assert {path.parent for path in tmp_path.rglob("tastemaker.db*")} == {data.resolve()}


def test_a_url_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a%3Fb.db"
    assert Settings(database_url=url).url == url
    assert make_url(url).database == f"{tmp_path}/a?b.db"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DAT", "/srv", "TASTEMAKER_DAT: there is no such variable; did you mean TASTEMAKER_DATA?"),
        ("ALLOWED_HOST", "[]", "TASTEMAKER_ALLOWED_HOST: there is no such variable; did you mean TASTEMAKER_ALLOWED_HOSTS?"),
        ("QUUX", "1", "TASTEMAKER_QUUX: there is no such variable; README.md has all"),
        ("PORT", "http", "TASTEMAKER_PORT: Input should be a valid integer"),
        ("PORT", "70000", "TASTEMAKER_PORT: Input should be less than or equal to 65535"),
        (
            "ALLOWED_HOSTS",
            "taste.example.org",
            'TASTEMAKER_ALLOWED_HOSTS: must be a list of texts in JSON, such as ["taste.example.org"]',
        ),
        (
            "ALLOWED_HOSTS",
            '["https://taste.example.org"]',
            "TASTEMAKER_ALLOWED_HOSTS: 'https://taste.example.org' is no host name",
        ),
        ("ALLOWED_HOSTS", '["taste.example.org:8000"]', "TASTEMAKER_ALLOWED_HOSTS: 'taste.example.org:8000' is no host name"),
        ("ALLOWED_HOSTS", '["taste.*.org"]', "TASTEMAKER_ALLOWED_HOSTS: 'taste.*.org' is no host name"),
        ("ALLOWED_HOSTS", "[7]", "TASTEMAKER_ALLOWED_HOSTS: must be a list of texts in JSON"),
        ("ALLOWED_HOSTS", "[]", "TASTEMAKER_ALLOWED_HOSTS: is empty"),
        ("TRUSTED_PROXIES", '["my-proxy"]', "TASTEMAKER_TRUSTED_PROXIES: 'my-proxy' is neither an address nor a network"),
        ("PUBLIC_URL", "taste.example.org", "TASTEMAKER_PUBLIC_URL: must begin with http:// or https://"),
        ("PUBLIC_URL", "https://", "TASTEMAKER_PUBLIC_URL: must begin with http:// or https:// and name a host"),
        ("DATABASE_URL", "postgres", "TASTEMAKER_DATABASE_URL: must be the URL of a database"),
        ("DATABASE_URL", "mysql://ada:secret@db/taste", "TASTEMAKER_DATABASE_URL: must be the URL of a database"),
        ("DATABASE_URL", "postgresql://ada:secret@db:port/taste", "TASTEMAKER_DATABASE_URL: must be the URL of a database"),
        ("DATABASE_URL", "postgresql+asyncpg://ada:secret@db/taste", "TASTEMAKER_DATABASE_URL: must be the URL of a database"),
        ("DATABASE_URL", "sqlite://", "TASTEMAKER_DATABASE_URL: must be the URL of a database"),
        ("DATABASE_URL", "sqlite:////srv/a?b/secret.db", "TASTEMAKER_DATABASE_URL: must be the URL of a database"),
        ("EXECUTOR", "slurm", "TASTEMAKER_EXECUTOR: 'slurm' starts no runs; it is one of local, torchrun, ray"),
        ("EXECUTOR", "ray", "TASTEMAKER_RAY_ADDRESS: must be the address of the Ray cluster's dashboard"),
        ("RAY_ADDRESS", "http://head:8265", "TASTEMAKER_RAY_ADDRESS: there is no Ray cluster without TASTEMAKER_EXECUTOR=ray"),
        ("RAY_TOKEN", "se\ncret", "TASTEMAKER_RAY_TOKEN: must be of letters, digits and signs that a header can hold"),
        ("RAY_RESOURCES", "8", "TASTEMAKER_RAY_RESOURCES: must be amounts by name in JSON"),
        ("RAY_RESOURCES", '{"CPU": -1}', "TASTEMAKER_RAY_RESOURCES: must be amounts by name in JSON"),
        ("RAY_RESOURCES", '{"CPU": 0}', "TASTEMAKER_RAY_RESOURCES: must be amounts by name in JSON, of which one is above 0"),
        ("EXECUTOR", "torchrun", "TASTEMAKER_PROCESSES: torchrun starts several processes: say how many"),
        ("PROCESSES", "2", "TASTEMAKER_PROCESSES: one run is one process with TASTEMAKER_EXECUTOR=local"),
        ("PROCESSES", "0", "TASTEMAKER_PROCESSES: Input should be greater than or equal to 1"),
        ("REWARDS", "https://secret.example.org", "TASTEMAKER_REWARDS: must be name=value"),
        ("REWARDS", "tone=secret.example.org", "TASTEMAKER_REWARDS: 'tone' must stand for an address such as https://"),
        ("REWARDS", "tone=file:///etc/secret", "TASTEMAKER_REWARDS: 'tone' must stand for an address"),
        ("REWARDS", "tone=https://host:port/secret", "TASTEMAKER_REWARDS: 'tone' must stand for an address"),
        ("REWARDS", "tone=https://ada:secret@host/", "TASTEMAKER_REWARDS: the address of 'tone' names a user"),
        ("REWARD_KEYS", "tone=secret", "TASTEMAKER_REWARD_KEYS: TASTEMAKER_REWARDS has no 'tone' for which there is a key"),
        ("LEASE_MINUTES", "inf", "TASTEMAKER_LEASE_MINUTES: Input should be"),
        ("LEASE_MINUTES", "1e300", "TASTEMAKER_LEASE_MINUTES: Input should be less than or equal to 10080"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"TASTEMAKER_{name}", value)
    told = said(capsys)
    assert told.startswith(sentence)
    assert told.count("\n") == 1
    assert "secret" not in told


def test_all_that_cannot_be_used_is_said_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TASTEMAKER_PORT", "x")
    monkeypatch.setenv("TASTEMAKER_HOSTS", "x")
    assert [line.partition(":")[0] for line in said(capsys).splitlines()] == ["TASTEMAKER_HOSTS", "TASTEMAKER_PORT"]


@pytest.mark.parametrize("name", ["TASTEMAKER_KEY", "TASTEMAKER_TEST_POSTGRES", "tastemaker_port", "TASTE"])
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "8000")
    assert get_settings.__wrapped__().port == 8000


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "PORT", "ALLOWED_HOSTS", "LEASE_MINUTES"):
        monkeypatch.setenv(f"TASTEMAKER_{name}", "")
    assert get_settings.__wrapped__() == Settings()
    assert get_settings.__wrapped__().data == Path("data")


@pytest.mark.parametrize("hosts", [["*"], ["*.example.org", "localhost", "10.0.0.7", "[::1]", "taste_1.example.org"]])
def test_hosts_of_every_kind_are_taken(hosts: list[str]) -> None:
    assert Settings(allowed_hosts=hosts).allowed_hosts == hosts


@pytest.mark.parametrize("proxies", [["*"], ["10.0.0.7", "10.1.0.0/16", "::1", "fd00::/8"], []])
def test_proxies_of_every_kind_are_taken(proxies: list[str]) -> None:
    assert Settings(trusted_proxies=proxies).trusted_proxies == proxies


def test_proxies_are_written_as_the_server_reads_them() -> None:
    """uvicorn takes a network that is written by another of its addresses for a name, and trusts nobody by it."""
    assert Settings(trusted_proxies=["10.0.0.7/8", "fd00::7/8"]).trusted_proxies == ["10.0.0.0/8", "fd00::/8"]
    assert Settings(trusted_proxies=["10.0.0.7", "*"]).trusted_proxies == ["*"]


def test_a_folder_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="UTF-8"):
        Settings(data=tmp_path / os.fsdecode(b"a\xffb"))


def test_rewards_are_addresses_by_name_and_their_keys_stay_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_REWARDS", "tone=https://tone.example.org/score?v=2  facts=http://127.0.0.1:9000")
    monkeypatch.setenv("TASTEMAKER_REWARD_KEYS", "tone=s3cret")
    settings = get_settings.__wrapped__()
    assert settings.rewards == {"tone": "https://tone.example.org/score?v=2", "facts": "http://127.0.0.1:9000"}
    assert settings.reward_keys["tone"].get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_a_ray_cluster_is_named_by_its_dashboard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TASTEMAKER_EXECUTOR", "ray")
    for address in ("head:8265", "ray://head:10001", "http://ada:secret@head:8265"):
        monkeypatch.setenv("TASTEMAKER_RAY_ADDRESS", address)
        told = said(capsys)
        assert told.startswith("TASTEMAKER_RAY_ADDRESS: must be the address of the Ray cluster's dashboard"), address
        assert "secret" not in told
    monkeypatch.setenv("TASTEMAKER_RAY_ADDRESS", "http://head:8265")
    monkeypatch.setenv("TASTEMAKER_RAY_RESOURCES", '{"CPU": 8, "GPU": 1}')
    assert Settings().ray_resources == {"CPU": 8, "GPU": 1}
