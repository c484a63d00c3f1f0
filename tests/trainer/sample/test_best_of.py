"""Best-of-n: what is kept of several answers, by whose scores, and how far from the policy that is."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.reward.reward_runs import result_of
from tests.trainer.sample.test_run import QUESTIONS, folder, written
from trainer.__main__ import main
from trainer.contract.folder import EXIT_REFUSED, Cancelled, Refused, RunFolder
from trainer.contract.messages import Message
from trainer.lm.backbone import chat_ids, eos_ids
from trainer.lm.generate import Generated, generate
from trainer.lm.loading import load_policy
from trainer.reward.data import ids_of_text, token_sequence
from trainer.reward.features import FeatureCache, choose_layers
from trainer.reward.scorer import load_scorer
from trainer.sample import best_of
from trainer.sample import run as sample


def best_folder(path: Path, policy: Path, reward: RunFolder, n: int = 4, **config: Any) -> RunFolder:
    run = folder(path, policy, **{"best_of": n, "max_new_tokens": 12, "batch_size": 8} | config)
    run.inputs["reward"] = str(reward.file("checkpoint"))
    specification = json.loads(run.file("run.json").read_text(encoding="utf-8"))
    run.file("run.json").write_text(json.dumps(specification | {"inputs": run.inputs}), encoding="utf-8")
    return run


def drawn(policy: Path, seed: int, prompt_id: int, number: int, draw: int) -> Generated:
    """One of the answers among which a run chose, drawn again alone."""
    backbone = load_policy(str(policy))
    ids = chat_ids(backbone.tokenizer, [{"role": "user", "content": QUESTIONS[prompt_id - 10]}])
    generator = [torch.Generator().manual_seed(sample.derived_seed(seed, prompt_id, number, draw))]
    return generate(backbone, [ids], max_new_tokens=12, temperature=0.7, generator=generator, batch_size=1)[0]


@pytest.mark.parametrize("form", ["llama_done", "tuned"])
def test_of_n_answers_the_one_that_the_reward_scores_highest_is_kept(
    form: str, request: pytest.FixtureRequest, llama_folder: Path, tmp_path: Path
) -> None:
    reward: RunFolder = request.getfixturevalue(form)
    run = best_folder(tmp_path / "r", llama_folder, reward, per_prompt=2)
    sample.run(run)
    rows = written(run)
    assert rows.keys() == set(itertools.product((10, 11, 12), (0, 1)))
    scorer = load_scorer(reward.file("checkpoint"))
    kept_places = set()
    for (prompt, number), row in rows.items():
        answers = [drawn(llama_folder, 0, prompt, number, draw) for draw in range(4)]
        ids = chat_ids(scorer.backbone.tokenizer, [{"role": "user", "content": QUESTIONS[prompt - 10]}])
        cut = [one.finish_reason == "length" for one in answers]
        scores = scorer.score([ids] * 4, [one.ids for one in answers], cut).tolist()
        place = scores.index(max(scores))
        kept_places.add(place)
        assert (row["token_ids"], row["finish_reason"]) == (answers[place].ids, answers[place].finish_reason)
        assert row["seed"] == sample.derived_seed(0, prompt, number, place)
        assert row["score"] == pytest.approx(max(scores), abs=1e-4)
        assert row["mean_score"] == pytest.approx(sum(scores) / 4, abs=1e-4)
    assert len(kept_places) > 1, "else the first draw would always do"


def test_answers_may_be_scored_and_none_of_them_chosen(llama_folder: Path, llama_done: RunFolder, tmp_path: Path) -> None:
    plain = folder(tmp_path / "plain", llama_folder, per_prompt=2, max_new_tokens=12, batch_size=8)
    scored = best_folder(tmp_path / "scored", llama_folder, llama_done, n=1, per_prompt=2)
    for run in (plain, scored):
        sample.run(run)
    rows = written(scored)
    assert {key: row["token_ids"] for key, row in rows.items()} == {key: row["token_ids"] for key, row in written(plain).items()}
    scorer = load_scorer(llama_done.file("checkpoint"))
    for (prompt, _number), row in rows.items():
        ids = chat_ids(scorer.backbone.tokenizer, [{"role": "user", "content": QUESTIONS[prompt - 10]}])
        (score,) = scorer.score([ids], [row["token_ids"]], [row["finish_reason"] == "length"]).tolist()
        assert row["score"] == pytest.approx(score, abs=1e-4)
        assert "mean_score" not in row
    assert "kl_nats_at_most" not in result_of(scored)


def test_answers_that_are_only_to_be_scored_are_written_without_where_the_reward_cannot_be_used(
    llama_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder(tmp_path / "r", llama_folder, max_new_tokens=12, batch_size=8)
    (tmp_path / "none").mkdir()
    run.inputs["reward"] = str(tmp_path / "none")
    sample.run(run)
    assert all("score" not in row for row in written(run).values())
    assert "are not scored" in capsys.readouterr().out


def test_what_the_choice_gained_and_the_most_it_cost_are_in_the_result(
    llama_folder: Path, llama_done: RunFolder, tmp_path: Path
) -> None:
    run = best_folder(tmp_path / "r", llama_folder, llama_done)
    sample.run(run)
    result, rows = result_of(run), list(written(run).values())
    assert result["score"] == pytest.approx(sum(row["score"] for row in rows) / len(rows))
    assert result["mean_score"] == pytest.approx(sum(row["mean_score"] for row in rows) / len(rows))
    assert result["score"] > result["mean_score"]
    assert result["kl_nats_at_most"] == pytest.approx(math.log(4) - 0.75)


def test_the_labels_doubt_is_taken_off_before_one_is_chosen(llama_folder: Path, llama_done: RunFolder, tmp_path: Path) -> None:
    """What is compared is what PPO is paid, not the estimate in the middle."""
    scorer = load_scorer(llama_done.file("checkpoint"), load_policy(str(llama_folder)))
    prompts = [chat_ids(scorer.backbone.tokenizer, [{"role": "user", "content": "Hi"}])] * 12
    answers = [
        Generated(ids_of_text(scorer.backbone, f"{word} bread old bees"), "eos") for word in ["sea", "moon", "hum", "rain"] * 3
    ]
    scorer.disagreement = 5.0
    said = scorer.verdicts(prompts, [one.ids for one in answers])
    assert not said.scores.equal(said.overall)
    chosen = best_of.choose(scorer, prompts, answers, 4, 5, lambda: None)
    assert [choice.score for choice in chosen] == pytest.approx(said.scores.view(3, 4).max(1).values.tolist(), abs=1e-5)


def test_of_equal_scores_the_first_drawn_is_kept(llama_folder: Path, llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"), load_policy(str(llama_folder)))
    prompts = [chat_ids(scorer.backbone.tokenizer, [{"role": "user", "content": "Hi"}])] * 6
    same = Generated(ids_of_text(scorer.backbone, "the moon"), "eos")
    chosen = best_of.choose(scorer, prompts, [same] * 6, 3, 6, lambda: None)
    assert [choice.place for choice in chosen] == [0, 0]


def test_the_same_seed_keeps_the_same_answers_whatever_is_drawn_beside(
    llama_folder: Path, llama_done: RunFolder, tmp_path: Path
) -> None:
    runs = [
        best_folder(tmp_path / "a", llama_folder, llama_done),
        best_folder(tmp_path / "b", llama_folder, llama_done, batch_size=3),  # fewer than are drawn for one
        best_folder(tmp_path / "c", llama_folder, llama_done, seed=1),
    ]
    for run in runs:
        sample.run(run)
    first, second, other = ({key: row["token_ids"] for key, row in written(run).items()} for run in runs)
    assert first == second
    assert first != other


def test_the_draws_of_a_prompt_are_one_batch(
    llama_folder: Path, llama_done: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = []

    def counting(*arguments: Any, **named: Any) -> Any:
        together.append(len(arguments[1]))
        return generate(*arguments, **named)

    monkeypatch.setattr("trainer.sample.run.generate", counting)
    sample.run(best_folder(tmp_path / "r", llama_folder, llama_done, per_prompt=2, batch_size=8))
    assert together == [8, 8, 8]


def test_a_cancelled_run_goes_on_and_keeps_what_it_would_have_kept(
    llama_folder: Path, llama_done: RunFolder, tmp_path: Path
) -> None:
    class CancelledSoon(RunFolder):
        def progress(self, step: int, total: int, message: Message) -> None:
            super().progress(step, total, message)
            if step == 1:
                self.file("cancel").touch()

    whole = best_folder(tmp_path / "whole", llama_folder, llama_done, batch_size=4)
    sample.run(whole)
    best_folder(tmp_path / "r", llama_folder, llama_done, batch_size=4)
    with pytest.raises(Cancelled):
        sample.run(CancelledSoon(tmp_path / "r"))
    assert len(written(RunFolder(tmp_path / "r"))) == 1
    (tmp_path / "r" / "cancel").unlink()
    sample.run(RunFolder(tmp_path / "r"))
    assert written(RunFolder(tmp_path / "r")) == written(whole)
    assert result_of(RunFolder(tmp_path / "r"))["score"] == result_of(whole)["score"]


def test_only_the_features_of_kept_answers_are_kept(llama_folder: Path, llama_done: RunFolder, tmp_path: Path) -> None:
    run = best_folder(tmp_path / "r", llama_folder, llama_done)
    run.inputs["cache"] = str(tmp_path / "cache")
    sample.run(run)
    base = load_policy(str(llama_folder))
    cache = FeatureCache(tmp_path / "cache", base, choose_layers(base))
    for (prompt, number), row in written(run).items():
        ids = chat_ids(base.tokenizer, [{"role": "user", "content": QUESTIONS[prompt - 10]}])
        answers = [drawn(llama_folder, 0, prompt, number, draw) for draw in range(4)]
        digests = {tuple(one.ids): token_sequence(ids, one.ids, eos_ids(base), 512).digest for one in answers}
        assert {ids for ids, digest in digests.items() if digest in cache} == {tuple(row["token_ids"])}


def test_a_reward_that_cannot_be_used_refuses_the_run_with_the_reason(
    llama_folder: Path, tuned: RunFolder, tmp_path: Path
) -> None:
    broken = best_folder(tmp_path / "broken", llama_folder, tuned)
    broken.inputs["reward"] = str(tmp_path)
    with pytest.raises(Refused, match="reward model cannot be used"):
        sample.run(broken)
    narrow = best_folder(tmp_path / "narrow", llama_folder, tuned, dtype="bfloat16")
    assert main(["sample", str(narrow.path)]) == EXIT_REFUSED
    assert result_of(narrow)["reason"]["code"] == "reward_needs_float32"


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_bound_on_kl_is_what_enumeration_gives_where_no_two_answers_are_alike(n: int) -> None:
    """A policy that draws one of m answers, each as likely; the k-th of them is the best of n with (k^n - (k-1)^n) / m^n."""
    m = 4000
    chosen = [(k / m) ** n - ((k - 1) / m) ** n for k in range(1, m + 1)]
    kl = sum(p * math.log(p * m) for p in chosen)
    bound = best_of.kl_nats_at_most(n)
    assert kl == pytest.approx(bound, abs=5e-3)
    assert kl <= bound + 1e-12
    few = 3  # answers that are drawn twice bring it down
    chosen = [(k / few) ** n - ((k - 1) / few) ** n for k in range(1, few + 1)]
    assert sum(p * math.log(p * few) for p in chosen) <= bound + 1e-12
