"""`pip install .` gives a program that starts, with its templates, scripts, migrations and languages, from any folder."""

from __future__ import annotations

import email
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_requirements import pins

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("templates", "static", "migrations", "locales")
SOURCES = ("app", "trainer", *BESIDE)
FILES = ("pyproject.toml", "setup.py", "README.md", "requirements.txt")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because building leaves its own folders behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, source)
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with that wheel alone, which borrows the packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    packages = next(folder.glob("lib/python3*/site-packages"))
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    pip(sys.executable, "--python", str(folder / "bin" / "python"), "install", "--no-deps", str(wheel))
    return folder


def pip(python: str, *arguments: str) -> None:
    done = subprocess.run([python, "-m", "pip", "-q", *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_every_file_of_the_program_and_no_other(wheel: Path) -> None:
    told = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    expected = {f"app/{path}" if path.startswith(BESIDE) else path for path in told.splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_wheel_asks_for_what_requirements_txt_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    assert {canonicalize_name(Requirement(text).name) for text in asked} == set(pins("requirements.txt"))


def test_what_was_installed_serves_its_pages_from_any_folder(installed: Path, tmp_path: Path) -> None:
    with serving(installed, tmp_path) as address:
        assert read(f"{address}/api/v1/health")
        page = read(f"{address}/sign-in", language="zh-Hant")
        assert "登入" in page  # its templates and its languages
        (sheet, *_) = (part.split('"')[0] for part in page.split('<link rel="stylesheet" href="')[1:])
        assert "{" in read(f"{address}{sheet}")


@pytest.mark.nightly  # it loads torch
def test_what_was_installed_knows_its_version(installed: Path, tmp_path: Path) -> None:
    code = "from trainer.files.program import code_version; print(code_version())"
    command = [str(installed / "bin" / "python"), "-c", code]
    told = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert told.stdout == "0.1.0\n"


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this process's PYTHONPATH or settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder)}


@contextmanager
def serving(installed: Path, folder: Path) -> Iterator[str]:
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"TASTEMAKER_PORT": str(port), "TASTEMAKER_BASE_MODEL": str(model)}
    process = subprocess.Popen(
        [str(installed / "bin" / "tastemaker"), "serve"],
        cwd=folder,
        env=environment(folder) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None and not answers(address):
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()[0]
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    try:
        read(f"{address}/api/v1/health")
    except urllib.error.URLError:
        return False
    return True


def read(url: str, language: str = "en") -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Language": language}), timeout=10) as reply:
        text: str = reply.read().decode()
        return text
