"""Numbers and times as a person reads them: with a unit, rounded to what matters. The filters of every template."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

MINUTE, HOUR, DAY = 60, 3600, 86400
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def ago(moment: datetime | None, now: datetime | None = None) -> Markup | str:
    """A `<time>` such as "3 minutes ago" or "in 2 hours", with the exact moment on hover; "never" for None."""
    if moment is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact(moment), _relative(seconds))


def exact(moment: datetime) -> str:
    """The moment to the second, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _relative(seconds: float) -> str:
    size = abs(seconds)
    if size < 5:
        return "just now"
    if size < MINUTE:
        text = count(int(size), "second")
    elif size < HOUR:
        text = count(round(size / MINUTE), "minute")
    elif size < DAY:
        text = count(round(size / HOUR), "hour")
    elif size < 60 * DAY:
        text = count(round(size / DAY), "day")
    else:
        text = count(round(size / (30.4 * DAY)), "month")
    return f"{text} ago" if seconds > 0 else f"in {text}"


def duration(seconds: float | None) -> str:
    """How long something takes: "0.4 s", "52 s", "2 min 5 s", "3 h 20 min"; "unknown" for None."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < 10 * MINUTE:
        return _joined((whole // MINUTE, "min"), (whole % MINUTE, "s"))
    whole = round(seconds / MINUTE)
    if whole < MINUTE:
        return f"{whole} min"
    if whole < 48 * 60:
        return _joined((whole // 60, "h"), (whole % 60, "min"))
    return f"{round(whole / 1440)} days"


def roughly(seconds: float) -> str:
    """An expectation, in the words of someone who does not promise: "under a minute", "about 12 minutes"."""
    if seconds < 50:
        return "under a minute"
    if seconds < 1.5 * HOUR:
        return f"about {count(max(1, round(seconds / MINUTE)), 'minute')}"
    return f"about {seconds / HOUR:.1f} hours"


def _joined(first: tuple[int, str], second: tuple[int, str]) -> str:
    parts = [f"{amount} {unit}" for amount, unit in (first, second) if amount]
    return " ".join(parts)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 label", "2,140 labels"; `plural` where an s is not enough."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, thousands set apart, with a real minus sign; a dash for None."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        text = f"{int(value):,}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    else:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def percent(share: float | None, digits: int = 0) -> str:
    """0.756 -> "76%"; a dash for None."""
    return "–" if share is None or not math.isfinite(share) else f"{share * 100:.{digits}f}%"


def size(octets: int) -> str:
    """1,536 -> "1.5 KiB"."""
    value = float(octets)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{octets:,} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def short(digest: str | None) -> str:
    """The first ten characters of a hash; a dash for None."""
    return digest[:10] if digest else "–"


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "count_of": lambda amount, noun, plural=None: count(amount, noun, plural),
    "duration": duration,
    "exact": exact,
    "number": number,
    "percent": percent,
    "roughly": roughly,
    "short": short,
    "size": size,
}
