"""Our checkpoints, opened by transformers and peft alone."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from tests.trainer.reward.reward_runs import make_folder, prefers_moons
from trainer.contract.folder import Refused, RunFolder, day_beside
from trainer.export import distil
from trainer.export import run as export
from trainer.export.run import export_classifier, export_policy, main, model_of
from trainer.files import checkpoint
from trainer.lm.backbone import BackboneError, attach_lora, trainable_parameters
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.reward import run as reward
from trainer.reward.data import Answer, read_labels
from trainer.reward.scorer import load_scorer

IDS = torch.tensor([[5, 70, 71, 9, 200, 34]])


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> Path:
    """A policy checkpoint whose adapters say something."""
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    with torch.no_grad():
        for parameter in trainable_parameters(backbone):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    save_policy(backbone, folder)
    return folder


@torch.no_grad()
def logits_of(model: object) -> Tensor:
    found: Tensor = model.eval()(IDS).logits  # type: ignore[attr-defined]
    return found


def test_transformers_and_peft_open_a_policy_as_it_is(policy: Path, llama_folder: Path) -> None:
    expected = logits_of(load_policy(str(policy)).model)
    by_peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama_folder), policy)
    torch.testing.assert_close(logits_of(by_peft), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits_of(AutoModelForCausalLM.from_pretrained(policy)), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, logits_of(AutoModelForCausalLM.from_pretrained(llama_folder)), atol=1e-2)


def test_a_merged_policy_needs_neither_peft_nor_its_base(policy: Path, tmp_path: Path) -> None:
    assert export_policy(policy, tmp_path / "out")
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    expected = logits_of(load_policy(str(policy)).model)
    torch.testing.assert_close(logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), expected, atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("Hi")["input_ids"] == [
        *load_policy(str(policy)).tokenizer("Hi")["input_ids"]
    ]
    manifest = checkpoint.verify(tmp_path / "out")
    assert (manifest["form"], manifest["base"]) == ("full", None)
    assert "Merged from the checkpoint" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_that_is_there_is_left_and_anything_else_is_not_overwritten(policy: Path, tmp_path: Path) -> None:
    export_policy(policy, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert not export_policy(policy, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("Years of work")
    with pytest.raises(Refused, match="holds something else"):
        export_policy(policy, tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").exists()


def dated_policy(llama_folder: Path, at: Path, day: str | None) -> Path:
    """A policy checkpoint of a run of that day, on a base whose template writes the date as Llama 3's does."""
    base = at / "base"
    shutil.copytree(llama_folder, base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}|{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(base)
    backbone = load_backbone(str(base))
    attach_lora(backbone, rank=2, layers=1, seed=0)
    save_policy(backbone, at / "run" / "checkpoint")
    if day:
        (at / "run" / "run.json").write_text(json.dumps({"kind": "ppo", "day": day}))
    return at / "run" / "checkpoint"


@pytest.mark.parametrize(("day", "written"), [("2025-03-04", "04 Mar 2025"), (None, "01 Jan 2026")])
def test_an_exported_policy_is_asked_on_the_day_of_its_project(
    llama_folder: Path, tmp_path: Path, day: str | None, written: str
) -> None:
    assert export_policy(dated_policy(llama_folder, tmp_path, day), tmp_path / "out")
    asked = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    )
    assert asked == f"{written}|Hi"


def test_an_exported_reward_reads_on_the_day_of_its_project(tuned: RunFolder, tmp_path: Path) -> None:
    spec = json.loads(tuned.file("run.json").read_text())
    run = tmp_path / "run"
    shutil.copytree(tuned.path, run)
    (run / "run.json").write_text(json.dumps(spec | {"day": "2025-03-04"}))
    assert day_beside(run / "checkpoint") == date(2025, 3, 4)
    seen: list[date] = []

    def template(tokenizer: Any, end: str, day: date) -> str:
        seen.append(day)
        return "{{ messages }}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "reward_template", template)
        export_classifier(run / "checkpoint", tmp_path / "out")
    assert seen == [date(2025, 3, 4)]


def conversation(answer: Answer) -> list[dict[str, str]]:
    asked = [{"role": role, "content": content} for role, content in answer.messages]
    return [*asked, {"role": "assistant", "content": answer.text}]


@torch.no_grad()
def as_trl_trains(folder: Path, answers: list[Answer]) -> Tensor:
    """Logits as a reward trainer computes them: the template over the whole conversation, tokens padded on the right."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer.apply_chat_template(conversation(answer), return_dict=False) for answer in answers]
    found: Tensor = model(**tokenizer.pad({"input_ids": rows}, return_tensors="pt")).logits[:, 0]
    return found


@torch.no_grad()
def as_trl_scores(folder: Path, answers: list[Answer], side: str) -> Tensor:
    """Logits as a trainer asks a reward model: the rendered text tokenised anew, without further special tokens."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = tokenizer.pad_token_id
    texts = [tokenizer.apply_chat_template(conversation(answer), tokenize=False) for answer in answers]
    batch = tokenizer(text=texts, return_tensors="pt", padding=True, padding_side=side, add_special_tokens=False)
    found: Tensor = model(**batch).logits[:, 0]
    return found


def as_a_pipeline(folder: Path, answers: list[Answer]) -> Tensor:
    score = pipeline("text-classification", model=str(folder), function_to_apply="none")
    texts = [score.tokenizer.apply_chat_template(conversation(answer), tokenize=False) for answer in answers]
    return torch.tensor([found["score"] for found in score(texts, batch_size=4)])


def scored_by_others(folder: Path, answers: list[Answer]) -> dict[str, Tensor]:
    """The same answers in each way that other programs ask."""
    return {
        "trained": as_trl_trains(folder, answers),
        "scored, padded right": as_trl_scores(folder, answers, "right"),
        "scored, padded left": as_trl_scores(folder, answers, "left"),
        "pipeline": as_a_pipeline(folder, answers),
    }


def classified(folder: Path, answers: list[Answer]) -> Tensor:
    """Scores as the card says to compute them, in one batch that transformers pads."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for answer in answers:
        messages = [{"role": role, "content": content} for role, content in answer.messages]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        rows.append([*prompt, *tokenizer(answer.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    assert model.config.num_labels == 1
    with torch.no_grad():
        found: Tensor = model(**batch).logits[:, 0] - model.config.score_offset
    return found


def test_a_fine_tuned_reward_opens_as_a_classifier_with_the_same_scores(tuned: RunFolder, tmp_path: Path) -> None:
    source = tuned.file("checkpoint")
    export_classifier(source, tmp_path / "out")
    answers = read_labels(tuned.path).answers[:12]
    scorer = load_scorer(source)
    expected = scorer.score_texts(
        [([{"role": role, "content": content} for role, content in answer.messages], answer.text) for answer in answers]
    )
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(classified(tmp_path / "out", answers), expected, atol=1e-4, rtol=0)
    offset = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config.score_offset
    for way, found in scored_by_others(tmp_path / "out", answers).items():
        assert torch.allclose(found - offset, expected, atol=1e-4, rtol=0), (way, found - offset, expected)


def test_the_code_on_a_classifiers_card_runs(tuned: RunFolder, tmp_path: Path) -> None:
    export_classifier(tuned.file("checkpoint"), tmp_path / "out")
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.S)
    found: dict[str, Any] = {"FOLDER": tmp_path / "out"}
    exec(code, found)
    expected = load_scorer(tuned.file("checkpoint")).score_texts([([{"role": "user", "content": "Hi"}], "Hello.")])
    torch.testing.assert_close(found["score"].detach(), expected, atol=1e-4, rtol=0)


def test_an_export_in_an_older_layout_is_written_anew(policy: Path, tmp_path: Path) -> None:
    export_policy(policy, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    del manifest["exported_from"]["layout"]
    manifest["format"] = 1  # as it was then
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    assert export_policy(policy, tmp_path / "out")
    assert not export_policy(policy, tmp_path / "out")


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_an_adapters_folder_holds_its_tokenizer(kind: str, policy: Path, tuned: RunFolder, llama_folder: Path) -> None:
    folder = {"policy": policy, "reward": tuned.file("checkpoint")}[kind]
    own, bases = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(llama_folder)
    talk = [{"role": "user", "content": "Why?"}]
    assert own.apply_chat_template(talk, return_dict=False) == bases.apply_chat_template(talk, return_dict=False)


def test_peft_opens_the_adapters_of_a_reward(tuned: RunFolder, llama_folder: Path) -> None:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama_folder), tuned.file("checkpoint"))
    assert not torch.allclose(logits_of(model), logits_of(AutoModelForCausalLM.from_pretrained(llama_folder)), atol=1e-3)


def test_a_head_is_distilled_and_its_card_says_how_close_it_came(
    tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_folder(tmp_path / "1", llama_folder, prefers_moons, 60)
    reward.run(run)
    export_classifier(run.file("checkpoint"), tmp_path / "out")
    fidelity = checkpoint.verify(tmp_path / "out")["fidelity"]
    answers = read_labels(run.path).answers
    assert fidelity["distilled_on"] + fidelity["fidelity_answers"] == len(answers)
    assert fidelity["fidelity_correlation"] > 0.5
    assert 0.6 < fidelity["fidelity_agreement"] <= 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| fidelity correlation | {fidelity['fidelity_correlation']:.4g} |" in card
    assert "Distilled from the checkpoint" in card
    monkeypatch.setattr(distil, "EPOCHS", 0)
    untaught = distil.distil(load_scorer(run.file("checkpoint")), read_labels(run.path), lambda _text: None).fidelity
    assert fidelity["fidelity_correlation"] > untaught["fidelity_correlation"] + 0.02
    # what was measured is what was written
    expected = load_scorer(run.file("checkpoint")).score_texts(
        [([{"role": role, "content": content} for role, content in answer.messages], answer.text) for answer in answers]
    )
    ours = classified(tmp_path / "out", answers)
    assert float(torch.corrcoef(torch.stack([ours, expected]))[0, 1]) > 0.6
    offset = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config.score_offset
    for found in scored_by_others(tmp_path / "out", answers[:12]).values():
        torch.testing.assert_close(found - offset, ours[:12], atol=1e-4, rtol=0)
    # the teacher's figures stand apart from its own
    own, teachers = card.partition("## Figures")[2].partition("## Settings")[0].split("Of the checkpoint it was distilled from")
    assert "| held out accuracy |" in own
    assert "| gate passed |" not in own
    assert "| gate passed |" in teachers


def test_what_cannot_be_exported_is_refused_in_words(
    tmp_path: Path, simple_lm_folder: Path, policy: Path, tuned: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BackboneError, match="no sequence classifier for the architecture simple_lm"):
        model_of(load_backbone(str(simple_lm_folder)))
    (tmp_path / "few").mkdir()
    cases = {
        "holds a policy, not a reward": ["classifier", str(policy)],
        "holds a reward, not a policy": ["policy", str(tuned.file("checkpoint"))],
        "it is not a checkpoint": ["policy", str(tmp_path / "few")],
    }
    for words, arguments in cases.items():
        assert main([*arguments, str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_simple_lm_is_written_whole(tmp_path: Path, simple_lm_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", str(simple_lm_folder), str(tmp_path / "out")]) == 0
    assert "is written" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "simple_lm"
    assert main(["policy", str(simple_lm_folder), str(tmp_path / "out")]) == 0
    assert "holds it already" in capsys.readouterr().out
