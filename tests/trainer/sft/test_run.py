import contextlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import text
from tests.trainer.templates import no_system_role
from trainer.contract.config import ConfigError, PPOConfig, make_config
from trainer.contract.english import english
from trainer.contract.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.contract.messages import Message, reason_of
from trainer.files import checkpoint
from trainer.lm.backbone import Backbone, bare_base, named_trainable, reference
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.ppo import run as ppo
from trainer.sft import packing
from trainer.sft import run as sft
from trainer.sft.documents import Demonstration, Document, encode
from trainer.sft.packing import mean_loss

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


def result_of(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.file("result.json").read_text(encoding="utf-8"))
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoint" / "model.safetensors")


def test_pretraining_learns_and_leaves_a_whole_checkpoint_with_figures(simple_lm_folder: Path) -> None:
    run = simple_lm_folder.parent
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "done"
    assert result["heldout_loss"] < 0.6  # nats per token; 6 before the first step
    manifest = checkpoint.verify(simple_lm_folder)
    assert (manifest["kind"], manifest["form"], manifest["base"]) == ("policy", "full", None)
    rows = list(read_jsonl(run / "metrics.jsonl"))
    losses = [row["losses/train_loss"] for row in rows if "losses/train_loss" in row]
    assert losses[0] > 4 > 1 > losses[-1]
    looks = [row["losses/heldout_loss"] for row in rows if "losses/heldout_loss" in row]
    assert looks[0] == result["heldout_loss_before"] > 4
    assert min(looks) == result["heldout_loss"]


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


def demonstrations(run: RunFolder, answer: str = "The sea is green tea.", count: int = 8) -> list[Document]:
    talks = [
        [{"role": "user", "content": f"Tell me about the sea, {number}."}, {"role": "assistant", "content": answer}]
        for number in range(count)
    ]
    run.append("demonstrations.jsonl", [{"messages": talk} for talk in talks])
    return [Demonstration(talk, "") for talk in talks]


def loss_on(base: Backbone, documents: list[Document]) -> float:
    return mean_loss(base, [[sequence] for sequence in encode(base, documents, 128, LeftOut())], packed=False)


def test_demonstrations_move_a_base_towards_them(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", str(simple_lm_folder), epochs=8, learning_rate=0.003, block_tokens=64)
    talks = demonstrations(run)
    before = loss_on(load_backbone(str(simple_lm_folder)), talks)
    sft.run(run)
    assert loss_on(load_backbone(str(tmp_path / "r" / "checkpoint")), talks) < before / 2
    assert checkpoint.read_manifest(tmp_path / "r" / "checkpoint")["base"]["source"] == str(simple_lm_folder)


@pytest.fixture(scope="module")
def tuned_llama(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run that taught a model with attention an answer."""
    run = folder(
        tmp_path_factory.mktemp("sft") / "1", str(llama_folder), epochs=8, learning_rate=0.02, batch_size=1, block_tokens=128
    )
    demonstrations(run, "Green tea.", 12)
    sft.run(run)
    return run


def test_a_model_with_attention_trains_adapters_over_an_untouched_base(tuned_llama: RunFolder, llama_folder: Path) -> None:
    manifest = checkpoint.verify(tuned_llama.file("checkpoint"))
    assert (manifest["form"], manifest["base"]["sha256"]) == ("adapter", load_backbone(str(llama_folder)).sha256)
    assert result_of(tuned_llama)["heldout_loss"] < result_of(tuned_llama)["heldout_loss_before"] / 2


def test_its_checkpoint_can_be_trained_on_as_a_policy(tuned_llama: RunFolder, llama_folder: Path, tmp_path: Path) -> None:
    talks = demonstrations(folder(tmp_path / "same", str(llama_folder)), "Green tea.", 12)
    source = str(tuned_llama.file("checkpoint"))
    policy = ppo.open_policy(start_of_ppo(tmp_path / "ppo", llama_folder, source), PPOConfig(lora_rank=4))
    learned = loss_on(policy, talks)
    assert learned < 1
    assert all("lora_" in name for name, _ in named_trainable(policy))
    with reference(policy):  # KL counts from where the round starts
        assert loss_on(policy, talks) == learned
    with bare_base(policy):
        assert loss_on(policy, talks) > 2 * learned
    again = folder(tmp_path / "again", source, epochs=2, learning_rate=0.01, batch_size=2, block_tokens=128)
    demonstrations(again, "Red kites.", 12)
    sft.run(again)
    manifest = checkpoint.verify(again.file("checkpoint"))
    assert manifest["base"]["source"] == str(llama_folder)  # not the stage between


def start_of_ppo(path: Path, base: Path, start: str) -> RunFolder:
    path.mkdir()
    spec = {"kind": "ppo", "config": {}, "inputs": {"base": str(base), "start": start}}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    return RunFolder(path)


def test_what_the_held_out_loss_liked_best_is_kept_and_a_rise_ends_the_run(
    simple_lm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder(tmp_path / "r", str(simple_lm_folder), epochs=10, look_every=1, patience=2)
    demonstrations(run, count=40)
    losses = iter([5.0, 4.0, 3.0, 3.5, 2.5, 2.5, 2.6, 0.1])
    kept: list[dict[str, torch.Tensor]] = []

    def told(model: Backbone, *_rest: Any) -> float:
        kept.append({name: parameter.detach().clone() for name, parameter in named_trainable(model)})
        return next(losses)

    monkeypatch.setattr(sft, "mean_loss", told)
    sft.run(run)
    result = result_of(run)
    assert (result["steps"], result["kept_step"], result["heldout_loss"]) == (6, 4, 2.5)
    assert reason_of(result) == Message("sft_stalled", looks=2, step=4, loss=2.5)
    found = weights(tmp_path / "r")
    assert all(torch.equal(found[name], kept[4][name]) for name in found)


def test_a_loss_that_leaves_the_numbers_ends_the_run_and_the_best_weights_are_kept(
    simple_lm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder(tmp_path / "r", str(simple_lm_folder), epochs=10, look_every=1)
    demonstrations(run, count=40)
    real, steps = packing.loss_sum, itertools.count()
    monkeypatch.setattr(sft, "loss_sum", lambda *given: real(*given) * (float("nan") if next(steps) > 20 else 1.0))

    sft.run(run)

    result = result_of(run)
    assert 0 < result["kept_step"] < result["steps"]
    assert result["train_loss"] is None  # NaN is no JSON
    assert result["reason"]["code"] == "sft_broke"
    assert all(bool(torch.isfinite(found).all()) for found in weights(tmp_path / "r").values())


def test_a_run_that_only_makes_the_held_out_loss_worse_keeps_nothing(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", str(simple_lm_folder), learning_rate=1.0, look_every=1)
    shutil.copy(simple_text(tmp_path), tmp_path / "r" / "text.txt")
    with pytest.raises(Refused, match="never fell below"):
        sft.run(run)
    assert not run.file("checkpoint").exists()


def test_what_early_stopping_remembers_survives_a_cancel(simple_lm_folder: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {"epochs": 6, "look_every": 1, "patience": 3, "learning_rate": 0.5}
    for name in ("straight", "broken"):
        run = folder(tmp_path / name, str(simple_lm_folder), **config)
        shutil.copy(simple_text(tmp_path), run.file("text.txt"))
    with contextlib.suppress(Refused):
        sft.run(RunFolder(tmp_path / "straight"))
    for left in (3, 2, 2, 10**9):  # stopped before, between and after looks that found nothing better
        stopped = StoppedAt(tmp_path / "broken")
        stopped.left = left
        with contextlib.suppress(Cancelled, Refused):
            sft.run(stopped)
        (tmp_path / "broken" / "cancel").unlink(missing_ok=True)
    rows = [
        [row.get("losses/heldout_loss") for row in read_jsonl(tmp_path / n / "metrics.jsonl")] for n in ("straight", "broken")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4  # the first look, and three without a lower loss


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
    with pytest.raises(Refused, match="longer than the setting “Longest sequence” allows"):
        sft.run(run)


def test_settings_that_cannot_work_name_their_field() -> None:
    for field, value in {"vocab_size": 258, "block_tokens": 1, "epochs": 0, "patience": -1}.items():
        with pytest.raises(ConfigError) as caught:
            make_config("sft", {field: value})
        assert list(caught.value.problems) == [field]


def test_a_demonstration_that_is_too_long_or_that_the_template_refuses_is_left_out_counted_and_named(
    llama_folder: Path, tmp_path: Path
) -> None:
    base = no_system_role(llama_folder, tmp_path / "m")
    run = folder(tmp_path / "r", str(base), block_tokens=64)
    demonstrations(run)
    system, long = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "x" * 90}
    answer = {"role": "assistant", "content": "y"}
    ask = {"role": "user", "content": "Hi"}
    wordy = {"role": "assistant", "content": "z" * 90}
    run.append("demonstrations.jsonl", [{"messages": talk} for talk in ([system, ask, answer], [long, answer], [ask, wordy])])
    sft.run(run)
    result = result_of(run)
    assert (result["documents"] + result["heldout_documents"], result["cut_sequences"]) == (11, 1)
    assert (result["refused_prompts"], result["refused_prompt_ids"]) == (1, ["demonstrations.jsonl:9"])
    assert (result["too_long_prompts"], result["too_long_prompt_ids"]) == (1, ["demonstrations.jsonl:10"])
    said = english(reason_of(result) or Message("done"))
    assert "Prompts left out: 1 (demonstrations.jsonl:9). The model's chat template refuses" in said
    assert "Prompts left out: 1 (demonstrations.jsonl:10). A prompt may have at most 63 tokens here." in said
    alone = folder(tmp_path / "all", str(base), block_tokens=64)
    alone.append("demonstrations.jsonl", [{"messages": [system, ask, answer]}])
    with pytest.raises(Refused, match="System role not supported"):
        sft.run(alone)
