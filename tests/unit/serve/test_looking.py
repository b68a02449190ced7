"""What of a photo is embedded, and how often it is decoded. Encoder and detector are real, but for the detector's
network, which finds what it is told to."""

from __future__ import annotations

import io
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from visnet.platform import imaging
from visnet.platform.boxes import WHOLE
from visnet.platform.detector import Detector
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.detectors.network import Boxes, DetectionNetwork, no_boxes
from visnet.platform.encoder import Encoder
from visnet.platform.imaging import Box
from visnet.platform.networks import make_recipe
from visnet.serve import looking
from visnet.serve.looking import Looking
from visnet.serve.messages import Looked, Photo

SIDE = 64
MARGIN = 0.1
SURE = 0.5
SMALL, LARGE = (0.0, 0.0, 0.25, 0.25), (0.25, 0.5, 0.75, 1.0)


class Told(DetectionNetwork):
    """Finds in each picture what stands for its red: boxes, classes and scores."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity(), first_label=0, pretrained="")
        self.finds: dict[int, list[tuple[Box, int, float]]] = {}
        self.batches: list[int] = []

    def forward(self, image_BCHW: Tensor, truth: Sequence[Boxes] | None = None) -> list[Boxes]:
        self.batches.append(len(image_BCHW))
        return [self._found(round(255 * float(red_HW[0, 0]))) for red_HW in image_BCHW[:, 0]]

    def _found(self, red: int) -> Boxes:
        finds = self.finds.get(red, [])
        if not finds:
            return replace(no_boxes(), score_N=torch.empty(0))
        boxes, labels, scores = zip(*finds, strict=True)
        return Boxes(box_N4=torch.tensor(boxes) * SIDE, label_N=torch.tensor(labels), score_N=torch.tensor(scores))


class Counting(Encoder):
    """Counts the pictures of each pass."""

    def __init__(self) -> None:
        super().__init__(make_recipe("visnet-tiny", image_size=28, width=4, dimension=16))
        self.passes: list[int] = []

    def encode_pixels(self, pixel_BHWC: np.ndarray, *, batch_size: int = 256, bfloat16: bool = False) -> np.ndarray:
        self.passes.append(len(pixel_BHWC))
        return super().encode_pixels(pixel_BHWC, batch_size=batch_size, bfloat16=bfloat16)


def photo(red: int, *, format: str = "PNG", side: int = 640) -> bytes:
    """Noise in green and blue under one red, by which the stand-in knows it. JPEGs are decoded smaller, and less so for
    their parts."""
    noise = np.random.default_rng(red).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))
    pixels[..., 0] = red
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format, **({"quality": 95} if format == "JPEG" else {}))
    return buffer.getvalue()


@pytest.fixture
def encoder() -> Counting:
    torch.manual_seed(0)
    return Counting()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def eyes(encoder: Counting, told: Told) -> Looking:
    detector = Detector(make_detector_recipe("fcos-lite", image_size=SIDE), ["bag", "coat"], told, min_confidence=SURE)
    return Looking(encoder, detector, margin=MARGIN, batch_size=4)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Image.Image]]:
    """Every picture that was decoded, as long as it is in memory."""
    seen: list[weakref.ref[Image.Image]] = []
    real = imaging.decode

    def decode(data: bytes, *, at_least: int | None = None) -> Image.Image:
        image = real(data, at_least=at_least)
        seen.append(weakref.ref(image))
        return image

    monkeypatch.setattr(imaging, "decode", decode)
    return seen


def vector(encoder: Encoder, data: bytes, box: Box | None = None) -> np.ndarray:
    embedded_D: np.ndarray = encoder.encode_pixels(encoder.pixels(data, box=box)[None])[0]
    return embedded_D


def boxes(looked: Looked) -> list[Box]:
    return [part.box for part in looked.parts]


def same(looked: Looked, *vectors: np.ndarray) -> None:
    assert len(looked.parts) == len(vectors)
    for part, wanted_D in zip(looked.parts, vectors, strict=True):
        assert part.vector_D is not None
        np.testing.assert_allclose(part.vector_D, wanted_D, atol=1e-6)


def test_a_photo_of_which_nothing_is_said_is_embedded_as_a_whole(eyes: Looking, encoder: Counting, told: Told) -> None:
    data = photo(10, format="JPEG")
    (looked,) = eyes.look([Photo(data=data)])
    assert boxes(looked) == [WHOLE]
    assert (looked.parts[0].confidence, looked.parts[0].categories, looked.unsure) == (None, (), 0.0)
    same(looked, vector(encoder, data))
    assert told.batches == []


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("box", [(0.2, 0.3, 0.6, 0.9), (0.0, 0.0, 0.001, 0.001), (0.999, 0.0, 1.0, 1.0), WHOLE])
def test_a_box_that_is_given_is_taken_as_it_is(eyes: Looking, encoder: Counting, format: str, box: Box) -> None:
    data = photo(10, format=format)
    (looked,) = eyes.look([Photo(data=data, box=box)])
    assert boxes(looked) == [box]
    assert looked.parts[0].confidence is None
    same(looked, vector(encoder, data, box))


def test_a_box_is_another_vector_than_the_whole(encoder: Counting) -> None:
    data = photo(10)
    assert np.abs(vector(encoder, data, (0.25, 0.25, 0.75, 0.75)) - vector(encoder, data)).max() > 1e-3


def test_items_found_are_embedded_with_a_margin_but_never_beyond_the_picture(
    eyes: Looking, encoder: Counting, told: Told
) -> None:
    told.finds[10] = [(LARGE, 1, 0.9), (SMALL, 0, 0.9)]
    data = photo(10)
    (looked,) = eyes.look([Photo(data=data, detect=True, most=10)])
    assert boxes(looked) == [LARGE, SMALL]
    assert [part.categories for part in looked.parts] == [(("coat", 1.0),), (("bag", 1.0),)]
    assert [part.confidence for part in looked.parts] == pytest.approx([0.9, 0.9])
    same(looked, vector(encoder, data, (0.2, 0.45, 0.8, 1.0)), vector(encoder, data, (0.0, 0.0, 0.275, 0.275)))
    assert np.abs(looked.parts[0].vector_D - vector(encoder, data, LARGE)).max() > 1e-4


def test_only_so_many_are_embedded_the_most_prominent_first(eyes: Looking, encoder: Counting, told: Told) -> None:
    """Large ones are, even if a small one is surer; what is not sure enough is none of them."""
    told.finds[10] = [(SMALL, 0, 0.99), (LARGE, 1, 0.8), ((0.5, 0.0, 1.0, 0.5), 0, 0.7), ((0.0, 0.3, 1, 0.5), 0, 0.4)]
    asked = [Photo(data=photo(10), detect=True, most=most) for most in (1, 2, 10)]
    looked = eyes.look(asked)
    ranked = [LARGE, (0.5, 0.0, 1.0, 0.5), SMALL]
    assert [boxes(one) for one in looked] == [ranked[:1], ranked[:2], ranked]
    assert [one.unsure for one in looked] == [0.0, 0.0, 0.0]


def test_where_nothing_is_found_the_whole_is_embedded(eyes: Looking, encoder: Counting, told: Told) -> None:
    data = photo(10)
    (looked,) = eyes.look([Photo(data=data, detect=True)])
    assert told.batches == [1]
    assert (boxes(looked), looked.parts[0].confidence, looked.unsure) == ([WHOLE], None, 0.0)
    same(looked, vector(encoder, data))


def test_where_nothing_is_sure_the_whole_is_embedded_and_the_surest_named(
    eyes: Looking, encoder: Counting, told: Told
) -> None:
    told.finds[10] = [(SMALL, 0, SURE - 0.01), (LARGE, 1, 0.2)]
    told.finds[11] = [(SMALL, 0, SURE)]
    data = photo(10)
    unsure, sure = eyes.look([Photo(data=data, detect=True), Photo(data=photo(11), detect=True)])
    assert (boxes(unsure), unsure.parts[0].confidence) == ([WHOLE], None)
    assert unsure.unsure == pytest.approx(SURE - 0.01)
    same(unsure, vector(encoder, data))
    assert (boxes(sure), sure.unsure) == ([SMALL], 0.0)


def test_an_item_that_fills_the_picture_is_an_item(eyes: Looking, encoder: Counting, told: Told) -> None:
    told.finds[10] = [(WHOLE, 1, 0.9)]
    data = photo(10)
    (looked,) = eyes.look([Photo(data=data, detect=True)])
    assert boxes(looked) == [WHOLE]
    assert looked.parts[0].confidence == pytest.approx(0.9)
    same(looked, vector(encoder, data))


def test_without_a_detector_the_whole_is_embedded(encoder: Counting) -> None:
    data = photo(10)
    (looked,) = Looking(encoder, None, margin=MARGIN, batch_size=4).look([Photo(data=data, detect=True)])
    assert (boxes(looked), looked.unsure) == ([WHOLE], 0.0)
    same(looked, vector(encoder, data))


def mixed(told: Told) -> list[Photo]:
    """Photos of every kind, with broken ones between them."""
    told.finds = {10: [(LARGE, 1, 0.9), (SMALL, 0, 0.9)], 12: [(SMALL, 0, 0.9)]}
    return [
        Photo(data=b"broken"),
        Photo(data=photo(9)),
        Photo(data=photo(10), detect=True, most=10),
        Photo(data=photo(10)[:300], detect=True),
        Photo(data=photo(11), box=(0.1, 0.2, 0.3, 0.4)),
        Photo(data=b"", box=(0.1, 0.2, 0.3, 0.4)),
        Photo(data=photo(12), detect=True, most=10),
        Photo(data=photo(13), detect=True, most=10),
    ]


def test_a_batch_gives_what_each_photo_gives_alone(eyes: Looking, told: Told) -> None:
    photos = mixed(told)
    together = eyes.look(photos)
    assert [len(one.parts) for one in together] == [0, 1, 2, 0, 1, 0, 1, 1]
    assert [bool(one.rejected) for one in together] == [True, False, False, True, False, True, False, False]
    for asked, batched in zip(photos, together, strict=True):
        (alone,) = eyes.look([asked])
        assert (boxes(batched), batched.rejected) == (boxes(alone), alone.rejected)
        same(batched, *[part.vector_D for part in alone.parts if part.vector_D is not None])


def test_a_batch_is_decoded_once_found_in_once_and_embedded_in_one_pass(
    eyes: Looking, encoder: Counting, told: Told, decoded: list[weakref.ref[Image.Image]]
) -> None:
    eyes.look(mixed(told))
    assert len(decoded) == 5  # the good ones
    assert told.batches == [3]
    assert encoder.passes == [6]


def test_nothing_but_broken_photos_asks_no_network(eyes: Looking, encoder: Counting, told: Told) -> None:
    assert all(one.rejected for one in eyes.look([Photo(data=b"x", detect=True), Photo(data=b"y")]))
    assert eyes.look([]) == []
    assert (encoder.passes, told.batches) == ([], [])


def test_what_is_too_large_is_told_apart(eyes: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "MAX_IMAGE_PIXELS", 100)
    for asked in (Photo(data=photo(10)), Photo(data=photo(10), detect=True), Photo(data=photo(10), box=SMALL)):
        (looked,) = eyes.look([asked])
        assert looked.too_large
    (broken,) = eyes.look([Photo(data=b"x")])
    assert not broken.too_large


@pytest.mark.parametrize("size", [(1, 5_000), (5_000, 1), (1, 1), (3, 4_000)])
def test_strips_and_dots_have_vectors(eyes: Looking, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 0, 0)).save(buffer, format="PNG")
    data = buffer.getvalue()
    for asked in (Photo(data=data, detect=True), Photo(data=data, box=(0.5, 0.5, 0.500001, 0.500001))):
        (looked,) = eyes.look([asked])
        assert looked.parts[0].vector_D is not None
        assert np.isfinite(looked.parts[0].vector_D).all()


@pytest.mark.parametrize("detect", [False, True])
def test_memory_holds_only_some_of_a_batch_s_large_photos_at_once(
    eyes: Looking, encoder: Counting, told: Told, decoded: list[weakref.ref[Image.Image]],
    monkeypatch: pytest.MonkeyPatch, detect: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(looking, "PIXELS_AT_ONCE", 2 * 640 * 640)
    told.finds[3] = [(LARGE, 0, 0.9), (SMALL, 0, 0.9)]
    alive: list[int] = []
    real = encoder.pixels_of

    def pixels_of(image: Image.Image, *, box: Box | None = None) -> np.ndarray:
        alive.append(sum(one() is not None for one in decoded))
        return real(image, box=box)

    monkeypatch.setattr(encoder, "pixels_of", pixels_of)
    looked = eyes.look([Photo(data=photo(red), detect=detect, most=10) for red in range(6)])
    assert max(alive) == 2
    assert encoder.passes == [7 if detect else 6]
    assert [len(one.parts) for one in looked] == [1, 1, 1, 2 if detect else 1, 1, 1]
    same(looked[4], vector(encoder, photo(4)))


@pytest.mark.parametrize("side", [8, 28])
def test_a_photo_no_larger_than_the_encoder_sees_is_looked_at_as_a_whole(
    eyes: Looking, told: Told, encoder: Counting, side: int
) -> None:
    told.finds[40] = [(LARGE, 0, 0.9)]
    data = photo(40, side=side)
    looked, whole = eyes.look([Photo(data=data, detect=True, most=3), Photo(data=data)])
    assert looked.small
    assert not whole.small
    assert [part.box for part in looked.parts] == [WHOLE]
    assert told.batches == []
    larger = eyes.look([Photo(data=photo(40, side=29), detect=True, most=3)])[0]
    assert (larger.small, len(larger.parts), larger.parts[0].confidence is not None) == (False, 1, True)
