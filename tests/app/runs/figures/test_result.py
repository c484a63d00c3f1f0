"""Every figure that a run writes has words, and stands where it matters."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Run
from app.runs.figures.result import EVERY_RUN, FIGURES, figures_of
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.told import tell
from trainer.contract.config import CONFIGS
from trainer.contract.messages import Message, as_json
from trainer.lm.left_out import LeftOut

TRAINER = Path(__file__).parents[4] / "trainer"
# Where a kind of run writes what ends in its result: functions and the names of what they gather.
WRITERS = {
    "sample": [("sample/run.py", {"run", "_best_of_figures"})],
    "ask": [("ask/run.py", {"run", "figures"})],
    "ppo": [("ppo/report.py", {"result"}), ("sft/ptx.py", {"figures"})],
    "preference": [("preference/run.py", {"run", "figures_of"}), ("sft/ptx.py", {"figures"})],
    "sft": [("sft/run.py", {"run"})],
    "reward": [
        ("reward/people/standards.py", {"choose_standards", "standards_figures"}),
        ("reward/run.py", {"run", "people_figures", "answer_figures", "try_adapter"}),
        ("reward/held_out.py", {"held_out_figures"}),
        ("reward/validation.py", {"comparison_figures", "decided_figures", "rating_figures", "agreement_figures"}),
        ("reward/save.py", {"_moments"}),
    ],
}
NO_NUMBERS = {  # words, lists and what has figures of its own; told elsewhere, or by a message
    *("status", "reason", "refused_prompt_ids", "refused_because", "unanswered_prompt_ids", "unanswered_because"),
    *("form", "groups", "criteria", "flags_learned", "mix", "panel", "gate_passed", "gate_reason", "tested", "reliability"),
    *("taste", "taste_followed"),
    *("figures_on", "annotators", "reliability_diagram"),
}


def written(kind: str) -> set[str]:
    """The names of the figures a kind of run writes, read in its source."""
    names: set[str] = set()
    for path, functions in WRITERS[kind]:
        tree = ast.parse((TRAINER / path).read_text("utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name in functions:
                names |= set(_figures_in(function))
    return names - NO_NUMBERS


def _figures_in(function: ast.FunctionDef) -> Iterator[str]:
    gathered = ("figures", "compared")
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "finish":
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
        elif isinstance(node, ast.Return) and node.value is not None:
            yield from _keys(node.value)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id in gathered:
                    yield from _keys(node.value)
                elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id in gathered:
                    yield from _words(target.slice)


def _keys(value: ast.expr) -> Iterator[str]:
    """The keys of dictionaries that stand in an expression, but for those inside of other values."""
    if isinstance(value, ast.Dict):
        for key in value.keys:
            yield from _words(key) if key is not None else ()
    elif isinstance(value, ast.BinOp):
        yield from _keys(value.left)
        yield from _keys(value.right)


def _words(key: ast.expr) -> Iterator[str]:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        yield key.value
    elif isinstance(key, ast.JoinedStr):  # "nll_{said}_reliability"
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in key.values]
        yield from ("".join(map(str, parts)).format(said) for said in ("with", "without"))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_figure_that_a_run_writes_has_a_label(kind: str) -> None:
    ends = {f"{name}_{end}" for name, figure in FIGURES[kind].items() if figure.interval for end in ("low", "high")}
    everywhere = {f"{why}_prompts" for why in LeftOut()._names}
    assert written(kind) - ends == set(FIGURES[kind])
    assert everywhere == set(EVERY_RUN) - {"furthest_step"}


def test_what_matters_stands_first_and_what_nobody_named_last() -> None:
    plain, experts = figures_of("ppo", {"entropy": 2.5, "new_thing": 7, "score": 0.8, "score_before": -0.1, "status": "done"})
    assert [line.name for line in plain] == ["score_before", "score"]
    assert [(line.name, bool(line.label)) for line in experts] == [("entropy", True), ("new_thing", False)]


def test_a_share_stands_with_its_interval() -> None:
    plain, experts = figures_of("reward", {"accuracy": 0.714, "accuracy_low": 0.64, "accuracy_high": 0.78, "gate_passed": True})
    assert [(line.name, line.value) for line in plain] == [("accuracy", "71% (95% interval 64% to 78%)")]
    assert experts == []
    assert plain[0].help.endswith("reaches 50%.")


def test_what_a_run_says_beside_its_end_stands_on_its_page_and_its_rounds(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast, settings: Settings
) -> None:
    cut = Message("more_cut", now=0.4, was=0.1, setting="ppo.max_new_tokens", choice="ppo.penalise_truncation")
    said = {"more_cut": as_json(cut), "not_watched": as_json(Message("not_watched", least=4, held_out=2))}
    with write_session(engine) as session:
        story = tell(session, session.get_one(Project, cast.demo), settings.runs)
        run = session.get_one(Run, story.ppo)
        run.result = run.result | said
        places = (f"/runs/{run.id}", f"/rounds/{story.round}")
    for place in places:
        page = as_user("Grace").get(place).text
        assert "a share of 0.400, 0.100 at first. “Longest answer while it trains” gives them room, “Mark down answers" in page
        assert "Held-out prompts were not watched: it takes 4 at least" in page


def test_a_run_page_says_its_figures_in_words(as_user: Callable[[str], TestClient], engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run = factories.make_run(session, cast.demo, "ppo", result={"score": 0.8, "kl_nats_per_answer": 7.4, "new_thing": 3}).id
    page = as_user("Grace").get(f"/runs/{run}").text
    result = page[page.index('id="result"') :]
    assert "Score of the reward model, after" in result
    assert "kl_nats_per_answer" not in result
    assert result.index("Distance from the reference (KL)") < result.index("For experts") < result.index("new_thing")


def test_each_reward_outside_of_the_model_has_its_means_among_what_is_read() -> None:
    plain, experts = figures_of("ppo", {"outside/tone/before": 1.5, "outside/tone": 2.25, "updates": 3})
    assert [(line.label, line.value) for line in plain][1:] == [
        ("Outside reward tone, before", "1.50"),
        ("Outside reward tone, after", "2.25"),
    ]
    assert experts == []
