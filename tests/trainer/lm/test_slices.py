"""What is read in one pass: by hand."""

from __future__ import annotations

import torch

from trainer.lm.slices import Budget, slices


def test_slices_hold_so_many_rows_and_padded_tokens_at_most_the_longest_first() -> None:
    lengths = torch.tensor([3, 10, 4, 1, 9, 1, 1, 1])
    found = [part.tolist() for part in slices(lengths, Budget(rows=4, tokens=20))]
    assert found == [[1, 4], [2, 0, 3, 5], [6, 7]]  # 2 x 10 tokens, 4 rows, the rest


def test_a_row_longer_than_the_budget_is_read_alone() -> None:
    assert [part.tolist() for part in slices(torch.tensor([30, 2, 31]), Budget(8, 20))] == [[2], [0], [1]]
    assert list(slices(torch.tensor([], dtype=torch.long), Budget(8, 20))) == []
