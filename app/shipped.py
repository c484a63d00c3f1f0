"""Where the folders lie that come with the program: at the top of a clone, inside of `app` where it was installed by pip."""

from __future__ import annotations

from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """`templates`, `static`, `migrations` or `locales`; setup.py puts them into the package."""
    installed = HERE / folder
    return installed if installed.is_dir() else HERE.parent / folder
