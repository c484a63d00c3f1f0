"""A simulated person's minutes: what each way to ask costs them, how they perceive, and what a reward learns of it."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter

import pytest
import torch

from bench.annotators import scale_of
from bench.minutes import (
    DECIDE,
    FORMS,
    KEY,
    POINT,
    READING,
    Person,
    Pool,
    bits,
    interval,
    measure,
    pool_of,
    quintiles,
    tasks,
    without_the_worst,
    work,
)

WORDS = ["word", "other", "you", "your", "thing", "make", "time", "the", "a", "of"]


def speaks_to(prompt: str, text: str) -> float:
    words = text.split()
    return words.count("you") - words.count("other") + 0.1 * words.count("a") - 0.05 * words.count("of")


def written(draw: random.Random) -> str:
    return " ".join(" ".join(draw.choices(WORDS, k=6)) + "." for _ in range(4))


@pytest.fixture(scope="module")
def pool() -> Pool:
    draw = random.Random(0)
    return pool_of({f"Question {number}?": [written(draw) for _ in range(4)] for number in range(60)}, speaks_to)


def person_of(pool: Pool, slower: float = 1.0) -> Person:
    cuts = quintiles(pool, pool.prompts, by_prompt=False), quintiles(pool, pool.prompts, by_prompt=True)
    return Person(pool, random.Random(0), cuts, slower)


@pytest.mark.parametrize(
    ("form", "decisions", "keys", "points", "answers_read"),
    [
        ("comparison", 1, 1, 0, 2),
        ("rating", 1, 1, 0, 1),
        ("rating by prompt", 1, 1, 0, 1),
        ("ranking", math.log2(24), 5, 0, 4),
        ("comparison and edit", 2, 2, 2, 3),
    ],
)
def test_each_way_to_ask_takes_its_time(
    pool: Pool, form: str, decisions: float, keys: int, points: int, answers_read: int
) -> None:
    prompt = next(prompt for prompt in pool.prompts if set(prompt.answers[:2]) <= set(prompt.edited))
    size, does = FORMS[form]
    for slower in (1.0, 3.0):
        person = person_of(pool, slower)
        does(person, prompt, prompt.answers[:size])
        read = (prompt.words + answers_read * 24) / READING
        assert person.seconds == pytest.approx(read + slower * DECIDE * decisions + KEY * keys + POINT * points)


def test_comparisons_are_turned_round_as_often_as_said_and_rankings_begin_with_the_best_as_plackett_and_luce_have_it(
    pool: Pool,
) -> None:
    person = person_of(pool)
    for _ in range(30):
        for prompt in pool.prompts:
            FORMS["comparison"][1](person, prompt, prompt.answers[:2])
    turned = [
        pool.liked[one.left if one.choice == "left" else one.right] < pool.liked[one.right if one.choice == "left" else one.left]
        for one in person.comparisons
    ]
    assert statistics.fmean(turned) == pytest.approx(0.15, abs=0.05)

    prompt = pool.prompts[0]
    first = Counter[int]()
    for _ in range(4000):
        FORMS["ranking"][1](person, prompt, prompt.answers)
        first[person.rankings[-1].order[0][0]] += 1
    strength = [math.exp(pool.liked[answer]) for answer in prompt.answers]
    for place, own in enumerate(strength):
        assert first[place] / 4000 == pytest.approx(own / sum(strength), abs=0.03)


def test_the_scale_turns_round_the_share_of_pairs_that_is_asked_for() -> None:
    scale = scale_of([1.0, 2.0, 4.0], 0.15)
    assert statistics.fmean(1 / (1 + math.exp(scale * one)) for one in (1.0, 2.0, 4.0)) == pytest.approx(0.15)


@pytest.mark.parametrize("form", ["rating", "rating by prompt"])
def test_all_ratings_are_given_about_as_often(pool: Pool, form: str) -> None:
    person = person_of(pool)
    for prompt in pool.prompts:
        for answer in prompt.answers:
            FORMS[form][1](person, prompt, [answer])
    given = Counter(one.overall for one in person.ratings)
    assert set(given) == {1, 2, 3, 4, 5}
    assert min(given.values()) > 20


def test_who_allows_for_the_prompt_rates_all_prompts_alike_and_who_does_not_rates_some_higher(pool: Pool) -> None:
    spread = {}
    for form in ("rating", "rating by prompt"):
        person = person_of(pool)
        means = []
        for prompt in pool.prompts:
            for _ in range(20):
                for answer in prompt.answers:
                    FORMS[form][1](person, prompt, [answer])
            means.append(statistics.fmean(one.overall for one in person.ratings[-80:]))
        spread[form] = statistics.stdev(means)
    assert spread["rating by prompt"] < 0.6 * spread["rating"]


def test_an_edit_leaves_out_the_sentence_that_is_liked_least_and_nothing_where_none_helps() -> None:
    def score(text: str) -> float:
        return -text.count("bad")

    assert without_the_worst("One good. Two bad bad. Three bad.", score) == "One good. Three bad."
    assert without_the_worst("One good. Two good.", score) is None
    assert without_the_worst("Only bad.", score) is None


def test_prompts_come_in_turn_and_no_answer_twice(pool: Pool) -> None:
    for size, most in ((1, 4), (2, 2), (4, 1)):
        given = list(tasks(pool.prompts, size, random.Random(1)))
        assert len(given) == most * len(pool.prompts)
        assert len({prompt.key for prompt, _ in given[: len(pool.prompts)]}) == len(pool.prompts)
        assert len({answer for _, answers in given for answer in answers}) == 4 * len(pool.prompts)


def test_nobody_works_longer_than_until_the_end_of_a_task(pool: Pool) -> None:
    for form in FORMS:
        for person, most in zip(work(pool, pool.prompts, form, (1, 5), 0, 1.0), (1, 5), strict=True):
            assert most * 60 <= person.seconds < most * 60 + 60


def test_bits_are_those_of_a_channel_and_one_seed_has_no_interval() -> None:
    assert (bits(0.5), bits(1.0)) == (0.0, 1.0)
    assert bits(0.89) == pytest.approx(0.5, abs=0.01)
    assert interval([0.1]) is None
    assert interval([0.1, 0.1, 0.1]) == [0.1, 0.1]


def test_more_minutes_teach_more_whatever_is_asked(pool: Pool) -> None:
    draw = torch.Generator().manual_seed(0)
    told = torch.tensor([[liked] for liked in pool.liked])
    features = {
        "one": torch.cat([told + 0.2 * torch.randn(len(told), 1, generator=draw), torch.randn(len(told), 4, generator=draw)], 1)
    }
    found = measure(pool, features, (1, 10), 3, 1.0)

    assert found["comparison"][1]["gain"] == 0.0
    for form in FORMS:
        few, many = found[form]
        assert many["accuracy"] > max(0.75, few["accuracy"] - 0.02)
        assert many["used"][1] > few["used"][1]
