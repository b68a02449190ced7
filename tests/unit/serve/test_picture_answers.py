"""Pictures over HTTP: what caches may keep, thumbnails made once, and pictures that are elsewhere."""

import asyncio
import io
from typing import Any

import pytest
from fastapi.responses import Response
from PIL import Image

from visnet.platform.errors import ImageError
from visnet.platform.imaging import content_hash
from visnet.serve.entity_tags import has
from visnet.serve.messages import Picture
from visnet.serve.picture_answers import ASK_AGAIN, FOR_GOOD, PictureAnswers, Wanted
from visnet.serve.problems import ProblemError


def png(side: int = 400) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(buffer, format="PNG")
    return buffer.getvalue()


class Shop:
    """Fetches what it has, and counts."""

    def __init__(self, **pictures: bytes) -> None:
        self.pictures, self.asked = pictures, 0

    def download(self, url: str) -> bytes:
        self.asked += 1
        name = url.rpartition("/")[2]
        if name not in self.pictures:
            raise ImageError(f"{url} can't be read: its host is not allowed")
        return self.pictures[name]


DATA = png()
PICTURE = Picture(data=DATA, uri=None, content_hash=content_hash(DATA))
VERSION = PICTURE.content_hash[:16]


def wanted(**changes: Any) -> Wanted:
    return Wanted(**{"product_id": "p", "size": None, "version": None, "known": None, **changes})


def answer(pictures: PictureAnswers, asked: Wanted, picture: Picture = PICTURE) -> Response:
    return asyncio.run(pictures.answer(asked, picture))


def test_the_original_is_given_as_it_is() -> None:
    given = answer(PictureAnswers(Shop()), wanted())
    assert (bytes(given.body), given.media_type) == (DATA, "image/png")
    assert given.headers["Cache-Control"] == ASK_AGAIN


def test_an_address_with_the_content_is_good_for_ever_and_another_one_is_not() -> None:
    pictures = PictureAnswers(Shop())
    assert answer(pictures, wanted(version=VERSION)).headers["Cache-Control"] == FOR_GOOD
    assert answer(pictures, wanted(version="0" * 16)).headers["Cache-Control"] == ASK_AGAIN
    assert answer(pictures, wanted(version=VERSION, size=160)).headers["Cache-Control"] == FOR_GOOD


def test_who_has_it_hears_that_nothing_changed() -> None:
    pictures = PictureAnswers(Shop())
    etag = answer(pictures, wanted(size=160)).headers["ETag"]
    again = answer(pictures, wanted(size=160, known=etag))
    assert (again.status_code, again.headers["ETag"]) == (304, etag)
    assert answer(pictures, wanted(size=320, known=etag)).status_code == 200
    assert answer(pictures, wanted(size=160, known='"other"')).status_code == 200
    unasked = pictures.at_hand(wanted(size=160, version=VERSION, known=f'W/{etag}, "x"'))
    assert unasked is not None
    assert unasked.status_code == 304


def test_a_thumbnail_is_made_once_and_needs_no_shard_the_second_time() -> None:
    pictures = PictureAnswers(Shop())
    asked = wanted(size=160, version=VERSION)
    assert pictures.at_hand(asked) is None
    made = answer(pictures, asked)
    with Image.open(io.BytesIO(bytes(made.body))) as image:
        assert (image.format, image.size) == ("WEBP", (160, 160))
    kept = pictures.at_hand(asked)
    assert kept is not None
    assert bytes(kept.body) == bytes(made.body)
    assert pictures.at_hand(wanted(size=320, version=VERSION)) is None
    assert pictures.at_hand(wanted(size=160)) is None  # which picture it is, only the shard knows


def test_a_picture_elsewhere_is_fetched_for_thumbnails_once_and_redirected_to_otherwise() -> None:
    shop = Shop(red=DATA)
    pictures = PictureAnswers(shop)
    elsewhere = Picture(data=None, uri="https://shop.example/red", content_hash=PICTURE.content_hash)
    for _ in range(2):
        assert answer(pictures, wanted(size=160), elsewhere).media_type == "image/webp"
    assert shop.asked == 1
    redirect = answer(pictures, wanted(), elsewhere)
    assert (redirect.status_code, redirect.headers["location"]) == (307, "https://shop.example/red")


@pytest.mark.parametrize(
    ("picture", "size", "status"),
    [
        (Picture(data=None, uri="https://other.example/x", content_hash="0" * 32), 160, 422),
        (Picture(data=None, uri="/a/path.png", content_hash="0" * 32), 160, 404),
        (Picture(data=None, uri=None, content_hash="0" * 32), None, 404),
        (Picture(data=b"broken", uri=None, content_hash="0" * 32), 160, 422),
    ],
)
def test_a_picture_that_cannot_be_had_is_said(picture: Picture, size: int | None, status: int) -> None:
    with pytest.raises(ProblemError) as refused:
        answer(PictureAnswers(Shop()), wanted(size=size), picture)
    assert refused.value.status == status


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ProblemError, match="expected one of 160, 320, 640, got 500"):
        wanted(size=500)


@pytest.mark.parametrize(
    ("header", "etag", "known"),
    [
        (None, '"a"', False), ('"a"', '"a"', True), ('W/"a"', '"a"', True), ('"a"', 'W/"a"', True),
        ('"b", "a"', '"a"', True), ("*", '"a"', True), ('"ab"', '"a"', False), ("", '"a"', False),
    ],
)  # fmt: skip
def test_entity_tags(header: str | None, etag: str, known: bool) -> None:
    assert has(header, etag) is known
