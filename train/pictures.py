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

from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError
from visnet.platform.imaging import Box
from visnet.platform.pictures import Picture
from visnet.platform.progress import progress

# N rows, D embedding

BATCH = 256
EXAMPLES = 5

Size = tuple[int, int]
"""`resize` and `crop`: encoders that agree in them see the same pixels."""


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
