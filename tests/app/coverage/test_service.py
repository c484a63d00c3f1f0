"""The figures of each cluster are those of its prompts, exactly, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.coverage.service import PromptsCovered, coverage_of
from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import upgrade_to_head
from app.labels.disputed import REVIEW
from app.models import Label, Project, Prompt, Round, Task, utc_now
from app.quality.measures.figure import share
from tests.app import factories
from tests.app.coverage.drawn import draw
from tests.app.exports.judging import judge
from tests.postgres import server
from trainer.contract.coverage.clusters import Cluster
from trainer.contract.messages import Message

__all__ = ["server"]


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = request.getfixturevalue("server") if request.param == "postgres" else f"sqlite:///{tmp_path / 'covered.db'}"
    upgrade_to_head(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def project_id(engine: Engine) -> int:
    with write_session(engine) as session:
        project_id: int = factories.make_project(session).id
    return project_id


@pytest.fixture
def people(engine: Engine, project_id: int) -> list[int]:
    with write_session(engine) as session:
        return [factories.make_user(session, f"{name}{project_id}").id for name in ("Ada", "Mary", "Alan")]


def covered(engine: Engine, project_id: int, runs: Path) -> PromptsCovered:
    with read_session(engine) as session:
        return coverage_of(session, session.get_one(Project, project_id), runs)


def task_about(session: Session, project: Project, prompt: Prompt, *policies: int, **values: object) -> Task:
    """A comparison of answers of these policies, or of two of the policy in force."""
    first, second = policies or (project.policy_id or 0,) * 2
    answers = [factories.make_generation(session, prompt, policy).id for policy in (first, second)]
    about = {"first_generation_id": answers[0], "second_generation_id": answers[1]}
    task = Task(project_id=project.id, prompt_id=prompt.id, kind="comparison", **about, **values)
    session.add(task)
    session.flush()
    return task


def test_without_a_map_there_is_only_how_many_prompts_there_are(engine: Engine, project_id: int, tmp_path: Path) -> None:
    with write_session(engine) as session:
        for _ in range(3):
            factories.make_prompt(session, project_id)
    assert covered(engine, project_id, tmp_path) == PromptsCovered(None, None, 3, 0, None, ())


def test_prompts_are_counted_while_they_are_in_use_by_language_the_nearest_first(
    engine: Engine, project_id: int, tmp_path: Path
) -> None:
    with write_session(engine) as session:
        languages = ("en", "zh-Hant", "en", None, "en")
        one = [factories.make_prompt(session, project_id, language=language).id for language in languages]
        gone = factories.make_prompt(session, project_id, archived_at=utc_now()).id
        other = factories.make_prompt(session, project_id).id
        factories.make_prompt(session, project_id)  # came later
        factories.make_prompt(session, factories.make_project(session).id)
        nearest = [one[2], gone, one[0], one[4], one[1], one[3]]
        run = draw(session, project_id, tmp_path, Cluster(tuple(nearest), ("sky", "blue")), Cluster((other,)))

    found = covered(engine, project_id, tmp_path)

    first, second = found.clusters
    assert (found.run_id, found.prompts, found.on_map, found.not_yet) == (run, 7, 6, 1)
    assert (first.number, first.words, first.prompts, first.share) == (1, ("sky", "blue"), 5, 5 / 6)
    assert list(first.languages.items()) == [("en", 3), ("", 1), ("zh-Hant", 1)]
    assert first.example_ids == [one[2], one[0], one[4]]
    assert (second.number, second.prompts, second.share, second.example_ids) == (2, 1, 1 / 6, [other])


def test_labels_and_where_people_differ_are_those_of_the_clusters_prompts(
    engine: Engine, project_id: int, people: list[int], tmp_path: Path
) -> None:
    ada, mary, alan = people
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        one, two, other = (factories.make_prompt(session, project_id) for _ in range(3))
        agreed, split, settled, alone = (task_about(session, project, prompt) for prompt in (one, one, two, two))
        for person in people:
            judge(session, project, person, agreed, choice="left")
        before = judge(session, project, ada, split, choice="right")
        judge(session, project, ada, split, choice="left", supersedes=before)
        judge(session, project, mary, split, choice="tie")
        judge(session, project, mary, settled, choice="left")
        judge(session, project, alan, settled, choice="right", served_reason=REVIEW)  # one person, and whoever settled it
        withdrawn = judge(session, project, ada, alone, choice="left")
        withdrawn.current = False
        judge(session, project, ada, task_about(session, project, other), choice="left")
        judge(session, project, mary, task_about(session, project, other), choice="left").trains = False
        draw(session, project_id, tmp_path, Cluster((one.id, two.id)), Cluster((other.id,)))

    first, second = covered(engine, project_id, tmp_path).clusters

    assert (first.labels, first.differ) == (7, share(1, 2))
    assert (second.labels, second.differ) == (1, share(0, 0))
    assert first.few_labels
    assert second.few_labels


def test_from_thirty_labels_on_there_are_not_few(engine: Engine, project_id: int, people: list[int], tmp_path: Path) -> None:
    with write_session(engine) as session:
        project, prompt = session.get_one(Project, project_id), factories.make_prompt(session, project_id)
        for _ in range(10):
            task = task_about(session, project, prompt)
            for person in people:
                judge(session, project, person, task, choice="left")
        last = judge(session, project, people[0], task_about(session, project, prompt), choice="left")
        draw(session, project_id, tmp_path, Cluster((prompt.id,)))
        last.current = False
    assert not covered(engine, project_id, tmp_path).clusters[0].few_labels
    with write_session(engine) as session:
        label = session.scalars(select(Label).where(Label.project_id == project_id, Label.current)).first()
        assert label is not None
        label.current = False
    assert covered(engine, project_id, tmp_path).clusters[0].few_labels


def test_wins_are_of_the_policy_in_force_against_the_base_blind_and_held_out(
    engine: Engine, project_id: int, people: list[int], tmp_path: Path
) -> None:
    ada, mary, _alan = people
    blind = {"trains": False, "served_reason": "evaluation"}
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        base = project.policy_id or 0
        tuned = factories.make_checkpoint(session, project_id, parent_id=base, name=Message("policy_of_round", number=1)).id
        third = factories.make_checkpoint(session, project_id, parent_id=tuned).id
        project.policy_id = tuned
        prompts = [factories.make_prompt(session, project_id, split="holdout") for _ in range(2)]
        here, there = prompts
        asked = {"purpose": "evaluation", "served_reason": "evaluation"}
        judge(session, project, ada, task_about(session, project, here, tuned, base, **asked), choice="left", **blind)
        judge(
            session, project, ada, task_about(session, project, here, tuned, base, **asked), choice="left", swapped=True, **blind
        )
        judge(session, project, mary, task_about(session, project, here, base, tuned, **asked), choice="right", **blind)
        judge(session, project, mary, task_about(session, project, here, base, tuned, **asked), choice="both_bad", **blind)
        judge(session, project, ada, task_about(session, project, there, tuned, base, **asked), choice="left", **blind)
        # None of these counts: another contender, answers of the same, picked by hand, on a prompt that trained, too late.
        judge(session, project, ada, task_about(session, project, here, third, base, **asked), choice="left", **blind)
        judge(session, project, ada, task_about(session, project, here, tuned, tuned, **asked), choice="left", **blind)
        judge(session, project, ada, task_about(session, project, here, tuned, base), choice="left", trains=False)
        judge(session, project, ada, task_about(session, project, here, tuned, base), choice="left", served_reason="evaluation")
        judge(
            session, project, mary, task_about(session, project, here, tuned, base, **asked), choice="left", surplus=True, **blind
        )
        draw(session, project_id, tmp_path, Cluster((here.id,)), Cluster((there.id,)))

    found = covered(engine, project_id, tmp_path)

    assert found.compared == Message("policy_of_round", number=1)
    assert [one.wins for one in found.clusters] == [share(0.625, 1), share(1, 1)]


def test_while_the_base_is_in_force_the_newest_candidate_is_held_against_it(
    engine: Engine, project_id: int, people: list[int], tmp_path: Path
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        base = project.policy_id or 0
        prompt_id = factories.make_prompt(session, project_id, split="holdout").id
        draw(session, project_id, tmp_path, Cluster((prompt_id,)))
    assert covered(engine, project_id, tmp_path).compared is None
    with write_session(engine) as session:
        project = session.get_one(Project, project_id)
        prompt = session.get_one(Prompt, prompt_id)
        for number in (1, 2):
            made = factories.make_checkpoint(session, project_id, parent_id=base, name=Message("policy_of_round", number=number))
            told = {"number": number, "trigger": "admin", "label_count": 0, "state": "done"}
            session.add(Round(project_id=project_id, start_policy_id=base, candidate_id=made.id, **told))
            asked = {"purpose": "evaluation", "served_reason": "evaluation"}
            task = task_about(session, project, prompt, made.id, base, **asked)
            choice = "left" if number == 2 else "right"
            judge(session, project, people[0], task, choice=choice, trains=False, served_reason="evaluation")

    found = covered(engine, project_id, tmp_path)

    assert found.compared == Message("policy_of_round", number=2)
    assert found.clusters[0].wins == share(1, 1)
