"""A live shard over an approximate base: what it must never do, and the delta, which is exact."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.embedded_shop import unit_vectors
from visnet.platform import selection
from visnet.platform.ann import AnnParameters, AnnVectors, read_ann, write_ann
from visnet.platform.filters import Condition, Filter, check
from visnet.platform.live_shard import LiveShard, Remove, Replace
from visnet.platform.merge import NO_ROW
from visnet.platform.shard import Shard
from visnet.platform.store import Store

ROWS, DIMENSION, NEW = 2_000, 16, 40
LOOSE = AnnParameters(nlist=30, pq_bytes=4, nprobe=1, refine=1)

vector_ND = unit_vectors(ROWS + NEW, DIMENSION, clusters=20)
query_QD = vector_ND[:ROWS:60].astype(np.float32)


def row(number: int) -> dict[str, object]:
    return {
        "image_id": f"i{number:05d}",
        "product_id": f"p{number:05d}",
        "category": "old" if number < ROWS // 2 else "new",
        "price": number % 10,
        "content_hash": f"{number + 1:016x}{0:016x}",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ann")
    write_ann(Store(str(folder)), "shard", vector_ND[:ROWS], LOOSE)
    np.save(folder / "vectors.npy", vector_ND[:ROWS])
    return folder


@pytest.fixture
def live(folder: Path) -> LiveShard:
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    rows = pa.Table.from_pylist([row(number) for number in range(ROWS)])
    ann = AnnVectors(mapped, read_ann(Store(str(folder)), "shard"), LOOSE)
    return LiveShard(Shard(mapped, rows, vectors=ann))


@pytest.mark.parametrize("gather_cost", [18, 10**9])
@pytest.mark.parametrize("remembered", [True, False])
def test_nothing_dead_or_filtered_out_comes_up_and_k_do(
    live: LiveShard, monkeypatch: pytest.MonkeyPatch, remembered: bool, gather_cost: int
) -> None:
    """Every neighbour of the first query dies, one after the other: deeper and deeper, and then row by row."""
    monkeypatch.setattr(selection, "GATHER_COST", gather_cost)
    where = check(Filter(must=(Condition(field="price", lt=4),)), live.schema)
    near = np.argsort(-(vector_ND[:ROWS].astype(np.float32) @ query_QD[0]))
    for dead in (np.arange(0, ROWS, 3), near[:400], near[: ROWS - 30]):
        if remembered:
            live.search(query_QD, 5, where=where)  # its mask is there when rows die
        live.apply([Remove(product_id=f"p{number:05d}") for number in dead.tolist()])
        for given in (None, where):
            hits = live.search(query_QD, 10, where=given)
            passing = [n for n in range(ROWS) if len(live.rows_of(f"p{n:05d}")) and (given is None or n % 10 < 4)]
            assert ((hits.row_QK != NO_ROW).sum(axis=1) == min(10, len(passing))).all()
            found = hits.row_QK[hits.row_QK != NO_ROW]
            assert np.isin(found, passing).all()
            assert all(len(set(row_K)) == len(row_K) for row_K in hits.row_QK.tolist() if NO_ROW not in row_K)


def test_what_is_new_is_found_for_sure(live: LiveShard) -> None:
    numbers = range(ROWS, ROWS + NEW)
    live.apply(
        [
            Replace(product_id=f"p{number:05d}", rows=[row(number)], vector_ND=vector_ND[number : number + 1])
            for number in numbers
        ]
    )
    hits = live.search(vector_ND[ROWS:].astype(np.float32), 1)
    assert [found["product_id"] for found in live.rows_at(hits.row_QK[:, 0])] == [f"p{n:05d}" for n in numbers]
    assert live.vector_of_content(f"{ROWS + 1:016x}{0:016x}") is not None


def test_a_copy_written_again_is_found_once(live: LiveShard) -> None:
    copied = {**row(7), "product_id": "copy", "image_id": "copy"}
    live.apply([Replace(product_id="copy", rows=[copied], vector_ND=vector_ND[7:8])])
    found = live.rows_at(live.search(vector_ND[7:8].astype(np.float32), 5).row_QK[0])
    assert len({one["content_hash"] for one in found}) == 5
