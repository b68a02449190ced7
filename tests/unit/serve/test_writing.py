"""Products on their way into the journal: what is accepted, what is rejected, what is embedded and what is not."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.client.models import WriteAnswer
from visnet.platform.errors import ImageError, StoreError
from visnet.platform.imaging import content_hash
from visnet.platform.journal import Delete, Journal, Upsert, open_journal
from visnet.serve.embedding import WantedVectors
from visnet.serve.messages import Embedded, Known, Lookup, Picture
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served
from visnet.serve.shard_client import ShardDownError
from visnet.serve.writing import Writer

FIRST, SECOND = "a" * 64, "b" * 64
SCHEMA = pa.schema([("price", pa.float64()), ("brand", pa.string())])


class FakeServed:
    """A release that has one product already."""

    schema = SCHEMA

    class manifest:
        encoder_digest = FIRST

    def __init__(self) -> None:
        self.held: dict[str, np.ndarray] = {}
        self.down = False
        self.fan_out = self

    async def known(self, lookup: Lookup) -> Known | None:
        if lookup.product_id != "old":
            return None
        return Known(fields=b"", images=[{"image_id": "old-1"}, {"image_id": "old-2"}])

    async def contents(self, lookup: Lookup) -> dict[str, np.ndarray]:
        if self.down:
            raise ShardDownError("shard 0 does not answer")
        return {one: self.held[one] for one in lookup.contents if one in self.held}

    def owner(self, product_id: str) -> FakeServed:
        return self

    async def call(self, method: str, product_id: str, image_id: str) -> Picture | None:
        data = None if image_id == "elsewhere" else image_id.encode()
        return Picture(data=data, uri=None, content_hash="")


class Embedder:
    def __init__(self, digest: str, *, needed: bool = True) -> None:
        self.seen: list[bytes] = []
        self.rejects: set[bytes] = set()
        self.wanted = WantedVectors(digest, self, needed=needed)

    async def __call__(self, photo: bytes) -> Embedded:
        self.seen.append(photo)
        if photo in self.rejects:
            return Embedded(rejected="not an image")
        return Embedded(vector_D=np.full(4, 0.5, np.float32))


class Fetcher:
    def download(self, url: str) -> bytes:
        if "private" in url:
            raise ImageError(f"{url} may not be fetched")
        return f"from {url}".encode()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_journal(str(tmp_path / "journal.sqlite"))


def upsert(
    journal: Journal, *products: dict[str, Any], by: list[Embedder] | None = None, **changes: Any
) -> WriteAnswer:
    served = FakeServed()
    for name, value in changes.items():
        setattr(served, name, value)
    wanted = [one.wanted for one in by or [Embedder(FIRST)]]
    return asyncio.run(Writer(journal, Fetcher()).upsert(cast(Served, served), wanted, products))


def product(name: str = "new", **fields: Any) -> dict[str, Any]:
    image = {} if {"image", "images", "url"} & fields.keys() else {"image": encoded(b"picture")}
    return {"product_id": name, "category": "c", **image, **fields}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_product_is_kept_with_its_picture_and_vectors(journal: Journal) -> None:
    both = [Embedder(FIRST), Embedder(SECOND, needed=False)]
    answer = upsert(journal, product(attributes={"price": 3}), by=both)
    assert [(one.product_id, one.status, one.sequence) for one in answer.products] == [("new", "ok", 1)]
    (entry,) = journal.read(0)
    assert isinstance(entry.write, Upsert)
    assert (entry.write.category, entry.write.attributes) == ("c", {"price": 3})
    (image,) = entry.write.images
    assert (image.image_id, image.content_hash) == ("new", content_hash(b"picture"))
    assert journal.image(image.content_hash) == b"picture"
    for digest in (FIRST, SECOND):
        assert journal.vectors(digest, [image.content_hash])[image.content_hash].tolist() == [0.5] * 4


def test_several_pictures_have_ids_of_their_own(journal: Journal) -> None:
    images = [{"image": encoded(b"1")}, {"image": encoded(b"2")}, {"image_id": "mine", "url": "http://shop/3"}]
    upsert(journal, product(images=images))
    (entry,) = journal.read(0)
    assert isinstance(entry.write, Upsert)
    assert [image.image_id for image in entry.write.images] == ["new", "new#2", "mine"]
    assert journal.image(entry.write.images[2].content_hash) == b"from http://shop/3"


def test_equal_pictures_are_embedded_once_for_good(journal: Journal) -> None:
    first, again = Embedder(FIRST), Embedder(FIRST)
    upsert(journal, product("a"), by=[first])
    upsert(journal, product("b"), product("a", attributes={"price": 2}), by=[again])
    assert (first.seen, again.seen) == ([b"picture"], [])
    assert len(journal.read(0)) == 3


def test_a_picture_that_the_shard_holds_is_not_embedded(journal: Journal) -> None:
    embedder, held = Embedder(FIRST), {content_hash(b"picture"): np.full(4, 0.25, np.float32)}
    upsert(journal, product(), by=[embedder], held=held)
    assert embedder.seen == []
    assert journal.vectors(FIRST, list(held))[content_hash(b"picture")].tolist() == [0.25] * 4
    upsert(journal, product("c", image=encoded(b"other")), by=[embedder], down=True)
    assert embedder.seen == [b"other"]


def test_without_pictures_a_product_keeps_those_it_has(journal: Journal) -> None:
    upsert(journal, {"product_id": "old", "category": "moved"})
    (entry,) = journal.read(0)
    assert isinstance(entry.write, Upsert)
    assert [(image.image_id, journal.image(image.content_hash)) for image in entry.write.images] == [
        ("old-1", b"old-1"),
        ("old-2", b"old-2"),
    ]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"product_id": "x"}, "category"),
        ({"product_id": "x", "category": "c"}, "there is no such product yet"),
        (product(attributes={"price": "dear"}), "attributes.price"),
        (product(attributes={"colour": "red"}), "attributes.colour: there is no such attribute"),
        (product(image="no base64!"), "not base64"),
        (product(image=encoded(b"bad")), "image 'new': not an image"),
        (product(url="http://private/1"), "may not be fetched"),
        (product(images=[]), "images"),
        (product(images=[{"image": encoded(b"1"), "url": "http://shop/1"}]), "just one of image and url"),
        (product(image=encoded(b"1"), url="http://shop/1"), "one of image, url and images"),
        (
            product(images=[{"image_id": "i", "image": encoded(b"1")}, {"image_id": "i", "image": encoded(b"2")}]),
            "image ids",
        ),
        (product("a\0b"), "NUL"),
        (product("x" * 2_000), "1024 bytes"),
        (product(colour="red"), "colour"),
        ({"product_id": 3, "category": "c"}, "product_id"),
    ],
)
def test_what_is_wrong_is_rejected_and_the_others_are_written(
    journal: Journal, wrong: dict[str, Any], why: str
) -> None:
    embedder = Embedder(FIRST)
    embedder.rejects = {b"bad"}
    answer = upsert(journal, product("first"), wrong, product("last"), by=[embedder])
    assert [one.status for one in answer.products] == ["ok", "rejected", "ok"]
    assert why in (answer.products[1].detail or "")
    assert [entry.write.product_id for entry in journal.read(0)] == ["first", "last"]


def test_a_vector_that_another_release_will_need_may_be_missing(journal: Journal) -> None:
    other = Embedder(SECOND, needed=False)
    other.rejects = {b"picture"}
    assert upsert(journal, product(), by=[Embedder(FIRST), other]).products[0].status == "ok"
    assert journal.without_vector(SECOND, after=0) == [content_hash(b"picture")]


def test_deletes(journal: Journal) -> None:
    answer = asyncio.run(Writer(journal, Fetcher()).delete(["a", "", "b"]))
    assert [one.status for one in answer.products] == ["ok", "rejected", "ok"]
    assert [entry.write for entry in journal.read(0)] == [Delete(product_id="a"), Delete(product_id="b")]
    assert answer.sequence == 2


def test_requests_of_one_moment_are_one_transaction_and_get_their_own_places(journal: Journal) -> None:
    calls: list[int] = []
    append: Callable[..., list[int]] = journal.append

    def counted(writes: Any, **further: Any) -> list[int]:
        calls.append(len(writes))
        return append(writes, **further)

    journal.append = counted  # type: ignore[method-assign]

    async def many() -> list[WriteAnswer]:
        writer = Writer(journal, Fetcher())
        return await asyncio.gather(*[writer.delete([f"{number}", f"{number}'"]) for number in range(30)])

    answers = asyncio.run(many())
    assert sum(calls) == 60
    assert len(calls) < 10
    places = {one.sequence: one.product_id for answer in answers for one in answer.products}
    assert {entry.sequence: entry.write.product_id for entry in journal.read(0)} == places


def test_a_journal_that_is_away_is_said(journal: Journal) -> None:
    def broken(*_: Any, **__: Any) -> list[int]:
        raise StoreError("the disk is full")

    journal.append = broken  # type: ignore[method-assign]
    with pytest.raises(ProblemError, match="the disk is full") as refused:
        asyncio.run(Writer(journal, Fetcher()).delete(["a"]))
    assert refused.value.status == 503


def test_a_journal_that_can_not_be_read_is_said_too(journal: Journal) -> None:
    def broken(*_: Any) -> dict[str, np.ndarray]:
        raise StoreError("the database is away")

    journal.vectors = broken  # type: ignore[method-assign]
    with pytest.raises(ProblemError, match="the database is away") as refused:
        upsert(journal, product())
    assert refused.value.status == 503
