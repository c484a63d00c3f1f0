"""A `ppo` run as a person meets it: a folder in, a checkpoint out; stopped, killed, resumed, refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.ppo.ppo_runs import even_share
from tests.trainer.templates import no_system_role
from tests.trainer.tiny import llama_policy, ppo_folder, simple_policy
from trainer.__main__ import main
from trainer.contract.config import PPOConfig
from trainer.contract.english import english
from trainer.contract.folder import EXIT_CANCELLED, EXIT_DONE, EXIT_REFUSED, Cancelled, read_jsonl
from trainer.contract.messages import from_json
from trainer.files import checkpoint
from trainer.lm.backbone import Backbone, bare_base, named_trainable, pin_reference, reference
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.generate import Generated
from trainer.lm.loading import load_backbone, load_policy
from trainer.lm.slices import Budget
from trainer.ppo.evaluate_rollout import evaluate
from trainer.ppo.learner import Learner
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt, to_record, write_answers
from trainer.ppo.run import open_policy, train
from trainer.reward.head.model import Group, Head
from trainer.reward.head_files import write_head
from trainer.reward.scorer import Scorer, load_scorer
from trainer.sft.documents import Sequence
from trainer.sft.ptx import Demonstrations

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG: dict[str, Any] = {
    "updates": 4,
    "episodes": 6,
    "epochs": 2,
    "minibatches": 2,
    "microbatch": 2,
    "max_new_tokens": 6,
    "learning_rate": 0.01,
    "lora_layers": 2,
    "checkpoint_every": 2,
    "panel_prompts": 2,
    "early_stop_kl_nats": 10.0,
    "dtype": "float32",
}
LOOKED_AT: dict[str, Any] = {  # every second update, and no bound ends the run
    "heldout_every": 2,
    "fluency_fall_nats": 1e3,
    "relevance_fall": 1e3,
    "repetition_rise": 1.0,
    "truncation_rise": 1.0,
    "word_rise": 1.0,
}
TEXTS = [
    "Tell me about the sea.",
    "Why do people like bread?",
    "Name a colour.",
    "Explain the moon.",
    "Say hello.",
    "Plan a walk.",
]


def make_run(path: Path, base: Path, reward: Path, start: Path | None = None, **config: Any) -> Path:
    path.mkdir(parents=True)
    inputs = {"base": str(base), "start": str(start) if start else None, "reward": str(reward), "cache": None}
    (path / "run.json").write_text(json.dumps({"kind": "ppo", "config": CONFIG | config, "inputs": inputs}), encoding="utf-8")
    rows = [{"prompt_id": index, "messages": [{"role": "user", "content": text}]} for index, text in enumerate(TEXTS)]
    (path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_reward(path: Path, base: Path, layers: tuple[int, ...] = (1, 3), **settings: float) -> Path:
    """A reward head of random weights, as a reward run would leave it."""
    backbone = load_backbone(str(base))
    generator = torch.Generator().manual_seed(5)
    width = backbone.plain.config.hidden_size
    groups = {
        f"layer_{layer}": Group(
            torch.zeros(width), torch.ones(1), 1.0, torch.randn(width, generator=generator, dtype=torch.float64)
        )
        for layer in layers
    }
    head = Head(groups, torch.zeros(1, width * len(layers), dtype=torch.float64), 0.0, None, [], 1.0)
    scale = {"max_tokens": 256, "pessimism": 0.0, "panel_mean": 0.0, "panel_deviation": 3.0, "length_slope": 0.0}
    manifest = {"kind": "reward", "form": "head", "base": {"source": str(base), "sha256": backbone.sha256}}
    checkpoint.save(path, lambda inner: write_head(inner, head, scale | {"length_mean": 0.0} | settings), manifest)
    return path


@pytest.fixture(scope="module")
def reward(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reward(tmp_path_factory.mktemp("reward") / "checkpoint", llama_folder)


def trained(folder: Path) -> list[Tensor]:
    return [parameter.detach() for _, parameter in named_trainable(load_policy(str(folder / "checkpoint"), trainable=True))]


def told(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file, less what a clock put there."""
    return [
        {key: value for key, value in row.items() if key != "time" and not key.startswith("time/")}
        for row in read_jsonl(folder / name)
    ]


def test_a_run_leaves_a_policy_its_figures_and_a_panel(tmp_path: Path, llama_folder: Path, reward: Path) -> None:
    folder = make_run(tmp_path / "run", llama_folder, reward)
    assert main(["ppo", str(folder)]) == EXIT_DONE
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "done"
    assert result["updates"] == 4
    assert result["kl_nats_per_answer"] > 0
    assert json.loads((folder / "progress.json").read_text())["step"] == 4
    assert [row["step"] for row in told(folder, "metrics.jsonl")] == [0, 1, 2, 3, 4]
    assert len(told(folder, "samples.jsonl")) == 5 * 2
    assert not (folder / "state").exists()
    manifest = checkpoint.verify(folder / "checkpoint")
    assert (manifest["kind"], manifest["form"]) == ("policy", "adapter")
    assert manifest["run"]["config"]["updates"] == 4
    assert any(tensor.abs().max() > 0 for tensor in trained(folder))


def test_a_simple_lm_trains_all_its_weights_against_its_base(tmp_path: Path, simple_lm_folder: Path) -> None:
    reward = make_reward(tmp_path / "reward", simple_lm_folder, layers=(1,))
    first = make_run(tmp_path / "first", simple_lm_folder, reward, beta=0.0, kl_stop_nats=1e6)
    assert main(["ppo", str(first)]) == EXIT_DONE
    assert checkpoint.verify(first / "checkpoint")["form"] == "full"
    second = make_run(tmp_path / "second", simple_lm_folder, reward, first / "checkpoint", updates=1, entropy_floor_nats=-1.0)
    assert main(["ppo", str(second)]) == EXIT_DONE
    ends = told(first, "metrics.jsonl")[-1], told(second, "metrics.jsonl")[0]
    assert ends[1]["kl/exact_nats_per_answer"] == pytest.approx(0, abs=1e-5)  # it is measured from where it starts
    drifts = [row["kl/from_base_nats_per_answer"] for row in ends]
    assert drifts[1] == pytest.approx(drifts[0], rel=0.5)
    assert drifts[1] > 0.01


def test_the_next_round_starts_from_the_last_policy_against_the_same_reference(
    tmp_path: Path, llama_folder: Path, reward: Path
) -> None:
    first = make_run(tmp_path / "first", llama_folder, reward, beta=0.0)
    assert main(["ppo", str(first)]) == EXIT_DONE
    drift = {}
    for name in ("base", "start"):
        second = make_run(tmp_path / name, llama_folder, reward, first / "checkpoint", reference=name, updates=1)
        assert main(["ppo", str(second)]) == EXIT_DONE
        row = told(second, "metrics.jsonl")[0]
        drift[name] = row["kl/exact_nats_per_answer"]
        assert row["kl/from_base_nats_per_answer"] > 0.01
    assert drift["base"] == pytest.approx(told(first, "metrics.jsonl")[-1]["kl/exact_nats_per_answer"], rel=0.5)
    assert drift["start"] == pytest.approx(0, abs=1e-5) != drift["base"]


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are equal, tensors bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


class Stop:
    """Scores, and stops the run at one call, the way a person, a shutdown or a crash would."""

    def __init__(self, at: int, how: Any) -> None:
        self.calls, self.at, self.how = 0, at, how

    def __call__(self, _prompts: Ids, answers: Ids) -> Tensor:
        self.calls += 1
        if self.calls == self.at:
            self.how()
        return torch.tensor([sum(token % 2 for token in given) / len(given) for given in answers])


def crash() -> None:
    raise MemoryError


def test_a_run_that_was_cancelled_while_its_length_is_measured_goes_on_bit_for_bit(tmp_path: Path) -> None:
    prompts = [Prompt(index, [3, 4, 5 + index]) for index in range(9)]
    straight, stopped = llama_policy(), llama_policy()
    for name, policy in (("straight", straight), ("stopped", stopped)):
        folder = ppo_folder(tmp_path / name, **CONFIG)
        assert isinstance(folder.config, PPOConfig)
        if name == "stopped":
            (folder.path / "cancel").touch()
            with pytest.raises(Cancelled):
                train(folder, folder.config, policy, Rule(Stop(0, crash)), prompts, prompts[:2])
            found = checkpoint.load_state(folder.file("state"))
            assert found is not None
            assert (found[0], found[1]["length"]["start"], found[1]["counters"]["position"]) == (0, 0.0, 0)
            (folder.path / "cancel").unlink()
        train(folder, folder.config, policy, Rule(Stop(0, crash)), prompts, prompts[:2])
    for (name, one), (_, other) in zip(named_trainable(straight), named_trainable(stopped), strict=True):
        assert torch.equal(one, other), name


# At 4 calls a rollout: in the first, the second and the last but one. Steered, the policy steps back in each of the last two.
STOPS = list(product(("llama", "simple", "steered", "ptx"), ("cancelled", "killed"), (3, 8, 16)))
SUITE = [
    *(("llama", "killed", 3), ("llama", "cancelled", 8), ("llama", "killed", 16)),
    *(("simple", "cancelled", 16), ("steered", "killed", 16), ("ptx", "killed", 8)),
]
NIGHT = [pytest.param(*stop, marks=pytest.mark.nightly) for stop in STOPS if stop not in SUITE]
OF_KIND: dict[str, dict[str, Any]] = {
    "steered": {"kl_controller": "steered", "kl_target_nats": 0.05, "kl_stop_nats": 1e6},
    "ptx": {"ptx_weight": 0.5, "kl_stop_nats": 1e6},
}


@pytest.mark.parametrize(("kind", "ending", "at"), [*SUITE, *NIGHT])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path, kind: str, ending: str, at: int) -> None:
    prompts = [Prompt(index, [3, 4, 5 + index]) for index in range(9)]

    def attempt(path: Path, stop_at: int = 0, cancel: bool = False) -> Backbone:
        policy = simple_policy(vocab=40, eos=2) if kind == "simple" else llama_policy()
        folder = ppo_folder(path, **(CONFIG | LOOKED_AT | OF_KIND.get(kind, {})))
        how = (lambda: (path / "cancel").touch()) if cancel else crash
        assert isinstance(folder.config, PPOConfig)
        judge = Stop(0, how)
        rule = Rule(Stop(stop_at, how), judge, lambda asked, given: even_share(asked, given)[:, None] + torch.arange(3))
        term = None
        if kind == "ptx":  # three of seven in each of two steps an epoch
            talks = [Sequence([5, 6, 7 + at, 8, 3 + at], 2) for at in range(7)]
            term = Demonstrations(policy, talks, per_step=3, budget=Budget(2, 2048), seed=0)
        train(folder, folder.config, policy, rule, prompts, prompts[:2], prompts[:5], term)
        return policy

    straight = attempt(tmp_path / "straight")
    with pytest.raises(Cancelled if ending == "cancelled" else MemoryError):
        attempt(tmp_path / "stopped", at, ending == "cancelled")
    (tmp_path / "stopped" / "cancel").unlink(missing_ok=True)
    torch.manual_seed(99)  # what the process did before must not matter
    resumed = attempt(tmp_path / "stopped")
    for (name, one), (_, other) in zip(named_trainable(straight), named_trainable(resumed), strict=True):
        assert torch.equal(one, other), name
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert told(tmp_path / "straight", file) == told(tmp_path / "stopped", file)
    whole, joined = (checkpoint.load_state(tmp_path / name / "state") for name in ("straight", "stopped"))
    assert whole is not None
    assert (whole[1]["counters"]["taken_back"] > 0) == (kind == "steered")
    assert (whole[1]["counters"]["ptx_steps"] > 0) == (kind == "ptx")
    assert same(whole, joined)  # value head, optimiser, random numbers, beta, order, counters and what the guards remember


def test_a_terminated_process_saves_its_state_and_ends_within_five_seconds(
    tmp_path: Path, llama_folder: Path, reward: Path
) -> None:
    folder = make_run(tmp_path / "run", llama_folder, reward, updates=2000, kl_stop_nats=1e6, entropy_floor_nats=-1.0)
    process = subprocess.Popen([sys.executable, "-m", "trainer", "ppo", str(folder)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while not (folder / "state").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.terminate()
        started = time.monotonic()
        assert process.wait(30) == EXIT_CANCELLED
        assert time.monotonic() - started < 5
    finally:
        process.kill()
    assert json.loads((folder / "result.json").read_text())["status"] == "cancelled"
    found = checkpoint.load_state(folder / "state")
    assert found is not None
    assert found[0] >= 0
    assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("pinned", [False, True], ids=["base", "start"])
def test_scores_from_the_passes_of_the_base_are_the_scorers_own(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    """Layers 0 and 2 are read in the frozen trunk, 3 in the base's pass, 4 is the final state."""
    folder = make_reward(tmp_path / "reward", llama_folder, layers=(0, 2, 3, 4))
    config = PPOConfig(**CONFIG)
    run_folder = ppo_folder(tmp_path / "run", **CONFIG)
    run_folder.inputs = {"base": str(llama_folder), "start": None}
    backbone = open_policy(run_folder, config)
    scorer = load_scorer(str(folder), backbone)
    learner = Learner(backbone, config, 6)
    for _ in range(1 + pinned):
        if pinned:
            pin_reference(backbone)  # the policy of an earlier round
        with torch.no_grad():
            for parameter in learner.policy.values():
                parameter.add_(0.05)
    asked = [Prompt(index, [65, 66, *range(70, 71 + index % 3)]) for index in range(6)]
    recording = to_record(backbone, scorer)
    answers = write_answers(backbone, config, asked, learner.sampling, recording, lambda: None)
    expected = scorer.score([prompt.ids for prompt in asked], [given.ids for given in answers])
    monkeypatch.delattr(Scorer, "verdicts")  # a pass of its own would fail
    for kept in (recording, None):  # what the decoder saw of the trunk, and a pass over it
        found = evaluate(learner, config, scorer, asked, answers, kept, lambda: None).measured
        torch.testing.assert_close(found.scores, expected, atol=1e-5, rtol=1e-5)
        assert found.scores.std() > 0.1
        packed = pack([prompt.ids for prompt in asked], [given.ids for given in answers])
        with torch.no_grad(), bare_base(backbone):
            under_base = response_logprobs(backbone, packed, config.temperature).logprobs
        torch.testing.assert_close(found.under_base, under_base, atol=1e-5, rtol=1e-5)
        assert (found.base_logprobs is None) == (not pinned)


def scores_in_training(path: Path, base: Path, reward: Path, **config: Any) -> tuple[Tensor, Tensor]:
    """Scores of one rollout as PPO sees them, and the lengths of its answers without their end."""
    run_folder = ppo_folder(path, **(CONFIG | config))
    run_folder.inputs = {"base": str(base), "start": None}
    assert isinstance(run_folder.config, PPOConfig)
    backbone = open_policy(run_folder, run_folder.config)
    learner = Learner(backbone, run_folder.config, 6)
    asked = [Prompt(index, [65, 66, *range(70, 71 + index % 3)]) for index in range(6)]
    answers = [Generated([*range(75, 76 + index % 4), 1], "eos") for index in range(6)]
    scorer = load_scorer(reward, backbone)
    found = evaluate(learner, run_folder.config, scorer, asked, answers, None, lambda: None).measured
    return found.scores, torch.tensor([len(given.ids) - 1 for given in answers])


def test_pessimism_lowers_the_scores_that_ppo_maximises(tmp_path: Path, llama_folder: Path) -> None:
    plain, wary = (make_reward(tmp_path / str(k), llama_folder, pessimism=k) for k in (0.0, 2.0))
    (before, _), (after, _) = (scores_in_training(tmp_path / "run", llama_folder, reward) for reward in (plain, wary))
    assert bool((after < before - 0.1).all())
    assert float((before - after).std()) > 1e-3  # by how little the labels say about each, not by a constant


def test_the_residual_takes_out_what_length_foretells(tmp_path: Path, llama_folder: Path) -> None:
    reward = make_reward(tmp_path / "reward", llama_folder, length_slope=2.0, length_mean=1.0)
    plain, lengths = scores_in_training(tmp_path / "run", llama_folder, reward)
    residual, _ = scores_in_training(tmp_path / "run", llama_folder, reward, length_control="residual")
    torch.testing.assert_close(plain - residual, 2.0 * (lengths.float().log() - 1.0), atol=1e-5, rtol=0)


def test_what_is_there_of_an_answer_is_paid_where_that_is_asked_for(tmp_path: Path, llama_folder: Path) -> None:
    reward = make_reward(tmp_path / "reward", llama_folder)
    rows = {}
    for asked in (False, True):
        run = make_run(tmp_path / str(asked), llama_folder, reward, updates=2, partial_scores=asked)
        assert main(["ppo", str(run)]) == EXIT_DONE
        rows[asked] = list(read_jsonl(run / "metrics.jsonl"))
    assert rows[True][0]["rollout/score"] == rows[False][0]["rollout/score"]
    assert rows[True][0]["losses/value_loss"] != rows[False][0]["losses/value_loss"]


def test_adapters_off_is_the_base_and_they_are_back_after_an_exception() -> None:
    policy = llama_policy()
    with torch.no_grad():
        for _, parameter in named_trainable(policy):
            parameter.add_(0.1)
    packed = pack([[5, 6]], [[7, 8, 9]])

    def logprobs() -> Tensor:
        with torch.no_grad():
            return response_logprobs(policy, packed, 1.0).logprobs

    adapted, plain = logprobs(), response_logprobs(llama_policy(), packed, 1.0).logprobs.detach()
    with reference(policy):
        assert torch.equal(logprobs(), plain)
    with contextlib.suppress(Cancelled), reference(policy):
        raise Cancelled
    assert torch.equal(logprobs(), adapted)
    assert not torch.equal(adapted, plain)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_weight_is_what_it_was_after_an_exception_and_as_frozen(pinned: bool) -> None:
    policy = llama_policy()
    if pinned:
        pin_reference(policy)
    weights = dict(named_trainable(policy))
    with torch.no_grad():
        for parameter in weights.values():
            parameter.add_(0.1)
    before = {name: parameter.clone() for name, parameter in weights.items()}
    frozen, first = next(iter(weights.items()))
    first.requires_grad_(False)

    with contextlib.suppress(Cancelled), reference(policy):
        raise Cancelled

    assert all(torch.equal(parameter, before[name]) for name, parameter in weights.items())
    assert [name for name, parameter in weights.items() if not parameter.requires_grad] == [frozen]


@pytest.fixture
def broken(tmp_path: Path, llama_folder: Path, reward: Path) -> Path:
    return make_run(tmp_path / "run", llama_folder, reward)


def refusal(folder: Path) -> str:
    assert main(["ppo", str(folder)]) == EXIT_REFUSED
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "refused"
    return english(from_json(result["reason"]))


def test_prompts_that_are_all_too_long_are_refused(broken: Path) -> None:
    specification = json.loads((broken / "run.json").read_text())
    specification["config"]["max_prompt_tokens"] = 5
    (broken / "run.json").write_text(json.dumps(specification))
    assert "no prompt of at most 5 tokens" in refusal(broken)


def test_a_reward_that_was_damaged_is_refused(broken: Path, reward: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(reward, copy)
    (copy / "head.json").write_text("{}")
    specification = json.loads((broken / "run.json").read_text())
    specification["inputs"]["reward"] = str(copy)
    (broken / "run.json").write_text(json.dumps(specification))
    assert "reward model cannot be used" in refusal(broken)


def test_a_reward_of_another_base_is_refused(broken: Path, tmp_path: Path, llama_folder: Path) -> None:
    other = tmp_path / "other"
    backbone = load_backbone(str(llama_folder))
    with torch.no_grad():
        backbone.model.model.norm.weight.add_(1)
    backbone.model.save_pretrained(other)
    backbone.tokenizer.save_pretrained(other)
    foreign = make_reward(tmp_path / "foreign", other)
    specification = json.loads((broken / "run.json").read_text())
    specification["inputs"]["reward"] = str(foreign)
    (broken / "run.json").write_text(json.dumps(specification))
    assert "fit a reward on this base first" in refusal(broken)


def test_prompts_that_the_template_refuses_or_that_are_too_long_are_left_out_counted_and_named(
    tmp_path: Path, llama_folder: Path
) -> None:
    base = no_system_role(llama_folder, tmp_path / "base")
    folder = make_run(tmp_path / "run", base, make_reward(tmp_path / "reward", base), updates=1)
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    _append(folder / "prompts.jsonl", {"prompt_id": 20, "messages": system}, {"prompt_id": 21, "messages": ask("x" * 600)})
    _append(folder / "panel_prompts.jsonl", {"prompt_id": 30, "messages": system})
    assert main(["ppo", str(folder)]) == EXIT_DONE
    result = json.loads((folder / "result.json").read_text())
    assert (result["refused_prompts"], result["refused_prompt_ids"]) == (2, [20, 30])
    assert (result["too_long_prompts"], result["too_long_prompt_ids"]) == (1, [21])
    said = english(from_json(result["reason"]))
    assert "Prompts left out: 2 (20, 30). The model's chat template refuses" in said
    assert "Prompts left out: 1 (21). A prompt may have at most" in said
    assert {row["prompt_id"] for row in told(folder, "samples.jsonl")} == {
        0,
        1,
    }  # a panel of which none is left: the first prompts
    card = (folder / "checkpoint" / "README.md").read_text()
    assert "| too long prompts | 1 |" in card
    assert "| refused prompts | 2 |" in card
    assert "| not watched | Held-out prompts were not watched: it takes 4 at least that are short enough" in card


def test_with_enough_held_out_prompts_or_none_to_be_asked_nobody_says_that_they_are_not_watched(
    tmp_path: Path, llama_folder: Path
) -> None:
    reward = make_reward(tmp_path / "reward", llama_folder)
    for name, count, every in (("four", 4, 1), ("off", 0, 0), ("three", 3, 1)):
        folder = make_run(tmp_path / name, llama_folder, reward, updates=1, heldout_every=every)
        _append(folder / "panel_prompts.jsonl", *({"prompt_id": 30 + n, "messages": ask(f"Number {n}?")} for n in range(count)))
        assert main(["ppo", str(folder)]) == EXIT_DONE
        result = json.loads((folder / "result.json").read_text())
        assert ("not_watched" in result) == (name == "three")


def test_where_the_template_refuses_every_prompt_the_run_is_refused(tmp_path: Path, llama_folder: Path) -> None:
    base = no_system_role(llama_folder, tmp_path / "base")
    folder = make_run(tmp_path / "run", base, make_reward(tmp_path / "reward", base))
    (folder / "prompts.jsonl").unlink()
    _append(folder / "prompts.jsonl", {"prompt_id": 20, "messages": [{"role": "system", "content": "Hi"}]})
    assert "System role not supported" in refusal(folder)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _append(path: Path, *rows: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
