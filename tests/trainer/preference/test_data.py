"""What labels say to DPO and to KTO, which prompts are held out, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.resume import make_base
from trainer.contract.config import PreferenceConfig
from trainer.lm.backbone import Backbone, end_id
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.preference.data import Material, pairs, singles
from trainer.reward.data import Labels, read_labels


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(make_base(tmp_path_factory.mktemp("base") / "model")), "float32")


def messages(prompt: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Say {prompt}"}]


def comparison(prompt: int, choice: str, left: Any = "one", right: Any = "two", **more: Any) -> dict[str, Any]:
    sides = {
        side: said if isinstance(said, dict) else {"text": said, "token_ids": None}
        for side, said in (("left", left), ("right", right))
    }
    asked = {"label_id": 1, "prompt_id": prompt, "messages": messages(prompt), "annotator": "a", "strength": None}
    return asked | sides | {"choice": choice} | more


def rating(prompt: int, overall: int, text: str = "one") -> dict[str, Any]:
    said = {"text": text, "token_ids": None}
    return {"label_id": 1, "prompt_id": prompt, "messages": messages(prompt), "annotator": "a"} | {
        "response": said,
        "overall": overall,
    }


def labels(folder: Path, comparisons: list[dict[str, Any]], ratings: list[dict[str, Any]] | None = None) -> Labels:
    for name, rows in (("preferences", comparisons), ("ratings", ratings or [])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_labels(folder)


def words(base: Backbone, material: Material[Any], text: int) -> str:
    said: str = base.tokenizer.decode(material.texts[text].response_ids, skip_special_tokens=True)
    return said


def test_a_pair_is_a_comparison_that_somebody_decided_or_a_rewrite(base: Backbone, tmp_path: Path) -> None:
    given = labels(
        tmp_path,
        [
            comparison(1, "left", "good", "bad"),
            comparison(2, "right", "bad", "good"),
            comparison(3, "tie"),
            comparison(4, "both_bad"),
            comparison(5, "left", "better", "bad", source="rewrite"),
        ],
        [rating(6, 5)],
    )
    material = pairs(base, given, PreferenceConfig(), LeftOut())
    told = [(words(base, material, pair.chosen), words(base, material, pair.rejected)) for pair in material.training]
    assert told == [("good", "bad"), ("good", "bad"), ("better", "bad")]
    assert material.held_out == []
    assert material.prompts == 3


def test_a_single_is_every_answer_that_was_found_good_or_bad(base: Backbone, tmp_path: Path) -> None:
    given = labels(
        tmp_path,
        [comparison(1, "right", "beaten", "won"), comparison(2, "tie"), comparison(3, "both_bad", "worse", "worst")],
        [rating(4, 5, "five"), rating(5, 4, "four"), rating(6, 3, "three"), rating(7, 2, "two"), rating(8, 1, "one")],
    )
    material = singles(base, given, PreferenceConfig(method="kto"), LeftOut())
    told = [(words(base, material, single.answer), single.desirable) for single in material.training]
    assert told == [
        *(("won", True), ("beaten", False), ("worse", False), ("worst", False)),
        *(("five", True), ("four", True), ("two", False), ("one", False)),
    ]


def test_a_stranger_is_an_answer_to_another_prompt_under_ones_own(base: Backbone, tmp_path: Path) -> None:
    given = labels(tmp_path, [comparison(number, "left", f"a{number}", f"b{number}") for number in range(4)])
    material = singles(base, given, PreferenceConfig(method="kto"), LeftOut())
    for single in material.training:
        own, stranger = material.texts[single.answer], material.texts[single.stranger]
        assert own.prompt_ids == stranger.prompt_ids
        assert words(base, material, single.answer)[1] != words(base, material, single.stranger)[1]


def test_an_answer_keeps_the_tokens_it_was_drawn_by_and_a_persons_text_ends(base: Backbone, tmp_path: Path) -> None:
    drawn, cut = {"text": "ab", "token_ids": [97, 98]}, {"text": "cd", "token_ids": [99, 100], "cut": True}
    given = labels(tmp_path, [comparison(1, "left", drawn, cut), comparison(2, "left", "ef", "gh")])
    material = pairs(base, given, PreferenceConfig(), LeftOut())
    first, second = material.training
    assert material.texts[first.chosen].response_ids == [97, 98]
    assert material.texts[first.rejected].response_ids == [99, 100]
    assert material.texts[second.chosen].response_ids[-1] == end_id(base)
    assert words(base, material, second.chosen) == "ef"


def test_longer_answers_are_read_up_to_the_limit_and_longer_prompts_left_out(base: Backbone, tmp_path: Path) -> None:
    given = labels(tmp_path, [comparison(1, "left", "abcdefgh", "b"), comparison(2, "left") | {"messages": messages(10**40)}])
    left_out = LeftOut()
    material = pairs(base, given, PreferenceConfig(max_new_tokens=3, max_prompt_tokens=40), left_out)
    (pair,) = material.training
    assert words(base, material, pair.chosen) == "abc"
    assert left_out.figures["too_long_prompt_ids"] == [2]


def test_a_tenth_of_the_prompts_is_held_out_with_all_that_was_said_of_them(base: Backbone, tmp_path: Path) -> None:
    given = labels(tmp_path, [comparison(number % 20, "left", f"a{number}", "b") for number in range(60)])
    material = pairs(base, given, PreferenceConfig(), LeftOut())
    assert len(material.training) + len(material.held_out) == 60
    trained, asked = (
        {tuple(material.texts[pair.chosen].prompt_ids) for pair in part} for part in (material.training, material.held_out)
    )
    assert len(asked) == 3  # each by its own hash, so it is a tenth of many only
    assert trained.isdisjoint(asked)
    again = singles(base, given, PreferenceConfig(method="kto"), LeftOut())
    held_out = {tuple(again.texts[single.answer].prompt_ids) for single in again.held_out}
    assert held_out == asked
    for found in (material, again):  # of each example that is held out, its prompt
        assert len(found.clusters) == len(found.held_out)
        answers = [found.texts[one[0]].prompt_ids for one in found.held_out]
        assert len(set(zip(map(tuple, answers), found.clusters, strict=True))) == 3 == len(set(found.clusters))


def test_a_held_out_prompt_stays_held_out_as_others_come_and_whatever_the_seed(base: Backbone, tmp_path: Path) -> None:
    def held_out(prompts: int, seed: int) -> set[tuple[int, ...]]:
        given = labels(tmp_path, [comparison(number, "left") for number in range(prompts)])
        material = pairs(base, given, PreferenceConfig(seed=seed), LeftOut())
        return {tuple(material.texts[pair.chosen].prompt_ids) for pair in material.held_out}

    def prompts(numbers: range) -> set[tuple[int, ...]]:
        given = labels(tmp_path, [comparison(number, "left") for number in numbers])
        return {tuple(text.prompt_ids) for text in pairs(base, given, PreferenceConfig(), LeftOut()).texts}

    few, many = held_out(20, 0), held_out(45, 1)
    assert few
    assert few < many
    assert many & prompts(range(20)) == few


def test_a_prompt_with_which_the_template_does_not_end_is_asked_once_whatever_was_said_of_it(tmp_path: Path) -> None:
    backbone = load_backbone(str(make_base(tmp_path / "model")), "float32")
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ordinary = "{% for message in messages %}{{ message.content }}{% endfor %}"
    backbone.tokenizer.chat_template = "{% if messages[0].content == 'Say 1' %}" + endless + "{% endif %}" + ordinary
    given = labels(tmp_path, [comparison(1, "left", "a", "b"), comparison(1, "left", "c", "d"), comparison(2, "left")])
    left_out = LeftOut()
    material = pairs(backbone, given, PreferenceConfig(), left_out)
    assert len(material.training) == 1
    assert left_out.figures["refused_prompt_ids"] == [1]
