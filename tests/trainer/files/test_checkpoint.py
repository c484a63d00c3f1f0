import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.files.checkpoint import (
    CheckpointError,
    capture_rng,
    load_state,
    newest_valid,
    restore_rng,
    save,
    save_state,
    sha256_of,
    verify,
)


def write_two_files(folder: Path) -> None:
    (folder / "a.json").write_text("{}", encoding="utf-8")
    (folder / "inner").mkdir()
    (folder / "inner" / "b.json").write_text("[1]", encoding="utf-8")


def test_a_saved_folder_verifies_and_names_the_hash_of_every_file(tmp_path: Path) -> None:
    save(tmp_path / "c", write_two_files, {"kind": "policy", "run": 7})
    manifest = verify(tmp_path / "c")
    assert (manifest["format"], manifest["kind"], manifest["run"]) == (2, "policy", 7)
    assert manifest["files"] == {
        "a.json": sha256_of(tmp_path / "c" / "a.json"),
        "inner/b.json": sha256_of(tmp_path / "c" / "inner" / "b.json"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_any_change_to_a_folder_is_refused(tmp_path: Path) -> None:
    def broken(change: str) -> None:
        folder = tmp_path / change
        save(folder, write_two_files, {"run": 7})
        if change == "changed":
            (folder / "a.json").write_text("{ }", encoding="utf-8")
        elif change == "missing":
            (folder / "a.json").unlink()
        elif change == "additional":
            (folder / "pytorch_model.bin").write_bytes(b"")
        elif change == "unfinished":
            (folder / "manifest.json").unlink()
        elif change == "of another format":
            (folder / "manifest.json").write_text('{"format": 3, "files": {}}', encoding="utf-8")
        elif change == "described otherwise":
            manifest = (folder / "manifest.json").read_text(encoding="utf-8")
            (folder / "manifest.json").write_text(manifest.replace('"run": 7', '"run": 6'), encoding="utf-8")
        verify(folder)

    for change in ("changed", "missing", "additional", "unfinished", "of another format", "described otherwise"):
        with pytest.raises(CheckpointError):
            broken(change)


def test_a_checkpoint_of_the_first_format_whose_manifest_had_no_hash_still_opens(tmp_path: Path) -> None:
    manifest = save(tmp_path / "c", write_two_files, {"run": 7})
    del manifest["manifest_sha256"]
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest | {"format": 1}), encoding="utf-8")
    assert verify(tmp_path / "c")["run"] == 7
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"manifest\.json is not the file that was saved"):
        verify(tmp_path / "c")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    save(tmp_path / "c", write_two_files, {})
    (tmp_path / "c" / "a.json").unlink()
    (tmp_path / "c" / "a.json").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=r"a\.json cannot be read: No such file"):
        verify(tmp_path / "c")


def test_a_crash_while_writing_leaves_the_old_checkpoint_in_place(tmp_path: Path) -> None:
    save(tmp_path / "c", write_two_files, {"version": 1})
    crash = (
        "import os, sys; from pathlib import Path; from trainer.files.checkpoint import save\n"
        "def write(folder):\n    (folder / 'a.json').write_text('{\"half\"'); os._exit(9)\n"
        "save(Path(sys.argv[1]), write, {'version': 2})"
    )
    assert subprocess.run([sys.executable, "-c", crash, str(tmp_path / "c")], check=False).returncode == 9
    assert verify(tmp_path / "c")["version"] == 1
    save(tmp_path / "c", write_two_files, {"version": 3})
    assert verify(tmp_path / "c")["version"] == 3


def test_the_newest_whole_state_is_loaded_whatever_a_crash_left_behind(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path / f"{step:08d}", write_two_files, {"step": step})
    (tmp_path / "00000003" / "a.json").write_text("torn", encoding="utf-8")
    (tmp_path / "00000004.tmp").mkdir()
    (tmp_path / "00000005").mkdir()
    found = newest_valid(tmp_path)
    assert found is not None
    assert found.name == "00000002"
    assert newest_valid(tmp_path / "nowhere") is None


def test_a_state_comes_back_bit_for_bit_and_replaces_the_one_before(tmp_path: Path) -> None:
    weights = torch.randn(3, 4)
    state = {
        "weights": {"a": weights, "same memory": weights, "half": weights.to(torch.bfloat16)},
        "optimiser": {0: {"step": torch.tensor(3.0), "lr": 0.1 + 0.2}},
        "beta": 1e-300,
        "infinite": [math.inf, -math.inf],
        "none": None,
        "flags": [True, False, 2],
        "name": "ß",
    }
    save_state(tmp_path, 4, {"old": 1})
    save_state(tmp_path, 12, state)
    found = load_state(tmp_path)
    assert found is not None
    step, back = found
    assert step == 12
    for name, tensor in state["weights"].items():  # type: ignore[attr-defined]
        assert torch.equal(back["weights"][name], tensor)
        assert back["weights"][name].dtype == tensor.dtype
    assert back["optimiser"][0]["lr"] == 0.1 + 0.2
    assert {name: back[name] for name in ("beta", "infinite", "none", "flags", "name")} == {
        name: state[name] for name in ("beta", "infinite", "none", "flags", "name")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["00000012"]


def test_what_json_cannot_carry_is_refused_before_anything_is_replaced(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {"a": 1})
    with pytest.raises(TypeError, match="/b"):
        save_state(tmp_path, 2, {"b": object()})
    assert load_state(tmp_path) == (1, {"a": 1})


def test_an_optimiser_and_generators_go_on_exactly(tmp_path: Path) -> None:
    def step(weight: torch.nn.Parameter, optimiser: torch.optim.Optimizer, own: torch.Generator) -> None:
        optimiser.zero_grad()
        (weight * torch.randn(5, generator=own) * torch.randn(5)).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    torch.manual_seed(3)
    own = torch.Generator().manual_seed(4)
    weight = torch.nn.Parameter(torch.zeros(5))
    optimiser = torch.optim.Adam([weight])
    step(weight, optimiser, own)
    state = {"weight": weight.data, "optimiser": optimiser.state_dict(), "rng": capture_rng(own=own)}
    save_state(tmp_path, 1, state)
    step(weight, optimiser, own)

    found = load_state(tmp_path)
    assert found is not None
    other, generator = torch.nn.Parameter(found[1]["weight"]), torch.Generator()
    again = torch.optim.Adam([other])
    again.load_state_dict(found[1]["optimiser"])
    restore_rng(found[1]["rng"], own=generator)
    step(other, again, generator)
    assert torch.equal(other, weight)


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    save(tmp_path / "c", write_two_files, {})
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["../secret"] = sha256_of(tmp_path / "secret")
    manifest["format"] = 1  # whose manifest no hash holds
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(CheckpointError):
        verify(tmp_path / "c")


def test_no_bit_of_a_checkpoint_can_turn_unseen(tmp_path: Path) -> None:
    """Each bit of the manifest, and of a small file beside it."""
    folder = tmp_path / "c"
    save(folder, write_two_files, {"kind": "state", "step": 3, "figures": {"kl": 0.25}, "base": {"source": "é"}})
    for name in ("manifest.json", "a.json"):
        path = folder / name
        whole = path.read_bytes()
        for bit in range(8 * len(whole)):
            turned = bytearray(whole)
            turned[bit // 8] ^= 1 << bit % 8
            path.write_bytes(turned)
            with pytest.raises(CheckpointError):
                verify(folder)
        path.write_bytes(whole)
    assert verify(folder)["step"] == 3


def test_a_checkpoint_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    save(tmp_path / "c", write_two_files, {"kind": "policy"})
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    assert verify(tmp_path / "c")["kind"] == "policy"
