"""The settings of a run: a project's own with the given ones on top, and what the project rules out."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import Invalid
from app.models import Project
from app.runs.run_settings import context_tokens, expected_config, ruled_out, run_config, run_configs
from tests.trainer.outside.conftest import address, package
from trainer.contract.config import PPOConfig, PreferenceConfig, config_dict

__all__ = ["address", "package"]


def test_what_a_run_is_given_is_held_to_the_criteria_of_its_project(project: Project) -> None:
    with pytest.raises(Invalid) as refused:
        run_config(project, "reward", {"criteria_weights": "overall=1, wit=2"})
    assert refused.value.fields == {"criteria_weights": "This project has no criterion called wit."}
    assert refused.value.detail == "What the model is rewarded for: This project has no criterion called wit."
    run_config(project, "reward", {"criteria_weights": "accuracy=2"})


def test_a_refusal_names_every_setting_by_its_label(project: Project) -> None:
    with pytest.raises(Invalid) as refused:
        run_configs(project, ("ppo", "sample"), {"ppo": {"clip": -1, "updates": 0}, "sample": {"temperature": 50}})
    assert refused.value.detail == (
        "Steps of training: This must lie between 1 and 100,000. Clip range ε: This must lie between 0.001 and 10. "
        "Variety: This must lie between 0.01 and 2."
    )


def test_pages_that_only_foretell_take_defaults_for_what_cannot_be_used(project: Project) -> None:
    project.training = {"ppo": {"learning_rate": 1_000, "updates": 3, "minibatches": 5, "no_such": 1}}
    foretold = config_dict(expected_config(project, "ppo", {}))
    assert (foretold["learning_rate"], foretold["updates"], foretold["minibatches"]) == (1e-3, 3, 4)
    with pytest.raises(Invalid):
        run_config(project, "ppo", {})


def test_the_longest_prompt_of_a_project_holds_for_every_way_of_training(project: Project) -> None:
    project.training = {"ppo": {"max_prompt_tokens": 300}}
    assert config_dict(run_config(project, "preference", {}))["max_prompt_tokens"] == 300
    project.training = {"ppo": {"max_prompt_tokens": 300}, "preference": {"max_prompt_tokens": 40}}
    assert config_dict(run_config(project, "preference", {}))["max_prompt_tokens"] == 40


@pytest.mark.parametrize(("config", "kind"), [(PPOConfig(), "ppo"), (PreferenceConfig(), "preference")])
def test_what_is_too_long_together_names_the_setting_of_its_own_kind(config: PPOConfig | PreferenceConfig, kind: str) -> None:
    problem = ruled_out(config, set(), 100)["max_prompt_tokens"]
    assert problem.arguments["setting"] == f"{kind}.max_new_tokens"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ('{"max_position_embeddings": 2048}', 2048),
        ('{"n_positions": 1024}', 1024),
        ('{"vision_config": {"n_positions": 7}, "text_config": {"max_position_embeddings": 4096}}', 4096),
        ('{"max_position_embeddings": null}', None),
        ('{"max_position_embeddings": true}', None),
        ("[1]", None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_the_length_a_model_holds_is_read_where_it_says_so(tmp_path: Path, text: str, tokens: int | None) -> None:
    (tmp_path / "config.json").write_text(text)
    assert context_tokens(str(tmp_path)) == tokens


@pytest.mark.parametrize("spec", ["", "org/model", "/nowhere", "~nobody/x", "\0"])
def test_a_model_that_is_not_here_says_nothing(spec: str) -> None:
    assert context_tokens(spec) is None


@pytest.mark.usefixtures("package", "address")
def test_a_reward_outside_of_the_model_must_be_offered_here(project: Project) -> None:
    config = run_config(project, "ppo", {"outside": "tone=0.5, even=2"})
    assert config_dict(config)["outside"] == "tone=0.5, even=2"
    run_config(project, "ppo", {"outside": "nobodys=0"})  # it would not be asked
    with pytest.raises(Invalid) as refused:
        run_config(project, "ppo", {"outside": "nobodys=1, tone=1, theirs=2"})
    assert refused.value.fields == {"outside": "Nobody offers a reward called nobodys, theirs here."}
    with pytest.raises(Invalid):
        run_config(project, "ppo", {"outside": "https://elsewhere.example.org=1"})
