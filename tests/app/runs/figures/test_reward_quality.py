from __future__ import annotations

import pytest

from app.runs.figures.reward_quality import Asked, Bin, Share, learned_from, quality_of

FIGURES = {
    "accuracy": 0.7,
    "accuracy_low": 0.62,
    "accuracy_high": 0.77,
    "decided": 130,
    "rating_accuracy": 0.6,
    "rating_pairs": 12,
}


def test_comparisons_are_the_headline_where_there_are_any() -> None:
    quality = quality_of(FIGURES)
    assert quality is not None
    assert (quality.accuracy, quality.low, quality.high, quality.judgements, quality.what) == (
        0.7,
        0.62,
        0.77,
        130,
        "comparisons",
    )


def test_a_model_that_learned_from_ratings_alone_is_measured_on_pairs_of_them() -> None:
    quality = quality_of({**FIGURES, "accuracy": None})
    assert quality is not None
    assert (quality.accuracy, quality.judgements, quality.what) == (0.6, 12, "pairs of ratings")


def test_nothing_measured_is_no_quality() -> None:
    assert quality_of({"status": "done", "accuracy": True}) is None


def test_what_stands_beside_the_headline_is_what_was_measured() -> None:
    quality = quality_of(
        {**FIGURES, "shorter_accuracy": 0.5, "shorter_decided": 40, "length_correlation": -0.123, "form": "head"}
    )
    assert quality is not None
    assert quality.beside == [
        ("Right where the shorter answer won", "50% of 40 comparisons"),
        ("Correlation of reward with log length", "−0.12"),
        ("Form", "head on the frozen base"),
    ]


@pytest.mark.parametrize(("pairs", "told"), [(0, None), (9, None), (10, 0.9)])
def test_what_a_perfect_model_would_reach_is_told_only_where_enough_was_judged_twice(pairs: int, told: float | None) -> None:
    quality = quality_of({**FIGURES, "ceiling": 0.9, "agreement": 0.82, "agreement_pairs": pairs})
    assert quality is not None
    assert (quality.ceiling, quality.ceiling_pairs) == (told, pairs)


def test_of_a_run_that_told_agreement_alone_no_ceiling_is_told() -> None:
    quality = quality_of({**FIGURES, "agreement_ceiling": 0.82, "agreement_pairs": 40})
    assert quality is not None
    assert (quality.ceiling, quality.ceiling_pairs) == (None, None)


def test_answers_that_the_length_limit_cut_are_told_as_a_share() -> None:
    for cut, said in ((12, ["15% of 80 answers"]), (0, ["0% of 80 answers"]), (None, [])):
        quality = quality_of({**FIGURES, "cut_answers": cut, "judged_answers": 80})
        assert quality is not None
        assert [value for term, value in quality.beside if term == "Judged answers that the length limit cut"] == said


def test_figures_that_rest_on_one_fold_say_so() -> None:
    for told, words in (("first fold", "one fold only"), ("choosing fold", "adapters were chosen")):
        quality = quality_of({**FIGURES, "figures_on": told})
        assert quality is not None
        assert [words in value for term, value in quality.beside if term == "Held out"] == [True]


def test_parts_of_the_judgements_are_told_apart() -> None:
    quality = quality_of(
        {
            **FIGURES,
            "shorter_accuracy": 0.5,
            "shorter_decided": 40,
            "longer_decided": 0,
            "criteria": {"clear": {"labels": 60, "accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "weight": 0.5}},
            "annotators": {"annotator-1": {"decided": 30, "accuracy": 0.6, "reliability": 0.9}},
            "groups": {"layer_8": 0.3, "log_length": 0.7},
            "reliability_diagram": [{"confidence": 0.6, "accuracy": 0.55, "count": 16}],
        }
    )
    assert quality is not None
    assert quality.groups == [Share("The shorter answer was chosen", 40, 0.5)]
    assert quality.criteria == [Share("clear", 60, 0.8, 0.7, 0.9, more=0.5)]
    assert quality.annotators == [Share("annotator-1", 30, 0.6, more=0.9)]
    assert quality.layers == [("length of the answer", 0.7), ("layer 8", 0.3)]
    assert quality.diagram == [Bin(0.6, 0.55, 16)]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (
            {"comparisons": 150, "ties": 1, "both_bad": 3, "ratings": 40, "prompts": 96},
            "150 comparisons (1 tie, 3 both bad), 40 ratings, on 96 prompts",
        ),
        ({"ratings": 1}, "1 rating"),
        ({}, ""),
    ],
)
def test_judgements_are_told_by_kind(figures: dict[str, int], words: str) -> None:
    assert learned_from(figures) == words


def test_whose_verdicts_count_less_is_told_without_names() -> None:
    quality = quality_of(
        {
            **FIGURES,
            "people_weighed": 20,
            "people_counting_less": 6,
            "people_turned_round": 3,
            "accuracy_without_reliability": 0.61,
            "accuracy_with_reliability": 0.68,
            "annotators": {"annotator-7": {}},
        }
    )
    assert quality is not None
    assert quality.standards == [
        "6 of 20 people count for less: they often decide against what the others’ labels, or known answers, say. "
        "Verdicts of 3 of them are taken the other way round. Of verdicts it had not seen, that foretells 68% in place of 61%."
    ]


def test_questions_of_the_rubric_stand_apart_from_criteria_and_say_how_they_were_answered() -> None:
    tried = {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "rating_pairs": 24, "weight": 0.5}
    sourced = {"labels": 60, "yes": 40, "no": 20, "cannot_say": 3, **tried}
    fine = {"labels": 30, "yes": 30, "no": 0, "cannot_say": 0, "weight": 0.0, "left_out": True}
    clear = {"labels": 50, "accuracy": 0.6, "weight": 0.0}
    quality = quality_of(
        {**FIGURES, "criteria": {"sourced": sourced, "fine": fine, "clear": clear}}, {"sourced": "Is there a source?"}
    )
    assert quality is not None
    assert [share.name for share in quality.criteria] == ["clear"]
    assert quality.rubric == [
        Asked(Share("Is there a source?", 24, 0.8, 0.7, 0.9, 0.5), 40, 20, 3, left_out=False),
        Asked(Share("fine", 0, None, None, None, 0.0), 30, 0, 0, left_out=True),
    ]
