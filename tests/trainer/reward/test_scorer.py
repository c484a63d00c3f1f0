"""What the checkpoints of reward runs open as: the scorer."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.reward.reward_runs import make_folder, panel_ids, prefers_moons, result_of, rewritten
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.lm.backbone import BackboneError, attach_lora, chat_ids, trainable_parameters
from trainer.lm.forward import final_states, pack, with_trunk
from trainer.lm.loading import load_backbone
from trainer.reward import run as reward
from trainer.reward.data import read_labels
from trainer.reward.head_files import jackknife_deviation
from trainer.reward.scorer import load_scorer


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_the_panel_scores_mean_nought_and_deviation_one(finished: str, request: pytest.FixtureRequest) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))

    scores = scorer.score(*panel_ids(folder, scorer.backbone))

    assert float(scores.mean()) == pytest.approx(0, abs=1e-3)
    assert float(scores.std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_a_score_does_not_depend_on_batch_order_padding_or_a_kept_end(
    finished: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, scorer.backbone)
    end = scorer.backbone.tokenizer.eos_token_id
    scores = scorer.score(prompts, responses)

    monkeypatch.setattr("trainer.lm.batched_reading.BATCH_TOKENS", 1)
    alone = scorer.score(prompts[::-1], [[*response, end] for response in responses[::-1]])

    torch.testing.assert_close(alone.flip(0), scores, atol=1e-4, rtol=1e-4)


def test_an_answer_that_was_cut_is_scored_as_it_was_learned(tmp_path: Path, llama_folder: Path) -> None:
    """Half the answers were cut, on the panel too, and its scores are still on their scale."""
    folder = make_folder(tmp_path / "1", llama_folder, prefers_moons, 40, method="lora", lora_rank=2, lora_layers=2, epochs=1)
    panel = list(read_jsonl(folder.file("panel.jsonl")))
    for row in panel[::2]:
        row["response"]["cut"] = True
    folder.file("panel.jsonl").write_text("".join(json.dumps(row) + "\n" for row in panel), encoding="utf-8")
    rewritten(folder, lambda row: [row | {"left": row["left"] | {"cut": True}}])
    reward.run(folder)
    scorer = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, scorer.backbone)
    cut = ["cut" in row["response"] for row in panel]

    scores = scorer.score(prompts, responses, cut)

    assert (float(scores.mean()), float(scores.std())) == pytest.approx((0, 1), abs=1e-3)
    torch.testing.assert_close(scorer.verdicts(prompts, responses, cut).scores, scores)
    whole = scorer.score(prompts, responses)
    assert [abs(one - other) < 1e-4 for one, other in zip(scores.tolist(), whole.tolist(), strict=True)] == [not c for c in cut]
    result, labels = result_of(folder), read_labels(folder.path)
    judged = {index for label in labels.comparisons for index in (label.left, label.right)}
    assert result["judged_answers"] == len(judged)
    assert result["cut_answers"] == sum(labels.answers[index].cut for index in judged) == 40
    assert "| cut answers | 40 |" in (folder.file("checkpoint") / "README.md").read_text(encoding="utf-8")


def test_texts_score_as_their_token_ids(llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"))
    rows = list(read_jsonl(llama_done.file("panel.jsonl")))

    by_text = scorer.score_texts([(row["messages"], row["response"]["text"]) for row in rows])

    torch.testing.assert_close(by_text, scorer.score(*panel_ids(llama_done, scorer.backbone)))


def test_an_answer_that_says_nothing_scores_as_one_that_ended_at_once(llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"))
    messages = next(iter(read_jsonl(llama_done.file("panel.jsonl"))))["messages"]

    empty = scorer.score_texts([(messages, "")])

    prompt = chat_ids(scorer.backbone.tokenizer, messages)
    torch.testing.assert_close(empty, scorer.score([prompt], [[scorer.backbone.tokenizer.eos_token_id]]))


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_a_policy_in_training_neither_changes_scores_nor_is_changed_by_them(
    finished: str, request: pytest.FixtureRequest
) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    expected = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, expected.backbone)
    policy = load_backbone(expected.backbone.source)
    scorer = load_scorer(folder.file("checkpoint"), policy)
    attach_lora(policy, rank=2, layers=2, seed=0)
    with torch.no_grad():
        for parameter in trainable_parameters(policy):
            parameter.add_(0.1)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    wanted = [parameter.requires_grad for parameter in policy.model.parameters()]

    scores = scorer.score(prompts, responses)

    torch.testing.assert_close(scores, expected.score(prompts, responses), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())
    assert [parameter.requires_grad for parameter in policy.model.parameters()] == wanted


def test_the_base_has_its_own_weights_back_after_an_exception(tuned: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = load_scorer(tuned.file("checkpoint"))
    before = {name: tensor.clone() for name, tensor in scorer.backbone.model.state_dict().items()}

    def fail(*_given: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("trainer.reward.scorer.end_states", fail)
    with pytest.raises(RuntimeError):
        scorer.score([[5, 6]], [[7]])

    assert all(torch.equal(tensor, before[name]) for name, tensor in scorer.backbone.model.state_dict().items())


def test_a_reward_of_another_base_is_refused(llama_done: RunFolder, tmp_path: Path, llama_folder: Path) -> None:
    other = load_backbone(str(llama_folder))
    other.sha256 = "0" * 64

    with pytest.raises(BackboneError, match="fit a reward on this base first"):
        load_scorer(llama_done.file("checkpoint"), other)


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_what_the_members_disagree_by_is_taken_off_and_judges(finished: str, request: pytest.FixtureRequest) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))
    given = panel_ids(folder, scorer.backbone)
    plain = scorer.verdicts(*given)
    assert plain.members is not None
    assert plain.members.shape == (30, 3)
    torch.testing.assert_close(plain.scores, plain.overall)
    doubt = plain.members.std(1, correction=0) * 2**0.5
    assert float(doubt.std()) > 1e-3

    scorer.disagreement, scorer.judge_head = 1.5, None
    wary = scorer.verdicts(*given)

    torch.testing.assert_close(wary.overall, plain.overall)
    torch.testing.assert_close(wary.scores, plain.overall - 1.5 * doubt)
    torch.testing.assert_close(wary.judged, plain.overall - 2 * doubt)


def test_a_run_is_pessimistic_and_has_its_members_whoever_judges(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, pessimism=1.0, judge_share=0.0)
    reward.run(folder)
    scorer = load_scorer(folder.file("checkpoint"))
    assert (scorer.disagreement, len(scorer.members), scorer.judge_head) == (1.0, 3, None)
    scores = scorer.score(*panel_ids(folder, scorer.backbone))
    assert (float(scores.mean()), float(scores.std())) == pytest.approx((0, 1), abs=1e-3)  # the scale is that of what is paid


def test_a_jackknife_by_hand() -> None:
    members = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    assert jackknife_deviation(members).tolist() == pytest.approx([((2 / 3) * 2) ** 0.5, 0.0])
    assert jackknife_deviation(members[:, :1]).tolist() == [0, 0]  # one estimate disagrees with nobody


def test_a_jackknife_is_the_standard_error_of_a_mean() -> None:
    """Estimates of a mean that each leave out a tenth of the data: Kott 2001."""
    data = torch.randn(4000, 100, generator=torch.Generator().manual_seed(0))
    parts = data.view(4000, 10, 10).sum(2)
    without = (parts.sum(1, keepdim=True) - parts) / 90
    assert float(jackknife_deviation(without).square().mean()) ** 0.5 == pytest.approx(0.1, rel=0.05)


def test_the_documented_loader_of_a_head_gives_the_same_scores(llama_done: RunFolder) -> None:
    place = llama_done.file("checkpoint")
    scorer = load_scorer(place)
    prompts, responses = panel_ids(llama_done, scorer.backbone)
    t, j = load_file(place / "head.safetensors"), json.loads((place / "head.json").read_text(encoding="utf-8"))

    for prompt, response, expected in zip(
        prompts[:4], responses[:4], scorer.score(prompts[:4], responses[:4]).tolist(), strict=True
    ):
        with torch.no_grad():
            states = scorer.backbone.model(torch.tensor([prompt + response]), output_hidden_states=True).hidden_states
        own = [layer[0, len(prompt) :] for layer in states]
        x = {f"layer_{index}": layer.mean(0) for index, layer in enumerate(own)}
        x |= {"sum_0": own[0].sum(0), "log_length": torch.tensor([float(len(response))]).log()}
        r = sum(((x[g] - t[g + ".centre"]) / t[g + ".spread"]) @ t[g + ".weights"] for g in j["groups"])
        assert float((r - j["panel_mean"]) / j["panel_deviation"]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_the_judge_scores_on_its_own_scale_by_the_pass_that_scores_too(finished: str, request: pytest.FixtureRequest) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    scorer = load_scorer(folder.file("checkpoint"))
    if finished == "tuned":  # 40 labels are too few for a judge
        assert scorer.judge_head is None
        return

    prompts, responses = panel_ids(folder, scorer.backbone)
    said = scorer.verdicts(prompts, responses).judged

    assert said is not None

    assert (float(said.mean()), float(said.std())) == pytest.approx((0, 1), abs=1e-3)
    assert result_of(folder)["judge_labels"] >= 30
    assert result_of(folder)["judge_accuracy"] > 0.55  # from 30 labels, on 90 that it never saw
    assert not torch.allclose(said, scorer.score(prompts, responses), atol=1e-2)
    packed = pack(prompts, responses)
    onlooker = scorer.onlooker(scorer.backbone, packed)
    if finished == "done":  # a SimpleLM trains all its weights, so no pass of its policy is the base's
        assert onlooker is None
        return
    assert onlooker is not None
    with torch.no_grad():
        for rows in (torch.arange(len(prompts)).flip(0)[:7], torch.arange(len(prompts) - 7)):  # some at a time, in any order
            visit = partial(onlooker.visit, rows=rows)
            part = packed.rows(rows)
            final_states(scorer.backbone, with_trunk(scorer.backbone, part, visit), visit)
    found = onlooker.verdicts()
    assert found.judged is not None
    torch.testing.assert_close(found.judged, said, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.scores, scorer.score(prompts, responses), atol=1e-4, rtol=1e-4)


def test_scores_without_length_do_not_go_with_length(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, lambda left, right: "left" if len(left) > len(right) else "right")
    reward.run(folder)
    scorer = load_scorer(folder.file("checkpoint"))
    prompts, responses = panel_ids(folder, scorer.backbone)
    lengths = torch.tensor([float(len(response)) for response in responses])
    scores = scorer.score(prompts, responses)

    residual = scorer.without_length(scores, lengths)

    def together(values: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([values, lengths.log()]))[0, 1])

    assert together(scores) > 0.9
    assert abs(together(residual)) < 0.4
    assert float(residual.std()) < 0.5
