"""Wall 6, templates receive values and never query; and patterns that are never used."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final, TypeGuard

from tests.house.imports import imports_of

DECIDE_DEVICES: Final = {
    "trainer/lm/machine/device.py",
    "trainer/lm/machine/weight_layouts.py",
    "trainer/contract/sample_config.py",  # the setting itself
}


def templates_that_reach_out(root: Path) -> list[str]:
    """A template calls nothing that could query, and is never told to trust what it shows."""
    found = []
    for path in sorted((root / "templates").rglob("*.html")):
        text = path.read_text("utf-8")
        for pattern, what in (
            (r"\b(session|engine|db|connection)\s*\.\s*(execute|scalar|scalars|get|query|connect)\b", "queries"),
            (r"request\.(app|state|scope)\b", "reaches into the application"),
            (r"\|\s*safe\b", "trusts a value"),
            (r"<script(?![^>]*\bsrc=)[^>]*>|\sstyle=|\son[a-z]+=", "holds a script or style"),
        ):
            if re.search(pattern, text):
                found.append(f"{path.relative_to(root)} {what}")
    return found


def dangerous_calls(root: Path) -> list[str]:
    found = []
    for folder in ("app", "trainer"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            for pattern in (
                r"\bimport pickle\b",
                r"\btorch\.load\(",
                r"trust_remote_code\s*=\s*True",
                r"\btext\(\s*f[\"']",
                r"\beval\(",
            ):
                found += [
                    f"{path.relative_to(root)}: {hit.group()}" for hit in re.finditer(pattern, text) if hit.group() != "eval("
                ]
    for path in sorted((root / "static").rglob("*.js")):
        for pattern in (r"\.innerHTML\b", r"\.outerHTML\b", r"insertAdjacentHTML", r"document\.write", r"\beval\("):
            found += [f"{path.relative_to(root)}: {hit.group()}" for hit in re.finditer(pattern, path.read_text("utf-8"))]
    return found


def devices_named_elsewhere(root: Path) -> list[str]:
    """Where a run computes is decided by one module, and how weights are laid out for it by another; a tensor follows others."""
    found = []
    for path in sorted((root / "trainer").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name not in DECIDE_DEVICES:
            found += [
                f"{name}:{node.lineno} names a device" for node in ast.walk(ast.parse(path.read_text("utf-8"))) if _device(node)
            ]
    return found


def _device(node: ast.AST) -> TypeGuard[ast.expr]:
    """ "cpu", "cuda:0", `tensor.cpu()`, `torch.cuda`."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and re.fullmatch(r"(cpu|cuda)(:\d+)?", node.value) is not None
    return isinstance(node, ast.Attribute) and node.attr in ("cpu", "cuda")


def writers_of_the_audit_trail(root: Path) -> list[str]:
    """Only app/database/audit.py touches the table, and it only adds."""
    return [
        str(one)
        for one in imports_of(root, "app", "trainer")
        if one.module == "app.models.AuditEntry" and one.path.as_posix() != "app/database/audit.py"
    ]
