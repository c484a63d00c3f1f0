"""Charts of a run's metrics: what each name means, which figures stand beside it, and its drawing as SVG.

An SVG is a reply of its own, shown through <img>: it carries its style inside, follows the reader's light or dark setting and
holds no script. Colours repeat static/css/tokens.css, because a picture cannot see the page's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from app.language import formats
from app.language.languages import N_, _, known
from app.runs.figures.result import OUTSIDE
from app.runs.run_files import metric_names, metric_series
from trainer.contract.intervals import NORMAL_95

WIDTH, NARROW, HEIGHT = 560, 320, 200  # a phone shows the narrow one, so that words stay readable
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
LETTER = 8  # px of the value at a line's end, bold, with room to spare
MOST_DOTS = 60  # more than that and the line says it alone

Point = tuple[int, float]
Band = tuple[int, float, float]  # step, lower, upper


@dataclass(frozen=True)
class Meaning:
    """A metric in words. `percent`: a share, drawn as per cent."""

    title: str
    unit: str = ""
    percent: bool = False

    def said(self) -> Meaning:
        """The same in the reader's language."""
        return Meaning(known(self.title), known(self.unit), self.percent)


MEANINGS: dict[str, Meaning] = {
    "rollout/score": Meaning(N_("Score of the reward model"), N_("mean over answers, deviations from the base model")),
    "kl/exact_nats_per_answer": Meaning(N_("KL from the reference"), N_("nats per answer, exact")),
    "heldout/gain_at_least": Meaning(N_("Gain on held-out prompts, at the least"), N_("the update where it is largest is kept")),
    "rollout/length": Meaning(N_("Length of answers"), N_("tokens, mean")),
    "rollout/truncated": Meaning(N_("Answers cut off at the limit"), N_("share of answers"), percent=True),
    "rollout/reward": Meaning(N_("Reward"), N_("score less the KL penalty, mean over answers")),
    "rollout/score_deviation": Meaning(N_("Spread of scores"), N_("standard deviation over answers")),
    "rollout/entropy": Meaning(N_("Entropy"), N_("nats per token, mean")),
    "rollout/distinct_1": Meaning(N_("Different words"), N_("share of 1-grams"), percent=True),
    "rollout/distinct_2": Meaning(N_("Different pairs of words"), N_("share of 2-grams"), percent=True),
    "rollout/fluency": Meaning(N_("How natural answers are to the base"), N_("log-probability, nats per token")),
    "rollout/repetition": Meaning(N_("Passages said again"), N_("share of 4-grams within an answer"), percent=True),
    "rollout/sampler_difference_nats_per_token": Meaning(
        N_("Training less sampling, log-probability"), N_("nats per token, mean")
    ),
    "rollout/sampler_difference_rms_nats_per_token": Meaning(
        N_("How far sampling is from training"), N_("nats per token, root of the mean square")
    ),
    "kl/nats_per_answer": Meaning(N_("KL, sampled"), N_("nats per answer")),
    "kl/nats_per_token": Meaning(N_("KL, sampled"), N_("nats per token")),
    "kl/beta": Meaning(N_("Weight of the KL penalty"), N_("beta")),
    "kl/from_base_nats_per_answer": Meaning(N_("KL from the base"), N_("nats per answer")),
    "kl/base_weight": Meaning(N_("Weight of KL from the base"), N_("score per nat")),
    "heldout/gain": Meaning(N_("Gain on held-out prompts"), N_("deviations from the first answers")),
    "heldout/fluency": Meaning(N_("How natural held-out answers are to the base"), N_("log-probability, nats per token")),
    "heldout/relevance": Meaning(N_("What held-out answers say of their prompts"), N_("nats per token of a prompt")),
    "heldout/repetition": Meaning(N_("Passages said again, held out"), N_("share of 4-grams within an answer"), percent=True),
    "heldout/truncated": Meaning(N_("Held-out answers cut off at the limit"), N_("share of answers"), percent=True),
    "losses/policy_loss": Meaning(N_("Policy loss")),
    "losses/value_loss": Meaning(N_("Value loss")),
    "losses/approx_kl": Meaning(N_("Step size of the policy"), N_("approx-KL, nats per token")),
    "losses/clipfrac": Meaning(N_("Clipped ratios"), N_("share of tokens"), percent=True),
    "losses/value_clipfrac": Meaning(N_("Clipped values"), N_("share of tokens"), percent=True),
    "losses/max_ratio": Meaning(N_("Largest ratio"), N_("new over old probability")),
    "losses/ptx_loss": Meaning(N_("Loss on demonstrations"), N_("nats per token")),
    "losses/explained_variance": Meaning(N_("Explained variance of the value head")),
    "losses/grad_norm": Meaning(N_("Gradient norm"), N_("before clipping")),
    "heldout/loss": Meaning(N_("Loss on held-out labels")),
    "heldout/accuracy": Meaning(N_("Sides with people"), N_("share of held-out examples"), percent=True),
    "heldout/chosen": Meaning(N_("Implicit reward of preferred answers"), N_("held-out labels")),
    "heldout/rejected": Meaning(N_("Implicit reward of the others"), N_("held-out labels")),
    "heldout/kl_reference": Meaning(N_("KTO's point of reference"), N_("nats, held-out labels")),
    "preference/loss": Meaning(N_("Loss on the labels"), N_("one step's examples")),
    "preference/accuracy": Meaning(N_("Sides with people"), N_("share of one step's examples"), percent=True),
    "preference/chosen": Meaning(N_("Implicit reward of preferred answers"), N_("one step's examples")),
    "preference/rejected": Meaning(N_("Implicit reward of the others"), N_("one step's examples")),
    "preference/kl_reference": Meaning(N_("KTO's point of reference"), N_("nats, one step's examples")),
    "losses/train_loss": Meaning(N_("Loss on the text"), N_("nats per token")),
    "losses/heldout_loss": Meaning(N_("Loss on held-out text"), N_("nats per token")),
    "charts/learning_rate": Meaning(N_("Learning rate")),
    "reward/fold_accuracy": Meaning(N_("Accuracy by fold"), N_("share of held-out comparisons"), percent=True),
    "reward/fold_nll": Meaning(N_("Surprise at a comparison by fold"), N_("nats")),
    "reward/fold_rating_nll": Meaning(N_("Surprise at a rating by fold"), N_("nats")),
}
MAIN = tuple(MEANINGS)[:5]


@dataclass(frozen=True)
class Chart:
    """One metric over the steps of a run; `band` is the 95 % interval of its mean, where it has one."""

    name: str
    meaning: Meaning
    points: list[Point]
    band: list[Band]

    @property
    def caption(self) -> str:
        title, unit = self.meaning.title, self.meaning.unit
        return _("%(title)s, %(unit)s", title=title, unit=unit) if unit else title

    @property
    def alt(self) -> str:
        """The curve in a sentence."""
        (first, start), (last, end) = self.points[0], self.points[-1]
        if first == last:
            return _("%(caption)s: %(value)s at step %(step)s.", caption=self.caption, value=self.value(start), step=first)
        values = [value for _, value in self.points]
        low, high = self.value(min(values)), self.value(max(values))
        return _(
            "%(caption)s: %(start)s at step %(first)s, %(end)s at step %(last)s; "
            "lowest %(low)s, highest %(high)s, over %(steps)s.",
            caption=self.caption,
            start=self.value(start),
            first=first,
            end=self.value(end),
            last=last,
            low=low,
            high=high,
            steps=formats.count(len(values), "step"),
        )

    @property
    def table(self) -> dict[str, Any]:
        """The same numbers for people who cannot see the curve."""
        if not self.band:
            return {"heads": [_("step"), _("value")], "rows": [list(point) for point in self.points]}
        rows = [[step, value, low, high] for (step, value), (_, low, high) in zip(self.points, self.band, strict=True)]
        return {"heads": [_("step"), _("value"), _("95%% from"), _("to")], "rows": rows}

    def value(self, number: float) -> str:
        return formats.percent(number) if self.meaning.percent else formats.number(number)


def charts_of(rows: list[dict[str, Any]], config: Mapping[str, Any]) -> list[Chart]:
    """A chart per metric in these rows: the five that say most first, then by name.

    Where others have become curves, a figure written once is no chart: the result has it.
    """
    names = metric_names(rows)
    ordered = [name for name in MAIN if name in names] + [name for name in names if name not in MAIN]
    found = [chart_of(rows, config, name) for name in ordered]
    longest = max((len(chart.points) for chart in found if chart is not None), default=0)
    return [chart for chart in found if chart is not None and (len(chart.points) > 1 or longest == 1)]


def chart_of(rows: list[dict[str, Any]], config: Mapping[str, Any], name: str) -> Chart | None:
    """The chart of one metric; None where it has no value yet."""
    points = metric_series(rows, name)
    if not points:
        return None
    return Chart(name, meaning_of(name), points, _interval(rows, config, name, points))


def meaning_of(name: str) -> Meaning:
    """A metric in words; one without a line of its own is called what its run calls it."""
    if name.startswith(OUTSIDE):
        return Meaning(_("Outside reward %(name)s", name=name.removeprefix(OUTSIDE)), _("mean over answers, in its own unit"))
    found = MEANINGS.get(name)
    return found.said() if found else Meaning(name.rpartition("/")[2].replace("_", " ").capitalize(), name.partition("/")[0])


def _interval(rows: list[dict[str, Any]], config: Mapping[str, Any], name: str, points: list[Point]) -> list[Band]:
    """The 95 % interval of a mean over answers, from its deviation and their number."""
    spread = dict(metric_series(rows, f"{name}_deviation"))
    answers = config.get("episodes")
    if not isinstance(answers, int) or answers < 2 or any(step not in spread for step, _ in points):
        return []
    half = {step: NORMAL_95 * spread[step] / math.sqrt(answers) for step, _ in points}
    return [(step, value - half[step], value + half[step]) for step, value in points]


# Drawing


def draw(chart: Chart, width: int = WIDTH) -> bytes:
    """The chart as SVG: one line in ink of the accent, its last value written at its end, its interval as a band."""
    import pygal  # only charts pay for it

    steps = [step for step, _ in chart.points]
    values = [value for _, value in chart.points] + [end for _, low, high in chart.band for end in (low, high)]
    ticks = nice_ticks(min(values), max(values), chart.meaning.percent)
    *line, (last, end) = chart.points
    said = chart.value(end)
    drawing = pygal.XY(
        width=width,
        height=HEIGHT,
        margin=8,
        margin_right=max(64, 8 + LETTER * len(said)),
        show_legend=False,
        show_x_guides=False,
        show_dots=False,
        print_labels=True,
        js=(),
        css=("file://graph.css", f"inline:{_STYLE}"),
        style=pygal.style.Style(
            font_family=_FONT, label_font_size=12, major_label_font_size=12, value_label_font_size=13, value_font_size=5
        ),
        no_prefix=True,
        title=None,
        x_labels=_steps(steps[0], steps[-1], width // 80),
        y_labels=[{"value": tick, "label": label} for tick, label in zip(ticks, _tick_labels(ticks, chart), strict=True)],
        xrange=(steps[0], max(steps[-1], steps[0] + 1)),
        range=(ticks[0], ticks[-1]),
        x_value_formatter=lambda step: f"{step:.0f}",
        value_formatter=chart.value,
        truncate_label=-1,
    )
    if chart.band:
        outline = [(step, high) for step, _, high in chart.band] + [(step, low) for step, low, _ in reversed(chart.band)]
        drawing.add("95%", [*outline, outline[0]], fill=True)
    dots = 3 if not line else 1.6 if len(line) < MOST_DOTS else 0
    drawing.add(chart.caption, [*line, {"value": (last, end), "label": said}], show_dots=True, dots_size=dots)
    return _without_scripts(drawing.render_tree(), chart)


def nice_ticks(low: float, high: float, share: bool = False) -> list[float]:
    """Four or so round numbers that enclose both; a share begins at 0."""
    if share:
        low = min(0.0, low)
    if high - low < 1e-12:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    raw = (high - low) / 3
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _tick_labels(ticks: list[float], chart: Chart) -> list[str]:
    """As many decimals as the smallest distance needs, the same on every tick."""
    scale = 100 if chart.meaning.percent else 1
    step = (ticks[1] - ticks[0]) * scale
    if step < 1e-4:
        return [formats.number(tick) for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, 12):
        decimals += 1
    unit = "%" if chart.meaning.percent else ""
    return [f"{tick * scale:,.{decimals}f}{unit}".replace("-", "\N{MINUS SIGN}") for tick in ticks]


def _steps(first: int, last: int, most: int) -> list[int]:
    """At most so many whole steps, the first and the last among them."""
    if first == last:
        return [first]
    every = max(1, math.ceil((last - first) / (most - 1)))
    inner = [step for step in range(first, last, every) if last - step >= every / 2]
    return [*inner, last]


def _without_scripts(tree: ElementTree.Element, chart: Chart) -> bytes:
    """pygal adds a script with its settings, and descriptions for tooltips that nothing would show."""
    for parent in tree.iter():
        for child in list(parent):
            if child.tag in ("script", "desc"):
                parent.remove(child)
            elif child.tag == "title":
                child.text = chart.caption if parent is tree else None
    tree.set("role", "img")
    text: bytes = ElementTree.tostring(tree, encoding="utf-8")
    return text


def _rules(text: str, quiet: str, line: str, accent: str) -> str:
    return (
        f".axis text{{fill:{quiet}}}.axis .line,.axis .guide.line,.axis .major.guide.line{{stroke:{line};stroke-dasharray:none}}"
        f".series .line{{stroke:{accent}}}.series .dot{{fill:{accent};stroke:{accent}}}.text-overlay text{{fill:{text}}}"
        f".series .line:not(.nofill){{fill:{accent};stroke:none}}"
    )


_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"
_STYLE = (
    ".text-overlay text{font-weight:600}.background{fill:none}.reactive{stroke-width:2}"
    ".series .line:not(.nofill){fill-opacity:.16}.dot{fill-opacity:1}"
    + _rules("#1f1d1a", "#5b564d", "#dcd8cf", "#27548a")
    + f"@media (prefers-color-scheme:dark){{{_rules('#ece8e0', '#b5aea2', '#3a3732', '#8db6e6')}}}"
)
