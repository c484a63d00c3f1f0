from __future__ import annotations

from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project
from app.projects.costs import Cost, Shares, round_cost
from tests.app.conftest import Cast
from tests.app.exports.judging import judge as put_in_order
from tests.app.labels.judged import judge


def test_a_round_costs_its_tasks_times_the_overlap(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for active_ms in (4_000, 6_000, 50_000):
            judge(session, project, cast.mary, active_ms=active_ms)
        judge(session, project, cast.mary, "rating", active_ms=10_000)

        cost = round_cost(session, project, 2, Shares(0.25), 100)

        assert (cost.tasks, cost.ratings, cost.timed, cost.fewest) == (100, 25, 4, 30)
        assert cost.costs[1] == Cost(2, 200, 2 * (75 * 6.0 + 25 * 10.0), True)
        assert [one.overlap for one in cost.costs] == [1, 2, 3, 5]


def test_without_triggers_it_is_the_fewest_labels_a_reward_model_takes(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.training = {"reward": {"min_labels": 40}}
        assert round_cost(session, project, 7, Shares(0.0), None).tasks == 40
        assert [one.overlap for one in round_cost(session, project, 7, Shares(0.0), None).costs] == [1, 2, 3, 5, 7]


def test_the_time_is_unknown_until_both_kinds_were_judged(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.mary, active_ms=4_000)
        assert round_cost(session, project, 1, Shares(0.25), 100).costs[0].seconds is None
        assert round_cost(session, project, 1, Shares(0.0), 100).costs[0].seconds == 400.0


def test_rankings_take_the_time_of_rankings(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.mary, active_ms=4_000)
        shares = Shares(0.0, 0.2)
        assert round_cost(session, project, 1, shares, 100).costs[0].seconds is None
        put_in_order(session, project, cast.mary, order=[[1], [2]], active_ms=20_000)

        cost = round_cost(session, project, 1, shares, 100)

        assert (cost.ratings, cost.rankings, cost.timed) == (0, 20, 2)
        assert cost.costs[0].seconds == 80 * 4.0 + 20 * 20.0
