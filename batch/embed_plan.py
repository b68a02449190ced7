"""What a catalogue pass has to compute and what it can reuse, decided once and written down.

    work/embeddings/<encoder>/<catalog>-<version>/plan.json            written last: with it the plan stands
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-todo.npy      (M, 2) int32: part and row of what is to be read
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-places.npy    (N,) int64: where each row's vector comes from
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-known.npy     (K,) S16: content hashes that have a vector
    work/embeddings/<encoder>/<catalog>-<version>/<plan>-known-at.npy  (K, 3) int32: source, part and row of each

A pass that was killed goes on with its plan, so that it ends as if nothing had happened. All rows are planned at once,
in memory: 160 bytes a row of a new catalogue, 60 of one that is mostly known, 8 GB for 50 million new rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visnet.batch.embed_known import (
    NOT_KNOWN,
    Known,
    catalog_keys,
    find_known,
    known_by_row,
    known_by_uri,
    sources_of,
)
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import embeddings_directory
from visnet.platform.encoder_manifest import EncoderManifest
from visnet.platform.manifest import digest_of, has_manifest
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

# N rows of the catalogue, M of them to be read, K known content hashes

UNIT_ROWS = 2_048
UNIT_BYTES = 80_000_000
"""Pixels of a unit, at most: it travels through the object store in one piece."""
UNITS_PER_ACTOR = 16
"""At least, where there is enough to do: all actors are to end at about the same time."""
CPU_BATCH_PIXELS = 16 * 224 * 224
"""On CPUs a batch is no larger: with 256 photos of 224 pixels an actor takes 3.6 GiB, and is no faster for it."""
FEWEST = 32
"""Pictures of a unit; with fewer its overhead shows."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The embeddings that a pass is to make."""

    catalog: Catalog
    made_by: EncoderManifest
    crop: int
    """Side in pixels of what the network sees."""
    attempt: int = 1
    """From 2 on: what was in quarantine in the attempt before is tried again."""
    further: tuple[str, ...] = ()
    """Directories of vectors that are reused before those of earlier passes, and are laid out as these."""

    @property
    def directory(self) -> str:
        """Where they will be."""
        return self._directory(self.attempt)

    @property
    def work(self) -> str:
        """Where the pass keeps what it needs until it has finished."""
        return f"work/{self.directory}"

    @property
    def before(self) -> str | None:
        """The attempt before."""
        return self._directory(self.attempt - 1) if self.attempt > 1 else None

    def _directory(self, attempt: int) -> str:
        manifest = self.catalog.manifest
        return embeddings_directory(self.made_by.encoder, manifest.name, manifest.version, attempt=attempt)


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


def open_plan(goal: Goal, settings: EmbedSettings) -> PlanFiles:
    """The plan of a pass that was begun before, or a new one."""
    store = goal.catalog.store
    if (standing := _standing(goal)) is not None:
        return PlanFiles(store, goal.work, standing)
    store.delete_directory(goal.work)
    store.make_directory(goal.work)
    return _make(goal, settings)


def batch_size(crop: int, settings: EmbedSettings) -> int:
    """Pictures of a forward pass."""
    most = settings.batch_size if settings.gpus_per_actor else CPU_BATCH_PIXELS // (crop * crop)
    return max(1, min(settings.batch_size, most))


def unit_rows(todo: int, crop: int, settings: EmbedSettings) -> int:
    """Pictures of a unit: whole batches, as many as fit, but enough units to keep every actor busy to the end."""
    if settings.unit_rows:
        return settings.unit_rows
    most = min(UNIT_ROWS, UNIT_BYTES // (3 * crop * crop))
    whole = max(1, most // settings.batch_size * settings.batch_size or most)
    return min(whole, max(FEWEST, -(-todo // (UNITS_PER_ACTOR * settings.actors))))


def unit_file(directory: str, unit: int) -> str:
    return f"{directory}/units/{unit:08d}.parquet"


def missing_units(files: PlanFiles) -> list[int]:
    """The units that have no file yet."""
    there = set(files.store.names(f"{files.directory}/units"))
    return [unit for unit in range(files.plan.units) if unit_file("", unit).rpartition("/")[2] not in there]


def _standing(goal: Goal) -> Plan | None:
    """The plan in a working directory, if it is one of this pass and what it reuses is still there."""
    store = goal.catalog.store
    if not store.exists(f"{goal.work}/plan.json"):
        return None
    try:
        plan = Plan(**json.loads(store.read(f"{goal.work}/plan.json")))
    except (ValueError, TypeError):  # of another version of the code
        return None
    same = (plan.catalog, plan.encoder_digest) == (goal.catalog.reference, goal.made_by.digest)
    return plan if same and all(has_manifest(store, source) for source in plan.sources) else None


def _make(goal: Goal, settings: EmbedSettings) -> PlanFiles:
    store, catalog = goal.catalog.store, goal.catalog
    earlier = sources_of(store, goal.made_by.encoder, goal.made_by.digest)
    sources = [*goal.further, *earlier]
    key_N, hashed_N, part_rows = catalog_keys(catalog)
    if goal.before is not None:
        known_by_row(store, goal.before, part_rows, key_N, hashed_N)
    if settings.trust_uris:
        known_by_uri(catalog, earlier, key_N, hashed_N)
    known = find_known(store, sources, None if not hashed_N.all() else np.unique(key_N))
    place_N, todo_M = assign(key_N, hashed_N, known)
    first_row = np.cumsum([0, *part_rows])
    part_M = np.searchsorted(first_row, todo_M, side="right") - 1
    plan = Plan(
        plan=digest_of(goal.directory, goal.made_by.digest, sources, dataclasses.asdict(settings)),
        catalog=catalog.reference,
        encoder_digest=goal.made_by.digest,
        sources=sources,
        unit_rows=unit_rows(len(todo_M), goal.crop, settings),
        batch_size=batch_size(goal.crop, settings),
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
        with store.writer(_array_file(goal.work, plan.plan, name)) as file:
            np.save(file, array, allow_pickle=False)
    store.write(f"{goal.work}/plan.json", json.dumps(dataclasses.asdict(plan), indent=2).encode())
    return PlanFiles(store, goal.work, plan)


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
