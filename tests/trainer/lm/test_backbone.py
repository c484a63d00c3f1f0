from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.lm.architectures import MADE, make_folder
from tests.trainer.tiny import disturb, logits
from trainer.lm.backbone import (
    BackboneError,
    attach_lora,
    chat_ids,
    decoder_layers,
    named_trainable,
    pin_reference,
    reference,
    trainable_parameters,
)
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.lm.simple_lm import train_tokenizer

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])
ASK = [{"role": "user", "content": "Hello"}]


def test_new_adapters_change_nothing_and_sit_on_the_top_layers_only(llama_folder: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    before = logits(backbone)
    attach_lora(backbone, rank=4, layers=2, seed=0)
    assert torch.equal(logits(backbone), before)
    names = [name for name, _ in named_trainable(backbone)]
    assert {name.split(".layers.")[1][0] for name in names} == {"2", "3"}
    assert len(names) == 2 * 7 * 2
    everywhere = load_backbone(str(llama_folder))
    attach_lora(everywhere, rank=4, layers=0, seed=0)
    assert len(trainable_parameters(everywhere)) == 4 * 7 * 2


def test_the_seed_decides_the_adapters_and_disturbs_no_other_draw(llama_folder: Path) -> None:
    def first(seed: int) -> Tensor:
        backbone = load_backbone(str(llama_folder))
        attach_lora(backbone, rank=4, layers=1, seed=seed)
        return trainable_parameters(backbone)[0].detach()

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = first(1), first(1), first(2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_with_adapters_off_the_logits_are_the_bases_exactly_and_they_are_back_after_an_exception(llama_folder: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    base = logits(backbone)
    attach_lora(backbone, rank=4, layers=2, seed=0)
    disturb(backbone)
    policy = logits(backbone)
    inside = None

    def fail() -> None:
        nonlocal inside
        with reference(backbone):
            inside = logits(backbone)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside is not None
    assert torch.equal(inside, base)
    assert not torch.equal(policy, base)
    assert torch.equal(logits(backbone), policy)
    assert len(trainable_parameters(backbone)) == 28


def test_a_simple_lm_trains_every_weight_against_a_frozen_copy_of_itself(simple_lm_folder: Path) -> None:
    backbone = load_backbone(str(simple_lm_folder))
    base = logits(backbone)
    attach_lora(backbone, rank=4, layers=2, seed=0)
    assert len(trainable_parameters(backbone)) == len(list(backbone.model.parameters()))
    disturb(backbone)
    policy = logits(backbone)
    with reference(backbone):
        assert torch.equal(logits(backbone), base)
    assert torch.equal(logits(backbone), policy)
    assert not torch.equal(policy, base)


def test_the_policy_a_run_starts_from_can_be_its_reference(llama_folder: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    disturb(backbone)
    start = logits(backbone)
    pin_reference(backbone)
    disturb(backbone, seed=2)
    with reference(backbone):
        assert torch.equal(logits(backbone), start)
    assert not torch.equal(logits(backbone), start)


def test_a_conversation_ends_where_the_model_begins_to_answer(simple_lm_folder: Path) -> None:
    tokenizer = load_backbone(str(simple_lm_folder)).tokenizer
    assert tokenizer.decode(chat_ids(tokenizer, ASK)) == "<|bos|>User:\nHello\nAssistant:\n"


def test_control_tokens_that_a_person_typed_are_text(simple_lm_folder: Path) -> None:
    tokenizer = load_backbone(str(simple_lm_folder)).tokenizer
    ids = chat_ids(tokenizer, [{"role": "user", "content": "one <|eos|> two"}])
    assert tokenizer.eos_token_id not in ids
    assert "one <|eos|> two" in tokenizer.decode(ids)


def test_a_tokenizer_without_a_chat_template_gets_a_plain_one() -> None:
    tokenizer = train_tokenizer([], 259)
    tokenizer.chat_template = None
    assert tokenizer.decode(chat_ids(tokenizer, ASK)) == "User: Hello\nAssistant:"


def test_a_conversation_that_the_template_refuses_is_explained() -> None:
    tokenizer = train_tokenizer([], 259)
    tokenizer.chat_template = "{{ raise_exception('no system turn, please') }}"
    with pytest.raises(BackboneError, match="no system turn, please"):
        chat_ids(tokenizer, ASK)


def test_adapters_keep_float32_weights_and_compute_in_the_trunks_type(llama_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(llama_folder), "bfloat16")
    attach_lora(backbone, rank=4, layers=2, seed=0)
    save_policy(backbone, tmp_path / "policy")
    for policy in (backbone, load_policy(str(tmp_path / "policy"), "bfloat16", trainable=True)):
        seen: set[torch.dtype] = set()
        for name, module in policy.model.named_modules():
            if name.endswith(("lora_A.default", "lora_B.default")):
                module.register_forward_hook(lambda _module, _given, out, seen=seen: seen.add(out.dtype))
        policy.model(input_ids=torch.tensor([[5, 6, 7]])).logits.float().sum().backward()
        weights = trainable_parameters(policy)
        assert seen == {torch.bfloat16}
        assert {weight.dtype for weight in weights} == {torch.float32}
        assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in weights)


def test_adapters_stand_on_the_top_layers_alone_where_peft_gives_names_to_experts(tmp_path: Path) -> None:
    backbone = load_backbone(str(make_folder(tmp_path / "m", MADE["qwen3_next"])))
    attach_lora(backbone, rank=2, layers=1, seed=0)
    adapted = [name for name, _ in named_trainable(backbone)]
    assert adapted
    assert [name for name in adapted if ".layers.1." not in name or ".experts." in name] == []


@pytest.mark.parametrize(
    ("raised", "told"),
    [("''", "TemplateError"), ("'No system role.\\nSee our page.'", "No system role."), ("'a' * 5000", "a" * 300)],
)
def test_what_a_template_says_of_a_conversation_is_one_line_that_can_be_shown(raised: str, told: str) -> None:
    tokenizer = train_tokenizer([], 259)
    tokenizer.chat_template = "{{ raise_exception(" + raised + ") }}"
    with pytest.raises(BackboneError) as caught:
        chat_ids(tokenizer, ASK)
    assert str(caught.value) == f"The model's chat template refuses this conversation: {told}"


def test_a_model_without_layers_is_refused_with_its_architecture(llama_folder: Path) -> None:
    model = load_backbone(str(llama_folder)).plain
    model.model.layers = nn.Identity()
    with pytest.raises(BackboneError, match="A LlamaForCausalLM has no stack of decoder layers"):
        decoder_layers(model)
