"""Opening models and saving policies."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import httpx
import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
)

from tests.trainer.tiny import disturb, logits
from trainer.files import checkpoint
from trainer.lm.backbone import BackboneError, attach_lora, chat_ids, eos_ids, named_trainable, reference, trainable_parameters
from trainer.lm.loading import convert_gguf, load_backbone, load_policy, main, save_policy
from trainer.lm.simple_lm import train_tokenizer

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


ASK = [{"role": "user", "content": "Hello"}]


def test_a_policy_loaded_for_sampling_stays_frozen_after_a_look_at_the_reference(llama_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    save_policy(backbone, tmp_path / "p")
    frozen = load_policy(str(tmp_path / "p"))
    with reference(frozen):
        pass
    assert trainable_parameters(frozen) == []


def test_an_adapter_checkpoint_comes_back_as_it_was_and_opens_with_transformers(llama_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=4, layers=2, seed=0)
    disturb(backbone)
    manifest = save_policy(backbone, tmp_path / "p", run=7)
    assert manifest["form"] == "adapter"
    assert manifest["run"] == 7
    assert manifest["base"]["sha256"] == checkpoint.sha256_of(llama_folder / "model.safetensors")
    assert {path.suffix for path in (tmp_path / "p").iterdir()} == {".json", ".safetensors", ".md", ".jinja"}

    again = load_policy(str(tmp_path / "p"), trainable=True)
    assert torch.equal(logits(again), logits(backbone))
    assert len(trainable_parameters(again)) == 28
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "p")(input_ids=IDS).logits
    torch.testing.assert_close(plain, logits(backbone), atol=1e-5, rtol=0)
    merged = load_backbone(str(tmp_path / "p"))
    assert not merged.adapted
    assert merged.sha256 != backbone.sha256
    torch.testing.assert_close(logits(merged), logits(backbone), atol=1e-5, rtol=0)


def test_an_adapter_is_refused_on_another_base_and_when_its_files_changed(llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama_folder, tmp_path / "base")
    backbone = load_backbone(str(tmp_path / "base"))
    attach_lora(backbone, rank=4, layers=1, seed=0)
    save_policy(backbone, tmp_path / "p")
    backbone.model.get_base_model().model.norm.weight.data.add_(1)
    backbone.model.get_base_model().save_pretrained(tmp_path / "base", state_dict=None)
    with pytest.raises(BackboneError, match="not the model that"):
        load_policy(str(tmp_path / "p"))
    (tmp_path / "p" / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BackboneError, match="SHA-256"):
        load_policy(str(tmp_path / "p"))


def test_a_data_folder_that_moved_as_a_whole_still_finds_its_base(llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama_folder, tmp_path / "data" / "models" / "m")
    backbone = load_backbone(str(tmp_path / "data" / "models" / "m"))
    attach_lora(backbone, rank=4, layers=1, seed=0)
    save_policy(backbone, tmp_path / "data" / "runs" / "1" / "checkpoint")
    (tmp_path / "data").rename(tmp_path / "restored")
    moved = load_policy(str(tmp_path / "restored" / "runs" / "1" / "checkpoint"))
    assert torch.equal(logits(moved), logits(backbone))


def test_a_fully_trained_policy_keeps_the_reference_it_began_with(simple_lm_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(simple_lm_folder))
    base = logits(backbone)
    attach_lora(backbone, rank=4, layers=0, seed=0)
    for stage in ("first", "second"):
        disturb(backbone)
        policy = logits(backbone)
        assert save_policy(backbone, tmp_path / stage)["base"]["source"] == str(simple_lm_folder)
        backbone = load_policy(str(tmp_path / stage), trainable=True)
        assert torch.equal(logits(backbone), policy)
        with reference(backbone):
            assert torch.equal(logits(backbone), base)


def test_dropout_is_off_whatever_the_checkpoint_says_even_in_training_mode(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=259, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.5, attn_pdrop=0.5)).save_pretrained(
        tmp_path
    )
    train_tokenizer([], 259).save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    backbone.model.train()
    assert torch.equal(logits(backbone), logits(backbone))
    attach_lora(backbone, rank=2, layers=1, seed=0)
    assert {name.split(".h.")[1][0] for name, _ in named_trainable(backbone)} == {"1"}


def test_nothing_of_the_checkpoints_sampling_settings_is_kept(llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama_folder, tmp_path / "m")
    settings = {"do_sample": True, "top_k": 3, "temperature": 0.1, "repetition_penalty": 2.0, "eos_token_id": [1, 77]}
    (tmp_path / "m" / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    backbone = load_backbone(str(tmp_path / "m"))
    kept = backbone.plain.generation_config
    assert (kept.top_k, kept.repetition_penalty, kept.temperature) == (None, None, None)
    assert eos_ids(backbone) == {1, 77}


def test_what_cannot_be_loaded_is_explained(llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    shutil.copytree(llama_folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    shutil.copytree(llama_folder, tmp_path / "unknown")
    (tmp_path / "unknown" / "config.json").write_text('{"model_type": "of_next_year"}', encoding="utf-8")
    shutil.copytree(llama_folder, tmp_path / "encoder")
    T5Config().save_pretrained(tmp_path / "encoder")
    for spec, words in {
        "/nowhere/at/all": "there is no folder",
        "nobody/no-such-model": "check the name and the network",
        str(tmp_path / "none.gguf"): "there is no file",
        str(tmp_path / "empty"): "config.json",
        str(tmp_path / "pickled"): "for safety",
        str(tmp_path / "unknown"): "of_next_year",
        str(tmp_path / "encoder"): "causal language model",
    }.items():
        with pytest.raises(BackboneError, match=words):
            load_backbone(spec)


@pytest.mark.parametrize(
    ("error", "said"),
    [(RepositoryNotFoundError, "nor a model on the hub, or it is a private one"), (GatedRepoError, "who accepted its terms")],
)
def test_a_hub_id_that_leads_nowhere_says_which_way_it_does_not(
    monkeypatch: pytest.MonkeyPatch, error: type[HfHubHTTPError], said: str
) -> None:
    def refuse(*_asked: object, **_how: object) -> None:
        reply: Any = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))
        raise error("404", response=reply)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(BackboneError, match=f"nobody/no-such-model is .*{said}"):
        load_backbone("nobody/no-such-model")


@pytest.fixture
def cached(llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model as the hub's client leaves it once it has fetched all of it, where the hub may be asked."""
    cache = tmp_path / "hub" / "models--org--gated"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(llama_folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    (cache / "trees").mkdir()
    files = {path.name: {"size": path.stat().st_size, "blob_id": "0" * 40} for path in llama_folder.iterdir()}
    listing = {"format_version": 1, "files": files | {"pytorch_model.bin": {"size": 1, "blob_id": "0" * 40}}}
    (cache / "trees" / f"{commit}.json").write_text(json.dumps(listing))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return cache / "snapshots" / commit


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the hub is asked for, which refuses who shows no token."""
    paths: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        yield paths
        hub.shutdown()


def test_a_hub_model_that_is_whole_in_the_cache_opens_without_a_request(
    cached: Path, llama_folder: Path, asked: list[str]
) -> None:
    """A run of a gated model has no token."""
    backbone = load_backbone("org/gated")
    assert asked == []
    assert (backbone.source, backbone.sha256) == ("org/gated", checkpoint.sha256_of(llama_folder / "model.safetensors"))


def test_of_a_hub_model_that_lacks_a_file_the_hub_is_asked(cached: Path, asked: list[str]) -> None:
    (cached / "config.json").unlink()
    with pytest.raises(BackboneError, match="org/gated"):
        load_backbone("org/gated")
    assert asked


def test_of_a_hub_model_without_a_list_of_its_files_the_hub_is_asked_first(cached: Path, asked: list[str]) -> None:
    """As earlier versions of the hub's client left it: whole, as far as anybody can tell."""
    (cached.parents[1] / "trees" / f"{cached.name}.json").unlink()
    load_backbone("org/gated")
    assert asked


def test_code_that_a_checkpoint_brings_never_runs(llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama_folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "m" / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass Model: ...\n", "utf-8"
    )
    with pytest.raises(BackboneError):
        load_backbone(str(tmp_path / "m"))
    assert not (tmp_path / "ran").exists()


def write_gguf(
    path: Path, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32, blocks: int = 1, written: int = 1
) -> None:
    """A Llama over bytes, in the format llama.cpp reads; its matrices quantised as `kind` says, and of its layers those written
    that a file of several parts would hold.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(260)
    vocabulary = train_tokenizer(["abab"], 260).get_vocab()
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(vocabulary, key=lambda token: vocabulary[token]))
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 257)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}")
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64), "attn_norm": (32,), "ffn_norm": (32,)}
    tensors = {f"blk.{block}.{name}.weight": shape for block in range(written) for name, shape in shapes.items()}
    tensors |= {"token_embd.weight": (260, 32), "output_norm.weight": (32,)}
    for name, shape in tensors.items():
        values = draw.normal(size=shape).astype(np.float32)
        if len(shape) > 1:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_an_ordinary_folder_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    direct = load_backbone(str(tmp_path / "tiny.gguf"))
    assert main(["convert", "--gguf", str(tmp_path / "tiny.gguf"), str(tmp_path / "out")]) == 0
    assert "tiny.gguf" in capsys.readouterr().out
    folder = load_backbone(str(tmp_path / "out"))
    assert torch.equal(logits(folder), logits(direct))
    assert chat_ids(folder.tokenizer, ASK) == chat_ids(direct.tokenizer, ASK)
    assert eos_ids(folder) == {1}
    assert checkpoint.verify(tmp_path / "out")["converted_from"]["sha256"] == checkpoint.sha256_of(tmp_path / "tiny.gguf")

    stamp = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == stamp
    (tmp_path / "out" / "model.safetensors").write_bytes(b"torn")
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "out")
    assert torch.equal(logits(load_backbone(str(tmp_path / "out"))), logits(direct))


def test_what_a_quantiser_left_of_the_matrices_is_rounded_to_halves_and_floats_are_kept(tmp_path: Path) -> None:
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32):
        write_gguf(tmp_path / f"{kind.name}.gguf", kind)
    quantised, floats = (load_backbone(str(tmp_path / f"{name}.gguf")).plain.model.layers[0] for name in ("Q8_0", "F32"))
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        kept, given = quantised.get_submodule(name).weight, floats.get_submodule(name).weight
        assert torch.equal(kept, kept.half().float())
        assert not torch.equal(given, given.half().float())
        assert (kept - given).abs().max() < given.abs().max() / 127  # half a step of eight bits and as much again
    assert torch.equal(quantised.input_layernorm.weight, floats.input_layernorm.weight)


def test_auto_takes_bfloat16_for_a_wide_model_where_the_processor_has_it(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = LlamaConfig(vocab_size=259, hidden_size=256, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4)
    LlamaForCausalLM(wide).save_pretrained(tmp_path / "wide")
    sliding = MistralConfig(**wide.to_dict() | {"sliding_window": 64, "model_type": "mistral", "architectures": None})
    MistralForCausalLM(sliding).save_pretrained(tmp_path / "sliding")
    for name in ("wide", "sliding"):
        AutoTokenizer.from_pretrained(llama_folder).save_pretrained(tmp_path / name)
    adapted = load_backbone(str(tmp_path / "wide"))
    attach_lora(adapted, rank=2, layers=1, seed=0)
    save_policy(adapted, tmp_path / "adapted")
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        for folder, dtype in (
            (tmp_path / "wide", expected),
            (tmp_path / "sliding", torch.float32),  # it runs its own forward, head and all
            (tmp_path / "adapted", torch.float32),  # merged, its adapters would be rounded away
            (llama_folder, torch.float32),
        ):
            backbone = load_backbone(str(folder), "auto")
            assert backbone.dtype == backbone.plain.model.embed_tokens.weight.dtype == dtype


def test_a_missing_gguf_file_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--gguf", str(tmp_path / "none.gguf"), str(tmp_path / "out")]) == 2
    assert "there is no file" in capsys.readouterr().err
