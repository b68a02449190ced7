"""A pass that changes its size on the way: when it does, and that it tells every row once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from visnet.batch import embed_job
from visnet.batch.embed_job import UNITS_TO_GROW, OnRay, Work, resizes
from visnet.batch.embed_plan import Plan
from visnet.platform.errors import StoreError
from visnet.platform.settings import EmbedSettings


@pytest.mark.parametrize(
    ("has", "wanted", "left", "expected"),
    [
        (4, 4, 1_000, False),
        (4, 3, 1_000, True),
        (4, 1, 1, True),  # at once: somebody waits
        (1, 4, 4 * UNITS_TO_GROW + 1, True),
        (1, 4, 4 * UNITS_TO_GROW, False),  # it would not pay
        (1, 4, 0, False),
    ],
)
def test_a_pass_shrinks_at_once_and_grows_where_it_pays(has: int, wanted: int, left: int, expected: bool) -> None:
    assert resizes(has, wanted, left) is expected


class Grant:
    """Room for the copies in a list, one after the other."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.copies, *self._next = sizes
        self.wanted = self.copies

    def resize(self) -> int:
        self.copies = self._next.pop(0)
        return self.copies


class Shop:
    """A pass over ten units of a hundred rows, but the last of forty, on runs that were made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sizes: int, **settings: Any) -> None:
        self.written: set[int] = set()
        self.runs: list[tuple[list[int], int]] = []
        self.asked: dict[str, Any] = {}
        self.granted = 0
        self.plan = Plan(
            plan="p", catalog="c@1", encoder_digest="d", sources=[], unit_rows=100, batch_size=10, todo=940,
            some_unread=False, part_rows=[940],
        )  # fmt: skip
        files: Any = SimpleNamespace(plan=self.plan, directory="work/it")
        nothing: Any = None
        chosen = EmbedSettings(actors=8, **settings)
        self.work = Work(catalog=nothing, files=files, encoder="e", preprocessing=nothing, settings=chosen)
        self.runner = OnRay()
        self._grant = Grant(sizes)
        monkeypatch.setattr(embed_job, "admitted", self._admitted)
        monkeypatch.setattr(embed_job, "missing_units", lambda _files: sorted(set(range(10)) - self.written))

    @contextlib.contextmanager
    def _admitted(self, **asked: Any) -> Iterator[Grant]:
        self.asked = asked
        self.granted += 1
        yield self._grant
        self.granted -= 1

    def runs_as(self, monkeypatch: pytest.MonkeyPatch, *runs: tuple[list[int], list[int]]) -> None:
        """What each run writes, and of that what it tells before it is stopped."""
        left = list(runs)

        def run(_self: OnRay, work: Work, units: Sequence[int], grant: Grant) -> Iterator[int]:
            assert work.settings.actors == grant.copies
            self.runs.append((list(units), grant.copies))
            written, told = left.pop(0)
            self.written |= set(written)
            yield from (self.plan.rows_of([unit]) for unit in told)

        monkeypatch.setattr(OnRay, "_until_resized", run)

    def told(self) -> list[int]:
        return list(self.runner.units(self.work, range(10)))


ALL = list(range(10))


def test_a_pass_that_keeps_its_size_is_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4)
    shop.runs_as(monkeypatch, (ALL, ALL))
    assert sum(shop.told()) == 940
    assert shop.runs == [(ALL, 4)]
    assert shop.granted == 0


def test_a_pass_that_was_interrupted_goes_on_with_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4, 2, 6)
    shop.runs_as(monkeypatch, ([0, 1, 9], [0, 9]), ([2, 3], [3]), ([4, 5, 6, 7, 8], [4, 5, 6, 7, 8]))
    assert sum(shop.told()) == 940  # with those that were written, but not told
    assert shop.runs == [(ALL, 4), ([2, 3, 4, 5, 6, 7, 8], 2), ([4, 5, 6, 7, 8], 6)]


def test_each_run_tells_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4, 2)
    shop.runs_as(monkeypatch, ([9, 0, 1], [9]), ([2, 3, 4, 5, 6, 7, 8], []))
    told = shop.runner.units(shop.work, range(10))
    assert [next(told), next(told)] == [40, 200]
    assert sum(told) == 700


def test_of_a_pass_that_goes_on_only_the_units_that_are_left_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4)
    shop.written = set(range(7))
    shop.runs_as(monkeypatch, ([7, 8, 9], [7, 8, 9]))
    assert sum(shop.runner.units(shop.work, [7, 8, 9])) == 240


def test_units_that_are_told_but_not_written_are_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4, 4)
    shop.runs_as(monkeypatch, (ALL[1:], ALL), ([0], [0]))
    assert sum(shop.told()) == 940
    assert shop.runs[1] == ([0], 4)


def test_a_run_that_writes_nothing_is_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4)
    shop.runs_as(monkeypatch, ([], []))
    with pytest.raises(StoreError, match="10 units of work/it were computed, but not written"):
        shop.told()


def test_a_run_that_tells_and_writes_nothing_is_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4)
    shop.runs_as(monkeypatch, ([], ALL))
    with pytest.raises(StoreError, match="computed, but not written"):
        shop.told()


def test_a_run_that_was_stopped_before_it_told_anything_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(monkeypatch, 4, 2)
    shop.runs_as(monkeypatch, ([0], []), (ALL[1:], ALL[1:]))
    assert sum(shop.told()) == 940


@pytest.mark.parametrize(("gpus", "beside"), [(1.0, 3.0), (0.0, 0.0)])
def test_the_room_that_a_pass_asks_for(monkeypatch: pytest.MonkeyPatch, gpus: float, beside: float) -> None:
    shop = Shop(monkeypatch, 4, gpus_per_actor=gpus, cpus_per_actor=2.0, decoding_cpus=3.0)
    shop.runs_as(monkeypatch, (ALL, ALL))
    shop.told()
    assert shop.asked == {
        "kind": "embed", "least": 1, "most": 8, "cpus": 2.0, "gpus": gpus, "beside_cpus": beside, "shrinks": True,
    }  # fmt: skip


def test_a_run_ends_when_the_pass_should_have_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    shop = Shop(monkeypatch, 4)
    grant: Any = Grant([4])
    grant.limit_data = lambda: None

    def batches(**_: Any) -> Iterator[pa.Table]:
        for number in range(5):
            yield pa.table({"rows": [100, 100]})
            grant.wanted = 1 if number == 1 else grant.wanted

    monkeypatch.setattr(OnRay, "_dataset", lambda _self, _work, _units: SimpleNamespace(iter_batches=batches))
    assert list(shop.runner._until_resized(shop.work, range(10), grant)) == [100] * 6
