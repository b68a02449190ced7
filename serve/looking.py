"""What the embedder does with a batch of photos: decode each once, find the items in those where they are wanted, and
embed every part of every photo in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

from visnet.platform.boxes import WHOLE, widened
from visnet.platform.detector import Detector, Item
from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError, TooLargeError
from visnet.serve import telemetry
from visnet.serve.messages import Looked, Part, Photo

# B photos of a batch, P parts of them, D embedding


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
        with telemetry.stage("decode"):
            decoded = [self._decoded(photo) for photo in photos]
        found = self._found(photos, decoded)
        parts_B = [self._parts(*each) for each in zip(photos, decoded, found, strict=True)]
        with telemetry.stage("crop"):
            pixels = [
                self._encoder.pixels_of(
                    image, box=None if part.box == WHOLE else widened(part.box, self._margin_of(part))
                )
                for image, parts in zip(decoded, parts_B, strict=True)
                if not isinstance(image, Looked)
                for part in parts
            ]
        with telemetry.stage("network"):
            embedded = self._encoder.encode_pixels(np.stack(pixels), batch_size=self._batch_size) if pixels else ()
            vectors = iter(embedded)
        return [
            image
            if isinstance(image, Looked)
            else Looked(
                parts=tuple(dataclasses.replace(part, vector_D=next(vectors)) for part in parts),
                unsure=self._unsure(items),
            )
            for image, parts, items in zip(decoded, parts_B, found, strict=True)
        ]

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
            if photo.detect and not isinstance(image, Looked)
        ]
        if self._detector is not None and wanted:
            with telemetry.stage("detect"):
                items = self._detector.detect([image for _, image in wanted])
            for (place, _), one in zip(wanted, items, strict=True):
                found[place] = one
        return found

    def _parts(self, photo: Photo, image: Image.Image | Looked, items: list[Item]) -> list[Part]:
        """What of a photo is to be embedded: the box, the items found, or the whole."""
        if isinstance(image, Looked):
            return []
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
