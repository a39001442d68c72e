"""The queue: greedy, bounded, one shape, the oldest first; suspects run alone."""

from app.engine.batcher import Batcher, Item

SHAPE, OTHER = (8, 8, 3), (4, 4, 3)


def item(key: int, shape: tuple[int, ...] = SHAPE, **changes: object) -> Item[int]:
    values = {
        "size": (8, 8),
        "options": {},
        "deadline": 100.0,
        "alone": False,
        "queued_at": 0.0,
        "payload": b"",
        **changes,
    }
    return Item(key, shape, **values)  # type: ignore[arg-type]


def keys(items: list[Item[int]]) -> list[int]:
    return [each.key for each in items]


def filled(*items: Item[int], max_batch: int = 4) -> Batcher[int]:
    batcher: Batcher[int] = Batcher(max_batch)
    for each in items:
        batcher.put(each)
    return batcher


def test_takes_what_waits_and_no_more() -> None:
    batcher = filled(item(1), item(2))
    assert keys(batcher.take(0)[0]) == [1, 2]
    assert batcher.take(0) == ([], [])


def test_a_batch_is_bounded_and_the_rest_keeps_its_order() -> None:
    batcher = filled(*(item(key) for key in range(10)))
    assert [keys(batcher.take(0)[0]) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_oldest_decides_the_shape_of_its_batch() -> None:
    batcher = filled(item(1), item(2, OTHER), item(3), item(4, OTHER))
    assert keys(batcher.take(0)[0]) == [1, 3]
    assert keys(batcher.take(0)[0]) == [2, 4]


def test_where_the_model_takes_any_shape_the_oldest_go_together() -> None:
    batcher = filled(item(1), item(2, OTHER), item(3), item(4, OTHER, alone=True), max_batch=3)
    batcher.mixed = True
    assert [keys(batcher.take(0)[0]) for _ in range(2)] == [[1, 2, 3], [4]]


def test_a_batch_has_no_more_pixels_than_were_tried_and_a_larger_image_runs_by_itself() -> None:
    large, huge = (20, 10, 3), (100, 100, 3)
    batcher = filled(item(1, large), item(2, huge), item(3), item(4, large), item(5, large))
    batcher.mixed, batcher.max_pixels = True, 464
    batches = [keys(batcher.take(0)[0]) for _ in range(4)]
    assert batches == [[1, 3, 4], [2], [5], []], "20 * 10 + 8 * 8 + 20 * 10 = 464"


def test_a_suspect_runs_alone_and_others_do_not_wait_behind_it_twice() -> None:
    batcher = filled(item(1), item(2, alone=True), item(3))
    assert [keys(batcher.take(0)[0]) for _ in range(2)] == [[1, 3], [2]]


def test_a_suspect_that_is_the_oldest_goes_first_and_alone() -> None:
    batcher = filled(item(1, alone=True), item(2))
    assert [keys(batcher.take(0)[0]) for _ in range(2)] == [[1], [2]]


def test_expired_items_are_dropped_before_they_cost_a_forward() -> None:
    batcher = filled(item(1, deadline=5), item(2, deadline=50))
    batch, expired = batcher.take(5)
    assert (keys(batch), keys(expired)) == ([2], [1])


def test_a_cancelled_item_is_gone() -> None:
    batcher = filled(item(1), item(2))
    assert batcher.cancel(1)
    assert not batcher.cancel(1)
    assert keys(batcher.take(0)[0]) == [2]


def test_all_items_of_a_connection_go_with_it() -> None:
    batcher = filled(item(1), item(2), item(3))
    batcher.cancel_all(lambda key: key != 2)
    assert keys(batcher.take(0)[0]) == [2]
    assert len(batcher) == 0
