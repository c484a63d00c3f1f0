"""Which update is kept, and what ends a run that can no longer be read: by hand, and in runs of a tiny Llama."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.ppo.ppo_runs import PROMPTS, SMALL, even_share
from tests.trainer.tiny import llama_policy, ppo_folder
from trainer.contract.config import PPOConfig
from trainer.contract.folder import read_jsonl
from trainer.files.checkpoint import read_nested, write_nested
from trainer.ppo.guards import plain, restored
from trainer.ppo.held_out import HeldOut, by_prompt, gained, past_bounds, surely_less
from trainer.ppo.readability import Readability
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PPOConfig(heldout_answers=1)
HELD_OUT = [Prompt(100 + index, [9, 8 - index % 3, 20 + index]) for index in range(8)]


def read(**change: Any) -> Readability:
    """Eight answers of 100 words, of which each figure is the same but for what is changed."""
    usual = {"fluency": -2.0, "relevance": 0.4, "repetition": 0.0, "cut": 0.0} | change
    words = usual.pop("words", dict.fromkeys(range(100), 8))
    return Readability(**{name: torch.full((8,), value) for name, value in usual.items()}, words=Counter(words))


def decode(token: int) -> str:
    return f" word{token}"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"fluency": -2.49}, None),
        ({"fluency": -2.51}, "fluency_fell"),
        ({"fluency": -1.0}, None),  # more natural than before
        ({"relevance": 0.37}, None),
        ({"relevance": 0.35}, "relevance_fell"),
        ({"repetition": 0.09}, None),
        ({"repetition": 0.11}, "repetition_rose"),
        ({"cut": 0.14}, None),
        ({"cut": 0.16}, "truncation_rose"),
        ({"words": dict.fromkeys(range(99), 8) | {99: 40}}, None),  # by .038
        ({"words": dict.fromkeys(range(99), 8) | {99: 80}}, "one_word_rose"),
    ],
)
def test_each_bound_by_hand(change: dict[str, Any], code: str | None) -> None:
    first = read()._asdict()
    found = past_bounds(CONFIG, first, read(**change), decode)
    assert (found.code if found else None) == code
    if code == "one_word_rose":
        assert found is not None
        assert found.arguments["word"] == "word99"
        assert found.arguments["now"] == pytest.approx(1000 * 80 / 872)
        assert found.arguments["was"] == pytest.approx(10)


def test_what_may_be_chance_ends_nothing() -> None:
    first = read()._asdict()
    uneven = torch.tensor([-2.0] * 6 + [-5.0] * 2)  # a mean fall of .75, of a standard error of .49
    assert past_bounds(CONFIG, first, read()._replace(fluency=uneven), decode) is None
    few = Counter(dict.fromkeys(range(20), 1) | {99: 2})  # one in eleven, of 22 words
    assert past_bounds(CONFIG, first, read(words=few), decode) is None


def test_a_gain_at_the_least_by_hand() -> None:
    assert gained(torch.tensor([1.0, 1.0, 1.0])) == pytest.approx((1, 1))
    # a deviation of .5 of five estimates is one of .5 * 2 of their mean
    assert gained(torch.tensor([0.5, 1.5, 0.5, 1.5, 1.0])) == pytest.approx((1.0, 1.0 - 2 * 2 * (0.2**0.5)), abs=1e-6)
    assert gained(torch.tensor([0.3])) == pytest.approx((0.3, 0.3))


def look(found: HeldOut, update: int, members: Tensor, **change: Any) -> dict[str, float]:
    """A look at answers of which five estimates say this, (n, K); the policy is the number of the update."""
    weights = {"w": torch.full((1,), float(update))}
    return found.look(CONFIG, update, members, read(**change), weights, decode)[0]


def test_an_earlier_update_is_kept_only_where_later_ones_surely_gain_less() -> None:
    found, apart, kept = HeldOut(), torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(8, 5), []
    for update, gain in enumerate((0.0, 1.0, 2.0, 1.9, 1.2)):
        look(found, update, gain + gain * apart + 5)  # estimates part on which of two is better
        kept.append(found.best["update"] if found.best else None)
    assert kept == [None, 1, 2, 3, 4]

    found, kept = HeldOut(), []
    by_chance = 0.4 * torch.tensor([-1.0, 1.0] * 4)[:, None]
    for update, gain in enumerate((0.0, 1.0, 2.0, 1.9, 1.2, 1.95)):
        look(
            found, update, gain + apart * (update > 0) + by_chance * (update == 3)
        )  # they part on each, and agree which is better
        kept.append(found.best["update"] if found.best else None)
    # A fall of .1 whose standard error is .15 may be chance, one of .8 or .05 without any is none.
    assert kept == [None, 1, 2, 3, 3, 3]
    assert found.most is not None
    assert float(found.most.mean()) == 2  # later ones are held against the best, not against the last: no slow decline passes
    assert found.best is not None
    assert (found.best["gain"], found.best["policy"]["w"].tolist()) == (pytest.approx(1.9), [3.0])


def test_what_surely_falls_by_hand() -> None:
    zeros, uneven = torch.zeros(8, 3), torch.tensor([0.0, 2.0] * 4)[:, None].expand(8, 3)  # a mean of 1, a standard error of .38
    assert surely_less(zeros, zeros + 0.01)
    assert not surely_less(zeros + 0.01, zeros)
    assert surely_less(zeros, uneven)  # 1 > 2 * .38
    assert not surely_less(zeros, uneven - 0.3)
    doubted = uneven + 0.25 * torch.tensor([-1.0, 0.0, 1.0])  # and 2 * .25 * (2 / 3) ** .5 * 2 ** .5 = .58 of the jackknife
    assert surely_less(zeros, doubted)  # 1 > (.76 ** 2 + .58 ** 2) ** .5 = .95
    assert not surely_less(zeros, doubted - 0.06)


def test_what_cannot_be_read_is_no_best() -> None:
    found = HeldOut()
    for update, gain in enumerate((0.0, 1.0, 3.0)):
        look(found, update, torch.full((8, 3), gain), **({"fluency": -9.0} if update == 2 else {}))
    assert found.best is not None
    assert found.best["update"] == 1
    assert found.readable is not None
    assert found.readable["update"] == 1


def test_only_what_the_other_guards_would_keep_is_kept_and_nothing_is_said_without_a_beginning() -> None:
    members, found = torch.ones(8, 3), HeldOut()
    assert found.look(CONFIG, 4, members, read(), {}, decode) == ({}, None)  # a run of before, that went on
    found.look(CONFIG, 0, 0 * members, read(), {}, decode, False)
    figures, _ = found.look(CONFIG, 4, members, read(), {}, decode, False)
    assert figures["heldout/gain"] == 1
    assert found.best is found.readable is None


def test_answers_to_the_same_prompt_speak_together() -> None:
    """Two answers to each of four prompts, the first to each before the second."""
    by_hand = torch.tensor([1.0, 2.0, 3.0, 4.0, 3.0, 0.0, 5.0, 4.0])
    members, figures = by_prompt(2, torch.stack([by_hand, -by_hand], 1), read(relevance=0.1)._replace(fluency=by_hand))
    assert members is not None
    assert members.tolist() == [[2, -2], [1, -1], [4, -4], [4, -4]]
    assert figures.fluency.tolist() == [2, 1, 4, 4]
    assert figures.words == read().words

    config = PPOConfig(heldout_answers=2)
    uneven = torch.tensor(
        [-1.5, -1.5, -1.5, -1.5, -3.7, -3.7, -3.7, -3.7]
    )  # a fall of .6 on every prompt, and of 1.7 on half of the answers
    one_each, two_each = HeldOut(), HeldOut()
    for found, settings in ((one_each, CONFIG), (two_each, config)):
        found.look(settings, 0, None, read(), {}, decode)
        reason = found.look(settings, 4, None, read()._replace(fluency=uneven), {}, decode)[1]
        assert (reason is None) == (settings is CONFIG)


def test_what_is_remembered_survives_the_disk(tmp_path: Path) -> None:
    """A run that went on from its state fell over its next look, because a counter came back as a plain mapping."""
    found = HeldOut()
    found.look(CONFIG, 0, torch.zeros(8, 3), read(), {"w": torch.zeros(1)}, decode)
    write_nested(tmp_path, plain(found))
    again = restored(HeldOut, read_nested(tmp_path))
    change = {"words": dict.fromkeys(range(99), 8) | {99: 80, 500: 1}}
    assert again.look(CONFIG, 4, torch.ones(8, 3), read(**change), {"w": torch.ones(1)}, decode) == found.look(
        CONFIG, 4, torch.ones(8, 3), read(**change), {"w": torch.ones(1)}, decode
    )


def test_three_prompts_say_nothing() -> None:
    few = read()._replace(fluency=torch.zeros(3))
    assert HeldOut().look(CONFIG, 0, None, few, {}, decode) == ({}, None)


def run(path: Path, reward: Rule, **config: Any) -> dict[str, Any]:
    given = {
        "updates": 8,
        "heldout_every": 2,
        "heldout_answers": 3,
        "kl_stop_nats": 1e6,
        "adaptive_kl": False,
        "relevance_fall": 1e3,
    } | config
    folder = ppo_folder(path, **(SMALL | given))
    assert isinstance(folder.config, PPOConfig)
    return train(folder, folder.config, llama_policy(), reward, PROMPTS, HELD_OUT[:2], HELD_OUT)


def falling_after(update: int) -> Any:
    """Estimates that rise until so many updates are done, and fall afterwards, whatever the answers."""
    looks = iter(range(100))

    def members(prompts: Ids, answers: Ids) -> Tensor:
        done = next(looks)
        return min(done, 2 * update - done) + torch.tensor([[-0.1, 0.0, 0.1]]).expand(len(answers), 3)

    return members


def test_the_update_that_held_out_prompts_like_is_kept_and_the_curve_is_there(tmp_path: Path) -> None:
    figures = run(tmp_path, Rule(even_share, members=falling_after(4)), microbatch=100)
    rows = {row["step"]: row for row in read_jsonl(tmp_path / "metrics.jsonl")}
    assert [step for step, row in rows.items() if "heldout/gain" in row] == [0, 2, 4, 6, 8]
    assert [rows[step]["heldout/gain"] for step in (2, 4, 6, 8)] == pytest.approx([2, 4, 2, 0], abs=1e-6)
    assert figures["updates"] == 4
    assert figures["score"] == rows[4]["rollout/score"]
    assert figures["reason"]["code"] == "kept_by_held_out"
    assert {row["prompt_id"] for row in read_jsonl(tmp_path / "samples.jsonl")} == {100, 101}  # the panel alone


def test_without_such_estimates_or_turns_the_last_update_is_kept(tmp_path: Path) -> None:
    assert run(tmp_path / "1", Rule(even_share))["updates"] == 8
    assert run(tmp_path / "2", Rule(even_share, members=falling_after(4)), microbatch=100, heldout_every=0)["updates"] == 8


def test_one_word_that_takes_over_ends_the_run(tmp_path: Path) -> None:
    def sevens(_prompts: Ids, answers: Ids) -> Tensor:
        return 5 * torch.tensor([sum(token == 7 for token in given) / len(given) for given in answers])

    settings = {"updates": 30, "learning_rate": 0.03, "beta": 0.0, "episodes": 16, "fluency_fall_nats": 1e3}
    figures = run(tmp_path, Rule(sevens), repetition_rise=1.0, truncation_rise=1.0, **settings)
    assert figures["reason"]["code"] == "one_word_rose"
    assert 0 < figures["updates"] < 30
    assert figures["updates"] % 2 == 0  # the last that was looked at, and could be read
