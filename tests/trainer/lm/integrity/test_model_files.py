"""Files that are no model, or not a whole one, are told apart before anything opens them."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.trainer.lm.test_loading import write_gguf
from trainer.lm.backbone import BackboneError, attach_lora
from trainer.lm.loading import convert_gguf, load_backbone, load_policy, save_policy

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 269060552\n"


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("model.safetensors", lambda held: POINTER, r"model.safetensors is a Git LFS pointer, not weights: run git lfs pull"),
        ("model.safetensors", lambda held: held[: len(held) // 2], r"is not whole: [\d,]+ of [\d,]+ bytes are there"),
        ("model.safetensors", lambda held: held[:100], "is not a safetensors file, or not a whole one"),
        ("model.safetensors", lambda held: b"", "is empty"),
        ("model.safetensors", lambda held: b"\x10" + bytes(7) + b"x" * 100, "its header cannot be read"),
        ("model.safetensors", lambda held: b"<html>not found</html>" * 9, "is not a safetensors file, or not a whole one"),
        ("tokenizer.json", lambda held: POINTER, r"tokenizer.json is a Git LFS pointer, not the file itself"),
        ("config.json", lambda held: POINTER, r"config.json is a Git LFS pointer"),
    ],
    ids=["pointer", "half", "less than its header", "empty", "no header", "a web page", "tokenizer", "configuration"],
)
def test_a_broken_file_is_named_with_what_to_do(
    llama_folder: Path, tmp_path: Path, file: str, spoil: Callable[[bytes], bytes], said: str
) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    (folder / file).write_bytes(spoil((folder / file).read_bytes()))
    with pytest.raises(BackboneError, match=said):
        load_backbone(str(folder))


def test_a_shard_that_did_not_arrive_is_named(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    load_backbone(str(folder))
    (folder / shards[1]).unlink()
    with pytest.raises(BackboneError, match=f"lacks {shards[1]}, which its index names"):
        load_backbone(str(folder))
    (folder / "model.safetensors.index.json").write_text("[]", encoding="utf-8")
    with pytest.raises(BackboneError, match="is not the index of sharded weights"):
        load_backbone(str(folder))


def test_weights_that_only_a_pickle_holds_are_not_opened_and_the_way_out_is_said(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"in pytorch_model.bin only.* for safety.* Convert the model to safetensors"):
        load_backbone(str(folder))
    (folder / "pytorch_model.bin").rename(folder / "training_args.bin")
    with pytest.raises(BackboneError, match=r"no \*\.safetensors file, so there are no weights"):
        load_backbone(str(folder))


def test_somebody_elses_adapters_are_no_base(llama_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(llama_folder))
    attach_lora(backbone, rank=2, layers=1, seed=0)
    backbone.model.save_pretrained(str(tmp_path / "lora"))
    for opened in (load_backbone, load_policy):
        with pytest.raises(BackboneError, match=r"holds adapters \(LoRA\) for .*llama, not a model: merge them into their base"):
            opened(str(tmp_path / "lora"))
    save_policy(backbone, tmp_path / "ours")
    load_policy(str(tmp_path / "ours"))


def test_a_file_of_another_kind_is_called_what_it_is(tmp_path: Path, llama_folder: Path) -> None:
    sqlite3.connect(tmp_path / "taste.db").execute("create table t (a)").connection.close()
    (tmp_path / "notes.txt").write_text("my model is great", encoding="utf-8")
    write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "tiny.gguf", tmp_path / "folder")
    for spec, said in {
        tmp_path / "taste.db": "is a database, not a model: give a model folder",
        tmp_path / "notes.txt": "is a file, not a model: give a model folder",
        llama_folder / "model.safetensors": "is a file, not a model",
        tmp_path / "folder": "holds .gguf files: give the path of one of them",
        tmp_path / "nowhere" / "at" / "all": "there is no folder",
    }.items():
        with pytest.raises(BackboneError, match=said):
            load_backbone(str(spec))


def test_a_gguf_file_that_is_none_or_not_whole_is_explained(tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf")
    whole = (tmp_path / "whole.gguf").read_bytes()
    sqlite3.connect(tmp_path / "database.gguf").execute("create table t (a)").connection.close()
    for name, held, said in (
        ("pointer", POINTER, "is a Git LFS pointer, not weights"),
        ("text", b"my model is great", "is not a GGUF file"),
        ("database", (tmp_path / "database.gguf").read_bytes(), "is not a GGUF file"),
        ("empty", b"", "is not a GGUF file"),
        ("header", whole[:60], "is not whole, or not a GGUF file as we know it"),
        ("half", whole[: len(whole) // 2], "is not whole, or not a GGUF file as we know it"),
        ("last", whole[:-100], "is not whole, or not a GGUF file as we know it"),
        ("m-00001-of-00002", whole, "is one part of a split file: join its parts first"),
    ):
        (tmp_path / f"{name}.gguf").write_bytes(held)
        for opened in (load_backbone, lambda path: convert_gguf(Path(path), tmp_path / "out")):
            with pytest.raises(BackboneError, match=said):
                opened(str(tmp_path / f"{name}.gguf"))
    with pytest.raises(BackboneError, match="there is no file"):
        load_backbone(str(tmp_path / "none.gguf"))


def test_a_gguf_file_without_some_of_its_layers_is_refused_under_any_name(tmp_path: Path) -> None:
    write_gguf(tmp_path / "first.gguf", blocks=2, written=1)
    with pytest.raises(BackboneError, match=r"lacks 9 of 20 tensors, the first model\.layers\.1\."):
        load_backbone(str(tmp_path / "first.gguf"))
