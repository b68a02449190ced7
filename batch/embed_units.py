"""The computing part of a catalogue pass, a unit at a time: read, decode, encode, write.

    work/embeddings/<encoder>/<catalog>-<version>/units/00000123.parquet   content_hash, reason, computed, vector

A unit is always the same rows and its batches never mix with another's, so its file is the same however often and
wherever it is made: what a killed process leaves is done, or not there. A picture that can't be used has a reason and
no vector; one that was downloaded and turned out to be known has neither.
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.batch.embed_known import NOT_KNOWN, Known
from visnet.batch.embed_plan import PlanFiles, unit_file
from visnet.platform.catalog import Catalog
from visnet.platform.content import content_keys
from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError
from visnet.platform.fetch import Fetcher, fetch, is_url
from visnet.platform.imaging import Preprocessing, content_hash
from visnet.platform.pictures import Source
from visnet.platform.settings import FetchSettings

# B rows of a unit, U of them to be encoded, H height, W width, C channels, D embedding

logger = logging.getLogger(__name__)

NO_SLOT = -1
RUN_BYTES = 2**24
"""Encoded pictures that decoding threads are given at once."""


@dataclass(frozen=True)
class Decoded:
    """A unit, ready to be encoded."""

    unit: int
    hashes: list[str | None]
    """None for what could not be read."""
    reasons: list[str | None]
    """Why a picture can't be used; None for the others."""
    slot_B: np.ndarray
    """int32: which of the pixels is the row's; -1 for none. Equal bytes share theirs."""
    pixel_UHWC: np.ndarray
    """uint8."""


@dataclass(frozen=True)
class _Read:
    """What reading one picture came to."""

    digest: str | None = None
    reason: str | None = None
    pixels: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class UnitDecoder:
    """Reads and decodes units; travels to the process that does it."""

    catalog: Catalog
    files: PlanFiles
    preprocessing: Preprocessing
    fetching: FetchSettings
    threads: int = 1
    """That decode at once in a process."""
    processes: int = 1
    """How many processes share the downloads that are allowed."""

    def __call__(self, unit: int) -> Decoded:
        first = unit * self.files.plan.unit_rows
        todo_B2 = self.files.todo()[first : first + self.files.plan.unit_rows]
        read: list[_Read] = [_Read()] * len(todo_B2)
        urls: list[_Row] = []
        with ThreadPoolExecutor(self.threads) as threads:
            at_once = map if self.threads == 1 else threads.map
            for run in _runs(self._rows(todo_B2)):
                urls += [row for row in run if row.must_be_downloaded]
                _read_into(read, [row for row in run if not row.must_be_downloaded], self._read, at_once)
        if urls:
            self._prepare_downloads()
            with ThreadPoolExecutor(max(1, self.fetching.at_once // self.processes)) as threads:
                _read_into(read, urls, self._read, threads.map)
        return _decoded(unit, read, self.preprocessing.crop)

    def _rows(self, todo_B2: np.ndarray) -> Iterator[_Row]:
        source = Source(self.catalog.store, self.catalog.part_paths())
        rows = pa.table({"part": todo_B2[:, 0], "row": todo_B2[:, 1]})
        for number_B, group in source.groups(rows, ["image", "uri", "content_hash"]):
            columns = (group[name].to_pylist() for name in ("image", "uri", "content_hash"))
            yield from map(_Row, number_B.tolist(), *columns)

    @functools.cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(replace(self.fetching, per_host=max(1, self.fetching.per_host // self.processes)))

    @functools.cached_property
    def _known(self) -> Known:
        return self.files.known()

    def _prepare_downloads(self) -> None:
        """Makes what the threads share before there are any: one fetcher keeps a host's limit, two would not."""
        _ = self._fetcher, self._known

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_fetcher", "_known")}

    def _read(self, row: _Row) -> _Read:
        digest = None
        try:
            if row.image is not None:
                data, digest = row.image, row.content_hash or content_hash(row.image)
            else:
                data = fetch(row.uri, self._fetcher)
                digest = content_hash(data)
                if self._is_known(digest):
                    return _Read(digest)
            return _Read(digest, pixels=self.preprocessing.pixels(data))
        except ImageError as error:
            return _Read(digest, str(error))
        except Exception as error:  # a decoder that breaks on one picture of millions must not end the pass
            logger.exception("a picture broke its decoder; it goes to the quarantine")
            return _Read(digest, f"the decoder failed: {type(error).__name__}: {error}")

    def _is_known(self, digest: str) -> bool:
        return bool(self._known.find(content_keys(pa.array([digest])))[0] != NOT_KNOWN)


class _Row(NamedTuple):
    number: int
    """In its unit."""
    image: bytes | None
    uri: str | None
    content_hash: str | None

    @property
    def must_be_downloaded(self) -> bool:
        return self.image is None and is_url(self.uri)


def _runs(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    """The rows in lists that are worth handing to threads and hold no more bytes than that needs."""
    run: list[_Row] = []
    size = 0
    for row in rows:
        run.append(row)
        size += len(row.image or b"")
        if size >= RUN_BYTES:
            yield run
            run, size = [], 0
    yield run


def _read_into(
    read: list[_Read],
    rows: Sequence[_Row],
    function: Callable[[_Row], _Read],
    at_once: Callable[[Callable[[_Row], _Read], Sequence[_Row]], Iterable[_Read]],
) -> None:
    for row, one in zip(rows, at_once(function, rows), strict=True):
        read[row.number] = one


def _decoded(unit: int, read: list[_Read], crop: int) -> Decoded:
    slots: dict[str | None, int] = {}
    pixels = []
    slot_B = np.full(len(read), NO_SLOT, np.int32)
    for number, one in enumerate(read):
        if one.pixels is not None:
            if one.digest not in slots:
                slots[one.digest] = len(slots)
                pixels.append(one.pixels)
            slot_B[number] = slots[one.digest]
    stacked = np.stack(pixels) if pixels else np.empty((0, crop, crop, 3), np.uint8)
    return Decoded(unit, [one.digest for one in read], [one.reason for one in read], slot_B, stacked)


class UnitEncoder:
    """Encodes decoded units and writes their files."""

    def __init__(self, files: PlanFiles, encoder: Encoder, *, bfloat16: bool = False) -> None:
        self._files, self._encoder, self._bfloat16 = files, encoder, bfloat16

    def __call__(self, decoded: Decoded) -> int:
        """Write a unit's file; returns its rows."""
        plan = self._files.plan
        vector_UD = self._encoder.encode_pixels(
            decoded.pixel_UHWC, batch_size=plan.batch_size, bfloat16=self._bfloat16
        ).astype(np.float16)
        buffer = io.BytesIO()
        pq.write_table(_unit_table(decoded, vector_UD), buffer, use_dictionary=False, compression="none")
        self._files.store.write(unit_file(self._files.directory, decoded.unit), buffer.getvalue())
        return len(decoded.slot_B)


def _unit_table(decoded: Decoded, vector_UD: np.ndarray) -> pa.Table:
    none_B = decoded.slot_B == NO_SLOT
    vector_BD = np.zeros((len(none_B), vector_UD.shape[1]), np.float16)
    vector_BD[~none_B] = vector_UD[decoded.slot_B[~none_B]]
    first_B = np.zeros(len(none_B), bool)
    first_B[np.unique(decoded.slot_B, return_index=True)[1]] = True
    columns = {
        "content_hash": pa.array(decoded.hashes, pa.string()),
        "reason": pa.array(decoded.reasons, pa.string()),
        "computed": pa.array(first_B & ~none_B),
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(vector_BD.reshape(-1)), vector_BD.shape[1], mask=pa.array(none_B)
        ),
    }
    return pa.table(columns)
