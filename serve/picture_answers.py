"""Products' pictures over HTTP: originals and thumbnails, under addresses that let caches keep them.

An address that names the picture's content (`v`, as `image_url` does) is good for ever: another picture has another
one. Without it, a cache has to ask again, and hears that nothing changed. Thumbnails that were made are kept, and those
that cost the most, pictures from elsewhere, are fetched once.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cachetools import LRUCache
from fastapi.responses import RedirectResponse, Response

from visnet.platform.errors import ImageError
from visnet.platform.fetch import is_url
from visnet.platform.thumbnails import MEDIA_TYPE, SIZES, thumbnail
from visnet.serve.answers import media_type
from visnet.serve.entity_tags import has
from visnet.serve.messages import Picture
from visnet.serve.problems import ProblemError
from visnet.serve.row_json import VERSION_DIGITS
from visnet.serve.writing import Fetcher

KEPT_BYTES = 64 * 2**20
"""Of thumbnails."""
THREADS = 2
FOR_GOOD = "private, max-age=31536000, immutable"
ASK_AGAIN = "private, no-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for."""

    product_id: str
    size: int | None
    version: str | None
    """The content that the address names."""
    known: str | None
    """The entity tags that the client has."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size not in SIZES:
            raise ProblemError(422, f"size: expected one of {', '.join(map(str, SIZES))}, got {self.size}")


class PictureAnswers:
    """Answers with pictures.

    Args:
        fetcher: gets those that are elsewhere, for thumbnails of them.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._made: LRUCache[tuple[str, int], bytes] = LRUCache(KEPT_BYTES, getsizeof=len)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")

    def at_hand(self, wanted: Wanted) -> Response | None:
        """The answer that needs no shard: an address that names its content says all there is to know of it."""
        if wanted.version is None:
            return None
        headers = _headers(wanted, wanted.version)
        if has(wanted.known, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        made = self._made.get((wanted.version, wanted.size)) if wanted.size is not None else None
        return None if made is None else Response(made, media_type=MEDIA_TYPE, headers=headers)

    async def answer(self, wanted: Wanted, picture: Picture) -> Response:
        """The answer with a picture that a shard gave.

        Raises:
            ProblemError: 404, it is elsewhere and can't be had; 422, it can't be made smaller.
        """
        version = picture.content_hash[:VERSION_DIGITS]
        headers = _headers(wanted, version)
        if has(wanted.known, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if wanted.size is None:
            return _original(wanted, picture, headers)
        made = self._made.get((version, wanted.size))
        if made is None:
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self._threads, self._make, wanted, picture, wanted.size)
            self._keep(version, wanted.size, made)
        return Response(made, media_type=MEDIA_TYPE, headers=headers)

    def _make(self, wanted: Wanted, picture: Picture, size: int) -> bytes:
        try:
            data = picture.data
            if data is None and is_url(picture.uri):
                data = self._fetcher.download(str(picture.uri))
            if data is None:
                raise _absent(wanted)
            return thumbnail(data, size)
        except ImageError as error:
            raise ProblemError(422, f"the picture of product {wanted.product_id!r} can't be shown: {error}") from None

    def _keep(self, version: str, size: int, made: bytes) -> None:
        if len(made) <= KEPT_BYTES // 8:
            self._made[version, size] = made


def _original(wanted: Wanted, picture: Picture, headers: dict[str, str]) -> Response:
    if picture.data is not None:
        return Response(picture.data, media_type=media_type(picture.data), headers=headers)
    if is_url(picture.uri):
        return RedirectResponse(str(picture.uri))
    raise _absent(wanted)


def _absent(wanted: Wanted) -> ProblemError:
    return ProblemError(404, f"the picture of product {wanted.product_id!r} is not in the catalogue")


def _headers(wanted: Wanted, version: str) -> dict[str, str]:
    size = f"-{wanted.size}" if wanted.size is not None else ""
    return {
        "ETag": f'"{version}{size}"',
        "Cache-Control": FOR_GOOD if wanted.version == version else ASK_AGAIN,
    }
