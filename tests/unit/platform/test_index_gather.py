"""The files of a shard: how much memory writing them takes, and blocks that are not what they should be."""

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform import index_gather
from visnet.platform.errors import StoreError
from visnet.platform.index_gather import write_shard
from visnet.platform.index_scatter import Block, concat
from visnet.platform.store import Store

ROOT = Path(__file__).parents[3]
MIB = 2**20

MEASURE = """
import sys, threading, time
import numpy as np, pyarrow as pa
from visnet.platform.index_gather import write_shard
from visnet.platform.index_scatter import Block
from visnet.platform.store import Store

def block(first, rows, dimension):
    ids = pa.array([f"image-{number:09d}" for number in range(first, first + rows)])
    table = pa.table({"image_id": ids, "product_id": ids, "category": pa.array(["c"] * rows)})
    keys = np.arange(first, first + rows)
    return Block(table, np.ones((rows, dimension), np.float16), keys.astype(np.uint64)[::-1], keys)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def watch():
    global most
    while True:
        most = max(most, resident())
        time.sleep(0.001)

folder, rows, dimension, parts = sys.argv[1], *map(int, sys.argv[2:])
write_shard(Store(folder), "warm", 0, [block(0, 10, dimension)], 10)
before = most = resident()
threading.Thread(target=watch, daemon=True).start()
each = rows // parts
write_shard(Store(folder), "x", 0, (block(first, each, dimension) for first in range(0, rows, each)), rows)
print(most - before)
"""


def peak_bytes(folder: Path, *, rows: int, dimension: int, parts: int) -> int:
    """How much the memory of a process grows at most while it writes a shard."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to see a process's memory")
    arguments = [str(folder), str(rows), str(dimension), str(parts)]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_the_peak_is_near_the_shards_own_vectors_however_many_parts_there_are(tmp_path: Path) -> None:
    vectors = 60_000 * 1_024 * 2
    few, many = (peak_bytes(tmp_path, rows=60_000, dimension=1_024, parts=parts) for parts in (10, 60))
    own_rows, buffer = 60_000 * 150, index_gather.WRITE_BYTES
    assert few < vectors + 2 * own_rows + buffer + vectors // 10 + 32 * MIB  # and a block of a tenth
    assert many < vectors + 2 * own_rows + buffer + vectors // 60 + 32 * MIB
    assert many > vectors  # or the measure is blind


def make_block(first: int, rows: int, **columns: pa.Array) -> Block:
    number_N = np.arange(first, first + rows)
    ids = pa.array([f"i{number:03d}" for number in number_N], pa.string())
    table = pa.table({"image_id": ids, "product_id": ids, "category": pa.array(["c"] * rows, pa.string()), **columns})
    vector_ND = np.repeat(number_N[:, None], 4, axis=1).astype(np.float16)
    return Block(table, vector_ND, number_N.astype(np.uint64), number_N)


@pytest.mark.parametrize(("rows", "blocks"), [(5, 2), (7, 2), (0, 0), (6, 0)])
def test_another_number_of_rows_than_was_said_is_refused(store: Store, rows: int, blocks: int) -> None:
    with pytest.raises(StoreError, match=f"a shard of {rows} rows got"):
        write_shard(store, "x", 0, [make_block(3 * number, 3) for number in range(blocks)], rows)
    assert not store.exists("indexes/x/shard-0000/rows.arrow")


@pytest.mark.parametrize("batch_bytes", [1, 100, 2**30])
@pytest.mark.parametrize("rows", [0, 1, 37])
def test_columns_too_long_for_one_batch_come_in_several(
    store: Store, monkeypatch: pytest.MonkeyPatch, batch_bytes: int, rows: int
) -> None:
    monkeypatch.setattr(index_gather, "BATCH_BYTES", batch_bytes)
    monkeypatch.setattr(index_gather, "WRITE_BYTES", batch_bytes)
    tags = pa.array([[f"t{n}", "u"] for n in range(rows)], pa.list_(pa.string()))
    data = pa.array([bytes([n]) for n in range(rows)], pa.binary())
    block = make_block(0, rows, tags=tags, data=data)
    write_shard(store, "x", 0, [block], rows)
    folder = Path(store.path("indexes/x/shard-0000"))
    with pa.ipc.open_file(folder / "rows.arrow") as reader:
        assert reader.read_all().equals(block.rows)
        assert reader.schema.equals(block.rows.schema)
        assert rows < 37 or (reader.num_record_batches == 1) == (batch_bytes == 2**30)
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), block.vector_ND)


def test_blocks_are_let_go_of_one_by_one(store: Store) -> None:
    alive: list[weakref.ref[Any]] = []

    def blocks():  # type: ignore[no-untyped-def]
        for number in range(5):
            assert sum(reference() is not None for reference in alive) == 0
            block = make_block(3 * number, 3)
            alive.extend([weakref.ref(block.vector_ND), weakref.ref(block.rows)])
            yield block
            del block

    write_shard(store, "x", 0, blocks(), 15)
    assert len(alive) == 10


def test_concat_keeps_the_order() -> None:
    whole, parts = make_block(0, 9), [make_block(0, 4), make_block(4, 0), make_block(4, 5)]
    joined = concat(parts)
    assert joined.rows.equals(whole.rows)
    for name in ("vector_ND", "hash_N", "content_N"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
