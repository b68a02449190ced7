"""The catalogue: one row per shop picture, kept as Parquet parts that never change once their manifest is written.

Row groups are small (about a mebibyte), so that one image can be read from its part without a copy of the catalogue
elsewhere: the index keeps (part, row) for every image and the service reads it from here.

A catalogue may besides hold photos: pictures from the street of products, some not even in the shop. They are anchors
in training and queries in evaluation, and lie in files of their own: nothing embeds, indexes or serves them.
"""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.catalog_parts import Sizes, Written, write_parts
from visnet.platform.catalog_rows import FIELDS as FIELDS
from visnet.platform.catalog_rows import IMAGE_FIELDS as IMAGE_FIELDS
from visnet.platform.catalog_rows import PHOTO_FIELDS as PHOTO_FIELDS
from visnet.platform.catalog_rows import Skipped, complete, complete_photos
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.manifest import Manifest, finished, has_manifest, read_manifest, write_manifest
from visnet.platform.store import Store

ROWS_PER_PART = 10_000
PART_BYTES = 2**28
ROW_GROUP_BYTES = 2**20
SKIPPED = "skipped.parquet"


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
    photo_parts: list[str] = dataclasses.field(default_factory=list)
    """The files of the photos, in order."""
    photos: int = 0
    photo_splits: dict[str, int] = dataclasses.field(default_factory=dict)
    """Photos by split."""
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    """What the importer left out or could take only in part, by reason; the items are in `skipped.parquet`."""
    journal_sequence: int = 0
    """The journal's entries up to this one are in it; whoever serves an index of it applies the later ones."""


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

    def photo_paths(self) -> list[str]:
        """Paths of the photos' files for `store.filesystem`."""
        return [self.store.path(f"{self.directory}/{part}") for part in self.manifest.photo_parts]

    def skipped_path(self) -> str | None:
        """Where the list of what was left out is; None if nothing was."""
        return f"{self.store.location}/{self.directory}/{SKIPPED}" if self.manifest.skipped else None

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

    def photos(self, columns: list[str] | None = None, *, split: str | None = None) -> pa.Table:
        """All photos in order, or those of a split; columns as `PHOTO_FIELDS` has them, empty if there are none.

        Raises:
            NotFoundError: there is no such split; the text lists those there are.
        """
        splits = self.manifest.photo_splits
        if split is not None and split not in splits:
            known = ", ".join(splits) or "none"
            raise NotFoundError(
                f"catalogue {self.manifest.name} has no photos of the split {split!r} (it has: {known})"
            )
        filters = None if split is None else [("split", "==", split)]
        tables = [
            pq.read_table(path, columns=columns, filters=filters, filesystem=self.store.filesystem)
            for path in self.photo_paths()
        ]
        return pa.concat_tables(tables or [PHOTO_FIELDS.empty_table().select(columns or PHOTO_FIELDS.names)])

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


def write_catalog(
    store: Store,
    *,
    name: str,
    version: str,
    source: str,
    batches: Iterable[pa.Table],
    photos: Iterable[pa.Table] = (),
    skipped: Iterable[Skipped] = (),
    journal_sequence: int = 0,
    named_by: tuple[str, ...] = ("image_id",),
) -> Catalog:
    """Write a catalogue from tables of rows; the content hashes and the nulls of missing columns are filled in.

    Args:
        version: names the version; if it is complete already, it is returned as it stands and nothing is read.
        batches: tables with at least image_id, product_id, category and one of image and uri; all of one schema.
        photos: tables with at least image_id, product_id, category, split and one of image and uri, and else only
            columns of `PHOTO_FIELDS`. A product of theirs need not be among the shop pictures.
        skipped: what the importer left out; read last, so it may be a list that fills while the others are read.
        journal_sequence: see `CatalogManifest.journal_sequence`.
        named_by: the columns that together name a shop picture. Sources are held to ids of their own for all images;
            live writes only within a product.

    Raises:
        CatalogError: no shop pictures, a missing column or value, an invalid box, or a name that occurs twice.
    """
    directory = catalog_directory(name, version)
    if has_manifest(store, directory):
        return open_catalog(store, name, version)
    store.delete_directory(directory)  # what a killed import left
    store.make_directory(directory)
    pictures = _write_pictures(store, directory, batches, named_by)
    shots = _write_photos(store, directory, photos)
    reasons = _write_skipped(store, directory, list(skipped))
    if not pictures["images"]:
        why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        raise CatalogError(f"the source holds no images{f' that can be used ({why})' if why else ''}")
    manifest = CatalogManifest(
        name=name,
        version=version,
        source=source,
        skipped=reasons,
        journal_sequence=journal_sequence,
        **pictures,
        **shots,
    )
    write_manifest(store, directory, manifest)
    return Catalog(store, manifest)


def _write_pictures(
    store: Store, directory: str, batches: Iterable[pa.Table], named_by: tuple[str, ...]
) -> dict[str, Any]:
    """Write the shop pictures; returns what the manifest says of them."""
    tables = (complete(batch) for batch in batches)
    written = _write_parts(store, f"{directory}/part", tables, what="images", count_by="category", named_by=named_by)
    return {
        "images": written.rows,
        "products": len(written.products),
        "categories": written.counts,
        "attributes": {field.name: str(field.type) for field in written.schema if field.name not in FIELDS.names},
        "parts": written.parts,
    }


def _write_photos(store: Store, directory: str, batches: Iterable[pa.Table]) -> dict[str, Any]:
    """Write the photos; returns what the manifest says of them."""
    tables = (complete_photos(batch) for batch in batches)
    written = _write_parts(
        store, f"{directory}/photos", tables, what="photos", count_by="split", named_by=("image_id",)
    )
    return {"photos": written.rows, "photo_splits": written.counts, "photo_parts": written.parts}


def _write_parts(store: Store, stem: str, tables: Iterable[pa.Table], **what: Any) -> Written:
    sizes = Sizes(rows_per_part=ROWS_PER_PART, part_bytes=PART_BYTES, row_group_bytes=ROW_GROUP_BYTES)
    return write_parts(store, stem, tables, sizes=sizes, **what)


def _write_skipped(store: Store, directory: str, skipped: list[Skipped]) -> dict[str, int]:
    """Write the list of what was left out, if anything was; returns how many there are by reason."""
    if skipped:
        items, reasons = zip(*skipped, strict=True)
        buffer = io.BytesIO()
        pq.write_table(pa.table({"item": pa.array(items, pa.string()), "reason": pa.array(reasons)}), buffer)
        store.write(f"{directory}/{SKIPPED}", buffer.getvalue())
    return dict(sorted(collections.Counter(entry.reason for entry in skipped).items()))
