"""What a head makes of half an answer: by definition, by either pass, and nearer to the whole the more of it is there."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.trainer.reward.reward_runs import panel_ids
from trainer.contract.folder import RunFolder
from trainer.lm.backbone import eos_ids
from trainer.lm.forward import final_states, pack, with_trunk
from trainer.reward.data import TokenSequence, content_length
from trainer.reward.features import SUM, answer_means
from trainer.reward.scorer import Scorer, load_scorer


def by_definition(scorer: Scorer, prompt: list[int], response: list[int]) -> list[float]:
    """Before each token: the head's weights on features in which average tokens stand for those that are missing."""
    assert scorer.head is not None
    usual, said = math.exp(scorer.settings["length_mean"]), [0.0]
    for written in range(1, len(response)):
        means = answer_means(scorer.backbone, [TokenSequence(prompt, response[:written])], scorer.layers)
        total = 0.0
        for name, group in scorer.head.groups.items():
            weights = group.weights.double() / group.spread
            if name == SUM:
                total += float((means[0][0].double() * written - group.centre * written / usual) @ weights)
            elif name.startswith("layer_"):
                share = written / max(written, usual)
                filled = means[int(name.removeprefix("layer_"))][0].double() * share + group.centre.double() * (1 - share)
                total += float((filled - group.centre) @ weights)
        said.append(total / scorer.settings["panel_deviation"])
    return said


def test_both_passes_say_what_the_definition_says(llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"))
    prompts, responses = panel_ids(llama_done, scorer.backbone)
    ends = eos_ids(scorer.backbone)
    chosen = [row for row, response in enumerate(responses) if content_length(response, ends) == len(response) > 2][:5]
    prompts, responses = [prompts[row] for row in chosen], [responses[row] for row in chosen]
    found = scorer.partial(prompts, responses)
    assert found is not None
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        expected = torch.tensor(by_definition(scorer, list(prompt), list(response)))
        torch.testing.assert_close(found[row, : len(response)], expected, atol=1e-4, rtol=1e-3)
        assert not found[row, len(response) :].any()
    assert float(found.abs().max()) > 0.01, "it says something"
    torch.testing.assert_close(looked_on(scorer, prompts, responses), found, atol=1e-4, rtol=1e-3)


def looked_on(scorer: Scorer, prompts: list[list[int]], responses: list[list[int]]) -> Tensor:
    """By an onlooker, of rows in any order and some at a time."""
    packed = pack(prompts, responses)
    onlooker = scorer.onlooker(scorer.backbone, packed, partial=True)
    assert onlooker is not None
    with torch.no_grad():
        for rows in (torch.tensor([len(prompts) - 1, 0]), torch.arange(1, len(prompts) - 1)):
            visit = partial(onlooker.visit, rows=rows)
            part = packed.rows(rows)
            final_states(scorer.backbone, with_trunk(scorer.backbone, part, visit), visit)
    return onlooker.partial()


def test_an_end_that_was_kept_changes_nothing_before_it(llama_done: RunFolder) -> None:
    scorer = load_scorer(llama_done.file("checkpoint"))
    prompts, responses = panel_ids(llama_done, scorer.backbone)
    end = min(eos_ids(scorer.backbone))
    bare = [list(response[: content_length(response, eos_ids(scorer.backbone))]) for response in responses[:4]]
    without = scorer.partial(prompts[:4], bare)
    ended = scorer.partial(prompts[:4], [[*response, end] for response in bare])
    assert without is not None
    assert ended is not None
    mask = torch.arange(without.shape[1]) < torch.tensor([len(response) for response in bare])[:, None]
    torch.testing.assert_close(ended[:, :-1][mask], without[mask], atol=1e-4, rtol=1e-3)


def test_an_adapter_says_nothing_of_half_an_answer(tuned: RunFolder) -> None:
    scorer = load_scorer(tuned.file("checkpoint"))
    prompts, responses = panel_ids(tuned, scorer.backbone)
    assert scorer.partial(prompts[:2], responses[:2]) is None
    with pytest.raises(ValueError, match="half an answer"):
        scorer._partial_scores(2, 3)
