import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.contract.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.contract.messages import Message
from trainer.lm.backbone import ConversationRefused
from trainer.lm.loading import load_backbone
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


@pytest.mark.parametrize(("dtype", "tolerance"), [("auto", 1e-4), ("bfloat16", 0.1)])
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
        torch.testing.assert_close(kept[layer], fresh[layer], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("    return x\n", "    return x"), ("\n\tmake\n", "\tmake"), (" Hello.", "Hello."), ("Hello.  ", "Hello.")],
)
def test_an_answer_keeps_its_indent(text: str, kept: str) -> None:
    assert sample.said(text) == kept


def test_a_conversation_that_the_template_refuses_is_left_out_and_named_and_the_others_are_answered(
    llama_folder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(llama_folder, tmp_path / "m")
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (model / "chat_template.jinja").write_text(refuses + "{% for m in messages %}{{ m.content }}{% endfor %}", encoding="utf-8")
    run = folder(tmp_path / "some", model, max_new_tokens=4)
    system = {"prompt_id": 20, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    run.append("prompts.jsonl", [system])
    sample.run(run)
    assert {prompt for prompt, _ in written(run)} == {10, 11, 12}
    result = json.loads(run.file("result.json").read_text(encoding="utf-8"))
    assert (result["refused_prompts"], result["refused_prompt_ids"]) == (1, [20])
    assert "System role not supported" in json.dumps(result["refused_because"])
    alone = folder(tmp_path / "all", model, questions=())
    alone.append("prompts.jsonl", [system])
    with pytest.raises(ConversationRefused, match="System role not supported"):
        sample.run(alone)
