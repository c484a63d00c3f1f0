"""What an order says of each two answers."""

from __future__ import annotations

import pytest

from trainer.contract.judgements.order import Order, order_of


def test_each_layer_is_better_than_all_below_it_and_equals_are_not_told_apart() -> None:
    order = order_of({"order": [[2], [1, 4]], "last": [3]}, 5)
    assert order == Order(5, ((1,), (0, 3)), (2,))
    assert order.unplaced == (4,)
    above = {1: {0, 3, 4, 2}, 0: {4, 2}, 3: {4, 2}, 4: {2}}
    assert sorted(order.pairs()) == sorted((better, worse) for better, some in above.items() for worse in some)


def test_those_without_a_place_are_not_compared_with_each_other() -> None:
    assert sorted(Order(4, ((2,),)).pairs()) == [(2, 0), (2, 1), (2, 3)]
    assert list(Order(3, ((0, 1, 2),)).pairs()) == []


@pytest.mark.parametrize("order", [Order(3, ((0,), (0,))), Order(3, ((3,),)), Order(3, ((),)), Order(3, ((0,),), (0,))])
def test_an_order_that_contradicts_itself_is_unsound(order: Order) -> None:
    assert not order.is_sound
    assert Order(3, ((0, 2),), (1,)).is_sound
