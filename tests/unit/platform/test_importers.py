"""Importers: each format becomes the same kind of rows; what is wrong with a source is said before anything is kept."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform import importers
from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.errors import CatalogError
from visnet.platform.importers import fashion_mnist, open_source
from visnet.platform.store import Store

Picture = Callable[..., bytes]


def load(store: Store, format: str, path: Path) -> Catalog:
    source = open_source(format, str(path))
    return write_catalog(
        store, name="shop", version=source.version, source=source.description, batches=source.batches()
    )


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def write_parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def shop(tmp_path: Path, picture: Picture) -> Path:
    """shoes/red/1.png, shoes/2.jpg, bag.PNG, and what is no picture."""
    root = tmp_path / "shop"
    (root / "shoes" / "red").mkdir(parents=True)
    (root / "shoes" / "red" / "1.png").write_bytes(picture(1))
    (root / "shoes" / "2.jpg").write_bytes(b"broken")
    (root / "bag.PNG").write_bytes(picture(3))
    (root / "notes.txt").write_text("no picture")
    (root / "folder.png").mkdir()
    return root


def test_unknown_formats_are_named() -> None:
    with pytest.raises(ValueError, match="unknown format 'zip': expected one of fashion-mnist, folder, table"):
        open_source("zip", None)


def test_a_folders_sub_folders_are_the_categories(store: Store, shop: Path, picture: Picture) -> None:
    source = open_source("folder", str(shop))
    assert (source.description, source.images) == ("folder shop", 3)
    found = {row["image_id"]: row for row in load(store, "folder", shop).read().to_pylist()}
    assert {image: row["category"] for image, row in found.items()} == {
        "shoes/red/1.png": "shoes/red",
        "shoes/2.jpg": "shoes",
        "bag.PNG": "uncategorised",
    }
    assert all(row["product_id"] == image for image, row in found.items())
    assert found["shoes/red/1.png"]["image"] == picture(1)
    assert found["shoes/2.jpg"]["image"] == b"broken"  # the catalogue pass will say why


def test_a_folder_of_more_than_one_batch(store: Store, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visnet.platform.importers.folder.BATCH", 2)
    assert load(store, "folder", shop).manifest.images == 3


def test_a_folders_version_is_its_content(shop: Path) -> None:
    before = open_source("folder", str(shop)).version
    assert open_source("folder", str(shop)).version == before
    (shop / "bag.PNG").write_bytes(b"another")
    assert open_source("folder", str(shop)).version != before


def test_a_folder_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    for path in (None, str(tmp_path / "nothing")):
        with pytest.raises(CatalogError, match="needs the path of a folder, got "):
            open_source("folder", path)
    with pytest.raises(CatalogError, match=r"no pictures below .*looked for .bmp, .gif"):
        open_source("folder", str(tmp_path))


def test_csv_paths_are_read_and_missing_ones_kept_as_uri(
    store: Store, shop: Path, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    table = write_csv(
        shop,
        "image_id,product_id,category,path,price,in_stock,added,note\n"
        "007,42,shoe,shoes/red/1.png,1.5,true,2024-05-01,\n"
        "008,42,shoe,gone.png,,false,2024-05-02,\n",
    )
    catalog = load(store, "table", table)
    first, second = catalog.read().to_pylist()
    assert (first["image_id"], first["product_id"], first["category"]) == ("007", "42", "shoe")
    assert (first["image"], first["uri"]) == (picture(1), None)
    assert (second["image"], second["uri"], second["content_hash"]) == (None, str(shop / "gone.png"), None)
    assert [first["price"], second["price"]] == [1.5, None]
    types = {"price": "double", "in_stock": "bool", "added": "date32[day]", "note": "null"}
    assert catalog.manifest.attributes == types


def test_csv_types_are_those_of_the_whole_column(store: Store, tmp_path: Path) -> None:
    lines = [f"http://x/{n},c,{n if n < 999 else 'many'}" for n in range(1000)]
    catalog = load(store, "table", write_csv(tmp_path, "url,category,count\n" + "\n".join(lines)))
    assert catalog.manifest.attributes == {"count": "string"}
    rows = catalog.read(["image_id", "product_id", "uri"]).to_pylist()
    assert rows[999] == {"image_id": "row-000000999", "product_id": "row-000000999", "uri": "http://x/999"}


def test_parquet_bytes_and_typed_attributes_are_kept(store: Store, tmp_path: Path, picture: Picture) -> None:
    table = write_parquet(
        tmp_path,
        image_id=[1, 2],
        product_id=pa.array(["a", "a"]).dictionary_encode(),
        category=pa.array(["c", "d"], pa.large_string()),
        image=pa.array([picture(1), None], pa.large_binary()),
        price=pa.array([1, 2], pa.decimal128(9, 2)),
        tags=[["x"], ["y", "z"]],
    )
    assert open_source("table", str(table)).images == 2
    catalog = load(store, "table", table)
    assert catalog.manifest.attributes == {"price": "decimal128(9, 2)", "tags": "list<element: string>"}
    rows = catalog.read().to_pylist()
    assert [(row["image_id"], row["product_id"], row["category"]) for row in rows] == [("1", "a", "c"), ("2", "a", "d")]
    assert [row["image"] for row in rows] == [picture(1), None]
    assert rows[1]["tags"] == ["y", "z"]


def test_parquet_paths_and_urls(store: Store, shop: Path, picture: Picture) -> None:
    paths = write_parquet(shop, category=["c"] * 3, path=["bag.PNG", None, "shoes"])
    rows = load(store, "table", paths).read(["image", "uri"]).to_pylist()
    assert rows == [
        {"image": picture(3), "uri": None},
        {"image": None, "uri": None},
        {"image": None, "uri": str(shop / "shoes")},
    ]
    urls = write_parquet(shop, category=["c"], url=["http://x/1.png"])
    assert load(store, "table", urls).read(["image", "uri"]).to_pylist() == [{"image": None, "uri": "http://x/1.png"}]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_an_image_id_twice_is_refused(store: Store, tmp_path: Path, format: str) -> None:
    if format == "csv":
        path = write_csv(tmp_path, "image_id,category,url\na,c,x\na,c,y\n")
    else:
        path = write_parquet(tmp_path, image_id=["a", "a"], category=["c", "c"], url=["x", "y"])
    with pytest.raises(CatalogError, match="an image_id occurs twice"):
        load(store, "table", path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,url\n1,x\n", "table.csv has no column 'category'; it has image_id, url"),
        ("category,price\nc,1\n", "needs just one of the columns image, path, url; it has category, price"),
        ("category,path,url\nc,x,y\n", "needs just one of the columns image, path, url"),
        ("category,image\nc,x\n", "has a column 'image', but a CSV holds no bytes"),
        ("", "can't read table.csv"),
        ("category,url\n,x\n", "column 'category' has 1 empty values"),
        ("category,url\nc,x\nc,y,z\n", "can't read table.csv"),
        ("category,url\n", "the source holds no images"),
    ],
)
def test_a_csv_that_can_not_be_used_is_refused(store: Store, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load(store, "table", write_csv(tmp_path, text))


def test_a_parquet_file_that_can_not_be_used_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="column 'image' holds string"):
        load(store, "table", write_parquet(tmp_path, category=["c"], image=["1.png"]))
    with pytest.raises(CatalogError, match="column 'category' has 1 empty values"):
        load(store, "table", write_parquet(tmp_path, category=["c", None], url=["x", "y"]))
    (tmp_path / "table.parquet").write_bytes(b"no table")
    with pytest.raises(CatalogError, match=r"can't read table.parquet"):
        open_source("table", str(tmp_path / "table.parquet"))
    (tmp_path / "table.xlsx").write_bytes(b"no table")
    with pytest.raises(CatalogError, match=r"reads .csv and .parquet, not table.xlsx"):
        open_source("table", str(tmp_path / "table.xlsx"))
    for path in (None, str(tmp_path / "nothing.csv")):
        with pytest.raises(CatalogError, match=r"needs the path of a .csv or .parquet file, got "):
            open_source("table", path)


def fashion(folder: Path) -> Path:
    """Four files as Fashion-MNIST's are called, with one picture each."""
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16 + 28 * 28)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(bytes(9))
    return folder


def test_fashion_mnist_names_the_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no train-images-idx3-ubyte\[.gz\] in "):
        open_source("fashion-mnist", str(tmp_path))
    (fashion(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        CatalogError, match=r"no t10k-labels-idx1-ubyte\[.gz\] in .*name the folder with the four files"
    ):
        open_source("fashion-mnist", str(tmp_path))


def test_fashion_mnist_must_be_whole(tmp_path: Path) -> None:
    source = open_source("fashion-mnist", str(fashion(tmp_path)))
    with pytest.raises(CatalogError, match="train files of Fashion-MNIST do not hold 60000 pictures of 28x28"):
        next(source.batches())
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16 + 60_000 * 28 * 28), 1))
    source = open_source("fashion-mnist", str(tmp_path))
    with pytest.raises(CatalogError, match="train files"):  # the labels are too few
        next(source.batches())
    for broken in (b"no gzip", gzip.compress(bytes(99))[:-10], gzip.compress(bytes(99))[:10] + b"\xff" * 20):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(broken)
        with pytest.raises(CatalogError, match=r"train-images-idx3-ubyte.gz is broken"):
            open_source("fashion-mnist", str(tmp_path))


def test_fashion_mnist_that_can_not_be_had_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cache: Path) -> Path:
        raise CatalogError(f"nothing for {cache.name}")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "INSTALLED", Path("/nowhere/fashion-mnist"))
    monkeypatch.setattr(fashion_mnist, "_fetch_debian", fail)
    monkeypatch.setattr(fashion_mnist, "_fetch_torchvision", fail)
    with pytest.raises(CatalogError, match=r"can't get Fashion-MNIST: nothing .*; nothing .* Put its four files in"):
        open_source("fashion-mnist", None)
    cached = tmp_path / "visnet" / "dataset-fashion-mnist" / "nowhere" / "fashion-mnist"
    cached.mkdir(parents=True)
    fashion(cached)
    assert open_source("fashion-mnist", None).images == 70_000


def on_this_machine() -> Path | None:
    """Fashion-MNIST where the package or an earlier import has put it; nothing is downloaded."""
    installed = fashion_mnist.INSTALLED
    cached = Path("~/.cache/visnet").expanduser() / fashion_mnist.PACKAGE / str(installed).lstrip("/")
    return next((folder for folder in (installed, cached) if folder.is_dir()), None)


@pytest.mark.skipif(on_this_machine() is None, reason="Fashion-MNIST's files are neither installed nor in the cache")
def test_fashion_mnist_has_70_000_products_in_10_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("fashion-mnist", str(on_this_machine()))
    first = next(source.batches())
    assert first["image"][0].as_py().startswith(b"\x89PNG")
    assert (first["image_id"][0].as_py(), first["category"][0].as_py()) == ("train-00000", "Ankle boot")
    monkeypatch.setattr(fashion_mnist, "encode_png", lambda pixels: b"")  # ten seconds for all of them
    rows = pa.concat_tables(source.batches())
    assert source.images == len(rows) == 70_000
    counts = rows.group_by(["split", "category"]).aggregate([([], "count_all")]).to_pylist()
    assert {(row["split"], row["count_all"]) for row in counts} == {("train", 6_000), ("test", 1_000)}
    assert {row["category"] for row in counts} == set(fashion_mnist.CATEGORIES)
    assert importers.FORMATS[0] == "fashion-mnist"
