"""The map of what prompts cover, drawn from what was read before."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.reward.reward_runs import make_folder, prefers_moons
from trainer.contract.coverage.clusters import ASKED, Coverage, read
from trainer.contract.folder import RunFolder, read_jsonl
from trainer.lm.backbone import Backbone
from trainer.lm.loading import load_backbone
from trainer.reward import run as reward
from trainer.reward.coverage.draw import draw
from trainer.reward.data import Answer, encode_all
from trainer.reward.features import FeatureCache, choose_layers, groups, pooled_states

TOPICS = {
    "bread": ["flour", "water", "salt", "dough", "oven", "crust", "yeast"],
    "chess": ["rook", "pawn", "king", "queen", "bishop", "knight", "check"],
    "rain": ["cloud", "wet", "storm", "drops", "sky", "umbrella", "puddle"],
    "trains": ["ticket", "platform", "rail", "station", "delay", "seat", "track"],
}
MOST = 512  # tokens


def planted(prompts: int = 48) -> list[tuple[int, Answer]]:
    """(prompt id, its answer): each prompt is of one of four kinds, by its id."""
    draw_words = random.Random(0)
    found = []
    for number in range(prompts):
        name, words = list(TOPICS.items())[number % 4]
        answer = " ".join(draw_words.choice(words) for _ in range(48))
        text = f"Please tell me about {name}, for the {number}th time"
        found.append((number, Answer((("user", text),), answer, tuple(answer.encode()), prompt_id=number)))
    return found


def ask(folder: Path, answers: Iterable[tuple[int, Answer]], *, own: bool = True) -> None:
    rows = [
        {"prompt_id": number, "messages": answer.conversation}
        | {"response": {"text": answer.text, "token_ids": answer.token_ids} if own else None}
        for number, answer in answers
    ]
    (folder / ASKED).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def drawn(
    folder: Path, backbone: Backbone, judged: list[Answer], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> Coverage | None:
    """The map, with what a run has at that moment; whoever would ask the model for more fails."""
    sequences = encode_all(backbone, judged, MOST)
    means = pooled_states(backbone, sequences, cache.layers, cache)
    features = groups(means, torch.ones(len(judged)), with_length=False)
    with monkeypatch.context() as patched:
        patched.setattr(backbone.model, "forward", lambda *_given, **_named: pytest.fail("it is read once more"))
        draw(folder, backbone, judged, features, cache, MOST)
    return read(folder)


def test_planted_clusters_are_found_from_labels_and_from_what_sampling_kept(
    tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(str(llama_folder))
    prompts = planted()
    answers = [answer for _, answer in prompts]
    layers = choose_layers(backbone)
    pooled_states(backbone, encode_all(backbone, answers[16:], MOST), layers, FeatureCache(tmp_path / "cache", backbone, layers))
    ask(tmp_path, prompts)

    found = drawn(tmp_path, backbone, answers[:16], FeatureCache(tmp_path / "cache", backbone, layers), monkeypatch)

    assert found is not None
    assert found.layer == layers[len(layers) // 2]
    kinds = [{number % 4 for number in cluster.prompt_ids} for cluster in found.clusters]
    assert sorted(kinds, key=sorted) == [{0}, {1}, {2}, {3}]
    assert [len(cluster.prompt_ids) for cluster in found.clusters] == [12] * 4
    for cluster in found.clusters:
        assert cluster.words == (list(TOPICS)[cluster.prompt_ids[0] % 4],)


def test_what_nobody_read_is_not_on_the_map(tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts without an answer, those whose answers lie in no cache, and what is judged but not asked for."""
    backbone = load_backbone(str(llama_folder))
    prompts = planted()
    cache = FeatureCache(tmp_path / "cache", backbone, choose_layers(backbone))
    ask(tmp_path, prompts[10:])

    found = drawn(tmp_path, backbone, [answer for _, answer in prompts[:40]], cache, monkeypatch)

    assert found is not None
    assert {number for cluster in found.clusters for number in cluster.prompt_ids} == set(range(10, 40))


def test_fewer_than_twenty_make_no_map(tmp_path: Path, llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(str(llama_folder))
    judged = [answer for _, answer in planted()]
    cache = FeatureCache(tmp_path / "cache", backbone, choose_layers(backbone))
    assert drawn(tmp_path, backbone, judged, cache, monkeypatch) is None  # none is asked for
    ask(tmp_path, planted()[:19], own=False)
    assert drawn(tmp_path, backbone, judged, cache, monkeypatch) is None
    ask(tmp_path, planted()[:20], own=False)
    assert drawn(tmp_path, backbone, judged, cache, monkeypatch) is not None


def test_a_reward_run_draws_it(tmp_path: Path, simple_lm_folder: Path) -> None:
    folder: RunFolder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons)
    asked: dict[int, Any] = {row["prompt_id"]: row["messages"] for row in read_jsonl(folder.file("preferences.jsonl"))}
    folder.append(ASKED, [{"prompt_id": number, "messages": messages, "response": None} for number, messages in asked.items()])

    reward.run(folder)

    found = read(folder.path)
    assert found is not None
    assert {number for cluster in found.clusters for number in cluster.prompt_ids} == asked.keys()
