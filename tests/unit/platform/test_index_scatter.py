"""Reading and splitting the parts: which are read at once, and parts that do not belong together."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.embedded_shop import embedded_shop, shop_rows, write_part
from visnet.platform.embeddings import vector_array
from visnet.platform.errors import StoreError
from visnet.platform.index_scatter import groups, split
from visnet.platform.store import Store


@pytest.mark.parametrize("at_least", [1, 2, 4, 10, 99])
def test_groups_are_runs_of_all_parts(store: Store, at_least: int) -> None:
    sources = embedded_shop(store, shop_rows(95)).sources
    runs = groups(sources, at_least=at_least)
    assert [part for run in runs for part in run] == list(range(10))
    assert min(at_least, 10) <= len(runs) <= 10


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"catalog_row": pa.array(range(1, 11), pa.int64())}, "it names rows beyond the 10 there are"),
        ({"catalog_row": pa.array(range(-1, 9), pa.int64())}, "it names rows beyond the 10 there are"),
        ({"image_id": pa.array([f"x{n}" for n in range(10)])}, "image_id differs"),
        ({"product_id": pa.array(["p1"] * 10)}, "product_id differs"),
        ({"content_hash": pa.array(["0" * 32] * 9 + [None])}, "missing"),
        ({"content_hash": pa.array(["0" * 31 + "x"] * 10)}, "32 hex digits"),
        ({"content_hash": pa.array(["0" * 30] * 10)}, "embed the catalogue anew: delete embeddings/e/shop-v1 "),
        ({"vector": vector_array(np.ones((10, 9)))}, "not all 8 float16 numbers"),
        ({"vector": pa.array([[1.0] * 8] * 10)}, "not all 8 float16 numbers"),
        ({"vector": pa.array([[np.float16(1)] * 8] * 9 + [None], pa.list_(pa.float16(), 8))}, "not all 8"),
    ],
)
def test_embeddings_of_something_else_are_refused(store: Store, changes: dict[str, pa.Array], why: str) -> None:
    shop = embedded_shop(store)
    path = shop.sources.catalog.part_paths()[1]
    part = pq.read_table(path, columns=["image_id", "product_id", "content_hash"])
    write_part(store, "part-00001.parquet", part, shop.vector_ND[10:20], frozenset(), **changes)
    with pytest.raises(StoreError, match=rf"part 1 of the embeddings by e does not belong to part 1 .*{why}"):
        split(shop.sources, [0, 1], 2)


@pytest.mark.parametrize("data", [b"", b"PAR1 nonsense", None])
def test_a_broken_part_is_named(store: Store, data: bytes | None) -> None:
    shop = embedded_shop(store)
    name = "embeddings/e/shop-v1/part-00002.parquet"
    if data is None:
        store.filesystem.delete_file(store.path(name))
    else:
        store.write(name, data)
    with pytest.raises(StoreError, match=r"can't read .*part-00002.parquet"):
        split(shop.sources, [2], 2)
