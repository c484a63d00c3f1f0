"""By whose standards a reward is fitted, of crowds that were planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.reward.head.test_tastes import Crowd
from trainer.contract.config import RewardConfig
from trainer.contract.folder import RunFolder
from trainer.reward.data import Labels
from trainer.reward.held_out import split_prompts
from trainer.reward.people.checks import Checks
from trainer.reward.people.standards import Standards, choose_standards, fitted_head, follow, groups_of, standards_figures

MINORITY = frozenset(f"person {number}" for number in range(4))


def a_folder(path: Path) -> RunFolder:
    path.mkdir(exist_ok=True)
    spec = {"kind": "reward", "config": {}, "inputs": {}}
    (path / "run.json").write_text(json.dumps(spec), encoding="utf-8")
    return RunFolder(path)


def chosen(path: Path, crowd: Crowd, config: RewardConfig, labels: Labels | None = None) -> tuple[Any, ...]:
    labels = labels or Labels(comparisons=crowd.comparisons)
    split = split_prompts(labels, config)
    best, figures = choose_standards(a_folder(path), labels, crowd.features, split, config, None)
    return best, figures, follow(best.fitted(labels), best, labels, split, crowd.features, config)


def test_tastes_are_kept_where_held_out_labels_say_so_and_the_settings_say_whose_is_followed(tmp_path: Path) -> None:
    crowd, config = Crowd(), RewardConfig(folds=3, reliability="off", taste="smaller")

    best, figures, followed = chosen(tmp_path, crowd, config)

    assert best.standards.taste
    assert figures["taste_gain_low"] > 0
    assert figures["accuracy_with_taste"] > figures["accuracy_without_taste"] + 0.03
    assert followed.people == MINORITY
    assert crowd.agreement(followed.head.reward(crowd.features), 1) > 0.85
    assert {label.annotator for part in followed.parts for label in part.comparisons} == MINORITY
    told = standards_figures(followed.head, Labels(comparisons=crowd.comparisons), followed.people)
    assert told == {"taste_larger": 6, "taste_smaller": 4, "taste_followed": "smaller"}


def test_people_who_are_alike_are_left_alone_and_everybody_is_followed(tmp_path: Path) -> None:
    crowd, config = Crowd(labels=300, minority=0), RewardConfig(folds=3, taste="smaller")

    best, figures, followed = chosen(tmp_path, crowd, config)

    assert not best.standards.taste
    assert figures["taste_p_value"] > 0.1
    assert followed.people is None
    assert not {"taste_followed", "people_turned_round"} & standards_figures(followed.head, Labels(), None).keys() or (
        standards_figures(followed.head, Labels(), None)["people_turned_round"] == 0
    )


def test_where_tastes_are_not_to_be_told_apart_nothing_is_tried(tmp_path: Path) -> None:
    crowd = Crowd(labels=150)

    best, figures, _followed = chosen(tmp_path, crowd, RewardConfig(folds=3, reliability="off", taste="off"))

    assert figures == {"reliability": False, "taste": False}
    assert best.standards == (False, False)


def test_a_warm_refit_keeps_what_the_earlier_head_chose(tmp_path: Path) -> None:
    crowd, config = Crowd(labels=200), RewardConfig(folds=3)
    labels = Labels(comparisons=crowd.comparisons)
    best, _, _ = chosen(tmp_path, crowd, RewardConfig(folds=3, reliability="off"))
    earlier = best.fitted(labels)

    again, figures = choose_standards(a_folder(tmp_path), labels, crowd.features, split_prompts(labels, config), config, earlier)

    assert again.standards == (False, bool(earlier.taste))
    assert "taste_p_value" not in figures
    assert (groups_of(earlier, labels) == []) is (not earlier.taste)


@pytest.mark.parametrize(("right", "less"), [(19, False), (1, True)])
def test_known_answers_tell_whether_somebody_means_the_opposite(right: int, less: bool) -> None:
    """Of somebody whose four labels say little, twenty known answers say much."""
    crowd, config = Crowd(labels=120, minority=0), RewardConfig(reliability="on")
    few = [label for label in crowd.comparisons if label.annotator != "person 3" or label.left < 80]
    labels = Labels(comparisons=few, checks={"person 3": Checks(known=20, right=right)})

    head = fitted_head(crowd.features, labels, config, Standards(reliability=True))

    assert (head.reliability["person 3"] < 0.5) is less
