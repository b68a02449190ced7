"""Content hashes as numbers: a catalogue of millions of images is compared in seconds, not in minutes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

HEX_DIGITS = 32


def content_keys(hashes: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The 16 bytes behind every content hash, (N,) of dtype S16: sorted, searched and compared as one value.

    Raises:
        ValueError: one of them is missing or does not have 32 hex digits.
    """
    column = hashes.combine_chunks() if isinstance(hashes, pa.ChunkedArray) else hashes
    text = column.cast(pa.binary(HEX_DIGITS)) if not column.null_count else None
    if text is None:
        raise ValueError(f"{column.null_count} content hashes are missing")
    digits = np.frombuffer(text.buffers()[1], np.uint8)[text.offset * HEX_DIGITS :][: len(text) * HEX_DIGITS]
    values = _VALUE[digits]
    if (values > 15).any():
        raise ValueError("expected content hashes of 32 hex digits")
    pairs = values.reshape(-1, 2)
    return (pairs[:, 0] << 4 | pairs[:, 1]).view("S16")


def hex_hashes(key_N: np.ndarray) -> list[str]:
    """The content hashes of some keys."""
    raw = np.ascontiguousarray(key_N).tobytes().hex()
    return [raw[first : first + HEX_DIGITS] for first in range(0, len(raw), HEX_DIGITS)]


def short_keys(hashes: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The first 8 bytes of every content hash as int64, (N,): enough to tell the images of an index apart."""
    return content_keys(hashes).view(">i8")[::2].astype(np.int64)


_VALUE = np.full(256, 255, np.uint8)
_VALUE[[ord(digit) for digit in "0123456789abcdef"]] = np.arange(16)
