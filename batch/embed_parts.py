"""The closing part of a catalogue pass: each part of the catalogue gets its vectors together, new ones and reused ones.

A part of the embeddings has the catalogue's rows in the catalogue's order, whoever computed their vectors and when; it
needs its own vectors in memory, and one file at a time of those they come from.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.batch.embed_known import NOT_KNOWN, Known
from visnet.batch.embed_plan import PlanFiles, unit_file
from visnet.platform.catalog import Catalog
from visnet.platform.content import content_keys, hex_hashes
from visnet.platform.embeddings import (
    ID_COLUMNS,
    QUARANTINE_SCHEMA,
    EmbeddingsManifest,
    embeddings_schema,
    vector_array,
    vector_matrix,
)
from visnet.platform.errors import StoreError
from visnet.platform.manifest import read_manifest
from visnet.platform.store import Store

# N rows of a part, D embedding


@dataclass(frozen=True, kw_only=True)
class PartAccount:
    """What became of the rows of one part."""

    part: int
    rows: int
    embedded: int
    reused: int
    quarantine: pa.Table
    """`QUARANTINE_SCHEMA`."""


@dataclass(frozen=True, kw_only=True)
class PartWriter:
    """Writes the parts of an embeddings artifact; travels to the process that does it."""

    catalog: Catalog
    files: PlanFiles
    directory: str
    dimension: int

    def __call__(self, part: int) -> PartAccount:
        """Write one part.

        Raises:
            StoreError: a row has neither a vector nor a reason why not: a unit or a source is missing.
        """
        store = self.catalog.store
        ids = pq.read_table(self.catalog.part_paths()[part], columns=list(ID_COLUMNS), filesystem=store.filesystem)
        rows = _Rows(self.files, part, ids["content_hash"], self.dimension)
        if lost := int((~rows.good & ~rows.bad).sum()):
            raise StoreError(f"{lost} rows of {self.catalog.part_paths()[part]} have neither a vector nor a reason")
        good, bad = pa.array(rows.good), pa.array(rows.bad)
        columns = [
            ids["image_id"].filter(good),
            ids["product_id"].filter(good),
            pa.array(rows.hashes[rows.good], pa.string()),
            pa.array(np.flatnonzero(rows.good)),
            vector_array(rows.vector_ND[rows.good]),
        ]
        table = pa.table(columns, schema=embeddings_schema(self.dimension))
        store.write(f"{self.directory}/{part_file(part)}", parquet(table))
        broken = [
            ids["image_id"].filter(bad),
            ids["product_id"].filter(bad),
            pa.array(rows.reasons[rows.bad], pa.string()),
        ]
        embedded = int(rows.computed.sum())
        return PartAccount(
            part=part,
            rows=len(ids),
            embedded=embedded,
            reused=int(rows.good.sum()) - embedded,
            quarantine=pa.table(broken, schema=QUARANTINE_SCHEMA),
        )


class _Rows:
    """The vectors of a part's rows, collected from the units and from earlier embeddings.

    Args:
        hashes: the rows' content hashes as far as the catalogue knows them.
    """

    def __init__(self, files: PlanFiles, part: int, hashes: pa.ChunkedArray, dimension: int) -> None:
        self._files, self._part = files, part
        self.hashes = np.array(hashes.to_pylist(), object)
        self.vector_ND = np.zeros((len(hashes), dimension), np.float16)
        self.reasons = np.full(len(hashes), None, object)
        self.good, self.bad, self.computed = (np.zeros(len(hashes), bool) for _ in range(3))
        place_N = files.places_of(part)
        self._from_units(np.flatnonzero(place_N >= 0), place_N)
        known_N = np.flatnonzero(place_N < 0)
        self._from_sources(known_N, -1 - place_N[known_N])

    def _from_units(self, row_M: np.ndarray, place_N: np.ndarray) -> None:
        """Take what the units say of some rows, or of those rows that come first with the same bytes."""
        unit_M = place_N[row_M] // self._files.plan.unit_rows
        todo_M2 = self._files.todo()
        for unit in np.unique(unit_M).tolist():
            here_M = row_M[unit_M == unit]
            table = _read(self._files.store, unit_file(self._files.directory, unit))
            taken = table.take(place_N[here_M] % self._files.plan.unit_rows)
            valid, broken = (taken[name].is_valid().to_numpy() for name in ("vector", "reason"))
            self.vector_ND[here_M[valid]] = vector_matrix(taken["vector"].filter(pa.array(valid)))
            self.hashes[here_M] = taken["content_hash"].to_pylist()
            self.reasons[here_M] = taken["reason"].to_pylist()
            self.good[here_M], self.bad[here_M] = valid, broken
            own = (todo_M2[place_N[here_M]] == np.stack([np.full_like(here_M, self._part), here_M], axis=1)).all(axis=1)
            self.computed[here_M] = taken["computed"].to_numpy() & own
        self._downloaded_and_known(row_M[~self.good[row_M] & ~self.bad[row_M]])

    def _downloaded_and_known(self, row_M: np.ndarray) -> None:
        if len(row_M):
            known_M = self._known.find(content_keys(pa.array(self.hashes[row_M], pa.string())))
            self._from_sources(row_M[known_M != NOT_KNOWN], known_M[known_M != NOT_KNOWN])

    def _from_sources(self, row_M: np.ndarray, known_M: np.ndarray) -> None:
        """Take the vectors of some rows from earlier embeddings, one of their files at a time."""
        at_M3 = self._known.at_K3[known_M]
        files_F2, file_M = np.unique(at_M3[:, :2], axis=0, return_inverse=True)
        for number, (source, part) in enumerate(files_F2.tolist()):
            here_M = np.flatnonzero(file_M.reshape(-1) == number)
            self.vector_ND[row_M[here_M]] = self._source_part(source, part)[at_M3[here_M, 2]]
        self.good[row_M] = True
        unread_M = np.array([self.hashes[row] is None for row in row_M.tolist()], bool)
        self.hashes[row_M[unread_M]] = hex_hashes(self._known.key_K[known_M[unread_M]])

    def _source_part(self, source: int, part: int) -> np.ndarray:
        directory = self._files.plan.sources[source]
        name = read_manifest(self._files.store, directory, EmbeddingsManifest).parts[part]
        return vector_matrix(_read(self._files.store, f"{directory}/{name}", ["vector"])["vector"])

    @functools.cached_property
    def _known(self) -> Known:
        return self._files.known()


def part_file(part: int) -> str:
    return f"part-{part:05d}.parquet"


def parquet(table: pa.Table) -> bytes:
    """A Parquet file, not compressed: vectors do not shrink, and are read ten times faster so."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, use_dictionary=False, compression="none")
    return buffer.getvalue()


def _read(store: Store, name: str, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(store.path(name), columns=columns, filesystem=store.filesystem)
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"can't read {name}: {error}") from None
