"""The whole generation in this process, on small made catalogues: against brute force, reproducible, and its edges."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.imaging import encode_png
from visnet.platform.manifest import read_manifest
from visnet.platform.settings import TripletSettings
from visnet.platform.store import Store
from visnet.platform.triplets import SCHEMA, TripletsManifest, read_triplets, triplet_paths
from visnet.train.decode import DecodeTriplets
from visnet.train.examples import HoldOut
from visnet.train.triplets import anchors as anchors_module
from visnet.train.triplets import blocks as blocks_module
from visnet.train.triplets import generate as triplets
from visnet.train.triplets import rows as rows_module
from visnet.train.triplets import similarity as similarity_module
from visnet.train.triplets import units as units_module
from visnet.train.triplets.blocks import Similarities, SimilaritiesManifest
from visnet.train.triplets.generate import make_triplets, plan
from visnet.train.triplets.ranges import ranges_for
from visnet.train.triplets.runner import InProcess
from visnet.train.triplets.scorers import make_scorers
from visnet.train.triplets.similarity import similarities_directory

SETTINGS = TripletSettings(
    scorers=("color", "texture"),
    image_size=32,
    per_anchor=8,
    positive_ranks=4,
    in_class_ranks=(8, 16),
    reference_size=60,
)


def blotches(seed: int) -> bytes:
    """Blotches of colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return encode_png(np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)))


def shop_rows(**columns: list[Any]) -> pa.Table:
    """150 pictures in categories of 75, 50 and 25, in no order; every fifth product has two pictures."""
    count = 150
    category = ["large" if number % 2 else "small" if number % 6 == 0 else "middle" for number in range(count)]
    rows: dict[str, list[Any]] = {
        "image_id": [f"i{number:03d}" for number in range(count)],
        "product_id": [f"p{number - 6 if number % 5 == 1 and number > 6 else number:03d}" for number in range(count)],
        "category": category,
        "split": ["train" if number % 3 else "test" for number in range(count)],
        "image": [blotches(number) for number in range(count)],
    }
    return pa.table({**rows, **columns})


def made(store: Store, rows: pa.Table, *, name: str = "shop", photos: pa.Table | None = None) -> Catalog:
    batches = [rows.slice(first, 40) for first in range(0, len(rows), 40)]
    return write_catalog(
        store, name=name, version="1", source="test", batches=batches, photos=[photos] if photos is not None else []
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    images = shop_rows()["image"].to_pylist()
    images[9] = images[3]  # same bytes, other product
    images[22], images[24] = b"", images[24][:200]
    photos = pa.table(
        {
            "image_id": [f"photo{number}" for number in range(12)],
            "product_id": [*(f"p{number:03d}" for number in range(30, 40)), "unknown", "p022"],
            "category": [shop_rows()["category"][number].as_py() for number in range(30, 40)] + ["large", "middle"],
            "split": ["train"] * 8 + ["val"] + ["train"] * 3,
            "image": [blotches(1000 + number) for number in range(12)],
            "box": pa.array([[0.25, 0.0, 1.0, 0.5]] * 6 + [None] * 6, pa.list_(pa.float32())),
        }
    )
    store = Store(str(tmp_path_factory.mktemp("store")))
    rows = shop_rows(image=images)
    return made(store, rows, photos=photos)


def run(catalog: Catalog, *, street: bool = False, split: str | None = None, **changes: Any) -> TripletsManifest:
    wanted = plan(catalog, split=split, where=None, street=street)
    settings = dataclasses.replace(SETTINGS, **changes)
    return make_triplets(catalog.store, catalog, wanted, settings, InProcess())[0]


def table(catalog: Catalog, manifest: TripletsManifest) -> pa.Table:
    paths = triplet_paths(catalog.store, manifest.triplets)
    return pa.concat_tables([pq.read_table(path, filesystem=catalog.store.filesystem) for path in paths])


SIDES = ("anchor", "positive", "negative")


class Oracle:
    """Every rank by brute force, from the vectors of the artifact."""

    def __init__(self, catalog: Catalog, manifest: TripletsManifest) -> None:
        directory = similarities_directory(manifest.similarities)
        content = json.loads(catalog.store.read(f"{directory}/manifest.json"))
        similarities = Similarities(catalog.store, directory, content["categories"])
        self.places: dict[str, dict[str, Any]] = {}
        self._vectors: dict[str, dict[str, np.ndarray]] = {scorer: {} for scorer in content["scorers"]}
        for category in range(len(similarities.names)):
            for block in range(similarities.blocks(category)):
                rows = similarities.rows(category, block).to_pylist()
                self.places.update({row["image_id"]: row for row in rows})
                for scorer, vectors in self._vectors.items():
                    found = similarities.vectors(category, block, scorer).astype(np.float64)
                    vectors.update({row["image_id"]: vector for row, vector in zip(rows, found, strict=True)})
        self.category_sizes = dict(zip(similarities.names, similarities.counts, strict=True))

    def ranks(self, scorer: str, anchor: str) -> dict[str, int]:
        """The rank of every other picture of the category, but for those of the anchor's product or bytes."""
        mine, vectors = self.places[anchor], self._vectors[scorer]
        others = [
            place
            for place in self.places.values()
            if place["category"] == mine["category"]
            and place["product_id"] != mine["product_id"]
            and place["content_hash"] != mine["content_hash"]
        ]
        others.sort(key=lambda place: (-(vectors[place["image_id"]] @ vectors[anchor]), place["part"], place["row"]))
        return {place["image_id"]: rank for rank, place in enumerate(others, start=1)}

    def check(self, row: dict[str, Any]) -> None:
        """A triplet whose anchor is a shop picture."""
        ranges = ranges_for(self.category_sizes[row["category"]], SETTINGS)
        anchor, positive, negative = (self.places[row[f"{side}_image_id"]] for side in SIDES)
        every = {scorer: self.ranks(scorer, row["anchor_image_id"]) for scorer in self._vectors}
        assert anchor["category"] == positive["category"] == row["category"]
        if row["positive_rank"]:
            assert every[row["scorer"]][positive["image_id"]] == row["positive_rank"] <= ranges.positive_last
        else:
            assert positive["product_id"] == anchor["product_id"]
            assert positive["content_hash"] != anchor["content_hash"]
        assert negative["product_id"] != anchor["product_id"]
        assert negative["content_hash"] != anchor["content_hash"]
        assert negative["category"] == row["negative_category"]
        if row["negative_kind"] == "in-class":
            assert every[row["scorer"]][negative["image_id"]] == row["negative_rank"]
            assert ranges.negative_first <= row["negative_rank"] <= ranges.negative_last
            assert all(ranks[negative["image_id"]] > ranges.positive_last for ranks in every.values())
        else:
            assert row["negative_rank"] is None
            assert negative["category"] != row["category"]
        for side, place in (("anchor", anchor), ("positive", positive), ("negative", negative)):
            assert all(row[f"{side}_{name}"] == place[name] for name in ("product_id", "part", "row"))


def test_every_triplet_lies_in_its_ranges_by_brute_force(shop: Catalog) -> None:
    manifest = run(shop)
    rows = table(shop, manifest).to_pylist()
    oracle = Oracle(shop, manifest)
    assert len(rows) == manifest.rows > 1_000
    for row in rows:
        oracle.check(row)
    assert {row["positive_rank"] for row in rows} == {0, 1, 2, 3, 4}
    assert {row["category"] for row in rows} == {"large", "middle", "small"}
    assert np.mean([row["negative_kind"] == "in-class" for row in rows]) == pytest.approx(0.3, abs=0.04)
    assert table(shop, manifest).schema.equals(SCHEMA)


def test_the_places_are_those_of_the_catalogue(shop: Catalog) -> None:
    every = shop.read(["image_id"])["image_id"].to_pylist()  # one part, so the row is the place in all of it
    for row in table(shop, run(shop)).to_pylist():
        for side in ("anchor", "positive", "negative"):
            assert (row[f"{side}_part"], every[row[f"{side}_row"]]) == (0, row[f"{side}_image_id"])


def test_counts_and_what_was_left_out_add_up(shop: Catalog) -> None:
    manifest = run(shop)
    rows = table(shop, manifest)
    for name, column in (("stage", "stage"), ("scorer", "scorer"), ("kind", "negative_kind"), ("category", "category")):
        assert sum(manifest.counts[name].values()) == manifest.rows
        assert manifest.counts[name] == {e["values"]: e["counts"] for e in rows[column].value_counts().to_pylist()}
    assert manifest.pictures == 148
    reasons = {reason: count for reason, count in manifest.skipped.items() if reason.startswith("pictures")}
    assert sum(reasons.values()) == 2
    assert "pictures: the image is broken" in reasons
    assert manifest.rows == 148 * 8 - manifest.skipped.get(anchors_module.FEWER, 0)
    assert manifest.scorers["color"]["pretrained"] == "none: nothing is learned"
    broken = pq.read_table(shop.store.path(f"{similarities_directory(manifest.similarities)}/broken.parquet"))
    assert broken["image_id"].to_pylist() == ["i022", "i024"]
    usable = set(rows["anchor_image_id"].to_pylist()) | set(rows["negative_image_id"].to_pylist())
    assert not usable & {"i022", "i024"}


def test_stored_vectors_are_the_scorers(shop: Catalog) -> None:
    manifest = run(shop)
    directory = similarities_directory(manifest.similarities)
    scored = read_manifest(shop.store, directory, SimilaritiesManifest)
    similarities = Similarities(shop.store, directory, scored.categories)
    for name, scorer in make_scorers(SETTINGS.scorers, SETTINGS).items():
        encoder = scorer.encoder()
        place = similarities.place(1, 3)
        pixels = encoder.pixels(shop.image(place["part"], place["row"])[0] or b"")[None]
        expected = encoder.encode_pixels(scorer.seen(pixels))[0]
        assert similarities.vectors(1, 0, name)[3] == pytest.approx(expected, abs=1 / 2048)
    assert not shop.store.exists(f"{directory}/units")


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of 16 rows and blocks of 20, as a catalogue of millions would have thousands of."""
    for module in (units_module, similarity_module):
        monkeypatch.setattr(module, "UNIT_ROWS", 16)
    for module in (blocks_module, similarity_module, anchors_module, rows_module):
        monkeypatch.setattr(module, "BLOCK_ROWS", 20)


def test_the_rows_do_not_depend_on_how_the_work_is_cut(shop: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(shop, street=True, split="train")
    rows = table(shop, whole)
    small_pieces(monkeypatch)
    cut = run(shop, street=True, split="train")
    assert cut.triplets != whole.triplets
    assert len(cut.parts) > 3 * len(whole.parts)
    order = [("anchor_image_id", "ascending"), ("scorer", "ascending"), ("negative_image_id", "ascending")]
    order.append(("positive_image_id", "ascending"))
    assert table(shop, cut).sort_by(order).equals(rows.sort_by(order))
    assert cut.counts == whole.counts
    assert cut.skipped == whole.skipped


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_rows(shop: Catalog) -> None:
    def content(manifest: TripletsManifest) -> list[bytes]:
        return [Path(path).read_bytes() for path in triplet_paths(shop.store, manifest.triplets)]

    first = run(shop, seed=5)
    before = content(first)
    shop.store.delete_directory(f"triplets/{first.triplets}")
    shop.store.delete_directory(similarities_directory(first.similarities))
    again = run(shop, seed=5)
    assert again.triplets == first.triplets
    assert content(again) == before
    other = run(shop, seed=6)
    assert other.triplets != first.triplets
    assert other.similarities == first.similarities
    assert content(other) != before


def test_a_finished_table_stands_and_resources_make_no_other(shop: Catalog) -> None:
    wanted = plan(shop, split=None, where=None, street=False)
    first, _ = make_triplets(shop.store, shop, wanted, SETTINGS, InProcess())
    more = dataclasses.replace(SETTINGS, actors=7, cpus_per_actor=3.0, gpus_per_actor=0.0)
    assert make_triplets(shop.store, shop, wanted, more, InProcess()) == (first, True)
    assert read_triplets(shop.store, first.triplets) == first


def test_a_killed_pass_goes_on_where_it_was(store: Store, shop: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    catalog = made(store, shop.read(["image_id", "product_id", "category", "image", "split"]))
    decoded: list[int] = []

    class Dies(InProcess):
        limit = 4

        def embed(self, units: Any, decode: Any, *rest: Any) -> Any:
            def counting(unit: Any) -> Any:
                decoded.append(unit.first)
                if len(decoded) > self.limit:
                    raise KeyboardInterrupt
                return decode(unit)

            return super().embed(units, counting, *rest)  # type: ignore[arg-type]

    wanted = plan(catalog, split=None, where=None, street=False)
    with pytest.raises(KeyboardInterrupt):
        make_triplets(store, catalog, wanted, SETTINGS, Dies())
    assert store.names("triplets") == []
    Dies.limit = 1000
    manifest, _ = make_triplets(store, catalog, wanted, SETTINGS, Dies())
    assert sorted(decoded) == sorted([*range(0, 150, 16), decoded[4]])  # only the one it died in is done again
    assert manifest.counts == run(shop).counts


def test_street_photos_are_anchors_of_their_products_pictures(shop: Catalog) -> None:
    manifest = run(shop, street=True, split="train", per_anchor=40)
    rows = table(shop, manifest).to_pylist()
    street = [row for row in rows if row["stage"] == "street"]
    oracle = Oracle(shop, manifest)
    photos = {photo["image_id"]: photo for photo in shop.photos().to_pylist()}
    places = shop.photos(["image_id"])["image_id"].to_pylist()
    assert {row["anchor_image_id"] for row in street} == {f"photo{number}" for number in (2, 4, 5, 7)}
    # three of products that do not exist, three whose pictures are of another split, one whose picture is broken
    assert manifest.skipped[triplets.NO_SHOP_PICTURE] == 7
    for row in street:
        photo = photos[row["anchor_image_id"]]
        assert (row["scorer"], row["anchor_is_photo"], row["positive_rank"]) == ("street", True, 0)
        assert row["anchor_product_id"] == row["positive_product_id"] == photo["product_id"]
        assert (row["anchor_part"], places[row["anchor_row"]]) == (0, row["anchor_image_id"])
        assert row["anchor_box"] == photo["box"]
        assert row["negative_product_id"] != photo["product_id"]
        if row["negative_kind"] == "in-class":
            assert oracle.ranks("color", row["positive_image_id"])[row["negative_image_id"]] == row["negative_rank"]
        else:
            assert row["negative_category"] != row["category"]
    assert any(row["negative_rank"] == 1 for row in street)
    assert all(row["stage"] == "catalog" and not row["anchor_is_photo"] for row in rows if row not in street)
    assert any("ranked by color" in note for note in manifest.notes)
    assert {path.name for path in Path(shop.store.path(f"triplets/{manifest.triplets}")).glob("*.png")} == {
        f"contact-sheet-{scorer}.png" for scorer in ("color", "texture", "street")
    }


def test_training_reads_the_table(shop: Catalog) -> None:
    rows = table(shop, run(shop, street=True, split="train"))
    decode = DecodeTriplets(shop, side=32, hold_out=HoldOut(share=0.0, by="photo", seed=0))
    batch = decode(rows)
    assert batch["anchor"].shape == batch["positive"].shape == batch["negative"].shape == (len(rows), 32, 32, 3)
    assert (batch["product"] != batch["negative_product"]).all()


def test_a_split_takes_the_pictures_of_that_split(shop: Catalog) -> None:
    rows = table(shop, run(shop, split="test"))
    splits = dict(zip(*(shop.read()[name].to_pylist() for name in ("image_id", "split")), strict=True))
    seen = {image for side in ("anchor", "positive", "negative") for image in rows[f"{side}_image_id"].to_pylist()}
    assert {splits[image] for image in seen} == {"test"}
