"""Thumbnails: their size, their format, and what can't be made one."""

import io

import pytest
from PIL import Image

from visnet.platform.errors import ImageError
from visnet.platform.thumbnails import thumbnail


def encoded(width: int, height: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), (200, 30, 30, 0)[: len(mode)]).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [(800, 400, 160, (160, 80)), (400, 800, 320, (160, 320)), (100, 50, 320, (100, 50)), (3000, 2, 160, (160, 1))],
)
def test_the_longer_side_is_at_most_so_long(width: int, height: int, size: int, expected: tuple[int, int]) -> None:
    for kind in ("PNG", "JPEG"):
        with Image.open(io.BytesIO(thumbnail(encoded(width, height, kind), size))) as image:
            assert (image.format, image.size) == ("WEBP", expected)


def test_what_is_transparent_is_white() -> None:
    with Image.open(io.BytesIO(thumbnail(encoded(40, 40, mode="RGBA"), 160))) as image:
        assert all(channel > 250 for channel in image.convert("RGB").getpixel((20, 20)))  # type: ignore[union-attr]


def test_it_is_far_smaller_than_a_photo() -> None:
    noise = Image.effect_noise((1600, 1600), 60).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, format="JPEG", quality=90)
    assert len(thumbnail(buffer.getvalue(), 320)) < len(buffer.getvalue()) / 10


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(64, 64)[:60]])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        thumbnail(data, 160)
