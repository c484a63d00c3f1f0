"""A base model is opened before a project is made on it, by a real process on real files."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import make_engine, read_session, write_session
from app.errors import Invalid
from app.models import Project
from app.projects.base_model import Looks
from app.projects.service import base_model_is_fixed
from app.runs.limits import Limits, limits_of
from app.settings import Settings
from bench.stage import Server, fill, serving
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.projects.test_routes import form_of
from trainer.lm.simple_lm import SimpleLM, SimpleLMConfig, train_tokenizer

AsUser = Callable[[str], TestClient]
LIMITS = limits_of(Settings())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A clone without its large files: what git leaves in their place."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 269060552\n")
    return folder


@pytest.mark.timeout(300)
def test_a_model_that_cannot_be_opened_is_refused_with_its_reason_and_no_project_is_made(
    app: FastAPI, as_user: AsUser, engine: Engine, cast: Cast, broken: Path
) -> None:
    app.state.refuse_unusable_model = Looks(LIMITS).refuse_unusable
    refused = as_user("Ada").post("/projects", data={"name": "Typo", "base_model": str(broken)})
    assert refused.status_code == 422
    assert "Git LFS" in refused.text
    with read_session(engine) as session:
        assert session.scalar(select(Project.id).where(Project.name == "Typo")) is None


COMPARES = (
    "{% set all = namespace(one=[], other=[]) %}{% for _ in range(60) %}{% set all.one = [all.one, all.one] %}"
    "{% set all.other = [all.other, all.other] %}{% endfor %}{{ all.one == all.other }}"
)


@pytest.mark.nightly
@pytest.mark.timeout(120)
def test_a_chat_template_that_only_the_kernel_can_end_is_the_models_problem(tmp_path: Path) -> None:
    SimpleLM(SimpleLMConfig(vocab_size=259, embedding_size=8, hidden_size=16)).save_pretrained(tmp_path / "m")
    train_tokenizer(["a"], 259).save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").write_text(COMPARES)
    with pytest.raises(Invalid) as refused:
        Looks(LIMITS).refuse_unusable(str(tmp_path / "m"))
    assert "chat template does not come to an end" in refused.value.fields["base_model"]


@pytest.mark.timeout(120)
def test_a_model_that_takes_more_memory_than_a_run_may_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Ended at work: Python with torch alone holds more than this limit."""
    SimpleLM(SimpleLMConfig(vocab_size=259, embedding_size=8, hidden_size=16)).save_pretrained(tmp_path / "m")
    train_tokenizer(["a"], 259).save_pretrained(tmp_path / "m")
    Looks(LIMITS).refuse_unusable(str(tmp_path / "m"))
    with pytest.raises(Invalid) as refused:
        Looks(Limits(memory_bytes=2**26, time_s=3600)).refuse_unusable(str(tmp_path / "m"))
    assert "took more memory than a run may take here (0.0625 GiB)" in refused.value.fields["base_model"]
    assert looks_of(os.getpid()) == []


def looks_of(pid: int) -> list[psutil.Process]:
    """The processes that open models for this one."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if "trainer.lm.check" in child.cmdline():
                found.append(child)
    return found


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A model of a hub that takes a question and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "600")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield "org/endless"


@pytest.fixture
def served(tmp_path: Path, endless: str) -> Iterator[tuple[Server, str]]:
    """A web process, and its owner's key."""
    fill(tmp_path, tasks=1, annotators=0)
    engine = make_engine(f"sqlite:///{tmp_path}/tastemaker.db")
    with write_session(engine) as session:
        key = factories.make_key(session, factories.make_user(session, "Ada", owner=True).id, "admin")
    engine.dispose()
    with serving(tmp_path) as server:
        yield server, key


def asked(server: Server, key: str, model: str) -> httpx.Response:
    body = {"name": "Endless", "base_model": model}
    return httpx.post(f"{server.url}/api/v1/projects", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def within(seconds: float, condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_a_stop_waits_for_no_look_at_a_model_nor_for_who_waits_for_one(endless: str, served: tuple[Server, str]) -> None:
    server, key = served
    with ThreadPoolExecutor(2) as people:
        replies = [people.submit(asked, server, key, endless) for _ in range(2)]
        assert within(20, lambda: looks_of(server.pid))
        look = looks_of(server.pid)
        assert len(look) == 1
        time.sleep(0.5)  # the second has come as well
        server.stop()
    assert server.status() == 0
    assert [reply.result().status_code for reply in replies] == [503, 503]
    assert "is being stopped" in replies[0].result().json()["detail"], "told, and not cut off when the patience of a stop ends"
    assert not look[0].is_running()


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="nowhere else does a process learn that its parent died")
def test_a_look_at_a_model_ends_with_a_web_process_that_was_killed(endless: str, served: tuple[Server, str]) -> None:
    server, key = served
    with ThreadPoolExecutor(1) as people:
        lost = people.submit(asked, server, key, endless)
        assert within(20, lambda: looks_of(server.pid))
        (look,) = looks_of(server.pid)
        server.kill()
        assert isinstance(lost.exception(), httpx.TransportError)
    assert within(40, lambda: not look.is_running())  # once it has read torch


def test_both_doors_ask(app: FastAPI, as_user: AsUser, api: Callable[..., TestClient], tmp_path: Path) -> None:
    asked: list[str] = []

    def refuse(spec: str) -> None:
        asked.append(spec)
        raise Invalid("No.", {"base_model": "It has no layers."})

    app.state.refuse_unusable_model = refuse
    for reply in (
        as_user("Ada").post("/projects", data={"name": "One", "base_model": "org/model"}),
        api("admin").post("/api/v1/projects", json={"name": "Two", "base_model": "org/model"}),
        api("admin").patch("/api/v1/projects/demo", json={"base_model": "org/other"}),
    ):
        assert reply.status_code == 422
        assert "It has no layers." in reply.text
    assert asked == ["org/model", "org/model", "org/other"]


def test_the_settings_page_asks_of_another_model_and_of_no_other_change(app: FastAPI, as_user: AsUser, engine: Engine) -> None:
    """Opening a model takes its time, and fetches one that is named by its id."""
    asked: list[str] = []

    def refuse(spec: str) -> None:
        asked.append(spec)
        raise Invalid("No.", {"base_model": "It has no layers."})

    app.state.refuse_unusable_model = refuse
    ada = as_user("Ada")
    opened = form_of(ada.get("/projects/demo/settings").text)
    assert ada.post("/projects/demo/settings", data=opened | {"name": "Named anew"}).status_code == 303
    assert asked == []
    refused = ada.post("/projects/demo/settings", data=opened | {"name": "Lost", "base_model": "org/other"})
    assert (refused.status_code, asked) == (422, ["org/other"])
    assert "It has no layers." in refused.text
    with read_session(engine) as session:
        assert session.scalars(select(Project.name).where(Project.slug == "demo")).one() == "Named anew"


def test_a_failed_run_does_not_fix_the_base_model_and_a_live_one_does(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        run = factories.make_run(session, cast.demo, state="failed")
        assert not base_model_is_fixed(session, project)
        run.state = "running"
        session.flush()
        assert base_model_is_fixed(session, project)
