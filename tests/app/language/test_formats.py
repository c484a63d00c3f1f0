from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.language import formats

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("back", "text"),
    [
        (2, "just now"),
        (45, "45 seconds ago"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (-600, "in 10 minutes"),
        (3 * 86400, "3 days ago"),
    ],
)
def test_times_are_relative(back: float, text: str) -> None:
    assert f">{text}<" in formats.ago(NOW - timedelta(seconds=back), NOW)


def test_the_exact_moment_is_on_hover() -> None:
    assert 'title="Mar 1, 2026 12:00:00 UTC"' in formats.ago(NOW, NOW)
    assert formats.ago(None) == "never"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (52.0, "52 s"),
        (125, "2 min 5 s"),
        (120, "2 min"),
        (1800, "30 min"),
        (12000, "3 h 20 min"),
        (None, "unknown"),
    ],
)
def test_durations_have_their_units(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (-3.5, "−3.50"),
        (2140, "2,140"),
        (12345.6, "12,346"),
        (0.0, "0"),
        (6e-5, "6.00 × 10⁻⁵"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_rounded_to_what_matters(value: float | None, text: str) -> None:
    assert formats.number(value) == text


def test_one_is_not_many() -> None:
    assert formats.count(1, "label") == "1 label"
    assert formats.count(1200, "label") == "1,200 labels"
    assert formats.count(3, "person") == "3 people"


def test_sizes_and_shares() -> None:
    assert [formats.size(12), formats.size(1536), formats.percent(0.756), formats.percent(None)] == [
        "12 bytes",
        "1.5 KiB",
        "76%",
        "–",
    ]
