"""The embedder's batches follow the load, as plain data."""

from visnet.serve.adaptive_batch import AdaptiveBatch

START = AdaptiveBatch(most=32, target_s=0.5)


def run(batch: AdaptiveBatch, times: int, *, photos: int | None = None, taken_s: float = 0.1) -> AdaptiveBatch:
    for _ in range(times):
        batch = batch.after(batch.size if photos is None else photos, taken_s)
    return batch


def test_full_batches_grow_to_the_most_there_may_be() -> None:
    assert run(START, 1).size == 8
    assert run(START, 20).size == 32


def test_batches_that_are_not_full_stay() -> None:
    assert run(START, 20, photos=2).size == START.size


def test_batches_that_take_too_long_shrink_down_to_one_photo() -> None:
    grown = run(START, 20)
    assert grown.after(32, 0.6).size == 16
    assert grown.after(6, 0.6).size == 3
    assert run(grown, 20, taken_s=2.0).size == 1


def test_from_one_photo_they_grow_again() -> None:
    assert run(run(START, 20, taken_s=2.0), 20).size == 32


def test_it_begins_within_its_bounds() -> None:
    assert AdaptiveBatch(most=2, target_s=1.0).size == 2
