"""Making tasks of answers: the mix, the pairs, blindness, and when the queue runs low."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database import slices
from app.database.engine import read_session, write_session
from app.models import Generation, Membership, Project, Prompt, RankedAnswer, Seat, Skip, Task, drawn, utc_now
from app.prompts.search import put_many_away
from app.queue import asking, make_tasks
from app.queue.conditions import GIVEN_BACK
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.asked import ask


def answer(session: Session, project: Project, checkpoint_id: int, *, prompts: int, each: int = 2) -> None:
    """Answers of one run to so many new prompts."""
    run = factories.make_run(session, project.id)
    for _ in range(prompts):
        prompt = factories.make_prompt(session, project.id)
        for number in range(each):
            factories.make_generation(session, prompt, checkpoint_id, run_id=run.id, number=number)


def answer_again(session: Session, project: Project, checkpoint_id: int, each: int = 2) -> None:
    """Answers of another policy to every prompt there is."""
    run = factories.make_run(session, project.id)
    for prompt in session.scalars(select(Prompt).where(Prompt.project_id == project.id)).all():
        for number in range(each):
            factories.make_generation(session, prompt, checkpoint_id, run_id=run.id, number=number)


def authors(session: Session) -> list[tuple[int, ...]]:
    """The checkpoints behind each comparison, first and second, in the order of the tasks."""
    by = {written: checkpoint or 0 for written, checkpoint in session.execute(select(Generation.id, Generation.checkpoint_id))}
    tasks = session.scalars(select(Task).where(Task.kind == "comparison").order_by(Task.id)).all()
    return [(by[task.first_generation_id], by[task.second_generation_id or 0]) for task in tasks]


def used(session: Session) -> list[int]:
    tasks = session.scalars(select(Task)).all()
    return [i for task in tasks for i in (task.first_generation_id, task.second_generation_id) if i is not None]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_ratings_have_their_share_and_no_answer_is_asked_twice(engine: Engine, cast: Cast, share: float) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = share
        assert project.policy_id is not None
        for _ in range(4):  # as a run saves its answers, a few at a time
            answer(session, project, project.policy_id, prompts=10)
            ask(session, project)

        kinds = Counter(session.scalars(select(Task.kind)))
        total = kinds.total()
        assert abs(kinds["rating"] - share * total) < 1
        answers = used(session)
        assert len(answers) == len(set(answers))
        assert len(answers) >= 78  # of 80: one may wait for a partner
        assert ask(session, project) == 0


def ranked(session: Session) -> dict[int, list[int]]:
    """The answers of each ranking, in their order."""
    found: dict[int, list[int]] = {}
    rows = select(RankedAnswer.task_id, RankedAnswer.generation_id).order_by(RankedAnswer.task_id, RankedAnswer.number)
    for task_id, generation_id in session.execute(rows):
        found.setdefault(task_id, []).append(generation_id)
    return found


@pytest.mark.parametrize(("ratings", "rankings"), [(0.0, 1.0), (0.25, 0.25), (0.5, 0.5), (0.0, 0.1)])
def test_rankings_have_their_share_beside_that_of_ratings(engine: Engine, cast: Cast, ratings: float, rankings: float) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share, project.ranking_share = ratings, rankings
        assert project.policy_id is not None
        for _ in range(3):  # each prompt is put in order whole, or else compared and rated
            answer(session, project, project.policy_id, prompts=15, each=4)
            ask(session, project)

        kinds = Counter(session.scalars(select(Task.kind)))
        assert abs(kinds["rating"] - ratings * kinds.total()) < 1
        assert abs(kinds["ranking"] - rankings * kinds.total()) <= 3, "a few turns at the end of a plan find no whole prompt"
        orders = ranked(session)
        assert len(orders) == kinds["ranking"]
        for task in session.scalars(select(Task).where(Task.kind == "ranking")):
            assert len(set(orders[task.id])) == 4
            assert (task.first_generation_id, task.second_generation_id) == (orders[task.id][0], None)
            assert (task.purpose, task.served_reason) == ("train", "random")
        put_in_order = {one for order in orders.values() for one in order}
        answers = [*(one for one in used(session) if one not in put_in_order), *put_in_order]
        assert len(answers) == len(set(answers)) >= 178, "of 180"
        assert ask(session, project) == 0


def test_what_cannot_be_ranked_is_compared(engine: Engine, cast: Cast) -> None:
    """A prompt with too few answers, one to which the model repeats itself, and one with enough."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share, project.ranking_share, project.ranking_answers = 0.0, 1.0, 3
        assert project.policy_id is not None
        run = factories.make_run(session, project.id)
        for texts in (["a", "b"], ["same", "same", "other"], ["x", "x", "y", "z"]):
            prompt = factories.make_prompt(session, project.id)
            for number, text in enumerate(texts):
                factories.make_generation(session, prompt, project.policy_id, text, run_id=run.id, number=number)

        assert ask(session, project) == 3

        assert Counter(session.scalars(select(Task.kind))) == {"comparison": 2, "ranking": 1}
        ((_, order),) = ranked(session).items()
        assert {session.get_one(Generation, one).text for one in order} == {"x", "y", "z"}


def test_a_ranking_has_answers_of_both_policies_and_waits_for_the_one_before(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share, project.ranking_share = 0.0, 1.0
        old, new = project.policy_id, factories.make_checkpoint(session, project.id).id
        assert old is not None
        answer(session, project, new, prompts=12, each=4)
        project.policy_id, project.previous_policy_id = new, old
        run = factories.make_run(session, project.id, inputs={"checkpoint": old}, state="running")
        assert ask(session, project) == 0, "the policy before is to answer"

        answer_again(session, project, old, each=4)
        run.state = "done"
        assert ask(session, project, random.Random(2)) == 24

        by = dict(session.execute(select(Generation.id, Generation.checkpoint_id)).all())
        orders = [[by[one] for one in order] for order in ranked(session).values()]
        assert {order.count(new) for order in orders} == {2}
        assert len({tuple(order) for order in orders}) > 3, "and at no place of their own"


def rankings_after_a_promotion(session: Session, project: Project) -> tuple[int, int]:
    """Every task is to be an order of three; the policy before, and the one in force."""
    project.rating_share, project.ranking_share, project.ranking_answers = 0.0, 1.0, 3
    old, new = project.policy_id, factories.make_checkpoint(session, project.id).id
    assert old is not None
    project.policy_id, project.previous_policy_id = new, old
    return old, new


def test_no_order_is_of_the_new_policy_alone_while_the_one_before_answers(engine: Engine, cast: Cast) -> None:
    """Where both wrote the same texts, it may be the new one's that are drawn, and then nothing of the old one is in it."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        old, new = rankings_after_a_promotion(session, project)
        run = factories.make_run(session, project.id, inputs={"checkpoint": old}, state="running")
        prompt = factories.make_prompt(session, project.id)
        for number, (policy, text) in enumerate([(new, "a"), (new, "b"), (new, "c"), (old, "a"), (old, "b"), (old, "d")]):
            factories.make_generation(session, prompt, policy, text, run_id=run.id, number=number)
        by = dict(session.execute(select(Generation.id, Generation.checkpoint_id)).all())

        plans = [make_tasks.plan(session, project, random.Random(seed)) for seed in range(120)]

        assert {len(plan[0].answers) for plan in plans} == {2, 3}, "else two are compared"
        assert {old in {by[one] for one in question.answers} for plan in plans for question in plan} == {True}


def test_no_order_is_of_the_policy_before_alone(engine: Engine, cast: Cast) -> None:
    """What it wrote for larger orders, or what is left of it where ratings took the new answers, waits for new ones."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        old, new = rankings_after_a_promotion(session, project)
        answer(session, project, new, prompts=3, each=3)
        answer_again(session, project, old, each=6)
        by = dict(session.execute(select(Generation.id, Generation.checkpoint_id)).all())

        questions = make_tasks.plan(session, project, random.Random(1))

        assert {new in {by[one] for one in question.answers} for question in questions} == {True}
        assert {len(question.answers) for question in questions} == {3}


def test_two_that_look_at_once_put_an_answer_in_one_order(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share, project.ranking_share = 0.0, 1.0
        assert project.policy_id is not None
        answer(session, project, project.policy_id, prompts=5, each=4)
        one, other = (make_tasks.plan(session, project) for _ in range(2))
        assert (make_tasks.store(session, project, one), make_tasks.store(session, project, other)) == (5, 0)


def test_a_task_has_as_many_seats_as_the_project_wants_labels(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.overlap = 3
        assert project.policy_id is not None
        answer(session, project, project.policy_id, prompts=2)
        ask(session, project)

        seats = session.execute(select(Seat.task_id, Seat.number, Seat.state, Seat.project_id)).all()
        assert Counter(seat.task_id for seat in seats) == dict.fromkeys(session.scalars(select(Task.id)), 3)
        assert {(seat.number, seat.state, seat.project_id) for seat in seats} == {(n, "free", cast.demo) for n in (1, 2, 3)}


def test_both_answers_of_a_pair_are_to_the_same_prompt(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert project.policy_id is not None
        answer(session, project, project.policy_id, prompts=6, each=4)
        ask(session, project)

        prompt_of = dict(session.execute(select(Generation.id, Generation.prompt_id)).all())
        for task in session.scalars(select(Task)):
            assert prompt_of[task.first_generation_id] == task.prompt_id
            assert task.second_generation_id is None or prompt_of[task.second_generation_id] == task.prompt_id


def test_identical_texts_are_never_compared(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = 0.0
        assert project.policy_id is not None
        run = factories.make_run(session, project.id)
        for texts in (["same", "same"], ["same", "same", "other"]):
            prompt = factories.make_prompt(session, project.id)
            for number, text in enumerate(texts):
                factories.make_generation(session, prompt, project.policy_id, text, run_id=run.id, number=number)

        assert ask(session, project) == 1
        (task,) = session.scalars(select(Task)).all()
        compared = {session.get_one(Generation, i).text for i in (task.first_generation_id, task.second_generation_id)}
        assert compared == {"same", "other"}


def test_prompts_held_out_or_put_away_are_not_asked(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert project.policy_id is not None
        answer(session, project, project.policy_id, prompts=3)
        held_out, put_away, _ = session.scalars(select(Prompt).where(Prompt.project_id == project.id)).all()
        held_out.split, put_away.archived_at = "holdout", project.created_at
        session.flush()
        project.rating_share = 0.0

        assert ask(session, project) == 1
        assert session.scalars(select(Task.purpose)).all() == ["train"]


def test_prompts_put_away_after_the_drawing_are_not_asked(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that one look did not finish is kept for the next one."""
    monkeypatch.setattr(slices, "FIRST", slices.LEAST)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = 0.0
        assert project.policy_id is not None
        answer(session, project, project.policy_id, prompts=60)
        asking.note_due(session, cast.demo)
    kept: dict[int, asking.Plan] = {}
    assert not asking.ask(engine, cast.demo, budget_s=0, unfinished=kept)
    with read_session(engine) as session:
        before = set(session.scalars(select(Task.prompt_id)))
        prompts = session.scalars(select(Prompt.id).where(Prompt.project_id == cast.demo)).all()
        rest = [prompt_id for prompt_id in prompts if prompt_id not in before]
    assert kept[cast.demo].reached == len(before) == slices.LEAST
    assert put_many_away(engine, cast.demo, rest[:-5], None) == len(rest) - 5

    looks = 0
    while not asking.ask(engine, cast.demo, budget_s=0, unfinished=kept):
        looks += 1
        assert looks < 20
    with read_session(engine) as session:
        assert set(session.scalars(select(Task.prompt_id))) == before | set(rest[-5:])


def test_nothing_more_is_asked_in_a_project_that_was_archived_meanwhile(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert project.policy_id is not None
        answer(session, project, project.policy_id, prompts=60)
        asking.note_due(session, cast.demo)
    drawn = make_tasks.plan

    def archived_while_drawing(session: Session, project: Project, draw: random.Random | None) -> list[make_tasks.Question]:
        with write_session(engine) as other:
            other.get_one(Project, cast.demo).archived_at = utc_now()
        return drawn(session, project, draw)

    monkeypatch.setattr(make_tasks, "plan", archived_while_drawing)
    assert not asking.ask(engine, cast.demo, budget_s=5)
    with read_session(engine) as session:
        assert session.scalars(select(Task.id)).all() == []


def test_answers_of_a_candidate_wait_for_its_promotion(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        candidate = factories.make_checkpoint(session, project.id)
        answer(session, project, candidate.id, prompts=3)

        assert ask(session, project) == 0


def test_after_a_promotion_new_meets_previous_first_and_blindly(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = 0.0
        old = project.policy_id
        assert old is not None
        answer(session, project, old, prompts=60)
        new = factories.make_checkpoint(session, project.id).id
        answer_again(session, project, new)
        answer(session, project, new, prompts=20)  # prompts the old one never answered
        project.policy_id, project.previous_policy_id = new, old
        session.flush()

        ask(session, project, random.Random(7))

        pairs = authors(session)
        assert {tuple(sorted(pair)) for pair in pairs[:120]} == {tuple(sorted((old, new)))}
        assert set(pairs[120:]) == {(new, new)}, "once those are used up"
        assert 0.35 < sum(first == new for first, _ in pairs[:120]) / 120 < 0.65  # which comes first tells nothing


def test_new_answers_do_not_meet_each_other_while_the_policy_before_is_to_answer(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = 0.0
        old, new = project.policy_id, factories.make_checkpoint(session, project.id).id
        answer(session, project, new, prompts=3)
        project.policy_id, project.previous_policy_id = new, old
        run = factories.make_run(session, project.id, state="queued", inputs={"checkpoint": old, "split": "train"})

        assert ask(session, project) == 0
        prompt = session.scalars(select(Prompt)).first()
        assert prompt is not None
        assert old is not None
        factories.make_generation(session, prompt, old, run_id=run.id)
        assert ask(session, project) == 1
        assert [set(pair) for pair in authors(session)] == [{old, new}]
        run.state = "failed"
        session.flush()
        assert ask(session, project) == 2, "nothing else can come for them"


def test_an_old_answer_stands_in_one_task_at_most(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = 0.0
        old = project.policy_id
        assert old is not None
        answer(session, project, old, prompts=20)
        ask(session, project)  # asks about every old answer
        answer_again(session, project, old, each=1)  # except these
        new = factories.make_checkpoint(session, project.id).id
        answer_again(session, project, new, each=3)
        project.policy_id, project.previous_policy_id = new, old
        session.flush()

        ask(session, project, random.Random(7))

        answers = used(session)
        assert len(answers) == len(set(answers))
        assert (old, new) in authors(session)
        assert make_tasks.prompts_with_unasked_answers(session, new) == set(), "an answer left over meets the old one"


def test_answers_that_were_chosen_meet_no_others(engine: Engine, cast: Cast) -> None:
    """Else people would compare the choosing of one with the other, and the policies not at all."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.rating_share = 0.0
        old, new = project.policy_id, factories.make_checkpoint(session, project.id).id
        assert old is not None
        best = {"best_of": 4, "reward": factories.make_checkpoint(session, project.id, kind="reward").id}
        other = best | {"reward": factories.make_checkpoint(session, project.id, kind="reward").id}
        prompts = [factories.make_prompt(session, project.id) for _ in range(6)]
        for prompt in prompts:
            for settings in ({}, {"best_of": 1}, best):
                factories.make_generation(session, prompt, new, settings=settings)
            for settings in ({}, best, other):
                factories.make_generation(session, prompt, old, settings=settings)
        project.policy_id, project.previous_policy_id = new, old
        session.flush()

        ask(session, project)

        by = {row.id: row for row in session.scalars(select(Generation))}
        pairs = [(by[task.first_generation_id], by[task.second_generation_id or 0]) for task in session.scalars(select(Task))]
        assert {drawn(first.settings) for first, _ in pairs} == {drawn({}), drawn(best)}
        for first, second in pairs:
            assert drawn(first.settings) == drawn(second.settings)
            assert {first.checkpoint_id, second.checkpoint_id} == {old, new}


def test_the_queue_runs_low_when_little_is_open_to_everybody(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.queue_low_mark = 3
        tasks = [factories.make_task(session, project, seats=2) for _ in range(3)]
        assert not make_tasks.refill_needed(session, project)
        assert make_tasks.open_task_count(session, project.id) == 3

        first = session.scalars(select(Seat).where(Seat.task_id == tasks[0].id, Seat.number == 1)).one()
        first.state, first.annotator_id = "done", cast.mary
        session.flush()
        assert make_tasks.refill_needed(session, project)  # to Mary only two are open
        assert make_tasks.open_task_count(session, project.id) == 3

        first.state, first.annotator_id = "free", None
        session.flush()
        assert not make_tasks.refill_needed(session, project)
        session.add(Skip(task_id=tasks[2].id, annotator_id=cast.mary, reason=GIVEN_BACK))
        session.flush()
        assert not make_tasks.refill_needed(session, project)  # to Mary it is open again
        session.add(Skip(task_id=tasks[1].id, annotator_id=cast.mary))
        session.flush()
        assert make_tasks.refill_needed(session, project)


def test_what_is_for_nobody_here_keeps_no_answers_from_the_others(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.queue_low_mark, project.audiences = 2, ["* law"]
        for _ in range(2):
            session.get_one(Prompt, factories.make_task(session, project).prompt_id).audience = "* law"
        session.flush()
        assert make_tasks.refill_needed(session, project)

        mine = select(Membership).where(Membership.project_id == cast.demo, Membership.user_id == cast.mary)
        session.scalars(mine).one().skills = ["law"]
        session.flush()
        assert not make_tasks.refill_needed(session, project)
