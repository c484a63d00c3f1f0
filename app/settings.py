"""The typed environment. Read once at start; what cannot be used ends the start with the variable's name."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.database.capacity import LEAST_AT_ONCE
from trainer.contract.environment import REWARD_KEYS, REWARDS, read_pairs

PREFIX: Final = "TASTEMAKER_"
OF_OTHERS: Final = {"KEY", "TEST_POSTGRES"}  # an API key as README.md names it, and the tests' own server
EXECUTORS: Final = ("local", "torchrun", "ray")
DRIVERS: Final = {("sqlite", "pysqlite"), ("postgresql", "psycopg")}
# As a Host header has it, less the port.
HOST: Final = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")

Words = Annotated[list[str], NoDecode]
Pairs = Annotated[dict[str, str], NoDecode]
Resources = Annotated[dict[str, float], NoDecode]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid")

    data: Path = Field(Path("data"), description="Folder of the database, the models and the runs.")
    database_url: str = Field("", description="SQLAlchemy URL; empty means tastemaker.db in the data folder.")
    host: str = Field("127.0.0.1", description="Address the web process listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the web process listens on.")
    allowed_hosts: Words = Field(
        ["localhost", "127.0.0.1", "[::1]"], description="Host names the web process answers to, as a JSON list."
    )
    public_url: str = Field("", description="How people reach it, such as https://taste.example.org; turns on secure cookies.")
    trusted_proxies: Words = Field(
        ["127.0.0.1", "::1"],
        description="Addresses or networks of reverse proxies, as a JSON list: who may say X-Forwarded-For and -Proto.",
    )
    at_once: int = Field(
        8,
        ge=LEAST_AT_ONCE,
        le=200,
        description="Requests a web process works on at once; its threads and connections follow from that.",
    )
    api_calls_per_minute: int = Field(
        6_000,
        ge=60,
        le=10_000_000,
        description="API calls that one key may make a minute, at once or spread; all of one address ten times as many.",
    )
    lease_minutes: float = Field(
        10.0, gt=0, le=10_080, allow_inf_nan=False, description="How long a task is kept for the person who opened it."
    )
    base_model: str = Field(
        "", description="Base model of the demo project: folder, hub id or .gguf; empty means SmolLM2-135M-Instruct."
    )
    threads: int = Field(0, ge=0, le=4096, description="Processor threads of a training run; 0 lets torch decide.")
    run_memory_gb: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="Memory that one run may take, in GiB; 0 means nine tenths of the machine's, or of its container's.",
    )
    run_hours: float = Field(
        72.0, gt=0, le=24 * 366, allow_inf_nan=False, description="How long one run may work before it is ended, its state saved."
    )
    executor: str = Field(
        "local", description="What starts a run: local, torchrun, in several processes of this machine, or ray, on a cluster."
    )
    processes: int = Field(
        1,
        ge=1,
        le=1024,
        validate_default=True,
        description="Processes of a run that learns or writes; with torchrun 2 or more.",
    )
    ray_address: str = Field(
        "", validate_default=True, description="Of the Ray cluster's dashboard, such as http://head:8265; with ray alone."
    )
    ray_token: SecretStr = Field(SecretStr(""), description="What the Ray cluster asks for where it asks for a token.")
    ray_resources: Resources = Field(
        {"CPU": 1.0},
        description="What a run needs of a node, as a JSON object by Ray's names: CPU, GPU, memory in bytes, your own.",
    )
    rewards: Pairs = Field(
        {},
        description="Rewards outside of the model that PPO may be paid: name=https://address, a space before the next.",
    )
    reward_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(
        {}, description="Keys that go along to these addresses as bearer tokens: name=key, a space before the next."
    )
    tensorboard: bool = Field(False, description="Write a run's figures as TensorBoard events, too; needs tensorboardX.")

    @field_validator("data")
    @classmethod
    def _has_a_name(cls, data: Path) -> Path:
        try:
            str(data).encode()
        except UnicodeEncodeError:
            raise ValueError("must be a name in UTF-8, which the database's library needs") from None
        return data

    @field_validator("database_url")
    @classmethod
    def _is_a_database_of_ours(cls, text: str) -> str:
        """What was given is not repeated: it may hold a password."""
        try:
            if not text or _can_be_opened(make_url(text), text):
                return text
        except (ArgumentError, ValueError):
            pass
        raise ValueError(
            "must be the URL of a database, postgresql+psycopg://user:password@host/name or sqlite:////folder/file; "
            "a character that means something in URLs is written %XX"
        )

    @field_validator("allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _is_a_json_list(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        found = _from_json(given)
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ValueError(f"must be a list of texts in JSON, such as {json.dumps([given])}") from None
        return found

    @field_validator("allowed_hosts")
    @classmethod
    def _are_host_names(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host name, which has neither https:// nor a port, and * only as its first part")
        if not hosts:
            raise ValueError("is empty, so nobody would be answered")
        return hosts

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: list[str]) -> list[str]:
        """Each network by its own address: by another one of it, uvicorn would trust nobody."""
        return ["*"] if "*" in proxies else [_network(proxy) for proxy in proxies]

    @field_validator("executor")
    @classmethod
    def _is_an_executor(cls, name: str) -> str:
        if name not in EXECUTORS:
            raise ValueError(f"{name!r} starts no runs; it is one of {', '.join(EXECUTORS)}")
        return name

    @field_validator("processes")
    @classmethod
    def _are_what_the_executor_starts(cls, count: int, info: ValidationInfo) -> int:
        executor = info.data.get("executor")
        if executor == "torchrun" and count == 1:
            raise ValueError(f"torchrun starts several processes: say how many, or leave {PREFIX}EXECUTOR at local")
        if executor == "local" and count != 1:
            raise ValueError(f"one run is one process with {PREFIX}EXECUTOR=local; with torchrun it is several")
        return count

    @field_validator("ray_address")
    @classmethod
    def _is_where_the_executor_asks(cls, text: str, info: ValidationInfo) -> str:
        on_ray = info.data.get("executor") == "ray"
        if on_ray and (not _is_web_address(text) or urlsplit(text).username is not None):
            raise ValueError("must be the address of the Ray cluster's dashboard, such as http://head:8265")
        if text and not on_ray:
            raise ValueError(f"there is no Ray cluster without {PREFIX}EXECUTOR=ray")
        return text

    @field_validator("ray_token")
    @classmethod
    def _fits_into_a_header(cls, token: SecretStr) -> SecretStr:
        if not (token.get_secret_value().isascii() and token.get_secret_value().isprintable()):
            raise ValueError("must be of letters, digits and signs that a header can hold")
        return token

    @field_validator("ray_resources", mode="before")
    @classmethod
    def _is_a_json_object(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        found = _from_json(given)
        if not isinstance(found, dict) or not all(_is_amount(amount) for amount in found.values()) or not any(found.values()):
            raise ValueError('must be amounts by name in JSON, of which one is above 0, such as {"CPU": 8, "GPU": 1}')
        return found

    @field_validator("rewards", "reward_keys", mode="before")
    @classmethod
    def _are_pairs(cls, given: object) -> object:
        return read_pairs(given) if isinstance(given, str) else given

    @field_validator("rewards")
    @classmethod
    def _are_reward_addresses(cls, rewards: dict[str, str]) -> dict[str, str]:
        """What was given is not repeated: an address may hold a key, too."""
        for name, address in rewards.items():
            try:
                url = urlsplit(address)
                usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and not url.fragment
            except ValueError:
                usable = False
            if not usable or not address.isascii():
                raise ValueError(f"{name!r} must stand for an address such as https://reward.example.org/score")
            if url.username is not None or url.password is not None:
                raise ValueError(f"the address of {name!r} names a user: its key belongs into {REWARD_KEYS}")
        return rewards

    @field_validator("reward_keys")
    @classmethod
    def _are_keys_of_rewards(cls, keys: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        for name, key in keys.items():
            if "rewards" in info.data and name not in info.data["rewards"]:
                raise ValueError(f"{REWARDS} has no {name!r} for which there is a key")
            if not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
                raise ValueError(f"the key of {name!r} must be of letters, digits and signs that a header can hold")
        return keys

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        if text and not _is_web_address(text):
            raise ValueError("must begin with http:// or https:// and name a host, such as https://taste.example.org")
        return text

    @property
    def url(self) -> str:
        """Of the database. A character of the folder's name is that character, also where a URL means something by it."""
        return self.database_url or URL.create("sqlite", database=str(self.database_file)).render_as_string()

    @property
    def database_file(self) -> Path:
        """Where the database lies unless there is a URL."""
        return self.data.resolve() / "tastemaker.db"

    @property
    def runs(self) -> Path:
        return self.data.resolve() / "runs"

    @property
    def models(self) -> Path:
        return self.data.resolve() / "models"

    @property
    def cache(self) -> Path:
        return self.data.resolve() / "cache"

    @property
    def trusts_everybody(self) -> bool:
        """Whether every address is that of a proxy whose word is taken."""
        return any(proxy == "*" or proxy.endswith("/0") for proxy in self.trusted_proxies)

    @property
    def secure_cookies(self) -> bool:
        return self.public_url.startswith("https://")


def _network(proxy: str) -> str:
    try:
        return str(ipaddress.ip_network(proxy, strict=False) if "/" in proxy else ipaddress.ip_address(proxy))
    except ValueError:
        raise ValueError(f"{proxy!r} is neither an address nor a network, such as 10.0.0.7 or 10.0.0.0/8") from None


def _from_json(text: str) -> object:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_web_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and not (url.query or url.fragment)
    except ValueError:
        return False


def _is_amount(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < math.inf


def _can_be_opened(url: URL, text: str) -> bool:
    if url.get_backend_name() == "sqlite" and ("?" in text or url.database in (None, "", ":memory:")):
        return False  # what follows a ? is left out of the file's name, and there is nothing that it could say
    return (url.get_backend_name(), url.get_driver_name()) in DRIVERS


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process. Ends it, a line for each variable that cannot be used."""
    said = list(_unknown(os.environ))
    try:
        settings = Settings()
    except ValidationError as error:
        said += [_sentence(problem["loc"], problem.get("ctx", {}).get("error") or problem["msg"]) for problem in error.errors()]
    if said:
        print("\n".join(said), file=sys.stderr)
        raise SystemExit(2)
    return settings


def _sentence(place: tuple[int | str, ...], why: object) -> str:
    name = PREFIX + "_".join(str(part).upper() for part in place[:1])
    return f"{name}: {why}"


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable that bears our name and is none of ours: somebody meant one that now is not set."""
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(environment):
        word = name.upper().removeprefix(PREFIX)
        if word != name.upper() and word not in known | OF_OTHERS:
            near = difflib.get_close_matches(word, known, 1)
            yield f"{name}: there is no such variable; " + (f"did you mean {PREFIX}{near[0]}?" if near else "README.md has all")
