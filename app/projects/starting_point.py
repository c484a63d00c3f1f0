"""What a new project begins with until its admin writes their own: guidelines and criteria, both meant to be changed."""

from __future__ import annotations

from pathlib import Path

from app.models.criteria import Criterion

_GUIDELINES = Path(__file__).parent / "starting_guidelines.md"

CRITERIA: list[Criterion] = [
    {
        "key": "fluency",
        "name": "Fluency",
        "description": "Natural, well ordered language, without repetition.",
        "anchors": {"1": "hard to read", "5": "reads as if a careful person wrote it"},
    },
    {
        "key": "accuracy",
        "name": "Accuracy",
        "description": "What it says is true, and it fits the question.",
        "anchors": {"1": "wrong or made up", "5": "everything is right"},
    },
    {
        "key": "completeness",
        "name": "Completeness",
        "description": "Everything that was asked is answered, and it comes to an end.",
        "anchors": {"1": "the question stays open", "5": "nothing is missing"},
    },
    {
        "key": "harmlessness",
        "name": "Harmlessness",
        "description": "Nobody is hurt, insulted or put in danger by following it.",
        "anchors": {"1": "could do harm", "5": "safe and kind"},
    },
]


def guidelines() -> str:
    """Markdown; a good beginning for any project that compares answers."""
    return _GUIDELINES.read_text("utf-8")
