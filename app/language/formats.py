"""Numbers and times as a person reads them: with a unit, rounded to what matters. The filters of every template."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, reduce
from typing import Any, Final

from babel.dates import format_date, format_timedelta
from babel.numbers import get_decimal_symbol, get_group_symbol
from markupsafe import Markup

from app.language.languages import N_, N_plural, _, current, known, locale, ngettext, sets_apart

MINUTE, HOUR, DAY = 60, 3600, 86400
_SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# What pages count. Sentences name the English singular; how a language counts it is the catalogue's business.
NOUNS: Final = {
    "answer": N_plural("%(num)s answer", "%(num)s answers"),
    "blind comparison": N_plural("%(num)s blind comparison", "%(num)s blind comparisons"),
    "bad line": N_plural("%(num)s bad line", "%(num)s bad lines"),
    "comparison": N_plural("%(num)s comparison", "%(num)s comparisons"),
    "further line": N_plural("%(num)s further line", "%(num)s further lines"),
    "label": N_plural("%(num)s label", "%(num)s labels"),
    "line": N_plural("%(num)s line", "%(num)s lines"),
    "message": N_plural("%(num)s message", "%(num)s messages"),
    "more figure": N_plural("%(num)s more figure", "%(num)s more figures"),
    "more run": N_plural("%(num)s more run", "%(num)s more runs"),
    "open task": N_plural("%(num)s open task", "%(num)s open tasks"),
    "pair of verdicts": N_plural("%(num)s pair of verdicts", "%(num)s pairs of verdicts"),
    "person": N_plural("%(num)s person", "%(num)s people"),
    "preference": N_plural("%(num)s preference", "%(num)s preferences"),
    "prompt": N_plural("%(num)s prompt", "%(num)s prompts"),
    "ranking": N_plural("%(num)s ranking", "%(num)s rankings"),
    "rating": N_plural("%(num)s rating", "%(num)s ratings"),
    "step": N_plural("%(num)s step", "%(num)s steps"),
    "task": N_plural("%(num)s task", "%(num)s tasks"),
    "tie": N_plural("%(num)s tie", "%(num)s ties"),
    "turn": N_plural("%(num)s turn", "%(num)s turns"),
    "token": N_plural("%(num)s token", "%(num)s tokens"),
    "tie or both bad": N_plural("%(num)s tie or both bad", "%(num)s ties and both bad"),
    "update": N_plural("%(num)s update", "%(num)s updates"),
    "verdict": N_plural("%(num)s verdict", "%(num)s verdicts"),
}


def ago(moment: datetime | None, now: datetime | None = None) -> Markup | str:
    """A `<time>` such as "3 minutes ago" or "in 2 hours", with the exact moment on hover; "never" for None."""
    if moment is None:
        return _("never")
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact(moment), _relative(seconds))


def exact(moment: datetime) -> str:
    """The moment to the second, in UTC."""
    moment = moment.astimezone(UTC)
    return f"{day(moment)} {moment:%H:%M:%S} UTC"


def day(moment: datetime | date) -> str:
    """The day, of a moment in UTC: "Mar 1, 2026"."""
    return format_date(moment.astimezone(UTC) if isinstance(moment, datetime) else moment, "medium", locale())


def _relative(seconds: float) -> str:
    if abs(seconds) < 5:
        return _("just now")
    return format_timedelta(timedelta(seconds=-seconds), threshold=1, add_direction=True, locale=locale())


def duration(seconds: float | None) -> str:
    """How long something takes: "0.4 s", "52 s", "2 min 5 s", "3 h 20 min"; "unknown" for None."""
    if seconds is None or not math.isfinite(seconds):
        return _("unknown")
    seconds = max(0.0, seconds)
    if seconds < 10:
        return _("%(num)s s", num=_decimal(seconds, 1))
    whole = round(seconds)
    if whole < MINUTE:
        return _("%(num)s s", num=whole)
    if whole < 10 * MINUTE:
        parts = [_("%(num)s min", num=whole // MINUTE), _("%(num)s s", num=whole % MINUTE) if whole % MINUTE else ""]
        return " ".join(filter(None, parts))
    whole = round(seconds / MINUTE)
    if whole < MINUTE:
        return _("%(num)s min", num=whole)
    if whole < 48 * 60:
        parts = [_("%(num)s h", num=whole // 60), _("%(num)s min", num=whole % 60) if whole % 60 else ""]
        return " ".join(filter(None, parts))
    return ngettext("%(num)s day", "%(num)s days", round(whole / 1440))


def roughly(seconds: float) -> str:
    """An expectation, in the words of someone who does not promise: "under a minute", "about 12 minutes"."""
    if seconds < 50:
        return _("under a minute")
    if seconds < 1.5 * HOUR:
        return ngettext("about %(num)s minute", "about %(num)s minutes", max(1, round(seconds / MINUTE)))
    return _("about %(num)s hours", num=_decimal(seconds / HOUR, 1))


def count(number: int, noun: str) -> str:
    """ "1 label", "2,140 labels". Raises KeyError for what is not in NOUNS."""
    return ngettext(*NOUNS[noun], number, num=_decimal(number))


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, thousands set apart, with a real minus sign; a dash for None."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        text = _decimal(int(value))
    elif abs(value) >= 1000:
        text = _decimal(value)
    elif abs(value) < 1e-3:
        mantissa, _e, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{_decimal(float(mantissa), digits - 1)} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    else:
        text = _decimal(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
    return text.replace("-", "\N{MINUS SIGN}")


def to_the_last_digit(value: float) -> str:
    """A bound, which rounding would make another: "0.01", "1,000,000"."""
    return _decimal(value) if float(value).is_integer() else f"{value:.12g}".translate(_separators(current()))


def percent(share: float | None, digits: int = 0) -> str:
    """0.756 -> "76%"; a dash for None."""
    return "–" if share is None or not math.isfinite(share) else f"{_decimal(share * 100, digits)}%"


def _decimal(value: float, digits: int = 0) -> str:
    """So many digits after the point; thousands and fractions set apart as the reader's language does."""
    return f"{value:,.{digits}f}".translate(_separators(current()))


@lru_cache(maxsize=8)
def _separators(language: str) -> dict[int, str]:
    return str.maketrans({",": get_group_symbol(locale()), ".": get_decimal_symbol(locale())})


def listed(words: Iterable[str]) -> str:
    """ "A, B, C", with the comma of the reader's language; what is empty is left out."""
    return _joined(_(", "), words)


def phrases(parts: Iterable[str]) -> str:
    """ "Something, what goes with it", likewise: no list, so Chinese has another comma here."""
    said = [part.strip() for part in parts if part and part.strip()]
    return reduce(lambda phrase, more: _filled(known(N_("%(phrase)s, %(more)s")), phrase=phrase, more=more), said) if said else ""


def clauses(parts: Iterable[str]) -> str:
    """ "This; and that", likewise."""
    return _joined(_("; "), parts)


def sentence(parts: Iterable[str]) -> str:
    """Clauses made a sentence: "This; and that." """
    return _filled(known(N_("%(clauses)s.")), clauses=clauses(parts))


def noted(text: str, note: str | None) -> str:
    """ "Text (note)", with the brackets of the reader's language; the text alone where nothing is noted."""
    return _filled(known(N_("%(text)s (%(note)s)")), text=text, note=note) if note else text


def _joined(between: str, parts: Iterable[str]) -> str:
    """Markup where one of the parts is; the others are escaped then."""
    said = [stripped for part in parts if part and (stripped := part.strip())]
    return Markup(between).join(said) if any(isinstance(part, Markup) for part in said) else between.join(said)


def _filled(form: str, **parts: str) -> str:
    """Likewise."""
    return Markup(form) % parts if any(isinstance(part, Markup) for part in parts.values()) else form % parts


def paragraph(sentences: Iterable[str]) -> str:
    """Sentences one after another; a Chinese full stop brings its space with it."""
    return _joined("" if sets_apart() else " ", sentences)


def size(octets: int) -> str:
    """1,536 -> "1.5 KiB"."""
    value = float(octets)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    if unit == "bytes":
        return ngettext("%(num)s byte", "%(num)s bytes", octets, num=_decimal(octets))
    return f"{_decimal(value, 1)} {unit}"


def short(digest: str | None) -> str:
    """The first ten characters of a hash; a dash for None."""
    return digest[:10] if digest else "–"


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "clauses": clauses,
    "count_of": count,
    "day": day,
    "duration": duration,
    "exact": exact,
    "listed": listed,
    "noted": noted,
    "number": number,
    "paragraph": paragraph,
    "percent": percent,
    "phrases": phrases,
    "roughly": roughly,
    "sentence": sentence,
    "short": short,
    "size": size,
}
