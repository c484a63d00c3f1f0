"""How texts are put together to be read."""

from trainer.lm.batched_reading import by_length


def test_batches_hold_every_row_once_and_no_more_tokens_than_allowed() -> None:
    lengths = [3, 50, 7, 7, 20, 1, 90, 8]

    batches = list(by_length(lengths, 60))

    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert all(len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= 60 for batch in batches)
