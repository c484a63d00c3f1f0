import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.templates import no_system_role
from trainer.__main__ import main
from trainer.contract.english import english
from trainer.contract.folder import EXIT_REFUSED, Cancelled, Refused, RunFolder, read_jsonl
from trainer.contract.messages import Message, from_json
from trainer.lm.loading import load_backbone, load_policy
from trainer.reward.data import Answer, encode
from trainer.reward.features import FeatureCache, choose_layers, pooled_states
from trainer.sample import run as sample

QUESTIONS = ("Tell me about the sea.", "Explain the moon to a child.", "Why do people like honey bees?")


def folder(path: Path, policy: Path, questions: tuple[str, ...] = QUESTIONS, **config: Any) -> RunFolder:
    path.mkdir()
    spec = {"kind": "sample", "config": {"max_new_tokens": 40, "batch_size": 4} | config, "inputs": {"policy": str(policy)}}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    run = RunFolder(path)
    run.append(
        "prompts.jsonl",
        [{"prompt_id": 10 + index, "messages": [{"role": "user", "content": text}]} for index, text in enumerate(questions)],
    )
    return run


def written(run: RunFolder) -> dict[tuple[int, int], dict[str, Any]]:
    rows = list(read_jsonl(run.file("generations.jsonl")))
    by_key = {(row["prompt_id"], row["index"]): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def test_every_prompt_gets_its_answers_with_all_that_is_needed_to_repeat_them(simple_lm_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", simple_lm_folder, per_prompt=3)
    sample.run(run)
    rows = written(run)
    assert rows.keys() == {(prompt, index) for prompt in (10, 11, 12) for index in (0, 1, 2)}
    for (prompt, index), row in rows.items():
        assert row["seed"] == sample.derived_seed(0, prompt, index)
        assert (row["token_ids"][-1] == 1) == (row["finish_reason"] == "eos")
        assert row["text"] == row["text"].strip()
        assert "<|" not in row["text"]
    assert len({row["text"] for row in rows.values()}) > 6
    result = json.loads(run.file("result.json").read_text(encoding="utf-8"))
    assert (result["status"], result["generations"]) == ("done", 9)
    progress = json.loads(run.file("progress.json").read_text(encoding="utf-8"))
    assert (progress["step"], progress["total"]) == (9, 9)


def test_an_answer_depends_on_its_own_seed_only(simple_lm_folder: Path, tmp_path: Path) -> None:
    runs = [
        folder(tmp_path / "a", simple_lm_folder),
        folder(tmp_path / "b", simple_lm_folder, batch_size=1),
        folder(tmp_path / "c", simple_lm_folder, seed=1),
    ]
    for run in runs:
        sample.run(run)
    first, second, other = (written(run) for run in runs)
    assert first == second
    assert first != other


def test_a_resumed_run_keeps_what_is_there_and_writes_the_rest(simple_lm_folder: Path, tmp_path: Path) -> None:
    whole = folder(tmp_path / "whole", simple_lm_folder, per_prompt=3)
    sample.run(whole)
    broken = folder(tmp_path / "broken", simple_lm_folder, per_prompt=3)
    rows = list(written(whole).values())
    kept = {**rows[0], "text": "kept as it was"}
    broken.append("generations.jsonl", [kept, rows[4]])
    with broken.file("generations.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt_id": 11, "index": 2, "text": "cut sho')  # a crash in the middle of a line
    sample.run(broken)
    expected = written(whole)
    expected[kept["prompt_id"], kept["index"]] = kept
    assert written(broken) == expected


def test_a_cancelled_run_keeps_what_it_wrote(simple_lm_folder: Path, tmp_path: Path) -> None:
    class CancelledSoon(RunFolder):
        def progress(self, step: int, total: int, message: Message) -> None:
            super().progress(step, total, message)
            if step == 2:
                self.file("cancel").touch()

    folder(tmp_path / "r", simple_lm_folder, per_prompt=4)
    run = CancelledSoon(tmp_path / "r")
    with pytest.raises(Cancelled):
        sample.run(run)
    assert 2 <= len(written(run)) < 12
    assert not run.file("result.json").exists()


def test_prompts_that_do_not_fit_are_left_out_and_counted(llama_folder: Path, tmp_path: Path) -> None:
    run = folder(tmp_path / "r", llama_folder, ("Hello", "x" * 600), max_new_tokens=4)
    sample.run(run)
    assert {prompt for prompt, _ in written(run)} == {10}
    assert json.loads(run.file("result.json").read_text(encoding="utf-8"))["too_long_prompts"] == 1


def test_a_run_without_prompts_is_refused(simple_lm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no prompt to answer"):
        sample.run(folder(tmp_path / "r", simple_lm_folder, ()))


@pytest.mark.parametrize(("dtype", "tolerance"), [("auto", 1e-5), ("bfloat16", 0.06)])  # .036 seen
def test_the_base_leaves_the_features_that_a_reward_run_reads(
    llama_folder: Path, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    asked_for = {"per_prompt": 3, "max_new_tokens": 6, "dtype": dtype}
    run = folder(tmp_path / "r", llama_folder, ("Hello", "And a longer one, beside it"), **asked_for)
    run.inputs["cache"] = str(tmp_path / "cache")
    sample.run(run)
    base = load_backbone(str(llama_folder), dtype)
    layers = choose_layers(base)
    asked = {row["prompt_id"]: row["messages"] for row in read_jsonl(run.file("prompts.jsonl"))}
    answers = [
        Answer(tuple((turn["role"], turn["content"]) for turn in asked[prompt]), row["text"], tuple(row["token_ids"]))
        for (prompt, _), row in written(run).items()
    ]
    sequences = [encode(base, answer, 256) for answer in answers]
    cache = FeatureCache(tmp_path / "cache", base, layers)
    assert all(sequence.digest in cache for sequence in sequences)
    kept, fresh = pooled_states(base, sequences, layers, cache), pooled_states(base, sequences, layers)
    for layer in layers:
        torch.testing.assert_close(kept[layer], fresh[layer], atol=tolerance, rtol=0)


def test_a_conversation_that_the_template_refuses_is_left_out_and_named_and_the_others_are_answered(
    llama_folder: Path, tmp_path: Path
) -> None:
    model = no_system_role(llama_folder, tmp_path / "m")
    run = folder(tmp_path / "some", model, max_new_tokens=4)
    system = {"prompt_id": 20, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    run.append("prompts.jsonl", [system])
    sample.run(run)
    assert {prompt for prompt, _ in written(run)} == {10, 11, 12}
    result = json.loads(run.file("result.json").read_text(encoding="utf-8"))
    assert (result["refused_prompts"], result["refused_prompt_ids"]) == (1, [20])
    said = english(from_json(result["reason"]))
    assert said == ("Prompts left out: 1 (20). The model's chat template refuses this conversation: System role not supported")
    alone = folder(tmp_path / "all", model, questions=())
    alone.append("prompts.jsonl", [system])
    assert main(["sample", str(alone.path)]) == EXIT_REFUSED
    refused = json.loads(alone.file("result.json").read_text(encoding="utf-8"))
    assert "System role not supported" in english(from_json(refused["reason"]))
    assert (refused["status"], refused["refused_prompt_ids"]) == ("refused", [20])


@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_prompt_for_which_the_numbers_are_not_finite_is_left_out_and_named_and_the_others_are_answered(
    llama_folder: Path, tmp_path: Path, batch_size: int
) -> None:
    settings: dict[str, Any] = {"per_prompt": 3, "max_new_tokens": 4, "batch_size": batch_size}
    whole = folder(tmp_path / "whole", llama_folder, **settings)
    sample.run(whole)
    model = shutil.copytree(llama_folder, tmp_path / "m")
    _spoil(model, "é")
    run = folder(tmp_path / "some", model, (QUESTIONS[0], "Un café?", *QUESTIONS[1:]), **settings)
    run.file("prompts.jsonl").unlink()
    for prompt_id, text in zip((10, 20, 11, 12), (QUESTIONS[0], "Un café?", *QUESTIONS[1:]), strict=True):
        run.append("prompts.jsonl", [{"prompt_id": prompt_id, "messages": [{"role": "user", "content": text}]}])
    sample.run(run)
    assert written(run) == written(whole)
    result = json.loads(run.file("result.json").read_text(encoding="utf-8"))
    assert (result["generations"], result["not_finite_prompts"], result["not_finite_prompt_ids"]) == (9, 1, [20])
    assert "left out: 1 (20). The model's numbers for an answer to them are not finite" in english(from_json(result["reason"]))
    progress = json.loads(run.file("progress.json").read_text(encoding="utf-8"))
    assert progress["step"] == 9
    alone = folder(tmp_path / "all", model, ("Un café?", "Deux cafés?"), **settings)
    with pytest.raises(Refused, match="numbers are not finite"):
        sample.run(alone)


def _spoil(model: Path, text: str) -> None:
    """Give the tokens of a text that nothing else uses embeddings that are not numbers."""
    ids = load_policy(str(model)).tokenizer(text, add_special_tokens=False)["input_ids"]
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][ids[-1]] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
