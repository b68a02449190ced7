"""A table (CSV or Parquet) with one row per image; every column that isn't ours is kept as a typed attribute.

The image is in one of the columns `image` (bytes; Parquet only), `path` (a file, relative to the table's folder) or
`url`. `category` is needed; `product_id` defaults to `image_id`, and that to the row number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from visnet.platform.errors import CatalogError
from visnet.platform.importers import Source
from visnet.platform.manifest import digest_of

IMAGE_COLUMNS = ("image", "path", "url")
BATCH = 200


def open_source(path: str | None) -> Source:
    """The rows of a `.csv` or `.parquet` file.

    A `path` that can't be read stays in the catalogue as its `uri`: the catalogue pass will quarantine it with the
    reason. A `url` is kept as `uri` and fetched by the catalogue pass.
    """
    if path is None or not (file := Path(path)).is_file():
        raise CatalogError(f"the format table needs the path of a .csv or .parquet file, got {path!r}")
    columns = _columns(file)
    if "category" not in columns:
        raise CatalogError(f"{file.name} has no column 'category'; it has {', '.join(columns)}")
    if sum(name in columns for name in IMAGE_COLUMNS) != 1:
        found = ", ".join(columns)
        raise CatalogError(f"{file.name} needs just one of the columns {', '.join(IMAGE_COLUMNS)}; it has {found}")
    if "image" in columns and file.suffix == ".csv":
        raise CatalogError(f"{file.name} has a column 'image', but a CSV holds no bytes: name the files in 'path'")
    stat = file.stat()
    return Source(
        description=f"table {file.name}",
        version=digest_of("table", file.name, stat.st_size, stat.st_mtime_ns),
        images=pq.read_metadata(file).num_rows if file.suffix == ".parquet" else None,
        batches=lambda: _batches(file),
    )


def _columns(file: Path) -> list[str]:
    try:
        if file.suffix == ".parquet":
            return list(pq.read_schema(file).names)
        if file.suffix == ".csv":
            with pa_csv.open_csv(file) as reader:
                return list(reader.schema.names)
    except pa.ArrowInvalid as error:
        raise CatalogError(f"can't read {file.name}: {error}") from None
    raise CatalogError(f"the format table reads .csv and .parquet, not {file.name}")


def _batches(file: Path) -> Iterator[pa.Table]:
    first_row = 0
    for rows in _read(file):
        for start in range(0, len(rows), BATCH):
            batch = rows.slice(start, BATCH)
            yield _to_catalog(batch, file.parent, first_row)
            first_row += len(batch)


def _read(file: Path) -> Iterator[pa.Table]:
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=BATCH):
                yield pa.Table.from_batches([batch])
    else:  # read whole: Arrow can type a column only after it has seen all of it; a CSV holds no image bytes
        ids = {name: pa.string() for name in ("image_id", "product_id", "category", "path", "url")}
        try:
            yield pa_csv.read_csv(file, convert_options=pa_csv.ConvertOptions(column_types=ids))
        except pa.ArrowInvalid as error:
            raise CatalogError(f"can't read {file.name}: {error}") from None


def _to_catalog(rows: pa.Table, folder: Path, first_row: int) -> pa.Table:
    columns = {name: rows[name] for name in rows.column_names}
    numbers = [f"row-{row:09d}" for row in range(first_row, first_row + len(rows))]
    columns["image_id"] = _strings(columns.get("image_id", pa.array(numbers)))
    columns["product_id"] = _strings(columns.get("product_id", columns["image_id"]))
    columns["category"] = _strings(columns["category"])
    if "url" in columns:
        columns["uri"] = columns.pop("url")
    if "path" in columns:
        columns["image"], columns["uri"] = _read_files(columns.pop("path"), folder)
    return pa.table(columns)


def _read_files(paths: pa.ChunkedArray, folder: Path) -> tuple[pa.Array, pa.Array]:
    images: list[bytes | None] = []
    uris: list[str | None] = []
    for path in paths.to_pylist():
        try:
            images.append((folder / path).read_bytes())
            uris.append(None)
        except (OSError, TypeError):
            images.append(None)
            uris.append(None if path is None else str((folder / path).absolute()))
    return pa.array(images, pa.binary()), pa.array(uris, pa.string())


def _strings(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    return column.cast(pa.string())
