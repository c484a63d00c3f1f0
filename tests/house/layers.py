"""Walls 1, 3, 4 and 5: services and the web, the app and the trainer, and the rooms inside of the trainer."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house.imports import imports_of, inside, is_edge, room_of

# Of the web: what speaks HTTP or draws pages. In a room these are its routes, its API and the shapes of their forms.
WEB_PACKAGES = ("fastapi", "starlette", "jinja2", "uvicorn")
WEB_MODULES = (
    "app.web.pages",
    "app.main",
    "app.web.gate",
    "app.web.error_replies",
    "app.web.middleware.headers",
    "app.web.middleware.origin",
    "app.serve",
)
# Of the trainer: what stands between it and the tables.
TRAINER_PLACES_THAT_KNOW_THE_APP = ("trainer/worker/",)


# Wall 1: routes and api -> service -> models, database


def services_that_know_the_web(root: Path) -> list[str]:
    found = []
    for one in imports_of(root, "app"):
        if room_of(one.path) is None or is_edge(one.path.stem):
            continue
        if inside(one.module, *WEB_PACKAGES, *WEB_MODULES):
            found.append(str(one))
    return found


def services_that_know_status_numbers(root: Path) -> list[str]:
    """A service raises a refusal by name; its number is in app/errors.py."""
    found = []
    for path in sorted((root / "app").rglob("*.py")):
        short = path.relative_to(root)
        if room_of(short) is None or is_edge(short.stem):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.arg] if isinstance(node, ast.keyword) else []
            if "status_code" in names:
                found.append(f"{short}:{getattr(node, 'lineno', 0)} sets a status code")
    return found


# Walls 3 and 4: between the app and the trainer


def app_files_that_know_the_trainer(root: Path) -> list[str]:
    return [
        str(one)
        for one in imports_of(root, "app")
        if inside(one.module, "trainer") and not inside(one.module, "trainer.contract")
    ]


def app_files_that_compute(root: Path) -> list[str]:
    return [str(one) for one in imports_of(root, "app") if inside(one.module, "torch", "transformers", "peft", "safetensors")]


def trainer_files_that_know_the_app(root: Path) -> list[str]:
    return [
        str(one)
        for one in imports_of(root, "trainer")
        if inside(one.module, "app", "sqlalchemy") and not one.path.as_posix().startswith(TRAINER_PLACES_THAT_KNOW_THE_APP)
    ]


# Wall 5: inside the trainer

MAY_KNOW: dict[str, frozenset[str]] = {
    "contract": frozenset(),
    "files": frozenset({"contract"}),
    "lm": frozenset({"contract", "files"}),
    "reward": frozenset({"contract", "files", "lm"}),
    "ppo": frozenset({"contract", "files", "lm", "sft"}),  # rewards by protocols; trainer/__main__.py hands it them
    "outside": frozenset({"contract"}),
    "ask": frozenset({"contract"}),
    "preference": frozenset({"contract", "files", "lm", "reward", "sft"}),  # how labels are read, no more
    "sft": frozenset({"contract", "files", "lm"}),
    "sample": frozenset({"contract", "files", "lm", "reward"}),
    "export": frozenset({"contract", "files", "lm", "reward"}),
    "serve": frozenset({"contract", "lm", "reward"}),
    "worker": frozenset({"contract"}),
}


def trainer_rooms_that_know_too_much(root: Path) -> list[str]:
    """A room of the trainer knows the rooms it stands on and no other; a room without a line in the table may know none."""
    found = []
    for one in imports_of(root, "trainer"):
        theirs = one.module.split(".")[1] if inside(one.module, "trainer") and "." in one.module else None
        mine = one.path.parts[1] if len(one.path.parts) > 2 else None
        if mine and theirs and theirs != mine and theirs not in MAY_KNOW.get(mine, ()):
            found.append(str(one))
    return found


def rewards_that_ppo_tells_apart(root: Path) -> list[str]:
    """PPO knows a reward by one protocol, so it never asks of what class a thing is."""
    return [
        f"{path.relative_to(root)}:{node.lineno} asks for a class"
        for path in sorted((root / "trainer" / "ppo").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id in ("isinstance", "issubclass")
    ]
