from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from app.runs.figures import charts

ROWS: list[dict[str, Any]] = [
    {
        "step": step,
        "time": "",
        "rollout/score": float(step),
        "rollout/score_deviation": 2.0,
        "losses/clipfrac": 0.1 * step,
        "odd/name": 1,
    }
    for step in range(4)
]


def chart(name: str, rows: list[dict[str, Any]] = ROWS, **config: Any) -> charts.Chart:
    found = charts.chart_of(rows, config, name)
    assert found is not None
    return found


def words_in(svg: bytes) -> str:
    return " ".join(text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip())


def test_the_four_figures_that_say_most_come_first() -> None:
    rows = [{"step": 0, "time": "", "a/first": 1.0, "rollout/length": 40.0, "rollout/score": 0.5}]
    assert [chart.name for chart in charts.charts_of(rows, {})] == ["rollout/score", "rollout/length", "a/first"]


def test_a_metric_nobody_described_is_called_what_its_run_calls_it() -> None:
    assert chart("odd/name").caption == "Name, odd"


def test_the_band_is_the_95_percent_interval_of_the_mean_over_answers() -> None:
    band = chart("rollout/score", episodes=16).band
    assert band[2] == pytest.approx((2, 2 - 1.96 * 2 / 4, 2 + 1.96 * 2 / 4), abs=1e-4)


def test_there_is_no_band_without_the_number_of_answers() -> None:
    assert chart("rollout/score").band == []


def test_the_description_says_where_the_curve_begins_ends_and_turns() -> None:
    rows = [{"step": step, "time": "", "losses/clipfrac": value} for step, value in enumerate([0.1, 0.4, 0.2])]
    assert chart("losses/clipfrac", rows).alt == (
        "Clipped ratios, share of tokens: 10% at step 0, 20% at step 2; lowest 10%, highest 40%, over 3 steps."
    )


def test_an_svg_holds_no_script_and_asks_for_nothing() -> None:
    svg = charts.draw(chart("rollout/score", episodes=32))
    tree = ElementTree.fromstring(svg)
    assert not [
        node.tag for node in tree.iter() if node.tag.rpartition("}")[2] in ("script", "image", "use", "a", "foreignObject")
    ]
    assert not [name for node in tree.iter() for name in node.attrib if name.startswith("on") or name.endswith("href")]
    assert b"url(" not in svg
    assert b"prefers-color-scheme:dark" in svg


def test_the_last_value_is_written_at_its_point() -> None:
    assert "30%" in words_in(charts.draw(chart("losses/clipfrac")))


@pytest.mark.parametrize("width", [charts.WIDTH, charts.NARROW])
@pytest.mark.parametrize("value", [0.5, -4.0e-4])
def test_the_last_value_has_room_however_it_is_written(value: float, width: int) -> None:
    """Seven pixels a letter in bold of that size; a power of ten has ten letters."""
    found = chart("rollout/score", [{"step": step, "time": "", "rollout/score": value * step} for step in (1, 2)])
    said = found.value(2 * value)
    svg = charts.draw(found, width).decode()
    plot, place = re.search(r"translate\(([\d.]+), ", svg), re.search(rf'x="([\d.]+)"[^>]*class="label">{said}<', svg)
    assert plot is not None
    assert place is not None
    assert float(plot[1]) + float(place[1]) + 7 * len(said) < width


def test_a_single_point_can_be_drawn() -> None:
    assert "0.500" in words_in(charts.draw(chart("rollout/score", [{"step": 7, "time": "", "rollout/score": 0.5}])))


def test_a_hostile_name_stays_text() -> None:
    rows = [{"step": 0, "time": "", "<script>alert(1)</script>": 1.0}]
    svg = charts.draw(chart("<script>alert(1)</script>", rows))
    assert b"<script" not in svg


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.0, 8.0, [0.0, 5.0, 10.0]), (-0.49, 1.03, [-1.0, 0.0, 1.0, 2.0]), (3.0, 3.0, [2.6, 2.8, 3.0, 3.2, 3.4])],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: list[float]) -> None:
    found = charts.nice_ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert found == ticks


def test_a_share_is_drawn_from_zero() -> None:
    assert charts.nice_ticks(0.3, 0.4, share=True)[0] == 0


def test_a_figure_written_once_is_no_chart_beside_curves() -> None:
    rows = [{"step": 1, "time": "", "fold": 0.6}, {"step": 2, "time": "", "fold": 0.7}, {"step": 3, "time": "", "all": 0.65}]
    assert [chart.name for chart in charts.charts_of(rows, {})] == ["fold"]
    assert [chart.name for chart in charts.charts_of(rows[2:], {})] == ["all"]


def test_a_reward_outside_of_the_model_keeps_its_name_and_unit() -> None:
    meaning = charts.meaning_of("outside/tone_of_voice")
    assert (meaning.title, meaning.unit) == ("Outside reward tone_of_voice", "mean over answers, in its own unit")
