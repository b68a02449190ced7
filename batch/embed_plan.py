"""What a catalogue pass has to compute and what it can reuse, decided once and written down.

    work/embeddings/<encoder>/<catalog>-<version>/plan.json            written last: with it the plan stands
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-todo.npy      (M, 2) int32: part and row of what is to be read
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-places.npy    (N,) int64: where each row's vector comes from
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-known.npy     (K,) S16: content hashes that have a vector
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-known-at.npy  (K, 3) int32: source, part and row of each

A pass that was killed goes on with its plan, so that it ends as if nothing had happened. All rows are planned at once,
in memory: about 100 bytes a row of the catalogue, 5 GB for 50 million.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.content import content_keys
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.manifest import digest_of, finished, has_manifest, read_manifest
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

if TYPE_CHECKING:
    from visnet.platform.encoder import EncoderManifest  # with torch, which few of the processes need

# N rows of the catalogue, M of them to be read, K known content hashes

UNIT_ROWS = 2_048
UNIT_BYTES = 80_000_000
"""Pixels of a unit, at most: it travels through the object store in one piece."""
NOT_KNOWN = -1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was decided."""

    plan: str
    catalog: str
    encoder_digest: str
    sources: list[str]
    """Directories of the embeddings whose vectors may be reused, newest first."""
    unit_rows: int
    batch_size: int
    todo: int
    """Rows to be read; the others have their vector from elsewhere."""
    some_unread: bool
    """Some rows' content hashes are not known before they have been read."""
    part_rows: list[int]
    """Rows of each part of the catalogue."""

    @property
    def units(self) -> int:
        return -(-self.todo // self.unit_rows)

    def rows_of(self, units: Sequence[int]) -> int:
        """Rows of some units, together: all are full but the last."""
        return sum(min(self.unit_rows, self.todo - unit * self.unit_rows) for unit in units)


@dataclass(frozen=True)
class Known:
    """Content hashes that have a vector, and where it is."""

    key_K: np.ndarray
    """S16, sorted."""
    at_K3: np.ndarray
    """int32: source, part, row."""

    def find(self, key_N: np.ndarray) -> np.ndarray:
        """The place of every key among the known, int64; `NOT_KNOWN` for the others."""
        if not len(self.key_K):
            return np.full(len(key_N), NOT_KNOWN, np.int64)
        place_N = np.minimum(np.searchsorted(self.key_K, key_N), len(self.key_K) - 1)
        return np.where(self.key_K[place_N] == key_N, place_N, NOT_KNOWN)


@dataclass(frozen=True)
class PlanFiles:
    """A plan in its working directory, with its arrays mapped from disk."""

    store: Store
    directory: str
    plan: Plan

    def todo(self) -> np.ndarray:
        """(M, 2) int32: part and row, in the catalogue's order."""
        return self._array("todo")

    def places_of(self, part: int) -> np.ndarray:
        """Where a part's vectors come from, int64: p >= 0 is row p of `todo`, -1 - p is entry p of the known."""
        first = sum(self.plan.part_rows[:part])
        return self._array("places")[first : first + self.plan.part_rows[part]]

    def known(self) -> Known:
        return Known(self._array("known"), self._array("known-at"))

    def _array(self, name: str) -> np.ndarray:
        path = self.store.local_path(_array_file(self.directory, self.plan.plan, name))
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array


def work_directory(encoder: str, catalog: Catalog) -> str:
    """Where a pass keeps what it needs until it has finished."""
    return f"work/{embeddings_directory(encoder, catalog.manifest.name, catalog.manifest.version)}"


def open_plan(catalog: Catalog, made_by: EncoderManifest, settings: EmbedSettings, *, crop: int) -> PlanFiles:
    """The plan of a pass that was begun before, or a new one.

    Args:
        crop: side in pixels of what the network sees.
    """
    store, directory = catalog.store, work_directory(made_by.encoder, catalog)
    if (standing := _standing(store, directory, catalog, made_by)) is not None:
        return PlanFiles(store, directory, standing)
    store.delete_directory(directory)
    store.make_directory(directory)
    return _make(directory, catalog, made_by, settings, crop)


def unit_rows(crop: int, batch_size: int) -> int:
    """Pictures of a unit: whole batches, as many as fit."""
    most = min(UNIT_ROWS, UNIT_BYTES // (3 * crop * crop))
    return max(1, most // batch_size * batch_size or most)


def unit_file(directory: str, unit: int) -> str:
    return f"{directory}/units/{unit:08d}.parquet"


def missing_units(files: PlanFiles) -> list[int]:
    """The units that have no file yet."""
    there = set(files.store.names(f"{files.directory}/units"))
    return [unit for unit in range(files.plan.units) if unit_file("", unit).rpartition("/")[2] not in there]


def _standing(store: Store, directory: str, catalog: Catalog, made_by: EncoderManifest) -> Plan | None:
    """The plan in a working directory, if it is one of this pass and what it reuses is still there."""
    if not store.exists(f"{directory}/plan.json"):
        return None
    try:
        plan = Plan(**json.loads(store.read(f"{directory}/plan.json")))
    except (ValueError, TypeError):  # of another version of the code
        return None
    same = (plan.catalog, plan.encoder_digest) == (catalog.reference, made_by.digest)
    return plan if same and all(has_manifest(store, source) for source in plan.sources) else None


def _make(directory: str, catalog: Catalog, made_by: EncoderManifest, settings: EmbedSettings, crop: int) -> PlanFiles:
    store = catalog.store
    key_N, hashed_N, part_rows = _catalog_keys(catalog)
    sources = _sources(store, made_by)
    known = _known(store, sources, None if not hashed_N.all() else np.unique(key_N))
    place_N, todo_M = assign(key_N, hashed_N, known)
    first_row = np.cumsum([0, *part_rows])
    part_M = np.searchsorted(first_row, todo_M, side="right") - 1
    plan = Plan(
        plan=digest_of(catalog.reference, made_by.digest, sources, settings.batch_size, settings.unit_rows),
        catalog=catalog.reference,
        encoder_digest=made_by.digest,
        sources=sources,
        unit_rows=settings.unit_rows or unit_rows(crop, settings.batch_size),
        batch_size=settings.batch_size,
        todo=len(todo_M),
        some_unread=not hashed_N.all(),
        part_rows=part_rows,
    )
    arrays = {
        "todo": np.stack([part_M, todo_M - first_row[part_M]], axis=1).astype(np.int32),
        "places": place_N,
        "known": known.key_K,
        "known-at": known.at_K3,
    }
    for name, array in arrays.items():
        with store.writer(_array_file(directory, plan.plan, name)) as file:
            np.save(file, array, allow_pickle=False)
    store.write(f"{directory}/plan.json", json.dumps(dataclasses.asdict(plan), indent=2).encode())
    return PlanFiles(store, directory, plan)


def _array_file(directory: str, plan: str, name: str) -> str:
    return f"{directory}/{plan}-{name}.npy"


def assign(key_N: np.ndarray, hashed_N: np.ndarray, known: Known) -> tuple[np.ndarray, np.ndarray]:
    """Where each row's vector comes from (see `PlanFiles.places_of`), and the rows to be read, rising.

    To be read are those whose content hash is not there yet, and of those with an unknown one the first of its kind.
    """
    found_N = np.where(hashed_N, known.find(key_N), NOT_KNOWN)
    new_N = np.flatnonzero(hashed_N & (found_N == NOT_KNOWN))
    _, first_U, kind_N = np.unique(key_N[new_N], return_index=True, return_inverse=True)
    todo_M = np.union1d(np.flatnonzero(~hashed_N), new_N[first_U])
    place_N = -1 - found_N
    place_N[~hashed_N] = np.searchsorted(todo_M, np.flatnonzero(~hashed_N))
    place_N[new_N] = np.searchsorted(todo_M, new_N[first_U][kind_N])
    return place_N.astype(np.int64), todo_M


def _catalog_keys(catalog: Catalog) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Every row's content hash as a key, which rows have one, and the rows of each part."""
    keys, hashed, part_rows = [np.empty(0, "S16")], [np.empty(0, bool)], []
    for path in catalog.part_paths():
        column = pq.read_table(path, columns=["content_hash"], filesystem=catalog.store.filesystem)["content_hash"]
        part_rows.append(len(column))
        hashed.append(pc.is_valid(column).to_numpy())
        key_N = np.zeros(len(column), "S16")
        key_N[hashed[-1]] = content_keys(column.drop_null())
        keys.append(key_N)
    return np.concatenate(keys), np.concatenate(hashed), part_rows


def _sources(store: Store, made_by: EncoderManifest) -> list[str]:
    """The finished embeddings of an encoder, newest first."""
    parent = f"embeddings/{made_by.encoder}"
    found = [
        (f"{parent}/{name}", read_manifest(store, f"{parent}/{name}", EmbeddingsManifest))
        for name in finished(store, parent)
    ]
    same = [(manifest.created_at, source) for source, manifest in found if manifest.encoder_digest == made_by.digest]
    return [source for _, source in sorted(same, reverse=True)]


def _known(store: Store, sources: Sequence[str], wanted_W: np.ndarray | None) -> Known:
    """What the sources hold, or of it what is wanted (sorted keys); of several vectors the newest source's."""
    keys, places = [np.empty(0, "S16")], [np.empty((0, 3), np.int32)]
    missing = None if wanted_W is None else np.ones(len(wanted_W), bool)
    for number, source in enumerate(sources):
        if missing is not None and not missing.any():
            break
        for part, key_N in _source_keys(store, source):
            row_N = np.arange(len(key_N), dtype=np.int32)
            if missing is not None and wanted_W is not None:
                row_N, found_N = _among(key_N, wanted_W)
                first = missing[found_N]
                row_N, found_N = row_N[first], found_N[first]
                missing[found_N] = False
            keys.append(key_N[row_N])
            places.append(np.stack([np.full_like(row_N, number), np.full_like(row_N, part), row_N], axis=1))
    key_K, first_K = np.unique(np.concatenate(keys), return_index=True)
    return Known(key_K, np.concatenate(places)[first_K].astype(np.int32))


def _among(key_N: np.ndarray, wanted_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose keys are wanted, and their places among the wanted."""
    place_N = np.minimum(np.searchsorted(wanted_W, key_N), max(len(wanted_W) - 1, 0))
    row_N = np.flatnonzero(wanted_W[place_N] == key_N) if len(wanted_W) else np.empty(0, np.int64)
    return row_N.astype(np.int32), place_N[row_N]


def _source_keys(store: Store, source: str) -> Iterator[tuple[int, np.ndarray]]:
    """The content hashes of an embeddings artifact, part by part."""
    for part, name in enumerate(read_manifest(store, source, EmbeddingsManifest).parts):
        table: pa.Table = pq.read_table(
            store.path(f"{source}/{name}"), columns=["content_hash"], filesystem=store.filesystem
        )
        yield part, content_keys(table["content_hash"])
