"""The pass in one process, against the slow way: every image of the shop looked at for every product."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.recommend_shop import shop, slow_neighbours, write_index
from visnet.batch import recommend as job
from visnet.batch.recommend import Figures, check, finished_pass, plan_units, recommendations_id, run_pass
from visnet.batch.recommend_cli import resized
from visnet.batch.recommend_runner import InProcess
from visnet.batch.recommend_unit import Unit, even_runs
from visnet.platform.errors import SettingsError, StoreError
from visnet.platform.index import IndexManifest
from visnet.platform.recommendations import Neighbours, RecommendationsManifest, newest_recommendations
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

PLAIN = RecommendSettings(k=5, batch_size=16, unit_products=40, gpus_per_shard=0.0)
TOLERANCE = 2e-3
"""Of scores: the vectors are float16."""


def run(store: Store, index: IndexManifest, settings: RecommendSettings) -> tuple[RecommendationsManifest, Figures]:
    return run_pass(store, index, settings, InProcess(store, index, settings), started=time.monotonic())


def found(store: Store, manifest: RecommendationsManifest, products: set[str]) -> dict[str, list[tuple[str, float]]]:
    """Everybody's neighbours, as serving reads them."""
    shards = [Neighbours(store, manifest.recommendations, shard) for shard in range(len(manifest.parts))]
    answers = {
        product: [answer for shard in shards if (answer := shard.of(product)) is not None] for product in products
    }
    assert all(len(answer) == 1 for answer in answers.values()), "each product stands in one shard"
    return {product: answer[0] for product, answer in answers.items()}


def compare(store: Store, rows: list[dict[str, Any]], settings: RecommendSettings, *, shards: int = 3) -> None:
    index = write_index(store, rows, shards=shards)
    manifest, _ = run(store, index, settings)
    products = {row["product_id"] for row in rows}
    assert manifest.products == len(products)
    answers = found(store, manifest, products)
    assert manifest.neighbours == sum(len(answer) for answer in answers.values())
    for product, answer in answers.items():
        expected = slow_neighbours(rows, product, settings)
        assert len(answer) == len(expected), product
        np.testing.assert_allclose(
            [score for _, score in answer], [score for _, score in expected], atol=TOLERANCE, err_msg=product
        )
        check_order(rows, answer, expected)


def check_order(rows: list[dict[str, Any]], answer: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    """The same products in the same order, but for those that share an image: any of them may stand for all."""
    contents = {}
    for row in rows:
        contents.setdefault(row["product_id"], set()).add(row["content"])
    for (neighbour, _), (wanted, _) in zip(answer, expected, strict=True):
        assert neighbour == wanted or contents[neighbour] & contents[wanted]


RULES = {
    "plain": {},
    "same category": {"same_category": True},
    "in stock": {"in_stock": "stock"},
    "price band": {"price_band": 0.3},
    "narrow band": {"price_band": 0.02},
    "diverse": {"diversity": 0.4},
    "diverse among few": {"diversity": 0.7, "candidates": 8},
    "all": {"same_category": True, "in_stock": "stock", "price_band": 0.5, "diversity": 0.3},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("seed", [0, 1])
def test_every_product_gets_what_looking_at_everything_gives(store: Store, rules: dict[str, Any], seed: int) -> None:
    compare(store, shop(120, seed=seed), dataclasses.replace(PLAIN, **rules))


@pytest.mark.parametrize("k", [1, 20, 500])
@pytest.mark.parametrize("shards", [1, 4])
def test_any_k_on_any_number_of_shards(store: Store, k: int, shards: int) -> None:
    compare(store, shop(50, seed=2), dataclasses.replace(PLAIN, k=k), shards=shards)


@pytest.mark.parametrize("copies", [0.0, 0.6, 0.95])
def test_many_copies_across_shards(store: Store, copies: float) -> None:
    compare(store, shop(90, copies=copies, seed=3), PLAIN)


@pytest.mark.parametrize(("batch_size", "unit_products"), [(1, 7), (1000, 1000), (7, 20)])
def test_batches_and_units_of_any_size(store: Store, batch_size: int, unit_products: int) -> None:
    rules = {"same_category": True, "price_band": 0.4}
    settings = dataclasses.replace(PLAIN, batch_size=batch_size, unit_products=unit_products, **rules)
    compare(store, shop(60, seed=4), settings)


def test_one_product_alone_has_nobody(store: Store) -> None:
    compare(store, shop(1), PLAIN)


def test_two_products_in_more_shards_than_products(store: Store) -> None:
    compare(store, shop(2, copies=0.0), PLAIN, shards=5)


def test_all_images_alike_leave_nobody(store: Store) -> None:
    rows = shop(20, copies=0.0)
    for row in rows:
        row["content"], row["vector"] = "same", rows[0]["vector"]
    index = write_index(store, rows)
    manifest, _ = run(store, index, PLAIN)
    assert (manifest.products, manifest.neighbours) == (20, 0)


def test_ids_of_any_letters(store: Store) -> None:
    compare(store, shop(40, prefix="ähn😀\ufffd/ "), dataclasses.replace(PLAIN, diversity=0.2))


def test_nobody_in_stock(store: Store) -> None:
    rows = shop(30)
    for row in rows:
        row["stock"] = 0
    compare(store, rows, dataclasses.replace(PLAIN, in_stock="stock", diversity=0.2))


def test_no_prices_at_all_is_no_band(store: Store) -> None:
    rows = shop(30)
    for row in rows:
        row["price"] = None
    compare(store, rows, dataclasses.replace(PLAIN, price_band=0.1))


def parts(store: Store, manifest: RecommendationsManifest) -> dict[str, bytes]:
    folder = Path(store.path(f"recommendations/{manifest.recommendations}"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("shard-*/*"))}


def test_an_interrupted_pass_goes_on_and_leaves_the_same_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = shop(200, seed=5)
    index = write_index(store, rows)
    whole, figures = run(store, index, PLAIN)
    wanted = parts(store, whole)
    assert sum(whole.parts) == len(wanted) > 4
    assert figures.computed == 200
    store.delete_directory(f"recommendations/{whole.recommendations}")

    class Killed(InProcess):
        def write(self, units: Any, fetch: int, recommendations: str) -> Any:
            return super().write(units[:3], fetch, recommendations)

    monkeypatch.setattr(job, "_publish", lambda *_: pytest.fail("published half a pass"))
    with pytest.raises(pytest.fail.Exception):
        run_pass(store, index, PLAIN, Killed(store, index, PLAIN), started=0.0)
    assert finished_pass(store, index, PLAIN) is None
    monkeypatch.undo()
    store.write(f"recommendations/{whole.recommendations}/shard-0000/part-00000.arrow.1.tmp", b"left by a kill")
    again, figures = run(store, index, PLAIN)
    assert 0 < figures.computed < 200
    made = parts(store, again)
    assert made == wanted, "and nothing of what was left"
    assert (again.products, again.neighbours, again.parts) == (whole.products, whole.neighbours, whole.parts)
    assert finished_pass(store, index, PLAIN) == again


def test_an_index_without_keys_gives_the_same(store: Store) -> None:
    index = write_index(store, shop(100))
    manifest, _ = run(store, index, PLAIN)
    wanted = parts(store, manifest)
    store.delete_directory(f"recommendations/{manifest.recommendations}")
    for shard in range(index.shards):
        Path(store.path(f"indexes/x/shard-{shard:04d}/keys.arrow")).unlink()
    assert parts(store, run(store, index, PLAIN)[0]) == wanted


def test_a_shard_that_is_cut_off_or_too_short_is_refused(store: Store) -> None:
    index = write_index(store, shop(30))
    with pytest.raises(StoreError, match="does not have the"):
        run(store, dataclasses.replace(index, shard_rows=[1, *index.shard_rows[1:]]), PLAIN)
    rows = "indexes/x/shard-0001/rows.arrow"
    store.write(rows, store.read(rows)[:200])
    with pytest.raises(StoreError, match="can't read indexes/x/shard-0001"):
        run(store, index, PLAIN)


def test_a_part_of_another_size_is_refused(store: Store) -> None:
    index = write_index(store, shop(50))
    settings = dataclasses.replace(PLAIN, unit_products=10)
    manifest, _ = run(store, index, settings)
    directory = f"recommendations/{manifest.recommendations}"
    store.write(f"{directory}/shard-0000/part-00000.arrow", store.read(f"{directory}/shard-0002/part-00001.arrow"))
    store.write(f"{directory}/shard-0001/part-00000.arrow", store.read(f"{directory}/shard-0001/part-00001.arrow"))
    with pytest.raises(StoreError, match="instead of"):
        run(store, index, settings)


def test_other_rules_are_other_recommendations_and_resources_are_not(store: Store) -> None:
    index = write_index(store, shop(20))
    names = {
        recommendations_id(index, dataclasses.replace(PLAIN, **rules))
        for rules in [*RULES.values(), {"k": 6}, {"unit_products": 9}]
    }
    assert len(names) == len(RULES) + 2
    for same in ({"workers": 9}, {"batch_size": 3}, {"cpus_per_shard": 4.0}, {"price_column": "x"}, {"candidates": 9}):
        assert recommendations_id(index, dataclasses.replace(PLAIN, **same)) == recommendations_id(index, PLAIN)
    plain, _ = run(store, index, PLAIN)
    other, _ = run(store, index, dataclasses.replace(PLAIN, in_stock="stock"))
    assert plain.recommendations != other.recommendations
    assert other.rules["in_stock"] == "stock"
    assert newest_recommendations(store, "x") == other


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"in_stock": "stok"}, "in_stock: there is no attribute 'stok'; .*stock"),
        ({"in_stock": "category"}, "in_stock: expected true and false or numbers, but 'category' is string"),
        ({"price_band": 0.1, "price_column": "cost"}, "price_column: there is no attribute 'cost'; .*price"),
        ({"price_band": 0.1, "price_column": "image_id"}, "expected numbers, but 'image_id' is string"),
        ({"diversity": 0.1, "candidates": 4}, r"candidates: expected at least k \(5\), got 4"),
    ],
)
def test_rules_that_cannot_be_applied_are_refused(store: Store, rules: dict[str, Any], message: str) -> None:
    index = write_index(store, shop(5))
    with pytest.raises(SettingsError, match=message):
        check(store, index, dataclasses.replace(PLAIN, **rules))


def test_units_cover_every_product_once() -> None:
    assert plan_units([5, 0, 4, 1], 4) == [Unit(0, 0, 0, 5), Unit(2, 0, 0, 4), Unit(3, 0, 0, 1)]
    assert plan_units([5, 6], 2) == [
        *(Unit(0, 0, 0, 2), Unit(0, 1, 2, 4), Unit(0, 2, 4, 5)),
        *(Unit(1, 0, 0, 2), Unit(1, 1, 2, 4), Unit(1, 2, 4, 6)),
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_runs_are_of_even_size(size: int) -> None:
    for count in range(60):
        runs = even_runs(count, size)
        assert [place for first, last in runs for place in range(first, last)] == list(range(count))
        lengths = [last - first for first, last in runs]
        assert all(length == size for length in lengths[:-1])
        assert len(runs) < 2 or size / 2 <= lengths[-1] < 1.5 * size


def test_parts_are_what_any_arrow_reader_reads(store: Store) -> None:
    rows = shop(100)
    manifest, _ = run(store, write_index(store, rows), PLAIN)
    products: list[str] = []
    for shard, count in enumerate(manifest.parts):
        ids: list[str] = []
        for part in range(count):
            path = store.path(f"recommendations/{manifest.recommendations}/shard-{shard:04d}/part-{part:05d}.arrow")
            table = pa.ipc.open_file(path).read_all()
            assert table.column_names == ["product_id", "neighbour_ids", "scores"]
            ids += table["product_id"].to_pylist()
        assert ids == sorted(ids)
        products += ids
    assert sorted(products) == sorted({row["product_id"] for row in rows})


@pytest.mark.parametrize(
    ("shards", "cpus", "gpus", "expected"),
    [
        (2, 2, 0, (1.0, 0.0)),
        (1, 8, 0, (8.0, 0.0)),
        (3, 8, 0, (2.0, 0.0)),
        (8, 2, 0, (0.25, 0.0)),
        (2, 16, 1, (1.0, 0.5)),
        (2, 16, 8, (1.0, 1.0)),
        (8, 4, 4, (0.5, 0.5)),
    ],
)
def test_a_shards_process_fits_the_machine(shards: int, cpus: int, gpus: int, expected: tuple[float, float]) -> None:
    fitted = resized(RecommendSettings(), shards, cpus=cpus, gpus=gpus)
    assert (fitted.cpus_per_shard, fitted.gpus_per_shard) == expected
