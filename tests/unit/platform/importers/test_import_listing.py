"""What the importers share: ids of their own, boxes in shares, missing and broken files, versions, batches."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from visnet.platform.catalog import PHOTO_FIELDS, Catalog
from visnet.platform.catalog_rows import Skipped, is_box
from visnet.platform.errors import CatalogError, ImageError
from visnet.platform.imaging import decode
from visnet.platform.importers import Source, boxes, pictures
from visnet.platform.importers.annotations import WRONG_COUNT, WRONG_LENGTH, data_set_folder, lines, needed, rows
from visnet.platform.importers.pictures import Listing, Picture

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]


def shot(root: Path, name: str = "a.png", **changes: Any) -> Picture:
    made = Picture(image_id=name, product_id="p", category="shoe", split="train", place=str(root / name))
    return replace(made, **changes)


def opened(listing: Listing, root: Path) -> Source:
    return listing.source(format="test", description="a test", root=root, annotations=[])


@pytest.fixture
def listing(root: Path, put: Put, picture: Callable[..., bytes]) -> Listing:
    """With one shop picture; a.png, b.png, c.png are there, of 40 x 20 pixels, and broken.png is no picture."""
    made = Listing()
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        put(name, picture(seed, width=40, height=20))
    put("broken.png", b"no picture")
    made.add(made.shop, shot(root, split=None))
    return made


def test_a_picture_listed_twice_is_skipped(root: Path, listing: Listing) -> None:
    listing.add(listing.shop, shot(root, split=None))
    listing.add(listing.shop, shot(root, split=None), repeats=True)
    listing.add(listing.shop, shot(root, product_id="q"))
    assert len(listing.shop) == 1
    assert listing.skipped == [Skipped("a.png", pictures.LISTED_TWICE), Skipped("a.png", pictures.LISTED_AGAIN)]


def test_variants_get_ids_of_their_own(root: Path, listing: Listing) -> None:
    box = (0.0, 0.0, 0.5, 0.5)
    for changes in ({}, {"product_id": "q"}, {"box": box}, {"box": box}, {"product_id": "q"}):
        listing.add(listing.photos, shot(root, **changes), repeats=True, variants=True)
    assert list(listing.photos) == ["a.png", "a.png#2", "a.png#3"]
    assert [photo.product_id for photo in listing.photos.values()] == ["p", "q", "p"]
    assert listing.skipped == []
    listing.add(listing.photos, shot(root, product_id="q", split="test"), repeats=True, variants=True)
    assert listing.skipped == [Skipped("a.png", pictures.LISTED_AGAIN)]  # in training and in the test: refused
    listing.add(listing.photos, shot(root, product_id="q"), variants=True)
    assert listing.skipped[1:] == [Skipped("a.png", pictures.LISTED_TWICE)]


def test_boxes_of_pixels_become_shares(root: Path, listing: Listing, load: Load, by_id: Any) -> None:
    found = {
        "a.png": (10.0, 5.0, 20.0, 20.0),
        "b.png": (-5.0, -5.0, 400.0, 400.0),  # beyond the picture: cut to it
        "c.png": (40.0, 0.0, 60.0, 20.0),  # beside it
        "broken.png": (0.0, 0.0, 10.0, 10.0),
        "gone.png": (0.0, 0.0, 10.0, 10.0),
        "empty.png": (5.0, 0.0, 5.0, 10.0),
        "reversed.png": (0.0, 9.0, 5.0, 3.0),
    }
    for name, box in found.items():
        listing.add(listing.photos, shot(root, name, box=box, box_in_pixels=True))
    catalog = load(opened(listing, root))
    read = by_id(catalog.photos())
    assert {name: row["box"] for name, row in read.items()} == {
        "a.png": [0.25, 0.25, 0.5, 1.0],
        "b.png": [0.0, 0.0, 1.0, 1.0],
        "broken.png": None,
        "gone.png": None,
    }
    assert (read["broken.png"]["image"], read["gone.png"]["image"]) == (b"no picture", None)
    assert read["gone.png"]["uri"] == str(root / "gone.png")
    assert catalog.manifest.skipped == {pictures.EMPTY_BOX: 3, pictures.BROKEN: 1, pictures.MISSING_PATH: 1}


def test_boxes_of_shares_need_no_image(root: Path, listing: Listing, load: Load, by_id: Any) -> None:
    listing.add(listing.photos, shot(root, "gone.png", box=(0.1, 0.2, 0.3, 0.4)))
    listing.add(listing.photos, shot(root, "b.png", box=(0.1, 0.2, 1.3, 0.4)))
    read = by_id(load(opened(listing, root)).photos())
    assert list(read) == ["gone.png"]
    assert read["gone.png"]["box"] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_missing_image_is_kept_by_its_url_and_a_url_is_not_missing(
    root: Path, listing: Listing, load: Load, by_id: Any
) -> None:
    listing.add(listing.photos, shot(root, "gone.png", url="http://x/gone.png"))
    listing.add(listing.photos, shot(root, "far", place="http://x/far.png"))
    listing.add(listing.photos, shot(root, "b.png", url="http://x/b.png"))
    catalog = load(opened(listing, root))
    read = by_id(catalog.photos())
    assert {name: row["uri"] for name, row in read.items()} == {
        "gone.png": "http://x/gone.png",
        "far": "http://x/far.png",
        "b.png": None,
    }
    assert catalog.manifest.skipped == {pictures.MISSING_URI: 1}


def test_the_split_is_an_attribute_only_where_there_is_one(root: Path, listing: Listing, load: Load) -> None:
    assert load(opened(listing, root)).manifest.attributes == {}
    listing.add(listing.shop, shot(root, "b.png", split="test"))
    catalog = load(opened(listing, root))
    assert catalog.manifest.attributes == {"split": "string"}
    assert catalog.read(["split"])["split"].to_pylist() == [None, "test"]


@pytest.mark.parametrize("bound", ["BATCH", "BATCH_BYTES"])
def test_pictures_are_read_in_batches(
    root: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch, bound: str, load: Load
) -> None:
    monkeypatch.setattr(pictures, bound, 2 if bound == "BATCH" else 1)
    for name in ("a.png", "b.png", "c.png"):
        listing.add(listing.photos, shot(root, name))
    source = opened(listing, root)
    assert (source.images, source.photo_products) == (4, {"p"})
    assert source.photos is not None
    tables = list(source.photos())
    assert [len(table) for table in tables] == ([2, 1] if bound == "BATCH" else [1, 1, 1])
    assert {name for table in tables for name in table.column_names} == set(PHOTO_FIELDS.names) - {"content_hash"}
    assert load(source).manifest.photos == 3


def test_a_listing_without_photos_has_none(root: Path, listing: Listing) -> None:
    assert opened(listing, root).photos is None


def test_the_version_is_that_of_annotations_and_files(root: Path, put: Put, listing: Listing) -> None:
    text = put("list.txt", "one")
    listing.add(listing.photos, shot(root, "gone.png"))

    def version() -> str:
        return listing.source(format="test", description="", root=root, annotations=[text]).version

    seen = [version()]
    assert version() == seen[0]
    put("list.txt", "two")
    seen.append(version())
    put("gone.png", b"here it is")
    seen.append(version())
    put("a.png", b"another")
    seen.append(version())
    assert len(set(seen)) == 4


@pytest.mark.parametrize("values", [["0", "0", "1"], ["0", "0", "1", "x"], [0, 0, 1, "nan"], [0, 0, 1, None], [1] * 5])
def test_a_box_that_is_not_four_numbers(values: list[object]) -> None:
    with pytest.raises(ValueError, match=r"unpack|could not convert|four finite numbers"):
        boxes.parsed(values)


def test_boxes_survive_being_kept_in_single_precision() -> None:
    assert boxes.as_kept((0.1, 0.2, 0.3, 0.4)) == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert boxes.as_kept((0.5, 0.0, 0.5 + 1e-12, 1.0)) is None  # nothing is left of it
    kept = boxes.as_shares((0.0, 0.0, 1e9, 1.0), (3, 7))
    assert kept is not None
    assert is_box(list(kept))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "size"), [(None, (30, 10)), (1, (30, 10)), (3, (30, 10)), (6, (10, 30))])
def test_the_size_is_that_of_the_upright_image(format: str, orientation: int | None, size: tuple[int, int]) -> None:
    image, buffer, exif = Image.new("RGB", (30, 10)), io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(buffer, format=format, exif=exif)
    assert boxes.upright_size(buffer.getvalue()) == decode(buffer.getvalue()).size == size


def test_only_the_header_is_read_for_the_size(picture: Callable[..., bytes]) -> None:
    assert boxes.upright_size(picture(width=64, height=48, format="JPEG")[:700]) == (64, 48)
    for data in (b"", b"no picture", picture()[:10]):
        with pytest.raises(ImageError, match="size can't be told"):
            boxes.upright_size(data)


def test_a_list_is_read_whatever_its_line_ends(put: Put) -> None:
    file = put("list.txt", b"\xef\xbb\xbf2\r\nname  status extra\r\n\r\na.jpg   train 1\r\nb\xff.jpg test 2 \r\n\r\n")
    skipped: list[Skipped] = []
    assert list(rows(file, ("status", "name"), skipped)) == [["train", "a.jpg"], ["test", "b�.jpg"]]
    assert skipped == []
    assert next(lines(file)) == (1, "2")


def test_a_wrong_count_and_wrong_lines_are_said(put: Put) -> None:
    file = put("list.txt", "9\nname status\na.jpg train\nb.jpg\nc.jpg train more\n")
    skipped: list[Skipped] = []
    assert list(rows(file, ("name", "status"), skipped)) == [["a.jpg", "train"]]
    assert skipped == [
        Skipped("list.txt line 4", WRONG_LENGTH),
        Skipped("list.txt line 5", WRONG_LENGTH),
        Skipped("list.txt: 9 said, 3 found", WRONG_COUNT),
    ]


@pytest.mark.parametrize("text", ["", "3\n", "3\nfile status\na b\n", "a.jpg train\n"])
def test_a_list_without_its_header_is_refused(put: Put, text: str) -> None:
    with pytest.raises(CatalogError, match=r"list.txt has no header with name status: found '"):
        list(rows(put("list.txt", text), ("name", "status"), []))


def test_what_is_not_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"the format sop needs the path of the data set's folder, got '.*nothing'"):
        data_set_folder("sop", str(tmp_path / "nothing"))
    with pytest.raises(CatalogError, match=r"sop: no a/x.txt or x.txt in .*: name the folder"):
        needed("sop", tmp_path, "a/x.txt", "x.txt")
    with pytest.raises(CatalogError, match="can't read"):
        list(lines(tmp_path))
