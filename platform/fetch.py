"""Reading an image that a catalogue names by its uri: a path or a URL."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.imaging import MAX_IMAGE_BYTES

TIMEOUT_S = 20.0
SCHEMES = ("http://", "https://")


def image_bytes(image: bytes | None, uri: str | None) -> bytes:
    """The encoded picture of a catalogue row, wherever it is; raises as `fetch` does."""
    return image if image is not None else fetch(uri)


def fetch(uri: str | None) -> bytes:
    """The bytes behind a path or an http(s) URL, at most `MAX_IMAGE_BYTES`.

    Raises:
        ImageError: there is no uri, or it can't be read; the text says why.
        TooLargeError: there is more behind it than that.
    """
    if not uri:
        raise ImageError("the row has neither image bytes nor a uri")
    if "://" in uri and not uri.startswith(SCHEMES):
        raise ImageError(f"{uri} has a scheme that is not fetched; expected a path, http or https")
    try:
        if not uri.startswith(SCHEMES):
            with Path(uri).open("rb") as file:
                data = file.read(MAX_IMAGE_BYTES + 1)
        else:
            with urllib.request.urlopen(uri, timeout=TIMEOUT_S) as response:
                data = response.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ImageError(f"{uri} can't be read: {error}") from None
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLargeError(f"{uri} has more than {MAX_IMAGE_BYTES} bytes")
    return data
