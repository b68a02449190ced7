"""The fold: what the journal holds since a catalogue was written becomes part of the catalogue's next version.

The new version has the products of the old one, less those that were written since, and behind them those that were
upserted, with their pictures. It says up to which entry the journal is in it; whoever serves an index of it applies
the later ones, so that nothing is lost that was written meanwhile, and nothing comes back that was deleted.

What is folded is decided once and written down: a fold that was killed goes on with it. All pass through memory a
group of rows at a time; kept are only the ids of the products that the journal names.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.attributes import held_attributes
from visnet.platform.catalog import FIELDS, SKIPPED, Catalog, catalog_directory, open_catalog, write_catalog
from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError, StoreError
from visnet.platform.journal import Entry, Journal, Upsert
from visnet.platform.manifest import digest_of, has_manifest
from visnet.platform.store import Store

GROUP_BYTES, GROUP_ROWS = 2**26, 1_000
"""Pictures of the journal that are in memory at once, at most."""
FOLDED = ", with the journal up to "
"""Between what a catalogue was imported from and the last entry that is in it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """What is folded into what."""

    catalog: str
    base_version: str
    after: int
    """The base has the journal's entries up to this one."""
    head: int
    """The new version will have those up to this one."""

    @property
    def version(self) -> str:
        """Of the catalogue that it makes."""
        return digest_of(self.base_version, self.head)

    @property
    def entries(self) -> int:
        return self.head - self.after


def fold_work(catalog: str) -> str:
    """Where a fold keeps what it needs until it has finished."""
    return f"work/folds/{catalog}"


def open_fold(store: Store, name: str, journal: Journal) -> Fold:
    """The fold that was begun before, if its catalogue is the newest still, or a new one of the newest version.

    Raises:
        NotFoundError: no such catalogue.
        JournalGapError: the journal does not hold what was written since that version.
    """
    newest = open_catalog(store, name).manifest
    begun = _begun(store, name)
    if begun is not None and newest.version in (begun.base_version, begun.version):
        return begun
    forget(store, name)
    head = journal.head()
    journal.read(newest.journal_sequence, limit=1, upto=head)  # finds a gap before anything is written
    made = Fold(catalog=name, base_version=newest.version, after=newest.journal_sequence, head=head)
    if made.entries:
        store.write(f"{fold_work(name)}/fold.json", json.dumps(dataclasses.asdict(made)).encode())
    return made


def forget(store: Store, name: str) -> None:
    """End a fold: what it made stays; what it left half done goes."""
    begun = _begun(store, name)
    if begun is not None:
        directory = catalog_directory(name, begun.version)
        if not has_manifest(store, directory):
            store.delete_directory(directory)
    store.delete_directory(fold_work(name))


def _begun(store: Store, name: str) -> Fold | None:
    path = f"{fold_work(name)}/fold.json"
    return Fold(**json.loads(store.read(path))) if store.exists(path) else None


def fold_catalog(store: Store, fold: Fold, journal: Journal) -> Catalog:
    """Write the new version; as it stands if it is there already, or if there is nothing to fold.

    Raises:
        CatalogError: nothing would be left in it.
        JournalGapError: the journal was trimmed meanwhile.
        StoreError: the journal lacks a picture that it names.
    """
    if not fold.entries or has_manifest(store, catalog_directory(fold.catalog, fold.version)):
        return open_catalog(store, fold.catalog, fold.version if fold.entries else fold.base_version)
    base = open_catalog(store, fold.catalog, fold.base_version)
    try:
        return write_catalog(
            store,
            name=fold.catalog,
            version=fold.version,
            source=f"{base.manifest.source.partition(FOLDED)[0]}{FOLDED}{fold.head}",
            batches=_rows(base, fold, journal),
            photos=_groups(store, base.photo_paths()),
            skipped=_skipped(base),
            journal_sequence=fold.head,
            named_by=("product_id", "image_id"),
        )
    except CatalogError:
        forget(store, fold.catalog)  # or the next fold would come to the same
        raise


def _rows(base: Catalog, fold: Fold, journal: Journal) -> Iterator[pa.Table]:
    """The new version's rows: those that stay, and those of what was upserted."""
    schema = _schema(base)
    written = {entry.write.product_id for entry in journal.latest(fold.after, upto=fold.head)}
    for rows in _groups(base.store, base.part_paths()):
        yield _without(rows, written).cast(schema)
    for entries in _by_size(_upserted(journal, fold, schema)):
        yield pa.Table.from_pylist(entries, schema)


def _schema(base: Catalog) -> pa.Schema:
    """The base's columns; a product that is written live may lack any attribute."""
    found = pq.read_schema(base.part_paths()[0], filesystem=base.store.filesystem)
    fields = [field if field.name in FIELDS.names else field.with_nullable(True) for field in found]
    return pa.schema(fields)


def _groups(store: Store, paths: list[str]) -> Iterator[pa.Table]:
    """All rows of some files, a row group at a time."""
    for path in paths:
        with pq.ParquetFile(path, filesystem=store.filesystem) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _without(rows: pa.Table, products: Collection[str]) -> pa.Table:
    return rows.filter(pa.array([product not in products for product in rows["product_id"].to_pylist()], pa.bool_()))


def _upserted(journal: Journal, fold: Fold, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """A row for every picture of every product whose last entry is an upsert."""
    attributes = pa.schema([field for field in schema if field.name not in FIELDS.names])
    for entry in journal.latest(fold.after, upto=fold.head):
        yield from _rows_of(entry, journal, attributes)


def _rows_of(entry: Entry, journal: Journal, attributes: pa.Schema) -> Iterator[dict[str, Any]]:
    write = entry.write
    if not isinstance(write, Upsert):
        return
    own = {"product_id": write.product_id, "category": write.category, **held_attributes(write.attributes, attributes)}
    for image in write.images:
        data = journal.image(image.content_hash)
        if data is None:
            raise StoreError(
                f"the journal names the picture {image.content_hash} of product {write.product_id!r} in entry "
                f"{entry.sequence}, but does not have it: write the product again"
            )
        yield {**own, "image_id": image.image_id, "image": data}


def _by_size(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists that fit into memory."""
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row["image"])
        if size >= GROUP_BYTES or len(group) >= GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _skipped(base: Catalog) -> Iterator[Skipped]:
    """What the import had left out."""
    if base.manifest.skipped:
        table = pq.read_table(base.store.path(f"{base.directory}/{SKIPPED}"), filesystem=base.store.filesystem)
        yield from (Skipped(**row) for row in table.to_pylist())
