"""The embedder's batches follow the load, as plain data."""

from visnet.serve.adaptive_batch import AdaptiveBatch

START = AdaptiveBatch(most=32, most_wait_s=0.01, target_s=0.5)


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
    assert run(grown, 20, taken_s=2.0).size == 1


def test_alone_nobody_waits() -> None:
    assert run(START, 20, photos=1).wait_s == 0


def test_in_company_the_wait_is_a_part_of_what_a_batch_takes_and_bounded() -> None:
    assert 0 < run(START, 50, photos=4, taken_s=0.02).wait_s <= 0.0021
    assert run(START, 50, photos=4, taken_s=10).wait_s == 0.01


def test_when_the_crowd_has_gone_the_waiting_ends() -> None:
    crowd = run(START, 50, photos=4)
    assert crowd.wait_s > 0
    assert run(crowd, 20, photos=1).wait_s == 0
