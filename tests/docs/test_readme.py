from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from app.cli import main
from app.settings import Settings
from app.web.permissions import RULES, V1
from trainer.contract.config import CONFIGS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")


def documented_settings() -> dict[str, str]:
    """Variable -> default, from the README's table."""
    return dict(re.findall(r"^\| `(TASTEMAKER_[A-Z_]+)` \| (.+?) \|", README, re.M))


def test_every_variable_is_in_the_readme_and_no_other() -> None:
    assert set(documented_settings()) == {f"TASTEMAKER_{name.upper()}" for name in Settings.model_fields}


def test_the_defaults_in_the_readme_are_the_defaults() -> None:
    for name, field in Settings.model_fields.items():
        shown = documented_settings()[f"TASTEMAKER_{name.upper()}"].strip("`")
        default = field.default
        if isinstance(default, list):
            assert json.loads(shown) == default
        elif isinstance(default, dict):
            assert ({} if shown == "empty" else json.loads(shown)) == default, name
        else:
            assert shown == (f"{default:g}" if isinstance(default, float) else str(default) or "empty"), name


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_setting_of_a_run_explains_itself(kind: str) -> None:
    for field in dataclasses.fields(CONFIGS[kind]):
        assert field.metadata["help"].endswith("."), field.name
        first = field.metadata["help"].split(":")[0]
        assert first[0].isupper() or first in field.metadata["choices"], field.name


def test_every_address_in_the_readme_exists() -> None:
    templates = [re.compile("^" + re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(path)) + "$") for _, path in RULES]
    named = [V1 + path for path in re.findall(r"\$at(/[^\s?\"]+)", README)] + re.findall(
        r"`(?:[A-Z]+ )?(/api/v1/[^`?]+)`", README
    )
    assert len(named) >= 8
    for path in named:
        assert any(template.match(path) for template in templates), path


def test_every_link_and_script_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"(?<![\w/])((?:bin|bench)/[a-z_]+(?:\.py)?)\b", README)
    assert len(named) >= 8
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_command_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^ {4}([a-z][a-z-]*)(?: |$)", capsys.readouterr().out, re.M)
    assert {"up", "serve", "work"} <= set(commands)
    assert set(re.findall(r"^\| `tastemaker ([a-z-]+)", OPERATIONS, re.M)) == set(commands)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/operations.md"])
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)
    assert named
    assert set(named) <= make_targets()


def make_says(*arguments: str) -> str:
    """What make prints, alike whether or not another make runs these tests."""
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("target", "purpose"), [("run", "run"), ("test", "test"), ("fast", "test"), ("lint", "dev"), ("bench-setup", "dev")]
)
def test_every_make_target_sets_up_what_it_needs_before_anything_else(target: str, purpose: str) -> None:
    asked = subprocess.run(
        ["make", "-n", "--no-print-directory", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert asked.splitlines()[0] == f"bin/setup {purpose}"


def test_every_make_target_has_its_line_of_help() -> None:
    told = make_says("-s", "help")
    assert {line.split(":")[0] for line in told.splitlines()} == make_targets()
