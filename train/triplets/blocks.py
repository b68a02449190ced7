"""The scorers' vectors by category, in blocks: what is searched, and what negatives of other categories come from.

    similarities/<id>/<category number>/<block number>.arrow           the pictures' ids and places; mapped, not loaded
    similarities/<id>/<category number>/<block number>-<scorer>.npy    float16 (pictures, dimension); mapped
    similarities/<id>/manifest.json

A category's pictures are in the catalogue's order, `BLOCK_ROWS` to a block, so that whoever works on a category holds
a few blocks and never all of it. The artifact depends on pictures and scorers alone: triplets with another seed, other
ranges or street photos are drawn from the same one.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.manifest import Manifest
from visnet.platform.store import Store
from visnet.train.triplets.units import ID_COLUMNS, Account, unit_path, vector_column

# N pictures, D embedding

BLOCK_ROWS = 4096
KEPT_OPEN = 128
PLACE_COLUMNS = (*ID_COLUMNS, "part", "row")


@dataclass(frozen=True, kw_only=True)
class SimilaritiesManifest(Manifest):
    """The vectors of some scorers over the usable pictures of a catalogue."""

    similarities: str
    """Its id."""
    catalog: str
    catalog_version: str
    filters: dict[str, str]
    scorers: dict[str, dict[str, Any]]
    categories: dict[str, int]
    """Usable pictures by category, sorted; a category's place here is its number."""
    block_rows: int
    broken: dict[str, int]
    """Pictures that can't be used, by reason; they are listed in `broken.parquet`."""


@dataclass(frozen=True)
class GatherCategory:
    """Brings the pictures of one category from the units' files into blocks: the number of its pictures."""

    store: Store
    directory: str
    scorers: tuple[str, ...]

    def __call__(self, job: tuple[int, list[tuple[str, int]]]) -> int:
        """Args: the category's number, and (file of a unit, row group) of all its pictures in order."""
        number, groups = job
        total = 0
        for block, rows in enumerate(_blocks(self._read(groups))):
            self._write(f"{self.directory}/{number:05d}/{block:05d}", rows)
            total += len(rows)
        return total

    def _read(self, groups: Sequence[tuple[str, int]]) -> Iterator[pa.Table]:
        for file, group in groups:
            with pq.ParquetFile(
                self.store.path(unit_path(self.directory, file)), filesystem=self.store.filesystem
            ) as unit:
                yield unit.read_row_group(group).replace_schema_metadata()

    def _write(self, stem: str, rows: pa.Table) -> None:
        for scorer in self.scorers:
            vectors = rows[vector_column(scorer)].combine_chunks()
            buffer = io.BytesIO()
            matrix_ND = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), vectors.type.list_size)
            np.save(buffer, matrix_ND, allow_pickle=False)
            self.store.write(f"{stem}-{scorer}.npy", buffer.getvalue())
        sink = io.BytesIO()
        places = rows.select(list(PLACE_COLUMNS)).combine_chunks()
        with pa.ipc.new_file(sink, places.schema) as writer:
            writer.write_table(places)
        self.store.write(f"{stem}.arrow", sink.getvalue())


def _blocks(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of just `BLOCK_ROWS`, the last of fewer."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= BLOCK_ROWS:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, BLOCK_ROWS)
            waiting = [whole.slice(BLOCK_ROWS)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)


def gather_jobs(accounts: Sequence[Account]) -> tuple[dict[str, int], list[tuple[int, list[tuple[str, int]]]]]:
    """Usable pictures by category, sorted, and for each category what `GatherCategory` takes."""
    counts: dict[str, int] = {}
    groups: dict[str, list[tuple[str, int]]] = {}
    for account in sorted(accounts, key=lambda account: account.file):
        for group, (category, count) in enumerate(account.usable.items()):
            counts[category] = counts.get(category, 0) + count
            groups.setdefault(category, []).append((account.file, group))
    names = sorted(counts)
    return {name: counts[name] for name in names}, [(number, groups[name]) for number, name in enumerate(names)]


class Similarities:
    """The blocks of all categories. Travels as its place; what it opened stays behind.

    Args:
        directory: of the artifact in the store.
        categories: usable pictures by category, sorted.
    """

    def __init__(self, store: Store, directory: str, categories: dict[str, int]) -> None:
        self.store, self.directory = store, directory
        self.names, self.counts = list(categories), list(categories.values())
        self._ends = np.cumsum(self.counts)
        self.rows = functools.lru_cache(KEPT_OPEN)(self._rows)

    def __reduce__(self) -> tuple[type[Similarities], tuple[Store, str, dict[str, int]]]:
        return Similarities, (self.store, self.directory, dict(zip(self.names, self.counts, strict=True)))

    def blocks(self, category: int) -> int:
        """How many blocks a category has."""
        return -(-self.counts[category] // BLOCK_ROWS)

    def vectors(self, category: int, block: int, scorer: str) -> np.ndarray:
        """Of one block: float16 (N, D)."""
        path = self.store.local_path(f"{self._stem(category, block)}-{scorer}.npy")
        vector_ND: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return vector_ND

    def places(self, category: int) -> pa.Table:
        """`PLACE_COLUMNS` of all pictures of a category."""
        return pa.concat_tables([self.rows(category, block) for block in range(self.blocks(category))])

    def _rows(self, category: int, block: int) -> pa.Table:
        path = self.store.local_path(f"{self._stem(category, block)}.arrow")
        with pa.memory_map(str(path)) as mapped:
            return pa.ipc.open_file(mapped).read_all()

    def _stem(self, category: int, block: int) -> str:
        return f"{self.directory}/{category:05d}/{block:05d}"

    def outsiders(self, category: int) -> int:
        """Pictures of all other categories."""
        return int(self._ends[-1]) - self.counts[category]

    def outsider(self, category: int, number: int) -> tuple[int, int]:
        """The category and the row in it of one of the `outsiders` of a category, by its number among them."""
        before = int(self._ends[category]) - self.counts[category]
        number = number if number < before else number + self.counts[category]
        other = int(np.searchsorted(self._ends, number, side="right"))
        return other, number - int(self._ends[other]) + self.counts[other]

    def place(self, category: int, row: int) -> dict[str, Any]:
        """`PLACE_COLUMNS` of one picture."""
        block = self.rows(category, row // BLOCK_ROWS)
        return {name: block[name][row % BLOCK_ROWS].as_py() for name in PLACE_COLUMNS}
