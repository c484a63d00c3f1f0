"""A model that is not whole is refused before anybody is shown what it writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from torch import Tensor
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from tests.trainer.lm.architectures import REFUSED, make_folder
from tests.trainer.tiny import disturb, logits
from trainer.files import checkpoint
from trainer.lm.backbone import (
    Backbone,
    BackboneError,
    attach_lora,
    context_length,
    decoder_layers,
    reference,
    trainable_parameters,
)
from trainer.lm.generate import generate
from trainer.lm.integrity.loaded_whole import explained
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.reward.features import choose_layers

Weights = dict[str, Tensor]


def changed(model: Path, folder: Path, change: Callable[[Weights], Weights], name: str = "model.safetensors") -> Path:
    """A copy of a model folder with other weights in it."""
    shutil.copytree(model, folder)
    weights = change(load_file(folder / name))
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda held: {f"_orig_mod.{name}": value for name, value in held.items()},
            r"lacks 39 of 39 tensors, the first model.embed_tokens.weight; its keys begin with _orig_mod\.$",
        ),
        (
            lambda held: {f"module.{name}": value for name, value in held.items()},
            r"lacks 39 of 39 tensors, .*; its keys begin with module\.$",
        ),
        (
            lambda held: {n: v for n, v in held.items() if n != "lm_head.weight"},
            r"lacks 1 of 39 tensors, the first lm_head.weight\.$",
        ),
        (
            lambda held: {n: v for n, v in held.items() if ".layers.2." not in n},
            r"lacks 9 of 39 tensors, the first model.layers.2\.",
        ),
        (
            lambda held: held | {n.replace(".3.", ".4."): v.clone() for n, v in held.items() if ".layers.3." in n},
            r"holds 9 tensors for which a LlamaForCausalLM has no place, the first model.layers.4.input_layernorm.weight",
        ),
        (
            lambda held: held | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)},
            r"holds 1 tensors .* model.layers.0.self_attn.q_proj.bias",
        ),
        (
            lambda held: held | {"model.embed_tokens.weight": held["model.embed_tokens.weight"][:200]},
            "model.embed_tokens.weight is 200 × 32 in the file and 259 × 32 by its config.json",
        ),
    ],
    ids=["compiled", "parallel", "no head", "a layer less", "a layer more", "a bias more", "another vocabulary"],
)
def test_a_folder_whose_tensors_are_not_the_models_is_refused(
    llama_folder: Path, tmp_path: Path, change: Callable[[Weights], Weights], said: str
) -> None:
    with pytest.raises(BackboneError, match=said):
        load_backbone(str(changed(llama_folder, tmp_path / "m", change)))


def test_tied_weights_computed_buffers_and_heads_beside_the_model_are_no_reason_to_refuse(
    llama_folder: Path, tmp_path: Path
) -> None:
    beside = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "v_head.summary.weight": torch.ones(1, 32)}
    kept = load_backbone(str(changed(llama_folder, tmp_path / "beside", lambda held: held | beside)))
    assert torch.equal(logits(kept), logits(load_backbone(str(llama_folder))))
    tied = LlamaConfig.from_pretrained(llama_folder, tie_word_embeddings=True)
    LlamaForCausalLM(tied).save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(llama_folder).save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    assert torch.equal(*(logits(load_backbone(str(tmp_path / "tied"))) for _ in range(2)))


@pytest.mark.parametrize("tied", [False, True])
def test_a_classifier_is_no_base(llama_folder: Path, tmp_path: Path, tied: bool) -> None:
    config = LlamaConfig.from_pretrained(llama_folder, tie_word_embeddings=tied)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(llama_folder).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"(lacks 1 of 39|holds 1 tensors).*LlamaForSequenceClassification"):
        load_backbone(str(tmp_path))


def test_every_kind_of_checkpoint_of_ours_is_read_as_strictly(llama_folder: Path, simple_lm_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=2, layers=1, seed=0)
    save_policy(backbone, tmp_path / "policy")

    def resaved(source: Path, name: str, change: Callable[[Weights], Weights]) -> Path:
        """As `changed`, with a manifest that says all is well."""
        manifest = checkpoint.read_manifest(source)
        file = "adapter_model.safetensors" if (source / "adapter_config.json").exists() else "model.safetensors"
        spoilt = changed(source, tmp_path / name, change, file)
        (spoilt / "manifest.json").unlink()
        checkpoint.save(tmp_path / f"{name}-saved", lambda inner: shutil.copytree(spoilt, inner, dirs_exist_ok=True), manifest)  # type: ignore[arg-type]
        return tmp_path / f"{name}-saved"

    fewer = resaved(tmp_path / "policy", "fewer", lambda held: dict(list(held.items())[1:]))
    with pytest.raises(
        BackboneError, match=r"lacks 1 of 14 tensors of its adapters, the first base_model\.model\.model\.layers\.3"
    ):
        load_policy(str(fewer))
    more = resaved(tmp_path / "policy", "more", lambda held: held | {"base_model.model.other.weight": torch.ones(1)})
    with pytest.raises(
        BackboneError, match=r"1 tensors for which its adapters' configuration has no place, the first base_model\.model\.oth"
    ):
        load_policy(str(more))
    headless = resaved(simple_lm_folder, "headless", lambda held: {n: v for n, v in held.items() if n != "head.bias"})
    with pytest.raises(BackboneError, match=r"lacks 1 of 7 tensors, the first head\.bias"):
        load_policy(str(headless))


def with_token(model: Path, folder: Path, token: str, special: bool = True) -> Path:
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(token, special=special)])
    tokenizer.save_pretrained(folder)
    return folder


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    for special in (True, False):
        with pytest.raises(
            BackboneError, match=r"the tokenizer has 260 tokens and the model 259 embeddings, so \[PAD\] has none"
        ):
            load_backbone(str(with_token(llama_folder, tmp_path / str(special), "[PAD]", special)))


def test_a_token_in_whose_place_a_picture_is_put_needs_no_embedding_unless_the_template_writes_it(
    llama_folder: Path, tmp_path: Path
) -> None:
    folder = with_token(llama_folder, tmp_path / "m", "<image_soft_token>")  # as Gemma 3 of 1B parameters has it
    load_backbone(str(folder))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}<image_soft_token>{{ m.content }}{% endfor %}")
    with pytest.raises(BackboneError, match="259 embeddings"):
        load_backbone(str(folder))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_reads_both_ways_or_hides_its_states_is_refused_with_its_architecture(name: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, REFUSED[name])
    with pytest.raises(
        BackboneError, match=r"a (BertLMHead|XLNetLMHead|ReformerModelWithLMHead).* cannot (be used|write answers)"
    ):
        load_backbone(str(folder))


TEXT: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
}
SIGHT = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}


@pytest.fixture(params=["gemma3", "llava"])
def seeing(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    """A model that also sees, with as many layers in its eye as in its text model."""
    eye = {
        "model_type": "siglip_vision_model" if request.param == "gemma3" else "clip_vision_model",
        "num_hidden_layers": 3,
        **SIGHT,
    }
    torch.manual_seed(0)
    if request.param == "gemma3":
        config = Gemma3Config(text_config=TEXT, vision_config=eye, mm_tokens_per_image=4, image_token_index=258)
        Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "m")
    else:
        other = LlavaConfig(text_config=TEXT | {"model_type": "llama"}, vision_config=eye, image_token_index=258)
        LlavaForConditionalGeneration(other).save_pretrained(tmp_path / "m")
    from trainer.lm.simple_lm import train_tokenizer

    train_tokenizer([], 259).save_pretrained(tmp_path / "m")
    return load_backbone(str(tmp_path / "m"))


def test_a_model_whose_text_part_is_nested_writes_learns_and_comes_back(seeing: Backbone, tmp_path: Path) -> None:
    path, stack = decoder_layers(seeing.plain)
    assert "language_model" in path
    assert len(stack) == 3
    assert context_length(seeing) == 96
    assert choose_layers(seeing) == [0, 1, 2, 3]
    base = logits(seeing)
    attach_lora(seeing, rank=2, layers=1, seed=0)
    assert {name.split(".layers.")[0] for name, p in seeing.model.named_parameters() if p.requires_grad} == {
        f"base_model.model.{path.removesuffix('.layers')}"
    }
    assert len(trainable_parameters(seeing)) == 14
    disturb(seeing)
    draw = torch.Generator().manual_seed(0)
    prompts = [[40, 41, 42, 43], [44, 45]]
    both = generate(seeing, prompts, max_new_tokens=6, temperature=1.0, generator=draw, batch_size=2)
    assert [len(answer.ids) for answer in both] == [6, 6]
    save_policy(seeing, tmp_path / "policy")
    again = load_policy(str(tmp_path / "policy"))
    assert torch.equal(logits(again), logits(seeing))
    with reference(again):
        assert torch.equal(logits(again), base)


def test_whatever_a_library_raises_becomes_one_sentence_and_a_request_to_stop_goes_through() -> None:
    class Panic(BaseException):
        """As libraries written in Rust raise them."""

    for error, said in (
        (Panic("index out of bounds\nat line 3"), "m could not be opened as a causal language model: index out of bounds$"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "more memory than there is"),
    ):
        with pytest.raises(BackboneError, match=said), explained("m"):
            raise error
    with pytest.raises(KeyboardInterrupt), explained("m"):
        raise KeyboardInterrupt


def test_a_configuration_that_is_none_is_explained(llama_folder: Path, tmp_path: Path) -> None:
    for number, text in enumerate(("[]", "{", "", json.dumps({"model_type": "llama", "hidden_size": "wide"}))):
        folder = shutil.copytree(llama_folder, tmp_path / str(number))
        (folder / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(BackboneError, match="could not be opened as a causal language model"):
            load_backbone(str(folder))
    folder = shutil.copytree(llama_folder, tmp_path / "words")
    (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes()[:500])
    with pytest.raises(BackboneError, match="could not be opened"):
        load_backbone(str(folder))
