from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.tiny import llama_policy
from trainer.contract.folder import digest_of
from trainer.files import checkpoint
from trainer.files.card import CODE, HUB_IDS, OPENING, card, licence_of
from trainer.files.program import code_version
from trainer.lm.loading import default_gguf, save_policy

FIGURES = {
    "accuracy": 0.81234567,
    "gate_passed": True,
    "panel": "panel",
    "seconds": 12.3,
    "nll": float("nan"),
    "groups": {"a": 1},
}


def reward_run(path: Path, **inputs: Any) -> Path:
    """A run folder with two comparisons by two people and a rating by one of them."""
    path.mkdir(parents=True)
    messages = [{"role": "user", "content": "Hi"}]
    comparisons = [{"messages": messages, "annotator": f"annotator-{number}"} for number in (1, 2)]
    (path / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in comparisons))
    (path / "ratings.jsonl").write_text(json.dumps({"messages": [*messages, *messages], "annotator": "annotator-2"}) + "\n")
    (path / "run.json").write_text(json.dumps({"kind": "reward", "config": {"folds": 5}, "inputs": inputs}))
    return path


def manifest(base: Path | str, **values: Any) -> dict[str, Any]:
    return {"kind": "reward", "form": "head", "base": {"source": str(base), "sha256": "abc123"}, **values}


def test_a_card_says_what_it_learned_from_and_names_nobody(tmp_path: Path) -> None:
    run = reward_run(tmp_path / "7")
    text = card(run / "checkpoint", manifest(tmp_path / "base"), run, FIGURES)
    for line in ("- comparisons: 2", "- ratings: 1", "- annotators: 2", "- prompts with labels: 2"):
        assert line in text
    assert f"- data digest: `{digest_of(run, 'preferences.jsonl', 'ratings.jsonl')}`" in text
    assert "annotator-" not in text
    frozen = card(run, manifest(tmp_path), reward_run(tmp_path / "8", label_digest="d1ge57"), {})
    assert "- data digest: `d1ge57`" in frozen


def test_a_card_counts_rewrites_apart_from_verdicts(tmp_path: Path) -> None:
    run = reward_run(tmp_path / "7")
    row = {"messages": [{"role": "user", "content": "Hi"}], "annotator": "annotator-1", "source": "rewrite"}
    with (run / "preferences.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    text = card(run / "checkpoint", manifest(tmp_path / "base"), run, FIGURES)
    assert "- comparisons: 2\n" in text
    assert "- rewrites: 1\n" in text


def test_a_card_shows_figures_settings_and_version_but_no_clock(tmp_path: Path) -> None:
    run = reward_run(tmp_path / "7")
    text = card(run / "checkpoint", manifest(tmp_path / "base"), run, FIGURES)
    assert "| accuracy | 0.8123 |" in text
    assert "| gate passed | True |" in text
    assert "| folds | 5 |" in text
    assert "seconds" not in text
    assert "nan" not in text
    assert f"Tastemaker {code_version()}." in text
    assert card(run / "checkpoint", manifest(tmp_path / "base"), run, FIGURES | {"seconds": 99.0}) == text


def test_a_policys_card_counts_the_labels_behind_its_reward(tmp_path: Path) -> None:
    reward_run(tmp_path / "7")
    run = tmp_path / "8"
    run.mkdir()
    (run / "prompts.jsonl").write_text('{"prompt_id": 1}\n{"prompt_id": 2}\n')
    for reward in (str(tmp_path / "7" / "checkpoint"), "../7/checkpoint"):
        (run / "run.json").write_text(json.dumps({"kind": "ppo", "config": {}, "inputs": {"reward": reward}}))
        text = card(run, manifest(tmp_path, kind="policy", form="adapter"), run, {})
        assert "- prompts answered: 2" in text
        assert "  - comparisons: 2" in text


@pytest.mark.parametrize("declared", ["card", "manifest"])
def test_the_bases_licence_is_told_where_it_is_known_and_its_place_is_not(tmp_path: Path, declared: str) -> None:
    base = tmp_path / "secret" / "smol"
    base.mkdir(parents=True)
    run = reward_run(tmp_path / "7")
    unknown = card(run, manifest(base), run, {})
    assert "does not say its licence" in unknown
    assert "\nlicense:" not in unknown
    if declared == "card":
        (base / "README.md").write_text(
            "---\ntags:\n- small\nlicense: apache-2.0\nlanguage: en\n---\n# Smol\nlicense: none of this\n"
        )
    else:
        (base / "manifest.json").write_text('{"licence": "apache-2.0"}')
    text = card(run, manifest(base), run, {})
    assert "\nlicense: apache-2.0\n" in text
    assert "Its licence is apache-2.0; read it before you pass this on." in text
    assert 'base_model: "smol"' in text
    assert "secret" not in text
    shutil.rmtree(base)
    assert "secret" not in card(run, manifest(base), run, {})
    assert licence_of("someone/elsewhere") is None


def test_a_saved_policy_holds_its_card_and_the_manifest_knows_it(tmp_path: Path) -> None:
    run = reward_run(tmp_path / "7")
    save_policy(llama_policy(), run / "checkpoint", figures={"kept_step": 4})
    assert "README.md" in checkpoint.verify(run / "checkpoint")["files"]
    text = (run / "checkpoint" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: peft\n")
    assert "| kept step | 4 |" in text


SECTIONS = ["Opening it", "What it learned from", "Figures", "Settings", "Base model and licence", "Made by"]


MADE = {
    "reward": "Fitted to people's judgements",
    "ppo": "Trained with PPO against a reward model",
    "preference": "Trained on people's judgements themselves",
    "sft": "Trained to predict the next token of texts",
    "": "",
}


def whole_sentences(text: str) -> list[str]:
    """The paragraphs of a card that are prose: no front matter, headings, code, tables or lists."""
    body = re.sub(r"```.*?```", "", text.partition("\n---\n")[2], flags=re.S)
    parts = [part.strip() for part in body.split("\n\n")]
    return [part for part in parts if part and not part.startswith(("#", "|", "- "))]


@pytest.mark.parametrize(("kind", "form"), OPENING, ids=["-".join(pair) for pair in OPENING])
@pytest.mark.parametrize("stage", ["reward", "ppo", "preference", "sft", ""])
@pytest.mark.parametrize("how", ["", "Merged", "Distilled"])
@pytest.mark.parametrize("base", ["here", "hub", "none"])
def test_every_sentence_of_every_card_is_whole(tmp_path: Path, kind: str, form: str, stage: str, how: str, base: str) -> None:
    run = tmp_path / "7"
    run.mkdir()
    if stage:
        (run / "run.json").write_text(json.dumps({"kind": stage}))
    told: dict[str, Any] = {"kind": kind, "form": form, "figures": {"accuracy": 0.5}}
    told["base"] = {"here": {"source": str(tmp_path / "base")}, "hub": {"source": "org/model", "sha256": "abc"}, "none": None}[
        base
    ]
    if how:
        told["exported_from"] = {"how": how, "sha256": "def"}
    text = card(run / "checkpoint", told, run, {})
    origin, *sections = text.partition("\n---\n")[2].split("\n## ")
    said = dict(section.split("\n\n", 1) for section in sections)
    assert list(said) == SECTIONS
    assert origin.strip().startswith(f"# A {'reward model' if kind == 'reward' else 'policy'} by Tastemaker\n\n")
    assert MADE[stage] in origin
    assert ("from the checkpoint whose manifest has the SHA-256 `def`." in origin) == bool(how)
    opens = "AutoModelForCausalLM" if kind == "policy" else "load_scorer"
    assert f"import {'AutoModelForSequenceClassification' if form == 'classifier' else opens}" in said["Opening it"]
    assert said["Opening it"].strip() == f"{OPENING[kind, form]}\n\n{CODE.get(form, CODE[kind])}"
    assert all(body.strip() for body in said.values()), said
    assert ("Of the checkpoint it was distilled from:\n\n| | |\n|---|---|\n| accuracy | 0.5 |" in text) == (how == "Distilled")
    assert ("On answers to prompts it did not learn from:\n\nNone are recorded." in text) == (how == "Distilled")
    assert ("the SHA-256 of its weights is unknown" in text) == (base == "here")
    for paragraph in whole_sentences(text):
        assert paragraph[-1] in ".:", paragraph
        assert paragraph[0].isupper() or paragraph[0] == "`", paragraph
    for broken in ("None:", "..", " .", "  ", " ,", "()", "``;", "unknown`"):
        assert broken not in re.sub(r"```.*?```", "", text, flags=re.S).replace("None: it was trained", "").replace(
            "\n  ", "\n"
        ), broken


@pytest.mark.parametrize(
    ("kind", "form", "library", "task"),
    [
        ("policy", "adapter", "peft", "text-generation"),
        ("policy", "full", "transformers", "text-generation"),
        ("reward", "head", "transformers", "text-classification"),
        ("reward", "lora", "peft", "text-classification"),
        ("reward", "classifier", "transformers", "text-classification"),
    ],
)
def test_the_hub_reads_what_a_card_is_of(tmp_path: Path, kind: str, form: str, library: str, task: str) -> None:
    front = card(tmp_path, manifest("org/model", kind=kind, form=form), tmp_path, {}).split("---\n")[1]
    assert front == (f'library_name: {library}\nbase_model: "org/model"\npipeline_tag: {task}\ntags:\n- tastemaker\n- {kind}\n')


def test_a_model_of_our_own_architecture_says_how_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "simple_lm"}')
    assert OPENING["policy", "simple_lm"] in card(tmp_path, manifest("", kind="policy", form="full"), tmp_path, {})


def test_a_run_that_recorded_nothing_says_so(tmp_path: Path) -> None:
    text = card(tmp_path, manifest(""), tmp_path, {})
    assert "## What it learned from\n\nNothing is recorded.\n" in text
    assert "## Figures\n\nNone are recorded.\n" in text
    assert "None: it was trained from nothing, so its licence is for whoever trained it to choose." in text
    assert "Trained by hand." in text


def test_a_base_of_the_hub_is_named_as_there(tmp_path: Path) -> None:
    converted = tmp_path / "smol"
    converted.mkdir()
    (digest,) = HUB_IDS
    (converted / "manifest.json").write_text(json.dumps({"converted_from": {"file": "smol.Q4_1.gguf", "sha256": digest}}))
    text = card(tmp_path, manifest(converted), tmp_path, {})
    assert '\nbase_model: "HuggingFaceTB/SmolLM2-135M-Instruct"\n' in text
    assert (
        "`HuggingFaceTB/SmolLM2-135M-Instruct`, converted from `smol.Q4_1.gguf`; its weights have the SHA-256 `abc123`." in text
    )
    cached = tmp_path / "hub" / "models--org--some-model" / "snapshots" / "0a1b"
    cached.mkdir(parents=True)
    assert 'base_model: "org/some-model"' in card(tmp_path, manifest(cached), tmp_path, {})


def test_the_default_base_is_one_the_card_knows() -> None:
    assert checkpoint.sha256_of(default_gguf()) in HUB_IDS
