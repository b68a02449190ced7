"""What strangers upload as a picture: every format a shop has, broken in every way, and what is none at all."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, PngImagePlugin

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
HEAD = 64
"""Bytes at the start in which most of what a decoder believes stands."""


def pictures() -> dict[str, bytes]:
    """Good pictures, by what they are."""
    made = {format.lower(): encoded(_photo(seed), format) for seed, format in enumerate(FORMATS)}
    made |= {
        f"exif {value}": encoded(_photo(20 + value), "JPEG", exif=_oriented(value)) for value in (*range(1, 9), 0, 99)
    }
    made |= {
        "progressive": encoded(_photo(40), "JPEG", progressive=True),
        "cmyk": encoded(_photo(41).convert("CMYK"), "JPEG"),
        "grey and alpha": encoded(_photo(42).convert("LA"), "PNG"),
        "palette": encoded(_photo(43).quantize(16), "PNG", transparency=3),
        "one bit": encoded(_photo(44).convert("1"), "PNG"),
        "16 bit": encoded(Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 28), "PNG"),
        "webp with alpha": encoded(_photo(45).convert("RGBA"), "WEBP"),
        **{f"animated {format}": animated(format, 12) for format in ("GIF", "WEBP", "PNG")},
    }
    return made


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that want to become large, and what is no picture at all."""
    return {
        "png of 50,000 x 50,000": png(50_000, 50_000, b"\0" * 10_000),
        "png of 0 x 0": png(0, 0, b""),
        "png of 2^31": png(2**31 - 1, 2**31 - 1, b"\0"),
        "gif canvas": b"GIF89a"
        + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0)
        + b"\0\0\0\xff\xff\xff"
        + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
        "bmp of 30,000 x 30,000": _patched(encoded(_photo(0), "BMP"), 18, struct.pack("<ii", 30_000, 30_000)),
        "500 frames": animated("GIF", 500),
        "500 png frames": animated("PNG", 500),
        "300 webp frames": animated("WEBP", 300),
        "text that unpacks": _with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 2**27, 9)),
        "utf-8 text that unpacks": _with_chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"\0" * 2**27, 9)),
        "profile that unpacks": _with_chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"\0" * 2**27, 9)),
        "pixels that unpack": png(40, 40, b"\0" * 2**27),
        "html": b"<!doctype html><title>404</title><img src=x onerror=alert(1)>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        "svg with an entity": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
        "zip": b"PK\3\4" + b"\0" * 100,
        "one byte": b"\xff",
        "zeros": b"\0" * 100_000,
        "jpeg of markers": b"\xff\xd8" + b"\xff\xe1\0\2" * 20_000,
        "jpeg of 65,500 x 65,500": _jpeg_of(65_500, 65_500),
    }


@functools.cache
def extremes() -> dict[str, bytes]:
    """Pictures as good as any, of shapes that no shop has."""
    sizes = [(1, 1), (1, 2), (3, 1), (1, 5_000), (5_000, 1), (2, 30_000), (30_000, 7), (1, 400_000), (6_000, 6_000)]
    made = {f"{width} x {height}": png(width, height, _rows(width, height)) for width, height in sizes}
    for width, height in ((1, 60_000), (60_000, 1), (6_000, 4_000)):
        made[f"jpeg of {width} x {height}"] = encoded(Image.new("RGB", (width, height), "teal"), "JPEG")
    return made


def mutated(count: int, seed: int = 0) -> Iterator[bytes]:
    """So many pictures, each broken in one of many ways."""
    dice = random.Random(seed)
    whole = list(pictures().values())
    ways: list[Callable[[random.Random, bytes, bytes], bytes]] = [
        _flipped,
        _flipped_head,
        _cut,
        _spliced,
        _twice,
        _overwritten,
    ]
    for _ in range(count):
        first, second = dice.choice(whole), dice.choice(whole)
        yield dice.choice(ways)(dice, first, second)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def animated(format: str, frames: int) -> bytes:
    """A picture of many frames; the first is red."""
    first, *others = [Image.new("RGB", (16, 16), (255 if not n else 0, n % 256, n // 2)) for n in range(frames)]
    return encoded(first, format, save_all=True, append_images=others, duration=10)


def png(width: int, height: int, raw: bytes) -> bytes:
    """A PNG of one bit a pixel that says it is so large, with these as its packed rows."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _rows(width: int, height: int) -> bytes:
    """Stripes of one bit a pixel."""
    return (b"\0" + b"\x5a" * -(-width // 8)) * height


def _photo(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)


def _oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _with_chunk(name: bytes, data: bytes) -> bytes:
    """A PNG with a further chunk behind its head."""
    whole = encoded(_photo(1), "PNG", pnginfo=PngImagePlugin.PngInfo())
    return whole[:33] + _chunk(name, data) + whole[33:]


def _jpeg_of(width: int, height: int) -> bytes:
    whole = encoded(_photo(2), "JPEG")
    return _patched(whole, whole.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def _patched(data: bytes, at: int, by: bytes) -> bytes:
    return data[:at] + by + data[at + len(by) :]


def _flipped(dice: random.Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _flipped_head(dice: random.Random, data: bytes, other: bytes) -> bytes:
    return _flipped(dice, data[:HEAD], other) + data[HEAD:]


def _cut(dice: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: dice.randrange(1, len(data))]


def _spliced(dice: random.Random, data: bytes, other: bytes) -> bytes:
    """The head of one and the body of another."""
    return other[: dice.randrange(1, HEAD)] + data[dice.randrange(HEAD) :]


def _twice(dice: random.Random, data: bytes, _: bytes) -> bytes:
    """A piece of it stands there twice."""
    first, last = sorted(dice.sample(range(len(data)), 2))
    return data[:last] + data[first:last] + data[last:]


def _overwritten(dice: random.Random, data: bytes, _: bytes) -> bytes:
    """Some number in it is the largest, or 0."""
    at = dice.randrange(len(data))
    return _patched(data, at, dice.choice((b"\xff", b"\0")) * min(4, len(data) - at))
