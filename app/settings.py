"""The typed environment. Read once at start; a bad value ends the start with the variable's name."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TASTEMAKER_", extra="forbid")

    data: Path = Field(Path("data"), description="Folder of the database, the models and the runs.")
    database_url: str = Field("", description="SQLAlchemy URL; empty means tastemaker.db in the data folder.")
    host: str = Field("127.0.0.1", description="Address the web process listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the web process listens on.")
    allowed_hosts: list[str] = Field(
        ["localhost", "127.0.0.1", "[::1]"], description="Host names the web process answers to, as a JSON list."
    )
    public_url: str = Field("", description="How people reach it, such as https://taste.example.org; turns on secure cookies.")
    trusted_proxies: list[str] = Field(
        ["127.0.0.1", "::1"],
        description="Addresses or networks of reverse proxies, as a JSON list: who may say X-Forwarded-For and -Proto.",
    )
    lease_minutes: float = Field(10.0, gt=0, description="How long a task is kept for the person who opened it.")
    base_model: str = Field(
        "", description="Base model of the demo project: folder, hub id or .gguf; empty means SmolLM2-135M-Instruct."
    )
    threads: int = Field(0, ge=0, description="Processor threads of a training run; 0 lets torch decide.")
    tensorboard: bool = Field(False, description="Write a run's figures as TensorBoard events, too; needs tensorboardX.")

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.data.resolve() / 'tastemaker.db'}"

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
    def secure_cookies(self) -> bool:
        return self.public_url.startswith("https://")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(["TASTEMAKER", *(str(part).upper() for part in problem["loc"][:1])])
            print(f"{name}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
