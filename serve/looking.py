"""What the embedder does with a batch of photos: decode each once, find the items in those where they are wanted, and
embed every part of every photo in one pass."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from visnet.platform.boxes import WHOLE, widened
from visnet.platform.detector import Detector, Item, worth_parts
from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.imaging import MAX_IMAGE_PIXELS
from visnet.serve import telemetry
from visnet.serve.messages import Looked, Part, Photo

# D embedding

PIXELS_AT_ONCE = MAX_IMAGE_PIXELS
"""Photos are decoded until they have so many pixels, and further ones once these are cut to their parts: a batch of the
largest would take gigabytes."""


class _Seen(NamedTuple):
    """A photo before its parts are embedded."""

    looked: Looked
    squares: list[np.ndarray]
    """Its parts as the encoder will see them."""


class Looking:
    """Photos to vectors of their parts.

    Args:
        detector: of the release; None: no items are looked for.
        margin: added around a found item, relative to its box.
        batch_size: parts in one pass of the encoder, at most.
    """

    def __init__(self, encoder: Encoder, detector: Detector | None, *, margin: float, batch_size: int) -> None:
        self._encoder, self._detector = encoder, detector
        self._margin, self._batch_size = margin, batch_size

    def look(self, photos: Sequence[Photo]) -> list[Looked]:
        """Each photo's parts with their vectors, or why it has none; one bad photo does not fail the others."""
        left = deque(photos)
        seen: list[_Seen] = []
        while left:
            seen += self._look_at_some(left)
        squares = [square for one in seen for square in one.squares]
        with telemetry.stage("network"):
            embedded = self._encoder.encode_pixels(np.stack(squares), batch_size=self._batch_size) if squares else ()
            vectors = iter(embedded)
        return [
            dataclasses.replace(
                one.looked, parts=tuple(dataclasses.replace(part, vector_D=next(vectors)) for part in one.looked.parts)
            )
            for one in seen
        ]

    def _look_at_some(self, left: deque[Photo]) -> list[_Seen]:
        """The next photos: as many as memory should hold decoded. They leave `left`."""
        with telemetry.stage("decode"):
            photos, decoded = self._next_decoded(left)
        found = self._found(photos, decoded)
        with telemetry.stage("crop"):
            return [self._seen(*each) for each in zip(photos, decoded, found, strict=True)]

    def _next_decoded(self, left: deque[Photo]) -> tuple[list[Photo], list[Image.Image | Looked]]:
        photos: list[Photo] = []
        decoded: list[Image.Image | Looked] = []
        pixels = 0
        while left and pixels < PIXELS_AT_ONCE:
            photos.append(left.popleft())
            decoded.append(image := self._decoded(photos[-1]))
            pixels += 0 if isinstance(image, Looked) else image.width * image.height
        return photos, decoded

    def _seen(self, photo: Photo, image: Image.Image | Looked, items: list[Item]) -> _Seen:
        if isinstance(image, Looked):
            return _Seen(image, [])
        parts = self._parts(photo, items)
        squares = [
            self._encoder.pixels_of(image, box=None if part.box == WHOLE else widened(part.box, self._margin_of(part)))
            for part in parts
        ]
        small = photo.detect and not worth_parts(image, self._encoder.preprocessing)
        return _Seen(Looked(parts=tuple(parts), unsure=self._unsure(items), small=small), squares)

    def _decoded(self, photo: Photo) -> Image.Image | Looked:
        """A photo's pixels, or the answer to it if it can't be used."""
        preprocessing = self._encoder.preprocessing
        try:
            if photo.box is None and not photo.detect:
                return preprocessing.decoded(photo.data)
            return preprocessing.decoded_for_parts(photo.data)
        except ImageError as error:
            return Looked(rejected=str(error), too_large=isinstance(error, TooLargeError))

    def _found(self, photos: Sequence[Photo], decoded: Sequence[Image.Image | Looked]) -> list[list[Item]]:
        """All items of each photo in which they are wanted."""
        found: list[list[Item]] = [[] for _ in photos]
        wanted = [
            (place, image)
            for place, (photo, image) in enumerate(zip(photos, decoded, strict=True))
            if photo.detect and not isinstance(image, Looked) and worth_parts(image, self._encoder.preprocessing)
        ]
        if self._detector is not None and wanted:
            with telemetry.stage("detect"):
                items = self._detector.detect([image for _, image in wanted])
            for (place, _), one in zip(wanted, items, strict=True):
                found[place] = one
        return found

    def _parts(self, photo: Photo, items: list[Item]) -> list[Part]:
        """What of a photo is to be embedded: the box, the items found, or the whole."""
        if photo.box is not None:
            return [Part(box=photo.box)]
        sure = self._detector.sure(items)[: photo.most] if self._detector is not None else []
        return [Part(box=item.box, confidence=item.confidence, categories=item.categories) for item in sure] or [
            Part(box=WHOLE)
        ]

    def _margin_of(self, part: Part) -> float:
        """A box that was given is taken as it is."""
        return self._margin if part.confidence is not None else 0.0

    def _unsure(self, items: Sequence[Item]) -> float:
        """The confidence of the surest item, where none is sure enough."""
        if self._detector is None or self._detector.sure(items):
            return 0.0
        return max((item.confidence for item in items), default=0.0)
