"""The Python client against a real service, and the example scripts that docs/examples has of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.shop.conftest import PRODUCTS
from tests.served_shop import CATEGORIES, Service, picture
from visnet.platform.client import AsyncClient, Client, Patience, ProductWrite, ServiceError, UnreachableError
from visnet.platform.ports import is_free
from visnet.platform.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")]

ROOT = Path(__file__).parents[3]


def test_searches_by_photo_product_vector_and_examples(client: Client) -> None:
    photo = picture(7)
    first = client.search_photo(photo, k=5)
    assert (first.results[0].product_id, len(first.results)) == ("p0007", 5)
    assert first.results[0].score == pytest.approx(1, abs=1e-3)
    vector = client.embed(photo)
    assert client.search_vector(vector.vector, k=1, release=vector.release).results[0].product_id == "p0007"
    like = client.search_product("p0007", k=5, filter={"category": ["coats"]})
    assert {result.category for result in like.results} == {"coats"}
    assert "p0007" not in {result.product_id for result in like.results}
    second, third = (result.product_id for result in first.results[1:3])
    steered = client.search_photo(photo, k=200, positive=[second], negative=[third])
    assert not {second, third} & {result.product_id for result in steered.results}
    assert len(steered.results) == 200
    recommended = client.recommend("p0007", negative=["p0008"], k=4)
    assert len(recommended.results) == 4
    assert not recommended.precomputed


def test_what_is_asked_of_a_product(client: Client) -> None:
    answer = client.product("p0011")
    assert answer.product.attributes == {"price": 11.0, "stock": 1, "brand": "b4"}
    assert client.picture("p0011") == picture(11)
    thumbnail = client.picture("p0011", size=160)
    assert thumbnail[8:12] == b"WEBP"
    with pytest.raises(ServiceError, match="there is no product 'nothing'") as missing:
        client.product("nothing")
    assert missing.value.status == 404


def test_the_catalogue_as_a_whole(client: Client) -> None:
    catalog = client.catalog()
    assert (catalog.images, catalog.writable, catalog.detector) == (PRODUCTS, True, True)
    assert {entry.value: entry.count for entry in catalog.categories} == dict.fromkeys(CATEGORIES, PRODUCTS // 3)
    attributes = {attribute.name: attribute for attribute in catalog.attributes}
    assert (attributes["price"].kind, attributes["price"].max) == ("number", 49.0)
    assert {entry.value for entry in attributes["brand"].values} == {f"b{number}" for number in range(7)}
    sample = client.sample(20, seed=3, filter={"must": [{"field": "price", "lt": 10}]})
    assert 0 < len(sample.results) <= 20
    assert all(product.attributes["price"] < 10 for product in sample.results)
    assert sample.results == client.sample(20, seed=3, filter={"must": [{"field": "price", "lt": 10}]}).results
    placed = client.embedding_map(50)
    assert (placed.sampled, len(set(placed.product_id)), placed.images) == (50, 50, PRODUCTS)


def test_what_is_written_is_found_counted_and_gone_again(client: Client) -> None:
    new = [
        ProductWrite(
            product_id=f"new/{number} #", category="hats", attributes={"price": 99.5}, pictures=[picture(15_000)]
        )
        for number in range(2)
    ]
    written = client.put(new)
    assert {product.status for product in written.products} == {"ok"}
    assert client.wait_until_found(written.sequence) < 30
    assert client.search_photo(picture(15_000), k=1).results[0].product_id in {"new/0 #", "new/1 #"}
    (other,) = client.duplicates("new/0 #").results
    assert (other.product_id, other.same_picture) == ("new/1 #", True)
    assert client.picture("new/0 #") == picture(15_000)
    hats = {entry.value: entry.count for entry in client.catalog().categories}["hats"]
    assert hats == 2
    status = client.status()
    assert status.journal is not None
    assert (status.journal.depth, status.journal.lag) == (2, 0)
    gone = client.delete(["new/0 #", "new/1 #"])
    client.wait_until_found(gone.sequence)
    assert "hats" not in {entry.value for entry in client.catalog().categories}
    with pytest.raises(ServiceError, match="404"):
        client.product("new/0 #")


def test_a_rejected_product_is_said_in_the_service_s_words(client: Client) -> None:
    with pytest.raises(ServiceError, match="colour") as refused:
        client.put([ProductWrite(product_id="x", category="bags", attributes={"colour": "red"}, pictures=[picture(1)])])
    assert refused.value.status == 422


def test_releases_side_by_side_promoted_and_rolled_back(
    client: Client, shop: Service, releases: tuple[Store, str, str]
) -> None:
    _, first, second = releases
    assert [entry.release for entry in client.releases().releases] == [first, second]
    with pytest.raises(ServiceError, match=f"409: release {second} does not answer") as away:
        client.search_product("p0001", release=second)
    assert away.value.status == 409
    client.preview(second)
    state = client.releases()
    assert (state.serving, state.preview, state.preview_ready) == (first, second, True)
    assert client.search_product("p0001", release=second).release == second
    assert client.search_product("p0001").release == first
    written = client.put([ProductWrite(product_id="both", category="bags", pictures=[picture(16_000)])])
    client.wait_until_found(written.sequence)
    for release in (first, second):  # what is written while two are there is in both
        found = found_soon(client, release)
        assert found == ("both", release)
    client.delete(["both"])
    parts = client.status().parts
    assert {part.release for part in parts if part.kind == "shard"} == {first, second}
    client.promote(second)
    state = client.releases()
    assert (state.current, state.serving, state.previous, state.preview) == (second, second, first, None)
    assert client.rollback() == first
    assert client.search_product("p0001").release == first
    client.end_preview()
    with pytest.raises(ServiceError, match="404"):
        client.preview("r-nothing")


def found_soon(client: Client, release: str) -> tuple[str, str]:
    """The first result of a photo that was just written: the previewed release's shards follow the journal too."""
    for _ in range(100):
        answer = client.search_photo(picture(16_000), k=1, release=release)
        if answer.results[0].product_id == "both":
            break
    return answer.results[0].product_id, answer.release


def test_keys_are_wanted_where_something_is_changed(shop: Service) -> None:
    with Client(shop.url) as nobody:
        assert nobody.ready().images >= PRODUCTS
        assert nobody.releases().current is not None
        for forbidden in (
            lambda: nobody.put([ProductWrite(product_id="x", category="bags", pictures=[picture(1)])]),
            lambda: nobody.delete(["p0001"]),
            lambda: nobody.promote("r-1"),
            lambda: nobody.preview("r-1"),
            nobody.end_preview,
        ):
            with pytest.raises(ServiceError, match="401: this needs an API key"):
                forbidden()


def test_the_async_client_asks_many_things_at_once(shop: Service) -> None:
    async def run() -> None:
        async with AsyncClient(shop.url, key=shop.key) as client:
            searches = [client.search_product(f"p{number:04d}", k=3) for number in range(40)]
            answers = await asyncio.gather(*searches, client.catalog(), client.status())
            assert all(len(answer.results) == 3 for answer in answers[:40])
            assert isinstance(await client.metrics(), str)
            written = await client.put([ProductWrite(product_id="a", category="bags", pictures=[picture(17_000)])])
            await client.wait_until_found(written.sequence)
            assert (await client.search_photo(picture(17_000), k=1)).results[0].product_id == "a"
            await client.delete(["a"])

    asyncio.run(run())


def test_a_service_that_is_not_there_is_said() -> None:
    port = next(number for number in range(18_990, 19_090) if is_free(number))
    with (
        Client(f"http://127.0.0.1:{port}", patience=Patience(tries=2, first_pause_s=0.01)) as client,
        pytest.raises(UnreachableError, match="no answer after 2 tries"),
    ):
        client.ready()


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("search_photo.py", ["PICTURE"], "p0012"),
        ("write_and_find.py", ["PICTURE"], "found: example/write-and-find"),
        ("many_at_once.py", ["--searches", "40"], "40 searches, 400 products"),
        ("find_duplicates.py", ["--products", "5", "--min-score", "0.5"], "pairs among the neighbours of 5 products"),
        ("compare_releases.py", ["RELEASE", "--queries", "5"], "5 products: "),
    ],
)
def test_the_examples_run(
    shop: Service, releases: tuple[Store, str, str], tmp_path: Path, script: str, arguments: list[str], says: str
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(12 if script == "search_photo.py" else 18_000))
    given = [{"PICTURE": str(photo), "RELEASE": releases[2]}.get(argument, argument) for argument in arguments]
    finished = subprocess.run(
        [sys.executable, str(ROOT / "docs/examples" / script), *given, "--url", shop.url],
        env={**os.environ, "VISNET_API_KEY": shop.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert says in finished.stdout
    if script == "write_and_find.py":
        assert "example/write-and-find" not in finished.stdout.splitlines()[-1]
