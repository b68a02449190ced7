"""The fold's catalogue: the old one overlaid with the journal, whatever was written, whenever it is killed."""

import datetime
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.journals import append, opened, picture, upsert
from visnet.platform import catalog as catalog_module
from visnet.platform import fold as fold_module
from visnet.platform.catalog import Catalog, open_catalog, write_catalog
from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError, NotFoundError, StoreError
from visnet.platform.fold import fold_catalog, fold_work, open_fold
from visnet.platform.journal import Delete, Journal, JournalGapError, Upsert
from visnet.platform.store import Store


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with opened(str(tmp_path / "journal.sqlite")) as journal:
        yield journal


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts and groups, however few the rows."""
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 7)
    monkeypatch.setattr(catalog_module, "ROW_GROUP_BYTES", 200)
    monkeypatch.setattr(fold_module, "GROUP_ROWS", 3)


def shop(store: Store, count: int = 30, *, version: str = "v1", **further: Any) -> Catalog:
    """Products of two images each."""
    rows = pa.table(
        {
            "image_id": [f"i{n}" for n in range(count)],
            "product_id": [f"p{n // 2}" for n in range(count)],
            "category": [f"c{n % 3}" for n in range(count)],
            "image": pa.array([picture(f"old {n}")[1] if n % 5 else None for n in range(count)], pa.binary()),
            "uri": [None if n % 5 else f"https://shop.example/{n}.jpg" for n in range(count)],
            "price": [n / 2 for n in range(count)],
            "since": [datetime.date(2026, 1, 1 + n % 28) for n in range(count)],
            "brand": pa.array([f"b{n % 3}" for n in range(count)]).dictionary_encode(),
        }
    )
    schema = rows.schema.set(5, pa.field("price", pa.float64(), nullable=False))
    batches = [rows.cast(schema).slice(first, 7) for first in range(0, count, 7)]
    return write_catalog(store, name="shop", version=version, source="a test", batches=batches, **further)


def fold(store: Store, journal: Journal) -> Catalog:
    return fold_catalog(store, open_fold(store, "shop", journal), journal)


def products(catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    """Rows by product, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in catalog.read().to_pylist():
        found.setdefault(row["product_id"], []).append(row)
    return found


def rows_of(write: Upsert, **attributes: Any) -> list[dict[str, Any]]:
    """What the catalogue is to say of a product that was written."""
    return [
        {
            "image_id": image.image_id,
            "product_id": write.product_id,
            "category": write.category,
            "image": next(data for key, data in map(picture, (*range(30), "a", "b", "c")) if key == image.content_hash),
            "uri": None,
            "content_hash": image.content_hash,
            **{name: attributes.get(name) for name in ("price", "since", "brand")},
        }
        for image in write.images
    ]


def test_the_catalogue_is_overlaid_with_the_journal(store: Store, journal: Journal) -> None:
    wanted = products(shop(store))
    dice = random.Random(0)
    for number in range(60):
        product = f"p{dice.randrange(25)}"
        if dice.random() < 0.3:
            append(journal, Delete(product_id=product))
            wanted.pop(product, None)
        else:
            names = dice.sample(range(30), dice.randint(1, 3))
            attributes = {"price": float(number), "since": "2026-02-03", "brand": "new"}
            write = upsert(product, *names, **attributes)
            append(journal, write)
            wanted[product] = rows_of(write, **{**attributes, "since": datetime.date(2026, 2, 3)})
    made = fold(store, journal)
    assert products(made) == wanted
    assert open_catalog(store, "shop").manifest == made.manifest
    assert made.manifest.journal_sequence == journal.head() == 60
    assert (made.manifest.products, made.manifest.images) == (len(wanted), sum(map(len, wanted.values())))
    assert made.read().schema.field("brand").type == pa.dictionary(pa.int32(), pa.string())
    assert not store.exists(f"catalogs/shop/{made.manifest.version}/skipped.parquet")


def test_attributes_become_the_columns_types_or_are_missing(store: Store, journal: Journal) -> None:
    shop(store)
    append(journal, upsert("new", 1, price=3, since="not a date", unknown="of another catalogue", brand=None))
    (row,) = products(fold(store, journal))["new"]
    assert (row["price"], row["since"], row["brand"]) == (3.0, None, None)
    assert "unknown" not in row


def test_ids_that_two_products_share_are_theirs(store: Store, journal: Journal) -> None:
    """Live writes may call the first picture of every product `front`; the fold must not fail for it."""
    shop(store, 4)
    images = upsert("p0", 1).images
    for product in ("a", "b"):
        append(journal, Upsert(product_id=product, category="c", attributes={}, images=images))
    made = products(fold(store, journal))
    assert made["a"][0]["image_id"] == made["b"][0]["image_id"] == images[0].image_id


def test_a_second_fold_goes_on_where_the_first_ended(store: Store, journal: Journal) -> None:
    shop(store)
    append(journal, upsert("p1", 1), Delete(product_id="p2"))
    first = fold(store, journal)
    store.delete_directory(fold_work("shop"))
    assert fold(store, journal).manifest == first.manifest
    assert journal.trim(2) == 2
    append(journal, upsert("p2", 2), Delete(product_id="p1"))
    second = fold(store, journal)
    assert second.manifest.journal_sequence == 4
    assert second.manifest.source == "a test, with the journal up to 4"
    wanted = {**products(first), "p2": rows_of(upsert("p2", 2))}
    del wanted["p1"]
    assert products(second) == wanted


def test_what_is_written_while_it_folds_is_left_to_the_next(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(store)
    append(journal, upsert("p1", 1), upsert("p2", 2))
    read = fold_module._groups

    def meanwhile(*arguments: Any) -> Iterator[pa.Table]:
        append(journal, Delete(product_id="p1"), upsert("p2", 3), upsert("late", 4))
        yield from read(*arguments)

    monkeypatch.setattr(fold_module, "_groups", meanwhile)
    begun = open_fold(store, "shop", journal)
    append(journal, Delete(product_id="p3"))
    made = fold_catalog(store, begun, journal)
    assert made.manifest.journal_sequence == 2
    assert journal.head() > 2
    found = products(made)
    assert len(found["p3"]) == 2
    assert found["p1"] == rows_of(upsert("p1", 1))
    assert found["p2"] == rows_of(upsert("p2", 2))
    assert "late" not in found


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> Iterator[None]:
    """The process dies after it has written so many files of the store."""
    left = writes
    write = Store.write

    def counted(self: Store, name: str, data: bytes) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", counted)
        yield


def test_killed_anywhere_it_ends_with_the_same(
    store: Store, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Store(str(tmp_path / "undisturbed"))
    for place in (store, undisturbed):
        shop(place)
    append(journal, *[upsert(f"p{n}", n, n + 1) for n in range(12)])
    wanted = fold(undisturbed, journal)
    kills = 0
    while True:
        with killed_after(monkeypatch, kills):
            try:
                made = fold(store, journal)
                break
            except KeyboardInterrupt:
                assert open_catalog(store, "shop").manifest.version == "v1"
        if kills == 3:
            append(journal, upsert("later", 1))  # the fold that was begun goes on without it
        kills += 1
    assert kills > 4
    assert made.reference == wanted.reference
    assert made.read().equals(wanted.read())
    assert store.names("catalogs/shop") == sorted(["v1", made.manifest.version])


def test_a_fold_whose_catalogue_was_overtaken_is_begun_anew(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(store)
    append(journal, upsert("p1", 1))
    begun = open_fold(store, "shop", journal)
    with killed_after(monkeypatch, 2), pytest.raises(KeyboardInterrupt):
        fold_catalog(store, begun, journal)
    assert begun.version in store.names("catalogs/shop")
    shop(store, 20, version="v2")
    again = open_fold(store, "shop", journal)
    assert (again.base_version, again.after, again.head) == ("v2", 0, 1)
    assert store.names("catalogs/shop") == ["v1", "v2"]  # nothing half there
    assert products(fold_catalog(store, again, journal))["p1"] == rows_of(upsert("p1", 1))


def test_photos_and_what_was_skipped_stay(store: Store, journal: Journal) -> None:
    photos = pa.table(
        {
            "image_id": [f"photo {n}" for n in range(9)],
            "product_id": [f"p{n}" for n in range(9)],
            "category": ["c"] * 9,
            "split": ["train"] * 5 + ["test"] * 4,
            "image": pa.array([b"photo"] * 9, pa.binary()),
            "box": [[0.0, 0.0, 0.5, 1.0]] + [None] * 8,
        }
    )
    before = shop(store, photos=[photos], skipped=[Skipped("x.jpg", "no such file")])
    append(journal, Delete(product_id="p1"))
    made = fold(store, journal)
    assert made.photos().equals(before.photos())
    assert (made.manifest.photo_splits, made.manifest.skipped) == ({"test": 4, "train": 5}, {"no such file": 1})


def test_nothing_new_writes_nothing(store: Store, journal: Journal) -> None:
    before = shop(store)
    assert fold(store, journal).manifest == before.manifest
    assert not store.exists(fold_work("shop"))


def test_a_catalogue_of_nothing_is_refused_and_the_next_fold_may_succeed(store: Store, journal: Journal) -> None:
    shop(store, 2)
    append(journal, Delete(product_id="p0"))
    with pytest.raises(CatalogError, match="no images"):
        fold(store, journal)
    assert store.names("catalogs/shop") == ["v1"]
    append(journal, upsert("p0", 1))
    assert list(products(fold(store, journal))) == ["p0"]


def test_a_journal_that_lacks_something_is_not_folded(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="no catalogue shop"):
        fold(store, journal)
    shop(store)
    append(journal, upsert("p1", 1), upsert("p2", 2))
    with monkeypatch.context() as patch:
        patch.setattr(type(journal), "image", lambda *_: None)
        with pytest.raises(StoreError, match="does not have it: write the product again"):
            fold(store, journal)
    journal.trim(1)
    with pytest.raises(JournalGapError, match="no longer kept"):
        fold(store, journal)
    write_catalog(
        store, name="shop", version="v3", source="", batches=[shop(store, 2, version="v2").read()], journal_sequence=9
    )
    with pytest.raises(JournalGapError, match="the journal ends at 2"):
        open_fold(store, "shop", journal)
