"""Blind judging over every kind of contender: a policy, best of n, a model outside and imported answers meet one another, and
nothing but the texts tells an annotator's session which is which.

As in test_blindness.py, whatever could name one of them has a value that is found wherever it turns up. Their answers also end
otherwise, were counted otherwise and came at other times: that must not show either.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.evaluation import asking, service
from app.evaluation.service import Candidate
from app.models import Contender, Generation, Label, OutsideModel, Project, Prompt, Task
from app.queue import api as queue_api
from app.queue import claim, given
from app.queue.claim import second_stands_left
from tests.app import factories
from tests.app.asked import noting
from tests.app.conftest import Cast
from tests.app.labels.test_blindness import WRITTEN, everything_an_annotator_does, leaks

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]
KINDS = ("policy", "best_of", "outside", "imported")
PAIRS = list(itertools.combinations(KINDS, 2))
PROMPTS = 36  # each pair of kinds meets six times
RANKINGS = 28
SECRET = {
    "names and sources": ("zebrafinch", "quokka", "wombat", "axolotl", "okapi.example.org", "narwhal", "NUMBAT_API_KEY"),
    "ids of contenders": tuple(str(7_750_000 + number) for number in range(4)),
    "ids of checkpoints, runs and models": ("7340017", "7340029", "9210011", "9210023", "9210035", "9310047"),
    "ids of generations": tuple(str(8_100_000 + number) for number in range(100)),
    "seeds, settings, scores, tokens": ("6661331", "0.73291", "0.61728", "0.50314", "555120077", "666230077"),
    "times of writing": ("2021-03-14", "2022-03-14", "2023-03-14", "2024-03-13", "Mar 14, 202", "Mar 13, 2024"),
}
IDS = ("7340017", "9210023", "9310047", "7750002", "8100000")


@pytest.fixture
def every_kind(engine: Engine, cast: Cast) -> None:
    """Answers of all four kinds, each beside each other, asked about as an admin and as an evaluation ask."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        made = make_contenders(session, project)
        draw, ids = random.Random(3), iter(range(8_100_000, 8_200_000))
        pairs = []
        for number in range(PROMPTS):
            prompt = factories.make_prompt(session, project.id, f"Question {number}?")
            both = draw.sample(PAIRS[number % len(PAIRS)], 2)
            first, second = (write(session, prompt, made[kind], kind, next(ids), number) for kind in both)
            pairs.append((first, second))
        given.ask_about(session, project, pairs, cast.grace)


@pytest.fixture
def ranked_kinds(engine: Engine, cast: Cast) -> None:
    """Answers of all four kinds put in order, to half of the prompts without an imported one."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        made, ids = make_contenders(session, project), iter(range(8_100_000, 8_200_000))
        asked = []
        for number in range(RANKINGS):
            prompt = factories.make_prompt(session, project.id, f"Question {number}?")
            kinds = KINDS if number % 4 < 2 else KINDS[:3]  # of either, every other answer was cut
            asked.append(tuple(write(session, prompt, made[kind], kind, next(ids), number) for kind in kinds))
        given.ask_about(session, project, asked, cast.grace)


def make_contenders(session: Session, project: Project) -> dict[str, Contender]:
    policy = factories.make_checkpoint(
        session, project.id, id=7_340_017, name=factories.written("Policy zebrafinch"), source="models/quokka"
    )
    reward = factories.make_checkpoint(session, project.id, kind="reward", id=7_340_029, name=factories.written("Reward wombat"))
    for number, kind in enumerate(("sample", "sample", "ask")):
        factories.make_run(session, project.id, kind, id=9_210_011 + 12 * number, inputs={"checkpoint": policy.id})
    model = OutsideModel(
        id=9_310_047,
        name="axolotl",
        address="https://okapi.example.org/v1",
        model="narwhal",
        key_variable="NUMBAT_API_KEY",
        own_network=False,
    )
    session.add(model)
    session.flush()
    named: dict[str, dict[str, Any]] = {
        "policy": {"checkpoint_id": policy.id},
        "best_of": {"checkpoint_id": policy.id, "best_of": 4, "reward_id": reward.id},
        "outside": {"name": "axolotl", "outside_id": model.id},
        "imported": {"name": "narwhal"},
    }
    found = {}
    for number, (kind, values) in enumerate(named.items()):
        found[kind] = Contender(id=7_750_000 + number, project_id=project.id, kind=kind, **values)
        session.add(found[kind])
    session.flush()
    return found


def write(session: Session, prompt: Prompt, contender: Contender, kind: str, generation_id: int, number: int) -> int:
    """An answer as its kind stores it. Every other one was cut, where that is known."""
    ours: dict[str, Any] = {"checkpoint_id": 7_340_017, "token_ids": [1, 2], "seed": 6_661_331}
    kept: dict[str, dict[str, Any]] = {
        "policy": ours | {"run_id": 9_210_011, "settings": {"temperature": 0.73291}},
        "best_of": ours
        | {"run_id": 9_210_023, "settings": {"best_of": 4, "reward": 7_340_029, "score": 0.61728, "mean_score": 0.50314}},
        "outside": {
            "run_id": 9_210_035,
            "settings": {"temperature": 0.73291, "prompt_tokens": 555_120_077, "answer_tokens": 666_230_077},
        },
        "imported": {"settings": {}},
    }
    cut = kind != "imported" and number % 2 == 0
    session.add(
        Generation(
            id=generation_id,
            prompt_id=prompt.id,
            contender_id=contender.id,
            number=number,
            text=f"Reply {number} {'mnop'[KINDS.index(kind)]}.",
            finish_reason="length" if cut else "eos",
            created_at=WRITTEN + timedelta(days=365 * KINDS.index(kind)),
            **kept[kind],
        )
    )
    session.flush()
    return generation_id


def test_nothing_in_an_annotators_session_tells_the_kinds_apart(
    app: FastAPI, every_kind: None, as_user: AsUser, api: Api, engine: Engine
) -> None:
    replies = list(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary"), IDS))
    assert leaks(iter(replies), SECRET) == []
    assert sum(reply.status_code == 200 for reply in replies) > 25


def test_which_kind_stands_left_and_which_task_comes_first_is_a_coin(engine: Engine, every_kind: None, cast: Cast) -> None:
    with read_session(engine) as session:
        kind_of = dict(session.execute(select(Generation.id, Contender.kind).join(Contender)).all())
        tasks = session.scalars(select(Task).order_by(Task.id)).all()
        left = [
            kind_of[one.second_generation_id or 0 if second_stands_left(one.id, cast.mary) else one.first_generation_id]
            for one in tasks
        ]
    for kind in KINDS:
        met = [one == kind for one, task in zip(left, tasks, strict=True) if kind in kinds(task, kind_of)]
        assert 0.2 < sum(met) / len(met) < 0.8, f"{kind} stands on one side"
    assert [task.id for task in sorted(tasks, key=lambda task: task.prompt_id)] != [task.id for task in tasks]


def kinds(task: Task, kind_of: dict[int, str]) -> set[str]:
    return {kind_of[task.first_generation_id], kind_of[task.second_generation_id or 0]}


def test_a_mark_of_the_length_limit_tells_no_answer_from_one_that_was_brought_in(
    every_kind: None, as_user: AsUser, api: Api, engine: Engine, cast: Cast
) -> None:
    """Nobody knows whether an imported answer was cut: beside one, no answer bears the mark, while judging and afterwards."""
    browser, program = as_user("Mary"), api("annotate", who="Mary")
    marks: dict[bool, set[bool]] = {True: set(), False: set()}
    for _ in range(PROMPTS):
        task = program.post("/api/v1/projects/demo/tasks/next").json()
        texts = [task[side]["text"] for side in ("left", "right")]
        beside_imported = any(text.endswith("p.") for text in texts)
        marks[beside_imported] |= {task["left"]["cut"], task["right"]["cut"]}
        assert ("cut-off" in browser.get("/projects/demo/annotate").text) == (task["left"]["cut"] or task["right"]["cut"])
        said = program.post(f"/api/v1/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), "choice": "tie"}).json()
        told = program.get(f"/api/v1/labels/{said['id']}").json()
        assert (told["left"]["cut"], told["right"]["cut"]) == (task["left"]["cut"], task["right"]["cut"])
    assert marks == {True: {False}, False: {True, False}}


def test_a_task_costs_the_same_work_whichever_kinds_meet(engine: Engine, every_kind: None, api: Api) -> None:
    """A reply's time is what the server does for it: the same statements, the same headers, replies of the same shape."""
    program = api("annotate", who="Mary")
    program.post("/api/v1/projects/demo/tasks/next")  # the first one also notes the key's use
    work: dict[frozenset[str], set[tuple[int, tuple[str, ...], str]]] = {}
    for _ in range(PROMPTS):
        made: list[str] = []
        with noting(engine, made.append):
            reply = program.post("/api/v1/projects/demo/tasks/next")
        task = reply.json()
        met = frozenset(KINDS["mnop".index(task[side]["text"][-2])] for side in ("left", "right"))
        work.setdefault(met, set()).add((len(made), tuple(sorted(reply.headers)), shape(task)))
        program.post(f"/api/v1/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), "choice": "tie"})
    assert len(work) == len(PAIRS), "every pair of kinds was met"
    assert len(set().union(*work.values())) == 1, work


def shape(value: Any) -> str:
    """Names and types of a reply, without what it says."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{shape(one)}" for name, one in value.items()) + "}"
    return "[" + ",".join(sorted({shape(one) for one in value})) + "]" if isinstance(value, list) else type(value).__name__


def test_an_evaluation_of_every_kind_hides_them_as_well(
    app: FastAPI, engine: Engine, cast: Cast, as_user: AsUser, api: Api
) -> None:
    """The policy in force as the baseline, and the three others at once beside it."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.evaluation_share = 0.5
        made, ids = make_contenders(session, project), iter(range(8_100_000, 8_100_100))
        for number in range(8):
            prompt = factories.make_prompt(session, project.id, f"Question {number}?", split="holdout")
            for kind in ("policy", "policy", *KINDS):
                generation = next(ids)
                write(session, prompt, made[kind], kind, generation, generation - 8_100_000)
        pairs = []
        for number in range(20):
            prompt = factories.make_prompt(session, project.id)
            first, second = (write(session, prompt, made["policy"], "policy", next(ids), 50 + 2 * number + one) for one in (0, 1))
            pairs.append((first, second))
        given.ask_about(session, project, pairs, cast.grace)
        evaluation = service.begin(session, project, made["policy"], [Candidate(made[kind]) for kind in KINDS[1:]])
        assert evaluation is not None
        assert service.open_to_people(session, evaluation)
        assert asking.go_on(session, project, evaluation) > 10
    replies = list(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary"), IDS))
    assert leaks(iter(replies), SECRET) == []
    with read_session(engine) as session:
        asked = session.scalars(select(Task).where(Task.purpose == "evaluation")).all()
        kind_of = dict(session.execute(select(Generation.id, Contender.kind).join(Contender)).all())
        assert {kind for task in asked for kind in kinds(task, kind_of)} == set(KINDS)
        baseline_first = [kind_of[task.first_generation_id] == "policy" for task in asked]
        assert 0 < sum(baseline_first) < len(baseline_first), "the baseline is now first, now second"


def test_nothing_in_a_session_of_rankings_tells_who_wrote_what(
    app: FastAPI, ranked_kinds: None, as_user: AsUser, api: Api, engine: Engine
) -> None:
    replies = list(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary"), IDS))
    assert leaks(iter(replies), SECRET) == []
    with read_session(engine) as session:
        assert session.scalars(select(Label.kind)).all() == ["ranking"] * 5


def test_the_place_in_a_ranking_and_its_mark_tell_no_kind(engine: Engine, ranked_kinds: None, cast: Cast) -> None:
    """Neither goes with who wrote an answer; nobody knows whether an imported one was cut, so beside it none bears the mark."""
    shown = as_shown(engine, cast)
    for kinds in (KINDS, KINDS[:3]):
        of_these = [answers for answers in shown if len(answers) == len(kinds)]
        assert unevenly_placed(of_these, kinds) == []
    marks: dict[int, set[bool]] = {4: set(), 3: set()}
    for answers in shown:
        marks[len(answers)] |= {cut for _, cut in answers}
    assert marks == {4: {False}, 3: {True, False}}


def as_shown(engine: Engine, cast: Cast) -> list[list[tuple[str, bool]]]:
    """Of each ranking as each of ten people would see it: the kinds of its answers in order, and whether they are marked."""
    with read_session(engine) as session:
        tasks = session.scalars(select(Task.id).where(Task.kind == "ranking")).all()
        seen = [claim.shown_to(session.connection(), task, person).answers for task in tasks for person in range(1, 11)]
    return [[(KINDS["mnop".index(text[-2])], cut) for text, cut in answers] for answers in seen]


def unevenly_placed(shown: list[list[tuple[str, bool]]], kinds: Sequence[str]) -> list[str]:
    """The kinds that stand at some place too often or too seldom to be drawn: by more than five standard errors."""
    places = [(place, kind) for place in range(len(kinds)) for kind in kinds]
    share = 1 / len(kinds)
    bound = 5 * (share * (1 - share) / len(shown)) ** 0.5
    met = {(place, kind): sum(answers[place][0] == kind for answers in shown) / len(shown) for place, kind in places}
    return [f"{kind} stands at {place}: {found:.2f}" for (place, kind), found in met.items() if abs(found - share) > bound]


# Planted leaks, so that we know that the search would find one


def plant_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    told = queue_api._answer
    monkeypatch.setattr(queue_api, "_answer", lambda text, cut: told(text, cut) | {"by": "narwhal"})


def plant_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    told = queue_api._answer
    monkeypatch.setattr(queue_api, "_answer", lambda text, cut: told(text, cut) | {"tokens": 666_230_077})


def plant_a_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    told = queue_api._task
    monkeypatch.setattr(queue_api, "_task", lambda task: told(task) | {"contenders": [7_750_002]})


@pytest.mark.parametrize(
    ("plant", "what"),
    [
        (plant_a_mark, "names and sources"),
        (plant_a_count, "seeds, settings, scores, tokens"),
        (plant_a_contender, "ids of contenders"),
    ],
)
def test_a_planted_leak_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    what: str,
    app: FastAPI,
    every_kind: None,
    as_user: AsUser,
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    found = leaks(some(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary"), IDS), 12), SECRET)
    assert found
    assert all(what in one for one in found)


@pytest.mark.parametrize(("plant", "what"), [(plant_a_mark, "names and sources"), (plant_a_contender, "ids of contenders")])
def test_a_leak_planted_in_rankings_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    what: str,
    app: FastAPI,
    ranked_kinds: None,
    as_user: AsUser,
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    found = leaks(some(everything_an_annotator_does(app, as_user("Mary"), api("annotate", who="Mary"), IDS), 6), SECRET)
    assert found
    assert all(what in one for one in found)


def test_an_order_by_who_wrote_an_answer_is_found(
    engine: Engine, ranked_kinds: None, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = claim.ranked_answers
    monkeypatch.setattr(claim, "ranked_answers", lambda *asked: sorted(drawn(*asked), key=lambda row: row.text))
    assert unevenly_placed([answers for answers in as_shown(engine, cast) if len(answers) == 4], KINDS)


def some(replies: Iterator[Any], most: int) -> Iterator[Any]:
    return itertools.islice(replies, most)
