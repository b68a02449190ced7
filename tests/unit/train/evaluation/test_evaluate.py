"""The evaluation of small shops: which queries are asked, what is counted, and what is written."""

import dataclasses
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.evaluation import EvaluationManifest, evaluation_directory
from visnet.platform.manifest import read_manifest
from visnet.platform.networks import make_recipe
from visnet.platform.settings import EvaluateSettings
from visnet.platform.store import Store
from visnet.train.evaluation.evaluate import evaluate
from visnet.train.evaluation.plan import Request

BOX = (0.5, 0.5, 1.0, 1.0)
SETTINGS = EvaluateSettings()
Shop = Callable[..., Catalog]


def drawing(seed: int, *, side: int = 32, shade: int = 0) -> np.ndarray:
    """A pattern of a product's own: coarse random squares, brighter by `shade`."""
    coarse = np.random.default_rng(seed).integers(20, 200, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((side // 4, side // 4, 1), np.uint8)) + np.uint8(shade)


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def photo_of(product: int) -> bytes:
    """The product in the lower right quarter, another one all around."""
    pixels = np.tile(drawing(1000 + product), (2, 2, 1))
    pixels[32:, 32:] = drawing(product)
    return encoded(pixels)


def rows(products: Sequence[int], *, images: int = 1, **columns: Any) -> pa.Table:
    """Shop pictures, products in three categories by turns."""
    pairs = [(product, image) for product in products for image in range(images)]
    made = {
        "image_id": [f"p{product}-{image}" for product, image in pairs],
        "product_id": [f"p{product}" for product, _ in pairs],
        "category": [f"c{product % 3}" for product, _ in pairs],
        "image": [encoded(drawing(product, shade=20 * image)) for product, image in pairs],
        "uri": pa.nulls(len(pairs), pa.string()),
    }
    return pa.table(made | columns)


def photos(products: Sequence[int], *, split: str = "val", **columns: Any) -> pa.Table:
    made = {
        "image_id": [f"{split}-{product}" for product in products],
        "product_id": [f"p{product}" for product in products],
        "category": [f"c{product % 3}" for product in products],
        "split": [split] * len(products),
        "image": [photo_of(product) for product in products],
        "box": pa.array([BOX] * len(products), pa.list_(pa.float32())),
    }
    return pa.table(made | columns)


@pytest.fixture
def shop(store: Store) -> Shop:
    def make(table: pa.Table, *photo_tables: pa.Table) -> Catalog:
        return write_catalog(store, name="shop", version="v1", source="a test", batches=[table], photos=photo_tables)

    return make


def run(catalog: Catalog, encoder: str = "pixels", settings: EvaluateSettings = SETTINGS, **request: Any) -> Any:
    return evaluate(catalog.store, catalog, Request(encoder=encoder, **request), settings)


def replaced(table: pa.Table, row: int, **values: Any) -> pa.Table:
    """The table with some values of one row changed."""
    for name, value in values.items():
        column = table[name].to_pylist()
        column[row] = value
        table = table.set_column(table.column_names.index(name), name, pa.array(column, table[name].type))
    return table


def test_photos_are_cropped_to_their_boxes(shop: Shop) -> None:
    catalog = shop(rows(range(12)), photos(range(12)), photos(range(3), split="train"))
    found = run(catalog, split="val")
    assert (found.kind, found.queries, found.gallery) == ("photos", 12, 12)
    assert found.queries_kind == "photos of the split val, cropped to their boxes"
    assert found.figures.recall_at_k == {"1": 1.0, "5": 1.0, "10": 1.0, "20": 1.0}
    assert (found.figures.map_at_r, found.baselines) == (1.0, {})
    whole = run(catalog, split="val", whole_photo=True)
    assert whole.queries_kind == "photos of the split val, whole"
    assert whole.figures.recall_at_k["1"] < 0.5
    assert whole.queries_digest != found.queries_digest
    assert run(catalog, split="train").queries == 3


def test_every_gap_is_counted_and_an_unanswerable_query_is_a_miss(shop: Shop, tmp_path: Path) -> None:
    gallery = rows(range(9))
    gallery = replaced(gallery, 0, image=b"broken")  # p0 has no usable picture
    gallery = replaced(gallery, 1, image=None, uri=str(tmp_path / "gone.png"))
    asked = photos(range(12))  # p9 to p11 are in no gallery
    asked = replaced(asked, 2, image=b"", box=None)
    asked = replaced(asked, 3, box=None)
    asked = replaced(asked, 11, category="elsewhere")
    found = run(shop(gallery, asked), split="val")
    assert found.counts is not None
    assert dataclasses.asdict(found.counts) | {"unusable_examples": ...} == {
        "queries_found": 12,
        "queries_chosen": 12,
        "queries_unusable": 1,
        "queries_without_box": 1,
        "queries_without_category": 1,
        "gallery_unusable": 2,
        "products": 7,
        "products_unusable": 2,
        "unusable_examples": ...,
    }
    assert (found.queries, found.gallery, found.skipped) == (11, 7, 2)
    whole, within = found.figures.whole_gallery, found.figures.within_category
    assert (whole.unanswerable, within.unanswerable) == (5, 5)
    assert whole.recall_at_k["20"] == pytest.approx(6 / 11, abs=1e-4)  # as there are only 7 products
    assert whole.recall_at_k_answerable["20"] == 1.0
    assert found.figures.categories["elsewhere"].unanswerable == 1
    assert found.figures.categories["elsewhere"].gallery == 0
    assert found.figures.categories["elsewhere"].within_category == {"1": 0, "5": 0, "10": 0, "20": 0}
    examples = " ".join(found.counts.unusable_examples)
    assert "query val-2: the image is empty" in examples
    assert "gallery p0-0: " in examples
    assert "gone.png" in examples


def test_the_gallery_keeps_to_the_split_where_it_has_one(shop: Shop) -> None:
    table = rows(range(10), split=["val"] * 6 + ["train"] * 4)
    found = run(shop(table, photos(range(10))), split="val")
    assert (found.gallery, found.queries, found.filters) == (6, 10, ["split=val"])
    assert found.figures.whole_gallery.unanswerable == 4


def test_within_category_is_not_the_whole_gallery(shop: Shop) -> None:
    """A photo that looks like a product of another category is found only within its own."""
    asked = photos(range(6), image=[encoded(drawing((product + 1) % 6)) for product in range(6)], box=[None] * 6)
    found = run(shop(rows(range(6)), asked), split="val")
    assert found.figures.whole_gallery.recall_at_k["1"] == 0
    assert found.figures.within_category.recall_at_k["5"] == 1
    for of in found.figures.categories.values():
        assert (of.queries, of.gallery, of.products) == (2, 2, 2)


def test_macro_means_weigh_categories_alike(shop: Shop) -> None:
    pictures = [encoded(drawing(product)) for product in (0, 3, 6, 9, 2)]
    asked = photos([0, 3, 6, 9, 1], box=[None] * 5, image=pictures)  # the only query of c1 shows another product
    reach = run(shop(rows(range(12)), asked), split="val").figures.whole_gallery
    assert (reach.recall_at_k["1"], reach.macro_recall_at_k["1"]) == (0.8, 0.5)


def test_products_with_several_pictures_are_left_out_one_by_one(shop: Shop) -> None:
    table = pa.concat_tables([rows(range(6), images=3), rows(range(6, 9))])
    catalog = shop(replaced(table, 0, image=b"broken"))
    found = run(catalog)
    assert (found.kind, found.gallery, found.queries) == ("images", 20, 17)
    assert (found.counts.queries_found, found.counts.queries_unusable) == (18, 1)
    assert found.figures.recall_at_k["1"] == 1.0  # by a sister picture: a product of one picture is never asked
    assert found.figures.map_at_r == 1.0
    few = run(catalog, settings=EvaluateSettings(queries=5)).counts
    assert (few.queries_found, few.queries_chosen) == (18, 5)


def test_a_picture_whose_sisters_are_broken_is_unanswerable(shop: Shop) -> None:
    table = replaced(rows(range(4), images=2), 1, image=b"broken")
    found = run(shop(table))
    assert (found.queries, found.figures.whole_gallery.unanswerable) == (7, 1)
    assert found.figures.recall_at_k["20"] == pytest.approx(6 / 7, abs=1e-4)


def test_without_photos_and_sisters_the_queries_are_synthetic(shop: Shop) -> None:
    table = replaced(rows(range(30), split=["test"] * 20 + ["train"] * 10), 0, image=b"broken")
    catalog = shop(table)
    found = run(catalog, split="test")
    assert (found.kind, found.gallery, found.queries, found.skipped) == ("synthetic", 19, 19, 1)
    assert found.queries_kind == "synthetic wild views of gallery products"
    assert found.figures.recall_at_k["5"] > 0
    assert run(catalog, where=("split", "test")) == found  # the same thing in other words
    few = run(catalog, split="test", settings=EvaluateSettings(queries=4))
    assert (few.queries, few.counts.queries_found) == (4, 19)
    assert run(catalog).gallery == 29


def test_an_encoder_beside_its_baselines(shop: Shop, store: Store) -> None:
    catalog = shop(rows(range(12)), photos(range(12)))
    name = save_encoder(store, Encoder(make_recipe("visnet-tiny", width=4, dimension=16))).encoder
    found = run(catalog, name, split="val")
    assert list(found.baselines) == ["pixels", "untrained"]
    assert list(found.subjects) == [name, "pixels", "untrained"]
    assert found.subjects["untrained"].weights == f"fresh, of {name}'s recipe"
    assert found.evaluation.startswith(f"{name}-")
    other = run(catalog, name, split="val", against=("histogram", "pixels"))
    assert list(other.baselines) == ["histogram", "pixels"]
    assert other.queries_digest == found.queries_digest
    assert other.baselines["pixels"] == found.baselines["pixels"]


def test_differences_are_the_encoders_minus_the_others(shop: Shop) -> None:
    catalog = shop(rows(range(12)), photos(range(12)))
    found = run(catalog, split="val", whole_photo=True, against=("histogram",))
    for k, one in found.differences["histogram"].items():
        recalls = (found.figures.recall_at_k[k], found.baselines["histogram"].recall_at_k[k])
        assert one.difference == pytest.approx(recalls[0] - recalls[1], abs=2e-4)
        assert one.low <= one.difference <= one.high
    assert found.differences["histogram"]["1"].difference != 0


def test_the_same_again_is_given_back_and_all_is_seeded(shop: Shop, store: Store) -> None:
    catalog = shop(rows(range(20)))
    found = run(catalog)
    assert run(catalog) == found
    assert run(catalog, settings=EvaluateSettings(ks=(3,))).figures.recall_at_k.keys() == {"3"}
    store.delete_directory(evaluation_directory(found.evaluation))
    again = run(catalog)
    assert again.created_at != found.created_at
    assert again.figures == found.figures
    assert again.queries_digest == found.queries_digest
    assert run(catalog, settings=EvaluateSettings(seed=1)).figures != found.figures


def test_only_synthetic_queries_depend_on_the_encoders_size(shop: Shop, store: Store) -> None:
    names = [
        save_encoder(store, Encoder(make_recipe("visnet-tiny", width=4, dimension=8, image_size=size))).encoder
        for size in (28, 40)
    ]
    catalog = shop(rows(range(6)), photos(range(6)))
    assert len({run(catalog, name, split="val").queries_digest for name in names}) == 1
    assert len({run(catalog, name, kind="synthetic").queries_digest for name in names}) == 2


@pytest.mark.parametrize(("products", "images"), [(1, 1), (1, 2), (2, 1)])
def test_the_smallest_shops(shop: Shop, products: int, images: int) -> None:
    found = run(shop(rows(range(products), images=images)))
    assert found.figures.recall_at_k["20"] == 1.0
    assert (found.figures.category_precision_at_20 is None) == (products == 1)
    assert found.figures.triplet_accuracy_in_class is None


def test_what_cannot_be_asked_is_said(shop: Shop, store: Store) -> None:
    catalog = shop(rows(range(4)), photos(range(4)), photos(range(2), split="train"))
    with pytest.raises(CatalogError, match=r"photos in the splits train \(2\), val \(4\): say which with --split"):
        run(catalog)
    with pytest.raises(NotFoundError, match="'test'"):
        run(catalog, split="test")
    with pytest.raises(CatalogError, match="no usable pictures with category=c9"):
        run(catalog, split="val", where=("category", "c9"))
    with pytest.raises(NotFoundError, match="no encoder nobody"):
        run(catalog, "nobody", split="val")
    with pytest.raises(ValueError, match="untrained is an encoder's own network"):
        run(catalog, "pixels", split="val", against=("untrained",))


def test_the_artifact(shop: Shop, store: Store) -> None:
    catalog = shop(rows(range(12)), photos([*range(12), 40]))
    found = run(catalog, "pixels", split="val", against=("histogram",))
    directory = evaluation_directory(found.evaluation)
    assert store.names(directory) == ["contact-sheet.png", "manifest.json", "report.html"]
    assert read_manifest(store, directory, EvaluationManifest) == found
    assert json.loads(json.dumps(dataclasses.asdict(found)))["figures"]["recall_at_k"] == found.figures.recall_at_k
    assert Image.open(io.BytesIO(store.read(f"{directory}/contact-sheet.png"))).height > 500
    assert found.command == (
        "visnet eval --catalog shop --queries-kind photos --split val --encoder pixels --against histogram "
        f"--seed {SETTINGS.seed}"
    )


def test_the_report_needs_nothing_but_itself(shop: Shop, store: Store) -> None:
    hostile = rows(range(12), product_id=[f"<script>p{number}</script>" for number in range(12)])
    asked = photos(range(12), product_id=[f"<script>p{number}</script>" for number in range(12)])
    found = run(shop(hostile, asked), "histogram", split="val", against=("pixels",))
    page = store.read(f"{evaluation_directory(found.evaluation)}/report.html").decode()
    assert not re.search(r"<script|<link|@import|https?://|url\(", page)
    sources = re.findall(r'src="([^"]{0,40})', page)
    assert len(sources) > 20
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert page.count("<svg") == 2
    assert page.count("<polyline") == 4
    assert str(store.root) not in page
    for shown in ("recall@1", "whole photo", "Worst misses", found.queries_digest, found.command):
        assert shown in page
