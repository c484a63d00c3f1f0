"""Rewards outside of the model: put on one scale and mixed, learned from, kept over a stop, refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.outside.conftest import package
from tests.trainer.outside.reward_server import scores, serving
from tests.trainer.ppo.ppo_runs import PANEL, PROMPTS, SMALL, even_share, move_adapters
from tests.trainer.ppo.test_run import make_reward, make_run, same, told, trained
from tests.trainer.tiny import llama_policy, ppo_folder, simple_policy
from trainer.__main__ import main
from trainer.contract.config import PPOConfig
from trainer.contract.english import english
from trainer.contract.environment import installed_rewards
from trainer.contract.folder import EXIT_DONE, EXIT_REFUSED, Refused, Unanswered, read_jsonl
from trainer.contract.messages import Message, from_json
from trainer.files import checkpoint
from trainer.lm.backbone import Backbone, named_trainable
from trainer.outside.entry_point import Installed
from trainer.ppo.learner import Learner
from trainer.ppo.outside import SCALED_ON, Mixture, Outside, mixture
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt, write_answers
from trainer.ppo.run import begin_outside, train

__all__ = ["package"]
pytestmark = pytest.mark.usefixtures("one_thread")
LEARNS: dict[str, Any] = {"updates": 8, "episodes": 32, "microbatch": 32, "length_control": "off", "kl_target_nats": 20.0}


def indifferent(_prompts: Ids, answers: Ids) -> Tensor:
    return torch.zeros(len(answers))


def run(path: Path, backbone: Backbone, asked: Outside, score: Any = indifferent, **config: Any) -> dict[str, Any]:
    folder = ppo_folder(path, **(SMALL | config))
    assert isinstance(folder.config, PPOConfig)
    return train(folder, folder.config, backbone, Rule(score), PROMPTS, PANEL, outside=asked)


class Words:
    """Scores answers by how many of their words are even, and does something at one call."""

    def __init__(self, at: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self.calls, self.at, self.then = 0, at, then
        self.answers: list[Sequence[str]] = []
        self.prompts: list[Any] = []

    def __call__(self, prompts: Sequence[Any], answers: Sequence[str], check: Callable[[], None]) -> list[float]:
        self.calls += 1
        if self.calls == self.at:
            self.then()
        self.answers.append(answers)
        self.prompts.append(prompts)
        return [float(sum(int(word.strip("<>")) % 2 == 0 for word in answer.split())) for answer in answers]


def test_rewards_are_standardised_weighed_and_the_sum_has_deviation_one() -> None:
    scores_of_model = torch.tensor([0.0, 1.0, 2.0, 1.0])
    outside = torch.tensor([[100.0, 0.0], [100.0, 4.0], [300.0, 0.0], [300.0, 4.0]], dtype=torch.float64)
    found = mixture({"facts": 0.5, "tone": 2.0}, scores_of_model, outside)
    # Standardised: (-1, -1, 1, 1) and (-1, 1, -1, 1); with the model's -1, 0, 1, 0 the sums are -3.5, 1.5, -.5, 2.5.
    assert found[:-1] == Mixture([0.5, 2.0], [200.0, 2.0], [100.0, 2.0], 1.0, 0.0)[:-1]
    assert found.deviation == pytest.approx(5.25**0.5)
    expected = 1 + torch.tensor([-3.5, 1.5, -0.5, 2.5]) / 5.25**0.5
    torch.testing.assert_close(found.mixed(scores_of_model, outside), expected)
    alone = found.mixed(torch.tensor([2.0]), torch.tensor([[200.0, 6.0]], dtype=torch.float64))  # of another rollout
    torch.testing.assert_close(alone, torch.tensor([1 + 5 / 5.25**0.5]))


def test_a_reward_that_cannot_tell_answers_apart_is_refused_by_its_name() -> None:
    outside = torch.tensor([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]], dtype=torch.float64)
    with pytest.raises(Refused) as ended:
        mixture({"facts": 1.0, "tone": 1.0}, torch.zeros(3), outside)
    assert english(ended.value.message).startswith("The reward tone gives every answer of the base model the same score, 0.1:")


@pytest.mark.parametrize("policy", ["llama", "simple"])
def test_the_scale_is_that_of_the_bases_answers_wherever_the_policy_starts(tmp_path: Path, policy: str) -> None:
    backbone = llama_policy() if policy == "llama" else simple_policy(vocab=40, eos=2)
    config = PPOConfig(**(SMALL | {"outside": "words=1"}))
    learner = Learner(backbone, config, len(PROMPTS))
    untouched = Learner(llama_policy() if policy == "llama" else simple_policy(vocab=40, eos=2), config, len(PROMPTS))
    asked = [PROMPTS[index] for index in untouched.next_prompts(SCALED_ON)]
    expected = write_answers(untouched.backbone, config, asked, untouched.sampling, None, lambda: None)
    move_adapters(backbone)
    moved = [parameter.clone() for _, parameter in named_trainable(backbone)]
    words = Words()
    begin_outside(learner, config, Rule(even_share), {"words": words}, PROMPTS, lambda: None)
    texts = [backbone.tokenizer.decode(given.ids, skip_special_tokens=True) for given in expected]
    assert list(words.answers[0]) == texts
    assert len(set(texts)) > SCALED_ON / 2
    assert all(torch.equal(one, was) for (_, one), was in zip(named_trainable(backbone), moved, strict=True))


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("seed", [0, 1])
def test_ppo_learns_what_only_an_installed_reward_pays(tmp_path: Path, seed: int) -> None:
    even = {"even": Installed(installed_rewards()["even"])}
    backbone = llama_policy(seed=seed)
    settings = LEARNS | {"seed": seed}
    figures = run(tmp_path, backbone, even, outside="even=1", **settings)
    assert figures["outside/even"] > figures["outside/even/before"] + 0.25
    rows = list(read_jsonl(tmp_path / "metrics.jsonl"))
    assert rows[0]["outside/even"] == figures["outside/even/before"]
    assert abs(rows[0]["rollout/score"]) < 0.5  # one deviation of the base's answers is 1, and their mean is 0
    assert figures["score"] > 1


def test_a_weight_decides_what_is_learned(tmp_path: Path) -> None:
    gained = []
    for weight in (0.1, 10):
        figures = run(tmp_path / str(weight), llama_policy(), {"words": Words()}, odd_share, outside=f"words={weight}", **LEARNS)
        gained.append(figures["outside/words"] - figures["outside/words/before"])
    assert gained[0] < 0 < gained[1]


def odd_share(prompts: Ids, answers: Ids) -> Tensor:
    return 1 - even_share(prompts, answers)


def test_without_a_name_nobody_is_asked_and_nothing_is_written(tmp_path: Path) -> None:
    figures = run(tmp_path, llama_policy(), {}, even_share)
    assert not [name for name in figures if name.startswith("outside")]
    assert not [name for row in read_jsonl(tmp_path / "metrics.jsonl") for name in row if name.startswith("outside")]
    found = checkpoint.load_state(tmp_path / "state")
    assert found is None or found[1]["mixture"] is None


@pytest.mark.parametrize("at", [1, 2, 4])  # while the scale is found, in the first rollout, in the third
def test_a_run_that_a_reward_let_down_goes_on_bit_for_bit(tmp_path: Path, at: int) -> None:
    def let_down() -> None:
        raise Unanswered(Message("outside_no_scores", name="words"))

    settings = {"outside": "words=0.5", "updates": 4, "checkpoint_every": 2}
    straight = llama_policy()
    run(tmp_path / "straight", straight, {"words": Words()}, even_share, **settings)
    with pytest.raises(Unanswered):
        run(tmp_path / "stopped", llama_policy(), {"words": Words(at, let_down)}, even_share, **settings)
    kept = checkpoint.load_state(tmp_path / "stopped" / "state")
    assert kept is not None
    assert kept[1]["counters"]["update"] == max(0, at - 3)  # the newest policy that was looked at
    torch.manual_seed(99)
    again, resumed = Words(), llama_policy()
    run(tmp_path / "stopped", resumed, {"words": again}, even_share, **settings)
    assert len(again.answers[0]) == (SCALED_ON if at == 1 else SMALL["episodes"] + len(PANEL))  # a scale that was found stays
    for (name, one), (_, other) in zip(named_trainable(straight), named_trainable(resumed), strict=True):
        assert torch.equal(one, other), name
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert told(tmp_path / "straight", file) == told(tmp_path / "stopped", file)
    assert same(*(checkpoint.load_state(tmp_path / name / "state") for name in ("straight", "stopped")))


def test_the_models_judges_see_no_score_from_outside(tmp_path: Path) -> None:
    """Overall, judged and members are the model's: the guards and the update that is kept go by them."""
    learned: list[dict[str, Any]] = []
    asked: list[tuple[Outside, dict[str, Any]]] = [({}, {}), ({"words": Words()}, {"outside": "words=3"})]
    for outside, settings in asked:
        folder = ppo_folder(tmp_path / str(len(learned)), **(SMALL | {"updates": 1} | settings))
        assert isinstance(folder.config, PPOConfig)
        rule = Rule(even_share, even_share, lambda asked, given: even_share(asked, given)[:, None] + torch.arange(3))
        train(folder, folder.config, llama_policy(), rule, PROMPTS, PANEL, PROMPTS[:6], outside=outside)
        learned.append(list(read_jsonl(folder.file("metrics.jsonl")))[-1])
    for row in learned:
        assert row["rollout/overall"] == row["rollout/judged"] <= 1
        assert abs(row["heldout/gain"]) <= 1
    assert learned[0]["rollout/overall"] == learned[0]["rollout/score"]
    assert learned[1]["rollout/overall"] != pytest.approx(learned[1]["rollout/score"], abs=1e-3)


# As a person starts it: a folder, and what the environment says


@pytest.fixture(scope="module")
def reward(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reward(tmp_path_factory.mktemp("reward") / "checkpoint", llama_folder)


def vowels(body: dict[str, Any], _number: int) -> tuple[int, bytes]:
    return scores([sum(letter in "aeiou" for letter in answer) + len(answer) / 100 for answer in body["answers"]])


def test_a_run_asks_the_address_that_its_name_stands_for(
    tmp_path: Path, llama_folder: Path, reward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    folder = make_run(tmp_path / "run", llama_folder, reward, outside="vowels=0.5")
    with serving(vowels) as there:
        monkeypatch.setenv("TASTEMAKER_REWARDS", f"vowels={there.url}")
        monkeypatch.setenv("TASTEMAKER_REWARD_KEYS", "vowels=k3y")
        assert main(["ppo", str(folder)]) == EXIT_DONE
    assert {headers["Authorization"] for headers in there.headers} == {"Bearer k3y"}
    asked = [prompt for body in there.asked for prompt in body["prompts"]]
    assert [{"role": "user", "content": "Tell me about the sea."}] in asked
    result = json.loads((folder / "result.json").read_text())
    rows = told(folder, "metrics.jsonl")
    assert result["outside/vowels"] == rows[result["updates"]]["outside/vowels"]
    assert all("outside/vowels" in row for row in rows)
    card = (folder / "checkpoint" / "README.md").read_text()
    assert "| outside/vowels |" in card
    assert "vowels=0.5" in card
    everything = "".join(path.read_text(errors="ignore") for path in folder.rglob("*") if path.is_file())
    assert there.url not in everything
    assert "k3y" not in everything
    assert trained(folder)


def test_names_that_nobody_offers_and_rewards_that_fail_end_a_run_with_a_sentence(
    tmp_path: Path, llama_folder: Path, reward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("TASTEMAKER_REWARDS", raising=False)
    gone = make_run(tmp_path / "gone", llama_folder, reward, outside="vowels=1")
    assert main(["ppo", str(gone)]) == EXIT_REFUSED
    assert reason(gone).startswith("Nobody offers a reward called vowels here.")
    # The base's answers are asked about, the first rollout, and then it has enough.
    with serving(lambda body, number: vowels(body, number) if number <= 3 else (403, b"")) as there:
        monkeypatch.setenv("TASTEMAKER_REWARDS", f"vowels={there.url}")
        fails = make_run(tmp_path / "fails", llama_folder, reward, outside="vowels=1")
        assert main(["ppo", str(fails)]) == EXIT_REFUSED
    assert reason(fails) == "The reward vowels could not be asked: It replied with status 403."
    assert (fails / "state").is_dir()


def reason(folder: Path) -> str:
    return english(from_json(json.loads((folder / "result.json").read_text())["reason"]))


def test_prompts_carry_their_conversations_for_whoever_reads_texts(tmp_path: Path) -> None:
    words = Words()
    messages = [{"role": "user", "content": "Count."}]
    prompts = [Prompt(one.prompt_id, one.ids, messages) for one in PROMPTS]
    folder = ppo_folder(tmp_path, **(SMALL | {"updates": 1, "outside": "words=1"}))
    assert isinstance(folder.config, PPOConfig)
    train(folder, folder.config, llama_policy(), Rule(even_share), prompts, prompts[:2], outside={"words": words})
    assert all(prompt == messages for asked in words.prompts for prompt in asked)
