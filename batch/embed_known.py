"""What an encoder has embedded before: content hashes, and where their vectors are.

A row's picture is known by its content hash. Of a row that names a uri the hash is not known before it has been read,
unless an earlier embeddings artifact tells: the same row of an attempt before, or, if uris are trusted, the same uri.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog, open_catalog
from visnet.platform.content import content_keys
from visnet.platform.embeddings import EmbeddingsManifest
from visnet.platform.errors import NotFoundError
from visnet.platform.manifest import finished, read_manifest
from visnet.platform.store import Store

# N rows of the catalogue, K known content hashes, W wanted ones

NOT_KNOWN = -1


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


def sources_of(store: Store, encoder: str, digest: str) -> list[str]:
    """The directories of an encoder's finished embeddings, newest first."""
    parent = f"embeddings/{encoder}"
    found = [(read_manifest(store, f"{parent}/{name}", EmbeddingsManifest), name) for name in finished(store, parent)]
    same = sorted((made.created_at, name) for made, name in found if made.encoder_digest == digest)
    return [f"{parent}/{name}" for _, name in reversed(same)]


def catalog_keys(catalog: Catalog) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Every row's content hash as a key (S16), which rows have one, and the rows of each part."""
    keys, hashed, part_rows = [np.empty(0, "S16")], [np.empty(0, bool)], []
    for path in catalog.part_paths():
        column = _column(catalog.store, path, "content_hash")
        part_rows.append(len(column))
        hashed.append(pc.is_valid(column).to_numpy())
        key_N = np.zeros(len(column), "S16")
        key_N[hashed[-1]] = content_keys(column.drop_null())
        keys.append(key_N)
    return np.concatenate(keys), np.concatenate(hashed), part_rows


def known_by_row(store: Store, attempt: str, part_rows: Sequence[int], key_N: np.ndarray, hashed_N: np.ndarray) -> None:
    """Fill in the keys of the rows that an earlier attempt on the same catalogue version has embedded."""
    first_row = np.cumsum([0, *part_rows])
    for part, path in enumerate(_parts(store, attempt)):
        table = pq.read_table(path, columns=["content_hash", "catalog_row"], filesystem=store.filesystem)
        row_M = first_row[part] + table["catalog_row"].to_numpy()
        key_N[row_M] = content_keys(table["content_hash"])
        hashed_N[row_M] = True


def known_by_uri(catalog: Catalog, sources: Sequence[str], key_N: np.ndarray, hashed_N: np.ndarray) -> None:
    """Fill in the keys of the rows whose uri an earlier embeddings artifact has read, the newest first."""
    store = catalog.store
    open_N = np.flatnonzero(~hashed_N)
    uris = pa.chunked_array([_column(store, path, "uri").combine_chunks() for path in catalog.part_paths()])
    uri_M = _text_keys(uris.take(pa.array(open_N)))
    order_M = np.argsort(uri_M, kind="stable")
    for uri_W, content_W in _uris_read(store, sources):
        first_M = np.searchsorted(uri_M, uri_W, side="left", sorter=order_M)
        last_M = np.searchsorted(uri_M, uri_W, side="right", sorter=order_M)
        for number in np.flatnonzero(last_M > first_M).tolist():
            row_N = open_N[order_M[first_M[number] : last_M[number]]]
            row_N = row_N[~hashed_N[row_N]]
            key_N[row_N], hashed_N[row_N] = content_W[number], True


def _uris_read(store: Store, sources: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The uris behind embeddings and the content hashes that were found there, both as keys, part by part."""
    for source in sources:
        made = read_manifest(store, source, EmbeddingsManifest)
        try:
            catalog = open_catalog(store, made.catalog, made.catalog_version)
        except NotFoundError:  # a version that is gone tells nothing
            continue
        for path, catalog_path in zip(_parts(store, source), catalog.part_paths(), strict=True):
            table = pq.read_table(path, columns=["content_hash", "catalog_row"], filesystem=store.filesystem)
            uris = _column(store, catalog_path, "uri").take(table["catalog_row"])
            there = uris.is_valid()
            yield _text_keys(uris.filter(there)), content_keys(table["content_hash"].filter(there))


def find_known(store: Store, sources: Sequence[str], wanted_W: np.ndarray | None) -> Known:
    """What the sources hold, or of it what is wanted (sorted keys); of several vectors the newest source's."""
    keys, places = [np.empty(0, "S16")], [np.empty((0, 3), np.int32)]
    missing = None if wanted_W is None else np.ones(len(wanted_W), bool)
    for number, source in enumerate(sources):
        if missing is not None and not missing.any():
            break
        for part, path in enumerate(_parts(store, source)):
            key_N = content_keys(_column(store, path, "content_hash"))
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


def _text_keys(texts: pa.ChunkedArray) -> np.ndarray:
    """16 bytes for each text; a missing one has none that is found."""
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts.fill_null("").to_pylist()]
    return np.array(digests, "S16")


def _parts(store: Store, embeddings: str) -> list[str]:
    return [store.path(f"{embeddings}/{name}") for name in read_manifest(store, embeddings, EmbeddingsManifest).parts]


def _column(store: Store, path: str, name: str) -> pa.ChunkedArray:
    return pq.read_table(path, columns=[name], filesystem=store.filesystem)[name]
