"""Rows that are written together: each as it would be alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainer.lm.backbone import Backbone, eos_ids
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.generate import generate
from trainer.lm.loading import load_backbone
from trainer.serve.writing import Row, _nucleus, write

PROMPTS = [[0, 40, 41, 42, 43], [0, 40, 41], [0, 40, 41, 50, 51, 52]]


@pytest.fixture(params=["llama_folder", "simple_lm_folder"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    folder: Path = request.getfixturevalue(request.param)
    return load_backbone(str(folder))


def row(place: int, found: dict[int, list[int]], **values: object) -> Row:
    filled: dict[str, object] = {"max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "seed": place, **values}
    return Row(
        prompt_ids=PROMPTS[place],
        on_token=found.setdefault(place, []).append,
        on_end=lambda why, count: found.setdefault(-1, []).append(count),
        gone=lambda: False,
        **filled,  # type: ignore[arg-type]
    )


def alone(backbone: Backbone, place: int, temperature: float = 1.0, tokens: int = 12) -> list[int]:
    draws = [torch.Generator().manual_seed(place)]
    return generate(backbone, [PROMPTS[place]], max_new_tokens=tokens, temperature=temperature, generator=draws, batch_size=1)[
        0
    ].ids


def all_of(tokens: Iterator[None]) -> None:
    for _ in tokens:
        pass


def test_each_row_is_the_answer_that_generate_draws_by_its_seed(backbone: Backbone) -> None:
    found: dict[int, list[int]] = {}
    rows = [row(0, found), row(1, found, temperature=0.0, max_tokens=5), row(2, found, temperature=0.5, max_tokens=9)]
    all_of(write(make_decoder(backbone), rows, eos_ids(backbone)))
    assert found[0] == alone(backbone, 0)
    assert found[1] == alone(backbone, 1, 0.0, 5)
    assert found[2] == alone(backbone, 2, 0.5, 9)
    assert sorted(found[-1]) == sorted(len(found[place]) for place in range(3))


def test_a_row_nobody_listens_to_ends_and_the_others_go_on(backbone: Backbone) -> None:
    found: dict[int, list[int]] = {}
    leaving = row(0, found)
    leaving.gone = lambda: len(found[0]) >= 2
    all_of(write(make_decoder(backbone), [leaving, row(2, found)], eos_ids(backbone)))
    assert len(found[0]) == 2
    assert found[2] == alone(backbone, 2)


def test_a_decoder_writes_the_next_batch_as_if_it_were_the_first(backbone: Backbone) -> None:
    decoder = make_decoder(backbone)
    for _ in range(2):
        found: dict[int, list[int]] = {}
        all_of(write(decoder, [row(1, found)], eos_ids(backbone)))
        assert found[1] == alone(backbone, 1)


def test_it_goes_on_token_by_token_and_can_be_left(backbone: Backbone) -> None:
    found: dict[int, list[int]] = {}
    tokens = write(make_decoder(backbone), [row(0, found, max_tokens=50)], set())
    for _ in range(4):
        next(tokens)
    assert len(found[0]) == 3


def test_the_nucleus_is_the_smallest_set_with_so_much_of_the_probability() -> None:
    logits = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()
    kept = {top_p: _nucleus(logits, row(0, {}, top_p=top_p)).isfinite().tolist() for top_p in (0.3, 0.4, 0.41, 0.75, 0.95)}
    assert kept[0.3] == [False, True, False, False]
    assert kept[0.41] == [False, True, True, False]
    assert kept[0.75] == [False, True, True, True]
    assert kept[0.95] == [True, True, True, True]
    cold = _nucleus(logits, row(0, {}, top_p=0.75, temperature=0.2)).isfinite().tolist()
    assert cold == [False, True, False, False], "of what is drawn from: cold, the likeliest alone is enough"
