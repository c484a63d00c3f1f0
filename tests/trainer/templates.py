"""A model whose chat template refuses some conversations, as published ones do."""

from __future__ import annotations

import shutil
from pathlib import Path

REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


def no_system_role(model: Path, place: Path) -> Path:
    """A copy of a model folder that has no place for a system turn."""
    shutil.copytree(model, place)
    written = REFUSES + "{% for m in messages %}{{ m.content }}{% endfor %}"
    (place / "chat_template.jinja").write_text(written, encoding="utf-8")
    return place
