"""The catalogue: one row per image, kept as Parquet parts that never change once their manifest is written.

Row groups are small (about a mebibyte), so that one image can be read from its part without a copy of the catalogue
elsewhere: the index keeps (part, row) for every image and the service reads it from here.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.imaging import content_hash
from visnet.platform.manifest import Manifest, finished, has_manifest, read_manifest, write_manifest
from visnet.platform.store import Store

FIELDS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # the encoded bytes, or null where `uri` says where they are
        pa.field("uri", pa.string()),
        pa.field("content_hash", pa.string()),  # of the bytes; null until a `uri` has been read
    ]
)
IMAGE_FIELDS = ("image", "uri")
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null)
ROWS_PER_PART = 10_000
PART_BYTES = 2**28
ROW_GROUP_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogManifest(Manifest):
    """What a catalogue holds and where it came from."""

    name: str
    version: str
    source: str
    """What it was imported from."""
    images: int
    products: int
    categories: dict[str, int]
    """Images by category."""
    attributes: dict[str, str]
    """The further columns and their Arrow types."""
    parts: list[str]
    """The part files in order; (part number, row) names an image."""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """One version of a catalogue in the store."""

    store: Store
    manifest: CatalogManifest

    @property
    def directory(self) -> str:
        return catalog_directory(self.manifest.name, self.manifest.version)

    @property
    def reference(self) -> str:
        """`<name>-<version>`: how other artifacts name it."""
        return f"{self.manifest.name}-{self.manifest.version}"

    def part_paths(self) -> list[str]:
        """Paths of the part files for `store.filesystem`."""
        return [self.store.path(f"{self.directory}/{part}") for part in self.manifest.parts]

    def read(self, columns: list[str] | None = None, *, where: tuple[str, str] | None = None) -> pa.Table:
        """All rows in order, or those of which the attribute `where[0]` equals `where[1]`, read as the column's type.

        Raises:
            NotFoundError: there is no such attribute.
            ValueError: `where[1]` is no value of its type.
        """
        filters = [(where[0], "==", self.typed(*where))] if where else None
        tables = [
            pq.read_table(path, columns=columns, filters=filters, filesystem=self.store.filesystem)
            for path in self.part_paths()
        ]
        return pa.concat_tables(tables)

    def typed(self, column: str, value: str) -> pa.Scalar:
        """`value` as a value of the column's own type; raises as `read` does."""
        if column not in {*self.manifest.attributes, *FIELDS.names}:
            raise NotFoundError(f"catalogue {self.manifest.name} has no column {column!r}: {self.columns()}")
        kind = pq.read_schema(self.part_paths()[0], filesystem=self.store.filesystem).field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        try:
            return pa.scalar(value).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise ValueError(f"column {column!r} holds {kind}, which {value!r} is not") from None

    def columns(self) -> str:
        """The columns one can filter on, for messages."""
        return ", ".join(["category", *self.manifest.attributes])

    def image(self, part: int, row: int) -> tuple[bytes | None, str | None]:
        """The encoded bytes and the uri of one image; reads one row group.

        Args:
            part: number of the part file.
            row: row within it.
        """
        with pq.ParquetFile(self.part_paths()[part], filesystem=self.store.filesystem) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            group = int(np.searchsorted(ends, row, side="right"))
            table = file.read_row_group(group, columns=list(IMAGE_FIELDS))
        found = table.slice(row - int(ends[group]) + sizes[group], 1).to_pylist()[0]
        return found["image"], found["uri"]


def catalog_directory(name: str, version: str) -> str:
    return f"catalogs/{name}/{version}"


def open_catalog(store: Store, name: str, version: str | None = None) -> Catalog:
    """A catalogue by name; its newest version unless one is named.

    Raises:
        NotFoundError: no such catalogue or version; the text lists what there is.
    """
    versions = finished(store, f"catalogs/{name}")
    if version is not None:
        versions = [known for known in versions if known == version]
    if not versions:
        wanted = name if version is None else f"{name} version {version}"
        known = ", ".join(store.names("catalogs")) or "none yet"
        raise NotFoundError(
            f"no catalogue {wanted} in {store.location} (there is: {known}). "
            f"Make one: visnet catalog import FORMAT [PATH] --name {name}"
        )
    found = [read_manifest(store, catalog_directory(name, known), CatalogManifest) for known in versions]
    return Catalog(store, max(found, key=lambda manifest: manifest.created_at))


def write_catalog(store: Store, *, name: str, version: str, source: str, batches: Iterable[pa.Table]) -> Catalog:
    """Write a catalogue from tables of rows; the content hashes and the nulls of missing columns are filled in.

    Args:
        version: names the version; if it is complete already, it is returned as it stands and nothing is read.
        batches: tables with at least image_id, product_id, category and one of image and uri; all of one schema.

    Raises:
        CatalogError: no rows, a missing column or value, or an image_id that occurs twice.
    """
    directory = catalog_directory(name, version)
    if has_manifest(store, directory):
        return open_catalog(store, name, version)
    store.delete_directory(directory)  # what a killed import left
    store.make_directory(directory)
    account = _Account()
    parts: list[str] = []
    for rows in _regroup(_complete(batch) for batch in batches):
        account.add(rows)
        part = f"part-{len(parts):05d}.parquet"
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, row_group_size=max(1, len(rows) * ROW_GROUP_BYTES // max(rows.nbytes, 1)))
        store.write(f"{directory}/{part}", buffer.getvalue())
        parts.append(part)
    manifest = CatalogManifest(name=name, version=version, source=source, parts=parts, **account.close())
    write_manifest(store, directory, manifest)
    return Catalog(store, manifest)


class _Account:
    """Counts what goes into a catalogue, and finds image ids that occur twice."""

    def __init__(self) -> None:
        self.images = 0
        self.image_hashes: list[np.ndarray] = []
        self.products: set[int] = set()
        self.categories: dict[str, int] = {}
        self.schema: pa.Schema | None = None

    def add(self, rows: pa.Table) -> None:
        self.schema = rows.schema
        self.images += len(rows)
        self.image_hashes.append(np.array([hash(image) for image in rows["image_id"].to_pylist()]))
        self.products.update(hash(product) for product in rows["product_id"].to_pylist())
        for entry in rows["category"].value_counts().to_pylist():
            self.categories[entry["values"]] = self.categories.get(entry["values"], 0) + entry["counts"]

    def close(self) -> dict[str, Any]:
        if self.schema is None or not self.images:
            raise CatalogError("the source holds no images")
        if len(np.unique(np.concatenate(self.image_hashes))) != self.images:
            raise CatalogError("an image_id occurs twice: every image needs an id of its own")
        attributes = {field.name: str(field.type) for field in self.schema if field.name not in FIELDS.names}
        categories = dict(sorted(self.categories.items()))
        return {
            "images": self.images,
            "products": len(self.products),
            "categories": categories,
            "attributes": attributes,
        }


def _complete(rows: pa.Table) -> pa.Table:
    """The rows with every column of `FIELDS` first and in order, hashes filled in, attributes behind."""
    for needed in ("image_id", "product_id", "category"):
        if needed not in rows.column_names:
            raise CatalogError(f"the source has no column {needed!r}; it has {', '.join(rows.column_names)}")
        if empty := sum(value in (None, "") for value in rows[needed].to_pylist()):
            raise CatalogError(f"column {needed!r} has {empty} empty values")
    if not set(IMAGE_FIELDS) & set(rows.column_names):
        raise CatalogError(f"the source has neither 'image' nor 'uri'; it has {', '.join(rows.column_names)}")
    if "content_hash" in rows.column_names:
        rows = rows.drop_columns(["content_hash"])  # an older export's: ours is made from the bytes at hand
    for optional in IMAGE_FIELDS:
        if optional not in rows.column_names:
            rows = rows.append_column(optional, pa.nulls(len(rows), FIELDS.field(optional).type))
    if not any(is_type(rows["image"].type) for is_type in _BYTES):
        raise CatalogError(f"column 'image' holds {rows['image'].type}: expected the bytes of an encoded image")
    hashes = [content_hash(image.as_py()) if image.is_valid else None for image in rows["image"]]
    rows = rows.append_column("content_hash", pa.array(hashes, pa.string()))
    attributes = [field for field in rows.schema if field.name not in FIELDS.names]
    schema = pa.schema([*FIELDS, *attributes])
    return rows.select(schema.names).cast(schema)


def _regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of about `ROWS_PER_PART` rows, or fewer where they reach `PART_BYTES`."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        rows = sum(len(part) for part in waiting)
        if rows >= ROWS_PER_PART or sum(part.nbytes for part in waiting) >= PART_BYTES:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if any(len(part) for part in waiting):
        yield pa.concat_tables(waiting).combine_chunks()
