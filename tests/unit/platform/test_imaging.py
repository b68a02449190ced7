"""From bytes to pixels: every format upright and RGB, bounds before decoding, one error for all that is broken."""

import contextlib
import hashlib
import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from visnet.platform import imaging
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.imaging import Preprocessing, content_hash, cut, decode, encode_png, framed

Picture = Callable[..., bytes]


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_becomes_rgb(picture: Picture, format: str) -> None:
    image = decode(picture(width=30, height=20, format=format))
    assert (image.mode, image.size) == ("RGB", (30, 20))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_keeps_its_greys(mode: str) -> None:
    grey = Image.new("L", (8, 8), 0)
    grey.paste(128 if mode != "1" else 255, (0, 0, 4, 8))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256)
    else:
        image = (grey.convert("RGB") if mode == "CMYK" else grey).convert(mode)
    pixels = np.asarray(decode(encoded(image, "TIFF" if mode == "CMYK" else "PNG")))
    assert abs(int(pixels[0, 0, 0]) - (128 if mode != "1" else 255)) <= 1
    assert pixels[0, 7].tolist() == [0, 0, 0]


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 255, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    pixels = np.asarray(decode(encoded(image)))
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 1].tolist() == [127, 127, 127]
    assert pixels[3, 3].tolist() == [255, 255, 255]
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert np.asarray(decode(encoded(palette, transparency=0)))[0, 0].tolist() == [255, 255, 255]


def test_a_photo_taken_sideways_stands_upright() -> None:
    image = Image.new("RGB", (20, 10))
    image.paste((255, 0, 0), (0, 0, 10, 10))  # red on the left; turned clockwise it is above
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode(encoded(image, exif=exif))
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == (255, 0, 0)
    assert upright.getpixel((5, 17)) == (0, 0, 0)


def test_a_large_jpeg_is_decoded_smaller_but_not_below_what_is_needed(picture: Picture) -> None:
    data = picture(width=800, height=400, format="JPEG")
    assert decode(data).size == (800, 400)
    assert decode(data, at_least=100).size == (200, 100)
    assert decode(data, at_least=101).size == (400, 200)


@pytest.mark.parametrize(("width", "height"), [(40, 40), (70, 50), (33, 100), (20, 27), (411, 300), (300, 40)])
def test_pixels_are_those_of_scaling_all_and_cutting_the_centre(picture: Picture, width: int, height: int) -> None:
    data = picture(width=width, height=height)
    scale = 40 / min(width, height)
    size = (max(40, round(width * scale)), max(40, round(height * scale)))
    scaled = Image.open(io.BytesIO(data)).resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    slow = np.asarray(scaled.crop((left, top, left + 32, top + 32)))
    fast = Preprocessing(resize=40, crop=32).pixels(data)
    assert fast.shape == (32, 32, 3)
    assert fast.dtype == np.uint8
    assert np.abs(slow.astype(int) - fast).max() <= 8  # the fast way averages before it scales by more than two


def test_a_picture_of_the_right_size_is_not_touched(picture: Picture) -> None:
    data = picture()
    pixels = Preprocessing(resize=40, crop=40).pixels(data)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1)])
def test_a_strip_does_not_blow_up(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    asked: list[tuple[int, int]] = []
    real = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *arguments: object, **options: object) -> Image.Image:
        asked.append(size)
        return real(self, size, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", resize)
    pixels = Preprocessing(resize=40, crop=32).pixels(encoded(Image.new("RGB", size, "red")))
    assert (pixels == (255, 0, 0)).all()
    assert asked == [(32, 32)]


@pytest.mark.parametrize(("crop", "resize"), [(0, 10), (11, 10), (-1, 4)])
def test_a_crop_that_can_not_be_is_refused(crop: int, resize: int) -> None:
    with pytest.raises(ValueError, match=f"got crop={crop}, resize={resize}"):
        Preprocessing(resize=resize, crop=crop)


def test_bounds_are_checked_before_decoding(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture()

    def load(_: object) -> None:
        raise AssertionError("must not be decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with monkeypatch.context() as patched:
        patched.setattr(imaging, "MAX_IMAGE_BYTES", len(data) - 1)
        with pytest.raises(TooLargeError, match=f"the image has {len(data)} bytes; at most {len(data) - 1}"):
            decode(data)
    monkeypatch.setattr(imaging, "MAX_IMAGE_PIXELS", 1599)
    with pytest.raises(TooLargeError, match="40x40 pixels; at most 1599"):
        decode(data)


@pytest.mark.parametrize("side", [12_000, 30_000])  # over our bound; over twice Pillow's own
def test_a_decompression_bomb_is_too_large(side: int) -> None:
    bomb = bytearray(encoded(Image.new("1", (1, 1))))
    bomb[16:24] = side.to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(TooLargeError):
        decode(bytes(bomb))


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"\xff\xd8\xff\xe0", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_is_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"empty|not an image"):
        decode(data)


def test_a_format_that_runs_programs_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode(encoded(Image.new("RGB", (9, 9)), "EPS"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_broken_image_is_an_image_error_and_nothing_else(picture: Picture, format: str) -> None:
    whole = picture(width=24, height=24, format=format)
    with pytest.raises(ImageError):
        decode(whole[: len(whole) // 2])
    dice = random.Random(format)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(3):
            broken[dice.randrange(min(len(broken), 120))] = dice.randrange(256)
        with contextlib.suppress(ImageError):
            assert decode(bytes(broken), at_least=12).mode == "RGB"


def test_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(decode(encode_png(pixels))), pixels)
    np.testing.assert_array_equal(np.asarray(decode(encode_png(pixels[:, :, 0])))[:, :, 2], pixels[:, :, 0])


def test_content_hash_is_blake2b_of_the_bytes() -> None:
    assert content_hash(b"image") == hashlib.blake2b(b"image", digest_size=16).hexdigest()
    assert content_hash(b"image") != content_hash(b"image ")
    assert len(content_hash(b"")) == 32


UPRIGHT = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8).repeat(24, 0).repeat(32, 1)
"""Red and green above blue and yellow, 48 high and 64 wide."""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_stand_upright(format: str, orientation: int) -> None:
    """The camera's pixels, such that what EXIF says of them brings back the picture."""
    stored = {
        1: UPRIGHT,
        2: UPRIGHT[:, ::-1],
        3: UPRIGHT[::-1, ::-1],
        4: UPRIGHT[::-1],
        5: UPRIGHT.transpose(1, 0, 2),
        6: np.rot90(UPRIGHT),
        7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(UPRIGHT, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options)
    assert corners(decode(data)) == corners(Image.fromarray(UPRIGHT))


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The size and the colours of the four quarters, to one of eight steps."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    quarters = [pixels[y * height // 4, x * width // 4] for y in (1, 3) for x in (1, 3)]
    return [(width, height), *(tuple(int(value + 16) // 32 for value in quarter.astype(int)) for quarter in quarters)]


@pytest.mark.parametrize("orientation", [0, 9, 99, 65_535])
def test_an_orientation_that_is_none_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(UPRIGHT), "JPEG", exif=exif, quality=95, subsampling=0)
    assert corners(decode(data)) == corners(Image.fromarray(UPRIGHT))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white_in_every_format(format: str, mode: str) -> None:
    image = Image.new(mode, (16, 16), (0,) * len(mode))
    image.paste((0, 0, 0, 255) if mode == "RGBA" else (0, 255), (0, 0, 8, 16))
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = np.asarray(decode(encoded(image, format, **options)))
    assert pixels[8, 4].tolist() == [0, 0, 0]
    assert pixels[8, 12].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "transparent P", "RGB and a colour"])
def test_laid_on_white_in_bands_as_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "BAND_ROWS", 7)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 24, 4), dtype=np.uint8), "RGBA")
    name = mode.rpartition(" ")[2] if mode != "RGB and a colour" else "RGB"
    image = noise.convert("RGB").quantize(32) if name == "P" else noise.convert(name)
    options: dict[str, object] = {"transparent P": {"transparency": 5}}.get(mode, {})
    if mode == "RGB and a colour":
        options = {"transparency": noise.convert("RGB").getpixel((3, 3))}
    data = encoded(image, **options)
    rgba = Image.open(io.BytesIO(data)).convert("RGBA")
    at_once = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(at_once))


def test_one_colour_that_is_transparent_is_white() -> None:
    """A PNG of grey or RGB may name a colour instead of having an alpha channel."""
    for mode, colour in (("L", 7), ("RGB", (7, 7, 7))):
        image = Image.new(mode, (4, 4), colour)
        image.putpixel((0, 0), 0 if mode == "L" else (0, 0, 0))
        pixels = np.asarray(decode(encoded(image, transparency=colour)))
        assert pixels[0, 0].tolist() == [0, 0, 0]
        assert pixels[3, 3].tolist() == [255, 255, 255]


def png(colour: int, depth: int, row: bytes, *, width: int = 2) -> bytes:
    """A PNG of one row, of the kinds that Pillow reads but does not write."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" + row)),
    )
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*parts, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (png(0, 16, struct.pack(">2H", 0x8000, 0xFFFF)), [[128] * 3, [255] * 3]),
        (png(2, 16, struct.pack(">6H", 0x8000, 0, 0, 0, 0xFFFF, 0x4000)), [[128, 0, 0], [0, 255, 64]]),
        (png(4, 16, struct.pack(">4H", 0x8000, 0xFFFF, 0x8000, 0)), [[128] * 3, [255] * 3]),
        (png(6, 16, struct.pack(">8H", 0x8000, 0, 0, 0xFFFF, 0, 0, 0, 0)), [[128, 0, 0], [255] * 3]),
        (png(0, 1, b"\x40"), [[0] * 3, [255] * 3]),
        (png(0, 2, b"\x60"), [[85] * 3, [170] * 3]),
        (png(0, 4, b"\x0f"), [[0] * 3, [255] * 3]),
    ],
    ids=["grey 16", "RGB 16", "grey and alpha 16", "RGBA 16", "grey 1", "grey 2", "grey 4"],
)
def test_pngs_of_every_depth(data: bytes, wanted: list[list[int]]) -> None:
    assert np.asarray(decode(data))[0].tolist() == wanted


def test_ink_is_not_inverted() -> None:
    """Adobe writes CMYK into JPEG inverted and says so; read plainly, a photo would become its negative."""
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=95)
    assert b"Adobe" in data
    pixel = np.asarray(decode(data))[8, 8].astype(int)
    assert pixel[0] > 200
    assert pixel[1:].max() < 60


def test_ink_in_luma_and_chroma() -> None:
    """YCCK, which Photoshop writes: the same bytes, of which the Adobe marker says that they are to be transformed."""
    data = bytearray(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 128)), "JPEG", quality=95))
    transform = data.index(b"Adobe") + 11
    assert data[transform] in (0, 2)
    seen = []
    for data[transform] in (0, 2):
        seen.append(np.asarray(decode(bytes(data)))[8, 8].astype(int))
    plain, ycck = seen
    assert np.ptp(plain) <= 4
    assert ycck.tolist() != plain.tolist()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_several_pictures_the_first_is_seen(format: str) -> None:
    first, *others = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "MPO" else {}
    data = encoded(first, format, save_all=True, append_images=others, **options)
    pixel = np.asarray(decode(data))[8, 8].astype(int)
    assert pixel[0] > 245
    assert pixel[1:].max() < 10


def test_a_progressive_jpeg_is_decoded_smaller_too() -> None:
    data = encoded(Image.fromarray(UPRIGHT).resize((640, 480)), "JPEG", progressive=True)
    assert decode(data, at_least=100).size == (160, 120)
    assert corners(decode(data))[1:] == corners(Image.fromarray(UPRIGHT))[1:]


def test_a_jpeg_of_twelve_bits_is_refused(picture: Picture) -> None:
    data = bytearray(picture(format="JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match=r"broken|not an image"):
        decode(bytes(data))


@pytest.mark.parametrize("box", [(0.25, 0.5, 0.75, 1.0), (0.0, 0.0, 1.0, 1.0), (0.1, 0.33, 0.47, 0.81)])
def test_a_box_is_cut_out_of_the_upright_picture(picture: Picture, box: imaging.Box) -> None:
    """To the nearest pixel outwards at the upper left."""
    image = decode(picture(width=80, height=60))
    corners = (int(80 * box[0]), int(60 * box[1]), round(80 * box[2]), round(60 * box[3]))
    np.testing.assert_array_equal(np.asarray(cut(image, box)), np.asarray(image.crop(corners)))


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((0.25, 0.25, 0.5, 0.5), (0.25, 0.125, 0.5, 0.625)),  # 100 x 50 pixels: 25 more above and below
        ((0.25, 0.25, 0.375, 0.75), (0.1875, 0.25, 0.4375, 0.75)),  # 50 x 100: 25 more at each side
        ((0.25, 0.25, 0.5, 0.75), (0.25, 0.25, 0.5, 0.75)),  # a square is left as it is
        ((0.0, 0.25, 0.125, 0.75), (0.0, 0.25, 0.25, 0.75)),  # moved to be within the picture
        ((0.75, 0.75, 1.0, 1.0), (0.75, 0.5, 1.0, 1.0)),
        ((0.0, 0.25, 1.0, 0.5), (0.0, 0.0, 1.0, 1.0)),  # the picture reaches no further
        ((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_a_part_is_widened_to_a_square(picture: Picture, box: imaging.Box, wanted: imaging.Box) -> None:
    data = picture(width=400, height=200)
    assert framed(box, (400, 200)) == pytest.approx(wanted)
    preprocessing = Preprocessing(resize=40, crop=32)
    expected = preprocessing.square(cut(decode(data), wanted))
    np.testing.assert_array_equal(preprocessing.pixels(data, box=box), expected)
    np.testing.assert_array_equal(preprocessing.part(decode(data), box), expected)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1, 5_000), (5_000, 1), (1, 1), (333, 333)])
def test_a_frame_holds_its_box_and_is_as_square_as_the_picture_lets_it_be(size: tuple[int, int]) -> None:
    dice = np.random.default_rng(0)
    for _ in range(300):
        (left, right), (top, bottom) = np.sort(dice.random((2, 2)) ** dice.integers(1, 20)).tolist()
        if not (left < right and top < bottom):
            continue
        frame = framed((left, top, right, bottom), size)
        assert 0 <= frame[0] <= left < right <= frame[2] <= 1
        assert 0 <= frame[1] <= top < bottom <= frame[3] <= 1
        side = max((right - left) * size[0], (bottom - top) * size[1])
        assert (frame[2] - frame[0]) * size[0] == pytest.approx(min(side, size[0]))
        assert (frame[3] - frame[1]) * size[1] == pytest.approx(min(side, size[1]))


def test_a_box_of_a_photo_taken_sideways_is_of_what_is_seen() -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (0, 0, 20, 20))  # red on the left; turned clockwise it is above
    exif = Image.Exif()
    exif[0x0112] = 6
    preprocessing = Preprocessing(resize=8, crop=8)
    assert (preprocessing.pixels(encoded(image, exif=exif), box=(0, 0, 1, 0.5)) == (255, 0, 0)).all()
    assert (preprocessing.pixels(encoded(image, exif=exif), box=(0, 0.5, 1, 1)) == 0).all()


@pytest.mark.parametrize("box", [(0, 0, 1e-9, 1e-9), (0.999999, 0.999999, 1, 1), (0.5, 0, 0.5001, 1)])
def test_the_smallest_box_has_a_pixel(picture: Picture, box: imaging.Box) -> None:
    for width, height in ((1, 1), (1, 50), (50, 1), (33, 20)):
        image = decode(picture(width=width, height=height))
        assert min(cut(image, box).size) >= 1


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.2, 1), (0, 0.5, 1, 0.5), (-0.1, 0, 1, 1), (0, 0, 1, 1.1), (0, 0, float("nan"), 1)]
)
def test_a_box_that_is_none_is_refused(picture: Picture, box: imaging.Box) -> None:
    with pytest.raises(ValueError, match="expected a box with 0 <= left < right <= 1"):
        cut(decode(picture()), box)
    with pytest.raises(ValueError, match="expected a box"):
        framed(box, (40, 40))
    with pytest.raises(ValueError, match="expected a box"):
        Preprocessing(resize=40, crop=32).pixels(picture(), box=box)


def test_a_jpeg_is_decoded_finer_for_its_parts(picture: Picture) -> None:
    data = picture(width=1600, height=800, format="JPEG")
    preprocessing = Preprocessing(resize=50, crop=50)
    assert preprocessing.decoded(data).size == (200, 100)
    assert preprocessing.decoded_for_parts(data).size == (400, 200)
