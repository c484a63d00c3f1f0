import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import text
from trainer import checkpoint, sft
from trainer.backbone import chat_ids, load_backbone
from trainer.config import ConfigError, make_config
from trainer.folder import Cancelled, Refused, RunFolder, read_jsonl

SMALL = {"epochs": 1, "vocab_size": 300, "embedding_size": 16, "hidden_size": 24, "batch_size": 8, "block_tokens": 32}


def folder(path: Path, base: str | None = None, **config: Any) -> RunFolder:
    path.mkdir(parents=True, exist_ok=True)
    spec = {"kind": "sft", "config": SMALL | config, "inputs": {"base": base}}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    return RunFolder(path)


class StoppedAt(RunFolder):
    """Cancelled by a person after so many checks."""

    left = 10**9

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.file("cancel").touch()
        super().check()


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoint" / "model.safetensors")


def test_pretraining_learns_and_leaves_a_whole_checkpoint_with_figures(simple_lm_folder: Path) -> None:
    run = simple_lm_folder.parent
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "done"
    assert result["heldout_loss"] < 0.6  # nats per token; 6 before the first step
    manifest = checkpoint.verify(simple_lm_folder)
    assert (manifest["kind"], manifest["form"], manifest["base"]) == ("policy", "full", None)
    losses = [row["losses/train_loss"] for row in read_jsonl(run / "metrics.jsonl")]
    assert losses[0] > 4 > 1 > losses[-1]
    assert any("losses/heldout_loss" in row for row in read_jsonl(run / "metrics.jsonl"))


def test_a_cancelled_run_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    for name in ("straight", "broken"):
        folder(tmp_path / name)
        (tmp_path / name / "text.txt").write_text(text(60), encoding="utf-8")
    sft.run(RunFolder(tmp_path / "straight"))
    stopped = StoppedAt(tmp_path / "broken")
    stopped.left = 9
    with pytest.raises(Cancelled):
        sft.run(stopped)
    assert not (tmp_path / "broken" / "checkpoint").exists()
    (tmp_path / "broken" / "cancel").unlink()
    sft.run(RunFolder(tmp_path / "broken"))
    ours, theirs = weights(tmp_path / "broken"), weights(tmp_path / "straight")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    steps = [[row["step"] for row in read_jsonl(tmp_path / name / "metrics.jsonl")] for name in ("straight", "broken")]
    assert steps[0] == steps[1]


def test_only_the_assistants_tokens_of_a_demonstration_count(simple_lm_folder: Path) -> None:
    model = load_backbone(str(simple_lm_folder))
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "No"},
    ]
    first, second = sft.encode(model, [talk], 200)
    assert model.tokenizer.decode(first.ids[first.first :]) == "Yes<|eos|>"
    assert model.tokenizer.decode(second.ids[second.first :]) == "No<|eos|>"
    assert second.ids[: second.first] == chat_ids(model.tokenizer, talk[:3])
    total, count = sft.loss_sum(model, [first, second])
    by_hand = 0.0
    for each in (first, second):
        log_p = torch.log_softmax(model.model(torch.tensor([each.ids])).logits[0], -1)
        by_hand -= sum(float(log_p[at - 1, each.ids[at]]) for at in range(each.first, len(each.ids)))
    assert count == len(first.ids) - first.first + len(second.ids) - second.first
    assert float(total) == pytest.approx(by_hand, rel=1e-5)


def test_every_token_of_a_text_but_the_first_is_predicted_once(simple_lm_folder: Path) -> None:
    model = load_backbone(str(simple_lm_folder))
    blocks = sft.encode(model, ["One two three.", "Four."] * 7, 16)
    assert {len(block.ids) for block in blocks[:-1]} == {16}
    whole = blocks[0].ids + [token for block in blocks[1:] for token in block.ids[1:]]
    assert model.tokenizer.decode(whole) == "<|bos|>One two three.<|eos|><|bos|>Four.<|eos|>" * 7


def test_held_out_documents_are_never_trained_on() -> None:
    documents = [f"document {index % 40}" for index in range(120)]
    training, held_out = sft.split(documents)
    assert len(set(held_out)) == 2
    assert not set(training) & set(held_out)
    assert len(training) + len(held_out) == 120
    assert sft.split(["one", "two"]) == (["one", "two"], [])


def test_demonstrations_move_a_base_towards_them(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", str(simple_lm_folder), epochs=8, learning_rate=0.003, block_tokens=64)
    talk = [{"role": "user", "content": "Tell me about the sea."}, {"role": "assistant", "content": "The sea is green tea."}]
    run.append("demonstrations.jsonl", [{"messages": talk}] * 8)
    base = load_backbone(str(simple_lm_folder))
    before = sft.heldout_loss(base, sft.encode(base, [talk], 64), 1)
    sft.run(run)
    trained = load_backbone(str(tmp_path / "r" / "checkpoint"))
    assert sft.heldout_loss(trained, sft.encode(trained, [talk], 64), 1) < before / 2
    assert checkpoint.read_manifest(tmp_path / "r" / "checkpoint")["base"]["source"] == str(simple_lm_folder)


def test_a_llama_can_go_on_training_too(llama_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", str(llama_folder), epochs=2, learning_rate=0.003)
    shutil.copy(simple_text(tmp_path), tmp_path / "r" / "text.txt")
    sft.run(run)
    result = json.loads((tmp_path / "r" / "result.json").read_text(encoding="utf-8"))
    assert result["heldout_loss"] < 4  # 5.6 is a uniform guess at a byte
    assert load_backbone(str(tmp_path / "r" / "checkpoint")).plain.config.model_type == "llama"


def simple_text(path: Path) -> Path:
    (path / "words.txt").write_text(text(40), encoding="utf-8")
    return path / "words.txt"


def test_nothing_to_learn_from_is_refused_in_words(tmp_path: Path) -> None:
    run = folder(tmp_path / "empty")
    with pytest.raises(Refused, match="no text to learn from"):
        sft.run(run)
    run = folder(tmp_path / "long", block_tokens=8)
    run.append(
        "demonstrations.jsonl", [{"messages": [{"role": "user", "content": "x" * 90}, {"role": "assistant", "content": "y"}]}]
    )
    with pytest.raises(Refused, match="longer than block_tokens"):
        sft.run(run)


def test_settings_that_cannot_work_name_their_field() -> None:
    for field, value in {"vocab_size": 258, "block_tokens": 1, "epochs": 0}.items():
        with pytest.raises(ConfigError) as caught:
            make_config("sft", {field: value})
        assert caught.value.field == field
