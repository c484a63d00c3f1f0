"""What runs need of memory, on the page, over the API and where a round is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.models import Project
from app.runs.memory import needs as room
from app.runs.memory.needs import needs
from app.runs.run_settings import run_config
from tests.app.conftest import Cast
from trainer.contract.config import AskConfig, PPOConfig, SampleConfig
from trainer.contract.memory.machine import Machine

SMOL = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


@pytest.fixture
def base(engine: Engine, cast: Cast, tmp_path: Path) -> str:
    folder = tmp_path / "smol"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMOL))
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).base_model = str(folder)
    return str(folder)


def give(gibibytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_machine", lambda _config: Machine(gibibytes * 2**30))


def test_each_kind_of_run_says_what_it_needs_and_where_nothing_tells_none_does(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(8, monkeypatch)
    found = needs(base, {"ppo": PPOConfig(), "sample": SampleConfig(), "ask": AskConfig()})
    assert list(found) == ["ppo", "sample"]
    assert found["ppo"].peak == sum(found["ppo"].parts.values()) > found["sample"].peak > 2**30
    assert found["ppo"].there == 8 * 2**30
    assert not found["ppo"].refusal
    assert needs("", {"ppo": PPOConfig()}) == needs("somebody/on-the-hub", {"ppo": PPOConfig()}) == {}


def test_a_run_that_does_not_fit_is_refused_before_it_starts_with_the_setting_to_change(
    engine: Engine, cast: Cast, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(4, monkeypatch)
    long = {"max_prompt_tokens": 512, "max_new_tokens": 256, "lora_layers": 0, "recompute": "off", "dtype": "float32"}
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        with pytest.raises(Invalid, match="With “On” it fits") as refused:
            run_config(project, "ppo", long | {"episodes": 8, "panel_prompts": 0, "heldout_every": 0, "length_control": "off"})
        assert list(refused.value.fields) == ["recompute"]
        assert run_config(project, "ppo", {}) is not None


def test_the_page_of_a_new_round_and_the_api_say_it(
    base: str, as_user: Callable[[str], TestClient], api: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    give(1, monkeypatch)
    page = as_user("Grace").get("/projects/demo/rounds/new").text
    assert "Memory at the peak of each part" in page
    assert "No single setting makes it fit" in page
    memory = api("admin", who="Grace").get("/api/v1/projects/demo/next-round").json()["memory"]
    assert set(memory) == {"reward", "ppo", "sample"}
    assert memory["ppo"]["peak"] > memory["ppo"]["there"] == 2**30
    assert "No single setting" in memory["ppo"]["refusal"]
