"""A catalogue's pictures, streamed: read one row group at a time, decoded once, embedded by several encoders at once.

What is kept of a picture is its vectors. Memory is bounded by a row group of encoded bytes (about a mebibyte), a batch
of decoded pixels and the vectors themselves, however large the catalogue; the few pictures that a report shows are
read again at its end.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import Box
from visnet.platform.progress import progress
from visnet.platform.store import Store

# N rows, D embedding

IMAGE_COLUMNS = ["image", "uri"]
BATCH = 256
EXAMPLES = 5

Where = tuple[str, pa.Scalar]
Size = tuple[int, int]
"""`resize` and `crop`: encoders that agree in them see the same pixels."""


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
                        table = file.read_row_group(group, columns=IMAGE_COLUMNS).take(row_N[group_N] - first)
                        yield group_N, [Picture(**picture) for picture in table.to_pylist()]
                    first += sizes[group]

    def pictures(self, rows: pa.Table) -> list[Picture]:
        """The pictures of a few rows, in the rows' order."""
        found = {
            int(number): picture
            for numbers, group in self.stream(rows)
            for number, picture in zip(numbers, group, strict=True)
        }
        return [found[number] for number in range(len(rows))]


@dataclass(frozen=True)
class Embedded:
    """The vectors of those of some rows whose pictures are usable."""

    vectors: Mapping[str, np.ndarray]
    """(usable, D) float32, by encoder."""
    usable: np.ndarray
    """The numbers of the usable rows, rising."""
    examples: list[str]
    """The first few that are not usable, with the reason."""


def embed(
    encoders: Mapping[str, Encoder],
    pictures: Iterator[tuple[np.ndarray, list[Picture]]],
    *,
    ids: Sequence[str],
    boxes: Sequence[Box | None] | None = None,
    what: str,
) -> Embedded:
    """Embed the pictures of some rows by all encoders, decoding each once for every input size.

    Args:
        pictures: as `Source.stream` gives them.
        ids: the rows' image ids, for messages; as many as there are rows.
        boxes: the part to embed of each row's picture; None for all of it.
        what: names the pictures in the progress.
    """
    vectors = {name: np.zeros((len(ids), encoder.recipe.dimension), np.float32) for name, encoder in encoders.items()}
    usable_N = np.zeros(len(ids), bool)
    examples: list[str] = []
    with progress(what, total=len(ids), unit="pictures") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        decode = functools.partial(_decode, list(encoders.values()))
        for number_B, batch in _batches(pictures):
            decoded = list(pool.map(decode, batch, [boxes[number] if boxes else None for number in number_B]))
            broken = [isinstance(pixels, ImageError) for pixels in decoded]
            examples += [f"{ids[number]}: {decoded[place]}" for place, number in enumerate(number_B) if broken[place]]
            good = [pixels for pixels in decoded if not isinstance(pixels, ImageError)]
            good_B = number_B[~np.array(broken)]
            usable_N[good_B] = True
            for name, encoder in encoders.items():
                if good:
                    pixel_BHWC = np.stack([pixels[_size(encoder)] for pixels in good])
                    vectors[name][good_B] = encoder.encode_pixels(pixel_BHWC)
            bar.update(len(batch))
    if not usable_N.all():
        vectors = {name: vector_ND[usable_N] for name, vector_ND in vectors.items()}
    return Embedded(vectors, np.flatnonzero(usable_N), examples[:EXAMPLES])


def _size(encoder: Encoder) -> Size:
    return encoder.preprocessing.resize, encoder.preprocessing.crop


def _decode(encoders: Sequence[Encoder], picture: Picture, box: Box | None) -> dict[Size, np.ndarray] | ImageError:
    """The picture's pixels for every input size, or why there are none."""
    try:
        data = picture.data()
        return {size: encoder.pixels(data, box=box) for size, encoder in {_size(e): e for e in encoders}.items()}
    except ImageError as error:
        return error


def _batches(pictures: Iterable[tuple[np.ndarray, list[Picture]]]) -> Iterator[tuple[np.ndarray, list[Picture]]]:
    """The same pictures, `BATCH` at a time: a row group of uris may hold thousands, one of bytes a handful."""
    numbers: list[int] = []
    waiting: list[Picture] = []
    for number_B, batch in pictures:
        numbers += number_B.tolist()
        waiting += batch
        while len(waiting) >= BATCH:
            yield np.array(numbers[:BATCH]), waiting[:BATCH]
            numbers, waiting = numbers[BATCH:], waiting[BATCH:]
    if waiting:
        yield np.array(numbers), waiting
