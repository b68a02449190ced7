"""The scorers' vectors of a catalogue, a unit at a time: a run of rows of one part, decoded, embedded and written.

    similarities/<id>/units/<part>-<first row>.parquet

A unit is always the same rows, so that a pass that was killed goes on where it was and the vectors do not depend on
how many processes made them. Within it the rows are sorted by category, a row group each: `triplet_blocks.py` then
reads the categories one by one. Its account (how many usable pictures of each category, and which pictures are broken)
stands in the file's own metadata. At most `UNIT_ROWS` decoded pictures are in memory, 77 MB at 224 pixels.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import vector_array
from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError
from visnet.platform.imaging import Preprocessing, content_hash
from visnet.platform.pictures import Picture, Source
from visnet.platform.store import Store
from visnet.train.examples import shop_source
from visnet.train.triplets.scorers import Scorer, on_grid

# B batch, H height, W width, C channels, D embedding

UNIT_ROWS = 512
BATCH = 64
ID_COLUMNS = ("image_id", "product_id", "category", "content_hash")
ACCOUNT = b"account"


@dataclass(frozen=True)
class Unit:
    """Rows `first` to `last` (not included) of a part of the catalogue."""

    part: int
    first: int
    last: int

    @property
    def file(self) -> str:
        return f"{self.part:05d}-{self.first:06d}.parquet"


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of a unit's pictures."""

    file: str
    usable: dict[str, int]
    """By category, sorted: the row groups of its file, in order."""
    broken: list[tuple[str, str]]
    """(image id, reason)."""

    @property
    def pictures(self) -> int:
        return sum(self.usable.values()) + len(self.broken)


@dataclass(frozen=True)
class Decoded:
    """A unit's usable pictures."""

    unit: Unit
    rows: pa.Table
    """`ID_COLUMNS`, part and row."""
    pixel_BHWC: np.ndarray
    broken: list[tuple[str, str]]


def plan_units(catalog: Catalog, filters: tuple[tuple[str, str], ...]) -> list[Unit]:
    """The units that together are the rows for which all filters hold; none without such a row."""
    units = []
    for part, path in enumerate(catalog.part_paths()):
        if filters:
            row_N = _chosen(catalog, filters, part)["row"].to_numpy()
            starts = np.unique(row_N // UNIT_ROWS) * UNIT_ROWS
        else:
            rows = pq.read_metadata(path, filesystem=catalog.store.filesystem).num_rows
            starts = np.arange(0, rows, UNIT_ROWS)
        units += [Unit(part, int(first), int(first) + UNIT_ROWS) for first in starts]
    return units


def _chosen(catalog: Catalog, filters: tuple[tuple[str, str], ...], part: int, columns: Sequence[str] = ()) -> pa.Table:
    """The rows of a part for which the filters hold, without their pictures."""
    where = [(column, catalog.typed(column, value)) for column, value in filters]
    source = Source(catalog.store, [catalog.part_paths()[part]])
    rows = source.rows(columns, where)
    return rows.set_column(rows.schema.get_field_index("part"), "part", pa.array(np.full(len(rows), part)))


@dataclass(frozen=True)
class DecodeUnits:
    """Units -> decoded pictures. One decoding serves all scorers."""

    catalog: Catalog
    filters: tuple[tuple[str, str], ...]
    preprocessing: Preprocessing

    def __call__(self, unit: Unit) -> Decoded:
        rows = _chosen(self.catalog, self.filters, unit.part, ID_COLUMNS)
        inside = (rows["row"].to_numpy() >= unit.first) & (rows["row"].to_numpy() < unit.last)
        rows = rows.filter(pa.array(inside))
        pixels: list[np.ndarray] = []
        hashes: list[str | None] = [None] * len(rows)
        broken: list[tuple[str, str]] = []
        for number, picture in self._pictures(rows):
            try:
                data = picture.data()
                pixels.append(self.preprocessing.pixels(data))
                hashes[number] = rows["content_hash"][number].as_py() or content_hash(data)
            except ImageError as error:
                broken.append((rows["image_id"][number].as_py(), _reason(error, picture)))
        rows = rows.set_column(
            rows.schema.get_field_index("content_hash"), "content_hash", pa.array(hashes, pa.string())
        )
        usable = rows.filter(rows["content_hash"].is_valid())
        side = self.preprocessing.crop
        return Decoded(unit, usable, np.stack(pixels) if pixels else np.empty((0, side, side, 3), np.uint8), broken)

    def _pictures(self, rows: pa.Table) -> Iterator[tuple[int, Picture]]:
        for numbers, pictures in shop_source(self.catalog).stream(rows):
            yield from zip(numbers.tolist(), pictures, strict=True)


def _reason(error: ImageError, picture: Picture) -> str:
    """Why a picture can't be used, worded the same for all such pictures, as they are counted by it."""
    text = str(error).replace(picture.uri, "its uri") if picture.uri else str(error)
    return text.partition(":")[0]


class EmbedUnits:
    """Decoded pictures -> a file of the unit's vectors by every scorer."""

    def __init__(self, store: Store, directory: str, scorers: Mapping[str, Scorer], *, device: str) -> None:
        self._store, self._directory = store, directory
        self._scorers = scorers
        self._encoders: dict[str, Encoder] = {name: one.encoder(device=device) for name, one in scorers.items()}

    def __call__(self, decoded: Decoded) -> Account:
        order = np.argsort(np.array(decoded.rows["category"].to_pylist(), dtype=object), kind="stable")
        rows = decoded.rows.take(order)
        for name, encoder in self._encoders.items():
            seen_BHWC = self._scorers[name].seen(decoded.pixel_BHWC)
            vector_BD = on_grid(encoder.encode_pixels(seen_BHWC, batch_size=BATCH))
            rows = rows.append_column(vector_column(name), vector_array(vector_BD[order]))
        counts = rows["category"].value_counts().to_pylist()
        usable = dict(sorted((entry["values"], entry["counts"]) for entry in counts))
        account = Account(file=decoded.unit.file, usable=usable, broken=decoded.broken)
        self._store.write(unit_path(self._directory, account.file), _parquet(rows, account))
        return account


def _parquet(rows: pa.Table, account: Account) -> bytes:
    """The rows with a row group per category, and the account in the metadata."""
    buffer = io.BytesIO()
    schema = rows.schema.with_metadata({ACCOUNT: json.dumps(dataclasses.asdict(account)).encode()})
    with pq.ParquetWriter(buffer, schema) as writer:
        first = 0
        for count in account.usable.values():
            writer.write_table(rows.slice(first, count).cast(schema))
            first += count
    return buffer.getvalue()


def read_account(store: Store, directory: str, file: str) -> Account:
    """The account of a unit that was written before."""
    schema = pq.read_schema(store.path(unit_path(directory, file)), filesystem=store.filesystem)
    content = json.loads(schema.metadata[ACCOUNT])
    return Account(**{**content, "broken": [(image, reason) for image, reason in content["broken"]]})


def unit_path(directory: str, file: str) -> str:
    return f"{directory}/units/{file}"


def vector_column(scorer: str) -> str:
    return f"vector_{scorer}"
