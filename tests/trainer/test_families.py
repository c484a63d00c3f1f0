"""The families of models that people bring, tiny: each can be a base, writes, learns and is saved, as docs/scale.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.trainer.lm.architectures import FAMILIES, REFUSED, make_folder
from tests.trainer.tiny import ppo_folder
from trainer.contract.config import PPOConfig
from trainer.contract.english import english
from trainer.lm.backbone import attach_lora
from trainer.lm.check import problem_with
from trainer.lm.decoders.fused import FusedDecoder
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.decoders.own_forward import PlainDecoder
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.ppo.reward import Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
PROMPTS = [Prompt(at, [40, 41, 42 + at]) for at in range(4)]
WAYS = {FusedDecoder: "layer by layer", PlainDecoder: "its own forward, padded"}  # else: by length


def rows_of_the_page() -> dict[str, str]:
    return dict(
        re.findall(r"^\| ([^|]+) \| ((?:layer by layer|its own forward)[^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_a_base_writes_learns_and_is_saved_as_the_page_says(family: str, tmp_path: Path) -> None:
    base = make_folder(tmp_path / "base", FAMILIES[family])
    assert problem_with(str(base)) is None
    backbone = load_backbone(str(base))
    assert WAYS.get(type(make_decoder(backbone)), "its own forward, by length") == rows_of_the_page()[family]

    attach_lora(backbone, rank=2, layers=1, seed=0)
    folder = ppo_folder(
        tmp_path / "run", updates=1, episodes=4, epochs=1, minibatches=1, microbatch=3, max_new_tokens=4, entropy_floor_nats=-1.0
    )
    assert isinstance(folder.config, PPOConfig)
    rule = Rule(lambda _prompts, answers: torch.tensor([float(sum(ids) % 7) for ids in answers]))
    assert train(folder, folder.config, backbone, rule, PROMPTS, PROMPTS[:1])["kl_nats_per_answer"] > 0

    save_policy(backbone, tmp_path / "policy")
    again, packed = load_policy(str(tmp_path / "policy")), pack([[40, 41]], [[42, 43, 1]])
    with torch.no_grad():
        own, other = (response_logprobs(one, packed, 1.0).logprobs for one in (backbone, again))
    torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def test_the_page_has_no_other_row() -> None:
    assert rows_of_the_page().keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", ["bert", "xlnet", "reformer"])
def test_what_cannot_write_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    problem = problem_with(str(make_folder(tmp_path / name, REFUSED[name])))
    assert problem is not None
    assert english(problem).count(". ") == 0
    assert name in PAGE.read_text(encoding="utf-8").lower()
