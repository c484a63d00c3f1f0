"""The engine on real models: what clients are told, whoever asks, however many."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.serve.asking import HELLO, job, scoring, text_of, writing
from trainer.contract.folder import RunFolder
from trainer.contract.messages import as_json
from trainer.contract.serving.questions import MOST_PROMPT_TOKENS, Scoring, Turn, Writing
from trainer.contract.texts import said
from trainer.lm.backbone import chat_ids
from trainer.lm.decoders.decoder import Decoder
from trainer.lm.decoders.fused import FusedDecoder
from trainer.lm.generate import generate
from trainer.lm.loading import load_policy
from trainer.reward.scorer import load_scorer
from trainer.serve import engine as engines
from trainer.serve.engine import Engine
from trainer.serve.jobs import Desk, Event
from trainer.serve.open_models import OpenModels
from trainer.serve.writing import Row, write


def asked_of(data: Path, *asked: Writing | Scoring) -> list[list[Any]]:
    """What each client is told, all of whom wait when the engine begins."""
    desk = Desk()
    jobs = [job(one) for one in asked]
    for one, _ in jobs:
        desk.put(one)
    engine = Engine(desk, OpenModels(data), lambda: all(told[-1:] == [None] for _, told in jobs), lambda: None)
    engine.run()
    return [told for _, told in jobs]


def test_an_answer_is_what_a_sample_run_would_store(llama_folder: Path, tmp_path: Path) -> None:
    (told,) = asked_of(tmp_path, writing(llama_folder, seeds=(7, 8), max_tokens=20))
    policy = load_policy(str(llama_folder), "auto")
    ids = chat_ids(policy.tokenizer, HELLO, policy.day)
    assert told[0] == {"prompt_tokens": len(ids)}
    for index, seed in enumerate((7, 8)):
        draws = [torch.Generator().manual_seed(seed)]
        (own,) = generate(policy, [ids], max_new_tokens=20, temperature=1.0, generator=draws, batch_size=1)
        mine = [event for event in told if event and event.get("index") == index]
        assert text_of(mine) == said(policy.tokenizer.decode(own.ids, skip_special_tokens=True))
        assert mine[-1]["finish_reason"] == own.finish_reason
        assert (mine[-1]["tokens"], mine[-1]["token_ids"]) == (len(own.ids), own.ids)
    assert told[-1] is None


@pytest.mark.parametrize("finished", ["done", "llama_done", "tuned"])
def test_scores_are_the_rewards_own(finished: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder: RunFolder = request.getfixturevalue(finished)
    base = str(folder.inputs["base"])
    (told,) = asked_of(tmp_path, scoring(base, folder.file("checkpoint"), "the moon", "bread and rain"))
    assert told[0] is not None
    assert told[-1] is None
    own = load_scorer(folder.file("checkpoint")).score_texts([(HELLO, text) for text in ("the moon", "bread and rain")])
    assert [one["score"] for one in told[0]["scores"]] == pytest.approx(own.tolist(), abs=1e-4)
    assert all(one["deviation"] is None or one["deviation"] >= 0 for one in told[0]["scores"])
    assert not any(one["shortened"] for one in told[0]["scores"])


def test_clients_of_one_model_are_written_together_and_each_gets_its_own(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def noting(decoder: Decoder, rows: Sequence[Row], ends: set[int]) -> Iterator[None]:
        together.append(len(rows))
        return write(decoder, rows, ends)

    monkeypatch.setattr(engines, "write", noting)
    all_told = asked_of(tmp_path, *(writing(llama_folder, seeds=(seed,)) for seed in range(3)))
    alone = [asked_of(tmp_path, writing(llama_folder, seeds=(seed,)))[0] for seed in range(3)]
    assert together == [3, 1, 1, 1]
    assert [text_of(told) for told in all_told] == [text_of(told) for told in alone]


def test_a_text_is_scored_while_an_answer_is_being_written(llama_done: RunFolder, tmp_path: Path) -> None:
    base, reward = llama_done.inputs["base"], llama_done.file("checkpoint")
    desk = Desk()
    order: list[str] = []
    (long, told), (short, scores) = job(writing(base, reward=reward, max_tokens=200)), job(scoring(base, reward, "the moon"))

    def tell(event: Event | None) -> None:
        if not told:  # it has begun
            desk.put(short)
        told.append(event)
        order.append("answer")

    long.tell = tell

    def tell_score(event: Event | None) -> None:
        scores.append(event)
        order.append("score")

    short.tell = tell_score
    desk.put(long)
    Engine(desk, OpenModels(tmp_path), lambda: told[-1:] == [None], lambda: None).run()
    assert order.index("score") < len(order) - 2
    assert scores[0] is not None
    assert len(scores[0]["scores"]) == 1
    assert text_of(told) == text_of(asked_of(tmp_path, writing(base, reward=reward, max_tokens=200))[0])


def test_two_policies_take_turns_and_each_writes_as_if_it_were_alone(
    llama_folder: Path, simple_lm_folder: Path, tmp_path: Path
) -> None:
    desk = Desk()
    order: list[str] = []
    jobs = {name: job(writing(folder, max_tokens=40)) for name, folder in (("llama", llama_folder), ("simple", simple_lm_folder))}
    for name, (one, told) in jobs.items():

        def tell(event: Event | None, name: str = name, told: list[Any] = told) -> None:
            told.append(event)
            order.append(name)

        one.tell = tell
        desk.put(one)
    Engine(desk, OpenModels(tmp_path), lambda: all(told[-1:] == [None] for _, told in jobs.values()), lambda: None).run()
    turns = sum(one != other for one, other in pairwise(order))
    assert turns > 10, "they take turns"
    for folder, (_, told) in zip((llama_folder, simple_lm_folder), jobs.values(), strict=True):
        assert text_of(told) == text_of(asked_of(tmp_path, writing(folder, max_tokens=40))[0])


def test_one_policy_under_two_names_writes_one_batch_after_the_other(llama_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "policy").symlink_to(llama_folder)
    named = [writing(name, max_tokens=30) for name in ("policy", tmp_path.resolve() / "policy")]
    first, second = asked_of(tmp_path, *named)
    assert text_of(first) == text_of(second) == text_of(asked_of(tmp_path, named[0])[0])


def test_what_cannot_be_done_is_refused_in_words_and_the_next_client_is_served(
    llama_folder: Path, simple_lm_folder: Path, tmp_path: Path
) -> None:
    long = [Turn(role="user", content="x" * (MOST_PROMPT_TOKENS + 1))]
    told = asked_of(
        tmp_path,
        writing(tmp_path / "nothing"),
        writing(simple_lm_folder, messages=long),
        writing(llama_folder, max_tokens=500),
        writing(simple_lm_folder, max_tokens=1000, seeds=tuple(range(9))),
        scoring(llama_folder, llama_folder, "a"),
        writing(llama_folder),
    )
    codes = [one[0]["refused"]["code"] for one in told[:-1] if one[0]]
    assert codes[1:] == ["prompt_too_long", "context_too_short", "serving_no_room", codes[4]]
    assert all(one[1:] == [None] for one in told[:-1])
    assert not any(one[0] and one[0]["later"] for one in told[:-1])
    assert text_of(told[-1])


def test_who_is_served_and_who_waits_when_it_ends_are_told_to_come_back(llama_folder: Path, tmp_path: Path) -> None:
    desk = Desk()
    stop = threading.Event()
    (first, told), (second, waiting) = job(writing(llama_folder, max_tokens=400, top_p=0.9)), job(writing(llama_folder))

    def tell(event: Event | None) -> None:
        told.append(event)
        if len(told) == 1:
            desk.put(second)
        elif len(told) == 4:
            stop.set()

    first.tell = tell
    desk.put(first)
    Engine(desk, OpenModels(tmp_path), stop.is_set, lambda: None).run()
    for events in (told, waiting):
        assert events[-2] is not None
        assert events[-2]["refused"]["code"] == "serving_stops"
        assert events[-2]["later"] is True
        assert events[-1] is None


@pytest.mark.parametrize("where", ["step", "eos_ids"])
def test_a_mistake_of_ours_is_told_as_one_and_ends_nothing(
    where: str, llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FusedDecoder if where == "step" else engines, where, fail)
    first, second = asked_of(tmp_path, writing(llama_folder), writing(llama_folder))
    assert first[-2:] == second[-2:] == [{"failed": True}, None]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_use_is_noted(llama_done: RunFolder, tmp_path: Path) -> None:
    base, reward = llama_done.inputs["base"], llama_done.file("checkpoint")
    desk, used = Desk(), [0.0]
    jobs = [job(writing(base, reward=reward)), job(scoring(base, reward, "a"))]
    for one, _ in jobs:
        desk.put(one)
    Engine(desk, OpenModels(tmp_path), lambda: len(used) == 3, lambda: used.append(time.time())).run()
    assert all(told[-1] is None for _, told in jobs)


def test_refusals_travel_as_messages() -> None:
    one, told = job(writing("a"))
    engines.refuse(one, engines.Stopped())
    assert told == [{"refused": as_json(engines.Stopped().message), "later": True}, None]
