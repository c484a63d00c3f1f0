"""Pooled states of the frozen base, beside transformers' own hidden states averaged by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from tests.failing_disk import full_disk
from trainer.lm.backbone import Backbone, attach_lora, chat_ids, trainable_parameters
from trainer.lm.forward import llama_like
from trainer.lm.loading import load_backbone
from trainer.reward.data import TokenSequence
from trainer.reward.features import FeatureCache, choose_layers, groups, layers_of, pooled_states

ANSWERS = ("Yes.", "It rains, and then it stops.", "No", "Perhaps tomorrow, if the wind turns and the sea is calm.")


@pytest.fixture(params=["llama_folder", "simple_lm_folder"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(str(request.getfixturevalue(request.param)))


def sequences(backbone: Backbone) -> list[TokenSequence]:
    tokenizer = backbone.tokenizer
    prompts = [chat_ids(tokenizer, [{"role": "user", "content": f"{'Well, ' * index}will it rain?"}]) for index in range(4)]
    return [
        TokenSequence(prompt, tokenizer(text, add_special_tokens=False)["input_ids"])
        for prompt, text in zip(prompts, ANSWERS, strict=True)
    ]


def by_hand(backbone: Backbone, item: TokenSequence) -> list[Tensor]:
    with torch.no_grad():
        out = backbone.plain(input_ids=torch.tensor([item.prompt_ids + item.response_ids]), output_hidden_states=True)
    return [layer[0, len(item.prompt_ids) :].mean(0) for layer in out.hidden_states]


def test_pooled_states_are_means_over_the_answers_tokens_whatever_the_batch(backbone: Backbone) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)

    together = pooled_states(backbone, items, layers)
    backwards = pooled_states(backbone, items[::-1], layers)

    for row, item in enumerate(items):
        alone = pooled_states(backbone, [item], layers)
        for layer, expected in enumerate(by_hand(backbone, item)):
            torch.testing.assert_close(together[layer][row], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(backwards[layer][-1 - row], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(alone[layer][0], expected, atol=1e-5, rtol=1e-4)


def test_an_end_token_that_was_kept_changes_nothing(backbone: Backbone) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    ended = [item._replace(response_ids=[*item.response_ids, backbone.tokenizer.eos_token_id]) for item in items]

    plain, kept = pooled_states(backbone, items, layers), pooled_states(backbone, ended, layers)

    for layer in layers:
        torch.testing.assert_close(kept[layer], plain[layer], atol=1e-5, rtol=1e-4)


def test_a_policys_training_leaves_the_features_alone(backbone: Backbone) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    before = pooled_states(backbone, items, layers)
    attach_lora(backbone, rank=2, layers=2, seed=0)
    with torch.no_grad():
        for parameter in trainable_parameters(backbone):
            parameter.add_(0.1)

    after = pooled_states(backbone, items, layers)

    for layer in layers:
        torch.testing.assert_close(after[layer], before[layer], atol=1e-5, rtol=1e-4)


def test_a_text_is_read_once_and_then_comes_from_the_cache(backbone: Backbone, tmp_path: Path) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    seen: list[tuple[int, int]] = []
    first = pooled_states(backbone, items + items, layers, FeatureCache(tmp_path, backbone, layers))

    again = pooled_states(
        backbone, items + items, layers, FeatureCache(tmp_path, backbone, layers), lambda done, total: seen.append((done, total))
    )

    assert seen == [(4, 4)]
    for layer in layers:
        assert torch.equal(first[layer], again[layer])


def test_a_part_of_each_row_can_be_read_alone(backbone: Backbone, tmp_path: Path) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    means = pooled_states(backbone, items, layers, cache := FeatureCache(tmp_path, backbone, layers))
    width = means[layers[0]].shape[1]

    parts = dict(cache.read([item.digest for item in items], slice(width, width + 5)))

    for index, item in enumerate(items):
        assert torch.equal(parts[item.digest], means[layers[1]][index, :5])


def test_another_base_has_another_cache(llama_folder: Path, simple_lm_folder: Path, tmp_path: Path) -> None:
    one, other = load_backbone(str(llama_folder)), load_backbone(str(simple_lm_folder))

    assert FeatureCache(tmp_path, one, [0, 1]).folder != FeatureCache(tmp_path, other, [0, 1]).folder
    assert FeatureCache(tmp_path, one, [0, 1]).folder != FeatureCache(tmp_path, one, [0, 2]).folder


def test_a_damaged_shard_is_computed_again(backbone: Backbone, tmp_path: Path) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    first = pooled_states(backbone, items, layers, FeatureCache(tmp_path, backbone, layers))
    for shard in tmp_path.rglob("*.safetensors"):
        shard.write_bytes(shard.read_bytes()[:40])

    again = pooled_states(backbone, items, layers, FeatureCache(tmp_path, backbone, layers))

    for layer in layers:
        assert torch.equal(first[layer], again[layer])


def test_what_was_read_before_a_cancelled_run_stays(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    monkeypatch.setattr("trainer.lm.batched_reading.BATCH_TOKENS", 1)  # one text a batch

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pooled_states(backbone, items, layers, FeatureCache(tmp_path, backbone, layers), stop)

    kept = FeatureCache(tmp_path, backbone, layers)
    assert sum(item.digest in kept for item in items) == 2


def test_a_shallow_model_is_read_whole_a_deep_one_at_a_dozen_layers_at_most(backbone: Backbone) -> None:
    config = backbone.plain.config
    assert choose_layers(backbone) == list(range(config.num_hidden_layers + 1))

    config.num_hidden_layers = 30
    stops = llama_like(backbone)  # where it was told to
    assert choose_layers(backbone) == ([*range(0, 23, 2)] if stops else [0, 3, 5, 8, 11, 14, 16, 19, 22, 25, 27, 30])

    config.num_hidden_layers = 12
    assert choose_layers(backbone) == (list(range(10)) if stops else [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12])


def test_no_layer_runs_above_the_highest_that_is_wanted(llama_folder: Path) -> None:
    backbone, ran = load_backbone(str(llama_folder)), []
    items = sequences(backbone)
    expected = pooled_states(backbone, items, choose_layers(backbone))
    for index, layer in enumerate(backbone.plain.model.layers):
        layer.register_forward_hook(lambda *_said, index=index: ran.append(index))

    found = pooled_states(backbone, items, [0, 1])

    assert set(ran) == {0}
    for layer, states in found.items():
        torch.testing.assert_close(states, expected[layer], atol=1e-5, rtol=1e-4)


def test_length_groups_are_offered_only_on_request() -> None:
    means, lengths = {0: torch.tensor([[1.0, 2.0]]), 3: torch.tensor([[5.0]])}, torch.tensor([4.0])

    with_length = groups(means, lengths, with_length=True)

    assert list(groups(means, lengths, with_length=False)) == ["layer_0", "layer_3"]
    assert with_length["sum_0"].tolist() == [[4.0, 8.0]]
    assert with_length["log_length"].tolist() == [[pytest.approx(1.386294)]]
    assert layers_of(with_length) == [0, 3]
    assert layers_of(["log_length", "layer_3"]) == [0, 3]


def test_features_for_which_there_is_no_room_leave_nothing(llama_folder: str, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, load_backbone(str(llama_folder)), [0, 1])
    rows = {"digest": torch.zeros(2, 10_000)}
    with full_disk(8_192), pytest.raises((OSError, SafetensorError)):
        cache.write(rows)
    assert list(cache.folder.iterdir()) == []
    assert "digest" not in cache
    cache.write(rows)
    assert "digest" in cache


def test_in_a_file_the_means_are_the_same_and_lie_there_layer_by_layer(backbone: Backbone, tmp_path: Path) -> None:
    items, layers = sequences(backbone), choose_layers(backbone)
    expected = pooled_states(backbone, items + items, layers)
    place = tmp_path / "state" / "features.bin"

    for cache in (None, FeatureCache(tmp_path, backbone, layers), FeatureCache(tmp_path, backbone, layers)):
        found = pooled_states(backbone, items + items, layers, cache, place=place)
        for layer in layers:
            assert torch.equal(found[layer], expected[layer])

    numbers = torch.from_file(str(place), size=place.stat().st_size // 4, dtype=torch.float32)
    assert torch.equal(numbers, torch.cat([expected[layer].flatten() for layer in layers]))
