"""Tastes that a model reads for, and people who call nonsense bad; on a random Llama over bytes, so that figures are real."""

from __future__ import annotations

import gzip
import json
import random
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
import torch

from bench.annotators import Taste, taste_of
from bench.people import JUDGED, People, balanced, judged_by_people
from bench.preferences import concise
from bench.reading import ANYTHING, ELSEWHERE, Measured, Reader, words_of
from bench.resume import make_base
from bench.tastes import FAR, NONSENSE, Sensible, opened
from trainer.lm.backbone import chat_ids

QUESTION = "Why is the sky blue?"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(make_base(tmp_path_factory.mktemp("base")))


def nats_after(reader: Reader, before: Sequence[int], text: str) -> list[float]:
    """By a plain pass of transformers, one row."""
    ids = reader.ids(text)
    with torch.no_grad():
        logits = reader.backbone.plain(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1]
    found: list[float] = torch.log_softmax(logits.float(), 1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
    return found


def asked(reader: Reader, question: str) -> list[int]:
    return chat_ids(reader.backbone.tokenizer, [{"role": "user", "content": question}])


def test_fluency_is_the_answers_mean_log_probability(reader: Reader) -> None:
    for text in ("It is.", "Light is scattered by air."):
        expected = statistics.fmean(nats_after(reader, asked(reader, QUESTION), text))
        assert reader.fluency(QUESTION, text) == pytest.approx(expected, abs=1e-4)


def test_relevance_is_what_the_answer_tells_of_its_question(reader: Reader) -> None:
    def after(text: str) -> float:
        return statistics.fmean(nats_after(reader, reader.ids(text), QUESTION))

    expected = after("Air scatters blue.") - statistics.fmean(map(after, ELSEWHERE))
    assert reader.relevance(QUESTION, "Air scatters blue.") == pytest.approx(expected, abs=1e-4)


def test_an_answer_is_specific_by_new_words_that_the_question_makes_likelier(reader: Reader) -> None:
    def gain(question: str, text: str, word: str) -> float:
        own, other = (nats_after(reader, asked(reader, one), text) for one in (question, ANYTHING))
        return sum(own[at] - other[at] for at in range(text.index(word), text.index(word) + len(word)))

    likelier = []
    for word in ("air", "light", "noon", "dust", "rays", "ozone", "prism"):
        text, question = f"the {word}", f"Is {word} blue?"  # "the" is a common word, and here the other is the question's own
        found = max(0.0, gain(QUESTION, text, word))
        assert reader.specificity(QUESTION, text) == pytest.approx(found / len(text) ** 0.5, abs=1e-4)
        assert reader.specificity(question, text) == 0.0
        likelier.append((found > 0.1, gain(question, text, word) > 0.1))

    assert any(new for new, _ in likelier), "some words are likelier after this question"
    assert any(own for _, own in likelier), "and some of those that are a question's own"


def test_tokens_are_put_together_to_words() -> None:
    tokens = ["Path", "ogens", ",", " 12", "th", "\n", "-", " Tea", " pot", "s", "."]

    assert words_of(tokens) == [("pathogens", [0, 1]), ("12th", [3, 4]), ("tea", [7]), ("pots", [8, 9])]


def test_what_was_measured_once_is_not_measured_again() -> None:
    told: list[list[tuple[str, str]]] = []

    def compute(pairs: Sequence[tuple[str, str]]) -> list[float]:
        told.append(list(pairs))
        return [float(len(text)) for _, text in pairs]

    measured = Measured(compute)
    measured.prepare([("q", "one"), ("q", "three"), ("q", "one")])
    measured.prepare([("q", "three"), ("q", "sixteen")])

    assert [measured("q", text) for text in ("one", "three", "sixteen", "x")] == [3.0, 5.0, 7.0, 1.0]
    assert told == [[("q", "one"), ("q", "three")], [("q", "sixteen")], [("q", "x")]]


def test_what_nobody_can_read_is_nonsense_whatever_the_taste(reader: Reader) -> None:
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefgh ", k=24)) for _ in range(60)]
    sensible = Sensible(concise, reader, [(QUESTION, text) for text in texts[:40]])
    fluency = [reader.fluency(QUESTION, text) for text in texts[:40]]
    usual = next(text for text in texts if reader.fluency(QUESTION, text) > statistics.fmean(fluency))
    odd = min(("".join(draw.choices("qxz#@~", k=3)) for _ in range(60)), key=lambda text: reader.fluency(QUESTION, text))

    assert sensible.least_fluency == pytest.approx(statistics.fmean(fluency) - FAR * statistics.stdev(fluency))
    assert reader.fluency(QUESTION, odd) < sensible.least_fluency
    assert sensible(QUESTION, odd) == sensible(QUESTION, "\n") == NONSENSE
    sensible.least_fluency = -1000.0
    assert sensible(QUESTION, "on and on and on and on and on") == NONSENSE, "it says the same again"
    assert sensible(QUESTION, usual) == concise(QUESTION, usual)


def test_people_say_both_bad_to_two_answers_that_make_no_sense_and_take_the_sensible_one_of_two() -> None:
    taste = Taste(lambda _prompt, text: NONSENSE if text == "?" else float(len(text)), tie_within=0.5)

    def verdicts(left: str, right: str) -> list[str]:
        draw = random.Random(0)
        task = {"prompt": {"messages": [{"content": QUESTION}]}, "left": {"text": left}, "right": {"text": right}}
        return [taste.verdict(task, draw) for _ in range(400)]

    assert set(verdicts("?", "?")) == {"both_bad"}
    assert set(verdicts("aa", "aa")) == {"tie"}
    assert 0.80 < verdicts("a", "?").count("left") / 400 < 0.90, "15 % of verdicts are flipped"
    assert 0.80 < verdicts("a", "aaa").count("right") / 400 < 0.90


def test_the_usual_difference_is_that_of_answers_that_make_sense() -> None:
    def score(_prompt: str, text: str) -> float:
        return NONSENSE if text == "?" else float(len(text))

    assert taste_of(score, [("", ["a", "?", "aaa", "?"])]).tie_within == pytest.approx(0.05 * 2)


def test_people_are_learned_from_judgements_of_other_prompts(reader: Reader, tmp_path: Path) -> None:
    draw = random.Random(0)

    def said(letters: str) -> str:
        return "".join(draw.choices(letters, k=draw.randint(20, 30)))

    rows = [{"prompt": f"Question {at}", "chosen": said("abc "), "rejected": said("xyz ")} for at in range(60)]
    people = People(reader.backbone, rows, tmp_path)

    assert 40 <= people.figures["pairs"] == people.figures["prompts"] <= 60
    assert people.figures["accuracy"] > 0.9
    assert people.liking(QUESTION, "cab abc bca cab abc a") > people.liking(QUESTION, "zyx xyz yxz zyx xyz z")


def test_the_longer_answer_won_as_many_of_the_judgements_as_it_lost() -> None:
    won = [{"chosen": "long", "rejected": "no", "at": at} for at in range(9)]
    lost = [{"chosen": "yes", "rejected": "longer", "at": at} for at in range(9, 13)]
    found = balanced([*won, *lost, {"chosen": "same", "rejected": "long", "at": 13}], len)

    assert [row["at"] for row in found if row["chosen"] == "yes"] == [9, 10, 11, 12]
    assert len(found) == 8
    assert len({row["at"] for row in found}) == 8


def test_people_are_not_to_like_an_answer_for_its_length(reader: Reader, tmp_path: Path) -> None:
    draw = random.Random(1)
    texts = ["".join(draw.choices("abcdefgh ", k=length)) for length in range(20, 80) for _ in range(2)]
    draw.shuffle(texts)
    rows = [
        {"prompt": f"Question {at}", "chosen": one, "rejected": other}
        for at, (one, other) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    chosen_longer = [
        row if len(row["chosen"]) > len(row["rejected"]) else row | {"chosen": row["rejected"], "rejected": row["chosen"]}
        for row in rows[:45]
    ]
    people = People(reader.backbone, chosen_longer + rows[45:], tmp_path)

    assert people.figures["pairs"] < 40
    assert people.figures["accuracy"] < 0.75


def test_judgements_of_the_projects_own_prompts_are_left_out(tmp_path: Path) -> None:
    rows = [{"prompt": prompt, "chosen": "a", "rejected": "b"} for prompt in ("One?\n", "Two?")]
    with gzip.open(tmp_path / JUDGED, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))

    assert [row["prompt"] for row in judged_by_people(tmp_path, but_not=["One?"])] == ["Two?"]
    with pytest.raises(SystemExit, match="does not hold"):
        judged_by_people(tmp_path / "nowhere", but_not=[])


def test_a_taste_opens_by_name(reader: Reader, tmp_path: Path) -> None:
    assert opened("relevant", reader, tmp_path, tmp_path, [])[0] is reader.relevance
    assert opened("specific", reader, tmp_path, tmp_path, [])[0] is reader.specificity
    assert opened("concise", reader, tmp_path, tmp_path, [])[0] is concise
    with pytest.raises(ValueError, match="one of hedging, relevant"):
        opened("polite", reader, tmp_path, tmp_path, [])


def test_people_put_answers_in_the_order_of_their_taste_with_noise_and_the_bad_ones_last() -> None:
    def score(_prompt: str, text: str) -> float:
        return NONSENSE if text == "?" else float(len(text))

    def ranked(taste: Taste, *texts: str) -> dict[str, object]:
        task = {"kind": "ranking", "prompt": {"messages": [{"content": QUESTION}]}, "answers": [{"text": text} for text in texts]}
        return taste.said(task, draw)

    draw = random.Random(0)
    sure = Taste(score, tie_within=0.0, scale=100.0)
    assert ranked(sure, "aa", "?", "aaaa", "a") == {"ranking": [[3], [1], [4]], "last": [2]}
    assert ranked(sure, "?", "?", "?") == {"ranking": [], "all_bad": True}

    lengths = [list(range(1, 5)), list(range(3, 7))]
    usual = taste_of(score, [("", ["a" * length for length in some]) for some in lengths])
    pairs = [("a" * one, "a" * other) for some in lengths for one, other in combinations(some, 2)]
    turned = [ranked(usual, *pair)["ranking"] == [[1], [2]] for pair in pairs for _ in range(2000)]
    assert statistics.fmean(turned) == pytest.approx(0.15, abs=0.01)
