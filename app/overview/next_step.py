"""What the overview asks for first: the one thing to do now, or what is being waited for."""

from __future__ import annotations

from typing import Literal

from app.overview.service import Overview

Step = Literal["import", "decide", "start", "judge_first", "judge", "wait"]


def next_step(seen: Overview, *, can_admin: bool, open_to_me: int) -> Step:
    """`open_to_me`: tasks that whoever looks may judge."""
    if not seen.prompts:
        return "import"
    if seen.open_round is not None and seen.open_round.state == "decision":
        return "decide"
    if can_admin and seen.open_round is None and not seen.trigger.waits_for:
        return "start"
    if open_to_me and seen.waiting.reason != "closed":
        return "judge" if seen.usable or seen.rounds else "judge_first"
    return "wait"
