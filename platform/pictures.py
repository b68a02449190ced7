"""The pictures that a catalogue names, read one row group at a time.

Memory is bounded by a row group of encoded bytes (about a mebibyte), however large the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.fetch import image_bytes
from visnet.platform.store import Store

IMAGE_COLUMNS = ["image", "uri"]

Where = tuple[str, pa.Scalar]


@dataclass(frozen=True)
class Picture:
    """One picture as a catalogue names it: its bytes or where they are."""

    image: bytes | None
    uri: str | None

    def data(self) -> bytes:
        """The encoded bytes; raises ImageError where they can't be had."""
        return image_bytes(self.image, self.uri)


@dataclass(frozen=True)
class Source:
    """Rows with pictures in some Parquet files of the store."""

    store: Store
    paths: Sequence[str]

    def rows(self, columns: Sequence[str], where: Sequence[Where] = ()) -> pa.Table:
        """The rows for which all of `where` holds, without their pictures but with `part` and `row`: where they are."""
        names = list(dict.fromkeys([*columns, *(column for column, _ in where)]))
        tables = [self._part(part, path, names, where) for part, path in enumerate(self.paths)]
        return pa.concat_tables(tables)

    def _part(self, part: int, path: str, names: list[str], where: Sequence[Where]) -> pa.Table:
        table = pq.read_table(path, columns=names, filesystem=self.store.filesystem)
        table = table.append_column("part", pa.array(np.full(len(table), part)))
        table = table.append_column("row", pa.array(np.arange(len(table))))
        for column, value in where:
            table = table.filter(pc.equal(table[column], value))
        return table

    def stream(self, rows: pa.Table) -> Iterator[tuple[np.ndarray, list[Picture]]]:
        """The pictures of some rows, in the files' order: their numbers in `rows`, and the pictures."""
        for number_N, table in self.groups(rows, IMAGE_COLUMNS):
            yield number_N, [Picture(**picture) for picture in table.to_pylist()]

    def groups(self, rows: pa.Table, columns: Sequence[str]) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """Some rows (by `part` and `row`) in the files' order, one row group at a time: their numbers, and they."""
        part_N, row_N = rows["part"].to_numpy(), rows["row"].to_numpy()
        for part in np.unique(part_N):
            wanted_N = np.flatnonzero(part_N == part)
            wanted_N = wanted_N[np.argsort(row_N[wanted_N], kind="stable")]
            with pq.ParquetFile(self.paths[part], filesystem=self.store.filesystem) as file:
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                cuts = np.searchsorted(row_N[wanted_N], np.cumsum(sizes))
                first = 0
                for group, group_N in enumerate(np.split(wanted_N, cuts[:-1])):
                    if len(group_N):
                        yield group_N, file.read_row_group(group, columns=list(columns)).take(row_N[group_N] - first)
                    first += sizes[group]

    def pictures(self, rows: pa.Table) -> list[Picture]:
        """The pictures of a few rows, in the rows' order."""
        found = {
            int(number): picture
            for numbers, group in self.stream(rows)
            for number, picture in zip(numbers, group, strict=True)
        }
        return [found[number] for number in range(len(rows))]
